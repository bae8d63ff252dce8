/*
 * slack_wait.slot_at is the generic cell rate algorithm's "theoretical arrival time": booking a
 * call moves it one interval on, and a call may go while it is at most the burst ahead of the
 * clock.
 */
#include "db/lanes.h"

bool lane_stop(struct pg *pg, const char *team_id, const char *target, const char *reason,
               struct error *err)
{
    static const char sql[] = "UPDATE study.lane"
                              "   SET stopped_reason = $3, retry_at = now() + interval '1 day'"
                              " WHERE team_id = $1 AND target = $2";
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, target);
    pg_arg_cstr(args, reason);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool slack_wait_set(struct pg *pg, const char *team_id, const char *method, int64_t wait_ms,
                    struct error *err)
{
    static const char sql[] =
        "INSERT INTO study.slack_wait AS w (team_id, method, until)"
        " VALUES ($1, $2, now() + $3 * interval '1 ms')"
        " ON CONFLICT (team_id, method) DO UPDATE SET until = GREATEST(w.until, EXCLUDED.until)";
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, method);
    pg_arg_int(args, wait_ms);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool slack_wait_take(struct pg *pg, const char *team_id, const char *method, int64_t interval_ms,
                     int64_t burst_ms, int count, int64_t *wait_ms, struct error *err)
{
    static const char book[] =
        "INSERT INTO study.slack_wait AS w (team_id, method, slot_at)"
        " VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms')"
        " ON CONFLICT (team_id, method) DO UPDATE"
        "    SET slot_at = GREATEST(w.slot_at, clock_timestamp()) + $3 * interval '1 ms'"
        "  WHERE w.until <= clock_timestamp()"
        "    AND w.slot_at <= clock_timestamp() + $4 * interval '1 ms'"
        " RETURNING 1";
    static const char look[] =
        "SELECT ceil(1000 * extract(epoch FROM"
        "            GREATEST(until, slot_at - $3 * interval '1 ms') - clock_timestamp()))::bigint"
        "  FROM study.slack_wait WHERE team_id = $1 AND method = $2"
        "   AND isfinite(GREATEST(until, slot_at))";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, method);
    pg_arg_int(args, interval_ms * count);
    pg_arg_int(args, burst_ms);
    *wait_ms = 0;
    ok = pg_exec(pg, book, args, &res, err);
    if (ok && pg_rows(res) == 0) {
        pg_result_destroy(&res);
        pg_args_reset(args);
        pg_arg_cstr(args, team_id);
        pg_arg_cstr(args, method);
        pg_arg_int(args, burst_ms);
        ok = pg_exec(pg, look, args, &res, err);
        if (ok) {
            *wait_ms = pg_rows(res) > 0 ? pg_int(res, 0, 0) : 0;
            *wait_ms = *wait_ms < 1 ? 1 : *wait_ms;
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}
