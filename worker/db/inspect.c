/* Reading for studyctl: work in hand. See inspect_people.c for people, schedules and counts. */
#include "db/inspect.h"

#include "db/inspect_query.h"

bool inspect_query(struct pg *pg, const char *sql, struct pg_args *args, struct pg_result **res,
                   struct error *err)
{
    bool ok = pg_exec(pg, sql, args, res, err);

    pg_args_destroy(&args);
    return ok;
}

static struct pg_args *filter_args(const struct inspect_filter *filter)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, filter->team);
    pg_arg_cstr(args, filter->state);
    pg_arg_int(args, filter->limit);
    return args;
}

static struct pg_args *id_args(int64_t id, bool show_text)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, id);
    pg_arg_bool(args, show_text);
    return args;
}

bool inspect_digests(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                     struct error *err)
{
    return inspect_query(
        pg,
        "SELECT d.digest_id, s.name AS schedule, f.fire_at, d.team_id, d.user_id, d.state,"
        " d.origin, (SELECT count(*) FROM study.digest_item i WHERE i.digest_id = d.digest_id"
        "  AND NOT i.gone) AS records,"
        " (SELECT o.state FROM study.outbox o WHERE o.digest_id = d.digest_id"
        "  ORDER BY o.outbox_id DESC LIMIT 1) AS reply,"
        " d.attempts, d.error"
        " FROM study.digest d JOIN study.schedule s USING (schedule_id)"
        " JOIN study.firing f USING (firing_id)"
        " WHERE ($1::text IS NULL OR d.team_id = $1) AND ($2::text IS NULL OR d.state = $2)"
        " ORDER BY d.digest_id DESC LIMIT $3",
        filter_args(filter), res, err);
}

bool inspect_digest(struct pg *pg, int64_t digest_id, bool show_text, struct pg_result **res,
                    struct error *err)
{
    return inspect_query(
        pg,
        "SELECT d.digest_id, s.name AS schedule, f.fire_at, d.team_id, d.user_id, d.state,"
        " d.origin, d.language, d.source_version, d.attempts, d.next_at, d.deadline, d.model,"
        " d.prompt_tokens, d.completion_tokens, d.error, d.created_at, d.made_at, d.lease_until,"
        " (SELECT f.answer FROM study.feedback f WHERE f.digest_id = d.digest_id) AS feedback,"
        " CASE WHEN $2 OR d.result IS NULL THEN d.result ELSE '\"(hidden)\"'::jsonb END AS result"
        " FROM study.digest d JOIN study.schedule s USING (schedule_id)"
        " JOIN study.firing f USING (firing_id) WHERE d.digest_id = $1",
        id_args(digest_id, show_text), res, err);
}

bool inspect_digest_items(struct pg *pg, int64_t digest_id, bool show_text, struct pg_result **res,
                          struct error *err)
{
    return inspect_query(
        pg,
        "SELECT i.channel_id, i.ts, m.posted_at, m.thread_ts IS NOT NULL AS reply,"
        " i.gone OR m.deleted AS deleted, m.edited_ts IS NOT NULL AS edited,"
        " length(m.text) AS characters,"
        " CASE WHEN $2 THEN m.text ELSE '(hidden)' END AS text"
        " FROM study.digest_item i JOIN study.message m USING (team_id, channel_id, ts)"
        " WHERE i.digest_id = $1 ORDER BY m.posted_at, i.channel_id, i.ts",
        id_args(digest_id, show_text), res, err);
}

#define OUTBOX_COLUMNS                                                                             \
    "SELECT outbox_id, kind, team_id, target, digest_id, state, attempts, next_at, created_at,"    \
    " done_at, error FROM study.outbox"

bool inspect_outbox(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                    struct error *err)
{
    return inspect_query(pg,
                         OUTBOX_COLUMNS
                         " WHERE ($1::text IS NULL OR team_id = $1)"
                         " AND ($2::text IS NULL OR state = $2) ORDER BY outbox_id DESC LIMIT $3",
                         filter_args(filter), res, err);
}

bool inspect_outbox_of_digest(struct pg *pg, int64_t digest_id, struct pg_result **res,
                              struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, digest_id);
    return inspect_query(pg, OUTBOX_COLUMNS " WHERE digest_id = $1 ORDER BY outbox_id", args, res,
                         err);
}

bool inspect_reply(struct pg *pg, int64_t outbox_id, bool show_text, struct pg_result **res,
                   struct error *err)
{
    return inspect_query(
        pg,
        "SELECT o.outbox_id, o.identity, o.kind, o.team_id, o.target, o.thread_ts, o.digest_id,"
        " o.source_version, o.state, o.hold, o.attempts, o.next_at, o.lease_until, o.channel_id,"
        " o.sent_from, o.sent_ts, o.error, o.created_at, o.done_at, l.next_at AS lane_next_at,"
        " l.due_at AS lane_due_at, l.stopped_reason AS lane_stopped,"
        " CASE WHEN $2 OR o.body IS NULL THEN o.body ELSE '\"(hidden)\"'::jsonb END AS body"
        " FROM study.outbox o LEFT JOIN study.lane l USING (team_id, target)"
        " WHERE o.outbox_id = $1",
        id_args(outbox_id, show_text), res, err);
}

bool inspect_dead(struct pg *pg, const struct inspect_filter *filter, struct pg_result **res,
                  struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, filter->limit);
    return inspect_query(pg,
                         "SELECT dead_id, reason, detail,"
                         " CASE WHEN reason = 'unknown_schedule' THEN substring("
                         "  encode(element, 'escape') from '\\nschedule=([A-Za-z0-9_.-]{1,64})')"
                         " END AS schedule, octet_length(element) AS bytes,"
                         " created_at FROM study.dead_event ORDER BY dead_id DESC LIMIT $1",
                         args, res, err);
}

bool inspect_dead_event(struct pg *pg, int64_t dead_id, bool show_text, struct pg_result **res,
                        struct error *err)
{
    return inspect_query(
        pg,
        "SELECT dead_id, reason, detail, octet_length(element) AS bytes,"
        " encode(element_sha, 'hex') AS sha256, created_at,"
        " CASE WHEN $2 THEN encode(element, 'escape') ELSE '(hidden)' END AS element"
        " FROM study.dead_event WHERE dead_id = $1",
        id_args(dead_id, show_text), res, err);
}
