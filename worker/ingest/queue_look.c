/* Looking at the lists without taking anything: lengths, and whether a mark has been reached. */
#include <stdio.h>
#include <string.h>

#include "ingest/envelope.h"
#include "ingest/queue_private.h"

extern const char lua_mark[];

static struct redis_script script_mark = {"mark", lua_mark, ""};

struct look {
    uint64_t popped, released, pending, suspect, leases;
    redisReply *names;
};

static bool look(struct queue *q, struct look *l, redisReply **reply, struct error *err)
{
    struct call c = {0};
    redisReply *r;

    queue_call_key(&c, q->keys[KEY_POPPED]);
    queue_call_key(&c, q->keys[KEY_RELEASED]);
    queue_call_key(&c, q->keys[QUEUE_PENDING]);
    queue_call_key(&c, q->keys[QUEUE_SUSPECT]);
    queue_call_key(&c, q->keys[KEY_LEASES]);
    queue_call_int(&c, QUEUE_MARK_LEASES);

    *reply = r = queue_call(q, &script_mark, &c, err);
    if (r == NULL) {
        return false;
    }
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 6 ||
        r->element[5]->type != REDIS_REPLY_ARRAY) {
        freeReplyObject(r);
        return error_set(err, ERROR_REMOTE, "%s: unexpected answer of mark", queue_name(q));
    }
    l->popped = (uint64_t)r->element[0]->integer;
    l->released = (uint64_t)r->element[1]->integer;
    l->pending = (uint64_t)r->element[2]->integer;
    l->suspect = (uint64_t)r->element[3]->integer;
    l->leases = (uint64_t)r->element[4]->integer;
    l->names = r->element[5];
    return true;
}

/* "P:{ingest}:batch:<worker>:<n>" -> "<worker>:<n>" */
static struct str lease_name(const struct queue *q, const redisReply *name)
{
    struct str s = {name->str, (size_t)name->len};
    size_t prefix = strlen(q->batch_prefix);

    if (str_starts(s, q->batch_prefix)) {
        s.data += prefix;
        s.len -= prefix;
    }
    return s;
}

static bool lease_of_suspect(struct str name)
{
    const char *colon = memrchr(name.data, ':', name.len);
    uint64_t n;

    return colon != NULL &&
           str_to_u64((struct str){colon + 1, name.len - (size_t)(colon + 1 - name.data)}, &n) &&
           n % QUEUE_LISTS == QUEUE_SUSPECT;
}

static void note_leases(const struct queue *q, struct queue_mark *mark, const struct look *l)
{
    mark->open = 0;
    for (size_t i = 0; i < l->names->elements && i < QUEUE_MARK_LEASES; i++) {
        struct str name = lease_name(q, l->names->element[i]);

        snprintf(mark->lease[mark->open++], sizeof(mark->lease[0]), "%.*s", STR_ARG(name));
    }
    mark->passed = true;
}

static bool still_open(const struct queue *q, const struct queue_mark *mark, const struct look *l)
{
    for (size_t i = 0; i < l->names->elements; i++) {
        struct str name = lease_name(q, l->names->element[i]);

        if (lease_of_suspect(name)) {
            return true;
        }
        for (size_t k = 0; k < mark->open; k++) {
            if (str_is(name, mark->lease[k])) {
                return true;
            }
        }
    }
    return false;
}

static void set_mark(struct queue_mark *mark, const struct look *l)
{
    mark->target = l->popped + l->pending;
    mark->released = l->released;
    mark->passed = false;
    mark->open = 0;
}

bool queue_mark(struct queue *queue, struct queue_mark *mark, struct error *err)
{
    struct look l;
    redisReply *reply;

    if (!look(queue, &l, &reply, err)) {
        return false;
    }
    set_mark(mark, &l);
    mark->renewed = false;
    freeReplyObject(reply);
    return true;
}

bool queue_caught_up(struct queue *queue, struct queue_mark *mark, bool *yes, struct error *err)
{
    struct look l;
    redisReply *reply;

    *yes = false;
    if (!look(queue, &l, &reply, err)) {
        return false;
    }
    /*
     * What was given back lies at the head again, and later elements that were taken meanwhile may
     * have raised popped past the target all the same: popped tells how many were taken, and no
     * longer which. A new target has them behind it.
     */
    if (l.released != mark->released) {
        set_mark(mark, &l);
        mark->renewed = true;
    }
    if (l.popped >= mark->target && l.leases <= QUEUE_MARK_LEASES) {
        if (!mark->passed) {
            note_leases(queue, mark, &l);
        }
        *yes = l.suspect == 0 && !still_open(queue, mark, &l);
    }
    freeReplyObject(reply);
    return true;
}

static redisReply *ask(struct queue *q, struct error *err, const char *command, const char *key,
                       const char *arg)
{
    const char *argv[] = {command, key, arg};
    const size_t len[] = {strlen(command), strlen(key), arg == NULL ? 0 : strlen(arg)};

    return redis_command(q->redis, err, arg == NULL ? 2 : 3, argv, len);
}

static bool ask_length(struct queue *q, const char *command, const char *key, int64_t *length,
                       struct error *err)
{
    redisReply *reply = ask(q, err, command, key, NULL);

    if (reply == NULL) {
        return false;
    }
    *length = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    return true;
}

bool queue_lengths(struct queue *queue, struct queue_lengths *lengths, struct error *err)
{
    redisReply *head;

    *lengths = (struct queue_lengths){0};
    for (int i = 0; i < QUEUE_LISTS; i++) {
        if (!ask_length(queue, "LLEN", queue->keys[i], &lengths->list[i], err)) {
            return false;
        }
    }
    if (!ask_length(queue, "ZCARD", queue->keys[KEY_LEASES], &lengths->leased, err)) {
        return false;
    }
    head = ask(queue, err, "LINDEX", queue->keys[QUEUE_PENDING], "0");
    if (head == NULL) {
        return false;
    }
    if (head->type == REDIS_REPLY_STRING) {
        struct envelope envelope;
        struct error ignored = {0};

        if (envelope_parse(&envelope, (struct str){head->str, (size_t)head->len}, &ignored)) {
            lengths->oldest_ms = envelope.received_at_ms;
            envelope_clear(&envelope);
        }
    }
    freeReplyObject(head);
    return true;
}
