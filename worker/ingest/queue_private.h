/*
 * The inside of struct queue, for queue.c (moving batches), queue_wake.c (blocking peeks) and
 * queue_look.c (how far the list has been worked off).
 */
#ifndef STUDY_INGEST_QUEUE_PRIVATE_H
#define STUDY_INGEST_QUEUE_PRIVATE_H

#include "ingest/queue.h"
#include "io/redis.h"

enum { KEY_LEASES = QUEUE_LISTS, KEY_CRASHES, KEY_POPPED, KEY_RELEASED, KEY_COUNT };

struct peek {
    struct redis *redis;
    enum queue_list list;
    bool waiting;
    int64_t since_ms; /* waiting: when it was sent; else not before */
};

enum owed {
    OWED_NOTHING,
    OWED_NEW_ACK, /* not sent yet; the others may have arrived */
    OWED_ACK,
    OWED_RELEASE
};

struct queue {
    struct redis *redis;
    struct queue_limits limits;
    int interrupt;
    char *keys[KEY_COUNT];
    char *batch_prefix; /* "P:{ingest}:batch:" */
    char worker[17];

    uint64_t turn; /* batches so far; the names of the next are made from it */
    char *names[QUEUE_LISTS];
    bool fetch_unsure; /* a fetch was sent that may have taken a batch we do not have */
    bool held;         /* `batch` is in hand */
    struct batch batch;
    redisReply *reply; /* holds the batch's elements */

    enum owed owed; /* and of which batch */
    enum queue_list owed_list;
    char *owed_name;
    size_t lost; /* see queue_lost */

    struct peek peeks[QUEUE_FDS];
};

#define CALL_ARGS_MAX 32

/* Arguments of a script: keys, then arguments; strings that outlive the call. */
struct call {
    const char *argv[CALL_ARGS_MAX];
    size_t len[CALL_ARGS_MAX];
    int argc;
    int nkeys;
    char numbers[4][24];
    int used;
};

void queue_call_key(struct call *c, const char *key);
void queue_call_int(struct call *c, int64_t v);
redisReply *queue_call(struct queue *q, struct redis_script *script, const struct call *c,
                       struct error *err);

#endif
