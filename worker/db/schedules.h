/*
 * Schedules: rows with a cron line. next_at is the scheduler's: NULL asks it to reckon anew (set it
 * so with every change of cron or time_zone, and on the end of a pause, or the times missed in the
 * pause are made up), infinity means that there is no next time.
 */
#ifndef STUDY_DB_SCHEDULES_H
#define STUDY_DB_SCHEDULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

#define SCHEDULES_MAX 64 /* of one transaction */

enum schedule_missed { MISSED_LAST, MISSED_ALL, MISSED_SKIP };

struct schedule_due {
    int64_t schedule_id;
    char name[65];
    char cron[801];      /* 200 characters */
    char time_zone[257]; /* 64 characters */
    enum schedule_missed missed;
    int64_t window_s; /* how old a missed firing may be; -1: the setting */
    bool by_member;   /* of scope `member`: it has clocks (db/clocks.h) */
    bool reckoned;    /* false: next_at is NULL */
    int64_t next_at;  /* Unix seconds */
};

/*
 * Locks the schedules that are due or not yet reckoned and that nobody else has locked, until the
 * end of the transaction. *now is PostgreSQL's, in Unix seconds.
 */
bool db_schedules_due(struct pg *pg, struct schedule_due out[SCHEDULES_MAX], size_t *count,
                      int64_t *now, struct error *err);

#define SCHEDULE_NEVER INT64_MAX
bool db_schedule_advance(struct pg *pg, int64_t schedule_id, int64_t next_at, struct error *err);

#endif
