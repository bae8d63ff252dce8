/* The steps of a job, each a request. What the answers mean is deliver_answer.c's. */
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
#define LOOK_BACK_S   300 /* Slack's clock and ours may differ */
#define TEAM_REST_MS  60000

#define RESPONSE_MAX_AGE_MS 1800000 /* Slack's, of a response_url */
#define REACTION_MAX_AGE_MS 300000  /* nobody waits for it any more */

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

struct job *job_of_member(const char *team_id, const char *user_id)
{
    struct job *job = job_of_team(team_id);

    job->state = JOB_PROFILE;
    job->user_id = copy(user_id);
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
    free(j->user_id);
    profile_destroy(&j->profile);
    free(j->cursor);
    free(j->opened);
    free(j->team_name);
    free(j->team_url);
    free(j->bot_user_id);
    free(j);
    *job = NULL;
}

enum job_step job_send_step(const struct job *job)
{
    switch (job->work->kind) {
    case OUTBOX_RESPONSE:
        return STEP_RESPOND;
    case OUTBOX_REACTION:
        return STEP_REACT;
    case OUTBOX_DELETE:
        return STEP_DELETE;
    default:
        return STEP_POST;
    }
}

const char *job_method(const struct job *job)
{
    static const char *const methods[] = {
        [STEP_OPEN] = SLACK_OPEN,        [STEP_POST] = SLACK_POST,   [STEP_LOOK] = SLACK_HISTORY,
        [STEP_RESPOND] = "response_url", [STEP_REACT] = SLACK_REACT, [STEP_DELETE] = SLACK_DELETE,
        [STEP_AUTH] = SLACK_AUTH_TEST,   [STEP_PROFILE] = SLACK_USER};

    if (job->asked == STEP_LOOK && job->work->thread_ts != NULL) {
        return SLACK_REPLIES;
    }
    return methods[job->asked];
}

void job_finish(struct job *job, enum outbox_end end, int64_t wait_ms, const char *error)
{
    job->state = JOB_DONE;
    job->end = end;
    job->wait_ms = wait_ms;
    snprintf(job->error, sizeof(job->error), "%.*s", (int)sizeof(job->error) - 1, error);
}

void job_release(struct job *job, int64_t wait_ms)
{
    job_finish(job, OUTBOX_RELEASE, wait_ms, "");
}

void job_put_off(struct job *job, int64_t wait_ms)
{
    if (job->pages > 0) { /* the pages read so far are lost, so this attempt counts */
        job_finish(job, OUTBOX_DOUBTFUL, wait_ms, "the history's next page had to wait");
    } else {
        job_release(job, wait_ms);
    }
}

void job_again(struct job *job, const char *error)
{
    int64_t wait = clock_backoff_ms((unsigned)job->work->attempts, RETRY_BASE_MS, RETRY_MAX_MS);

    metrics_add(METRIC_RETRIES_TOTAL, "slack", NULL, 1);
    job_finish(job, job->asked == STEP_LOOK ? OUTBOX_DOUBTFUL : OUTBOX_RETRY, wait, error);
}

static bool is_wanted(const struct job *job, const struct slack_side *slack)
{
    const char *target = job->work->target;
    const char *id = strrchr(target, '-');

    if (slack->log_only) {
        return false;
    }
    if (slack->only_count == 0 || job->work->kind == OUTBOX_DELETE) {
        return true; /* a message of ours that is to go goes, whoever has it */
    }
    id = id != NULL ? id + 1 : target;
    for (size_t i = 0; i < slack->only_count; i++) {
        if (strcmp(slack->only[i], id) == 0) {
            return true;
        }
    }
    return false;
}

/* A kind's first step, and how old it may get; 0: its age matters to nobody. */
static void begin_pending(struct job *job, const struct slack_side *slack)
{
    const struct outbox_work *w = job->work;
    bool brief = w->kind == OUTBOX_RESPONSE || w->kind == OUTBOX_REACTION;
    int64_t give_up = w->kind == OUTBOX_RESPONSE   ? RESPONSE_MAX_AGE_MS
                      : w->kind == OUTBOX_REACTION ? REACTION_MAX_AGE_MS
                                                   : slack->give_up_ms;

    if (!is_wanted(job, slack)) {
        job_finish(job, OUTBOX_LOGGED, 0, "");
    } else if (w->age_ms > give_up) {
        job_finish(job, brief ? OUTBOX_FAILED : OUTBOX_PARKED, 0, "too old to be sent");
    } else if (w->kind == OUTBOX_RESPONSE || w->channel_id != NULL) {
        job->state = JOB_READY;
    } else {
        job->state = JOB_OPEN;
    }
}

