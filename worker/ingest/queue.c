/*
 * The leased-batch queue: names of keys, calls of the scripts, and what to do when a reply is lost.
 *
 * Why the batch's name carries the list that it came from (n mod 3): a fetch whose reply was lost
 * is repeated under the same three names, and whichever exists tells where a release must put its
 * elements back, without a further key that could disagree.
 */
#include "ingest/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/queue_private.h"

extern const char lua_fetch[], lua_ack[], lua_renew[], lua_release[], lua_reap[];

static struct redis_script script_fetch = {"fetch", lua_fetch, ""};
static struct redis_script script_ack = {"ack", lua_ack, ""};
static struct redis_script script_renew = {"renew", lua_renew, ""};
static struct redis_script script_release = {"release", lua_release, ""};
static struct redis_script script_reap = {"reap", lua_reap, ""};

#define REAP_NAMES     16 /* batches moved by one call */
#define REAP_CALLS_MAX 64 /* of one queue_reap */

static const char *const key_names[KEY_COUNT] = {
    [QUEUE_CONTROL] = "control", [QUEUE_SUSPECT] = "suspect", [QUEUE_PENDING] = "pending",
    [KEY_LEASES] = "leases",     [KEY_CRASHES] = "crashes",   [KEY_POPPED] = "popped",
    [KEY_RELEASED] = "released",
};

static void call_arg(struct call *c, const char *s)
{
    c->argv[c->argc] = s;
    c->len[c->argc++] = strlen(s);
}

void queue_call_key(struct call *c, const char *s)
{
    call_arg(c, s);
    c->nkeys = c->argc;
}

void queue_call_int(struct call *c, int64_t v)
{
    char *number = c->numbers[c->used++];

    snprintf(number, sizeof(c->numbers[0]), "%lld", (long long)v);
    call_arg(c, number);
}

redisReply *queue_call(struct queue *q, struct redis_script *script, const struct call *c,
                       struct error *err)
{
    return redis_eval(q->redis, script, err, c->nkeys, c->argc, (const char **)c->argv, c->len);
}

/* Scripts that answer 0 or 1. */
static bool call_flag(struct queue *q, struct redis_script *script, const struct call *c,
                      bool *flag, struct error *err)
{
    redisReply *reply = queue_call(q, script, c, err);

    if (reply == NULL) {
        return false;
    }
    *flag = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    freeReplyObject(reply);
    return true;
}

static char *format_name(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *format_name(const char *fmt, ...)
{
    char *name;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&name, fmt, ap) < 0) {
        abort();
    }
    va_end(ap);
    return name;
}

static void name_batches(struct queue *q)
{
    for (int i = 0; i < QUEUE_LISTS; i++) {
        free(q->names[i]);
        q->names[i] = format_name("%s%s:%llu", q->batch_prefix, q->worker,
                                  (unsigned long long)(q->turn * QUEUE_LISTS + (unsigned)i));
    }
}

bool queue_create(struct queue **out, const struct config *config, const char *address,
                  struct error *err)
{
    const char *prefix = config_string(config, "redis", "key_prefix");
    struct queue *q = calloc(1, sizeof(*q));

    if (q == NULL) {
        abort();
    }
    q->limits = (struct queue_limits){.lease_ms = 20000, .elements = 512, .bytes = 1 << 20};
    q->interrupt = -1;
    clock_random_hex(q->worker, 8);
    for (int i = 0; i < KEY_COUNT; i++) {
        q->keys[i] = format_name("%s:{ingest}:%s", prefix, key_names[i]);
    }
    q->batch_prefix = format_name("%s:{ingest}:batch:", prefix);
    name_batches(q);

    q->peeks[0].list = QUEUE_PENDING;
    q->peeks[1].list = QUEUE_CONTROL;
    if (!redis_create(&q->redis, config, address, err)) {
        goto fail;
    }
    for (int i = 0; i < QUEUE_FDS; i++) {
        if (!redis_create(&q->peeks[i].redis, config, address, err)) {
            goto fail;
        }
    }
    *out = q;
    return true;

fail:
    queue_destroy(&q);
    return false;
}

