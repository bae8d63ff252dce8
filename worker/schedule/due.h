/*
 * What is to be done with a schedule whose time has come: which of the times between next_at and
 * now fire, which were missed for good, and when it is due next. Pure.
 *
 * A time less than DUE_TIMELY_S ago simply fires. An older one was missed, because nothing ran:
 * inside the window the policy decides (last: only the latest of all is made up; all: each; skip:
 * none), outside it is skipped.
 */
#ifndef STUDY_SCHEDULE_DUE_H
#define STUDY_SCHEDULE_DUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/schedules.h"
#include "schedule/cron.h"

#define DUE_TIMELY_S 60
#define DUE_MAX      1000 /* times of one plan; the rest is due again at once */

enum due_fate { DUE_FIRED, DUE_MADE_UP, DUE_SKIPPED };

struct due_plan {
    size_t count;
    struct {
        int64_t at; /* Unix seconds */
        enum due_fate fate;
    } times[DUE_MAX];
    int64_t next_at; /* SCHEDULE_NEVER: none */
};

void due_plan(const struct cron *cron, const char *zone, enum schedule_missed missed,
              int64_t window_s, int64_t next_at, int64_t now, struct due_plan *plan);

/*
 * Advances every schedule that is due, and the clocks of those that go by members', a transaction
 * for all: firings inserted, next_at moved on. window_s counts where a schedule has none. A
 * cron line or a zone that is no good is logged once and never due again until it is changed.
 */
struct due_counts {
    int64_t fired, made_up, skipped;
    int64_t unknown_zone; /* went by the schedule's zone, as the members' is not known */
    bool more;            /* call again at once */
};
bool due_advance(struct pg *pg, int64_t window_s, struct due_counts *counts, struct error *err);

#endif