void job_begin(struct job *job, const struct slack_side *slack)
{
    const struct outbox_work *w = job->work;
    bool again = w->kind == OUTBOX_REACTION || w->kind == OUTBOX_DELETE;

    if (w->kind != OUTBOX_RESPONSE && config_slack_token(slack->config, job->team_id) == NULL) {
        job_release(job, TEAM_REST_MS);
        snprintf(job->error, sizeof(job->error), "no_token");
        job->stop_team = true;
    } else if (w->doubtful && !again && (slack->park || w->channel_id == NULL)) {
        job_finish(job, OUTBOX_PARKED, 0, "it may have been sent: left to an operator");
    } else if (w->attempts > slack->max_attempts) {
        job_finish(job, OUTBOX_PARKED, 0, "not sent in all its attempts");
    } else if (w->doubtful && !again) {
        job->state = JOB_LOOK;
    } else {
        begin_pending(job, slack);
    }
}

/* ---- asking ---- */

const char *job_event_type(const struct outbox_work *work)
{
    return work->kind == OUTBOX_DIGEST   ? "study_digest"
           : work->kind == OUTBOX_NOTICE ? "study_notice"
                                         : "study_channel_notice";
}

static bool ask_post(struct job *job, const struct slack_side *slack, const char *token,
                     struct error *err)
{
    const struct outbox_work *w = job->work;
    struct text body;
    bool ok;

    text_init(&body, 512 * 1024);
    ok = slack_post_body(&body, w->channel_id, w->thread_ts, job_event_type(w), w->outbox_id,
                         str_of(w->body), err) &&
         slack_start(slack->http, slack->api_url, SLACK_POST, "", token, text_str(&body), true, job,
                     err);
    text_free(&body);
    return ok;
}

static bool ask_response(struct job *job, const struct slack_side *slack, struct error *err)
{
    struct text url, message;
    bool ok;

    text_init(&url, 4096);
    text_init(&message, 512 * 1024);
    ok = slack_response_body(&url, &message, slack->api_url, str_of(job->work->body), err) &&
         slack_respond(slack->http, text_cstr(&url), text_str(&message), job, err);
    text_free(&message);
    text_free(&url);
    return ok;
}

static bool ask_change(struct job *job, const struct slack_side *slack, const char *token,
                       struct error *err)
{
    struct text body;
    bool ok;

    text_init(&body, 4096);
    ok = slack_change_body(&body, job->asked == STEP_REACT, str_of(job->work->body), err) &&
         slack_start(slack->http, slack->api_url, job_method(job), "", token, text_str(&body),
                     false, job, err);
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

static bool ask_profile(struct job *job, const struct slack_side *slack, const char *token,
                        struct error *err)
{
    struct text form;
    bool ok;

    text_init(&form, 256);
    text_addf(&form, "user=%s&include_locale=true", job->user_id);
    ok = slack_start(slack->http, slack->api_url, SLACK_USER, text_cstr(&form), token, STR_NULL,
                     false, job, err);
    text_free(&form);
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
        job->asked = job_send_step(job);
        ok = job->asked == STEP_POST      ? ask_post(job, slack, token, &err)
             : job->asked == STEP_RESPOND ? ask_response(job, slack, &err)
                                          : ask_change(job, slack, token, &err);
        break;
    case JOB_OPEN:
        job->asked = STEP_OPEN;
        ok = ask_open(job, slack, token, &err);
        break;
    case JOB_LOOK:
        job->asked = STEP_LOOK;
        ok = ask_look(job, slack, token, &err);
        break;
    case JOB_PROFILE:
        job->asked = STEP_PROFILE;
        ok = ask_profile(job, slack, token, &err);
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
    } else if (job->asked == job_send_step(job) && err.kind == ERROR_INPUT) {
        job_finish(job, OUTBOX_FAILED, 0, err.text);
    } else {
        job_again(job, err.text); /* nothing has left */
    }
}
