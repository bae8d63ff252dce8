/* Locking what is due and advancing it; the reckoning is schedule/'s. */
#include "db/schedules.h"

#include <stdio.h>

#include "base/text.h"

static void copy(char *out, size_t size, struct str s)
{
    snprintf(out, size, "%.*s", STR_ARG(s));
}

bool db_schedules_due(struct pg *pg, struct schedule_due out[SCHEDULES_MAX], size_t *count,
                      int64_t *now, struct error *err)
{
    /* NO KEY: rows that refer to a schedule are inserted all the time, and are no reason to skip.
     */
    static const char sql[] =
        "SELECT schedule_id, name, cron, time_zone, missed, floor(extract(epoch FROM next_at))"
        "  ::bigint, floor(extract(epoch FROM now()))::bigint,"
        "  COALESCE(extract(epoch FROM missed_window)::bigint, -1), scope = 'member'"
        " FROM study.schedule WHERE NOT paused AND (next_at IS NULL OR next_at <= now())"
        " ORDER BY next_at NULLS FIRST LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    *count = 0;
    pg_arg_int(args, SCHEDULES_MAX);
    bool ok = pg_exec(pg, sql, args, &res, err);
    pg_args_destroy(&args);
    for (int row = 0; ok && row < pg_rows(res) && *count < SCHEDULES_MAX; row++) {
        struct schedule_due *s = &out[(*count)++];
        struct str missed = pg_str(res, row, 4);

        s->schedule_id = pg_int(res, row, 0);
        copy(s->name, sizeof(s->name), pg_str(res, row, 1));
        copy(s->cron, sizeof(s->cron), pg_str(res, row, 2));
        copy(s->time_zone, sizeof(s->time_zone), pg_str(res, row, 3));
        s->missed = str_is(missed, "all")    ? MISSED_ALL
                    : str_is(missed, "skip") ? MISSED_SKIP
                                             : MISSED_LAST;
        s->reckoned = !pg_is_null(res, row, 5);
        s->next_at = pg_int(res, row, 5);
        *now = pg_int(res, row, 6);
        s->window_s = pg_int(res, row, 7);
        s->by_member = pg_bool(res, row, 8);
    }
    pg_result_destroy(&res);
    return ok;
}

bool db_schedule_advance(struct pg *pg, int64_t schedule_id, int64_t next_at, struct error *err)
{
    static const char sql[] =
        "UPDATE study.schedule SET next_at = COALESCE($2, 'infinity') WHERE schedule_id = $1";
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, schedule_id);
    pg_arg_time(args, next_at == SCHEDULE_NEVER ? INT64_MIN : next_at * 1000000);
    return pg_exec_take(pg, sql, args, NULL, err);
}
