/* See trace.h. Nothing here is locked: the story is of one moment, more or less. */
#include "db/trace.h"

#include "base/text.h"
#include "db/inspect_query.h"

static struct pg_args *words(const char *a, const char *b, const char *c)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, a);
    if (b != NULL || c != NULL) {
        pg_arg_cstr(args, b);
    }
    if (c != NULL) {
        pg_arg_cstr(args, c);
    }
    return args;
}

static struct pg_args *number(int64_t id)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, id);
    return args;
}

/* By way of the workspaces, so that the key serves also where none was named. */
bool trace_message(struct pg *pg, const char *team_id, const char *channel_id, const char *ts,
                   bool show_text, struct pg_result **res, struct error *err)
{
    struct pg_args *args = words(channel_id, ts, NULL);

    pg_arg_cstr(args, team_id);
    pg_arg_bool(args, show_text);
    return inspect_query(
        pg,
        "SELECT m.team_id, m.channel_id, m.ts, m.user_id, m.accepted_at, m.stored_at,"
        " m.edited_ts IS NOT NULL AS edited, m.deleted, study.is_record(m.text, m.files, m.thread_ts),"
        " char_length(m.text), COALESCE(c.private, false),"
        " COALESCE(u.digests AND u.consent <> 'no', true),"
        " CASE WHEN $4 THEN m.text END, m.posted_at"
        " FROM study.team t CROSS JOIN LATERAL (SELECT * FROM study.message x"
        "  WHERE x.team_id = t.team_id AND x.channel_id = $1 AND x.ts = $2 OFFSET 0) m"
        " LEFT JOIN study.channel c ON c.team_id = m.team_id AND c.channel_id = m.channel_id"
        " LEFT JOIN study.member u ON u.team_id = m.team_id AND u.user_id = m.user_id"
        " WHERE $3::text IS NULL OR t.team_id = $3 ORDER BY t.team_id",
        args, res, err);
}

bool trace_absent(struct pg *pg, const char *channel_id, const char *ts, struct pg_result **res,
                  struct error *err)
{
    return inspect_query(pg,
                         "SELECT EXISTS (SELECT FROM study.channel WHERE channel_id = $1),"
                         " to_timestamp($2::double precision),"
                         " (extract(epoch FROM now()) - $2::numeric)::bigint",
                         words(channel_id, ts, NULL), res, err);
}

#define TEAM_STOPPED "CASE WHEN t.state = 'stopped' THEN t.stopped_reason END"
#define PAUSED(role, team)                                                                         \
    "(SELECT p.reason FROM study.pause p WHERE p.role = '" role "' AND p.team_id IN ('', " team    \
    ") AND (p.until IS NULL OR p.until > now()) ORDER BY p.team_id LIMIT 1)"

#define DIGEST_COLUMNS                                                                             \
    "SELECT d.digest_id, s.name, f.fire_at, d.state, d.origin, d.attempts, d.error, d.deadline,"   \
    " d.next_at, d.made_at, d.created_at, m.noticed_at IS NOT NULL, m.consent, " TEAM_STOPPED ","  \
    " (SELECT l.stopped_reason FROM study.lane l WHERE l.team_id = d.team_id"                      \
    "   AND l.target = d.user_id), " PAUSED("digest", "d.team_id")
#define DIGEST_TABLES                                                                              \
    " JOIN study.schedule s ON s.schedule_id = d.schedule_id"                                      \
    " JOIN study.firing f USING (firing_id)"                                                       \
    " JOIN study.team t ON t.team_id = d.team_id"                                                  \
    " JOIN study.member m ON m.team_id = d.team_id AND m.user_id = d.user_id"

bool trace_digests_of_message(struct pg *pg, const char *team_id, const char *channel_id,
                              const char *ts, struct pg_result **res, struct error *err)
{
    return inspect_query(pg,
                         DIGEST_COLUMNS ", i.gone FROM study.digest_item i"
                                        " JOIN study.digest d USING (digest_id)" DIGEST_TABLES
                                        " WHERE i.team_id = $1 AND i.channel_id = $2 AND i.ts = $3"
                                        " ORDER BY d.digest_id",
                         words(team_id, channel_id, ts), res, err);
}

bool trace_digest(struct pg *pg, int64_t digest_id, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg, DIGEST_COLUMNS ", false FROM study.digest d" DIGEST_TABLES " WHERE d.digest_id = $1",
        number(digest_id), res, err);
}

#define REPLY_COLUMNS                                                                              \
    "SELECT o.outbox_id, o.kind, o.state, o.attempts, o.error, o.next_at, o.created_at,"           \
    " o.done_at, o.channel_id, o.sent_ts, " TEAM_STOPPED ", l.stopped_reason,"                     \
    " COALESCE(l.retry_at, l.next_at), " PAUSED(                                                   \
        "deliver",                                                                                 \
        "o.team_id") ","                                                                           \
                     " (SELECT count(*) FROM study.outbox b WHERE b.team_id = o.team_id AND "      \
                     "b.target = o.target"                                                         \
                     "   AND b.state IN ('pending', 'sending', 'doubtful') AND b.outbox_id < "     \
                     "o.outbox_id),"                                                               \
                     " (SELECT w.until FROM study.slack_wait w WHERE w.team_id = o.team_id"        \
                     "   AND w.method = 'chat.postMessage' AND w.until > now()),"                  \
                     " o.digest_id, o.team_id, o.target, o.hold"                                   \
                     " FROM study.outbox o JOIN study.team t ON t.team_id = o.team_id"             \
                     " LEFT JOIN study.lane l ON l.team_id = o.team_id AND l.target = o.target"