static void drop_batch(struct queue *q)
{
    free(q->batch.elements);
    if (q->reply != NULL) {
        freeReplyObject(q->reply);
    }
    q->reply = NULL;
    q->batch = (struct batch){0};
    q->held = false;
}

void queue_destroy(struct queue **queue)
{
    struct queue *q = *queue;

    if (q == NULL) {
        return;
    }
    drop_batch(q);
    for (int i = 0; i < KEY_COUNT; i++) {
        free(q->keys[i]);
    }
    for (int i = 0; i < QUEUE_LISTS; i++) {
        free(q->names[i]);
    }
    free(q->batch_prefix);
    free(q->owed_name);
    for (int i = 0; i < QUEUE_FDS; i++) {
        redis_destroy(&q->peeks[i].redis);
    }
    redis_destroy(&q->redis);
    free(q);
    *queue = NULL;
}

void queue_set_limits(struct queue *queue, const struct queue_limits *limits)
{
    queue->limits = *limits;
}

void queue_set_interrupt(struct queue *queue, int fd)
{
    queue->interrupt = fd;
    redis_set_interrupt(queue->redis, fd);
    for (int i = 0; i < QUEUE_FDS; i++) {
        redis_set_interrupt(queue->peeks[i].redis, fd);
    }
}

const char *queue_name(const struct queue *queue)
{
    return redis_name(queue->redis);
}

const char *queue_worker(const struct queue *queue)
{
    return queue->worker;
}

bool queue_is_unsafe(const struct queue *queue)
{
    return redis_is_unsafe(queue->redis);
}

/* --- fetch, ack, release, renew, reap ------------------------------------------------------- */

static void ack_call(const struct queue *q, const char *name, struct call *c)
{
    queue_call_key(c, name);
    queue_call_key(c, q->keys[KEY_LEASES]);
    queue_call_key(c, q->keys[KEY_CRASHES]);
}

static bool send_ack(struct queue *q, const char *name, bool *held, struct error *err)
{
    struct call c = {0};

    ack_call(q, name, &c);
    return call_flag(q, &script_ack, &c, held, err);
}

static bool send_release(struct queue *q, enum queue_list list, const char *name, bool *held,
                         struct error *err)
{
    struct call c = {0};

    queue_call_key(&c, name);
    queue_call_key(&c, q->keys[KEY_LEASES]);
    queue_call_key(&c, q->keys[list]);
    queue_call_key(&c, q->keys[KEY_POPPED]);
    queue_call_key(&c, q->keys[KEY_RELEASED]);
    queue_call_int(&c, list == QUEUE_PENDING);
    return call_flag(q, &script_release, &c, held, err);
}

static bool owes_ack(const struct queue *q)
{
    return q->owed == OWED_NEW_ACK || q->owed == OWED_ACK;
}

/* An ack that is sent again finds no lease because it arrived the first time. */
static void ack_answered(struct queue *q, enum owed was, bool held)
{
    q->owed = OWED_NOTHING;
    q->lost += was == OWED_NEW_ACK && !held;
}

bool queue_settle(struct queue *queue, struct error *err)
{
    enum owed was = queue->owed;
    bool held = false;

    if (owes_ack(queue)) {
        queue->owed = OWED_ACK;
        if (!send_ack(queue, queue->owed_name, &held, err)) {
            return false;
        }
        ack_answered(queue, was, held);
    } else if (was == OWED_RELEASE) {
        if (!send_release(queue, queue->owed_list, queue->owed_name, &held, err)) {
            return false;
        }
        queue->owed = OWED_NOTHING;
    }
    return true;
}

size_t queue_lost(struct queue *queue)
{
    size_t lost = queue->lost;

    queue->lost = 0;
    return lost;
}

static bool unexpected(const struct queue *q, struct error *err)
{
    return error_set(err, ERROR_REMOTE, "%s: unexpected answer of fetch", queue_name(q));
}

/* Takes the reply that the elements are in out of its request. */
static bool take_replies(struct queue *q, struct redis_request *fetch,
                         struct redis_request *pending, struct error *err)
{
    redisReply *said = fetch->reply, *elements;
    struct redis_request *from = fetch;

