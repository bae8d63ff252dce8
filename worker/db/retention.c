/*
 * A statement and a transaction for each kind; none of them is in a hurry. The order matters once:
 * a digest's items are why its messages are not digested again, so it goes after them. Nothing is
 * asked for in order, so that the indexes by time can serve.
 */
#include "db/retention.h"

#include "db/outbox.h"

#define OLD(column) column " < now() - make_interval(secs => $1)"
#define BRIEF_S     (24 * 3600) /* answers to commands, reactions and deletions, once over */
#define FINISHED    "('sent', 'logged', 'parked', 'failed', 'cancelled')"

/*
 * Messages go, their days stay: what was a record is counted in past_day by the statement that
 * takes it away, so no streak and no total ever sees it twice, or not at all. Those of a member who
 * is being forgotten are not counted. Days are written in the order of their key: two sweeps may
 * meet there.
 */
/* clang-format off */
static const char messages_sql[] =
    "WITH old AS MATERIALIZED ("
    "  SELECT team_id, channel_id, ts, user_id, posted_at,"
    "   NOT deleted AND study.is_record(text, files, thread_ts) AS record"
    "  FROM study.message WHERE " OLD("posted_at") "  LIMIT $2 FOR UPDATE SKIP LOCKED),"
    " days AS ("
    "  INSERT INTO study.past_day AS p (team_id, user_id, day, records)"
    "  SELECT m.team_id, m.user_id, study.study_day(old.posted_at,"
    "    study.valid_zone(m.time_zone, s.time_zone), s.day_starts) AS day, count(*)"
    "  FROM old JOIN study.member AS m USING (team_id, user_id) CROSS JOIN study.setting AS s"
    "  WHERE old.record AND NOT EXISTS (SELECT FROM study.forgotten AS f"
    "    WHERE f.team_id = m.team_id AND f.user_id = m.user_id AND old.posted_at < f.before)"
    "  GROUP BY m.team_id, m.user_id, day ORDER BY m.team_id, m.user_id, day"
    "  ON CONFLICT (team_id, user_id, day) DO UPDATE SET records = p.records + excluded.records)"
    " DELETE FROM study.message AS m USING old"
    " WHERE m.team_id = old.team_id AND m.channel_id = old.channel_id AND m.ts = old.ts";
/* clang-format on */

static const char digests_sql[] = "WITH old AS (SELECT digest_id FROM study.digest AS d WHERE " OLD(
    "created_at") "  AND state IN ('made', 'cancelled') AND NOT EXISTS (SELECT FROM study.outbox "
                  "AS o"
                  "    WHERE o.digest_id = d.digest_id AND o.state NOT IN " FINISHED ")"
                  "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                  " DELETE FROM study.digest AS d USING old WHERE d.digest_id = old.digest_id";

static const char dead_sql[] = "WITH old AS (SELECT dead_id FROM study.dead_event WHERE " OLD(
    "created_at") "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                  " DELETE FROM study.dead_event AS d USING old WHERE d.dead_id = old.dead_id";

static const char applied_sql[] = "WITH old AS (SELECT identity FROM study.applied WHERE " OLD(
    "applied_at") "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                  " DELETE FROM study.applied AS a USING old WHERE a.identity = old.identity";

static const char firings_sql[] = "WITH old AS (SELECT firing_id FROM study.firing AS f WHERE " OLD(
    "created_at") "  AND state IN ('done', 'skipped')"
                  "  AND NOT EXISTS (SELECT FROM study.digest AS d WHERE d.firing_id = f.firing_id)"
                  "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                  " DELETE FROM study.firing AS f USING old WHERE f.firing_id = old.firing_id";

static const char notices_sql[] = "WITH old AS (SELECT outbox_id FROM study.outbox WHERE " OLD(
    "created_at") "  AND kind IN ('notice', 'channel_notice') AND body IS NOT NULL AND state "
                  "IN " FINISHED "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                  " UPDATE study.outbox AS o SET body = NULL FROM old WHERE o.outbox_id = "
                  "old.outbox_id";

/* clang-format off */
/* By what became of each deletion a forgetting under way counts, at its end, what stays in Slack. */
#define COUNTED(o)                                                                                 \
    "(" o ".kind = 'delete' AND EXISTS (SELECT FROM study.forgotten AS f"                          \
    "  WHERE f.team_id = " o ".team_id AND f.rows_at IS NULL AND " o ".target IN"                  \
    "   (SELECT 'delete-' || c FROM unnest(f.dm_channels) AS c)))"

/* An identity of theirs that comes again does no harm. $1 is BRIEF_S. */
static const char brief_sql[] =
    "WITH old AS (SELECT outbox_id FROM study.outbox AS o"
    "  WHERE kind IN ('response', 'reaction', 'delete') AND " OLD("done_at")
    "   AND state IN ('sent', 'logged', 'failed', 'cancelled') AND NOT " COUNTED("o")
    "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
    " DELETE FROM study.outbox AS o USING old WHERE o.outbox_id = old.outbox_id";

