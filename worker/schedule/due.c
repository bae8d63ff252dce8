/* Due schedules: the plan, and carrying it out. */
#include "schedule/due_batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "schedule/zone.h"

static enum due_fate fate_of(enum schedule_missed missed, int64_t age, int64_t window, bool latest)
{
    if (age < DUE_TIMELY_S) {
        return DUE_FIRED;
    }
    if (age > window || missed == MISSED_SKIP || (missed == MISSED_LAST && !latest)) {
        return DUE_SKIPPED;
    }
    return DUE_MADE_UP;
}

void due_plan(const struct cron *cron, const char *zone, enum schedule_missed missed,
              int64_t window_s, int64_t next_at, int64_t now, struct due_plan *plan)
{
    int64_t t = next_at;

    for (plan->count = 0; t <= now && plan->count < DUE_MAX; plan->count++) {
        plan->times[plan->count].at = t;
        if (!cron_next(cron, zone, t, &t)) {
            t = SCHEDULE_NEVER;
        }
    }
    plan->next_at = t;
    for (size_t i = 0; i < plan->count; i++) {
        bool latest = i + 1 == plan->count && plan->next_at > now;
        plan->times[i].fate = fate_of(missed, now - plan->times[i].at, window_s, latest);
    }
}

bool due_batch_add(struct due_batch *batch, const char *time_zone, const char *digest_time,
                   const struct due_plan *plan, struct error *err)
{
    if (batch->room - batch->count < plan->count) {
        size_t room = 2 * batch->room + plan->count;
        struct firing_new *list = realloc(batch->list, room * sizeof(*list));

        if (list == NULL) {
            return error_set(err, ERROR_SYSTEM, "no memory");
        }
        batch->list = list;
        batch->room = room;
    }
    for (size_t i = 0; i < plan->count; i++) {
        batch->list[batch->count++] = (struct firing_new){
            .time_zone = time_zone,
            .digest_time = digest_time,
            .at = plan->times[i].at,
            .skipped = plan->times[i].fate == DUE_SKIPPED,
        };
    }
    return true;
}

bool due_batch_insert(struct due_batch *batch, struct pg *pg, int64_t schedule_id, int64_t now,
                      struct due_counts *counts, struct error *err)
{
    struct firing_added added = {.all = 0};

    bool ok = batch->count == 0 || db_firings_insert(pg, schedule_id, batch->list, batch->count,
                                                     now - DUE_TIMELY_S, &added, err);
    if (ok) {
        counts->fired += added.all - added.skipped - added.late;
        counts->made_up += added.late;
        counts->skipped += added.skipped;
    }
    free(batch->list);
    *batch = (struct due_batch){.list = NULL};
    return ok;
}

static bool insert(struct pg *pg, const struct schedule_due *s, const struct due_plan *plan,
                   int64_t now, struct due_counts *counts, struct error *err)
{
    struct due_batch batch = {.list = NULL};

    return due_batch_add(&batch, s->time_zone, "", plan, err) &&
           due_batch_insert(&batch, pg, s->schedule_id, now, counts, err) &&
           db_schedule_advance(pg, s->schedule_id, plan->next_at, err);
}

static bool advance(struct pg *pg, const struct schedule_due *s, int64_t window_s, int64_t now,
                    struct due_plan *plan, struct due_counts *counts, struct error *err)
{
    struct error why;
    struct cron cron;
    int64_t next;

    if (!zone_exists(s->time_zone)) {
        error_set(&why, ERROR_INPUT, "there is no time zone \"%s\"", s->time_zone);
    } else if (cron_parse(&cron, str_of(s->cron), &why)) {
        window_s = s->window_s >= 0 ? s->window_s : window_s;
        if (s->by_member) {
            return due_clocks_advance(pg, s, &cron, window_s, now, counts, err);
        }
        if (s->reckoned) {
            due_plan(&cron, s->time_zone, s->missed, window_s, s->next_at, now, plan);
            counts->more |= plan->next_at <= now;
            return insert(pg, s, plan, now, counts, err);
        }
        if (cron_next(&cron, s->time_zone, now, &next)) {
            return db_schedule_advance(pg, s->schedule_id, next, err);
        }
        error_set(&why, ERROR_INPUT, "cron: \"%s\" has no time", s->cron);
    }
    log_error("schedule %s does not fire until it is changed: %s", s->name, why.text);
    return db_schedule_advance(pg, s->schedule_id, SCHEDULE_NEVER, err);
}

bool due_advance(struct pg *pg, int64_t window_s, struct due_counts *counts, struct error *err)
{
    struct schedule_due *due = calloc(SCHEDULES_MAX, sizeof(*due));
    struct due_plan *plan = calloc(1, sizeof(*plan));
    size_t count = 0;
    int64_t now = 0;
    bool ok = false;

    memset(counts, 0, sizeof(*counts));
    if (due == NULL || plan == NULL) {
        error_set(err, ERROR_SYSTEM, "no memory");
        goto done;
    }
    if (!pg_begin(pg, err) || !db_schedules_due(pg, due, &count, &now, err)) {
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        if (!advance(pg, &due[i], window_s, now, plan, counts, err)) {
            goto done;
        }
    }
    counts->more |= count == SCHEDULES_MAX;
    ok = pg_commit(pg, err);

done:
    if (!ok) {
        pg_rollback(pg);
        memset(counts, 0, sizeof(*counts));
    }
    free(due);
    free(plan);
    return ok;
}
