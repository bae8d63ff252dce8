/* studyctl schedule: what fires when, and firing it now. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/rows.h"
#include "db/firings.h"
#include "schedule/cron.h"
#include "schedule/zone.h"

#define NEXT_DEFAULT 5

static enum ctl_status schedule_ls(struct ctl *ctl)
{
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_schedules(ctl->pg, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

static enum ctl_status schedule_firings(struct ctl *ctl)
{
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_firings(ctl->pg, ctl->limit, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

struct times {
    struct inspect_time *list;
    size_t count, room;
};

/* The strings are the results'. */
static void add_times(struct times *times, const char *name, const struct cron *cron,
                      const char *zone, int limit)
{
    int64_t at = clock_wall_ms() / 1000;

    for (int i = 0; i < limit && cron_next(cron, zone, at, &at); i++) {
        if (times->count == times->room) {
            times->room = times->room * 2 + 16;
            times->list = realloc(times->list, times->room * sizeof(*times->list));
            if (times->list == NULL) {
                abort();
            }
        }
        times->list[times->count++] = (struct inspect_time){name, zone, at};
    }
}

static int by_time(const void *a, const void *b)
{
    const struct inspect_time *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

/* The first of all clocks' times; *clocks keeps the strings. */
static bool add_clocks(struct ctl *ctl, struct times *times, const char *name,
                       const struct cron *cron, const char *own_zone, int limit,
                       struct pg_result **clocks, struct error *err)
{
    size_t first = times->count;

    if (!inspect_clocks(ctl->pg, name, clocks, err)) {
        return false;
    }
    if (pg_rows(*clocks) == 0) { /* nobody was looked at yet */
        add_times(times, name, cron, own_zone, limit);
    }
    for (int row = 0; row < pg_rows(*clocks); row++) {
        struct str zone = pg_str(*clocks, row, 0), own = pg_str(*clocks, row, 1);
        struct cron at = *cron;

        if (own.len > 0) {
            cron_set_time(&at, (unsigned)atoi(own.data), (unsigned)atoi(own.data + 3));
        }
        if (zone_exists(zone.data)) {
            add_times(times, name, &at, zone.data, limit);
        }
    }
    if (times->count > first) {
        qsort(times->list + first, times->count - first, sizeof(*times->list), by_time);
    }
    if (times->count - first > (size_t)limit) {
        times->count = first + (size_t)limit;
    }
    return true;
}

static bool add_next(struct ctl *ctl, struct times *times, const struct pg_result *res, int row,
                     struct pg_result **clocks, struct error *err)
{
    const char *name = pg_str(res, row, 0).data, *zone = pg_str(res, row, 4).data;
    int limit = ctl->limit_given ? ctl->limit : NEXT_DEFAULT;
    struct error why;
    struct cron cron;

    if (!cron_parse(&cron, pg_str(res, row, 3), &why) || !zone_exists(zone)) {
        ctl_say("schedule %s never fires: its cron line or time zone is bad", name);
        return true;
    }
    if (str_is(pg_str(res, row, 2), "member")) {
        return add_clocks(ctl, times, name, &cron, zone, limit, clocks, err);
    }
    add_times(times, name, &cron, zone, limit);
    return true;
}

static enum ctl_status schedule_next(struct ctl *ctl)
{
    struct times times = {.list = NULL};
    struct pg_result *schedules = NULL, *res = NULL;
    const char *only = ctl->args_count > 0 ? ctl->args[0] : NULL;
    enum ctl_status status;
    bool found = only == NULL;
    struct error err;

    if (!inspect_schedules(ctl->pg, &schedules, &err)) {
        return ctl_fail(&err);
    }
    struct pg_result **clocks = calloc((size_t)pg_rows(schedules) + 1, sizeof(struct pg_result *));
    bool ok = clocks != NULL || error_set(&err, ERROR_SYSTEM, "no memory");
    for (int row = 0; ok && row < pg_rows(schedules); row++) {
        if (only == NULL || str_is(pg_str(schedules, row, 0), only)) {
            ok = add_next(ctl, &times, schedules, row, &clocks[row], &err);
            found = true;
        }
    }
    if (!ok) {
        status = ctl_fail(&err);
    } else if (!found) {
        status = rows_none("schedule", only);
    } else {
        ok = inspect_local_times(ctl->pg, times.list, times.count, &res, &err);
        status = rows_print(ctl, ok, res, &err);
    }
    free(times.list);
    for (int row = 0; clocks != NULL && row < pg_rows(schedules); row++) {
        pg_result_destroy(&clocks[row]);
    }
    free(clocks);
    pg_result_destroy(&schedules);
    return status;
}

static enum ctl_status schedule_run(struct ctl *ctl)
{
    char identity[64] = "trigger:studyctl-";
    struct error err;
    bool known;

    clock_random_hex(identity + strlen(identity), 12);
    bool ok = pg_begin(ctl->pg, &err) &&
              db_firing_trigger(ctl->pg, str_of(ctl->args[0]), str_of(identity),
                                clock_wall_ms() * 1000, &known, &err);
    if (!ok || !known) {
        pg_rollback(ctl->pg);
        return ok ? rows_none("schedule", ctl->args[0]) : ctl_fail(&err);
    }
    if (!pg_commit(ctl->pg, &err)) {
        return ctl_fail(&err);
    }
    if (!ctl->json) {
        printf("%s is due now; studyctl schedule firings shows how it goes.\n", ctl->args[0]);
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kcstr(w, "schedule", ctl->args[0]);
    json_put_kcstr(w, "trigger_key", identity);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

const struct ctl_command cmd_schedule_commands[] = {
    {"schedule ls", "", 0, 0, "", "Lists schedules and their last firings.", true, schedule_ls},
    {"schedule next", "[NAME]", 0, 1, "n",
     "Tells the next times of one schedule or of all; 5 of each, or --limit. Of a schedule of "
     "scope member they are the first of all its clocks.",
     true, schedule_next},
    {"schedule run", "NAME", 1, 1, "",
     "Fires a schedule now, for all that was accepted so far; a paused one too.", true,
     schedule_run},
    {"schedule firings", "", 0, 0, "n", "Lists firings, the newest first.", true, schedule_firings},
    {0},
};
