/* Inside schedule/: the firings of one schedule, gathered from plans and inserted at once. */
#ifndef STUDY_SCHEDULE_DUE_BATCH_H
#define STUDY_SCHEDULE_DUE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "db/firings.h"
#include "schedule/due.h"

struct due_batch {
    struct firing_new *list;
    size_t count, room;
};

/* The strings are borrowed until the batch is inserted. */
bool due_batch_add(struct due_batch *batch, const char *time_zone, const char *digest_time,
                   const struct due_plan *plan, struct error *err);

/* Inserts and counts those that were not there; the batch is empty afterwards, either way. */
bool due_batch_insert(struct due_batch *batch, struct pg *pg, int64_t schedule_id, int64_t now,
                      struct due_counts *counts, struct error *err);

/* Advances the clocks of a schedule of scope `member` and then the schedule itself. */
bool due_clocks_advance(struct pg *pg, const struct schedule_due *schedule, const struct cron *cron,
                        int64_t window_s, int64_t now, struct due_counts *counts,
                        struct error *err);

#endif
