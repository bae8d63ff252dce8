/*
 * Erasing: a pass over everything that can hold something of a member, in slices, each a
 * transaction of its own. A pass that finds nothing costs little, so there is no record of how far
 * one came: the next begins at the beginning.
 *
 * The order matters. Digests and replies go first, since they are what leaves. They go again after
 * the messages: a firing may have collected in between. And between the two, whoever was writing
 * with a view of the tables from before is waited for, so that nothing appears behind our back;
 * after that the tables' own statements keep it out. That wait is a list in the mark's row
 * (study.writers_left), looked at in each call: nobody sits and waits.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "db/forget.h"

#define SLICE    500
#define PATIENCE "'2 s'" /* before it is told what is waited for */

struct erasing {
    struct pg *pg;
    const char *team_id, *user_id;
    int64_t asked_us; /* of the mark that is being served: it may be set anew at any time */
    int64_t ends_ms;  /* boot clock */
    bool more;        /* the time was over before the rows were */
};

/* $1 team, $2 user, $3 SLICE: every statement here takes these; $4, asked_us, those that note for
 * good what has been done. */
static bool run(struct erasing *e, const char *sql, struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_cstr(args, e->team_id);
    pg_arg_cstr(args, e->user_id);
    pg_arg_int(args, SLICE);
    pg_arg_time(args, e->asked_us);
    ok = pg_exec(e->pg, sql, args, res, err);
    pg_args_destroy(&args);
    return ok;
}

/* Its one value. */
static bool ask(struct erasing *e, const char *sql, int64_t *value, struct error *err)
{
    struct pg_result *res = NULL;

    if (!run(e, sql, &res, err)) {
        return false;
    }
    *value = pg_rows(res) > 0 ? pg_int(res, 0, 0) : 0;
    pg_result_destroy(&res);
    return true;
}

/* Lanes before rows, in one order: what every writer does. Where they are locked nothing of the
 * member's begins to be sent, and nothing that is being sent ends. */
static const char lanes_sql[] =
    "SELECT FROM study.lane l JOIN study.forgotten f USING (team_id)"
    " WHERE f.team_id = $1 AND f.user_id = $2 AND $3 > 0"
    "   AND (l.target IN ($2, 'response-' || $2)"
    "        OR l.target IN (SELECT 'delete-' || c FROM unnest(f.dm_channels) AS c))"
    " ORDER BY l.team_id, l.target FOR UPDATE OF l";

/* Slices of sql, which gives its count of rows, until there are no more. */
static bool drain(struct erasing *e, const char *sql, bool lanes, struct error *err)
{
    int64_t count = 1;

    while (count > 0) {
        if (clock_boot_ms() >= e->ends_ms) {
            e->more = true;
            return true;
        }
        if (!pg_begin(e->pg, err) || (lanes && !run(e, lanes_sql, NULL, err)) ||
            !ask(e, sql, &count, err) || !pg_commit(e->pg, err)) {
            pg_rollback(e->pg);
            return false;
        }
    }
    return true;
}

/* ---- what leaves ---- */

/* Where a message is to be deleted is noted first, and its lane made, so that it can be locked. A
 * lane that is there already had digests to take back ([deliver] retract_sent): it goes as well. */