/* Of these, what an operator was to look at, and did not. */
static const char parked_sql[] =
    "WITH old AS (SELECT outbox_id FROM study.outbox AS o WHERE " OLD("created_at")
    "   AND kind IN ('response', 'reaction', 'delete') AND state = 'parked' AND NOT " COUNTED("o")
    "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
    " DELETE FROM study.outbox AS o USING old WHERE o.outbox_id = old.outbox_id";
/* clang-format on */

/* ---- what has nowhere to go; $1 is [deliver] give_up ---- */

#define NOWHERE(table, target)                                                                     \
    "(EXISTS (SELECT FROM study.team AS t WHERE t.team_id = " table                                \
    ".team_id AND t.state = 'stopped')"                                                            \
    " OR EXISTS (SELECT FROM study.lane AS l WHERE l.team_id = " table                             \
    ".team_id AND l.target = " target " AND l.stopped_reason IS NOT NULL))"

/* clang-format off */
static const char replies_sql[] =
    "WITH old AS (SELECT outbox_id FROM study.outbox AS o"
    "  WHERE state IN ('pending', 'sending', 'doubtful') AND " OLD("created_at")
    "   AND (lease_until IS NULL OR lease_until <= now()) AND " NOWHERE("o", "o.target")
    "   AND " OLD("created_at + " OUTBOX_HELD("o", "$3", "$4"))
    "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
    " UPDATE study.outbox AS o SET state = 'cancelled', body = NULL, claim_token = NULL,"
    "  lease_until = NULL, done_at = now(), error = 'nothing could be sent there'"
    " FROM old WHERE o.outbox_id = old.outbox_id";

static const char undeliverable_sql[] =
    "WITH old AS (SELECT d.digest_id FROM study.digest AS d"
    "  JOIN study.member AS m USING (team_id, user_id)"
    "  WHERE d.state IN ('pending', 'running') AND d." OLD("created_at")
    "   AND d.deadline <= now() AND (d.lease_until IS NULL OR d.lease_until <= now())"
    "   AND (m.noticed_at IS NULL OR " NOWHERE("d", "d.user_id") ")"
    "  LIMIT $2 FOR UPDATE OF d SKIP LOCKED)"
    " UPDATE study.digest AS d SET state = 'cancelled', result = NULL, claim_token = NULL,"
    "  lease_until = NULL, error = 'nothing could be sent to the member'"
    " FROM old WHERE d.digest_id = old.digest_id";
/* clang-format on */

static const char lanes_sql[] =
    "WITH old AS (SELECT team_id, target FROM study.lane"
    "  WHERE stopped_reason IS NOT NULL AND retry_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
    " UPDATE study.lane AS l SET stopped_reason = NULL, retry_at = NULL, due_at = now()"
    " FROM old WHERE l.team_id = old.team_id AND l.target = old.target";

static bool step(struct pg *pg, const char *sql, int64_t age_s, const struct retention_terms *terms,
                 int64_t *count, struct retention_counts *counts, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    if (age_s > 0) {
        pg_arg_double(args, (double)age_s);
    }
    pg_arg_int(args, terms->limit);
    if (sql == replies_sql) {
        pg_arg_cstr(args, terms->quiet_from);
        pg_arg_cstr(args, terms->quiet_until);
    }
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok) {
        *count = pg_affected(res);
        counts->more |= *count == terms->limit;
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

bool db_retention_sweep(struct pg *pg, const struct retention_terms *terms,
                        struct retention_counts *counts, struct error *err)
{
    int64_t keep_s = terms->keep_s, give_up_s = terms->give_up_s;
    const struct {
        const char *sql;
        int64_t age_s; /* 0: has none */
        int64_t *count;
    } steps[] = {
        {replies_sql, give_up_s, &counts->replies_cancelled},
        {undeliverable_sql, give_up_s, &counts->digests_cancelled},
        {lanes_sql, 0, &counts->lanes_tried},
        {messages_sql, keep_s, &counts->messages},
        {digests_sql, keep_s, &counts->digests},
        {dead_sql, keep_s, &counts->dead_events},
        {applied_sql, keep_s, &counts->applied},
        {firings_sql, keep_s, &counts->firings},
        {notices_sql, keep_s, &counts->notices},
        {brief_sql, keep_s < BRIEF_S ? keep_s : BRIEF_S, &counts->replies},
        {parked_sql, keep_s, &counts->parked},
    };
    bool ok = true;

    *counts = (struct retention_counts){0};
    for (size_t i = 0; ok && i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (steps[i].count == &counts->digests && counts->messages == terms->limit) {
            continue;
        }
        ok = step(pg, steps[i].sql, steps[i].age_s, terms, steps[i].count, counts, err);
    }
    return ok;
}
