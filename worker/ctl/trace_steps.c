/*
 * The steps of a story. What stands in the way is told in the order in which the roles look at it:
 * a stopped workspace before a stopped lane before a pause before a time that has not come.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/trace.h"
#include "db/trace.h"
#include "ingest/queue.h"

#define SEARCH_MOST 20000 /* elements of a server's pending list */

static struct str nothing(void)
{
    return STR_NULL;
}

/* ---- waiting in Redis, or dead ---- */

static void tell_hit(struct story *story, const char *server, const struct queue_hit *hit)
{
    static const char *const lists[] = {
        [QUEUE_CONTROL] = "control", [QUEUE_SUSPECT] = "suspect", [QUEUE_PENDING] = "pending"};
    int64_t age = hit->received_at_ms > 0 ? (clock_wall_ms() - hit->received_at_ms) / 1000 : 0;

    story_add(story, "accepted", STORY_DONE, nothing(), "by nginx, %" PRId64 " s ago",
              age > 0 ? age : 0);
    if (hit->leased) {
        story_add(story, "queue", STORY_WAITS, nothing(),
                  "in a store's hands, taken from %s of %s; committed within seconds",
                  lists[hit->list], server);
    } else {
        story_add(story, "queue", STORY_WAITS, nothing(),
                  "in the list %s of %s, %" PRId64 " before it%s", lists[hit->list], server,
                  hit->ahead,
                  hit->list == QUEUE_SUSPECT ? "; its batch's lease ended, it is tried alone" : "");
    }
}

static void search_server(struct ctl *ctl, const char *server, const struct str words[2],
                          struct story *story, bool *found)
{
    struct queue *queue = NULL;
    struct queue_hit hit;
    struct error err;

    if (!queue_create(&queue, ctl->config, server, &err) ||
        !queue_find(queue, words, 2, SEARCH_MOST, &hit, &err)) {
        story_add(story, "queue", STORY_UNKNOWN, nothing(), "%s", err.text);
    } else if (hit.found) {
        tell_hit(story, server, &hit);
        *found = true;
    } else if (hit.searched < hit.length) {
        story_add(story, "queue", STORY_UNKNOWN, nothing(),
                  "%s: not among the first and last %d of the %" PRId64
                  " elements that wait; the ones between were not looked at",
                  server, SEARCH_MOST / 2, hit.length);
    }
    queue_destroy(&queue);
}

bool trace_tell_waiting(struct ctl *ctl, const char *word, const char *other, struct story *story,
                        bool *found, struct error *err)
{
    const struct str words[] = {str_of(word), str_of(other)};
    const char *const *servers;
    size_t count = config_list(ctl->config, "redis", "servers", &servers);
    struct pg_result *dead = NULL;

    for (size_t i = 0; i < count; i++) {
        search_server(ctl, servers[i], words, story, found);
    }
    if (!trace_dead(ctl->pg, word, other, &dead, err)) {
        return false;
    }
    for (int row = 0; row < pg_rows(dead); row++) {
        story_add(story, "dead", STORY_STOPPED, pg_str(dead, row, 2),
                  "could not be stored: %.*s; studyctl dead show %" PRId64,
                  STR_ARG(pg_str(dead, row, 1)), pg_int(dead, row, 0));
        *found = true;
    }
    pg_result_destroy(&dead);
    return true;
}

/* ---- replies ---- */

static void tell_unsent(const struct pg_result *r, int row, struct story *story)
{
    int64_t id = pg_int(r, row, TR_ID);
    struct str next = pg_str(r, row, TR_NEXT_AT);

    if (!pg_is_null(r, row, TR_TEAM_STOPPED)) {
        story_add(story, "reply", STORY_STOPPED, nothing(),
                  "reply %" PRId64 " waits: the workspace is stopped (%.*s); studyctl team check",
                  id, STR_ARG(pg_str(r, row, TR_TEAM_STOPPED)));
    } else if (!pg_is_null(r, row, TR_LANE_STOPPED)) {
        story_add(story, "reply", STORY_STOPPED, pg_str(r, row, TR_LANE_AT),
                  "reply %" PRId64
                  " waits: nothing can be sent there (%.*s); it is tried again then, "
                  "or by studyctl outbox retry",
                  id, STR_ARG(pg_str(r, row, TR_LANE_STOPPED)));
    } else if (!pg_is_null(r, row, TR_PAUSED)) {
        story_add(story, "reply", STORY_STOPPED, nothing(),
                  "reply %" PRId64 " waits: deliver is paused (%.*s); studyctl resume deliver", id,
                  STR_ARG(pg_str(r, row, TR_PAUSED)));
    } else if (!pg_is_null(r, row, TR_WAIT)) {
        story_add(story, "reply", STORY_WAITS, pg_str(r, row, TR_WAIT),
                  "reply %" PRId64 " waits: Slack wants a rest until then", id);
    } else if (pg_int(r, row, TR_AHEAD) > 0) {
        story_add(story, "reply", STORY_WAITS, nothing(),
                  "reply %" PRId64 " waits for %" PRId64 " before it in its lane", id,
                  pg_int(r, row, TR_AHEAD));
    } else {
        story_add(story, "reply", STORY_WAITS, next,
                  "reply %" PRId64 " is sent then, or within seconds%s; %" PRId64 " attempts%s%.*s",
                  id, pg_bool(r, row, TR_HOLD) ? ", but not in the member\'s quiet hours" : "",
                  pg_int(r, row, TR_ATTEMPTS), pg_is_null(r, row, TR_ERROR) ? "" : ", the last: ",
                  STR_ARG(pg_str(r, row, TR_ERROR)));
    }
}

