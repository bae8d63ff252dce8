/* One statement each; NULL parameters leave what is there. */
#include "db/schedules_edit.h"

static bool run(struct pg *pg, const char *sql, const struct schedule_edit *edit, bool *done,
                struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_cstr(args, edit->name);
    pg_arg_cstr(args, edit->kind);
    pg_arg_cstr(args, edit->scope);
    pg_arg_cstr(args, edit->cron);
    pg_arg_cstr(args, edit->time_zone);
    pg_arg_cstr(args, edit->missed);
    pg_arg_cstr(args, edit->missed_window);
    pg_arg_cstr(args, edit->team_id);
    pg_arg_cstr(args, edit->channel_id);
    bool ok = pg_exec(pg, sql, args, &res, err);
    *done = ok && pg_affected(res) > 0;
    pg_args_destroy(&args);
    pg_result_destroy(&res);
    return ok;
}

bool db_schedule_add(struct pg *pg, const struct schedule_edit *edit, bool *done, struct error *err)
{
    static const char sql[] =
        "INSERT INTO study.schedule (name, kind, scope, cron, time_zone, missed, missed_window,"
        "  team_id, channel_id)"
        " SELECT $1, COALESCE($2, 'daily'), COALESCE($3, CASE WHEN NULLIF($9, '') IS NULL"
        "   THEN 'workspace' ELSE 'channel' END), $4,"
        "  COALESCE($5, (SELECT time_zone FROM study.setting)), COALESCE($6, 'last'),"
        "  NULLIF($7, '')::interval, NULLIF($8, ''), NULLIF($9, '')"
        " ON CONFLICT (name) DO NOTHING";

    return run(pg, sql, edit, done, err);
}

bool db_schedule_set(struct pg *pg, const struct schedule_edit *edit, bool *done, struct error *err)
{
    static const char sql[] =
        "UPDATE study.schedule SET kind = COALESCE($2, kind), scope = COALESCE($3, scope),"
        "  cron = COALESCE($4, cron), time_zone = COALESCE($5, time_zone),"
        "  missed = COALESCE($6, missed),"
        "  missed_window = CASE WHEN $7 IS NULL THEN missed_window"
        "   ELSE NULLIF($7, '')::interval END,"
        "  team_id = CASE WHEN $8 IS NULL THEN team_id ELSE NULLIF($8, '') END,"
        "  channel_id = CASE WHEN $9 IS NULL THEN channel_id ELSE NULLIF($9, '') END,"
        "  next_at = CASE WHEN $3 IS NULL AND $4 IS NULL AND $5 IS NULL THEN next_at END"
        " WHERE name = $1";

    return run(pg, sql, edit, done, err);
}

bool db_schedule_holds(struct pg *pg, const char *name, struct schedule_holds *holds,
                       struct error *err)
{
    static const char sql[] =
        "SELECT (SELECT count(*) FROM study.firing f WHERE f.schedule_id = s.schedule_id),"
        "  (SELECT count(*) FROM study.digest d WHERE d.schedule_id = s.schedule_id),"
        "  (SELECT count(*) FROM study.digest d JOIN study.outbox o USING (digest_id)"
        "   WHERE d.schedule_id = s.schedule_id AND o.state IN ('pending', 'sending', 'doubtful'))"
        " FROM study.schedule s WHERE s.name = $1";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    *holds = (struct schedule_holds){.known = false};
    pg_arg_cstr(args, name);
    bool ok = pg_exec(pg, sql, args, &res, err);
    if (ok && pg_rows(res) == 1) {
        *holds =
            (struct schedule_holds){true, pg_int(res, 0, 0), pg_int(res, 0, 1), pg_int(res, 0, 2)};
    }
    pg_args_destroy(&args);
    pg_result_destroy(&res);
    return ok;
}

bool db_schedule_remove(struct pg *pg, const char *name, struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, name);
    return pg_exec_take(pg, "DELETE FROM study.schedule WHERE name = $1", args, NULL, err);
}

bool db_setting(struct pg *pg, const char *day_starts, const char *time_zone,
                struct pg_result **res, struct error *err)
{
    static const char set_sql[] =
        "UPDATE study.setting SET day_starts = COALESCE($1::text::time, day_starts),"
        "  time_zone = COALESCE($2, time_zone)";
    static const char get_sql[] =
        "SELECT to_char(day_starts, 'HH24:MI') AS day_starts, time_zone FROM study.setting";
    struct pg_args *args = pg_args_create();
    bool ok = true;

    if (day_starts != NULL || time_zone != NULL) {
        pg_arg_cstr(args, day_starts);
        pg_arg_cstr(args, time_zone);
        ok = pg_exec(pg, set_sql, args, NULL, err);
    }
    pg_args_destroy(&args);
    return ok && pg_exec(pg, get_sql, NULL, res, err);
}
