/*
 * What an operator does with the lists: puts an element back, looks at who holds what, searches.
 * Looking is bounded: a million elements are counted by Redis, and never all fetched.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/envelope.h"
#include "ingest/queue_private.h"

enum queue_list queue_list_of(struct str element)
{
    struct envelope envelope;
    struct error ignored = {0};
    enum queue_list list = QUEUE_PENDING;

    if (envelope_parse(&envelope, element, &ignored)) {
        list = envelope.kind == ENVELOPE_EVENT ? QUEUE_PENDING : QUEUE_CONTROL;
        envelope_clear(&envelope);
    }
    return list;
}

bool queue_push(struct queue *queue, enum queue_list list, struct str element, struct error *err)
{
    const char *argv[] = {"RPUSH", queue->keys[list], element.data};
    const size_t len[] = {strlen(argv[0]), strlen(argv[1]), element.len};
    redisReply *reply = redis_command(queue->redis, err, 3, argv, len);

    if (reply == NULL) {
        return false;
    }
    bool ok = reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    freeReplyObject(reply);
    return ok || error_set(err, ERROR_REMOTE, "%s: unexpected answer of RPUSH", queue_name(queue));
}

/* ---- who holds what ---- */

#define NAMES_MAX    16 /* batches told of in one call */
#define SUSPECTS_MAX 50

extern const char lua_holders[];

static struct redis_script script_holders = {"holders", lua_holders, ""};

static redisReply *holders(struct queue *q, const redisReply *names, size_t from, struct error *err)
{
    struct call c = {0};
    size_t count = names != NULL ? names->element[1]->elements : 0;

    queue_call_key(&c, q->keys[KEY_LEASES]);
    queue_call_key(&c, q->keys[KEY_CRASHES]);
    queue_call_key(&c, q->keys[QUEUE_SUSPECT]);
    for (size_t i = from; i < count && i < from + (size_t)NAMES_MAX * 2; i += 2) {
        queue_call_key(&c, names->element[1]->element[i]->str);
    }
    queue_call_int(&c, QUEUE_MARK_LEASES);
    queue_call_int(&c, SUSPECTS_MAX);
    redisReply *r = queue_call(q, &script_holders, &c, err);
    if (r != NULL &&
        (r->type != REDIS_REPLY_ARRAY || r->elements != 4 ||
         r->element[1]->type != REDIS_REPLY_ARRAY || r->element[2]->type != REDIS_REPLY_ARRAY ||
         r->element[3]->type != REDIS_REPLY_ARRAY || r->element[3]->elements != 2)) {
        freeReplyObject(r);
        error_set(err, ERROR_REMOTE, "%s: unexpected answer of holders", queue_name(q));
        return NULL;
    }
    return r;
}

/* "P:{ingest}:batch:<worker>:<n>" */
static void read_name(const struct queue *q, const char *key, struct queue_lease *lease)
{
    const char *name = strncmp(key, q->batch_prefix, strlen(q->batch_prefix)) == 0
                           ? key + strlen(q->batch_prefix)
                           : key;
    const char *colon = strrchr(name, ':');

    *lease = (struct queue_lease){.list = QUEUE_PENDING};
    snprintf(lease->worker, sizeof(lease->worker), "%.*s", (int)strcspn(name, ":"), name);
    if (colon != NULL && str_to_u64(str_of(colon + 1), &lease->number)) {
        lease->list = (enum queue_list)(lease->number % QUEUE_LISTS);
    }
}

bool queue_leases(struct queue *queue, struct queue_lease *leases, size_t room, size_t *count,
                  struct error *err)
{
    redisReply *names = holders(queue, NULL, 0, err), *some = NULL;
    bool ok = names != NULL;

    *count = 0;
    for (size_t i = 0; ok && i + 1 < names->element[1]->elements && *count < room; i += 2) {
        size_t turn = (i / 2) % NAMES_MAX;
        struct queue_lease *lease = &leases[*count];

        if (turn == 0) {
            if (some != NULL) {
                freeReplyObject(some);
            }
            some = holders(queue, names, i, err);
            ok = some != NULL;
        }
        if (ok && turn * 2 + 1 < some->element[2]->elements) {
            read_name(queue, names->element[1]->element[i]->str, lease);
            lease->ends_ms = (int64_t)strtod(names->element[1]->element[i + 1]->str, NULL) -
                             some->element[0]->integer;
            lease->elements = some->element[2]->element[turn * 2]->integer;
            lease->crashes = some->element[2]->element[turn * 2 + 1]->integer;
            *count += lease->elements > 0; /* acked between the two looks */
        }
    }
    if (names != NULL) {
        freeReplyObject(names);
    }
    if (some != NULL) {
        freeReplyObject(some);
    }
    return ok;
}

