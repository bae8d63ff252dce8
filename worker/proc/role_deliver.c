/*
 * The deliver role: rows of the outbox become messages in Slack, at most once as far as Slack
 * allows.
 *
 *   claim a lane's head -> open the DM if need be -> commit `sending` -> post -> write down the end
 *
 * The state `sending` is committed before the request leaves, so a row found in it later may have
 * been sent; it is looked up in the channel's history by the id in its metadata. A lane posts once
 * a second, counted in the database from Slack's answer; Retry-After and our own pace are rows too,
 * so all processes keep Slack's limits together.
 *
 * One turn of the loop: write down what has ended, claim, take the next steps, wait, take answers.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "db/teams.h"
#include "io/pg.h"
#include "proc/deliver_end.h"
#include "proc/deliver_role.h"
#include "proc/role.h"
#include "proc/signals.h"
#include "slack/web.h"

#define CROWDED_MS   500 /* after a turn in which looks into histories had to be put off */
#define RESPONSE_MAX (4 * 1024 * 1024)
#define MARGIN_MS    5000 /* of a lease over a request's time-out */

static size_t count_state(const struct deliver *d, enum job_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < d->count; i++) {
        n += d->jobs[i]->state == state;
    }
    return n;
}

static void drop_gone(struct deliver *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->count; i++) {
        if (d->jobs[i]->state == JOB_GONE) {
            job_destroy(&d->jobs[i]);
        } else {
            d->jobs[kept++] = d->jobs[i];
        }
    }
    d->count = kept;
}

/* ---- what has ended ---- */

static void after_end(struct deliver *d, struct job *job, bool team_stopped)
{
    end_say(job, team_stopped);
    if (job->stopped && job->team_url == NULL && !job->stop_team) {
        deliver_retest(d, job->team_id);
    }
    if (job->work != NULL && job->end == OUTBOX_RELEASE && job->asked == STEP_LOOK) {
        d->claim_at_ms = clock_boot_ms() + CROWDED_MS;
    } else if (d->crowded || d->claim_at_ms > clock_boot_ms() + CROWDED_MS) {
        d->claim_at_ms = clock_boot_ms();
    }
    job->state = JOB_GONE;
}

/* All ends of a turn in one transaction. On failure they are kept: the claim tokens tell whether
 * they may still be written later. */
static bool write_down(struct deliver *d)
{
    bool *stopped = calloc(d->count + 1, sizeof(*stopped));
    struct error err = {0};
    bool ok = true;

    if (stopped == NULL) {
        abort();
    }
    if (count_state(d, JOB_DONE) > 0) {
        ok = ends_write(d->db.pg, d->jobs, d->count, stopped, &err);
        if (!ok) {
            db_turn_failed(&d->db, "writing down what was sent", &err);
        }
    }
    for (size_t i = 0; i < d->count && ok; i++) {
        if (d->jobs[i]->state == JOB_DONE) {
            after_end(d, d->jobs[i], stopped[i]);
        }
    }
    drop_gone(d);
    free(stopped);
    return ok;
}

/* ---- the next steps ---- */

static void next_steps(struct deliver *d)
{
    for (size_t i = 0; i < d->count; i++) {
        struct job *job = d->jobs[i];

        if ((job->state == JOB_OPEN || job->state == JOB_LOOK || job->state == JOB_PROFILE) &&
            !deliver_book(d, i)) {
            return;
        }
    }
    if (!deliver_mark(d)) {
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        enum job_state state = d->jobs[i]->state;

        if (state == JOB_OPEN || state == JOB_LOOK || state == JOB_MARKED || state == JOB_AUTH ||
            state == JOB_PROFILE) {
            job_ask(d->jobs[i], &d->slack);
        }
    }
    drop_gone(d);
}

/* ---- answers ---- */

static void keep_opened(struct deliver *d, const struct job *job)
{
    struct error err = {0};

    if (pg_is_connected(d->db.pg) &&
        !member_dm_opened(d->db.pg, job->team_id, job->work->target, job->opened, &err)) {
        db_turn_failed(&d->db, "keeping a DM's channel",
                       &err); /* it is opened again, which does no harm */
    }
}

static void take_answers(struct deliver *d)
{
    struct http_response response;

    while (http_next(d->http, &response)) {
        struct job *job = response.owner;

        job_answered(job, &d->slack, &response);
        if (response.fate == HTTP_ANSWERED) {
            outage_end(&d->slack_outage);
        } else {
            outage_begin(&d->slack_outage, &response.error);
        }
        if (job->opened != NULL && job->state == JOB_READY) {
            keep_opened(d, job);
        }
    }
}

/* ---- the loop ---- */

