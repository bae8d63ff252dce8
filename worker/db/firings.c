/* The life of a firing's row up to the claim; collecting is in firings_collect.c. */
#include "db/firings.h"

#include <stdio.h>
#include <string.h>

static bool run(struct pg *pg, const char *sql, struct pg_args **args, struct pg_result **res,
                struct error *err)
{
    bool ok = pg_exec(pg, sql, *args, res, err);

    pg_args_destroy(args);
    return ok;
}

bool db_firing_trigger(struct pg *pg, struct str schedule, struct str identity,
                       int64_t received_at_us, bool *known, struct error *err)
{
    /* A host whose clock is ahead must not have us wait for it. */
    static const char sql[] =
        "WITH wanted AS ("
        "  SELECT schedule_id, time_zone FROM study.schedule WHERE name = $1),"
        " added AS ("
        "  INSERT INTO study.firing (schedule_id, time_zone, fire_at, trigger_key)"
        "  SELECT schedule_id, time_zone, LEAST($3, now() + interval '1 minute'), $2 FROM wanted"
        "  ON CONFLICT (schedule_id, trigger_key) WHERE trigger_key IS NOT NULL DO NOTHING"
        "  RETURNING 1)"
        " SELECT EXISTS (SELECT FROM wanted),"
        "  (SELECT count(pg_notify('study_firing', '')) FROM added)";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_str(args, schedule);
    pg_arg_str(args, identity);
    pg_arg_time(args, received_at_us);
    if (!run(pg, sql, &args, &res, err)) {
        return false;
    }
    *known = pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    return true;
}

bool db_firings_insert(struct pg *pg, int64_t schedule_id, const struct firing_new *firings,
                       size_t count, int64_t timely_at, struct firing_added *added,
                       struct error *err)
{
    static const char sql[] =
        "WITH added AS ("
        "  INSERT INTO study.firing (schedule_id, time_zone, fire_at, digest_time, state, done_at)"
        "  SELECT $1, t.zone, t.at, NULLIF(t.digest_time, '')::time,"
        "   CASE WHEN t.skipped THEN 'skipped' ELSE 'waiting' END, CASE WHEN t.skipped THEN now() "
        "END"
        "  FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::boolean[])"
        "   AS t (zone, at, digest_time, skipped)"
        "  ON CONFLICT (schedule_id, time_zone, fire_at, digest_time) WHERE trigger_key IS NULL"
        "   DO NOTHING"
        "  RETURNING state, fire_at)"
        " SELECT count(*), count(*) FILTER (WHERE state = 'skipped'),"
        "  count(*) FILTER (WHERE state <> 'skipped' AND fire_at <= $6) FROM added";
    struct pg_args *args = pg_args_create();
    struct pg_array *zones = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *at = pg_array_create(PG_TIMESTAMPTZ_ARRAY);
    struct pg_array *times = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *skipped = pg_array_create(PG_BOOL_ARRAY);
    struct pg_result *res = NULL;

    for (size_t i = 0; i < count; i++) {
        pg_array_str(zones, str_of(firings[i].time_zone));
        pg_array_time(at, firings[i].at * 1000000);
        pg_array_str(times, str_of(firings[i].digest_time));
        pg_array_bool(skipped, firings[i].skipped);
    }
    pg_arg_int(args, schedule_id);
    pg_arg_array(args, zones);
    pg_arg_array(args, at);
    pg_arg_array(args, times);
    pg_arg_array(args, skipped);
    pg_arg_time(args, timely_at * 1000000);
    bool ok = run(pg, sql, &args, &res, err);
    if (ok) {
        added->all = pg_int(res, 0, 0);
        added->skipped = pg_int(res, 0, 1);
        added->late = pg_int(res, 0, 2);
    }
    pg_result_destroy(&res);
    pg_array_destroy(&zones);
    pg_array_destroy(&at);
    pg_array_destroy(&times);
    pg_array_destroy(&skipped);
    return ok;
}

static void copy(char *out, size_t size, struct str s)
{
    snprintf(out, size, "%.*s", STR_ARG(s));
}

