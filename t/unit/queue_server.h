/* A private redis-server with a queue's lists in it, looked at and filled past the queue. */
#ifndef STUDY_UNIT_QUEUE_SERVER_H
#define STUDY_UNIT_QUEUE_SERVER_H

#include "unit.h"

#include "base/config.h"
#include "ingest/queue.h"
#include "io/redis.h"
#include "servers.h"

static char dir[] = "/tmp/study-queue-XXXXXX";
static char socket_path[64], address[80];
static pid_t server;
static struct config *config, *patient;
static struct redis *admin; /* looks and pushes, past the queue */

#define P "study:{ingest}:"

/* As shipped: with `everysec` a write may wait for a busy disk, and be lost by a kill. */
static inline void start_server(void)
{
    char log[64];

    snprintf(log, sizeof(log), "%s/redis.log", dir);
    unlink(socket_path);
    server = server_start(log, (const char *const[]){"redis-server", "--port", "0", "--unixsocket",
                                                     socket_path, "--dir", dir, "--save", "",
                                                     "--appendonly", "yes", "--appendfsync",
                                                     "always", NULL});
    assert_true(server > 0);
    assert_true(server_wait_path(socket_path));
}

/* Asked again where nothing was sent. A reply that is late is waited for: a second RPUSH would push
 * a second time. */
static inline redisReply *command(int argc, const char **argv)
{
    struct error err;
    redisReply *reply = NULL;

    for (int i = 0; i < 500 && reply == NULL; i++) {
        reply = redis_command(admin, &err, argc, argv, NULL);
        if (reply == NULL) {
            server_sleep_ms(20);
        }
    }
    if (reply == NULL) {
        fail_msg("%s", err.text);
    }
    return reply;
}

static inline int64_t number(int argc, const char **argv)
{
    redisReply *reply = command(argc, argv);
    int64_t n = reply->type == REDIS_REPLY_INTEGER ? reply->integer
                : reply->str != NULL               ? atoll(reply->str)
                                                   : -1;

    freeReplyObject(reply);
    return n;
}

#define ARGV(...)                                                                                  \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[])                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define COMMAND(...) freeReplyObject(command(ARGV(__VA_ARGS__)))
#define NUMBER(...)  number(ARGV(__VA_ARGS__))
#define LENGTH(list) NUMBER("LLEN", P list)

static inline void push(const char *list, int from, int to)
{
    char key[64], element[32];

    snprintf(key, sizeof(key), P "%s", list);
    for (int i = from; i <= to; i++) {
        snprintf(element, sizeof(element), "%d", i);
        COMMAND("RPUSH", key, element);
    }
}

static inline struct queue *create(void)
{
    struct queue *q;
    struct error err;

    if (!queue_create(&q, config, address, &err)) {
        fail_msg("%s", err.text);
    }
    return q;
}

static inline struct batch *fetch(struct queue *q)
{
    struct batch *batch;
    struct error err;

    for (int i = 0; i < 500; i++) {
        if (queue_fetch(q, &batch, &err)) {
            return batch;
        }
        server_sleep_ms(20); /* the backoff of a server that has just come back */
    }
    fail_msg("%s", err.text);
    return NULL;
}

/* The batch holds the numbers from..to, of `list`. */
static inline void assert_batch(const struct batch *batch, enum queue_list list, int from, int to)
{
    char element[32];

    assert_int_equal(batch->count, to - from + 1);
    assert_int_equal(batch->list, list);
    for (int i = from; i <= to; i++) {
        snprintf(element, sizeof(element), "%d", i);
        assert_true(str_is(batch->elements[i - from], element));
    }
}

static inline void ack(struct queue *q, bool expect_held)
{
    struct error err;
    bool held;

    if (!queue_ack(q, &held, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(held, expect_held);
}

static inline void release(struct queue *q)
{
    struct error err;
    bool held;

    if (!queue_release(q, &held, &err)) {
        fail_msg("%s", err.text);
    }
}

static inline size_t reap(struct queue *q)
{
    struct error err;
    size_t moved;

    if (!queue_reap(q, &moved, &err)) {
        fail_msg("%s", err.text);
    }
    return moved;
}

static inline void limits(struct queue *q, int64_t lease_ms, int64_t elements, int64_t bytes)
{
    queue_set_limits(q, &(struct queue_limits){lease_ms, elements, bytes});
}

static inline void assert_nothing_left(void)
{
    redisReply *keys = command(ARGV("KEYS", P "*"));

    for (size_t i = 0; i < keys->elements; i++) {
        const char *key = keys->element[i]->str;

        if (strcmp(key, P "popped") != 0 && strcmp(key, P "released") != 0) {
            fail_msg("left behind: %s", key);
        }
    }
    freeReplyObject(keys);
}

static inline int flush(void **state)
{
    (void)state;
    COMMAND("FLUSHALL");
    return 0;
}

static inline int set_up(void **state)
{
    struct error err;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    snprintf(socket_path, sizeof(socket_path), "%s/r.sock", dir);
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    setenv("STUDY_REDIS_CONNECT_TIMEOUT", "2s", 1);
    start_server();
    setenv("STUDY_REDIS_TIMEOUT", "60s", 1);
    if (!config_load(&patient, NULL, &err) || !redis_create(&admin, patient, address, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    setenv("STUDY_REDIS_TIMEOUT", "700ms", 1);
    if (!config_load(&config, NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}

static inline int tear_down(void **state)
{
    char rm[64];

    (void)state;
    redis_destroy(&admin);
    config_destroy(&config);
    config_destroy(&patient);
    server_stop(&server, SIGKILL);
    snprintf(rm, sizeof(rm), "rm -rf %s", dir);
    return system(rm);
}

#endif
