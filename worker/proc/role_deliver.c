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
#include "db/lanes.h"
#include "db/teams.h"
#include "io/pg.h"
#include "proc/deliver_end.h"
#include "proc/deliver_job.h"
#include "proc/role.h"
#include "proc/signals.h"
#include "slack/web.h"

#define POLL_MS      1000
#define CROWDED_MS   500 /* after a turn in which looks into histories had to be put off */
#define RESPONSE_MAX (4 * 1024 * 1024)
#define TEAMS_MAX    20
#define MARGIN_MS    5000 /* of a lease over a request's time-out */

struct deliver {
    const struct config *config;
    struct slack_side slack;
    struct pg *pg;
    struct http *http;
    int64_t lease_ms;

    struct job **jobs;
    size_t count;
    size_t concurrency;
    size_t reserved; /* of these, for answers to commands: somebody waits for them */
    bool crowded;    /* the last claim left everything else for later */

    int64_t db_at_ms; /* after a failure: not before (boot clock) */
    int64_t claim_at_ms;
    int64_t teams_at_ms;
    /* Stopped workspaces are asked once, after a start or a reload, as a new token may have come
     * with it: in order of their ids, up to this one; NULL when all were. */
    char *stopped_after;
    bool listening;
    bool db_down, slack_down; /* said so */
};

/* ---- PostgreSQL ---- */

static void db_failed(struct deliver *d, const char *what, const struct error *err)
{
    if (err->kind != ERROR_INTERRUPTED && !d->db_down) {
        log_error("%s: %s", what, err->text);
        d->db_down = true;
    }
    d->db_at_ms = clock_boot_ms() + (pg_verdict(err) == PG_RETRY ? 500 : 5000);
}

