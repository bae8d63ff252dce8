/*
 * The steps of a job, each a request and what its answer means (slack/outcome.h). Only the post can
 * be doubtful: opening a DM and reading a history may be repeated at will.
 */
#include "proc/deliver_job.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "slack/web.h"

#define RETRY_BASE_MS 1000
#define RETRY_MAX_MS  900000
#define PAGES_MAX     20
#define LOOK_BACK_S   300 /* Slack's clock and ours may differ */
#define TEAM_REST_MS  60000

static char *copy(const char *s)
{
    return str_dup(str_of(s));
}

struct job *job_of_reply(struct outbox_work *work)
{
    struct job *job = calloc(1, sizeof(*job));

    if (job == NULL) {
        abort();
    }
    job->state = JOB_START;
    job->work = work;
    job->team_id = copy(work->team_id);
    return job;
}

struct job *job_of_team(const char *team_id)
{
    struct job *job = calloc(1, sizeof(*job));

    if (job == NULL) {
        abort();
    }
    job->state = JOB_AUTH;
    job->team_id = copy(team_id);
    return job;
}

void job_destroy(struct job **job)
{
    struct job *j = *job;

    if (j == NULL) {
        return;
    }
    outbox_work_destroy(&j->work);
    free(j->team_id);
    free(j->cursor);
    free(j->opened);
    free(j->team_name);
    free(j->team_url);
    free(j->bot_user_id);
    free(j);
    *job = NULL;
}

const char *job_method(const struct job *job)
{
    static const char *const methods[] = {[STEP_OPEN] = SLACK_OPEN,
                                          [STEP_POST] = SLACK_POST,
                                          [STEP_LOOK] = SLACK_HISTORY,
                                          [STEP_AUTH] = SLACK_AUTH_TEST};

    if (job->asked == STEP_LOOK && job->work->thread_ts != NULL) {
        return SLACK_REPLIES;
    }
    return methods[job->asked];
}

static void finish(struct job *job, enum outbox_end end, int64_t wait_ms, const char *error)
{
    job->state = JOB_DONE;
    job->end = end;
    job->wait_ms = wait_ms;
    snprintf(job->error, sizeof(job->error), "%.*s", (int)sizeof(job->error) - 1, error);
}

void job_release(struct job *job, int64_t wait_ms)
{
    finish(job, OUTBOX_RELEASE, wait_ms, "");
}

void job_put_off(struct job *job, int64_t wait_ms)
{
    if (job->pages > 0) { /* the pages read so far are lost, so this attempt counts */
        finish(job, OUTBOX_DOUBTFUL, wait_ms, "the history's next page had to wait");
    } else {
        job_release(job, wait_ms);
    }
}

/* As it was before, after a backoff: pending, or still doubtful. */
static void again(struct job *job, const char *error)
{
    int64_t wait = clock_backoff_ms((unsigned)job->work->attempts, RETRY_BASE_MS, RETRY_MAX_MS);

    metrics_add(METRIC_RETRIES_TOTAL, "slack", NULL, 1);
    finish(job, job->work->doubtful ? OUTBOX_DOUBTFUL : OUTBOX_RETRY, wait, error);
}

void job_begin(struct job *job, const struct slack_side *slack)
{
    const struct outbox_work *w = job->work;

    if (config_slack_token(slack->config, job->team_id) == NULL) {
        job_release(job, TEAM_REST_MS);
        snprintf(job->error, sizeof(job->error), "no_token");
        job->stop_team = true;
    } else if (w->doubtful && (slack->park || w->channel_id == NULL)) {
        finish(job, OUTBOX_PARKED, 0, "it may have been sent: left to an operator");
    } else if (w->attempts > slack->max_attempts) {
        finish(job, OUTBOX_PARKED, 0, "not sent in all its attempts");
    } else if (w->doubtful) {
        job->state = JOB_LOOK;
    } else if (w->age_ms > slack->give_up_ms) {
        finish(job, OUTBOX_PARKED, 0, "too old to be sent");
    } else {
        job->state = w->channel_id == NULL ? JOB_OPEN : JOB_READY;
    }
}

/* ---- asking ---- */

static bool ask_post(struct job *job, const struct slack_side *slack, const char *token,
                     struct error *err)
{
    const struct outbox_work *w = job->work;
    struct text body;
    bool ok;

    text_init(&body, 512 * 1024);
    ok = slack_post_body(&body, w->channel_id, w->thread_ts,
                         w->notice ? "study_notice" : "study_digest", w->outbox_id, str_of(w->body),
                         err) &&
         slack_start(slack->http, slack->api_url, SLACK_POST, "", token, text_str(&body), true, job,
                     err);
    text_free(&body);
    return ok;
}

static bool ask_open(struct job *job, const struct slack_side *slack, const char *token,
                     struct error *err)
{
    struct text body;
    bool ok;

    text_init(&body, 4096);
    ok = slack_open_body(&body, job->work->target, err) &&
         slack_start(slack->http, slack->api_url, SLACK_OPEN, "", token, text_str(&body), false,
                     job, err);
    text_free(&body);
    return ok;
}