    if (said->type != REDIS_REPLY_ARRAY || said->elements != 4 || said->element[0]->integer < 0 ||
        said->element[0]->integer > QUEUE_LISTS) {
        return unexpected(q, err);
    }
    if (said->element[0]->integer == 0) {
        return true;
    }
    q->batch.list = (enum queue_list)(said->element[0]->integer - 1);
    q->batch.marked = said->element[1]->integer == 1;
    q->batch.left = (size_t)said->element[3]->integer;
    elements = said->element[2];
    if (q->batch.list == QUEUE_PENDING) {
        if (redis_refused(q->redis, pending, err)) {
            return false;
        }
        from = pending;
        elements = pending->reply;
    }
    if (elements->type != REDIS_REPLY_ARRAY) {
        return unexpected(q, err);
    }
    if (elements->elements == 0) {
        return true; /* its lease ended between the two: it has gone to suspect */
    }

    q->reply = from->reply;
    from->reply = NULL;
    q->held = true;
    q->batch.count = elements->elements;
    q->batch.elements = calloc(elements->elements, sizeof(struct str));
    if (q->batch.elements == NULL) {
        abort();
    }
    for (size_t i = 0; i < elements->elements; i++) {
        q->batch.elements[i] =
            (struct str){elements->element[i]->str, (size_t)elements->element[i]->len};
    }
    return true;
}

static void fetch_call(struct queue *q, struct call *c)
{
    for (int i = 0; i < QUEUE_LISTS; i++) {
        queue_call_key(c, q->keys[i]);
    }
    for (int i = 0; i < QUEUE_LISTS; i++) {
        queue_call_key(c, q->names[i]);
    }
    queue_call_key(c, q->keys[KEY_LEASES]);
    queue_call_key(c, q->keys[KEY_CRASHES]);
    queue_call_key(c, q->keys[KEY_POPPED]);
    queue_call_int(c, q->limits.lease_ms);
    queue_call_int(c, q->limits.elements);
    queue_call_int(c, q->limits.bytes);
    queue_call_int(c, QUEUE_CRASHES_MAX);
}

static struct redis_request script_request(struct redis_script *script, struct call *c)
{
    return (struct redis_request){script, c->nkeys, c->argc, c->argv, c->len, NULL};
}

bool queue_fetch(struct queue *queue, struct batch **batch, struct error *err)
{
    const char *range[] = {"LRANGE", queue->names[QUEUE_PENDING], "0", "-1"};
    struct call ack = {0}, fetch = {0};
    struct redis_request requests[3], *acked = NULL, *fetched;
    enum owed was = queue->owed;
    size_t n = 0;
    bool ok = false;

    drop_batch(queue);
    *batch = &queue->batch;
    if (was == OWED_RELEASE && !queue_settle(queue, err)) {
        return false;
    }
    if (owes_ack(queue)) {
        queue->owed = OWED_ACK;
        ack_call(queue, queue->owed_name, &ack);
        acked = &requests[n];
        requests[n++] = script_request(&script_ack, &ack);
    }
    fetch_call(queue, &fetch);
    fetched = &requests[n];
    requests[n++] = script_request(&script_fetch, &fetch);
    requests[n++] = (struct redis_request){.argc = 4, .argv = range};

    queue->batch.renewed_ms = clock_boot_ms();
    queue->fetch_unsure = true;
    if (!redis_pipeline(queue->redis, requests, n, err)) {
        error_wrap(err, "script %s", script_fetch.name);
        return false;
    }
    if (acked != NULL) {
        if (redis_refused(queue->redis, acked, err)) {
            goto done;
        }
        ack_answered(queue, was, acked->reply->integer == 1);
    }
    if (!redis_refused(queue->redis, fetched, err)) {
        ok = take_replies(queue, fetched, fetched + 1, err);
        queue->fetch_unsure = !ok;
    }

done:
    redis_requests_clear(requests, n);
    return ok;
}

