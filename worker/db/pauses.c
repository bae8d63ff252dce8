/* An expired pause counts as none: nobody needs to clear it. */
#include "db/pauses.h"

bool db_pause_set(struct pg *pg, const char *role, const char *team_id, const char *reason,
                  int64_t for_ms, bool *begun, struct error *err)
{
    static const char sql[] =
        "INSERT INTO study.pause AS p (role, team_id, reason, until)"
        " VALUES ($1, $2, $3, CASE WHEN $4 >= 0 THEN now() + $4 * interval '1 ms' END)"
        " ON CONFLICT (role, team_id) DO UPDATE"
        "    SET reason = EXCLUDED.reason, since = now(), until = EXCLUDED.until"
        "  WHERE p.until <= now()"
        " RETURNING 1";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_cstr(args, role);
    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, reason);
    pg_arg_int(args, for_ms);
    ok = pg_exec(pg, sql, args, &res, err);
    *begun = ok && pg_rows(res) > 0;
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

bool db_pause_active(struct pg *pg, const char *role, bool *paused, struct error *err)
{
    static const char sql[] = "SELECT EXISTS (SELECT FROM study.pause"
                              "                WHERE role = $1 AND team_id = ''"
                              "                  AND (until IS NULL OR until > now()))";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_cstr(args, role);
    ok = pg_exec(pg, sql, args, &res, err);
    *paused = ok && pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}
