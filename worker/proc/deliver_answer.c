/*
 * What Slack's answers mean for a job (slack/outcome.h). Only a message and an answer to a command
 * can be doubtful: everything else may be repeated at will.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "proc/deliver_job.h"
#include "slack/web.h"

#define PAGES_MAX       20
#define TEAM_REST_MS    60000
#define SCOPE_REST_MS   3600000 /* of a method that the app was not given the scope for */
#define PROFILE_REST_MS 30000

static void post_answered(struct job *job, const struct slack_side *slack,
                          struct slack_answer *answer)
{
    struct str ts = json_get_string(answer->root, "ts");
    int64_t over = job->asked_ms + slack->timeout_ms - clock_boot_ms();

    if (answer->outcome == SLACK_OK && !slack_is_ts(ts)) {
        answer->outcome = SLACK_DOUBTFUL;
        snprintf(answer->code, sizeof(answer->code), "no_ts");
    }
    switch (answer->outcome) {
    case SLACK_OK:
        job_finish(job, OUTBOX_SENT, 0, "");
        snprintf(job->sent_ts, sizeof(job->sent_ts), "%.*s", STR_ARG(ts));
        break;
    case SLACK_DOUBTFUL:
        metrics_add(METRIC_RETRIES_TOTAL, "slack", NULL, 1);
        job_finish(job, OUTBOX_DOUBTFUL, slack->settle_ms + (over > 0 ? over : 0), answer->code);
        break;
    case SLACK_MESSAGE_NEVER:
        job_finish(job, OUTBOX_FAILED, 0, answer->code);
        break;
    case SLACK_CHANNEL_NEVER:
        job_finish(job, OUTBOX_FAILED, 0, answer->code);
        job->stop_lane = true;
        break;
    default:
        job_again(job, answer->code);
        break;
    }
}

/* An answer to a command cannot be looked up, so a doubtful one has its end here; and what is wrong
 * with a response_url says nothing about the workspace. */
static void response_answered(struct job *job, const struct slack_answer *answer)
{
    switch (answer->outcome) {
    case SLACK_OK:
        job_finish(job, OUTBOX_SENT, 0, "");
        break;
    case SLACK_DOUBTFUL:
        job_finish(job, OUTBOX_PARKED, 0, answer->code);
        break;
    case SLACK_NOT_SENT:
    case SLACK_RETRY:
        job_again(job, answer->code);
        if (job->wait_ms < answer->wait_ms) {
            job->wait_ms = answer->wait_ms;
        }
        break;
    default:
        job_finish(job, OUTBOX_FAILED, 0, answer->code);
        break;
    }
}

/* A reaction or a deletion: what is so already is as good as done, and a doubtful one is asked for
 * again. */
static void change_answered(struct job *job, struct slack_answer *answer)
{
    bool done = strcmp(answer->code,
                       job->asked == STEP_REACT ? "already_reacted" : "message_not_found") == 0;

    if (answer->outcome == SLACK_OK || done) {
        job_finish(job, OUTBOX_SENT, 0, "");
    } else if (strcmp(answer->code, "missing_scope") == 0) {
        /* the app was installed without it: that is no reason to stop the digests */
        answer->outcome = SLACK_RETRY;
        answer->wait_ms = SCOPE_REST_MS;
        job_finish(job, OUTBOX_FAILED, 0, answer->code);
    } else if (answer->outcome == SLACK_MESSAGE_NEVER || answer->outcome == SLACK_CHANNEL_NEVER) {
        job_finish(job, OUTBOX_FAILED, 0, answer->code);
        job->stop_lane = answer->outcome == SLACK_CHANNEL_NEVER;
    } else {
        job_again(job, answer->code);
    }
}

static void open_answered(struct job *job, const struct slack_answer *answer)
{
    struct str channel = json_string(json_path(answer->root, "channel.id"));

    if (answer->outcome == SLACK_OK && slack_is_id(channel)) {
        job->opened = str_dup(channel);
        job->work->channel_id = str_dup(channel);
        job->state = JOB_READY;
    } else if (answer->outcome == SLACK_CHANNEL_NEVER) {
        job_finish(job, OUTBOX_FAILED, 0, answer->code);
        job->stop_lane = true;
    } else {
        job_again(job, answer->outcome == SLACK_OK ? "conversations.open gave no channel"
                                                   : answer->code);
    }
}

