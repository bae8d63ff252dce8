/*
 * studyctl's reading statements. Each gives rows whose column names are what studyctl prints, so
 * they are part of its interface. What members wrote, and what was written to them, comes only with
 * show_text; otherwise "(hidden)" stands in its place.
 */
#ifndef STUDY_DB_INSPECT_H
#define STUDY_DB_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

struct inspect_filter {
    const char *team;  /* NULL: all */
    const char *state; /* NULL: all */
    int limit;         /* the newest */
    bool show_text;
};

/* Work. */
bool inspect_digests(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                     struct error *err);
bool inspect_digest(struct pg *pg, int64_t digest_id, bool show_text, struct pg_result **res,
                    struct error *err);
bool inspect_digest_items(struct pg *pg, int64_t digest_id, bool show_text, struct pg_result **res,
                          struct error *err);
bool inspect_outbox(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                    struct error *err);
bool inspect_outbox_of_digest(struct pg *pg, int64_t digest_id, struct pg_result **res,
                              struct error *err);
bool inspect_reply(struct pg *pg, int64_t outbox_id, bool show_text, struct pg_result **res,
                   struct error *err);
bool inspect_dead(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                  struct error *err);
/* The element as PostgreSQL's "escape" format has it: bytes that are no ASCII as \ooo. */
bool inspect_dead_event(struct pg *pg, int64_t dead_id, bool show_text, struct pg_result **res,
                        struct error *err);

/* People. */
bool inspect_members(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                     struct error *err);
bool inspect_member(struct pg *pg, const char *team_id, const char *user_id, struct pg_result **res,
                    struct error *err);
bool inspect_teams(struct pg *pg, struct pg_result **res, struct error *err);

/* Schedules. */
bool inspect_schedules(struct pg *pg, struct pg_result **res, struct error *err);
/* Of one of scope member: time_zone and digest_time ("": the schedule's own), each pair once. */
bool inspect_clocks(struct pg *pg, const char *schedule, struct pg_result **res, struct error *err);
/* study.firing_progress */
bool inspect_firings(struct pg *pg, int limit, struct pg_result **res, struct error *err);
/* The clock of each time in its zone: name, time_zone, at, local; in the order given. */
struct inspect_time {
    const char *name;
    const char *time_zone;
    int64_t at; /* Unix seconds */
};
bool inspect_local_times(struct pg *pg, const struct inspect_time *times, size_t count,
                         struct pg_result **res, struct error *err);

/* Status: what is counted by state, and what stands still. */
bool inspect_counts(struct pg *pg, struct pg_result **res, struct error *err);
bool inspect_stored(struct pg *pg, struct pg_result **res, struct error *err);
bool inspect_attention(struct pg *pg, struct pg_result **res, struct error *err);
bool inspect_pauses(struct pg *pg, struct pg_result **res, struct error *err);
bool inspect_stopped(struct pg *pg, struct pg_result **res, struct error *err);

#endif
