/*
 * A claim and the messages it reads belong to one transaction: a deletion either comes first and is
 * seen, or waits for the digest's row and then raises its source_version, which digests_store
 * compares.
 */
#include "db/digests.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/outbox.h"
#include "db/pauses.h"

#define REST_ROWS 1000

static const char claim_sql[] =
    "WITH quota AS ("
    "    SELECT EXISTS (SELECT FROM study.pause"
    "                    WHERE role = 'digest' AND reason = '" PAUSE_QUOTA "'"
    "                      AND (until IS NULL OR until > now())) AS gone"
    "), due AS ("
    "    SELECT d.digest_id"
    "      FROM study.digest d"
    "      JOIN study.member m USING (team_id, user_id)"
    "      JOIN study.team t USING (team_id)"
    "     CROSS JOIN quota"
    "     WHERE d.state IN ('pending', 'running') AND d.next_at <= now()"
    "       AND (d.state = 'pending' OR d.lease_until <= now())"
    "       AND t.state = 'active'"
    /* nothing is made that could not be sent */
    "       AND NOT EXISTS (SELECT FROM study.lane l WHERE l.team_id = d.team_id"
    "                          AND l.target = d.user_id AND l.stopped_reason IS NOT NULL)"
    /* permalinks want the workspace's address, for which deliver asks at once */
    "       AND (t.url IS NOT NULL OR d.created_at < now() - interval '1 min')"
    "       AND NOT EXISTS (SELECT FROM study.pause p"
    "                        WHERE p.role = 'digest' AND p.team_id IN ('', d.team_id)"
    "                          AND p.reason <> '" PAUSE_QUOTA "'"
    "                          AND (p.until IS NULL OR p.until > now()))"
    /* whoever was not told gets nothing, not even a digest without a model */
    "       AND (NOT m.digests OR m.consent = 'no'"
    "            OR (m.noticed_at IS NOT NULL"
    "                AND (d.deadline <= now() OR NOT $4"
    "                     OR ($3 AND NOT quota.gone AND (NOT $5 OR m.consent = 'yes')))))"
    "     ORDER BY d.next_at, d.digest_id"
    "     LIMIT $1"
    "       FOR UPDATE OF d SKIP LOCKED"
    "), claimed AS ("
    "    UPDATE study.digest d"
    "       SET state = 'running', claim_token = gen_random_uuid(), attempts = d.attempts + 1,"
    "           lease_until = now() + $2 * interval '1 ms'"
    "      FROM due WHERE d.digest_id = due.digest_id"
    "    RETURNING d.*"
    ")"
    "SELECT c.digest_id, c.claim_token, c.team_id, c.user_id, c.source_version, c.attempts,"
    "       c.deadline <= now(), m.noticed_at IS NOT NULL AND (NOT $5 OR m.consent = 'yes'),"
    "       m.digests AND m.consent <> 'no', s.kind = 'weekly',"
    "       COALESCE(m.language, t.language, $6), COALESCE(t.url, ''),"
    "       to_char(f.fire_at AT TIME ZONE z.zone, 'YYYY-MM-DD'),"
    "       c.result, COALESCE(encode(c.prompt_hash, 'hex'), ''), z.zone"
    "  FROM claimed c"
    "  JOIN study.member m USING (team_id, user_id)"
    "  JOIN study.team t USING (team_id)"
    "  JOIN study.schedule s USING (schedule_id)"
    "  JOIN study.firing f USING (firing_id)"
    " CROSS JOIN LATERAL (SELECT study.valid_zone(m.time_zone,"
    "                                             study.valid_zone(s.time_zone, 'UTC')) AS zone) z"
    " ORDER BY c.digest_id";

