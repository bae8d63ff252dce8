/*
 * What becomes of a claim: stored with its reply, put back, or cancelled. Each statement names the
 * claim's token and, where a text goes in, the version of the messages that it was made from.
 */
#include "db/digests.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/budget.h"
#include "db/outbox.h"

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* As others lock them, in the order of their ids: a batch is as its answers came. */
#define IN_ORDER(arrays, columns)                                                                  \
    "WITH w AS MATERIALIZED ("                                                                     \
    "    SELECT u.* FROM unnest(" arrays ") AS u (" columns ")"                                    \
    "      JOIN study.digest d USING (digest_id)"                                                  \
    "     ORDER BY d.digest_id FOR NO KEY UPDATE OF d)"

/* clang-format off */
static const char store_sql[] =
    IN_ORDER("$1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],"
             " $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::text[]",
             "digest_id, token, version, origin, language, result, model, request,"
             " prompt_tokens, completion_tokens, error")
    " UPDATE study.digest d"
    "   SET state = 'made', claim_token = NULL, lease_until = NULL, made_at = now(),"
    "       parts = NULL, origin = w.origin, language = w.language, result = w.result::jsonb,"
    "       model = NULLIF(w.model, ''), error = NULLIF(left(w.error, 500), ''),"
    "       prompt_hash = CASE WHEN w.request IS NULL THEN d.prompt_hash"
    "                          ELSE sha256(convert_to(w.request, 'UTF8')) END,"
    "       prompt_tokens = COALESCE(d.prompt_tokens, 0) + w.prompt_tokens,"
    "       completion_tokens = COALESCE(d.completion_tokens, 0) + w.completion_tokens"
    "  FROM w WHERE d.digest_id = w.digest_id AND d.claim_token = w.token::uuid"
    "   AND d.source_version = w.version"
    " RETURNING d.digest_id";
/* clang-format on */

/* Still ours, and locked, but made from what has changed since: once more, from what is left. */
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
    bool ok, all;

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
    all = ok && (size_t)pg_rows(res) == count;
    pg_result_destroy(&res);
    pg_args_reset(args);
    pg_arg_array(args, a[0]);
    pg_arg_array(args, a[1]);
    pg_arg_array(args, a[8]);
    pg_arg_array(args, a[9]);
    ok = ok && (all || pg_exec(pg, changed_sql, args, NULL, err));
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
        rows[n++] =
            (struct outbox_new){identity,     "digest",          w->team_id,   w->user_id,   NULL,
                                w->digest_id, w->source_version, made[i].body, w->scheduled, NULL};
    }
    ok = outbox_add(pg, rows, n, err);
    for (size_t i = 0; i < n; i++) {
        free((char *)rows[i].identity);
    }
    free(rows);
    return ok;
}

static bool lock_lanes(struct pg *pg, const struct digest_made *made, size_t count,
                       struct error *err)
{
    struct pg_array *teams = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *users = pg_array_create(PG_TEXT_ARRAY);
    bool ok;

    for (size_t i = 0; i < count; i++) {
        pg_array_str(teams, str_of(made[i].work->team_id));
        pg_array_str(users, str_of(made[i].work->user_id));
    }
    ok = outbox_lock_lanes(pg, teams, users, err);
    pg_array_destroy(&teams);
    pg_array_destroy(&users);
    return ok;
}

bool digests_store(struct pg *pg, struct digest_made *made, size_t count,
                   const struct budget_limits *limits, const struct budget_use *use,
                   struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        made[i].stored = false;
    }
    if (!pg_begin(pg, err) || (use != NULL && !budget_settle(pg, limits, use, err)) ||
        !lock_lanes(pg, made, count, err) || !store_rows(pg, made, count, err) ||
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

    pg_arg_int(args, work->digest_id);
    pg_arg_cstr(args, work->claim_token);
    pg_arg_int(args, next_ms);
    pg_arg_int(args, uncount ? 1 : 0);
    pg_arg_int(args, prompt_tokens);
    pg_arg_int(args, completion_tokens);
    pg_arg_cstr(args, error);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool digest_cancel(struct pg *pg, const struct digest_work *work, const char *why,
                   struct error *err)
{
    static const char sql[] =
        "UPDATE study.digest SET state = 'cancelled', claim_token = NULL, lease_until = NULL,"
        "       result = NULL, error = $3"
        " WHERE digest_id = $1 AND claim_token = $2::uuid";
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, work->digest_id);
    pg_arg_cstr(args, work->claim_token);
    pg_arg_cstr(args, why);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool digest_keep_part(struct pg *pg, const struct digest_work *work, struct str request,
                      struct str result, bool *kept, struct error *err)
{
    static const char sql[] =
        "UPDATE study.digest SET parts ="
        "       CASE WHEN jsonb_typeof(parts) = 'object' THEN parts ELSE '{}' END"
        "       || jsonb_build_object("
        "           encode(sha256(convert_to($3, 'UTF8')), 'hex'), $4::jsonb)"
        " WHERE digest_id = $1 AND claim_token = $2::uuid AND source_version = $5";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_int(args, work->digest_id);
    pg_arg_cstr(args, work->claim_token);
    pg_arg_str(args, request);
    pg_arg_str(args, result);
    pg_arg_int(args, work->source_version);
    ok = pg_exec(pg, sql, args, &res, err);
    *kept = ok && pg_affected(res) > 0;
    pg_result_destroy(&res);
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
