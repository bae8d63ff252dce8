/*
 * A lane's row is its lock. Claiming, sending and finishing take it before they touch a reply, and
 * adding a reply takes it before it commits: so due_at is never cleared beside a new reply, and a
 * lane's next free second is counted by everybody from the same clock, the database's.
 */
#include "db/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "db/lanes.h"

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

static bool exec_arrays(struct pg *pg, const char *sql, struct pg_array *const *arrays, size_t n,
                        struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();
    bool ok;

    for (size_t i = 0; i < n; i++) {
        pg_arg_array(args, arrays[i]);
    }
    ok = pg_exec(pg, sql, args, res, err);
    pg_args_destroy(&args);
    return ok;
}

static void create_arrays(struct pg_array **arrays, const enum pg_array_type *types, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        arrays[i] = pg_array_create(types[i]);
    }
}

static void destroy_arrays(struct pg_array **arrays, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        pg_array_destroy(&arrays[i]);
    }
}

static const char add_sql[] =
    "WITH w AS ("
    "    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],"
    "                         $6::bigint[], $7::bigint[], $8::text[])"
    "      AS w (identity, kind, team_id, target, thread_ts, digest_id, source_version, body)"
    "), added AS ("
    "    INSERT INTO study.outbox (identity, kind, team_id, target, thread_ts, digest_id,"
    "                              source_version, body)"
    "    SELECT identity, kind, team_id, target, thread_ts, NULLIF(digest_id, 0),"
    "           CASE WHEN digest_id <> 0 THEN source_version END, body::jsonb"
    "      FROM w ORDER BY identity"
    "    ON CONFLICT (identity) DO NOTHING"
    "    RETURNING team_id, target"
    "), lanes AS ("
    "    INSERT INTO study.lane AS l (team_id, target, due_at)"
    "    SELECT DISTINCT team_id, target, now() FROM added ORDER BY team_id, target"
    "    ON CONFLICT (team_id, target) DO UPDATE"
    "       SET due_at = LEAST(l.due_at, GREATEST(l.next_at, now()))"
    ")"
    "SELECT count(*), pg_notify('study_outbox', '') FROM added HAVING count(*) > 0";

bool outbox_add(struct pg *pg, const struct outbox_new *rows, size_t count, struct error *err)
{
    static const enum pg_array_type types[] = {PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
                                               PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_INT8_ARRAY,
                                               PG_INT8_ARRAY, PG_TEXT_ARRAY};
    struct pg_array *a[8];
    bool ok;

    if (count == 0) {
        return true;
    }
    create_arrays(a, types, 8);
    for (size_t i = 0; i < count; i++) {
        pg_array_str(a[0], str_of(rows[i].identity));
        pg_array_str(a[1], str_of(rows[i].kind));
        pg_array_str(a[2], str_of(rows[i].team_id));
        pg_array_str(a[3], str_of(rows[i].target));
        pg_array_str(a[4], str_of(rows[i].thread_ts));
        pg_array_int(a[5], rows[i].digest_id);
        pg_array_int(a[6], rows[i].source_version);
        pg_array_str(a[7], rows[i].body);
    }
    ok = exec_arrays(pg, add_sql, a, 8, NULL, err);
    destroy_arrays(a, 8);
    return ok;
}

/* A workspace that may not be asked to open DMs just now holds up nobody whose DM is open. */
static const char lock_due_sql[] =
    "WITH closed AS MATERIALIZED ("
    "    SELECT team_id FROM study.slack_wait WHERE method = 'conversations.open'"
    "       AND (until > now() OR slot_at > now() + $3 * interval '1 ms'))"
    "SELECT l.team_id, l.target"
    "  FROM study.lane l JOIN study.team t USING (team_id)"
    " WHERE l.due_at <= now() AND l.stopped_reason IS NULL"
    "   AND t.state = 'active' AND t.url IS NOT NULL"
    "   AND NOT EXISTS (SELECT FROM study.pause p"
    "                    WHERE p.role = 'deliver' AND p.team_id IN ('', l.team_id)"
    "                      AND (p.until IS NULL OR p.until > now()))"
    "   AND NOT EXISTS (SELECT FROM study.slack_wait w"
    "                    WHERE w.team_id = l.team_id AND w.method = 'chat.postMessage'"
    "                      AND (w.until > now() OR w.slot_at > now() + $2 * interval '1 ms'))"
    "   AND NOT (l.team_id IN (SELECT team_id FROM closed)"
    "            AND (SELECT m.dm_channel_id IS NULL FROM study.member m"
    "                  WHERE m.team_id = l.team_id AND m.user_id = l.target) IS TRUE)"
    " ORDER BY l.due_at LIMIT $1"
    "   FOR UPDATE OF l SKIP LOCKED";