static const char dms_sql[] =
    "WITH posted AS ("
    "    SELECT o.channel_id::text AS channel FROM study.outbox o"
    "     WHERE o.team_id = $1 AND o.state = 'sent' AND o.channel_id IS NOT NULL AND $3 > 0"
    "       AND ((o.target = $2 AND o.digest_id IS NULL)"
    "            OR o.digest_id IN (SELECT d.digest_id FROM study.digest d"
    "                                WHERE d.team_id = $1 AND d.user_id = $2))"
    "     UNION SELECT m.dm_channel_id::text FROM study.member m"
    "            WHERE m.team_id = $1 AND m.user_id = $2 AND m.dm_channel_id IS NOT NULL"
    "), theirs AS ("
    "    SELECT p.channel, f.delete_dms FROM posted p"
    "      JOIN study.forgotten f ON f.team_id = $1 AND f.user_id = $2"
    "     WHERE f.delete_dms OR EXISTS (SELECT FROM study.lane l WHERE l.team_id = $1"
    "                                      AND l.target = 'delete-' || p.channel)"
    "), noted AS ("
    "    UPDATE study.forgotten f SET dm_channels = ARRAY("
    "           SELECT unnest(f.dm_channels) UNION SELECT channel FROM theirs)"
    "     WHERE f.team_id = $1 AND f.user_id = $2 AND EXISTS (SELECT FROM theirs)"
    ")"
    "INSERT INTO study.lane (team_id, target)"
    " SELECT $1, 'delete-' || channel FROM theirs WHERE delete_dms ORDER BY 2"
    " ON CONFLICT DO NOTHING";

/* Our messages among the rows of `due` are to be deleted in Slack, where that was asked for. */
#define DELETE_SENT(rows)                                                                          \
    "sent AS ("                                                                                    \
    "    INSERT INTO study.outbox (identity, kind, team_id, target, body)"                         \
    "    SELECT DISTINCT 'forget:' || o.channel_id || ':' || o.sent_ts, 'delete', o.team_id,"      \
    "           'delete-' || o.channel_id,"                                                        \
    "           jsonb_build_object('channel', o.channel_id, 'ts', o.sent_ts)"                      \
    "      FROM study.outbox o JOIN due ON " rows                                                  \
    "      JOIN study.forgotten f ON f.team_id = $1 AND f.user_id = $2 AND f.delete_dms"           \
    "     WHERE o.state = 'sent' AND o.channel_id::text = ANY (f.dm_channels)"                     \
    "    ON CONFLICT (identity) DO NOTHING"                                                        \
    "    RETURNING team_id, target"                                                                \
    "), lanes AS ("                                                                                \
    "    UPDATE study.lane l SET due_at = LEAST(l.due_at, GREATEST(l.next_at, now()))"             \
    "      FROM (SELECT DISTINCT team_id, target FROM sent) s"                                     \
    "     WHERE l.team_id = s.team_id AND l.target = s.target"                                     \
    ")"

/*
 * A digest goes with its replies. One whose reply is on its way stays for it, blank: its higher
 * source_version keeps the reply from being sent once more, its state from being made anew.
 */
static const char digests_sql[] =
    "WITH due AS MATERIALIZED ("
    "    SELECT d.digest_id, w.flying"
    "      FROM study.digest d"
    "     CROSS JOIN LATERAL (SELECT EXISTS ("
    "               SELECT FROM study.outbox o WHERE o.digest_id = d.digest_id"
    "                  AND o.state IN ('sending', 'doubtful')) AS flying) w"
    "     WHERE d.team_id = $1 AND d.user_id = $2"
    "       AND (NOT w.flying OR d.state <> 'cancelled' OR d.result IS NOT NULL"
    "            OR EXISTS (SELECT FROM study.digest_item i WHERE i.digest_id = d.digest_id))"
    "     ORDER BY d.digest_id LIMIT $3 FOR UPDATE OF d"
    "), " DELETE_SENT(
        "o.digest_id = due.digest_id") ", blank AS ("
                                       "    UPDATE study.outbox o SET body = '{}' FROM due"
                                       "     WHERE o.digest_id = due.digest_id AND due.flying AND "
                                       "o.state IN ('sending', 'doubtful')"
                                       "), items AS ("
                                       "    DELETE FROM study.digest_item i USING due"
                                       "     WHERE i.digest_id = due.digest_id AND due.flying"
                                       "), kept AS ("
                                       "    UPDATE study.digest d"
                                       "       SET state = 'cancelled', result = NULL, "
                                       "source_version = d.source_version + 1,"
                                       "           claim_token = NULL, lease_until = NULL, "
                                       "prompt_hash = NULL, error = NULL"
                                       "      FROM due WHERE d.digest_id = due.digest_id AND "
                                       "due.flying"
                                       "), gone AS ("
                                       "    DELETE FROM study.digest d USING due"
                                       "     WHERE d.digest_id = due.digest_id AND NOT due.flying"
                                       ")"
                                       "SELECT count(*), (SELECT pg_notify('study_outbox', '') "
                                       "FROM sent LIMIT 1) FROM due";

