/* The first server that answers is filled until it fails. */
#include "ctl/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "ingest/queue.h"

#define PENDING_MAX   20000 /* elements that may wait; then we do */
#define PUSH_ATTEMPTS 8
#define LOOK_MS       200

struct server {
    struct queue *queue;
    bool marked, settled;
    struct queue_mark mark;
};

struct feed {
    const volatile sig_atomic_t *stop;
    struct server *servers, *now;
    size_t count;
};

static void rest(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static bool interrupted(const struct feed *feed, struct error *err)
{
    return *feed->stop != 0 && !error_set(err, ERROR_INTERRUPTED, "interrupted");
}

/* The one in hand comes last: it may well answer, and yet take nothing (full, a replica). */
static bool choose(struct feed *feed, struct error *err)
{
    struct queue_lengths lengths;
    size_t first = feed->now != NULL ? (size_t)(feed->now - feed->servers) + 1 : 0;

    for (size_t i = 0; i < feed->count; i++) {
        struct server *server = &feed->servers[(first + i) % feed->count];

        if (queue_lengths(server->queue, &lengths, err)) {
            feed->now = server;
            return true;
        }
    }
    return false;
}

bool feed_open(struct feed **out, const struct config *config, const volatile sig_atomic_t *stop,
               struct error *err)
{
    struct feed *feed = calloc(1, sizeof(*feed));
    const char *const *addresses;
    size_t count = config_list(config, "redis", "servers", &addresses);

    if (feed == NULL || (feed->servers = calloc(count, sizeof(*feed->servers))) == NULL) {
        abort();
    }
    feed->stop = stop;
    while (feed->count < count) {
        if (!queue_create(&feed->servers[feed->count].queue, config, addresses[feed->count], err)) {
            feed_close(&feed);
            return false;
        }
        feed->count++;
    }
    if (!choose(feed, err)) {
        feed_close(&feed);
        return false;
    }
    *out = feed;
    return true;
}

void feed_close(struct feed **feed)
{
    if (*feed == NULL) {
        return;
    }
    for (size_t i = 0; i < (*feed)->count; i++) {
        queue_destroy(&(*feed)->servers[i].queue);
    }
    free((*feed)->servers);
    free(*feed);
    *feed = NULL;
}

bool feed_await_room(struct feed *feed, struct error *err)
{
    struct queue_lengths lengths;

    for (;;) {
        if (interrupted(feed, err)) {
            return false;
        }
        if (!queue_lengths(feed->now->queue, &lengths, err)) {
            if (!choose(feed, err)) {
                return false;
            }
        } else if (lengths.list[QUEUE_PENDING] < PENDING_MAX) {
            return true;
        }
        rest(LOOK_MS);
    }
}

bool feed_push(struct feed *feed, struct str element, struct error *err)
{
    for (unsigned attempt = 1;; attempt++) {
        if (queue_push(feed->now->queue, QUEUE_PENDING, element, err)) {
            return true;
        }
        if (attempt == PUSH_ATTEMPTS || interrupted(feed, err)) {
            return false;
        }
        choose(feed, err); /* what may be at both is stored once */
        rest(clock_backoff_ms(attempt, LOOK_MS, 5000));
    }
}

static bool look(struct server *s, struct error *err)
{
    s->marked = s->marked || queue_mark(s->queue, &s->mark, err);
    return s->marked && queue_caught_up(s->queue, &s->mark, &s->settled, err) && s->settled;
}

bool feed_settle(struct feed *feed, int64_t limit_ms, char why[256])
{
    int64_t until = clock_boot_ms() + limit_ms;

    for (;;) {
        bool all = true;

        why[0] = '\0';
        for (size_t i = 0; i < feed->count; i++) {
            struct error err = {0};

            if (!feed->servers[i].settled && !look(&feed->servers[i], &err)) {
                all = false;
                snprintf(why, 256, "%.255s", err.text);
            }
        }
        if (all || clock_boot_ms() >= until || *feed->stop != 0) {
            return all;
        }
        rest(LOOK_MS);
    }
}