/* A row that somebody else has changed since it was looked at fails the second look at its state
 * and token, and is left to the next claim. */
static const char claim_sql[] =
    "WITH head AS MATERIALIZED ("
    "    SELECT l.team_id, l.target, l.next_at AS lane_at, h.outbox_id, h.state, h.next_at,"
    "           h.lease_until, h.claim_token"
    "      FROM unnest($1::text[], $2::text[]) AS w (team_id, target)"
    "      JOIN study.lane l USING (team_id, target)"
    "      LEFT JOIN LATERAL ("
    "          SELECT o.* FROM study.outbox o"
    "           WHERE o.team_id = l.team_id AND o.target = l.target"
    "             AND o.state IN ('pending', 'sending', 'doubtful')"
    "           ORDER BY o.outbox_id LIMIT 1) h ON true"
    "), doubt AS ("
    "    UPDATE study.outbox o"
    "       SET state = 'doubtful', claim_token = NULL, lease_until = NULL,"
    "           next_at = COALESCE(h.lease_until, now()) + $4 * interval '1 ms',"
    "           error = 'its process ended while it was being sent'"
    "      FROM head h"
    "     WHERE o.outbox_id = h.outbox_id AND o.state = 'sending'"
    "       AND COALESCE(h.lease_until, now()) <= now()"
    "       AND o.claim_token IS NOT DISTINCT FROM h.claim_token"
    "       AND o.lease_until IS NOT DISTINCT FROM h.lease_until"
    "    RETURNING o.outbox_id, o.next_at"
    "), claimed AS ("
    "    UPDATE study.outbox o"
    "       SET claim_token = gen_random_uuid(), lease_until = now() + $3 * interval '1 ms',"
    "           attempts = o.attempts + 1"
    "      FROM head h"
    "     WHERE o.outbox_id = h.outbox_id AND o.state IN ('pending', 'doubtful')"
    "       AND o.state = h.state AND o.claim_token IS NOT DISTINCT FROM h.claim_token"
    "       AND h.next_at <= now() AND h.lane_at <= now()"
    "       AND (h.lease_until IS NULL OR h.lease_until <= now())"
    "    RETURNING o.*"
    "), lanes AS ("
    "    UPDATE study.lane l"
    "       SET due_at = CASE WHEN h.outbox_id IS NULL THEN NULL"
    "                         WHEN c.outbox_id IS NOT NULL THEN c.lease_until"
    "                         WHEN d.outbox_id IS NOT NULL THEN GREATEST(d.next_at, l.next_at)"
    "                         ELSE GREATEST(l.next_at, h.next_at, h.lease_until) END"
    "      FROM head h LEFT JOIN claimed c USING (outbox_id) LEFT JOIN doubt d USING (outbox_id)"
    "     WHERE l.team_id = h.team_id AND l.target = h.target"
    ")"
    "SELECT c.outbox_id, c.claim_token, c.kind = 'notice', c.state = 'doubtful', c.team_id,"
    "       c.target, c.thread_ts, c.body,"
    "       CASE WHEN c.target ~ '^[UW]' THEN m.dm_channel_id ELSE c.target END,"
    "       c.attempts, (1000 * extract(epoch FROM now() - c.created_at))::bigint,"
    "       (1000000 * extract(epoch FROM c.sent_from))::bigint, c.channel_id"
    "  FROM claimed c"
    "  LEFT JOIN study.member m ON m.team_id = c.team_id AND m.user_id = c.target";

static char *dup(const struct pg_result *res, int row, int col)
{
    return pg_is_null(res, row, col) ? NULL : str_dup(pg_str(res, row, col));
}

static struct outbox_work *read_work(const struct pg_result *res, int row)
{
    struct outbox_work *w = allocate(1, sizeof(*w));

    w->outbox_id = pg_int(res, row, 0);
    w->claim_token = dup(res, row, 1);
    w->notice = pg_bool(res, row, 2);
    w->doubtful = pg_bool(res, row, 3);
    w->team_id = dup(res, row, 4);
    w->target = dup(res, row, 5);
    w->thread_ts = dup(res, row, 6);
    w->body = dup(res, row, 7);
    /* where it may have been posted is where it is looked for */
    w->channel_id = dup(res, row, w->doubtful ? 12 : 8);
    w->attempts = pg_int(res, row, 9);
    w->age_ms = pg_int(res, row, 10);
    w->sent_from_us = pg_is_null(res, row, 11) ? INT64_MIN : pg_int(res, row, 11);
    return w;
}