/* Notices, and answers to commands; one of those that is not sent yet may be what tells the member
 * that this was done. */
static const char replies_sql[] =
    "WITH due AS MATERIALIZED ("
    "    SELECT o.outbox_id FROM study.outbox o"
    "     WHERE o.team_id = $1 AND o.digest_id IS NULL AND o.target IN ($2, 'response-' || $2)"
    "       AND o.state NOT IN ('sending', 'doubtful')"
    "       AND (o.state <> 'pending' OR o.target = $2)"
    "     ORDER BY o.outbox_id LIMIT $3 FOR UPDATE OF o"
    "), " DELETE_SENT(
        "o.outbox_id = due.outbox_id") ", gone AS ("
                                       "    DELETE FROM study.outbox o USING due WHERE o.outbox_id "
                                       "= due.outbox_id"
                                       ")"
                                       "SELECT count(*), (SELECT pg_notify('study_outbox', '') "
                                       "FROM sent LIMIT 1) FROM due";

/* ---- what was written ---- */

#define MESSAGES(which)                                                                            \
    "WITH old AS ("                                                                                \
    "    SELECT m.team_id, m.channel_id, m.ts"                                                     \
    "      FROM study.message m JOIN study.forgotten f USING (team_id, user_id)"                   \
    "     WHERE m.team_id = $1 AND m.user_id = $2 AND m.posted_at < f.before AND " which           \
    "     ORDER BY 1, 2, 3 LIMIT $3 FOR UPDATE OF m"                                               \
    "), gone AS ("                                                                                 \
    "    DELETE FROM study.message m USING old"                                                    \
    "     WHERE m.team_id = old.team_id AND m.channel_id = old.channel_id AND m.ts = old.ts"       \
    "), reactions AS ("                                                                            \
    "    DELETE FROM study.outbox o USING old WHERE o.kind = 'reaction' AND o.identity ="          \
    "           concat_ws(':', 'reaction', old.team_id, old.channel_id, old.ts)"                   \
    ")"                                                                                            \
    "SELECT count(*) FROM old"

static const char messages_sql[] = MESSAGES("NOT m.deleted");
static const char tombstones_sql[] = MESSAGES("m.deleted");

static const char dead_sql[] =
    "WITH seen AS MATERIALIZED ("
    "    SELECT d.dead_id, position(convert_to($2, 'UTF8') IN d.element) > 0"
    "           AND study.is_forgotten(d.element) AS theirs"
    "      FROM study.dead_event d"
    "     WHERE d.dead_id > (SELECT f.dead_from FROM study.forgotten f"
    "                         WHERE f.team_id = $1 AND f.user_id = $2)"
    "     ORDER BY d.dead_id LIMIT $3 / 5"
    "), gone AS ("
    "    DELETE FROM study.dead_event d USING seen WHERE d.dead_id = seen.dead_id AND seen.theirs"
    "), noted AS ("
    "    UPDATE study.forgotten f SET dead_from = (SELECT max(dead_id) FROM seen)"
    "     WHERE f.team_id = $1 AND f.user_id = $2 AND f.asked_at = $4 AND EXISTS (SELECT FROM seen)"
    ")"
    "SELECT count(*) FROM seen";

/* ---- what is left of the member ---- */

static const char cursors_sql[] =
    "UPDATE study.firing SET cursor_user = NULL"
    " WHERE cursor_team = $1 AND cursor_user = $2 AND state IN ('done', 'skipped') AND $3 > 0";