static void tell_reply_row(const struct pg_result *r, int row, struct story *story)
{
    struct str state = pg_str(r, row, TR_STATE), error = pg_str(r, row, TR_ERROR);
    struct str done = pg_str(r, row, TR_DONE_AT);
    int64_t id = pg_int(r, row, TR_ID);

    if (str_is(state, "pending")) {
        tell_unsent(r, row, story);
    } else if (str_is(state, "sent")) {
        story_add(story, "sent", STORY_DONE, done,
                  "reply %" PRId64 " to %.*s, message %.*s in %.*s", id,
                  STR_ARG(pg_str(r, row, TR_TARGET)), STR_ARG(pg_str(r, row, TR_SENT_TS)),
                  STR_ARG(pg_str(r, row, TR_CHANNEL)));
    } else if (str_is(state, "sending")) {
        story_add(story, "reply", STORY_WAITS, nothing(), "reply %" PRId64 " is being sent", id);
    } else if (str_is(state, "doubtful")) {
        story_add(story, "reply", STORY_WAITS, pg_str(r, row, TR_NEXT_AT),
                  "reply %" PRId64 " may have been sent (%.*s): looked up in the channel then", id,
                  STR_ARG(error));
    } else if (str_is(state, "cancelled")) {
        story_add(story, "reply", STORY_STOPPED, done, "reply %" PRId64 " was cancelled: %.*s", id,
                  STR_ARG(error));
    } else {
        story_add(story, "reply", STORY_STOPPED, done,
                  "reply %" PRId64 " is %.*s: %.*s; studyctl outbox retry %" PRId64, id,
                  STR_ARG(state), STR_ARG(error), id);
    }
}

bool trace_tell_reply(struct ctl *ctl, int64_t outbox_id, struct story *story, bool *found,
                      struct error *err)
{
    struct pg_result *reply = NULL;

    if (!trace_reply(ctl->pg, outbox_id, &reply, err)) {
        return false;
    }
    *found = pg_rows(reply) > 0;
    bool ok = true;
    if (*found && !pg_is_null(reply, 0, TR_DIGEST_ID)) {
        bool digest_found;

        ok = trace_tell_digest(ctl, pg_int(reply, 0, TR_DIGEST_ID), story, &digest_found, err);
    } else if (*found) {
        story_add(story, "reply", STORY_DONE, pg_str(reply, 0, TR_CREATED_AT),
                  "%.*s for %.*s in %.*s", STR_ARG(pg_str(reply, 0, TR_KIND)),
                  STR_ARG(pg_str(reply, 0, TR_TARGET)), STR_ARG(pg_str(reply, 0, TR_TEAM)));
        tell_reply_row(reply, 0, story);
    }
    pg_result_destroy(&reply);
    return ok;
}

/* ---- digests ---- */

