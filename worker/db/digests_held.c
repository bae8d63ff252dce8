/* Claims in hand, looked at many at a time; and rows that nobody can do anything about just now. */
#include "db/digests.h"

#include <string.h>

#include "db/pauses.h"

#define REST_ROWS 1000

/*
 * The arguments of a statement about claims: $1 their ids, $2 their tokens, $3 the versions they
 * were claimed with. The caller adds its own and hands all of it to find_claims.
 */
static struct pg_args *args_of(struct digest_work *const *works, size_t count,
                               struct pg_array *arrays[3])
{
    struct pg_args *args = pg_args_create();

    arrays[0] = pg_array_create(PG_INT8_ARRAY);
    arrays[1] = pg_array_create(PG_TEXT_ARRAY);
    arrays[2] = pg_array_create(PG_INT8_ARRAY);
    for (size_t i = 0; i < count; i++) {
        pg_array_int(arrays[0], works[i]->digest_id);
        pg_array_str(arrays[1], str_of(works[i]->claim_token));
        pg_array_int(arrays[2], works[i]->source_version);
    }
    for (size_t i = 0; i < 3; i++) {
        pg_arg_array(args, arrays[i]);
    }
    return args;
}

/* found[i] tells whether the statement gave the digest of works[i]. Takes args and arrays. */
static bool find_claims(struct pg *pg, const char *sql, struct pg_args *args,
                        struct pg_array *arrays[3], struct digest_work *const *works, size_t count,
                        bool *found, struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg, sql, args, &res, err);

    memset(found, 0, count * sizeof(*found));
    for (int row = 0; ok && row < pg_rows(res); row++) {
        for (size_t i = 0; i < count; i++) {
            found[i] = found[i] || works[i]->digest_id == pg_int(res, row, 0);
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    for (size_t i = 0; i < 3; i++) {
        pg_array_destroy(&arrays[i]);
    }
    return ok;
}

bool digests_fresh(struct pg *pg, struct digest_work *const *works, size_t count, bool opt_in,
                   bool *fresh, struct error *err)
{
    static const char sql[] =
        "SELECT d.digest_id"
        "  FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS w (digest_id, token, version)"
        "  JOIN study.digest d ON d.digest_id = w.digest_id AND d.claim_token = w.token::uuid"
        "                     AND d.source_version = w.version"
        "  JOIN study.member m USING (team_id, user_id)"
        " WHERE m.digests AND m.consent <> 'no' AND (NOT $4 OR m.consent = 'yes')"
        "   AND NOT " PAUSED_SQL("digest", "d.team_id");
    struct pg_array *arrays[3];
    struct pg_args *args = args_of(works, count, arrays);

    pg_arg_bool(args, opt_in);
    return find_claims(pg, sql, args, arrays, works, count, fresh, err);
}

bool digests_renew(struct pg *pg, struct digest_work *const *works, size_t count, int64_t lease_ms,
                   bool *kept, struct error *err)
{
    static const char sql[] =
        "UPDATE study.digest d SET lease_until = now() + $4 * interval '1 ms'"
        "  FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS w (digest_id, token, version)"
        " WHERE d.digest_id = w.digest_id AND d.claim_token = w.token::uuid"
        " RETURNING d.digest_id";
    struct pg_array *arrays[3];
    struct pg_args *args = args_of(works, count, arrays);

    pg_arg_int(args, lease_ms);
    return find_claims(pg, sql, args, arrays, works, count, kept, err);
}

bool digests_rest(struct pg *pg, bool opt_in, struct error *err)
{
    static const char sql[] =
        "WITH due AS ("
        "    SELECT d.digest_id, d.deadline, n.nowhere"
        "      FROM study.digest d JOIN study.member m USING (team_id, user_id)"
        "      JOIN study.team t USING (team_id)"
        "     CROSS JOIN LATERAL ("
        /* who came since the last look at who is to be told has no notice yet: not at rest */
        "           SELECT (m.noticed_at IS NULL AND EXISTS ("
        "                  SELECT FROM study.outbox o WHERE o.kind = 'notice'"
        "                     AND o.team_id = d.team_id AND o.target = d.user_id"
        "                     AND o.state <> 'sent'))" /* of another host than the model's now */
        "               OR t.state <> 'active' OR EXISTS ("
        "                  SELECT FROM study.lane l WHERE l.team_id = d.team_id"
        "                     AND l.target = d.user_id AND l.stopped_reason IS NOT NULL)"
        "               AS nowhere) n"
        "     WHERE d.state = 'pending' AND d.next_at <= now()"
        "       AND m.digests AND m.consent <> 'no'"
        "       AND (n.nowhere OR ($1 AND m.consent <> 'yes' AND d.deadline > now()))"
        "     LIMIT $2"
        "       FOR UPDATE OF d SKIP LOCKED FOR SHARE OF m SKIP LOCKED"
        ")"
        "UPDATE study.digest d"
        "   SET next_at = CASE WHEN due.nowhere THEN now() + interval '10 min'"
        "                      ELSE LEAST(now() + interval '10 s', due.deadline) END"
        "  FROM due WHERE d.digest_id = due.digest_id";
    struct pg_args *args = pg_args_create();
    bool ok;
    int64_t rows = REST_ROWS;

    pg_arg_bool(args, opt_in);
    pg_arg_int(args, REST_ROWS);
    do {
        struct pg_result *res = NULL;

        ok = pg_exec(pg, sql, args, &res, err);
        rows = ok ? pg_affected(res) : 0;
        pg_result_destroy(&res);
    } while (rows == REST_ROWS);
    pg_args_destroy(&args);
    return ok;
}
