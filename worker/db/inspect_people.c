/* Reading for studyctl: people, schedules, and how much there is of what. */
#include "base/text.h"
#include "db/inspect.h"
#include "db/inspect_query.h"

bool inspect_members(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                     struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, filter->team);
    pg_arg_int(args, filter->limit);
    return inspect_query(
        pg,
        "SELECT m.team_id, m.user_id, m.language, m.time_zone, m.digests,"
        " m.consent, m.noticed_at, m.created_at, e.requested_at AS export_asked_at"
        " FROM study.member m LEFT JOIN study.export_request e"
        "  ON e.team_id = m.team_id AND e.user_id = m.user_id AND e.done_at IS NULL"
        " WHERE $1::text IS NULL OR m.team_id = $1"
        /* those that somebody has to do something about come first */
        " ORDER BY e.requested_at, m.created_at DESC, m.team_id, m.user_id"
        " LIMIT $2",
        args, res, err);
}

bool inspect_member(struct pg *pg, const char *team_id, const char *user_id, struct pg_result **res,
                    struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, user_id);
    return inspect_query(
        pg,
        "SELECT m.team_id, m.user_id, m.language, m.locale, m.time_zone, m.standing,"
        " m.profile_at, m.digest_time, m.dm_channel_id, m.digests, m.consent, m.noticed_at, "
        "m.created_at,"
        " (SELECT count(*) FROM study.message x WHERE x.team_id = m.team_id"
        "  AND x.user_id = m.user_id AND NOT x.deleted) AS messages,"
        " (SELECT max(posted_at) FROM study.message x WHERE x.team_id = m.team_id"
        "  AND x.user_id = m.user_id AND NOT x.deleted) AS last_message_at,"
        " (SELECT count(*) FROM study.digest d WHERE d.team_id = m.team_id"
        "  AND d.user_id = m.user_id) AS digests_made_for,"
        " (SELECT count(*) FROM study.outbox o WHERE o.team_id = m.team_id"
        "  AND o.target = m.user_id AND o.state = 'sent') AS replies_sent,"
        " (SELECT max(e.requested_at) FROM study.export_request e WHERE e.team_id = m.team_id"
        "  AND e.user_id = m.user_id AND e.done_at IS NULL) AS export_asked_at,"
        " s.current_streak, s.longest_streak, s.days AS days_of_study, s.records"
        " FROM study.member m JOIN study.streak s USING (team_id, user_id)"
        " WHERE m.team_id = $1 AND m.user_id = $2",
        args, res, err);
}

bool inspect_teams(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT t.team_id, t.name, t.url, t.bot_user_id, t.language, t.state, t.stopped_reason,"
        " (SELECT count(*) FROM study.channel c WHERE c.team_id = t.team_id) AS channels,"
        " (SELECT count(*) FROM study.member m WHERE m.team_id = t.team_id) AS members,"
        " t.created_at FROM study.team t ORDER BY t.team_id",
        NULL, res, err);
}

bool inspect_schedules(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT s.name, s.kind, s.scope, s.cron, s.time_zone, s.team_id, s.channel_id, s.missed,"
        " s.missed_window, s.paused, CASE WHEN s.scope = 'member' THEN (SELECT count(*)"
        "  FROM study.schedule_clock c WHERE c.schedule_id = s.schedule_id) END AS clocks,"
        " s.next_at, f.fire_at AS last_fire_at, f.state AS last_state, f.digests AS last_digests"
        " FROM study.schedule s LEFT JOIN LATERAL"
        " (SELECT fire_at, state, digests FROM study.firing x"
        "  WHERE x.schedule_id = s.schedule_id ORDER BY fire_at DESC LIMIT 1) f ON true"
        " ORDER BY s.name",
        NULL, res, err);
}

bool inspect_clocks(struct pg *pg, const char *schedule, struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, schedule);
    return inspect_query(pg,
                         "SELECT DISTINCT c.time_zone,"
                         " COALESCE(to_char(c.digest_time, 'HH24:MI'), '') AS digest_time"
                         " FROM study.schedule_clock c JOIN study.schedule s USING (schedule_id)"
                         " WHERE s.name = $1 AND c.time_zone IS NOT NULL ORDER BY 1, 2",
                         args, res, err);
}

bool inspect_firings(struct pg *pg, int limit, struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, limit);
    return inspect_query(pg, "SELECT * FROM study.firing_progress ORDER BY firing_id DESC LIMIT $1",
                         args, res, err);
}

