/*
 * A statement and a transaction for each kind; none of them is in a hurry. The order matters once:
 * a digest's items are why its messages are not digested again, so it goes after them. Nothing is
 * asked for in order, so that the indexes by time can serve.
 */
#include "db/retention.h"

#define OLD(column) column " < now() - make_interval(secs => $1)"
#define FINISHED    "('sent', 'parked', 'failed', 'cancelled')"

static const char messages_sql[] =
    "WITH old AS (SELECT team_id, channel_id, ts FROM study.message WHERE " OLD(
        "posted_at") "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                     " DELETE FROM study.message AS m USING old"
                     " WHERE m.team_id = old.team_id AND m.channel_id = old.channel_id AND m.ts = "
                     "old.ts";

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
    "created_at") "  AND kind = 'notice' AND body IS NOT NULL AND state IN " FINISHED
                  "  LIMIT $2 FOR UPDATE SKIP LOCKED)"
                  " UPDATE study.outbox AS o SET body = NULL FROM old WHERE o.outbox_id = "
                  "old.outbox_id";

bool db_retention_sweep(struct pg *pg, int64_t keep_s, int64_t limit,
                        struct retention_counts *counts, struct error *err)
{
    const struct {
        const char *sql;
        int64_t *count;
    } steps[] = {
        {messages_sql, &counts->messages}, {digests_sql, &counts->digests},
        {dead_sql, &counts->dead_events},  {applied_sql, &counts->applied},
        {firings_sql, &counts->firings},   {notices_sql, &counts->notices},
    };
    struct pg_args *args = pg_args_create();
    bool ok = true;

    *counts = (struct retention_counts){0};
    pg_arg_double(args, (double)keep_s);
    pg_arg_int(args, limit);
    for (size_t i = 0; ok && i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct pg_result *res = NULL;

        if (steps[i].count == &counts->digests && counts->messages == limit) {
            continue;
        }

        ok = pg_exec(pg, steps[i].sql, args, &res, err);
        if (ok) {
            *steps[i].count = pg_affected(res);
            counts->more |= *steps[i].count == limit;
        }
        pg_result_destroy(&res);
    }
    pg_args_destroy(&args);
    return ok;
}