static void look_answered(struct job *job, const struct slack_answer *answer)
{
    struct str ts, cursor;

    if (answer->outcome == SLACK_CHANNEL_NEVER || answer->outcome == SLACK_MESSAGE_NEVER) {
        job_finish(job, OUTBOX_PARKED, 0, answer->code);
        job->stop_lane = answer->outcome == SLACK_CHANNEL_NEVER;
        return;
    }
    if (answer->outcome != SLACK_OK ||
        json_type(json_get(answer->root, "messages")) != JSON_ARRAY) {
        job_again(job,
                  answer->outcome == SLACK_OK ? "the history could not be read" : answer->code);
        return;
    }
    ts = slack_find_post(answer->root, job_event_type(job->work), str_of(job->work->bot_user_id),
                         job->work->outbox_id);
    cursor = slack_next_cursor(answer->root);
    if (slack_is_ts(ts)) {
        job_finish(job, OUTBOX_SENT, 0, "");
        snprintf(job->sent_ts, sizeof(job->sent_ts), "%.*s", STR_ARG(ts));
    } else if (cursor.data == NULL && json_bool(json_get(answer->root, "has_more"))) {
        job_finish(job, OUTBOX_PARKED, 0, "Slack gave only a part of the channel's history");
    } else if (cursor.data == NULL) {
        log_info("reply %" PRId64 " is not in its channel: it is sent again", job->work->outbox_id);
        job_finish(job, OUTBOX_RETRY, 0, "");
    } else if (++job->pages >= PAGES_MAX) {
        job_finish(job, OUTBOX_PARKED, 0, "the channel's history is too long to be searched");
    } else {
        free(job->cursor);
        job->cursor = str_dup(cursor);
        job->state = JOB_LOOK;
    }
}

static void auth_answered(struct job *job, const struct slack_answer *answer)
{
    struct str team = json_get_string(answer->root, "team_id");
    struct str url = json_get_string(answer->root, "url");
    struct str user = json_get_string(answer->root, "user_id");

    job->state = JOB_DONE;
    job->wait_ms = TEAM_REST_MS / 2;
    snprintf(job->error, sizeof(job->error), "%s", answer->code);
    if (answer->outcome != SLACK_OK) {
        job->wait_method = SLACK_AUTH_TEST;
        return;
    }
    if (!str_is(team, job->team_id)) {
        snprintf(job->error, sizeof(job->error), "token_of_another_workspace");
        job->stop_team = true;
    } else if (url.len == 0 || url.len > 300 || !slack_is_id(user)) {
        job->wait_method = SLACK_AUTH_TEST;
        snprintf(job->error, sizeof(job->error), "auth_test_incomplete");
    } else {
        job->team_url = str_dup(url);
        job->bot_user_id = str_dup(user);
        job->team_name = str_dup(json_get_string(answer->root, "team"));
    }
}

/* Slack's word on who somebody is. Somebody whom it does not know, or does not show to us, is gone:
 * what it says about them later comes with their next profile. */
static void profile_answered(struct job *job, struct slack_answer *answer)
{
    const struct json *user = json_get(answer->root, "user");
    struct str team = json_get_string(user, "team_id");
    const char *standing = "person";

    job->state = JOB_GONE;
    if (answer->outcome == SLACK_CHANNEL_NEVER) {
        standing = "gone";
    } else if (answer->outcome == SLACK_TEAM_STOPS && strcmp(answer->code, "missing_scope") == 0) {
        /* no reason to stop the digests, which do without */
        answer->outcome = SLACK_RETRY;
        answer->wait_ms = SCOPE_REST_MS;
        job->state = JOB_DONE;
    } else if (answer->outcome != SLACK_OK || json_type(user) != JSON_OBJECT) {
        if (answer->wait_ms < 0 && answer->outcome != SLACK_TEAM_STOPS) {
            answer->wait_ms = PROFILE_REST_MS;
        }
        job->state = JOB_DONE;
    } else if (json_bool(json_get(user, "deleted"))) {
        standing = "gone";
    } else if (json_bool(json_get(user, "is_bot"))) {
        standing = "bot";
    } else if (json_bool(json_get(user, "is_stranger")) ||
               (team.len > 0 && !str_is(team, job->team_id) &&
                json_get(user, "enterprise_user") == NULL)) {
        standing = "external";
    }
    snprintf(job->error, sizeof(job->error), "%s", answer->code);
    if (job->state == JOB_GONE) {
        job->profile =
            profile_create(json_get_string(user, "tz"), json_get_string(user, "locale"), standing);
        job->state = JOB_DONE;
    }
}

void job_answered(struct job *job, const struct slack_side *slack,
                  const struct http_response *response)
{
    struct slack_answer answer;

    if (job->asked == STEP_RESPOND) {
        slack_read_response(&answer, response, http_header(slack->http, "retry-after"));
        response_answered(job, &answer);
        slack_answer_free(&answer);
        return;
    }
    slack_read(&answer, response, http_header(slack->http, "retry-after"));
    switch (job->asked) {
    case STEP_POST:
        post_answered(job, slack, &answer);
        break;
    case STEP_OPEN:
        open_answered(job, &answer);
        break;
    case STEP_LOOK:
        look_answered(job, &answer);
        break;
    case STEP_REACT:
    case STEP_DELETE:
        change_answered(job, &answer);
        break;
    case STEP_AUTH:
        auth_answered(job, &answer);
        break;
    case STEP_PROFILE:
        profile_answered(job, &answer);
        break;
    case STEP_RESPOND:
        break;
    }
    if (answer.wait_ms >= 0) {
        job->wait_method = job_method(job);
        job->wait_ms = answer.wait_ms;
    }
    if (answer.outcome == SLACK_TEAM_STOPS) {
        job->stop_team = true;
    }
    slack_answer_free(&answer);
}
