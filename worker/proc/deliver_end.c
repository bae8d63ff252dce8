/* One line in the log for each end that an operator may want to know of; never a member's words. */
#include "proc/deliver_end.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/lanes.h"
#include "db/teams.h"

void end_say(const struct job *job, bool team_stopped)
{
    if (team_stopped) {
        log_error("ALERT workspace %s: nothing is sent any more: %s", job->team_id, job->error);
    }
    if (job->user_id != NULL) {
        if (job->profile == NULL && !job->stop_team) {
            log_warn("users.info in %s: %s; asked again in %" PRId64 " s", job->team_id, job->error,
                     job->wait_ms / 1000);
        }
        return;
    }
    if (job->work == NULL) {
        if (job->team_url != NULL) {
            log_info("workspace %s is known", job->team_id);
        } else if (!job->stop_team) {
            log_warn("auth.test of %s: %s", job->team_id, job->error);
        }
        return;
    }
    if (job->stop_lane) {
        log_error("ALERT %s in %s: nothing is sent there any more: %s", job->work->target,
                  job->team_id, job->error);
    } else if (job->end == OUTBOX_LOGGED) {
        log_info("reply %" PRId64 " to %s in %s is not sent, as [deliver] mode and only say: %zu"
                 " bytes",
                 job->work->outbox_id, job->work->target, job->team_id, strlen(job->work->body));
    } else if ((job->end == OUTBOX_FAILED || job->end == OUTBOX_PARKED) &&
               (job->work->kind == OUTBOX_RESPONSE || job->work->kind == OUTBOX_REACTION)) {
        log_warn("reply %" PRId64 " (%s) %s: %s", job->work->outbox_id,
                 job->work->kind == OUTBOX_RESPONSE ? "an answer to a command" : "a reaction",
                 job->end == OUTBOX_FAILED ? "was not sent" : "may not have arrived", job->error);
    } else if (job->end == OUTBOX_FAILED || job->end == OUTBOX_PARKED) {
        log_error("ALERT reply %" PRId64 " %s: %s", job->work->outbox_id,
                  job->end == OUTBOX_FAILED ? "cannot be sent" : "waits for an operator",
                  job->error);
    } else if (job->end == OUTBOX_DOUBTFUL && !job->work->doubtful) {
        log_warn("reply %" PRId64 " may have been sent (%s): it will be looked up",
                 job->work->outbox_id, job->error);
    } else if (job->end == OUTBOX_RETRY && job->error[0] != '\0') {
        log_info("reply %" PRId64 " was not sent (%s): again in %" PRId64 " ms",
                 job->work->outbox_id, job->error, job->wait_ms);
    }
}

/* What a job says about its workspace, method and lane. */
static bool write_news(struct pg *pg, const struct job *job, bool *team_stopped, struct error *err)
{
    bool ok = true;

    *team_stopped = false;
    if (job->team_url != NULL) {
        ok = team_identify(pg, job->team_id, str_of(job->team_name), str_of(job->team_url),
                           str_of(job->bot_user_id), err);
    }
    if (ok && job->profile != NULL) {
        ok = profile_keep(pg, job->team_id, job->user_id, job->profile, err);
    }
    if (ok && job->wait_method != NULL) {
        ok = slack_wait_set(pg, job->team_id, job->wait_method, job->wait_ms, err);
    }
    if (ok && job->stop_team) {
        ok = team_stop(pg, job->team_id, job->error, team_stopped, err);
    }
    if (ok && job->stop_lane) {
        ok = lane_stop(pg, job->team_id, job->work->target, job->error, err);
    }
    return ok;
}

static bool write_together(struct pg *pg, struct job *const *jobs, size_t count, bool *stopped,
                           struct error *err)
{
    struct outbox_done *done = calloc(count + 1, sizeof(*done));
    size_t n = 0;
    bool ok;

    if (done == NULL) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        const struct job *job = jobs[i];

        if (job->state == JOB_DONE && job->work != NULL) {
            done[n++] =
                (struct outbox_done){job->work, job->end, job->sent_ts, job->wait_ms, job->error};
        }
    }
    ok = pg_begin(pg, err) && outbox_finish(pg, done, n, err);
    for (size_t i = 0; i < count && ok; i++) {
        if (jobs[i]->state == JOB_DONE) {
            ok = write_news(pg, jobs[i], &stopped[i], err);
        }
    }
    free(done);
    if (!ok || !pg_commit(pg, err)) {
        pg_rollback(pg);
        return false;
    }
    return true;
}

/* What PostgreSQL refuses with the others is tried alone; what it refuses alone is left to the end
 * of its lease, and then looked up. */
static bool write_each(struct pg *pg, struct job *const *jobs, size_t count, bool *stopped,
                       struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct job *job = jobs[i];

        if (job->state != JOB_DONE || write_together(pg, &jobs[i], 1, &stopped[i], err)) {
            continue;
        }
        if (pg_verdict(err) != PG_BAD_INPUT) {
            return false;
        }
        log_error("the end of %s cannot be written down: %s",
                  job->work != NULL      ? "a reply"
                  : job->user_id != NULL ? "a users.info"
                                         : "an auth.test",
                  err->text);
        job->state = JOB_GONE;
    }
    return true;
}

bool ends_write(struct pg *pg, struct job *const *jobs, size_t count, bool *stopped,
                struct error *err)
{
    return write_together(pg, jobs, count, stopped, err) ||
           (pg_verdict(err) == PG_BAD_INPUT && write_each(pg, jobs, count, stopped, err));
}