void outbox_work_destroy(struct outbox_work **work)
{
    struct outbox_work *w = *work;

    if (w == NULL) {
        return;
    }
    free(w->claim_token);
    free(w->team_id);
    free(w->target);
    free(w->thread_ts);
    free(w->body);
    free(w->channel_id);
    free(w);
    *work = NULL;
}

static bool claim_heads(struct pg *pg, const struct pg_result *due, int64_t lease_ms,
                        int64_t settle_ms, struct outbox_work ***works, size_t *count,
                        struct error *err)
{
    struct pg_array *teams = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *targets = pg_array_create(PG_TEXT_ARRAY);
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    for (int i = 0; i < pg_rows(due); i++) {
        pg_array_str(teams, pg_str(due, i, 0));
        pg_array_str(targets, pg_str(due, i, 1));
    }
    pg_arg_array(args, teams);
    pg_arg_array(args, targets);
    pg_arg_int(args, lease_ms);
    pg_arg_int(args, settle_ms);
    ok = pg_exec(pg, claim_sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *works = allocate(*count, sizeof(**works));
        for (size_t i = 0; i < *count; i++) {
            (*works)[i] = read_work(res, (int)i);
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    pg_array_destroy(&targets);
    pg_array_destroy(&teams);
    return ok;
}

static bool next_due(struct pg *pg, int64_t *next_ms, struct error *err)
{
    static const char sql[] =
        "SELECT ceil(1000 * extract(epoch FROM min(due_at) - clock_timestamp()))::bigint"
        "  FROM study.lane WHERE due_at > now() AND stopped_reason IS NULL";
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg, sql, NULL, &res, err);

    if (ok && !pg_is_null(res, 0, 0)) {
        *next_ms = pg_int(res, 0, 0) > 0 ? pg_int(res, 0, 0) : 0;
    }
    pg_result_destroy(&res);
    return ok;
}

bool outbox_claim(struct pg *pg, int limit, int64_t lease_ms, int64_t settle_ms,
                  struct outbox_work ***works, size_t *count, int64_t *next_ms, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *due = NULL;
    bool ok;

    *works = NULL;
    *count = 0;
    *next_ms = -1;
    pg_arg_int(args, limit);
    pg_arg_int(args, SLACK_POST_BURST_MS);
    pg_arg_int(args, SLACK_TIER3_BURST_MS);
    ok = pg_begin(pg, err) && pg_exec(pg, lock_due_sql, args, &due, err) &&
         (pg_rows(due) == 0 || claim_heads(pg, due, lease_ms, settle_ms, works, count, err)) &&
         next_due(pg, next_ms, err) && pg_commit(pg, err);
    if (!ok) {
        pg_rollback(pg);
        for (size_t i = 0; i < *count; i++) {
            outbox_work_destroy(&(*works)[i]);
        }
        free(*works);
        *works = NULL;
        *count = 0;
    }
    pg_result_destroy(&due);
    pg_args_destroy(&args);
    return ok;
}

/* Lanes before rows, in one order: what every writer does. */
static const char lock_lanes_sql[] =
    "SELECT FROM study.lane l"
    "  JOIN unnest($1::text[], $2::text[]) AS w (team_id, target) USING (team_id, target)"
    " ORDER BY l.team_id, l.target FOR UPDATE OF l";

static const char sending_sql[] =
    "WITH w AS ("
    "    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) AS w (id, token, channel)"
    "), sending AS ("
    "    UPDATE study.outbox o"
    "       SET state = 'sending', channel_id = w.channel,"
    "           lease_until = clock_timestamp() + $4 * interval '1 ms',"
    "           sent_from = COALESCE(o.sent_from, clock_timestamp())"
    "      FROM w"
    "     WHERE o.outbox_id = w.id AND o.claim_token = w.token::uuid"
    "       AND o.state = 'pending' AND o.lease_until > clock_timestamp()"
    "       AND (o.digest_id IS NULL"
    "            OR EXISTS (SELECT FROM study.digest d WHERE d.digest_id = o.digest_id"
    "                          AND d.source_version = o.source_version))"
    "    RETURNING o.outbox_id, o.team_id, o.target, o.lease_until"
    "), lanes AS ("
    "    UPDATE study.lane l SET next_at = clock_timestamp() + interval '1 s',"
    "                            due_at = s.lease_until"
    "      FROM sending s WHERE l.team_id = s.team_id AND l.target = s.target"
    ")"
    "SELECT outbox_id FROM sending";

/*
 * Made from what is gone: nothing of it is sent. A digest that was left as it is because this reply
 * might have been on its way is made anew, now that it was not.
 */
static const char outdated_sql[] =
    "WITH gone AS ("
    "    UPDATE study.outbox o"
    "       SET state = 'cancelled', body = NULL, claim_token = NULL, lease_until = NULL,"
    "           done_at = now(), error = 'what it was made from has changed'"
    "      FROM unnest($1::bigint[], $2::text[]) AS w (id, token)"
    "     WHERE o.outbox_id = w.id AND o.claim_token = w.token::uuid AND o.state = 'pending'"
    "       AND o.digest_id IS NOT NULL"
    "       AND NOT EXISTS (SELECT FROM study.digest d WHERE d.digest_id = o.digest_id"
    "                          AND d.source_version = o.source_version)"
    "    RETURNING o.team_id, o.target, o.digest_id"
    "), lanes AS ("
    "    UPDATE study.lane l SET due_at = now() FROM gone g"
    "     WHERE l.team_id = g.team_id AND l.target = g.target"
    "), again AS ("
    "    UPDATE study.digest d SET state = 'pending', attempts = 0, next_at = now()"
    "      FROM gone g"
    "     WHERE d.digest_id = g.digest_id AND d.state = 'made'"
    "       AND NOT EXISTS (SELECT FROM study.outbox o WHERE o.digest_id = d.digest_id"
    "                          AND o.source_version = d.source_version)"
    "    RETURNING 1"
    ")"
    "SELECT pg_notify('study_digest', '') FROM again LIMIT 1";

/* A reply that was cancelled while we had it does not keep its lane until the lease would end. */
static const char cancelled_sql[] =
    "UPDATE study.lane l SET due_at = GREATEST(now(), l.next_at)"
    "  FROM unnest($1::bigint[], $2::text[]) AS w (id, token)"
    "  JOIN study.outbox o ON o.outbox_id = w.id AND o.claim_token = w.token::uuid"
    " WHERE o.state = 'cancelled' AND l.team_id = o.team_id AND l.target = o.target";

static bool mark_sending(struct pg *pg, struct pg_array *const *a, int64_t lease_ms,
                         struct outbox_work *const *works, size_t count, bool *go,
                         struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    for (size_t i = 0; i < 3; i++) {
        pg_arg_array(args, a[i]);
    }
    pg_arg_int(args, lease_ms);
    ok = pg_exec(pg, sending_sql, args, &res, err);
    for (int row = 0; ok && row < pg_rows(res); row++) {
        for (size_t i = 0; i < count; i++) {
            go[i] = go[i] || works[i]->outbox_id == pg_int(res, row, 0);
        }
    }
    ok = ok && ((size_t)pg_rows(res) == count || (exec_arrays(pg, outdated_sql, a, 2, NULL, err) &&
                                                  exec_arrays(pg, cancelled_sql, a, 2, NULL, err)));
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

bool outbox_sending(struct pg *pg, struct outbox_work *const *works, const char *const *channels,
                    size_t count, int64_t lease_ms, bool *go, struct error *err)
{
    static const enum pg_array_type types[] = {PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
                                               PG_TEXT_ARRAY, PG_TEXT_ARRAY};
    struct pg_array *a[5];
    bool ok;

    create_arrays(a, types, 5);
    for (size_t i = 0; i < count; i++) {
        go[i] = false;
        pg_array_int(a[0], works[i]->outbox_id);
        pg_array_str(a[1], str_of(works[i]->claim_token));
        pg_array_str(a[2], str_of(channels[i]));
        pg_array_str(a[3], str_of(works[i]->team_id));
        pg_array_str(a[4], str_of(works[i]->target));
    }
    ok = pg_begin(pg, err) && exec_arrays(pg, lock_lanes_sql, a + 3, 2, NULL, err) &&
         mark_sending(pg, a, lease_ms, works, count, go, err) && pg_commit(pg, err);
    if (!ok) {
        pg_rollback(pg);
        memset(go, 0, count * sizeof(*go));
    }
    destroy_arrays(a, 5);
    return ok;
}

/* A deletion under way ends first, and is seen; one that comes now waits for the row's new state.
 */
static const char lock_digests_sql[] =
    "SELECT FROM study.digest d"
    " WHERE d.digest_id IN (SELECT o.digest_id FROM study.outbox o"
    "                        WHERE o.outbox_id = ANY ($1::bigint[]))"
    " ORDER BY d.digest_id FOR SHARE OF d";

/*
 * A lane's next free second counts from the answer, not only from the departure: two requests can
 * never reach Slack closer together than that.
 */
static const char finish_sql[] =
    "WITH w AS ("
    "    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[],"
    "                         $6::text[], $7::bool[])"
    "      AS w (id, token, state, sent_ts, wait_ms, error, tried)"
    "), done AS ("
    "    UPDATE study.outbox o"
    "       SET state = COALESCE(w.state, o.state), sent_ts = w.sent_ts,"
    "           claim_token = NULL, lease_until = NULL,"
    "           next_at = now() + w.wait_ms * interval '1 ms',"
    "           attempts = o.attempts - CASE WHEN w.state IS NULL THEN 1 ELSE 0 END,"
    "           error = NULLIF(left(w.error, 500), ''),"
    "           done_at = CASE WHEN w.state IN ('sent', 'failed', 'parked') THEN now() END,"
    "           body = CASE WHEN w.state IN ('sent', 'failed', 'parked') AND o.digest_id IS NOT "
    "NULL"
    "                        AND NOT EXISTS (SELECT FROM study.digest d"
    "                                         WHERE d.digest_id = o.digest_id"
    "                                           AND d.source_version = o.source_version)"
    "                       THEN NULL ELSE o.body END"
    "      FROM w WHERE o.outbox_id = w.id AND o.claim_token = w.token::uuid"
    "       AND o.state IN ('pending', 'sending', 'doubtful')" /* not cancelled meanwhile */
    /* Given back unsent, and yet `sending`: that COMMIT's answer was lost. The lease settles it. */
    "       AND (w.state IS NOT NULL OR o.state <> 'sending')"
    "    RETURNING o.outbox_id, o.team_id, o.target, o.kind, o.state, o.next_at, w.tried"
    "), lanes AS ("
    "    UPDATE study.lane l"
    "       SET next_at = CASE WHEN d.tried THEN clock_timestamp() + interval '1 s'"
    "                          ELSE l.next_at END,"
    "           due_at = GREATEST(CASE WHEN d.tried THEN clock_timestamp() + interval '1 s'"
    "                                  ELSE l.next_at END,"
    "                             CASE WHEN d.state IN ('pending', 'doubtful') THEN d.next_at END)"
    "      FROM done d WHERE l.team_id = d.team_id AND l.target = d.target"
    "), noticed AS ("
    "    UPDATE study.member m SET noticed_at = COALESCE(m.noticed_at, now())"
    "      FROM done d"
    "     WHERE d.kind = 'notice' AND d.state = 'sent'"
    "       AND m.team_id = d.team_id AND m.user_id = d.target"
    "    RETURNING m.team_id, m.user_id"
    "), called AS ("
    "    UPDATE study.digest d SET next_at = now() FROM noticed n"
    "     WHERE d.team_id = n.team_id AND d.user_id = n.user_id AND d.state = 'pending'"
    ")"
    "SELECT pg_notify('study_digest', '') FROM noticed LIMIT 1";

bool outbox_finish(struct pg *pg, const struct outbox_done *done, size_t count, struct error *err)
{
    static const enum pg_array_type types[] = {PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
                                               PG_TEXT_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY,
                                               PG_BOOL_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY};
    static const char *const states[] = {
        [OUTBOX_SENT] = "sent",     [OUTBOX_RETRY] = "pending", [OUTBOX_DOUBTFUL] = "doubtful",
        [OUTBOX_FAILED] = "failed", [OUTBOX_PARKED] = "parked", [OUTBOX_RELEASE] = NULL};
    struct pg_array *a[9];
    bool ok;

    if (count == 0) {
        return true;
    }
    create_arrays(a, types, 9);
    for (size_t i = 0; i < count; i++) {
        pg_array_int(a[0], done[i].work->outbox_id);
        pg_array_str(a[1], str_of(done[i].work->claim_token));
        pg_array_str(a[2], str_of(states[done[i].end]));
        pg_array_str(a[3], str_of(done[i].end == OUTBOX_SENT ? done[i].sent_ts : NULL));
        pg_array_int(a[4], done[i].wait_ms);
        pg_array_str(a[5], str_of(done[i].error));
        pg_array_bool(a[6], done[i].end != OUTBOX_RELEASE);
        pg_array_str(a[7], str_of(done[i].work->team_id));
        pg_array_str(a[8], str_of(done[i].work->target));
    }
    ok = exec_arrays(pg, lock_lanes_sql, a + 7, 2, NULL, err) &&
         exec_arrays(pg, lock_digests_sql, a, 1, NULL, err) &&
         exec_arrays(pg, finish_sql, a, 7, NULL, err) &&
         exec_arrays(pg, cancelled_sql, a, 2, NULL, err);
    destroy_arrays(a, 9);
    return ok;
}