bool inspect_local_times(struct pg *pg, const struct inspect_time *times, size_t count,
                         struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_array *names = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *zones = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *at = pg_array_create(PG_TIMESTAMPTZ_ARRAY);

    for (size_t i = 0; i < count; i++) {
        pg_array_str(names, str_of(times[i].name));
        pg_array_str(zones, str_of(times[i].time_zone));
        pg_array_time(at, times[i].at * 1000000);
    }
    pg_arg_array(args, names);
    pg_arg_array(args, zones);
    pg_arg_array(args, at);
    bool ok = inspect_query(
        pg,
        "SELECT name, time_zone, at,"
        " to_char(at AT TIME ZONE study.valid_zone(time_zone, 'UTC'), 'Dy YYYY-MM-DD HH24:MI')"
        "  AS local"
        " FROM unnest($1::text[], $2::text[], $3::timestamptz[])"
        " WITH ORDINALITY AS u(name, time_zone, at, n) ORDER BY n",
        args, res, err);
    pg_array_destroy(&names);
    pg_array_destroy(&zones);
    pg_array_destroy(&at);
    return ok;
}

bool inspect_counts(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(pg,
                         "SELECT 'digest' AS what, state, count(*), min(created_at) AS oldest"
                         " FROM study.digest GROUP BY state"
                         " UNION ALL SELECT 'reply', state, count(*), min(created_at)"
                         " FROM study.outbox GROUP BY state"
                         " UNION ALL SELECT 'firing', state, count(*), min(fire_at)"
                         " FROM study.firing GROUP BY state"
                         " UNION ALL SELECT 'dead event', reason, count(*), min(created_at)"
                         " FROM study.dead_event GROUP BY reason ORDER BY 1, 2",
                         NULL, res, err);
}

bool inspect_stored(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "WITH m AS (SELECT GREATEST(reltuples, 0)::bigint AS n FROM pg_class"
        "            WHERE oid = 'study.message'::regclass)"
        "SELECT CASE WHEN m.n < 100000 THEN (SELECT count(*) FROM study.message) ELSE m.n END"
        "  AS messages, m.n >= 100000 AS estimated,"
        " (SELECT count(*) FROM study.member) AS members,"
        " (SELECT count(*) FROM study.team) AS workspaces,"
        " (SELECT max(stored_at) FROM study.message WHERE posted_at > now() - interval '1 day')"
        "  AS last_stored_at,"
        " (SELECT max(done_at) FROM study.outbox WHERE state = 'sent'"
        "   AND created_at > now() - interval '2 days') AS last_sent_at"
        " FROM m",
        NULL, res, err);
}

/* What a person has to look at, the gravest first; nothing when all goes by itself. */
bool inspect_attention(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT what, n AS count, look FROM ("
        " SELECT 1, 'roles paused', (SELECT count(*) FROM study.pause WHERE until IS NULL"
        "   OR until > now()), 'studyctl resume'"
        " UNION ALL SELECT 2, 'workspaces stopped', (SELECT count(*) FROM study.team"
        "   WHERE state = 'stopped'), 'studyctl team check'"
        " UNION ALL SELECT 3, 'firings late', (SELECT count(*) FROM study.firing"
        "   WHERE state IN ('waiting', 'collecting') AND fire_at < now() - interval '10 min'),"
        "   'studyctl schedule firings'"
        " UNION ALL SELECT 4, 'digests late', (SELECT count(*) FROM study.digest"
        "   WHERE state IN ('pending', 'running') AND deadline < now() - interval '10 min'),"
        "   'studyctl digest ls --state pending'"
        " UNION ALL SELECT 5, 'replies parked', (SELECT count(*) FROM study.outbox"
        "   WHERE state = 'parked'), 'studyctl outbox ls --state parked'"
        " UNION ALL SELECT 6, 'replies failed today', (SELECT count(*) FROM study.outbox"
        "   WHERE state = 'failed' AND created_at > now() - interval '1 day'),"
        "   'studyctl outbox ls --state failed'"
        " UNION ALL SELECT 7, 'dead events', (SELECT count(*) FROM study.dead_event),"
        "   'studyctl dead ls'"
        " UNION ALL SELECT 8, 'lanes stopped', (SELECT count(*) FROM study.lane"
        "   WHERE stopped_reason IS NOT NULL), 'they are tried once a day'"
        ") x (rank, what, n, look) WHERE n > 0 ORDER BY rank",
        NULL, res, err);
}

bool inspect_pauses(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(pg,
                         "SELECT role, team_id, reason, since, until FROM study.pause"
                         " WHERE until IS NULL OR until > now()"
                         /* not a pause: digests are made, but without a model */
                         " UNION ALL SELECT 'digest', '', 'no model: monthly budget used up',"
                         "  gone_at, (month + interval '1 month') AT TIME ZONE 'UTC'"
                         "  FROM study.budget WHERE gone_at IS NOT NULL"
                         "   AND month = date_trunc('month', now() AT TIME ZONE 'UTC')::date"
                         " ORDER BY role, team_id",
                         NULL, res, err);
}

bool inspect_stopped(struct pg *pg, struct pg_result **res, struct error *err)
{
    return inspect_query(pg,
                         "SELECT team_id, NULL::text AS target, stopped_reason FROM study.team"
                         " WHERE state = 'stopped' UNION ALL"
                         " SELECT team_id, target, stopped_reason FROM study.lane"
                         " WHERE stopped_reason IS NOT NULL ORDER BY 1, 2 NULLS FIRST",
                         NULL, res, err);
}