bool trace_replies_of_digest(struct pg *pg, int64_t digest_id, struct pg_result **res,
                             struct error *err)
{
    return inspect_query(pg, REPLY_COLUMNS " WHERE o.digest_id = $1 ORDER BY o.outbox_id",
                         number(digest_id), res, err);
}

bool trace_reply(struct pg *pg, int64_t outbox_id, struct pg_result **res, struct error *err)
{
    return inspect_query(pg, REPLY_COLUMNS " WHERE o.outbox_id = $1", number(outbox_id), res, err);
}

bool trace_notices(struct pg *pg, const char *team_id, const char *user_id, struct pg_result **res,
                   struct error *err)
{
    return inspect_query(pg,
                         REPLY_COLUMNS " WHERE o.kind = 'notice' AND o.team_id = $1"
                                       " AND o.target = $2 ORDER BY o.outbox_id DESC LIMIT 1",
                         words(team_id, user_id, NULL), res, err);
}

bool trace_dead(struct pg *pg, const char *word, const char *other, struct pg_result **res,
                struct error *err)
{
    return inspect_query(
        pg,
        "SELECT dead_id, reason, created_at FROM (SELECT * FROM study.dead_event"
        "  ORDER BY dead_id DESC LIMIT 10000) d"
        " WHERE position(convert_to($1, 'UTF8') IN element) > 0"
        "   AND position(convert_to($2, 'UTF8') IN element) > 0 ORDER BY dead_id LIMIT 20",
        words(word, other, NULL), res, err);
}

bool trace_schedules(struct pg *pg, const char *team_id, const char *channel_id,
                     struct pg_result **res, struct error *err)
{
    return inspect_query(pg,
                         "SELECT name, paused, CASE WHEN isfinite(next_at) THEN next_at END"
                         " FROM study.schedule WHERE (team_id IS NULL OR team_id = $1)"
                         " AND (channel_id IS NULL OR channel_id = $2) ORDER BY next_at, name",
                         words(team_id, channel_id, NULL), res, err);
}

bool trace_applied(struct pg *pg, const char *id, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT identity, applied_at FROM study.applied WHERE identity = ANY (ARRAY['event:' || $1,"
        "  'command:' || $1, 'interaction:' || $1])"
        " UNION ALL SELECT 'firing of ' || s.name || ' (' || f.state || ')', f.created_at"
        "  FROM study.firing f JOIN study.schedule s USING (schedule_id)"
        " WHERE f.trigger_key = 'trigger:' || $1",
        words(id, NULL, NULL), res, err);
}

bool trace_members(struct pg *pg, const char *user_id, struct pg_result **res, struct error *err)
{
    return inspect_query(
        pg,
        "SELECT t.team_id, COALESCE(m.digests, true), COALESCE(m.consent, 'none'), m.noticed_at,"
        " f.user_id IS NOT NULL,"
        " COALESCE(m.standing, 'person'),"
        " to_char(now() AT TIME ZONE study.valid_zone(m.time_zone, 'UTC'), 'YYYY-MM-DD')"
        " FROM study.team t"
        " LEFT JOIN study.member m ON m.team_id = t.team_id AND m.user_id = $1"
        " LEFT JOIN study.forgotten f ON f.team_id = t.team_id AND f.user_id = $1"
        " WHERE m.user_id IS NOT NULL OR f.user_id IS NOT NULL ORDER BY t.team_id",
        words(user_id, NULL, NULL), res, err);
}

bool trace_day(struct pg *pg, const char *team_id, const char *user_id, const char *day,
               struct pg_result **res, struct error *err)
{
    struct pg_args *args = words(team_id, user_id, NULL);

    pg_arg_cstr(args, day);
    return inspect_query(
        pg,
        "WITH z AS (SELECT study.valid_zone(m.time_zone, 'UTC') AS zone FROM study.member m"
        "            WHERE m.team_id = $1 AND m.user_id = $2),"
        " d AS (SELECT zone, COALESCE($3::text::date, (SELECT max(posted_at) FROM study.message"
        "               WHERE team_id = $1 AND user_id = $2 AND NOT deleted)"
        "               AT TIME ZONE zone)::date AS day FROM z)"
        "SELECT x.channel_id, x.ts FROM d JOIN study.message x"
        "    ON x.team_id = $1 AND x.user_id = $2"
        "   AND x.posted_at >= d.day::timestamp AT TIME ZONE d.zone"
        "   AND x.posted_at < (d.day + 1)::timestamp AT TIME ZONE d.zone"
        " ORDER BY x.posted_at, x.channel_id, x.ts LIMIT 200",
        args, res, err);
}
