/*
 * A lane's row is its lock. Claiming, sending and finishing take it before they touch a reply, and
 * adding a reply takes it before it commits: so due_at is never cleared beside a new reply, and a
 * lane's next free second is counted by everybody from the same clock, the database's.
 */
#include "db/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "db/pauses.h"

static bool exec_arrays(struct pg *pg, const char *sql, struct pg_array *const *arrays, size_t n,
                        struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();

    for (size_t i = 0; i < n; i++) {
        pg_arg_array(args, arrays[i]);
    }
    return pg_exec_take(pg, sql, args, res, err);
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
    "                         $6::bigint[], $7::bigint[], $8::text[], $9::bool[],"
    "                         $10::text[])"
    "      AS w (identity, kind, team_id, target, thread_ts, digest_id, source_version, body, hold,"
    "            told_host)"
    "), added AS ("
    "    INSERT INTO study.outbox (identity, kind, team_id, target, thread_ts, digest_id,"
    "                              source_version, body, hold, told_host)"
    "    SELECT identity, kind, team_id, target, thread_ts, NULLIF(digest_id, 0),"
    "           CASE WHEN digest_id <> 0 THEN source_version END, body::jsonb, hold, told_host"
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
    static const enum pg_array_type types[] = {
        PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
        PG_INT8_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_BOOL_ARRAY, PG_TEXT_ARRAY};
    struct pg_array *a[10];
    bool ok;

    if (count == 0) {
        return true;
    }
    create_arrays(a, types, 10);
    for (size_t i = 0; i < count; i++) {
        pg_array_str(a[0], str_of(rows[i].identity));
        pg_array_str(a[1], str_of(rows[i].kind));
        pg_array_str(a[2], str_of(rows[i].team_id));
        pg_array_str(a[3], str_of(rows[i].target));
        pg_array_str(a[4], str_of(rows[i].thread_ts));
        pg_array_int(a[5], rows[i].digest_id);
        pg_array_int(a[6], rows[i].source_version);
        pg_array_str(a[7], rows[i].body);
        pg_array_bool(a[8], rows[i].hold);
        pg_array_str(a[9], str_of(rows[i].told_host));
    }
    ok = exec_arrays(pg, add_sql, a, 10, NULL, err);
    destroy_arrays(a, 10);
    return ok;
}

/* Lanes before rows, in one order: what every writer does. */
static const char lock_lanes_sql[] =
    "SELECT FROM study.lane l"
    "  JOIN unnest($1::text[], $2::text[]) AS w (team_id, target) USING (team_id, target)"
    " ORDER BY l.team_id, l.target FOR UPDATE OF l";

bool outbox_lock_lanes(struct pg *pg, struct pg_array *teams, struct pg_array *targets,
                       struct error *err)
{
    return exec_arrays(pg, lock_lanes_sql, (struct pg_array *[]){teams, targets}, 2, NULL, err);
}

/* Into a channel a message a second; what is none has only its method's limit. */
#define PACE(row)                                                                                  \
    "CASE WHEN " row ".kind IN ('response', 'reaction', 'delete') THEN interval '0'"               \
    " ELSE interval '1 s' END"

/* What may be asked for again and again is not looked up when it is in doubt. */
#define REPEATABLE(row) row ".kind IN ('reaction', 'delete')"

/* A digest of somebody who turned digests off while it was being made, sent or looked up. */
#define UNWANTED                                                                                   \
    "(o.kind = 'digest' AND EXISTS (SELECT FROM study.member m WHERE m.team_id = o.team_id"        \
    "     AND m.user_id = o.target AND (NOT m.digests OR m.consent = 'no')))"

#define PAUSED PAUSED_SQL("deliver", "o.team_id")

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
    "       AND o.lease_until > clock_timestamp()"
    "       AND (o.state = 'pending' OR (o.state = 'doubtful' AND " REPEATABLE(
        "o") "))"
             "       AND (o.digest_id IS NULL"
             "            OR EXISTS (SELECT FROM study.digest d WHERE d.digest_id = o.digest_id"
             "                          AND d.source_version = o.source_version))"
             "       AND NOT " UNWANTED "       AND NOT " PAUSED
             "    RETURNING o.outbox_id, o.team_id, o.target, o.kind, o.lease_until"
             "), lanes AS ("
             "    UPDATE study.lane l SET next_at = clock_timestamp() + " PACE(
                 "s") ","
                      "                            due_at = s.lease_until"
                      "      FROM sending s WHERE l.team_id = s.team_id AND l.target = s.target"
                      ")"
                      "SELECT outbox_id FROM sending";

/*
 * Made from what is gone, or wanted no more: nothing of it is sent. A digest that was left as it is
 * because this reply might have been on its way is made anew, now that it was not.
 */
static const char outdated_sql[] =
    "WITH gone AS ("
    "    UPDATE study.outbox o"
    "       SET state = 'cancelled', body = NULL, claim_token = NULL, lease_until = NULL,"
    "           done_at = now(), error = CASE WHEN " UNWANTED
    "                THEN 'the member has turned digests off'"
    "                ELSE 'what it was made from has changed' END"
    "      FROM unnest($1::bigint[], $2::text[]) AS w (id, token)"
    "     WHERE o.outbox_id = w.id AND o.claim_token = w.token::uuid AND o.state = 'pending'"
    "       AND (" UNWANTED "            OR (o.digest_id IS NOT NULL"
    "                AND NOT EXISTS (SELECT FROM study.digest d WHERE d.digest_id = o.digest_id"
    "                                   AND d.source_version = o.source_version)))"
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