bool db_firings_claim(struct pg *pg, int64_t lease_ms, size_t max, struct firing_claim *out,
                      size_t *count, struct error *err)
{
    static const char sql[] =
        "WITH due AS MATERIALIZED ("
        "  SELECT firing_id FROM study.firing"
        "  WHERE state IN ('waiting', 'collecting') AND fire_at <= now()"
        "   AND (lease_until IS NULL OR lease_until <= now())"
        "  ORDER BY fire_at, firing_id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)"
        " UPDATE study.firing f SET claim_token = gen_random_uuid(),"
        "  lease_until = now() + $1 * interval '1 millisecond'"
        " FROM due, study.schedule s"
        " WHERE f.firing_id = due.firing_id AND s.schedule_id = f.schedule_id"
        " RETURNING f.firing_id, f.schedule_id, f.claim_token::text, s.name,"
        "  (extract(epoch FROM now() - GREATEST(f.fire_at, f.created_at)) * 1000)::bigint,"
        "  f.state = 'collecting', f.trigger_key IS NOT NULL";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    *count = 0;
    pg_arg_int(args, lease_ms);
    pg_arg_int(args, (int64_t)max);
    if (!run(pg, sql, &args, &res, err)) {
        return false;
    }
    for (int row = 0; row < pg_rows(res) && *count < max; row++) {
        struct firing_claim *claim = &out[(*count)++];

        claim->firing_id = pg_int(res, row, 0);
        claim->schedule_id = pg_int(res, row, 1);
        copy(claim->token, sizeof(claim->token), pg_str(res, row, 2));
        copy(claim->schedule, sizeof(claim->schedule), pg_str(res, row, 3));
        claim->waited_ms = pg_int(res, row, 4);
        claim->collecting = pg_bool(res, row, 5);
        claim->triggered = pg_bool(res, row, 6);
    }
    pg_result_destroy(&res);
    return true;
}

bool db_firings_renew(struct pg *pg, int64_t lease_ms, const struct firing_claim *claims,
                      size_t count, bool *held, struct error *err)
{
    static const char sql[] =
        "UPDATE study.firing f SET lease_until = now() + $1 * interval '1 millisecond'"
        " FROM unnest($2::bigint[], $3::text[]) AS c (firing_id, token)"
        " WHERE f.firing_id = c.firing_id AND f.claim_token = c.token::uuid"
        " RETURNING f.firing_id";
    struct pg_args *args = pg_args_create();
    struct pg_array *ids = pg_array_create(PG_INT8_ARRAY);
    struct pg_array *tokens = pg_array_create(PG_TEXT_ARRAY);
    struct pg_result *res = NULL;

    for (size_t i = 0; i < count; i++) {
        pg_array_int(ids, claims[i].firing_id);
        pg_array_str(tokens, str_of(claims[i].token));
        held[i] = false;
    }
    pg_arg_int(args, lease_ms);
    pg_arg_array(args, ids);
    pg_arg_array(args, tokens);
    bool ok = run(pg, sql, &args, &res, err);
    for (int row = 0; ok && row < pg_rows(res); row++) {
        for (size_t i = 0; i < count; i++) {
            held[i] = held[i] || claims[i].firing_id == pg_int(res, row, 0);
        }
    }
    pg_result_destroy(&res);
    pg_array_destroy(&ids);
    pg_array_destroy(&tokens);
    return ok;
}

bool db_firing_release(struct pg *pg, const struct firing_claim *claim, struct error *err)
{
    static const char sql[] = "UPDATE study.firing SET claim_token = NULL, lease_until = NULL"
                              " WHERE firing_id = $1 AND claim_token = $2::text::uuid";
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, claim->firing_id);
    pg_arg_cstr(args, claim->token);
    return run(pg, sql, &args, NULL, err);
}

bool db_firings_next_ms(struct pg *pg, int64_t *ms, struct error *err)
{
    static const char sql[] =
        "SELECT (extract(epoch FROM LEAST("
        "  (SELECT min(GREATEST(fire_at, lease_until)) FROM study.firing"
        "   WHERE state IN ('waiting', 'collecting')),"
        "  (SELECT min(next_at) FROM study.schedule WHERE NOT paused AND next_at < 'infinity'))"
        " - now()) * 1000)::bigint";
    struct pg_result *res = NULL;

    if (!pg_exec(pg, sql, NULL, &res, err)) {
        return false;
    }
    *ms = pg_is_null(res, 0, 0) ? INT64_MAX : pg_int(res, 0, 0);
    pg_result_destroy(&res);
    return true;
}
