/* Marks: who was forgotten, and since when. */
#include "db/forget.h"

#include <stdio.h>

#include "base/text.h"

bool forget_member(struct pg *pg, const char *team_id, const char *user_id, bool also_future,
                   bool delete_dms, struct error *err)
{
    /* No digest is begun or asked for meanwhile: both look at the member's switch. */
    static const char sql[] =
        "WITH marked AS ("
        "    INSERT INTO study.forgotten AS f (team_id, user_id, before, delete_dms)"
        "    VALUES ($1, $2, CASE WHEN $3 THEN 'infinity' ELSE now() END, $4)"
        "    ON CONFLICT (team_id, user_id) DO UPDATE"
        "       SET before = GREATEST(f.before, excluded.before),"
        "           delete_dms = f.delete_dms OR excluded.delete_dms,"
        "           asked_at = now(), sealed_at = NULL, writers = NULL, makers = NULL,"
        "           dead_from = 0, rows_at = NULL, done_at = NULL, error = NULL"
        "), silent AS ("
        "    UPDATE study.member SET digests = false WHERE team_id = $1 AND user_id = $2"
        ")"
        "SELECT pg_notify('study_firing', '')";
    struct pg_args *args = pg_args_pair(team_id, user_id);

    pg_arg_bool(args, also_future);
    pg_arg_bool(args, delete_dms);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool forget_lift(struct pg *pg, const char *team_id, const char *user_id, bool *known,
                 struct error *err)
{
    struct pg_result *res = NULL;

    *known = false;
    if (!pg_exec_take(pg,
                      "UPDATE study.forgotten SET before = now()"
                      " WHERE team_id = $1 AND user_id = $2 AND before = 'infinity' RETURNING 1",
                      pg_args_pair(team_id, user_id), &res, err)) {
        return false;
    }
    *known = pg_rows(res) > 0;
    pg_result_destroy(&res);
    return true;
}

bool forget_list_open(struct pg *pg, const struct forget_open *after,
                      struct forget_open open[FORGET_OPEN_MAX], size_t *count, struct error *err)
{
    struct pg_args *args = pg_args_pair(after->team_id, after->user_id);
    struct pg_result *res = NULL;
    bool ok;

    *count = 0;
    pg_arg_int(args, FORGET_OPEN_MAX);
    ok = pg_exec_take(pg,
                      "SELECT team_id, user_id, rows_at IS NOT NULL FROM study.forgotten"
                      " WHERE done_at IS NULL"
                      " ORDER BY rows_at IS NOT NULL,"
                      "  (team_id, user_id) <= ($1::text COLLATE \"C\", $2::text COLLATE \"C\"),"
                      "  team_id, user_id LIMIT $3",
                      args, &res, err);
    for (int row = 0; ok && row < pg_rows(res); row++) {
        struct forget_open *o = &open[(*count)++];

        snprintf(o->team_id, sizeof(o->team_id), "%.*s", STR_ARG(pg_str(res, row, 0)));
        snprintf(o->user_id, sizeof(o->user_id), "%.*s", STR_ARG(pg_str(res, row, 1)));
        o->rows_gone = pg_bool(res, row, 2);
    }
    pg_result_destroy(&res);
    return ok;
}

/* A group is known by the newest rows_at in it, in microseconds. */
bool forget_group(struct pg *pg, int64_t *group, struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg,
                      "SELECT COALESCE(max(extract(epoch FROM rows_at) * 1000000)::bigint, 0)"
                      " FROM study.forgotten WHERE done_at IS NULL AND rows_at IS NOT NULL",
                      NULL, &res, err);

    *group = ok ? pg_int(res, 0, 0) : 0;
    pg_result_destroy(&res);
    return ok;
}

bool forget_group_done(struct pg *pg, int64_t group, int64_t *count, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_time(args, group);
    bool ok = pg_exec_take(pg,
                           "UPDATE study.forgotten SET done_at = now(), error = NULL"
                           " WHERE done_at IS NULL AND rows_at <= $1",
                           args, &res, err);
    *count = ok ? pg_affected(res) : 0;
    pg_result_destroy(&res);
    return ok;
}

bool forget_group_waits(struct pg *pg, int64_t group, const char *why, struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_time(args, group);
    pg_arg_cstr(args, why);
    return pg_exec_take(pg,
                        "UPDATE study.forgotten SET error = left($2, 300) WHERE done_at IS NULL"
                        " AND rows_at <= $1 AND error IS DISTINCT FROM left($2, 300)",
                        args, NULL, err);
}

bool forget_state(struct pg *pg, const char *team_id, const char *user_id, enum forget_state *state,
                  int64_t *stays, struct error *err)
{
    struct pg_result *res = NULL;

    if (!pg_exec_take(pg,
                      "SELECT 1 + (rows_at IS NOT NULL)::int + (done_at IS NOT NULL)::int,"
                      "       stays FROM study.forgotten WHERE team_id = $1 AND user_id = $2",
                      pg_args_pair(team_id, user_id), &res, err)) {
        return false;
    }
    *state = pg_rows(res) > 0 ? (enum forget_state)pg_int(res, 0, 0) : FORGET_NOT;
    *stays = pg_rows(res) > 0 ? pg_int(res, 0, 1) : 0;
    pg_result_destroy(&res);
    return true;
}

bool forget_show(struct pg *pg, const char *team_id, const char *user_id, struct pg_result **res,
                 struct error *err)
{
    return pg_exec_take(pg,
                        "SELECT team_id, user_id,"
                        " CASE WHEN done_at IS NOT NULL THEN 'done'"
                        "  WHEN rows_at IS NOT NULL THEN 'rows erased, accept logs not yet'"
                        "  ELSE 'erasing' END AS state,"
                        " NULLIF(before, 'infinity') AS before, before = 'infinity' AS for_good,"
                        " delete_dms, CASE WHEN delete_dms THEN stays END AS stay_in_slack,"
                        " asked_at, rows_at, done_at, error"
                        " FROM study.forgotten WHERE team_id = $1 AND user_id = $2",
                        pg_args_pair(team_id, user_id), res, err);
}