/* The batch in hand is done with; `owed` is what has to be said (again) about it. */
static void next_turn(struct queue *q, enum owed owed)
{
    if (owed != OWED_NOTHING) {
        free(q->owed_name);
        q->owed_list = q->batch.list;
        q->owed_name = q->names[q->batch.list];
        q->names[q->batch.list] = NULL;
        q->owed = owed;
    }
    drop_batch(q);
    q->turn++;
    name_batches(q);
}

bool queue_ack(struct queue *queue, bool *held, struct error *err)
{
    bool sent;

    *held = false;
    if (!queue->held) {
        return true;
    }
    redis_set_interrupt(queue->redis, -1);
    sent = send_ack(queue, queue->names[queue->batch.list], held, err);
    redis_set_interrupt(queue->redis, queue->interrupt);
    next_turn(queue, sent ? OWED_NOTHING : OWED_ACK);
    return sent;
}

void queue_ack_with_fetch(struct queue *queue)
{
    if (queue->held) {
        next_turn(queue, OWED_NEW_ACK);
    }
}

/* A fetch may have taken a batch that we never saw. */
static bool release_unseen(struct queue *q, struct error *err)
{
    for (int i = 0; i < QUEUE_LISTS; i++) {
        bool held;

        if (!send_release(q, (enum queue_list)i, q->names[i], &held, err)) {
            return false;
        }
    }
    q->fetch_unsure = false;
    return true;
}

bool queue_release(struct queue *queue, bool *held, struct error *err)
{
    bool sent = true;

    *held = false;
    redis_set_interrupt(queue->redis, -1);
    if (queue->held) {
        sent = send_release(queue, queue->batch.list, queue->names[queue->batch.list], held, err);
        next_turn(queue, sent ? OWED_NOTHING : OWED_RELEASE);
    } else if (queue->fetch_unsure) {
        sent = release_unseen(queue, err);
    }
    sent = sent && queue_settle(queue, err);
    redis_set_interrupt(queue->redis, queue->interrupt);
    return sent;
}

void queue_abandon(struct queue *queue)
{
    if (queue->held) {
        next_turn(queue, OWED_NOTHING);
    }
}

bool queue_renew(struct queue *queue, bool *held, struct error *err)
{
    struct call c = {0};
    int64_t asked = clock_boot_ms();

    *held = false;
    if (!queue->held) {
        return true;
    }
    queue_call_key(&c, queue->names[queue->batch.list]);
    queue_call_key(&c, queue->keys[KEY_LEASES]);
    queue_call_int(&c, queue->limits.lease_ms);
    if (!call_flag(queue, &script_renew, &c, held, err)) {
        return false;
    }
    if (*held) {
        queue->batch.renewed_ms = asked;
    }
    return true;
}

bool queue_reap(struct queue *queue, size_t *elements, struct error *err)
{
    redisReply *named = NULL;
    size_t moved = 0;
    bool ok = false;

    for (int calls = 0; calls < REAP_CALLS_MAX; calls++) {
        struct call c = {0};
        redisReply *reply;
        size_t names = named == NULL ? 0 : named->element[1]->elements;

        queue_call_key(&c, queue->keys[KEY_LEASES]);
        queue_call_key(&c, queue->keys[QUEUE_SUSPECT]);
        queue_call_key(&c, queue->keys[KEY_CRASHES]);
        for (size_t i = 0; i < names && i < REAP_NAMES; i++) {
            queue_call_key(&c, named->element[1]->element[i]->str);
        }
        queue_call_int(&c, REAP_NAMES);

        reply = queue_call(queue, &script_reap, &c, err);
        if (reply == NULL) {
            goto fail;
        }
        if (named != NULL) {
            freeReplyObject(named);
        }
        named = reply;
        if (named->type != REDIS_REPLY_ARRAY || named->elements != 2) {
            error_set(err, ERROR_REMOTE, "%s: unexpected answer of reap", queue_name(queue));
            goto fail;
        }
        moved += (size_t)named->element[0]->integer;
        if (named->element[1]->elements == 0) {
            break;
        }
    }
    ok = true;

fail:
    if (named != NULL) {
        freeReplyObject(named);
    }
    if (elements != NULL) {
        *elements = moved;
    }
    return ok;
}