/* FOR SHARE waits for a deletion that is under way and did not yet see this digest. */
static const char records_sql[] =
    "SELECT w.digest_id, m.channel_id, m.ts, m.thread_ts, left(m.text, 12000),"
    "       array_to_string(m.files, E'\\n'),"
    "       to_char(m.posted_at AT TIME ZONE w.zone, 'YYYY-MM-DD'),"
    "       to_char(m.posted_at AT TIME ZONE w.zone, 'HH24:MI'), r.total"
    "  FROM unnest($1::bigint[], $2::text[]) AS w (digest_id, zone)"
    " CROSS JOIN LATERAL ("
    "     SELECT i.team_id, i.channel_id, i.ts, count(*) OVER () AS total"
    "       FROM study.digest_item i JOIN study.message n USING (team_id, channel_id, ts)"
    "      WHERE i.digest_id = w.digest_id AND NOT n.deleted"
    "        AND ($4 OR (SELECT c.private FROM study.channel c WHERE c.team_id = n.team_id"
    "                       AND c.channel_id = n.channel_id) IS NOT TRUE)"
    "      ORDER BY n.posted_at DESC, i.channel_id DESC, i.ts DESC LIMIT $3) r"
    "  JOIN study.message m USING (team_id, channel_id, ts)"
    " WHERE NOT m.deleted"
    " ORDER BY w.digest_id, m.posted_at, m.channel_id, m.ts"
    "   FOR SHARE OF m";

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

static char *dup(const struct pg_result *res, int row, int col)
{
    return pg_is_null(res, row, col) ? NULL : str_dup(pg_str(res, row, col));
}

static struct digest_work *read_work(const struct pg_result *res, int row)
{
    struct digest_work *w = allocate(1, sizeof(*w));

    w->digest_id = pg_int(res, row, 0);
    w->claim_token = dup(res, row, 1);
    w->team_id = dup(res, row, 2);
    w->user_id = dup(res, row, 3);
    w->source_version = pg_int(res, row, 4);
    w->attempts = pg_int(res, row, 5);
    w->overdue = pg_bool(res, row, 6);
    w->model_allowed = pg_bool(res, row, 7);
    w->wanted = pg_bool(res, row, 8);
    w->weekly = pg_bool(res, row, 9);
    w->language = dup(res, row, 10);
    w->team_url = dup(res, row, 11);
    w->day = dup(res, row, 12);
    w->stored_result = dup(res, row, 13);
    w->stored_hash = dup(res, row, 14);
    return w;
}

static void read_record(struct digest_record *r, const struct pg_result *res, int row)
{
    r->channel_id = dup(res, row, 1);
    r->ts = dup(res, row, 2);
    r->thread_ts = dup(res, row, 3);
    r->text = dup(res, row, 4);
    r->files = dup(res, row, 5);
    r->day = dup(res, row, 6);
    r->time = dup(res, row, 7);
}

/* Rows come by digest_id, as the works stand. */
static void read_records(struct digest_work **works, size_t count, const struct pg_result *res)
{
    int row = 0;

    for (size_t i = 0; i < count; i++) {
        int end = row;

        while (end < pg_rows(res) && pg_int(res, end, 0) == works[i]->digest_id) {
            end++;
        }
        works[i]->records_count = (size_t)(end - row);
        works[i]->records = allocate(works[i]->records_count + 1, sizeof(struct digest_record));
        works[i]->records_total = end > row ? pg_int(res, row, 8) : 0;
        for (size_t k = 0; k < works[i]->records_count; k++) {
            read_record(&works[i]->records[k], res, row + (int)k);
        }
        row = end;
    }
}