static void tell_unmade(const struct pg_result *r, int row, struct story *story)
{
    int64_t id = pg_int(r, row, TD_ID);

    if (!pg_is_null(r, row, TD_TEAM_STOPPED)) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  "digest %" PRId64 " waits: the workspace is stopped (%.*s); studyctl team check",
                  id, STR_ARG(pg_str(r, row, TD_TEAM_STOPPED)));
    } else if (!pg_is_null(r, row, TD_LANE_STOPPED)) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  "digest %" PRId64 " waits: nothing can be sent to the member (%.*s)", id,
                  STR_ARG(pg_str(r, row, TD_LANE_STOPPED)));
    } else if (!pg_bool(r, row, TD_NOTICED)) {
        story_add(story, "digest", STORY_WAITS, nothing(),
                  "digest %" PRId64 " waits: the privacy notice has not reached the member yet",
                  id);
    } else if (!pg_is_null(r, row, TD_PAUSED)) {
        story_add(story, "digest", STORY_STOPPED, pg_str(r, row, TD_DEADLINE),
                  "digest %" PRId64 " waits: digest is paused (%.*s)", id,
                  STR_ARG(pg_str(r, row, TD_PAUSED)));
    } else {
        story_add(story, "digest", STORY_WAITS, pg_str(r, row, TD_NEXT_AT),
                  "digest %" PRId64 " is %s, next looked at then (%" PRId64
                  " attempts%s%.*s); without a model from %.19s on",
                  id, str_is(pg_str(r, row, TD_STATE), "running") ? "being made" : "to be made",
                  pg_int(r, row, TD_ATTEMPTS), pg_is_null(r, row, TD_ERROR) ? "" : ", the last: ",
                  STR_ARG(pg_str(r, row, TD_ERROR)), pg_str(r, row, TD_DEADLINE).data);
    }
}

static bool tell_digest_row(struct ctl *ctl, const struct pg_result *r, int row,
                            struct story *story, struct error *err)
{
    struct str state = pg_str(r, row, TD_STATE);
    int64_t id = pg_int(r, row, TD_ID);
    struct pg_result *replies = NULL;

    story_add(story, "digest", STORY_DONE, pg_str(r, row, TD_CREATED_AT),
              "owed: digest %" PRId64 ", by schedule %.*s for %.19s", id,
              STR_ARG(pg_str(r, row, TD_SCHEDULE)), pg_str(r, row, TD_FIRE_AT).data);
    if (pg_bool(r, row, TD_GONE)) {
        story_add(story, "digest", STORY_DONE, nothing(),
                  "the message was deleted: the digest was told, and goes without it");
    }
    if (str_is(state, "cancelled")) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  "digest %" PRId64 " was cancelled: %.*s; studyctl digest retry %" PRId64, id,
                  STR_ARG(pg_str(r, row, TD_ERROR)), id);
        return true;
    }
    if (!str_is(state, "made")) {
        tell_unmade(r, row, story);
        return true;
    }
    story_add(story, "digest", STORY_DONE, pg_str(r, row, TD_MADE_AT), "made %s%s%.*s",
              str_is(pg_str(r, row, TD_ORIGIN), "model") ? "by the model" : "of facts alone",
              pg_is_null(r, row, TD_ERROR) ? "" : ": ", STR_ARG(pg_str(r, row, TD_ERROR)));
    if (!trace_replies_of_digest(ctl->pg, id, &replies, err)) {
        return false;
    }
    for (int i = 0; i < pg_rows(replies); i++) {
        tell_reply_row(replies, i, story);
    }
    pg_result_destroy(&replies);
    return true;
}

bool trace_tell_digest(struct ctl *ctl, int64_t digest_id, struct story *story, bool *found,
                       struct error *err)
{
    struct pg_result *r = NULL;

    if (!trace_digest(ctl->pg, digest_id, &r, err)) {
        return false;
    }
    *found = pg_rows(r) > 0;
    bool ok = !*found || tell_digest_row(ctl, r, 0, story, err);
    pg_result_destroy(&r);
    return ok;
}

/* ---- messages ---- */

/* No digest took it: who will, or why nobody does. */
static bool tell_not_taken(struct ctl *ctl, const struct pg_result *m, struct story *story,
                           struct error *err)
{
    struct pg_result *schedules = NULL;
    bool any = false;

    if (!pg_bool(m, 0, TM_IS_RECORD)) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  "no record of study: no words (of a reply: fewer than ten characters), no link, "
                  "no file");
        return true;
    }
    if (!pg_bool(m, 0, TM_WANTED)) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  "its member wants no digests (studyctl member show %.*s %.*s)",
                  STR_ARG(pg_str(m, 0, TM_TEAM)), STR_ARG(pg_str(m, 0, TM_USER)));
        return true;
    }
    if (pg_bool(m, 0, TM_PRIVATE) && !config_bool(ctl->config, "privacy", "private_channels")) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  "its channel is private, and [privacy] private_channels = no");
        return true;
    }
    if (!trace_schedules(ctl->pg, pg_str(m, 0, TM_TEAM).data, pg_str(m, 0, TM_CHANNEL).data,
                         &schedules, err)) {
        return false;
    }
    for (int row = 0; row < pg_rows(schedules); row++) {
        if (!pg_bool(schedules, row, 1)) {
            story_add(story, "digest", STORY_WAITS, pg_str(schedules, row, 2),
                      "in none yet; schedule %.*s fires then, and takes what was posted within its "
                      "window (daily 48 hours, weekly 8 days)",
                      STR_ARG(pg_str(schedules, row, 0)));
            any = true;
        }
    }
    if (!any) {
        story_add(story, "digest", STORY_STOPPED, nothing(),
                  pg_rows(schedules) > 0 ? "in none: every schedule for it is paused"
                                         : "in none: no schedule is for it");
    }
    pg_result_destroy(&schedules);
    return true;
}

