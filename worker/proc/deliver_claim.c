/*
 * What deliver takes up: replies whose lane is due, workspaces that it does not know yet or that
 * had thrown us out, and members whose profile is unknown or old.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/outbox.h"
#include "db/profiles.h"
#include "db/teams.h"
#include "proc/deliver_role.h"

#define TEAMS_MAX     20
#define RETEST_MS     10000
#define RETEST_MAX_MS 900000

bool deliver_claim(struct deliver *d)
{
    size_t room = d->concurrency - d->count;
    bool crowded = room <= d->reserved;
    const struct outbox_terms terms = {
        .limit = (int)(crowded ? room : room - d->reserved),
        .responses_only = crowded,
        .lease_ms = d->lease_ms,
        .settle_ms = d->slack.settle_ms,
        .quiet_from = config_string(d->config, "deliver", "quiet_from"),
        .quiet_until = config_string(d->config, "deliver", "quiet_until"),
    };
    struct outbox_work **works;
    struct error err = {0};
    int64_t next_ms;
    size_t count;

    if (!outbox_claim(d->db.pg, &terms, &works, &count, &next_ms, &err)) {
        db_turn_failed(&d->db, "claiming replies", &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct job *job = job_of_reply(works[i]);

        job_begin(job, &d->slack);
        d->jobs[d->count++] = job;
    }
    free(works);
    if (next_ms < 0 || next_ms > d->poll_ms || crowded) {
        next_ms = d->poll_ms;
    }
    d->crowded = crowded;
    d->claim_at_ms = clock_boot_ms() + (count == (size_t)terms.limit ? 0 : next_ms);
    db_turn_worked(&d->db);
    return true;
}

/* Questions leave the places alone that answers to commands may need. */
static size_t room_for_questions(const struct deliver *d)
{
    size_t used = d->count + d->reserved;

    return used < d->concurrency ? d->concurrency - used : 0;
}

/* ---- workspaces ---- */

static bool is_asked(const struct deliver *d, const char *team)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct job *job = d->jobs[i];

        if (job->work == NULL && job->user_id == NULL && strcmp(job->team_id, team) == 0) {
            return true;
        }
    }
    return false;
}

static void add_team(struct deliver *d, const char *team, bool stopped)
{
    struct job *job = job_of_team(team);

    job->stopped = stopped;
    if (config_slack_token(d->config, team) == NULL) {
        snprintf(job->error, sizeof(job->error), "no_token");
        job->stop_team = true;
        job->state = JOB_DONE;
    }
    d->jobs[d->count++] = job;
}

void deliver_retest(struct deliver *d, const char *team_id)
{
    d->retests = reallocarray(d->retests, d->retests_count + 1, sizeof(*d->retests));
    if (d->retests == NULL) {
        abort();
    }
    d->retests[d->retests_count++] = str_dup(str_of(team_id));
    d->retests_at_ms =
        clock_boot_ms() + clock_backoff_ms(++d->retests_tried, RETEST_MS, RETEST_MAX_MS);
}

static void claim_retests(struct deliver *d)
{
    while (d->retests_count > 0 && room_for_questions(d) > 0) {
        char *team = d->retests[--d->retests_count];

        if (!is_asked(d, team)) {
            add_team(d, team, true);
        }
        free(team);
    }
}

void deliver_claim_end(struct deliver *d)
{
    while (d->retests_count > 0) {
        free(d->retests[--d->retests_count]);
    }
    free(d->retests);
    free(d->stopped_after);
}

/* Workspaces that we do not know yet; after a start first those that had thrown us out. */
static bool claim_teams(struct deliver *d)
{
    size_t room = room_for_questions(d);
    int limit = (int)(room < TEAMS_MAX ? room : TEAMS_MAX);
    bool stopped = d->stopped_after != NULL;
    struct error err = {0};
    char **teams;
    size_t count;

    if (limit == 0) {
        return true;
    }
    if (!teams_to_test(d->db.pg, d->stopped_after, limit, &teams, &count, &err)) {
        db_turn_failed(&d->db, "reading workspaces", &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_asked(d, teams[i])) {
            add_team(d, teams[i], stopped);
        }
    }
    if (stopped) {
        free(d->stopped_after);
        d->stopped_after = count == (size_t)limit ? str_dup(str_of(teams[count - 1])) : NULL;
        d->teams_at_ms = 0;
    }
    teams_free(&teams, count);
    return true;
}

/* ---- members ---- */

/* Few at a time: a profile is in no hurry, and takes no room from a reply for long. */
static bool claim_profiles(struct deliver *d)
{
    size_t room = room_for_questions(d);
    size_t most = d->concurrency < 4 ? 1 : d->concurrency / 4;
    struct profile_wanted *wanted = NULL;
    struct error err = {0};
    size_t count;

    for (size_t i = 0; i < d->count && most > 0; i++) {
        most -= d->jobs[i]->user_id != NULL;
    }
    if (most == 0 || room == 0) {
        return true;
    }
    if (!profiles_claim(d->db.pg, (int)(most < room ? most : room), &wanted, &count, &err)) {
        db_turn_failed(&d->db, "looking for members to ask about", &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (config_slack_token(d->config, wanted[i].team_id) != NULL) {
            d->jobs[d->count++] = job_of_member(wanted[i].team_id, wanted[i].user_id);
        }
    }
    profiles_free(&wanted, count);
    return true;
}

static bool retract(struct deliver *d)
{
    struct error err = {0};
    int64_t count;

    if (!config_bool(d->config, "deliver", "retract_sent")) {
        return true;
    }
    if (!outbox_retract(d->db.pg, &count, &err)) {
        db_turn_failed(&d->db, "taking back digests", &err);
        return false;
    }
    if (count > 0) {
        log_info("%" PRId64 " sent digests are deleted, as a message of theirs was", count);
        d->claim_at_ms = 0;
    }
    return true;
}

bool deliver_claim_questions(struct deliver *d)
{
    d->teams_at_ms = clock_boot_ms() + d->poll_ms;
    if (clock_boot_ms() >= d->retests_at_ms) {
        claim_retests(d);
    }
    return claim_teams(d) && claim_profiles(d) && retract(d);
}