static bool db_ready(struct deliver *d)
{
    struct error err = {0};

    if (!pg_is_connected(d->pg)) {
        d->listening = false;
    }
    if (!pg_connect(d->pg, &err) ||
        (!d->listening && !pg_exec(d->pg, "LISTEN study_outbox", NULL, NULL, &err))) {
        db_failed(d, "PostgreSQL", &err);
        return false;
    }
    d->listening = true;
    return true;
}

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
        ok = ends_write(d->pg, d->jobs, d->count, stopped, &err);
        if (!ok) {
            db_failed(d, "writing down what was sent", &err);
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

/* ---- claiming ---- */

static bool claim(struct deliver *d)
{
    size_t room = d->concurrency - d->count;
    bool crowded = room <= d->reserved;
    const struct outbox_terms terms = {
        .limit = (int)(crowded ? room : room - d->reserved),
        .responses_only = crowded,
        .lease_ms = d->lease_ms,
        .settle_ms = d->slack.settle_ms,
        .quiet_from = "22:00",
        .quiet_until = "08:00",
    };
    struct outbox_work **works;
    struct error err = {0};
    int64_t next_ms;
    size_t count;

    if (!outbox_claim(d->pg, &terms, &works, &count, &next_ms, &err)) {
        db_failed(d, "claiming replies", &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct job *job = job_of_reply(works[i]);

        job_begin(job, &d->slack);
        d->jobs[d->count++] = job;
    }
    free(works);
    if (next_ms < 0 || next_ms > POLL_MS || crowded) {
        next_ms = POLL_MS;
    }
    d->crowded = crowded;
    d->claim_at_ms = clock_boot_ms() + (count == (size_t)terms.limit ? 0 : next_ms);
    if (d->db_down) {
        log_info("PostgreSQL is back");
        d->db_down = false;
    }
    return true;
}

static bool is_asked(const struct deliver *d, const char *team)
{
    for (size_t i = 0; i < d->count; i++) {
        if (d->jobs[i]->work == NULL && strcmp(d->jobs[i]->team_id, team) == 0) {
            return true;
        }
    }
    return false;
}

static void add_team(struct deliver *d, const char *team)
{
    struct job *job = job_of_team(team);

    if (config_slack_token(d->config, team) == NULL) {
        snprintf(job->error, sizeof(job->error), "no_token");
        job->stop_team = true;
        job->state = JOB_DONE;
    }
    d->jobs[d->count++] = job;
}

/* Workspaces that we do not know yet; after a start first those that had thrown us out. */
static bool claim_teams(struct deliver *d)
{
    int room = (int)(d->concurrency - d->count);
    int limit = room < TEAMS_MAX ? room : TEAMS_MAX;
    struct error err = {0};
    char **teams;
    size_t count;

    d->teams_at_ms = clock_boot_ms() + POLL_MS;
    if (!teams_to_test(d->pg, d->stopped_after, limit, &teams, &count, &err)) {
        db_failed(d, "reading workspaces", &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_asked(d, teams[i])) {
            add_team(d, teams[i]);
        }
    }
    if (d->stopped_after != NULL) {
        free(d->stopped_after);
        d->stopped_after = count == (size_t)limit ? str_dup(str_of(teams[count - 1])) : NULL;
        d->teams_at_ms = 0;
    }
    teams_free(&teams, count);
    return true;
}

/* ---- the next steps ---- */

/* Opening a DM and reading a history go at the pace of their tier, a workspace. */
static bool book(struct deliver *d, size_t at)
{
    struct job *job = d->jobs[at];
    struct error err = {0};
    enum job_state state = job->state;
    int64_t wait_ms;

    job->asked = state == JOB_OPEN ? STEP_OPEN : STEP_LOOK;
    if (!slack_wait_take(d->pg, job->team_id, job_method(job), SLACK_TIER3_MS, SLACK_TIER3_BURST_MS,
                         1, &wait_ms, &err)) {
        db_failed(d, "keeping Slack's limits", &err);
        return false;
    }
    for (size_t i = at; i < d->count && wait_ms > 0; i++) {
        struct job *other = d->jobs[i];

        /* the workspace's others behind it would be told the same; those before it are booked */
        if (other == job || (state == JOB_OPEN && other->state == state &&
                             strcmp(other->team_id, job->team_id) == 0)) {
            job_put_off(other, wait_ms + (int64_t)(clock_random() % 2000));
        }
    }
    return true;
}

static bool is_post_of(const struct job *job, const char *team_id)
{
    return job->state == JOB_READY && job_send_step(job) == STEP_POST &&
           strcmp(job->team_id, team_id) == 0;
}

/* Posts of one workspace are booked together. */
static bool book_posts(struct deliver *d, const struct job *like, struct error *err)
{
    int64_t wait_ms;
    int n = 0;

    for (size_t i = 0; i < d->count; i++) {
        n += is_post_of(d->jobs[i], like->team_id);
    }
    if (!slack_wait_take(d->pg, like->team_id, SLACK_POST, SLACK_POST_MS, SLACK_POST_BURST_MS, n,
                         &wait_ms, err)) {
        return false;
    }
    for (size_t i = 0; i < d->count; i++) {
        if (is_post_of(d->jobs[i], like->team_id)) {
            d->jobs[i]->state = JOB_MARKED; /* booked; marked below, all together */
            if (wait_ms > 0) {
                job_release(d->jobs[i], wait_ms);
            }
        }
    }
    return true;
}

/* Everything else goes by itself; an answer to a command has no limit but its five. */
static bool book_send(struct deliver *d, struct job *job, struct error *err)
{
    int64_t wait_ms = 0;

    job->asked = job_send_step(job);
    if (job->asked == STEP_POST) {
        return book_posts(d, job, err);
    }
    if (job->asked != STEP_RESPOND &&
        !slack_wait_take(d->pg, job->team_id, job_method(job), SLACK_TIER3_MS, SLACK_TIER3_BURST_MS,
                         1, &wait_ms, err)) {
        return false;
    }
    job->state = JOB_MARKED;
    if (wait_ms > 0) {
        job_release(job, wait_ms + (int64_t)(clock_random() % 1000));
    }
    return true;
}

static bool mark_sending(struct deliver *d)
{
    struct outbox_work **works = calloc(d->count + 1, sizeof(*works));
    const char **channels = calloc(d->count + 1, sizeof(*channels));
    struct job **jobs = calloc(d->count + 1, sizeof(struct job *));
    bool *go = calloc(d->count + 1, sizeof(*go));
    int64_t lease = d->lease_ms;
    int64_t ends;
    struct error err = {0};
    size_t n = 0;
    bool ok = true;

    if (works == NULL || channels == NULL || jobs == NULL || go == NULL) {
        abort();
    }
    for (size_t i = 0; i < d->count && ok; i++) {
        if (d->jobs[i]->state == JOB_READY) {
            ok = book_send(d, d->jobs[i], &err);
        }
    }
    for (size_t i = 0; i < d->count; i++) {
        if (d->jobs[i]->state == JOB_MARKED) {
            jobs[n] = d->jobs[i];
            works[n] = d->jobs[i]->work;
            channels[n++] = d->jobs[i]->work->channel_id;
        }
    }
    ends = clock_boot_ms() + lease; /* before the statement: never later than the database's */
    ok = ok && (n == 0 || outbox_sending(d->pg, works, channels, n, lease, go, &err));
    for (size_t i = 0; i < n; i++) {
        jobs[i]->lease_ends_ms = ends;
        if (!ok) {
            jobs[i]->state = JOB_READY;
        } else if (!go[i]) {
            jobs[i]->state = JOB_GONE;
        }
    }
    if (!ok) {
        db_failed(d, "marking replies", &err);
    }
    free(go);
    free(jobs);
    free(channels);
    free(works);
    return ok;
}

static void next_steps(struct deliver *d)
{
    for (size_t i = 0; i < d->count; i++) {
        struct job *job = d->jobs[i];

        if ((job->state == JOB_OPEN || job->state == JOB_LOOK) && !book(d, i)) {
            return;
        }
    }
    if (!mark_sending(d)) {
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        enum job_state state = d->jobs[i]->state;

        if (state == JOB_OPEN || state == JOB_LOOK || state == JOB_MARKED || state == JOB_AUTH) {
            job_ask(d->jobs[i], &d->slack);
        }
    }
    drop_gone(d);
}

/* ---- answers ---- */

static void keep_opened(struct deliver *d, const struct job *job)
{
    struct error err = {0};

    if (pg_is_connected(d->pg) &&
        !member_dm_opened(d->pg, job->team_id, job->work->target, job->opened, &err)) {
        db_failed(d, "keeping a DM's channel", &err); /* it is opened again, which does no harm */
    }
}

static void take_answers(struct deliver *d)
{
    struct http_response response;

    while (http_next(d->http, &response)) {
        struct job *job = response.owner;

        job_answered(job, &d->slack, &response);
        if (response.fate == HTTP_ANSWERED && d->slack_down) {
            log_info("Slack answers again");
            d->slack_down = false;
        } else if (response.fate != HTTP_ANSWERED && !d->slack_down) {
            log_error("Slack: %s", response.error.text);
            d->slack_down = true;
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
    pg_set_interrupt(d->pg, -1);
    pg_set_deadline(d->pg, 3000);
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
    if (d->count > 0 && db_ready(d)) {
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
    int64_t until = now + POLL_MS;

    if (stop == STOP_NOT && d->count < d->concurrency && d->claim_at_ms < until) {
        until = d->claim_at_ms;
    }
    if (count_state(d, JOB_ASKED) < d->count) {
        until = now; /* a step is to be taken */
    }
    if (until < d->db_at_ms) {
        until = d->db_at_ms;
    }
    return until > now ? (int)(until - now) : 0;
}

static void turn(struct deliver *d, enum stop stop)
{
    int fds[2];
    struct error err = {0};
    int64_t now = clock_boot_ms();

    if (now >= d->db_at_ms && db_ready(d) && write_down(d)) {
        bool room = stop == STOP_NOT && d->count < d->concurrency;

        if ((!room || now < d->teams_at_ms || claim_teams(d)) &&
            (!room || now < d->claim_at_ms || d->count == d->concurrency || claim(d))) {
            next_steps(d);
        }
    }
    fds[0] = pg_fd(d->pg);
    fds[1] = signals_wake_fd();
    if (!http_wait(d->http, fds, 2, wait_ms(d, stop), &err)) {
        log_error("waiting: %s", err.text);
    }
    take_answers(d);
    if (pg_is_connected(d->pg) && pg_notified(d->pg, &err)) {
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
    };
    d->lease_ms = config_int(c, "deliver", "lease");
    if (d->lease_ms < limits.timeout_ms + MARGIN_MS) {
        d->lease_ms = limits.timeout_ms + MARGIN_MS;
    }
    d->pg = pg_create(c, "study-worker deliver");
    pg_set_interrupt(d->pg, signals_stop_fd());
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
    free(d.stopped_after);
    free(d.jobs);
    http_destroy(&d.http);
    pg_destroy(&d.pg);
    return status;
}
