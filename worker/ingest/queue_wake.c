/*
 * Blocking peeks: BLMOVE from a list's head to the same head moves nothing and answers as soon as
 * there is an element. Redis serves those who wait in turn, each push waking all of them, since the
 * element is put back; whoever fetches first has it.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/queue_private.h"

#define PEEK_S        "20" /* a blocking peek lasts so long, then says that it still lives */
#define PEEK_LIMIT_MS 30000
#define PEEK_RETRY_MS 5000

/* Gives up on a peek for a while. */
static void peek_rest(struct peek *p)
{
    redis_disconnect(p->redis);
    p->waiting = false;
    p->since_ms = clock_boot_ms() + PEEK_RETRY_MS;
}

static bool peek_arm(struct queue *q, struct peek *p)
{
    const char *key = q->keys[p->list];
    const char *argv[] = {"BLMOVE", key, key, "LEFT", "LEFT", PEEK_S};
    const size_t len[] = {6, strlen(key), strlen(key), 4, 4, sizeof(PEEK_S) - 1};
    int64_t now = clock_boot_ms();
    struct error err = {0};

    if (p->waiting) {
        if (now - p->since_ms < PEEK_LIMIT_MS) {
            return true;
        }
        peek_rest(p); /* half open: the answer of a peek that ended is overdue */
    }
    if (now < p->since_ms) {
        return false;
    }
    if (!redis_connect(p->redis, &err) || !redis_send(p->redis, &err, 6, argv, len)) {
        peek_rest(p);
        return false;
    }
    p->waiting = true;
    p->since_ms = now;
    return true;
}

bool queue_arm(struct queue *queue)
{
    bool armed = true;

    for (int i = 0; i < QUEUE_FDS; i++) {
        armed = peek_arm(queue, &queue->peeks[i]) && armed;
    }
    return armed;
}

int queue_fds(const struct queue *queue, int fds[QUEUE_FDS])
{
    int n = 0;

    for (int i = 0; i < QUEUE_FDS; i++) {
        const struct peek *p = &queue->peeks[i];

        if (p->waiting && redis_fd(p->redis) >= 0) {
            fds[n++] = redis_fd(p->redis);
        }
    }
    return n;
}

bool queue_woken(struct queue *queue)
{
    bool woken = false;

    for (int i = 0; i < QUEUE_FDS; i++) {
        struct peek *p = &queue->peeks[i];
        struct error err = {0};
        redisReply *reply;

        if (!p->waiting) {
            continue;
        }
        reply = redis_receive(p->redis, &err);
        if (reply != NULL) {
            woken = woken || reply->type == REDIS_REPLY_STRING;
            freeReplyObject(reply);
            p->waiting = false;
        } else if (err.kind != ERROR_NONE) {
            log_debug("%s: no blocking peek: %s", queue_name(queue), err.text);
            peek_rest(p);
            woken = true; /* what hung up may have something to tell: look */
        }
    }
    return woken;
}
