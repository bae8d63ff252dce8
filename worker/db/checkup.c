/* Questions that a healthy database answers at once; counts stop at a bound. */
#include "db/checkup.h"

#include "db/inspect_query.h"

bool checkup_server(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT split_part(current_setting('server_version'), ' ', 1), pg_is_in_recovery(),"
        " current_setting('transaction_read_only') = 'on', current_setting('synchronous_commit'),"
        " current_setting('fsync'),"
        " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
        " COALESCE((SELECT extract(epoch FROM max(now() - xact_start)) FROM pg_stat_activity"
        "   WHERE pid <> pg_backend_pid()), 0)::bigint,"
        " pg_database_size(current_database()),"
        " (SELECT sum(numbackends) FROM pg_stat_database) * 100"
        "   / current_setting('max_connections')::int,"
        " current_setting('server_encoding'),"
        " (SELECT min(p.rolname) FROM pg_roles p JOIN pg_auth_members m ON m.member = p.oid"
        "   JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname = 'study_worker' AND p.rolcanlogin"
        "    AND NOT 'log_error_verbosity=terse' = ANY (COALESCE(p.rolconfig, '{}'))"
        "    AND current_setting('log_error_verbosity') <> 'terse')",
        NULL, res, err);
}

bool checkup_rights(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT r.role, r.role || ' may not ' || w.what || ' ' || c.oid::regclass"
        " FROM (VALUES (current_user::text), ('study_worker')) r (role)"
        " CROSS JOIN pg_class c CROSS JOIN (VALUES ('SELECT')) w (what)"
        " WHERE c.relnamespace = to_regnamespace('study') AND c.relkind IN ('r', 'p')"
        "   AND EXISTS (SELECT FROM pg_roles p WHERE p.rolname = r.role)"
        "   AND NOT has_table_privilege(r.role, c.oid, w.what)"
        " UNION ALL SELECT r.role, 'there is no role ' || r.role"
        "  FROM (VALUES ('study_worker'), ('study_ctl'), ('study_read')) r (role)"
        "  WHERE NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = r.role)"
        " UNION ALL SELECT 'study_worker', 'nobody can log in as a member of study_worker'"
        "  WHERE NOT EXISTS (SELECT FROM pg_roles p JOIN pg_auth_members m ON m.member = p.oid"
        "    JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname = 'study_worker' AND "
        "p.rolcanlogin)"
        " LIMIT 5",
        NULL, res, err);
}

bool checkup_work(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT (SELECT count(*) FROM (SELECT FROM study.dead_event LIMIT 10000) d),"
        " (SELECT count(*) FROM study.outbox WHERE state = 'parked'),"
        " (SELECT count(*) FROM study.outbox WHERE state = 'failed'"
        "   AND created_at > now() - interval '1 day'),"
        " (SELECT count(*) FROM study.outbox WHERE state IN ('doubtful', 'sending')"
        "   AND sent_from < now() - interval '1 hour'),"
        " COALESCE((SELECT extract(epoch FROM now() - min(l.due_at)) FROM study.lane l"
        "   JOIN study.team t USING (team_id) WHERE l.due_at <= now()"
        "    AND l.stopped_reason IS NULL AND t.state = 'active'), 0)::bigint,"
        " (SELECT count(*) FROM study.lane WHERE stopped_reason IS NOT NULL),"
        " (SELECT count(DISTINCT (d.team_id, d.user_id)) FROM study.digest d"
        "   JOIN study.member m USING (team_id, user_id) JOIN study.team t USING (team_id)"
        "   WHERE d.state = 'pending' AND m.noticed_at IS NULL AND m.digests"
        "    AND m.consent <> 'no' AND t.state = 'active'"
        "    AND d.created_at < now() - interval '1 hour'),"
        " (SELECT count(*) FROM study.digest d JOIN study.member m USING (team_id, user_id)"
        "   JOIN study.team t USING (team_id)"
        "   WHERE d.state IN ('pending', 'running') AND d.deadline < now() - interval '10 min'"
        "    AND m.noticed_at IS NOT NULL AND t.state = 'active'"
        "    AND NOT EXISTS (SELECT FROM study.lane l WHERE l.team_id = d.team_id"
        "     AND l.target = d.user_id AND l.stopped_reason IS NOT NULL)),"
        " (SELECT count(*) FROM study.firing WHERE state IN ('waiting', 'collecting')"
        "   AND fire_at < now() - interval '10 min'),"
        " (SELECT count(*) FROM study.schedule WHERE NOT paused),"
        " (SELECT count(*) FROM study.team)",
        NULL, res, err);
}

bool checkup_applied(struct pg *pg, const char *event_id, bool *yes, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_cstr(args, event_id);
    bool ok = inspect_query(
        pg, "SELECT EXISTS (SELECT FROM study.applied WHERE identity = 'event:' || $1)", args, &res,
        err);
    *yes = ok && pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    return ok;
}