/* Told to stop at once: a post under way may arrive all the same, everything else goes back. */
static void release_all(struct deliver *d)
{
    pg_set_interrupt(d->db.pg, -1);
    pg_set_deadline(d->db.pg, 3000);
    for (size_t i = 0; i < d->count; i++) {
        struct job *job = d->jobs[i];

        if (job->state == JOB_DONE) {
            continue;
        }
        http_cancel(d->http, job);
        if (job->work == NULL) {
            job->state = JOB_GONE;
        } else if (job->state == JOB_MARKED ||
                   (job->state == JOB_ASKED && job->asked == job_send_step(job))) {
            job->state = JOB_DONE;
            job->end = OUTBOX_DOUBTFUL;
            job->wait_ms = d->slack.settle_ms + d->slack.timeout_ms;
            snprintf(job->error, sizeof(job->error), "stopped while it was being sent");
        } else {
            job_release(job, 0);
        }
    }
    drop_gone(d);
    d->db.not_before_ms = 0;
    if (d->count > 0 && db_turn_begin(&d->db)) {
        write_down(d);
    }
    for (size_t i = 0; i < d->count; i++) {
        d->jobs[i]->state = JOB_GONE; /* leases tell the rest */
    }
    drop_gone(d);
}

/* A claim that is due but not allowed must not cut the wait short: the loop would never rest. */
static int wait_ms(const struct deliver *d, enum stop stop)
{
    int64_t now = clock_boot_ms();
    int64_t until = now + d->poll_ms;

    if (stop == STOP_NOT && d->count < d->concurrency && d->claim_at_ms < until) {
        until = d->claim_at_ms;
    }
    if (count_state(d, JOB_ASKED) < d->count) {
        until = now; /* a step is to be taken */
    }
    if (until < d->db.not_before_ms) {
        until = d->db.not_before_ms;
    }
    return until > now ? (int)(until - now) : 0;
}

static void turn(struct deliver *d, enum stop stop)
{
    int fds[2];
    struct error err = {0};
    int64_t now = clock_boot_ms();

    if (db_turn_begin(&d->db) && write_down(d)) {
        bool room = stop == STOP_NOT && d->count < d->concurrency;

        if ((!room || now < d->teams_at_ms || deliver_claim_questions(d)) &&
            (!room || now < d->claim_at_ms || d->count == d->concurrency || deliver_claim(d))) {
            next_steps(d);
        }
    }
    if (db_turn_notified(&d->db)) {
        d->claim_at_ms = clock_boot_ms();
    }
    fds[0] = pg_fd(d->db.pg);
    fds[1] = signals_wake_fd();
    if (!http_wait(d->http, fds, 2, wait_ms(d, stop), &err)) {
        log_error("waiting: %s", err.text);
    }
    take_answers(d);
    if (db_turn_notified(&d->db)) {
        d->claim_at_ms = clock_boot_ms();
    }
}

static bool open_role(struct deliver *d, struct error *err)
{
    const struct config *c = d->config;
    const char *ca_file = config_string(c, "slack", "ca_file");
    const struct http_limits limits = {
        .service = "slack",
        .user_agent = "study-tracker/" STUDY_VERSION,
        .ca_file = ca_file[0] != '\0' ? ca_file : NULL,
        .max_connections = (int)config_int(c, "deliver", "concurrency"),
        .max_response = RESPONSE_MAX,
        .connect_timeout_ms = config_int(c, "slack", "connect_timeout"),
        .timeout_ms = config_int(c, "slack", "timeout"),
    };

    d->concurrency = (size_t)config_int(c, "deliver", "concurrency");
    d->reserved = d->concurrency < 4 ? 0 : d->concurrency < 8 ? 1 : d->concurrency / 8;
    d->jobs = calloc(d->concurrency, sizeof(struct job *));
    d->stopped_after = str_dup(STR(""));
    d->http = http_create(&limits, err);
    if (d->jobs == NULL || d->http == NULL) {
        return false;
    }
    d->slack = (struct slack_side){
        .config = c,
        .api_url = config_string(c, "slack", "api_url"),
        .http = d->http,
        .timeout_ms = limits.timeout_ms,
        .settle_ms = config_int(c, "deliver", "settle_after"),
        .give_up_ms = config_int(c, "deliver", "give_up"),
        .max_attempts = config_int(c, "deliver", "max_attempts"),
        .park = strcmp(config_string(c, "deliver", "doubtful"), "park") == 0,
        .log_only = strcmp(config_string(c, "deliver", "mode"), "log") == 0,
    };
    d->slack.only_count = config_list(c, "deliver", "only", &d->slack.only);
    d->poll_ms = config_int(c, "deliver", "poll");
    d->lease_ms = config_int(c, "deliver", "lease");
    if (d->lease_ms < limits.timeout_ms + MARGIN_MS) {
        d->lease_ms = limits.timeout_ms + MARGIN_MS;
    }
    d->slack_outage.what = "Slack";
    d->db = (struct db_turn){
        .pg = pg_create(c, "study-worker deliver"),
        .listen = "LISTEN study_outbox",
        .outage = {.what = "PostgreSQL"},
    };
    pg_set_interrupt(d->db.pg, signals_stop_fd());
    return true;
}

int role_deliver(const struct role *role)
{
    struct deliver d = {.config = role->config};
    struct error err = {0};
    enum stop stop;
    int status = EXIT_SUCCESS;

    if (open_role(&d, &err)) {
        while ((stop = signals_check()) != STOP_NOW && !(stop == STOP_GRACEFUL && d.count == 0)) {
            turn(&d, stop);
        }
        release_all(&d);
    } else {
        log_error("%s", err.text);
        status = ROLE_MISCONFIGURED;
    }
    deliver_claim_end(&d);
    free(d.jobs);
    http_destroy(&d.http);
    pg_destroy(&d.db.pg);
    return status;
}
