/* studyctl dead, digest, outbox: taking up again what stopped, by hand. */
#include <inttypes.h>
#include <stdio.h>

#include "ctl/rows.h"
#include "db/operate.h"
#include "ingest/queue.h"

#define DEAD_SLICE 500

/* ---- dead events ---- */

/* Either an id or --all. */
static enum ctl_status check_chosen(const struct ctl *ctl, int64_t *id)
{
    if (ctl->all == (ctl->args_count > 0)) {
        return ctl_misused("expected a row's number, or --all");
    }
    if (!ctl->all && (ctl->before != NULL || ctl->reason != NULL)) {
        return ctl_misused("--before and --reason choose among --all");
    }
    return ctl->all || rows_id(ctl, id) ? CTL_OK : CTL_USAGE;
}

/* The first server that answers: any of them will do. */
static bool push_anywhere(struct queue *const *queues, size_t count, struct str element,
                          struct error *err)
{
    error_set(err, ERROR_CONFIG, "[redis] servers names none");
    for (size_t i = 0; i < count; i++) {
        if (queue_push(queues[i], queue_list_of(element), element, err)) {
            return true;
        }
    }
    return false;
}

/* The row is taken away, the element pushed, and then the taking is committed: whatever fails in
 * between, it is in one place at least, and storing it twice does no harm. */
static bool retry_one(struct ctl *ctl, struct queue *const *queues, size_t count, int64_t id,
                      bool *found, struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = pg_begin(ctl->pg, err) && operate_dead_take(ctl->pg, id, &res, err);

    *found = ok && pg_rows(res) > 0;
    ok = ok && (!*found || push_anywhere(queues, count, pg_bytes(res, 0, 0), err)) &&
         pg_commit(ctl->pg, err);
    if (!ok) {
        pg_rollback(ctl->pg);
    }
    pg_result_destroy(&res);
    return ok;
}

/* What is there now, once each: a row that comes back has a higher number, and is left alone. */
static bool retry_all(struct ctl *ctl, struct queue *const *queues, size_t count, int64_t *done,
                      struct error *err)
{
    int64_t left, after = 0;

    if (!operate_dead_count(ctl->pg, ctl->reason, ctl->before, &left, err)) {
        return false;
    }
    while (left > 0) {
        struct pg_result *ids = NULL;
        int limit = left < DEAD_SLICE ? (int)left : DEAD_SLICE;

        if (!operate_dead_ids(ctl->pg, ctl->reason, ctl->before, after, limit, &ids, err)) {
            return false;
        }
        int rows = pg_rows(ids);
        bool ok = true;
        for (int row = 0; ok && row < rows; row++) {
            bool found;
            after = pg_int(ids, row, 0);
            ok = retry_one(ctl, queues, count, after, &found, err);
            *done += ok && found;
        }
        pg_result_destroy(&ids);
        if (!ok || rows == 0) {
            return ok;
        }
        left -= rows;
    }
    return true;
}

