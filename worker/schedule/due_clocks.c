/*
 * Schedules by each member's own clock. A pass takes what clocks are due, plans each as a schedule
 * of its own would be, and inserts what all of them fire in one statement; so a few thousand clocks
 * are one pass. A zone that the system's database does not have goes by the schedule's, so that
 * whoever is in it gets their digests all the same.
 */
#include "schedule/due_batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/clocks.h"
#include "schedule/zone.h"

#define FIRINGS_MAX 20000 /* of one pass; the clocks left are due again at once */

struct pass {
    struct member_clock clocks[CLOCKS_MAX];
    struct due_plan plan;
    struct due_batch batch;
};

static bool is_fallback(const struct member_clock *clock)
{
    return clock->zone[0] != '\0' && strcmp(clock->zone, clock->time_zone) != 0;
}

static void find_zone(struct member_clock *clock, const struct schedule_due *schedule)
{
    const char *zone = schedule->time_zone;

    if (clock->time_zone[0] != '\0') {
        return;
    }
    if (clock->zone[0] != '\0' && zone_exists(clock->zone)) {
        zone = clock->zone;
    } else if (clock->zone[0] != '\0') {
        log_warn("schedule %s: there is no time zone \"%s\": its members go by %s", schedule->name,
                 clock->zone, zone);
    }
    memcpy(clock->time_zone, zone, strlen(zone) + 1);
}

/* The schedule's days at the time that the clock's members chose. */
static struct cron cron_of(const struct cron *schedule, const struct member_clock *clock)
{
    const char *hh_mm = clock->digest_time;
    struct cron cron = *schedule;

    if (hh_mm[0] != '\0') {
        cron_set_time(&cron, (unsigned)atoi(hh_mm), (unsigned)atoi(hh_mm + 3));
    }
    return cron;
}

static bool plan_clock(struct pass *pass, struct member_clock *clock,
                       const struct schedule_due *schedule, const struct cron *line,
                       int64_t window_s, int64_t now, struct due_counts *counts, struct error *err)
{
    struct cron cron = cron_of(line, clock);

    find_zone(clock, schedule);
    if (!clock->reckoned) {
        if (!cron_next(&cron, clock->time_zone, now, &clock->next_at)) {
            clock->next_at = SCHEDULE_NEVER;
        }
        return true;
    }
    due_plan(&cron, clock->time_zone, schedule->missed, window_s, clock->next_at, now, &pass->plan);
    clock->next_at = pass->plan.next_at;
    counts->more |= clock->next_at <= now;
    counts->unknown_zone += is_fallback(clock) && pass->plan.count > 0;
    return due_batch_add(&pass->batch, clock->time_zone, clock->digest_time, &pass->plan, err);
}

bool due_clocks_advance(struct pg *pg, const struct schedule_due *schedule, const struct cron *cron,
                        int64_t window_s, int64_t now, struct due_counts *counts, struct error *err)
{
    struct pass *pass = calloc(1, sizeof(*pass));
    size_t count, done = 0;
    bool ok = false;

    if (pass == NULL) {
        return error_set(err, ERROR_SYSTEM, "no memory");
    }
    if (!db_clocks_due(pg, schedule, pass->clocks, &count, err)) {
        goto done;
    }
    while (done < count && pass->batch.count < FIRINGS_MAX) {
        if (!plan_clock(pass, &pass->clocks[done++], schedule, cron, window_s, now, counts, err)) {
            goto done;
        }
    }
    counts->more |= done < count || count == CLOCKS_MAX;
    ok = due_batch_insert(&pass->batch, pg, schedule->schedule_id, now, counts, err) &&
         db_clocks_advance(pg, schedule->schedule_id, pass->clocks, done, err);

done:
    free(pass->batch.list);
    free(pass);
    return ok;
}
