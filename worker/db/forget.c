/* Marks: who was forgotten, and since when. */
#include "db/forget.h"

static bool exec_of(struct pg *pg, const char *sql, const char *team_id, const char *user_id,
                    struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, user_id);
    ok = pg_exec(pg, sql, args, res, err);
    pg_args_destroy(&args);
    return ok;
}

bool forget_member(struct pg *pg, const char *team_id, const char *user_id, bool also_future,
                   bool delete_dms, struct error *err)
{
    /* No digest is begun or asked for meanwhile: both look at the member's switch. */
    static const char sql[] =
        "WITH marked AS ("
        "    INSERT INTO study.forgotten AS f (team_id, user_id, before, delete_dms, dm_channel_id)"
        "    VALUES ($1, $2, CASE WHEN $3 THEN 'infinity' ELSE now() END, $4,"
        "            (SELECT m.dm_channel_id FROM study.member m"
        "              WHERE m.team_id = $1 AND m.user_id = $2))"
        "    ON CONFLICT (team_id, user_id) DO UPDATE"
        "       SET before = GREATEST(f.before, excluded.before),"
        "           delete_dms = f.delete_dms OR excluded.delete_dms,"
        "           dm_channel_id = COALESCE(excluded.dm_channel_id, f.dm_channel_id),"
        "           asked_at = now(), erase_until = NULL, dead_from = 0, rows_at = NULL,"
        "           done_at = NULL, error = NULL"
        "), silent AS ("
        "    UPDATE study.member SET digests = false WHERE team_id = $1 AND user_id = $2"
        ")"
        "SELECT pg_notify('study_firing', '')";
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, user_id);
    pg_arg_bool(args, also_future);
    pg_arg_bool(args, delete_dms);
    ok = pg_exec(pg, sql, args, NULL, err);
    pg_args_destroy(&args);
    return ok;
}

bool forget_lift(struct pg *pg, const char *team_id, const char *user_id, bool *known,
                 struct error *err)
{
    struct pg_result *res = NULL;

    *known = false;
    if (!exec_of(pg,
                 "UPDATE study.forgotten SET before = now()"
                 " WHERE team_id = $1 AND user_id = $2 AND before = 'infinity' RETURNING 1",
                 team_id, user_id, &res, err)) {
        return false;
    }
    *known = pg_rows(res) > 0;
    pg_result_destroy(&res);
    return true;
}