bool queue_crashes(struct queue *queue, int64_t *elements, int64_t *highest, struct error *err)
{
    redisReply *r = holders(queue, NULL, 0, err);

    if (r == NULL) {
        return false;
    }
    *elements = r->element[3]->element[0]->integer;
    *highest = r->element[3]->element[1]->integer;
    freeReplyObject(r);
    return true;
}

/* ---- searching ---- */

#define FIND_SLICE 500

static bool has_all(const redisReply *element, const struct str *needles, size_t count)
{
    if (element->type != REDIS_REPLY_STRING) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (memmem(element->str, (size_t)element->len, needles[i].data, needles[i].len) == NULL) {
            return false;
        }
    }
    return true;
}

static void note_hit(struct queue_hit *hit, const redisReply *element, int64_t ahead)
{
    struct envelope envelope;
    struct error ignored = {0};

    hit->found = true;
    hit->ahead = ahead;
    if (envelope_parse(&envelope, (struct str){element->str, (size_t)element->len}, &ignored)) {
        hit->received_at_ms = envelope.received_at_ms;
        envelope_clear(&envelope);
    }
}

/* Elements `from` to `to` of a list, to the first that has them. */
static bool find_in(struct queue *q, const char *key, int64_t from, int64_t to,
                    const struct str *needles, size_t count, struct queue_hit *hit,
                    struct error *err)
{
    while (!hit->found && from < to) {
        char first[24], last[24];
        int64_t end = from + FIND_SLICE < to ? from + FIND_SLICE : to;

        snprintf(first, sizeof(first), "%lld", (long long)from);
        snprintf(last, sizeof(last), "%lld", (long long)(end - 1));
        redisReply *r =
            redis_command(q->redis, err, 4, (const char *[]){"LRANGE", key, first, last}, NULL);
        if (r == NULL) {
            return false;
        }
        size_t got = r->type == REDIS_REPLY_ARRAY ? r->elements : 0;
        for (size_t i = 0; i < got && !hit->found; i++) {
            if (has_all(r->element[i], needles, count)) {
                note_hit(hit, r->element[i], from + (int64_t)i);
            }
        }
        freeReplyObject(r);
        hit->searched += (int64_t)got;
        from = got < FIND_SLICE ? to : end;
    }
    return true;
}

static bool find_leased(struct queue *q, const struct str *needles, size_t count,
                        struct queue_hit *hit, struct error *err)
{
    redisReply *r = redis_command(
        q->redis, err, 4, (const char *[]){"ZRANGE", q->keys[KEY_LEASES], "0", "255"}, NULL);
    bool ok = r != NULL;

    for (size_t i = 0; ok && i < r->elements && !hit->found; i++) {
        struct queue_lease lease;

        ok = find_in(q, r->element[i]->str, 0, FIND_SLICE * 2, needles, count, hit, err);
        if (hit->found) {
            read_name(q, r->element[i]->str, &lease);
            hit->leased = true;
            hit->list = lease.list;
        }
    }
    if (r != NULL) {
        freeReplyObject(r);
    }
    return ok;
}

bool queue_find(struct queue *queue, const struct str *needles, size_t count, int64_t most,
                struct queue_hit *hit, struct error *err)
{
    static const enum queue_list order[] = {QUEUE_CONTROL, QUEUE_SUSPECT, QUEUE_PENDING};
    struct queue_lengths lengths;

    *hit = (struct queue_hit){0};
    if (!find_leased(queue, needles, count, hit, err) || !queue_lengths(queue, &lengths, err)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && !hit->found; i++) {
        int64_t length = lengths.list[order[i]];
        int64_t head = length < most ? length : most / 2;

        hit->list = order[i];
        hit->searched = 0;
        hit->length = length;
        if (!find_in(queue, queue->keys[order[i]], 0, head, needles, count, hit, err) ||
            (length > head && !find_in(queue, queue->keys[order[i]], length - most / 2, length,
                                       needles, count, hit, err))) {
            return false;
        }
    }
    return true;
}
