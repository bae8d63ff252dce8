/*
 * Counts for the status pages and the gauges. Open work is counted whole; finished rows, of which
 * there are many, only those made within the last day (parked replies always: somebody has to look
 * at them).
 */
#ifndef STUDY_DB_OVERVIEW_H
#define STUDY_DB_OVERVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

#define OVERVIEW_DIGEST_STATES 4
#define OVERVIEW_OUTBOX_STATES 8
#define OVERVIEW_PAUSABLE      3
#define OVERVIEW_SCHEDULES_MAX 50
#define OVERVIEW_DEAD_MAX      100000 /* counted no further */

extern const char *const overview_digest_states[OVERVIEW_DIGEST_STATES];
extern const char *const overview_outbox_states[OVERVIEW_OUTBOX_STATES];
extern const char *const overview_pausable[OVERVIEW_PAUSABLE]; /* roles */

struct overview_schedule {
    char name[65];
    bool paused;
    int64_t next_at, last_at; /* Unix seconds; 0: none */
};

struct overview {
    int64_t digests[OVERVIEW_DIGEST_STATES];
    int64_t outbox[OVERVIEW_OUTBOX_STATES];
    double outbox_oldest_s; /* 0: nothing unsent */
    double schedule_lag_s;  /* of the oldest firing, or schedule, that is due and not done */
    int64_t dead_events;
    int64_t helped, wrong;   /* members' words on digests, of the last day */
    int64_t export_requests; /* members who wait for their data */
    bool paused[OVERVIEW_PAUSABLE]; /* for some workspace or all */
    int64_t budget_tokens;          /* of this month, UTC */
    double budget_cost;
    bool budget_gone;
    struct overview_schedule schedules[OVERVIEW_SCHEDULES_MAX];
    size_t schedule_count;
};

bool overview_read(struct pg *pg, struct overview *overview, struct error *err);

#endif
