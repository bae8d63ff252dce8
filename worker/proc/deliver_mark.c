/*
 * What may leave: every step is booked with Slack's limits in the database, and a reply is
 * `sending` there before its request goes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/lanes.h"
#include "db/outbox.h"
#include "proc/deliver_role.h"
#include "slack/web.h"

/* Opening a DM, reading a history and asking after a member go at the pace of their tier, a
 * workspace. */
bool deliver_book(struct deliver *d, size_t at)
{
    struct job *job = d->jobs[at];
    struct error err = {0};
    enum job_state state = job->state;
    int64_t wait_ms;

    job->asked = state == JOB_OPEN ? STEP_OPEN : state == JOB_PROFILE ? STEP_PROFILE : STEP_LOOK;
    if (!slack_wait_take(d->db.pg, job->team_id, job_method(job),
                         state == JOB_PROFILE ? SLACK_TIER4_MS : SLACK_TIER3_MS,
                         state == JOB_PROFILE ? SLACK_TIER4_BURST_MS : SLACK_TIER3_BURST_MS, 1,
                         &wait_ms, &err)) {
        db_turn_failed(&d->db, "keeping Slack's limits", &err);
        return false;
    }
    for (size_t i = at; i < d->count && wait_ms > 0; i++) {
        struct job *other = d->jobs[i];

        if (job->work == NULL) {
            job->state = JOB_GONE; /* asked after some other time */
            return true;
        }
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
    if (!slack_wait_take(d->db.pg, like->team_id, SLACK_POST, SLACK_POST_MS, SLACK_POST_BURST_MS, n,
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
        !slack_wait_take(d->db.pg, job->team_id, job_method(job), SLACK_TIER3_MS,
                         SLACK_TIER3_BURST_MS, 1, &wait_ms, err)) {
        return false;
    }
    job->state = JOB_MARKED;
    if (wait_ms > 0) {
        job_release(job, wait_ms + (int64_t)(clock_random() % 1000));
    }
    return true;
}

bool deliver_mark(struct deliver *d)
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
    ok = ok && (n == 0 || outbox_sending(d->db.pg, works, channels, n, lease, go, &err));
    for (size_t i = 0; i < n; i++) {
        jobs[i]->lease_ends_ms = ends;
        if (!ok) {
            jobs[i]->state = JOB_READY;
        } else if (!go[i]) {
            jobs[i]->state = JOB_GONE;
        }
    }
    if (!ok) {
        db_turn_failed(&d->db, "marking replies", &err);
    }
    free(go);
    free(jobs);
    free(channels);
    free(works);
    return ok;
}