static bool ask_look(struct job *job, const struct slack_side *slack, const char *token,
                     struct error *err)
{
    const struct outbox_work *w = job->work;
    int64_t from = w->sent_from_us / 1000000 - LOOK_BACK_S;
    struct text query;
    bool ok;

    text_init(&query, 8192);
    slack_history_query(&query, w->channel_id, w->thread_ts, from > 0 ? from : 0,
                        str_of(job->cursor));
    ok = slack_start(slack->http, slack->api_url, job_method(job), text_cstr(&query), token,
                     STR_NULL, false, job, err);
    text_free(&query);
    return ok;
}

void job_ask(struct job *job, const struct slack_side *slack)
{
    const char *token = config_slack_token(slack->config, job->team_id);
    struct error err = {0};
    bool ok;

    job->asked_ms = clock_boot_ms();
    switch (job->state) {
    case JOB_MARKED:
        /* a process that was stopped and woken must not send what may no longer be its own */
        if (job->asked_ms + slack->timeout_ms > job->lease_ends_ms) {
            log_warn("reply %" PRId64 ": too little of its lease is left to send it",
                     job->work->outbox_id);
            job->state = JOB_GONE;
            return;
        }
        job->asked = STEP_POST;
        ok = ask_post(job, slack, token, &err);
        break;
    case JOB_OPEN:
        job->asked = STEP_OPEN;
        ok = ask_open(job, slack, token, &err);
        break;
    case JOB_LOOK:
        job->asked = STEP_LOOK;
        ok = ask_look(job, slack, token, &err);
        break;
    default:
        job->asked = STEP_AUTH;
        ok = slack_start(slack->http, slack->api_url, SLACK_AUTH_TEST, "", token, STR(""), false,
                         job, &err);
        break;
    }
    if (ok) {
        job->state = JOB_ASKED;
    } else if (job->work == NULL) {
        job->state = JOB_GONE;
    } else if (job->asked == STEP_POST && err.kind == ERROR_INPUT) {
        finish(job, OUTBOX_FAILED, 0, err.text);
    } else {
        again(job, err.text); /* nothing has left */
    }
}

/* ---- answers ---- */

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
        finish(job, OUTBOX_SENT, 0, "");
        snprintf(job->sent_ts, sizeof(job->sent_ts), "%.*s", STR_ARG(ts));
        break;
    case SLACK_DOUBTFUL:
        metrics_add(METRIC_RETRIES_TOTAL, "slack", NULL, 1);
        finish(job, OUTBOX_DOUBTFUL, slack->settle_ms + (over > 0 ? over : 0), answer->code);
        break;
    case SLACK_MESSAGE_NEVER:
        finish(job, OUTBOX_FAILED, 0, answer->code);
        break;
    case SLACK_CHANNEL_NEVER:
        finish(job, OUTBOX_FAILED, 0, answer->code);
        job->stop_lane = true;
        break;
    default:
        again(job, answer->code);
        break;
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
        finish(job, OUTBOX_FAILED, 0, answer->code);
        job->stop_lane = true;
    } else {
        again(job,
              answer->outcome == SLACK_OK ? "conversations.open gave no channel" : answer->code);
    }
}

static void look_answered(struct job *job, const struct slack_answer *answer)
{
    struct str ts, cursor;

    if (answer->outcome == SLACK_CHANNEL_NEVER || answer->outcome == SLACK_MESSAGE_NEVER) {
        finish(job, OUTBOX_PARKED, 0, answer->code);
        job->stop_lane = answer->outcome == SLACK_CHANNEL_NEVER;
        return;
    }
    if (answer->outcome != SLACK_OK ||
        json_type(json_get(answer->root, "messages")) != JSON_ARRAY) {
        again(job, answer->outcome == SLACK_OK ? "the history could not be read" : answer->code);
        return;
    }
    ts = slack_find_post(answer->root, job->work->outbox_id);
    cursor = slack_next_cursor(answer->root);
    if (slack_is_ts(ts)) {
        finish(job, OUTBOX_SENT, 0, "");
        snprintf(job->sent_ts, sizeof(job->sent_ts), "%.*s", STR_ARG(ts));
    } else if (cursor.data == NULL && json_bool(json_get(answer->root, "has_more"))) {
        finish(job, OUTBOX_PARKED, 0, "Slack gave only a part of the channel's history");
    } else if (cursor.data == NULL) {
        log_info("reply %" PRId64 " is not in its channel: it is sent again", job->work->outbox_id);
        finish(job, OUTBOX_RETRY, 0, "");
    } else if (++job->pages >= PAGES_MAX) {
        finish(job, OUTBOX_PARKED, 0, "the channel's history is too long to be searched");
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

void job_answered(struct job *job, const struct slack_side *slack,
                  const struct http_response *response)
{
    struct slack_answer answer;

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
    case STEP_AUTH:
        auth_answered(job, &answer);
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