static bool load_records(struct pg *pg, struct digest_work **works, size_t count,
                         bool private_channels, const struct pg_result *claimed, struct error *err)
{
    struct pg_array *ids = pg_array_create(PG_INT8_ARRAY);
    struct pg_array *zones = pg_array_create(PG_TEXT_ARRAY);
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    for (size_t i = 0; i < count; i++) {
        pg_array_int(ids, works[i]->digest_id);
        pg_array_str(zones, pg_str(claimed, (int)i, 15));
    }
    pg_arg_array(args, ids);
    pg_arg_array(args, zones);
    pg_arg_int(args, DIGEST_RECORDS_MAX);
    pg_arg_bool(args, private_channels);
    ok = pg_exec(pg, records_sql, args, &res, err);
    if (ok) {
        read_records(works, count, res);
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    pg_array_destroy(&zones);
    pg_array_destroy(&ids);
    return ok;
}

bool digests_claim(struct pg *pg, const struct digest_terms *terms, struct digest_work ***works,
                   size_t *count, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *works = NULL;
    *count = 0;
    pg_arg_int(args, terms->limit);
    pg_arg_int(args, terms->lease_ms);
    pg_arg_bool(args, terms->model_open);
    pg_arg_bool(args, terms->model_enabled);
    pg_arg_bool(args, terms->opt_in);
    pg_arg_cstr(args, terms->language);
    ok = pg_begin(pg, err) && pg_exec(pg, claim_sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *works = allocate(*count, sizeof(**works));
        for (size_t i = 0; i < *count; i++) {
            (*works)[i] = read_work(res, (int)i);
        }
        ok = load_records(pg, *works, *count, terms->private_channels, res, err);
    }
    ok = ok && pg_commit(pg, err);
    if (!ok) {
        pg_rollback(pg);
        for (size_t i = 0; i < *count; i++) {
            digest_work_destroy(&(*works)[i]);
        }
        free(*works);
        *works = NULL;
        *count = 0;
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

void digest_work_destroy(struct digest_work **work)
{
    struct digest_work *w = *work;

    if (w == NULL) {
        return;
    }
    for (size_t i = 0; i < w->records_count; i++) {
        struct digest_record *r = &w->records[i];

        free(r->channel_id);
        free(r->ts);
        free(r->thread_ts);
        free(r->text);
        free(r->files);
        free(r->day);
        free(r->time);
    }
    free(w->records);
    free(w->claim_token);
    free(w->team_id);
    free(w->user_id);
    free(w->language);
    free(w->team_url);
    free(w->day);
    free(w->stored_result);
    free(w->stored_hash);
    free(w);
    *work = NULL;
}

static const char store_sql[] =
    "UPDATE study.digest d"
    "   SET state = 'made', claim_token = NULL, lease_until = NULL, made_at = now(),"
    "       origin = w.origin, language = w.language, result = w.result::jsonb,"
    "       model = NULLIF(w.model, ''), error = NULLIF(left(w.error, 500), ''),"
    "       prompt_hash = CASE WHEN w.request IS NULL THEN d.prompt_hash"
    "                          ELSE sha256(convert_to(w.request, 'UTF8')) END,"
    "       prompt_tokens = COALESCE(d.prompt_tokens, 0) + w.prompt_tokens,"
    "       completion_tokens = COALESCE(d.completion_tokens, 0) + w.completion_tokens"
    "  FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],"
    "              $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::text[])"
    "       AS w (digest_id, token, version, origin, language, result, model, request,"
    "             prompt_tokens, completion_tokens, error)"
    " WHERE d.digest_id = w.digest_id AND d.claim_token = w.token::uuid"
    "   AND d.source_version = w.version"
    " RETURNING d.digest_id";

/* Still ours, but made from what has changed since: once more, from what is left. */
static const char changed_sql[] =
    "UPDATE study.digest d"
    "   SET state = 'pending', claim_token = NULL, lease_until = NULL, next_at = now(),"
    "       prompt_tokens = COALESCE(d.prompt_tokens, 0) + w.prompt_tokens,"
    "       completion_tokens = COALESCE(d.completion_tokens, 0) + w.completion_tokens"
    "  FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])"
    "       AS w (digest_id, token, prompt_tokens, completion_tokens)"
    " WHERE d.digest_id = w.digest_id AND d.claim_token = w.token::uuid";

enum { STORE_COLUMNS = 11 };

static bool store_rows(struct pg *pg, struct digest_made *made, size_t count, struct error *err)
{
    static const enum pg_array_type types[STORE_COLUMNS] = {
        PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
        PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY};
    struct pg_array *a[STORE_COLUMNS];
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    for (size_t k = 0; k < STORE_COLUMNS; k++) {
        a[k] = pg_array_create(types[k]);
    }
    for (size_t i = 0; i < count; i++) {
        const struct digest_made *m = &made[i];

        pg_array_int(a[0], m->work->digest_id);
        pg_array_str(a[1], str_of(m->work->claim_token));
        pg_array_int(a[2], m->work->source_version);
        pg_array_str(a[3], str_of(m->origin));
        pg_array_str(a[4], str_of(m->work->language));
        pg_array_str(a[5], m->result);
        pg_array_str(a[6], str_of(m->model));
        pg_array_str(a[7], m->request);
        pg_array_int(a[8], m->prompt_tokens);
        pg_array_int(a[9], m->completion_tokens);
        pg_array_str(a[10], str_of(m->error));
    }
    for (size_t k = 0; k < STORE_COLUMNS; k++) {
        pg_arg_array(args, a[k]);
    }
    ok = pg_exec(pg, store_sql, args, &res, err);
    for (int row = 0; ok && row < pg_rows(res); row++) {
        for (size_t i = 0; i < count; i++) {
            made[i].stored = made[i].stored || made[i].work->digest_id == pg_int(res, row, 0);
        }
    }
    pg_result_destroy(&res);
    pg_args_reset(args);
    pg_arg_array(args, a[0]);
    pg_arg_array(args, a[1]);
    pg_arg_array(args, a[8]);
    pg_arg_array(args, a[9]);
    ok = ok && pg_exec(pg, changed_sql, args, NULL, err);
    pg_args_destroy(&args);
    for (size_t k = 0; k < STORE_COLUMNS; k++) {
        pg_array_destroy(&a[k]);
    }
    return ok;
}

static bool add_replies(struct pg *pg, const struct digest_made *made, size_t count,
                        struct error *err)
{
    struct outbox_new *rows = allocate(count + 1, sizeof(*rows));
    size_t n = 0;
    bool ok;

    for (size_t i = 0; i < count; i++) {
        const struct digest_work *w = made[i].work;
        char *identity = NULL;

        if (!made[i].stored) {
            continue;
        }
        if (asprintf(&identity, "digest:%" PRId64 ":%" PRId64, w->digest_id, w->source_version) <
            0) {
            abort();
        }
        rows[n++] = (struct outbox_new){identity, "digest",     w->team_id,        w->user_id,
                                        NULL,     w->digest_id, w->source_version, made[i].body};
    }
    ok = outbox_add(pg, rows, n, err);
    for (size_t i = 0; i < n; i++) {
        free((char *)rows[i].identity);
    }
    free(rows);
    return ok;
}

bool digests_store(struct pg *pg, struct digest_made *made, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        made[i].stored = false;
    }
    if (!pg_begin(pg, err) || !store_rows(pg, made, count, err) ||
        !add_replies(pg, made, count, err) || !pg_commit(pg, err)) {
        pg_rollback(pg);
        return false;
    }
    return true;
}

bool digest_put_back(struct pg *pg, const struct digest_work *work, int64_t next_ms, bool uncount,
                     int64_t prompt_tokens, int64_t completion_tokens, const char *error,
                     struct error *err)
{
    static const char sql[] =
        "UPDATE study.digest"
        "   SET state = 'pending', claim_token = NULL, lease_until = NULL,"
        "       next_at = LEAST(now() + $3 * interval '1 ms', GREATEST(deadline, now())),"
        "       attempts = attempts - $4,"
        "       prompt_tokens = COALESCE(prompt_tokens, 0) + $5,"
        "       completion_tokens = COALESCE(completion_tokens, 0) + $6,"
        "       error = NULLIF(left($7, 500), '')"
        " WHERE digest_id = $1 AND claim_token = $2::uuid";
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_int(args, work->digest_id);
    pg_arg_cstr(args, work->claim_token);
    pg_arg_int(args, next_ms);
    pg_arg_int(args, uncount ? 1 : 0);
    pg_arg_int(args, prompt_tokens);
    pg_arg_int(args, completion_tokens);
    pg_arg_cstr(args, error);
    ok = pg_exec(pg, sql, args, NULL, err);
    pg_args_destroy(&args);
    return ok;
}

bool digest_cancel(struct pg *pg, const struct digest_work *work, const char *why,
                   struct error *err)
{
    static const char sql[] =
        "UPDATE study.digest SET state = 'cancelled', claim_token = NULL, lease_until = NULL,"
        "       result = NULL, error = $3"
        " WHERE digest_id = $1 AND claim_token = $2::uuid";
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_int(args, work->digest_id);
    pg_arg_cstr(args, work->claim_token);
    pg_arg_cstr(args, why);
    ok = pg_exec(pg, sql, args, NULL, err);
    pg_args_destroy(&args);
    return ok;
}

bool digest_request_hash(struct pg *pg, struct str request, char hash[static 65], struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_str(args, request);
    ok = pg_exec(pg, "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')", args, &res, err);
    if (ok) {
        snprintf(hash, 65, "%.*s", STR_ARG(pg_str(res, 0, 0)));
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

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
        " WHERE m.digests AND m.consent <> 'no' AND (NOT $4 OR m.consent = 'yes')";
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
        "           SELECT m.noticed_at IS NULL OR t.state <> 'active' OR EXISTS ("
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

/* The lane's unfinished notice, one that arrived, or one of today: no other is made beside it. */
bool notices_owed(struct pg *pg, const char *language, const struct notice_owed *after, int limit,
                  struct notice_owed **owed, size_t *count, struct error *err)
{
    static const char sql[] =
        "SELECT w.team_id, w.user_id, w.language,"
        "       1 + (SELECT count(*) FROM study.outbox o WHERE o.kind = 'notice'"
        "               AND o.team_id = w.team_id AND o.target = w.user_id)"
        "  FROM (SELECT DISTINCT d.team_id, d.user_id,"
        "               COALESCE(m.language, t.language, $1) AS language"
        "          FROM study.digest d"
        "          JOIN study.member m USING (team_id, user_id)"
        "          JOIN study.team t USING (team_id)"
        "         WHERE d.state = 'pending' AND d.next_at <= now() AND m.noticed_at IS NULL"
        "           AND m.digests AND m.consent <> 'no' AND t.state = 'active'"
        "           AND (d.team_id, d.user_id) > ($3, $4)"
        "           AND NOT EXISTS (SELECT FROM study.lane l WHERE l.team_id = d.team_id"
        "                              AND l.target = d.user_id AND l.stopped_reason IS NOT NULL)"
        "           AND NOT EXISTS ("
        "               SELECT FROM study.outbox o WHERE o.kind = 'notice'"
        "                  AND o.team_id = d.team_id AND o.target = d.user_id"
        "                  AND (o.state IN ('pending', 'sending', 'doubtful', 'sent')"
        "                       OR COALESCE(o.done_at, o.created_at) > now() - interval '1 day'))"
        "         ORDER BY 1, 2 LIMIT $2) w"
        " ORDER BY 1, 2";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *owed = NULL;
    *count = 0;
    pg_arg_cstr(args, language);
    pg_arg_int(args, limit);
    pg_arg_cstr(args, after != NULL ? after->team_id : "");
    pg_arg_cstr(args, after != NULL ? after->user_id : "");
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *owed = allocate(*count, sizeof(**owed));
        for (size_t i = 0; i < *count; i++) {
            (*owed)[i] = (struct notice_owed){dup(res, (int)i, 0), dup(res, (int)i, 1),
                                              dup(res, (int)i, 2), pg_int(res, (int)i, 3)};
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

void notices_free(struct notice_owed **owed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((*owed)[i].team_id);
        free((*owed)[i].user_id);
        free((*owed)[i].language);
    }
    free(*owed);
    *owed = NULL;
}
