/* studyctl trace: what it is asked about, and whose story that is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/rows.h"
#include "ctl/trace.h"
#include "db/trace.h"

#define STORIES_MAX 200

struct asked { /* words are cut out of `copy` */
    char copy[400];
    char ts[20];
    struct trace_key key;
};

/* ".../archives/C123/p1531420618000200?thread_ts=..." */
static bool read_permalink(struct asked *a)
{
    char *channel = strstr(a->copy, "/archives/");
    char *digits, *end;

    if (channel == NULL) {
        return false;
    }
    channel += strlen("/archives/");
    digits = strstr(channel, "/p");
    if (digits == NULL || strspn(digits + 2, "0123456789") != 16) {
        return false;
    }
    end = digits + 2 + 16;
    if (*end != '\0' && *end != '?' && *end != '#' && *end != '/') {
        return false;
    }
    *digits = '\0';
    snprintf(a->ts, sizeof(a->ts), "%.10s.%.6s", digits + 2, digits + 12);
    a->key = (struct trace_key){NULL, channel, a->ts};
    return slack_is_id(str_of(channel));
}

/* "team/channel/ts", "channel/ts" */
static bool read_key(struct asked *a)
{
    char *first = strchr(a->copy, '/'), *second = first != NULL ? strchr(first + 1, '/') : NULL;

    if (first == NULL) {
        return false;
    }
    *first = '\0';
    if (second != NULL) {
        *second = '\0';
        a->key = (struct trace_key){a->copy, first + 1, second + 1};
    } else {
        a->key = (struct trace_key){NULL, a->copy, first + 1};
    }
    return (a->key.team == NULL || slack_is_id(str_of(a->key.team))) &&
           slack_is_id(str_of(a->key.channel)) && slack_is_ts(str_of(a->key.ts));
}

/* "digest:7", "outbox:7" or a bare number, which is a reply's. */
static bool read_number(const char *text, const char *prefix, int64_t *id)
{
    size_t len = strlen(prefix);
    uint64_t n;

    if (strncmp(text, prefix, len) != 0 || !str_to_u64(str_of(text + len), &n) || n > INT64_MAX) {
        return false;
    }
    *id = (int64_t)n;
    return true;
}

static enum ctl_status print_one(struct ctl *ctl, struct story *story, bool ok, bool found,
                                 const struct error *err)
{
    if (!ok) {
        return ctl_fail(err);
    }
    if (!found && story_steps(story) == 0) {
        return rows_none("trace of", ctl->args[0]);
    }
    enum ctl_status status = story_print(ctl, ctl->args[0], &story, 1);
    return found ? status : CTL_FAILED;
}

/* An event's or a request's id. Of a message's event nothing keeps it once the message is stored:
 * Slack sends one message under several, so it is kept by channel and ts alone. */
static bool tell_id(struct ctl *ctl, const char *id, struct story *story, bool *found,
                    struct error *err)
{
    struct pg_result *applied = NULL;

    if (!trace_applied(ctl->pg, id, &applied, err)) {
        return false;
    }
    for (int row = 0; row < pg_rows(applied); row++) {
        story_add(story, "applied", STORY_DONE, pg_str(applied, row, 1), "%.*s",
                  STR_ARG(pg_str(applied, row, 0)));
        *found = true;
    }
    pg_result_destroy(&applied);
    if (!trace_tell_waiting(ctl, id, "", story, found, err)) {
        return false;
    }
    if (!*found) {
        story_add(
            story, "stored", STORY_UNKNOWN, STR_NULL,
            "it waits nowhere and is not dead; if it was a message, its row is kept by channel "
            "and time, not by this id: ask for its permalink or CHANNEL/TS");
    }
    return true;
}

static bool is_date(const char *text)
{
    return strlen(text) == 10 && strspn(text, "0123456789-") == 10 && text[4] == '-' &&
           text[7] == '-';
}

/* The notice and the switches first: they stand before every digest. */
static bool tell_member(struct ctl *ctl, const struct pg_result *members, int row,
                        struct story *story, struct error *err)
{
    const char *team = pg_str(members, row, TU_TEAM).data;
    struct pg_result *notices = NULL;
    bool ok = true, found;

    if (pg_bool(members, row, TU_FORGOTTEN)) {
        story_add(story, "member", STORY_STOPPED, STR_NULL,
                  "was forgotten: what they wrote before that is not kept");
    }
    if (!pg_is_null(members, row, TU_NOTICED_AT)) {
        story_add(story, "notice", STORY_DONE, pg_str(members, row, TU_NOTICED_AT),
                  "the privacy notice reached them");
    } else if ((ok = trace_notices(ctl->pg, team, ctl->args[0], &notices, err)) &&
               pg_rows(notices) > 0) {
        ok = trace_tell_reply(ctl, pg_int(notices, 0, TR_ID), story, &found, err);
    } else if (ok) {
        story_add(story, "notice", STORY_WAITS, STR_NULL,
                  "no privacy notice yet: one is sent with the first digest that is due");
    }
    pg_result_destroy(&notices);
    if (!pg_bool(members, row, TU_DIGESTS) || str_is(pg_str(members, row, TU_CONSENT), "no")) {
        story_add(story, "member", STORY_STOPPED, STR_NULL, "wants no digests (consent: %.*s)",
                  STR_ARG(pg_str(members, row, TU_CONSENT)));
    }
    if (!str_is(pg_str(members, row, TU_STANDING), "person") &&
        !(str_is(pg_str(members, row, TU_STANDING), "external") &&
          config_bool(ctl->config, "privacy", "external_members"))) {
        story_add(story, "member", STORY_STOPPED, STR_NULL,
                  "gets no digests, being %.*s as Slack says",
                  STR_ARG(pg_str(members, row, TU_STANDING)));
    }
    return ok;
}