/* Paused since the claim: as it was before that, to be claimed when somebody says resume. */
static const char paused_sql[] =
    "WITH back AS ("
    "    UPDATE study.outbox o SET claim_token = NULL, lease_until = NULL, attempts = attempts - 1"
    "      FROM unnest($1::bigint[], $2::text[]) AS w (id, token)"
    "     WHERE o.outbox_id = w.id AND o.claim_token = w.token::uuid"
    "       AND o.state IN ('pending', 'doubtful') AND " PAUSED " RETURNING o.team_id, o.target"
    ")"
    "UPDATE study.lane l SET due_at = GREATEST(now(), l.next_at) FROM back b"
    " WHERE l.team_id = b.team_id AND l.target = b.target";

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
                                                  exec_arrays(pg, cancelled_sql, a, 2, NULL, err) &&
                                                  exec_arrays(pg, paused_sql, a, 2, NULL, err)));
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
#define OVER "('sent', 'logged', 'failed', 'parked')"

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
    "           done_at = CASE WHEN w.state IN " OVER " THEN now() END,"
    "           body = CASE WHEN w.state IN " OVER
    "                        AND (o.kind = 'response' OR o.digest_id IS NOT NULL"
    "                             AND NOT EXISTS (SELECT FROM study.digest d"
    "                                              WHERE d.digest_id = o.digest_id"
    "                                                AND d.source_version = o.source_version))"
    "                       THEN NULL ELSE o.body END"
    "      FROM w WHERE o.outbox_id = w.id AND o.claim_token = w.token::uuid"
    "       AND o.state IN ('pending', 'sending', 'doubtful')" /* not cancelled meanwhile */
    /* Given back unsent, and yet `sending`: that COMMIT's answer was lost. The lease settles it. */
    "       AND (w.state IS NOT NULL OR o.state <> 'sending')"
    "    RETURNING o.outbox_id, o.team_id, o.target, o.kind, o.state, o.next_at, w.tried,"
    "              o.told_host"
    "), lanes AS ("
    "    UPDATE study.lane l"
    "       SET next_at = CASE WHEN d.tried THEN clock_timestamp() + " PACE(
        "d") "                          ELSE l.next_at END,"
             "           due_at = GREATEST(CASE WHEN d.tried THEN clock_timestamp() + " PACE(
                 "d") "                                  ELSE l.next_at END,"
                      "                             CASE WHEN d.state IN ('pending', 'doubtful') "
                      "THEN d.next_at END)"
                      "      FROM done d WHERE l.team_id = d.team_id AND l.target = d.target"
                      "), noticed AS ("
                      "    UPDATE study.member m SET noticed_at = COALESCE(m.noticed_at, now()),"
                      "           told_host = d.told_host"
                      "      FROM done d"
                      "     WHERE d.kind = 'notice' AND d.state = 'sent'"
                      "       AND m.team_id = d.team_id AND m.user_id = d.target"
                      "    RETURNING m.team_id, m.user_id"
                      "), called AS ("
                      "    UPDATE study.digest d SET next_at = now() FROM noticed n"
                      "     WHERE d.team_id = n.team_id AND d.user_id = n.user_id AND d.state = "
                      "'pending'"
                      ")"
                      "SELECT pg_notify('study_digest', '') FROM noticed LIMIT 1";

bool outbox_finish(struct pg *pg, const struct outbox_done *done, size_t count, struct error *err)
{
    static const enum pg_array_type types[] = {PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
                                               PG_TEXT_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY,
                                               PG_BOOL_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY};
    static const char *const states[] = {
        [OUTBOX_SENT] = "sent",     [OUTBOX_RETRY] = "pending", [OUTBOX_DOUBTFUL] = "doubtful",
        [OUTBOX_FAILED] = "failed", [OUTBOX_PARKED] = "parked", [OUTBOX_LOGGED] = "logged",
        [OUTBOX_RELEASE] = NULL};
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
        pg_array_str(a[3], str_of(done[i].sent_ts[0] != '\0' ? done[i].sent_ts : NULL));
        pg_array_int(a[4], done[i].wait_ms);
        pg_array_str(a[5], str_of(done[i].error));
        pg_array_bool(a[6], done[i].end != OUTBOX_RELEASE && done[i].end != OUTBOX_LOGGED);
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

bool outbox_retract(struct pg *pg, int64_t *count, struct error *err)
{
    static const char sql[] =
        "WITH gone AS ("
        "    UPDATE study.outbox SET retracted = true WHERE outbox_id IN ("
        "        SELECT o.outbox_id FROM study.outbox o JOIN study.digest d USING (digest_id)"
        "         WHERE o.kind = 'digest' AND o.state = 'sent' AND o.body IS NULL"
        "           AND NOT o.retracted AND o.source_version < d.source_version"
        "         LIMIT 100 FOR UPDATE OF o SKIP LOCKED)"
        "    RETURNING outbox_id, team_id, channel_id, sent_ts"
        "), added AS ("
        "    INSERT INTO study.outbox (identity, kind, team_id, target, body)"
        "    SELECT 'delete:' || outbox_id, 'delete', team_id, 'delete-' || channel_id,"
        "           jsonb_build_object('channel', channel_id, 'ts', sent_ts)"
        "      FROM gone WHERE channel_id IS NOT NULL ORDER BY outbox_id"
        "    ON CONFLICT (identity) DO NOTHING"
        "    RETURNING team_id, target"
        "), lanes AS ("
        "    INSERT INTO study.lane AS l (team_id, target, due_at)"
        "    SELECT DISTINCT team_id, target, now() FROM added ORDER BY team_id, target"
        "    ON CONFLICT (team_id, target) DO UPDATE"
        "       SET due_at = LEAST(l.due_at, GREATEST(l.next_at, now()))"
        ")"
        "SELECT count(*) FROM added";
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg, sql, NULL, &res, err);

    *count = ok ? pg_int(res, 0, 0) : 0;
    pg_result_destroy(&res);
    return ok;
}
