/* Switches: pauses, schedules, dead events, people. See operate_work.c for digests and replies. */
#include "db/operate.h"

#include <string.h>

/* Runs and frees args; *rows: rows that it gave or changed. */
static bool run(struct pg *pg, const char *sql, struct pg_args *args, int64_t *rows,
                struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg, sql, args, &res, err);

    *rows = ok ? pg_affected(res) : 0;
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

/* What PostgreSQL could not read was the operator's time: the only free text in these statements.
 */
static bool explain_time(const char *text, struct error *err)
{
    if (strncmp(err->code, "22", 2) == 0) {
        return error_set(err, ERROR_INPUT,
                         "%s is no time; write 2026-11-23T09:00+09:00, or '2026-11-23 09:00' for "
                         "UTC",
                         text);
    }
    return false;
}

bool operate_pause(struct pg *pg, const struct operate_pause *pause, struct pg_result **res,
                   struct error *err)
{
    static const char sql[] =
        "WITH w AS (SELECT COALESCE($4::text::timestamptz,"
        "                           CASE WHEN $5 >= 0 THEN now() + $5 * interval '1 ms' END)"
        "                    AS until)"
        "INSERT INTO study.pause AS p (role, team_id, reason, until)"
        " SELECT $1, $2, $3, until FROM w WHERE until IS NULL OR until > now()"
        " ON CONFLICT (role, team_id) DO UPDATE"
        "    SET reason = EXCLUDED.reason, until = EXCLUDED.until,"
        "        since = CASE WHEN p.until <= now() THEN now() ELSE p.since END"
        " RETURNING role, team_id, reason, since, until";
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_cstr(args, pause->role);
    pg_arg_cstr(args, pause->team_id);
    pg_arg_cstr(args, pause->reason);
    pg_arg_cstr(args, pause->until);
    pg_arg_int(args, pause->for_ms);
    ok = pg_exec(pg, sql, args, res, err);
    pg_args_destroy(&args);
    if (!ok) {
        return explain_time(pause->until != NULL ? pause->until : "", err);
    }
    if (pg_rows(*res) == 0) {
        pg_result_destroy(res);
        return error_set(err, ERROR_INPUT, "%s has passed", pause->until);
    }
    return true;
}

bool operate_resume(struct pg *pg, const char *role, const char *team_id, bool *found,
                    struct error *err)
{
    static const char sql[] =
        "WITH ended AS (DELETE FROM study.pause WHERE role = $1 AND team_id = $2"
        "               RETURNING role, until IS NULL OR until > now() AS held)"
        "SELECT CASE role WHEN 'digest' THEN pg_notify('study_digest', '')"
        "                 WHEN 'deliver' THEN pg_notify('study_outbox', '') END"
        "  FROM ended WHERE held";
    struct pg_args *args = pg_args_create();
    int64_t rows;

    pg_arg_cstr(args, role);
    pg_arg_cstr(args, team_id);
    bool ok = run(pg, sql, args, &rows, err);
    *found = rows > 0;
    return ok;
}

bool operate_schedule_pause(struct pg *pg, const char *name, bool paused, bool *found,
                            bool *changed, struct error *err)
{
    static const char sql[] =
        "WITH s AS (SELECT schedule_id, paused FROM study.schedule WHERE name = $1 FOR UPDATE),"
        " done AS (UPDATE study.schedule x SET paused = $2,"
        "                 next_at = CASE WHEN $2 THEN x.next_at END"
        "            FROM s WHERE x.schedule_id = s.schedule_id AND s.paused <> $2 RETURNING 1)"
        "SELECT (SELECT count(*) FROM done) > 0 FROM s";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_cstr(args, name);
    pg_arg_bool(args, paused);
    bool ok = pg_exec(pg, sql, args, &res, err);
    *found = ok && pg_rows(res) > 0;
    *changed = *found && pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

/* ---- dead events ---- */

#define DEAD_CHOSEN                                                                                \
    " FROM study.dead_event WHERE ($1::text IS NULL OR reason = $1)"                               \
    " AND ($2::text IS NULL OR created_at < $2::text::timestamptz)"

static struct pg_args *dead_args(const char *reason, const char *before)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, reason);
    pg_arg_cstr(args, before);
    return args;
}

bool operate_dead_ids(struct pg *pg, const char *reason, const char *before, int64_t after,
                      int limit, struct pg_result **res, struct error *err)
{
    struct pg_args *args = dead_args(reason, before);

    pg_arg_int(args, after);
    pg_arg_int(args, limit);
    bool ok =
        pg_exec(pg, "SELECT dead_id" DEAD_CHOSEN " AND dead_id > $3 ORDER BY dead_id LIMIT $4",
                args, res, err);
    pg_args_destroy(&args);
    return ok || explain_time(before, err);
}

bool operate_dead_count(struct pg *pg, const char *reason, const char *before, int64_t *count,
                        struct error *err)
{
    struct pg_args *args = dead_args(reason, before);
    struct pg_result *res = NULL;

    bool ok = pg_exec(pg, "SELECT count(*)" DEAD_CHOSEN, args, &res, err);
    *count = ok ? pg_int(res, 0, 0) : 0;
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok || explain_time(before, err);
}

bool operate_dead_take(struct pg *pg, int64_t dead_id, struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, dead_id);
    bool ok = pg_exec(pg, "DELETE FROM study.dead_event WHERE dead_id = $1 RETURNING element", args,
                      res, err);
    pg_args_destroy(&args);
    return ok;
}

bool operate_dead_purge(struct pg *pg, const char *reason, const char *before, int64_t *count,
                        struct error *err)
{
    return run(pg, "DELETE" DEAD_CHOSEN, dead_args(reason, before), count, err) ||
           explain_time(before, err);
}

/* ---- people ---- */

bool operate_team_set(struct pg *pg, const char *team_id, const char *language, bool *found,
                      struct error *err)
{
    struct pg_args *args = pg_args_create();
    int64_t rows;

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, language);
    bool ok = run(pg, "UPDATE study.team SET language = $2 WHERE team_id = $1", args, &rows, err);
    *found = rows > 0;
    return ok;
}

bool operate_member_set(struct pg *pg, const char *team_id, const char *user_id,
                        const struct operate_member *change, bool *found, struct error *err)
{
    static const char sql[] =
        "WITH m AS (UPDATE study.member SET language = COALESCE($3, language),"
        "                  consent = COALESCE($4, consent),"
        "                  digests = CASE WHEN $5 < 0 THEN digests ELSE $5 > 0 END"
        "            WHERE team_id = $1 AND user_id = $2 RETURNING team_id, user_id),"
        " called AS (UPDATE study.digest d SET next_at = LEAST(d.next_at, now()) FROM m"
        "             WHERE d.team_id = m.team_id AND d.user_id = m.user_id"
        "               AND d.state = 'pending')"
        "SELECT FROM m";
    struct pg_args *args = pg_args_create();
    int64_t rows;

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, user_id);
    pg_arg_cstr(args, change->language);
    pg_arg_cstr(args, change->consent);
    pg_arg_int(args, change->digests);
    bool ok = run(pg, sql, args, &rows, err);
    *found = rows > 0;
    return ok;
}