static bool tell_day(struct ctl *ctl, const char *team, struct story **stories, size_t *count,
                     struct error *err)
{
    const char *day = ctl->args_count > 1 ? ctl->args[1] : NULL;
    struct pg_result *messages = NULL;

    if (!trace_day(ctl->pg, team, ctl->args[0], day, &messages, err)) {
        return false;
    }
    bool ok = true;
    for (int row = 0; ok && row < pg_rows(messages) && *count < STORIES_MAX; row++) {
        struct trace_key key = {team, pg_str(messages, row, 0).data, pg_str(messages, row, 1).data};
        char what[220];

        snprintf(what, sizeof(what), "%s/%s/%s", team, key.channel, key.ts);
        stories[*count] = story_create(what);
        ok = trace_tell_message(ctl, &key, stories[(*count)++], err);
    }
    pg_result_destroy(&messages);
    return ok;
}

static enum ctl_status trace_user(struct ctl *ctl)
{
    struct story *stories[STORIES_MAX] = {NULL};
    struct pg_result *members = NULL;
    size_t count = 0;
    struct error err;
    enum ctl_status status;

    if (ctl->args_count > 1 && !is_date(ctl->args[1])) {
        return ctl_misused("%s is no date; write 2026-11-22", ctl->args[1]);
    }
    bool ok = trace_members(ctl->pg, ctl->args[0], &members, &err);
    for (int row = 0; ok && row < pg_rows(members) && count < STORIES_MAX; row++) {
        char what[200];

        snprintf(what, sizeof(what), "%s in %.*s", ctl->args[0],
                 STR_ARG(pg_str(members, row, TU_TEAM)));
        stories[count] = story_create(what);
        ok = tell_member(ctl, members, row, stories[count++], &err) &&
             tell_day(ctl, pg_str(members, row, TU_TEAM).data, stories, &count, &err);
    }
    if (!ok) {
        status = strncmp(err.code, "22", 2) == 0 ? ctl_misused("%s is no date", ctl->args[1])
                                                 : ctl_fail(&err);
    } else if (count == 0) {
        status = rows_none("member", ctl->args[0]);
    } else {
        status = story_print(ctl, ctl->args[0], stories, count);
    }
    for (size_t i = 0; i < count; i++) {
        story_destroy(&stories[i]);
    }
    pg_result_destroy(&members);
    return status;
}

static enum ctl_status trace_one(struct ctl *ctl, const char *text)
{
    struct story *story = story_create(text);
    struct asked asked = {.ts = ""};
    bool found = true, ok;
    struct error err;
    int64_t id;

    snprintf(asked.copy, sizeof(asked.copy), "%s", text);
    if (read_permalink(&asked)) {
        ok = trace_tell_message(ctl, &asked.key, story, &err);
    } else if (snprintf(asked.copy, sizeof(asked.copy), "%s", text) > 0 && read_key(&asked)) {
        ok = trace_tell_message(ctl, &asked.key, story, &err);
    } else if (read_number(text, "digest:", &id)) {
        ok = trace_tell_digest(ctl, id, story, &found, &err);
    } else if (read_number(text, "outbox:", &id) || read_number(text, "", &id)) {
        ok = trace_tell_reply(ctl, id, story, &found, &err);
    } else if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") <
                   strlen(text) ||
               strlen(text) < 6 || strlen(text) > 200) {
        story_destroy(&story);
        return ctl_misused(
            "%s is no permalink, TEAM/CHANNEL/TS, event or request id, reply's number "
            "or member",
            text);
    } else {
        found = false;
        ok = tell_id(ctl, text, story, &found, &err);
    }
    enum ctl_status status = print_one(ctl, story, ok, found, &err);
    story_destroy(&story);
    return status;
}

/* A member's id: not to be taken for a request's. */
static bool is_user(const char *text)
{
    return (text[0] == 'U' || text[0] == 'W') && strlen(text) >= 2 &&
           strspn(text + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == strlen(text + 1);
}

static enum ctl_status run_trace(struct ctl *ctl)
{
    if (is_user(ctl->args[0])) {
        return trace_user(ctl);
    }
    if (ctl->args_count > 1) {
        return ctl_misused("a date goes with a member's id");
    }
    return trace_one(ctl, ctl->args[0]);
}

const struct ctl_command cmd_trace_commands[] = {
    {"trace", "WHAT [DATE]", 1, 2, "x",
     "Follows one message from nginx to the member's digest, or says where it stopped, and why.\n\n"
     "WHAT is a permalink, TEAM/CHANNEL/TS or CHANNEL/TS; a reply's number (outbox:7, or 7) or "
     "digest:7; an event id (Ev...), a request id of nginx or an idempotency key; or a member's "
     "id, "
     "with a DATE by the member's clock or for the last day on which they wrote.\n\n"
     "What is not stored is searched in Redis (of a list of more than 20,000 the first and the "
     "last "
     "10,000) and among the newest 10,000 dead events. A message's event id is kept by nobody once "
     "the message is stored, for Slack sends one message under several. Steps marked ~ go on by "
     "themselves, those marked ! do not.",
     true, run_trace},
    {0},
};