/* The lanes are locked: what is looked for here cannot appear meanwhile. */
static const char lanes_gone_sql[] =
    "DELETE FROM study.lane l USING study.forgotten f"
    " WHERE f.team_id = $1 AND f.user_id = $2 AND l.team_id = $1 AND $3 > 0"
    "   AND (l.target IN ($2, 'response-' || $2)"
    "        OR l.target IN (SELECT 'delete-' || c FROM unnest(f.dm_channels) AS c))"
    "   AND NOT EXISTS (SELECT FROM study.outbox o"
    "                    WHERE o.team_id = l.team_id AND o.target = l.target"
    "                      AND o.state IN ('pending', 'sending', 'doubtful'))";

/* A member who has written again since is a new one. */
static const char member_sql[] =
    "DELETE FROM study.member m WHERE m.team_id = $1 AND m.user_id = $2 AND $3 > 0"
    "   AND NOT EXISTS (SELECT FROM study.digest d WHERE d.team_id = $1 AND d.user_id = $2)";

static const char renewed_sql[] =
    "INSERT INTO study.member (team_id, user_id) SELECT $1, $2"
    " WHERE $3 > 0 AND EXISTS (SELECT FROM study.message x WHERE x.team_id = $1"
    "                            AND x.user_id = $2 AND NOT x.deleted)"
    " ON CONFLICT DO NOTHING";

static const char joins_sql[] =
    "DELETE FROM study.channel_join WHERE team_id = $1 AND user_id = $2 AND $3 > 0";

static const char open_sql[] =
    "SELECT (EXISTS (SELECT FROM study.digest d WHERE d.team_id = $1 AND d.user_id = $2)"
    "        OR EXISTS (SELECT FROM study.outbox o WHERE o.team_id = $1"
    "                      AND o.state IN ('pending', 'sending', 'doubtful') AND $3 > 0"
    "                      AND (o.target IN ($2, 'response-' || $2)"
    "                           OR o.target IN (SELECT 'delete-' || c"
    "                                             FROM unnest(f.dm_channels) AS c))))::int"
    "  FROM study.forgotten f WHERE f.team_id = $1 AND f.user_id = $2";

/* What could not be deleted in Slack is told of, and the rows go all the same. */
static const char finish_sql[] =
    "WITH deleted AS ("
    "    DELETE FROM study.outbox o USING study.forgotten f"
    "     WHERE f.team_id = $1 AND f.user_id = $2 AND f.asked_at = $4"
    "       AND o.team_id = $1 AND o.digest_id IS NULL"
    "       AND o.target IN (SELECT 'delete-' || c FROM unnest(f.dm_channels) AS c) AND $3 > 0"
    "    RETURNING o.state"
    ")"
    "UPDATE study.forgotten f SET rows_at = now(), dm_channels = '{}', error = NULL,"
    "       stays = f.stays + d.kept"
    "  FROM (SELECT count(*) FILTER (WHERE state <> 'sent') AS kept FROM deleted) d"
    " WHERE f.team_id = $1 AND f.user_id = $2 AND f.asked_at = $4 AND f.rows_at IS NULL"
    " RETURNING 1";

/* Whether those have ended who were writing to the tables when this was first asked. What keeps
 * them is told only once it takes long. */
#define AWAIT(list, tables)                                                                        \
    "WITH left_now AS ("                                                                           \
    "    UPDATE study.forgotten f SET " list " = w.now, error = CASE"                              \
    "           WHEN cardinality(w.now) > 0 AND f.asked_at < now() - interval " PATIENCE           \
    "           THEN 'a transaction that began before is still open' END"                          \
    "      FROM (SELECT study.writers_left(" list ", ARRAY[" tables "]::regclass[]) AS now"        \
    "              FROM study.forgotten WHERE team_id = $1 AND user_id = $2) w"                    \
    "     WHERE f.team_id = $1 AND f.user_id = $2 AND f.asked_at = $4 AND $3 > 0"                  \
    "    RETURNING cardinality(w.now) AS writers"                                                  \
    ")"                                                                                            \
    "SELECT COALESCE((SELECT writers FROM left_now), 1)"