static bool tell_stored(struct ctl *ctl, const struct pg_result *m, struct story *story,
                        struct error *err)
{
    struct pg_result *digests = NULL;

    story_add(story, "accepted", STORY_DONE, pg_str(m, 0, TM_ACCEPTED_AT), "by nginx, posted %.19s",
              pg_str(m, 0, TM_POSTED_AT).data);
    story_add(story, "stored", STORY_DONE, pg_str(m, 0, TM_STORED_AT),
              "%.*s/%.*s/%.*s of %.*s, %" PRId64 " characters%s", STR_ARG(pg_str(m, 0, TM_TEAM)),
              STR_ARG(pg_str(m, 0, TM_CHANNEL)), STR_ARG(pg_str(m, 0, TM_TS)),
              STR_ARG(pg_is_null(m, 0, TM_USER) ? STR("somebody unknown") : pg_str(m, 0, TM_USER)),
              pg_int(m, 0, TM_CHARACTERS), pg_bool(m, 0, TM_EDITED) ? ", edited since" : "");
    story_text(story, pg_str(m, 0, TM_TEXT));
    if (pg_bool(m, 0, TM_DELETED)) {
        story_add(story, "stored", STORY_STOPPED, nothing(),
                  "deleted in Slack: a tombstone without text");
    }
    if (!trace_digests_of_message(ctl->pg, pg_str(m, 0, TM_TEAM).data,
                                  pg_str(m, 0, TM_CHANNEL).data, pg_str(m, 0, TM_TS).data, &digests,
                                  err)) {
        return false;
    }
    bool ok = true;
    for (int row = 0; ok && row < pg_rows(digests); row++) {
        ok = tell_digest_row(ctl, digests, row, story, err);
    }
    if (ok && pg_rows(digests) == 0 && !pg_bool(m, 0, TM_DELETED)) {
        ok = tell_not_taken(ctl, m, story, err);
    }
    pg_result_destroy(&digests);
    return ok;
}

static bool tell_nowhere(struct ctl *ctl, const struct trace_key *key, struct story *story,
                         struct error *err)
{
    int64_t retention_s = config_int(ctl->config, "privacy", "retention") / 1000;
    struct pg_result *r = NULL;

    if (!trace_absent(ctl->pg, key->channel, key->ts, &r, err)) {
        return false;
    }
    if (pg_int(r, 0, TA_AGE_S) > retention_s) {
        story_add(story, "stored", STORY_STOPPED, pg_str(r, 0, TA_POSTED_AT),
                  "posted longer ago than [privacy] retention: not kept, or not any more");
    } else if (!pg_bool(r, 0, TA_HAS_CHANNEL)) {
        story_add(story, "stored", STORY_STOPPED, nothing(),
                  "nothing of %s is recorded: is the bot invited, and the channel a public one?",
                  key->channel);
    } else {
        story_add(
            story, "stored", STORY_STOPPED, nothing(),
            "not here: never answered 200 by nginx (its log and /study/metrics tell), of a kind "
            "that is not recorded (bots, joins, people of other organisations), or of a "
            "member who was forgotten");
    }
    pg_result_destroy(&r);
    return true;
}

bool trace_tell_message(struct ctl *ctl, const struct trace_key *key, struct story *story,
                        struct error *err)
{
    struct pg_result *m = NULL;
    bool waiting = false;

    if (!trace_message(ctl->pg, key->team, key->channel, key->ts, ctl->show_text, &m, err)) {
        return false;
    }
    bool ok = pg_rows(m) > 0
                  ? tell_stored(ctl, m, story, err)
                  : trace_tell_waiting(ctl, key->ts, key->channel, story, &waiting, err) &&
                        (waiting || tell_nowhere(ctl, key, story, err));
    pg_result_destroy(&m);
    return ok;
}
