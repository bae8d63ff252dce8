/*
 * The clocks that a schedule of scope `member` goes by: one for each time zone that members are in,
 * and one more for each time of day that some of them chose there. They follow the members' rows by
 * themselves; each has a next_at of its own, and the schedule's is the first of them.
 */
#ifndef STUDY_DB_CLOCKS_H
#define STUDY_DB_CLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "db/schedules.h"
#include "io/pg.h"

#define CLOCKS_MAX 2000 /* of one pass */

struct member_clock {
    char zone[257];      /* as the members' rows have it; "": not known */
    char digest_time[6]; /* "07:15"; "": the schedule's own */
    char time_zone[257]; /* what it fires in; "": not yet looked up */
    bool reckoned;       /* false: next_at is NULL */
    int64_t next_at;     /* Unix seconds, or SCHEDULE_NEVER */
};

/*
 * Clocks for what has come up in members' rows since, none for what is gone from there; a schedule
 * with a new one is due. One look at an index for each clock there is. A schedule that somebody
 * else is advancing is left to the next call.
 */
bool db_clocks_follow(struct pg *pg, struct error *err);

/*
 * In the transaction that has locked the schedule. Those that are due, or not yet reckoned: all,
 * when the schedule itself is to be reckoned anew.
 */
bool db_clocks_due(struct pg *pg, const struct schedule_due *schedule,
                   struct member_clock out[CLOCKS_MAX], size_t *count, struct error *err);

/* Writes time_zone and next_at of each, and the schedule's next_at. */
bool db_clocks_advance(struct pg *pg, int64_t schedule_id, const struct member_clock *clocks,
                       size_t count, struct error *err);

#endif