static bool await(struct erasing *e, const char *sql, struct error *err)
{
    int64_t writers;

    if (!ask(e, sql, &writers, err)) {
        return false;
    }
    e->more = writers > 0;
    return true;
}

/* Everything that was there when the mark was set. */
static bool first_pass(struct erasing *e, struct error *err)
{
    static const char writers[] =
        AWAIT("writers", "'study.message', 'study.member',"
                         " 'study.dead_event', 'study.channel_join', 'study.backfill'");
    static const char makers[] = AWAIT("makers", "'study.digest', 'study.outbox'");
    static const char seal[] = "UPDATE study.forgotten SET sealed_at = now(), error = NULL,"
                               "       writers = NULL, makers = NULL"
                               " WHERE team_id = $1 AND user_id = $2 AND asked_at = $4 AND $3 > 0";

    return run(e, dms_sql, NULL, err) && drain(e, digests_sql, true, err) &&
           (e->more || await(e, writers, err)) && (e->more || drain(e, messages_sql, false, err)) &&
           (e->more || drain(e, tombstones_sql, false, err)) &&
           (e->more || await(e, makers, err)) && (e->more || run(e, seal, NULL, err));
}

static bool second_pass(struct erasing *e, struct error *err)
{
    if (!run(e, dms_sql, NULL, err) || !drain(e, digests_sql, true, err) ||
        (!e->more && !drain(e, replies_sql, true, err)) ||
        (!e->more && !drain(e, dead_sql, false, err)) ||
        (!e->more && !run(e, dms_sql, NULL, err))) {
        return false;
    }
    if (e->more) {
        return true;
    }
    if (!pg_begin(e->pg, err) || !run(e, lanes_sql, NULL, err) ||
        !run(e, lanes_gone_sql, NULL, err) || !run(e, member_sql, NULL, err) ||
        !run(e, renewed_sql, NULL, err) || !run(e, joins_sql, NULL, err) ||
        !run(e, cursors_sql, NULL, err) || !pg_commit(e->pg, err)) {
        pg_rollback(e->pg);
        return false;
    }
    return true;
}

/* *at: 0 there is no mark, 1 nothing is done, 2 the first pass is, 3 the rows are gone. */
static bool look(struct erasing *e, int64_t *at, struct error *err)
{
    static const char sql[] =
        "SELECT 1 + (sealed_at IS NOT NULL)::int + (rows_at IS NOT NULL)::int,"
        "       (extract(epoch FROM asked_at) * 1000000)::bigint"
        "  FROM study.forgotten WHERE team_id = $1 AND user_id = $2 AND $3 > 0";
    struct pg_result *res = NULL;

    *at = 0;
    if (!run(e, sql, &res, err)) {
        return false;
    }
    if (pg_rows(res) > 0) {
        *at = pg_int(res, 0, 0);
        e->asked_us = pg_int(res, 0, 1);
    }
    pg_result_destroy(&res);
    return true;
}

bool forget_erase(struct pg *pg, const char *team_id, const char *user_id, int64_t budget_ms,
                  bool *gone, struct error *err)
{
    struct erasing e = {
        .pg = pg,
        .team_id = team_id,
        .user_id = user_id,
        .ends_ms = clock_boot_ms() + budget_ms,
    };
    int64_t at, open = 1, finished;

    *gone = false;
    if (!look(&e, &at, err)) {
        return false;
    }
    if (at == 0 || at == 3) {
        *gone = true;
        return true;
    }
    if ((at == 1 && !first_pass(&e, err)) || (!e.more && !second_pass(&e, err)) ||
        (!e.more && !ask(&e, open_sql, &open, err))) {
        return false;
    }
    if (e.more || open != 0) {
        return true;
    }
    if (!ask(&e, finish_sql, &finished, err)) {
        return false;
    }
    *gone = finished != 0; /* else it was asked for again meanwhile, or another was quicker */
    return true;
}
