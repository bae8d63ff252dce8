/* See backfill.h. */
#include "db/backfill.h"

#include <stdio.h>

#include "base/text.h"

#define MARGIN_S "60" /* between Slack's clock and PostgreSQL's */

static struct pg_args *args_of(const char *team_id, const char *channel_id, const char *a,
                               const char *b)
{
    struct pg_args *args = pg_args_pair(team_id, channel_id);

    pg_arg_cstr(args, a);
    pg_arg_cstr(args, b);
    return args;
}

bool backfill_lock(struct pg *pg, const char *team_id, const char *channel_id, bool *taken,
                   struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = pg_exec_take(
        pg,
        "SELECT pg_try_advisory_lock(hashtextextended('study.backfill ' || $1 || ' ' ||"
        " $2, 0))",
        pg_args_pair(team_id, channel_id), &res, err);
    *taken = ok && pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    return ok;
}

bool backfill_begin(struct pg *pg, const char *team_id, const char *channel_id, const char *oldest,
                    const char *latest, bool exact, struct backfill *out, struct error *err)
{
    static const char sql[] =
        "INSERT INTO study.backfill AS b (team_id, channel_id, oldest, latest, reached)"
        " VALUES ($1, $2, $3, $4, $4)"
        " ON CONFLICT (team_id, channel_id) DO UPDATE SET"
        "  oldest = CASE WHEN b.done_at IS NULL AND (NOT $5 OR b.latest = excluded.latest)"
        "                THEN LEAST(b.oldest, excluded.oldest) ELSE excluded.oldest END,"
        "  latest = CASE WHEN b.done_at IS NULL AND NOT $5 THEN b.latest ELSE excluded.latest END,"
        "  reached = CASE WHEN b.done_at IS NULL AND (NOT $5 OR b.latest = excluded.latest)"
        "                 THEN b.reached ELSE excluded.latest END,"
        "  messages = CASE WHEN b.done_at IS NULL AND (NOT $5 OR b.latest = excluded.latest)"
        "                  THEN b.messages ELSE 0 END,"
        "  threads = CASE WHEN b.done_at IS NULL AND (NOT $5 OR b.latest = excluded.latest)"
        "                 THEN b.threads ELSE 0 END,"
        "  started_at = CASE WHEN b.done_at IS NULL AND (NOT $5 OR b.latest = excluded.latest)"
        "                    THEN b.started_at ELSE now() END,"
        "  done_at = NULL"
        " RETURNING oldest, latest, reached, messages, threads, started_at < now(),"
        "  to_char(floor(extract(epoch FROM started_at)) - " MARGIN_S
        ", 'FM0000000000') || '.000000'";
    struct pg_args *args = args_of(team_id, channel_id, oldest, latest);
    struct pg_result *res = NULL;

    pg_arg_bool(args, exact);
    if (!pg_exec_take(pg, sql, args, &res, err)) {
        return false;
    }
    snprintf(out->oldest, sizeof(out->oldest), "%.*s", STR_ARG(pg_str(res, 0, 0)));
    snprintf(out->latest, sizeof(out->latest), "%.*s", STR_ARG(pg_str(res, 0, 1)));
    snprintf(out->reached, sizeof(out->reached), "%.*s", STR_ARG(pg_str(res, 0, 2)));
    out->messages = pg_int(res, 0, 3);
    out->threads = pg_int(res, 0, 4);
    out->resumed = pg_bool(res, 0, 5);
    snprintf(out->begun, sizeof(out->begun), "%.*s", STR_ARG(pg_str(res, 0, 6)));
    pg_result_destroy(&res);
    return true;
}

bool backfill_allows(struct pg *pg, const char *team_id, struct str user, struct str ts,
                     bool *allowed, struct error *err)
{
    struct pg_args *args;
    struct pg_result *res = NULL;
    bool ok;

    if (!pg_exec(pg, "LOCK TABLE study.backfill IN ROW EXCLUSIVE MODE", NULL, NULL, err)) {
        return false;
    }
    args = pg_args_create();
    pg_arg_cstr(args, team_id);
    pg_arg_str(args, user);
    pg_arg_str(args, ts);
    ok = pg_exec_take(pg,
                      "SELECT NOT EXISTS (SELECT FROM study.forgotten WHERE team_id = $1"
                      " AND user_id = $2 AND to_timestamp($3::double precision) < before)",
                      args, &res, err);
    *allowed = ok && pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    return ok;
}

bool backfill_advance(struct pg *pg, const char *team_id, const char *channel_id,
                      const char *reached, int64_t messages, int64_t threads, struct error *err)
{
    struct pg_args *args = pg_args_pair(team_id, channel_id);

    pg_arg_cstr(args, reached);
    pg_arg_int(args, messages);
    pg_arg_int(args, threads);
    return pg_exec_take(
        pg,
        "UPDATE study.backfill SET reached = COALESCE($3, oldest),"
        " done_at = CASE WHEN $3 IS NULL THEN now() END, messages = $4, threads = $5"
        " WHERE team_id = $1 AND channel_id = $2",
        args, NULL, err);
}

bool backfill_stored(struct pg *pg, const char *team_id, const char *channel_id, const char *oldest,
                     const char *latest, int64_t *count, struct error *err)
{
    struct pg_result *res = NULL;

    if (!pg_exec_take(pg,
                      "SELECT count(*) FROM study.message WHERE team_id = $1 AND channel_id = $2"
                      " AND ts > $3 AND ts < $4",
                      args_of(team_id, channel_id, oldest, latest), &res, err)) {
        return false;
    }
    *count = pg_int(res, 0, 0);
    pg_result_destroy(&res);
    return true;
}

bool backfill_time(struct pg *pg, const char *text, int64_t *at, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_cstr(args, text);
    if (!pg_exec_take(pg,
                      "SELECT floor(extract(epoch FROM CASE WHEN $1 ~ '^[0-9]+ *[smhdw]$'"
                      " THEN now() - $1::interval ELSE $1::timestamptz END))::bigint",
                      args, &res, err)) {
        return false;
    }
    *at = pg_int(res, 0, 0);
    pg_result_destroy(&res);
    return true;
}