static enum ctl_status say_count(const struct ctl *ctl, const char *key, int64_t count,
                                 const char *sentence)
{
    if (!ctl->json) {
        printf("%" PRId64 " element%s %s\n", count, count == 1 ? "" : "s", sentence);
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kint(w, key, count);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static enum ctl_status dead_retry(struct ctl *ctl)
{
    const char *const *servers;
    size_t count = config_list(ctl->config, "redis", "servers", &servers), made = 0;
    struct queue *queues[16] = {NULL};
    int64_t id = 0, done = 0;
    enum ctl_status status = check_chosen(ctl, &id);
    struct error err;
    bool ok = true, found = true;

    if (status != CTL_OK) {
        return status;
    }
    for (; ok && made < count && made < 16; made++) {
        ok = queue_create(&queues[made], ctl->config, servers[made], &err);
    }
    if (ok && ctl->all) {
        ok = retry_all(ctl, queues, made, &done, &err);
    } else if (ok) {
        ok = retry_one(ctl, queues, made, id, &found, &err);
        done = found;
    }
    for (size_t i = 0; i < made; i++) {
        queue_destroy(&queues[i]);
    }
    if (!ok) {
        if (done > 0) {
            ctl_say("%" PRId64 " were put back before this", done);
        }
        return ctl_fail(&err);
    }
    return found
               ? say_count(ctl, "retried", done, "put back; studyctl dead ls shows what dies again")
               : rows_none("dead_event", ctl->args[0]);
}

static enum ctl_status dead_purge(struct ctl *ctl)
{
    int64_t id = 0, count = 1;
    enum ctl_status status = check_chosen(ctl, &id);
    struct pg_result *res = NULL;
    struct error err;

    if (status != CTL_OK) {
        return status;
    }
    if (ctl->all && !operate_dead_count(ctl->pg, ctl->reason, ctl->before, &count, &err)) {
        return ctl_fail(&err);
    }
    if (count > 0 && !ctl_sure(ctl, &status,
                               "%" PRId64 " element%s will be gone for good, and with %s what a "
                               "member may have written",
                               count, count == 1 ? "" : "s", count == 1 ? "it" : "them")) {
        return status;
    }
    if (ctl->all) {
        return operate_dead_purge(ctl->pg, ctl->reason, ctl->before, &count, &err)
                   ? say_count(ctl, "purged", count, "deleted")
                   : ctl_fail(&err);
    }
    if (!operate_dead_take(ctl->pg, id, &res, &err)) {
        return ctl_fail(&err);
    }
    count = pg_rows(res);
    pg_result_destroy(&res);
    return count > 0 ? say_count(ctl, "purged", count, "deleted")
                     : rows_none("dead_event", ctl->args[0]);
}

/* ---- digests and replies ---- */

/* Of DONE, NONE and REFUSED; what it was asked about is done with by then. */
static enum ctl_status report(const struct ctl *ctl, const char *what, int64_t id,
                              const struct operate_said *said, const char *sentence)
{
    if (said->verdict == OPERATE_NONE) {
        return rows_none(what, ctl->args[0]);
    }
    if (said->verdict != OPERATE_DONE) {
        return ctl_say("%s %" PRId64 ": %s", what, id, said->why);
    }
    if (!ctl->json) {
        printf("%s %" PRId64 " %s%s%s\n", what, id, sentence, said->why[0] != '\0' ? "; " : "",
               said->why);
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kint(w, "id", id);
    json_put_kcstr(w, "done", sentence);
    json_put_kcstr(w, "waits", said->why);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static enum ctl_status digest_retry(struct ctl *ctl)
{
    int64_t deadline_ms = config_int(ctl->config, "digest", "deadline"), id;
    struct operate_said said = {OPERATE_NONE, ""};
    struct error err;

    if (!rows_id(ctl, &id)) {
        return CTL_USAGE;
    }
    if (!operate_digest_retry(ctl->pg, id, ctl->again, deadline_ms, &said, &err)) {
        return ctl_fail(&err);
    }
    if (said.verdict == OPERATE_ASK) {
        return ctl_say("digest %" PRId64 ": %s; say --again to have that", id, said.why);
    }
    return report(ctl, "digest", id, &said, "is made anew");
}

static enum ctl_status outbox_retry(struct ctl *ctl)
{
    struct operate_said said = {OPERATE_NONE, ""};
    enum ctl_status status = CTL_OK;
    struct error err;
    int64_t id;

    if (!rows_id(ctl, &id)) {
        return CTL_USAGE;
    }
    if (!operate_outbox_retry(ctl->pg, id, false, &said, &err)) {
        return ctl_fail(&err);
    }
    if (said.verdict == OPERATE_ASK) {
        if (!ctl_sure(ctl, &status, "reply %" PRId64 ": %s", id, said.why)) {
            return status;
        }
        if (!operate_outbox_retry(ctl->pg, id, true, &said, &err)) {
            return ctl_fail(&err);
        }
    }
    return report(ctl, "reply", id, &said, "is sent again");
}

static enum ctl_status outbox_park(struct ctl *ctl)
{
    struct operate_said said = {OPERATE_NONE, ""};
    struct error err;
    int64_t id;

    if (!rows_id(ctl, &id)) {
        return CTL_USAGE;
    }
    if (!operate_outbox_park(ctl->pg, id, &said, &err)) {
        return ctl_fail(&err);
    }
    return report(ctl, "reply", id, &said, "is parked");
}

const struct ctl_command cmd_retry_commands[] = {
    {"dead retry", "[ID]", 0, 1, "arb",
     "Puts an element that could not be stored back into Redis.\n\n"
     "For after the repair: a schedule that was missing is there, a newer worker reads what the "
     "older could not. The row goes once Redis has acknowledged the element; one that cannot be "
     "stored now either comes back as a new row. Repeating it is harmless, for storing is. "
     "--all takes those that are there now, or of them those of one --reason, or --before a time.",
     true, dead_retry},
    {"dead purge", "[ID]", 0, 1, "arby",
     "Deletes an element that could not be stored, for good; asks, or takes --yes.\n\n"
     "Nothing waits for these rows; retention takes them as well.",
     true, dead_purge},
    {"digest retry", "ID", 1, 1, "g",
     "Has a digest made anew, from what is left of its messages.\n\n"
     "May be: one that was cancelled, one that was made without a model, one whose reply failed; a "
     "pending one is taken up at once. May not: one that is being made, whose reply is on its way, "
     "whose messages are all gone, or whose member wants none. One whose reply was sent, or may "
     "have been, only with --again: then the member gets a second message. The deadline counts "
     "anew; a reply that waited is cancelled.",
     true, digest_retry},
    {"outbox retry", "ID", 1, 1, "y",
     "Sends a reply that failed or was parked; its age and attempts count anew.\n\n"
     "A lane that is stopped is tried again. One that was parked or is doubtful may have been sent "
     "already, and the member may get it twice: asks, or takes --yes.",
     true, outbox_retry},
    {"outbox park", "ID", 1, 1, "",
     "Takes a waiting reply out of its lane, until outbox retry; the next one goes on.", true,
     outbox_park},
    {0},
};
