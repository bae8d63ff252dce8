/* Statements that only read, each answered from an index or from rows of one day. */
#include "db/overview.h"

#include <stdio.h>
#include <string.h>

const char *const overview_digest_states[] = {"pending", "running", "made", "cancelled"};
const char *const overview_outbox_states[] = {"pending", "sending", "doubtful", "sent",
                                              "logged",  "parked",  "failed",   "cancelled"};
const char *const overview_pausable[] = {"store", "digest", "deliver"};

/* Into counts, by the word in column 0. */
static void spread(const struct pg_result *res, const char *const *words, size_t size,
                   int64_t *counts)
{
    for (int row = 0; row < pg_rows(res); row++) {
        for (size_t i = 0; i < size; i++) {
            if (str_is(pg_str(res, row, 0), words[i])) {
                counts[i] += pg_int(res, row, 1);
            }
        }
    }
}

static bool read_states(struct pg *pg, struct overview *o, struct error *err)
{
    static const char digests[] =
        "SELECT state, count(*) FROM study.digest WHERE state IN ('pending', 'running') GROUP BY 1"
        " UNION ALL SELECT state, count(*) FROM study.digest"
        "  WHERE state IN ('made', 'cancelled') AND created_at > now() - interval '1 day'"
        "  GROUP BY 1";
    static const char outbox[] =
        "SELECT state, count(*) FROM study.outbox"
        "  WHERE state IN ('pending', 'sending', 'doubtful') GROUP BY 1"
        " UNION ALL SELECT state, count(*) FROM study.outbox WHERE state = 'parked' GROUP BY 1"
        " UNION ALL SELECT state, count(*) FROM study.outbox"
        "  WHERE state IN ('sent', 'logged', 'failed', 'cancelled')"
        "   AND created_at > now() - interval '1 day' GROUP BY 1";
    struct pg_result *res = NULL;

    if (!pg_exec(pg, digests, NULL, &res, err)) {
        return false;
    }
    spread(res, overview_digest_states, OVERVIEW_DIGEST_STATES, o->digests);
    pg_result_destroy(&res);
    if (!pg_exec(pg, outbox, NULL, &res, err)) {
        return false;
    }
    spread(res, overview_outbox_states, OVERVIEW_OUTBOX_STATES, o->outbox);
    pg_result_destroy(&res);
    return true;
}

static bool read_ages(struct pg *pg, struct overview *o, struct error *err)
{
    static const char sql[] =
        "SELECT"
        " (SELECT count(*) FROM (SELECT FROM study.dead_event LIMIT $1) d),"
        " (SELECT COALESCE(extract(epoch FROM now() - min(created_at)), 0) FROM study.outbox"
        "   WHERE state IN ('pending', 'sending', 'doubtful') AND NOT hold)::double precision,"
        " GREATEST(0, extract(epoch FROM now() - LEAST("
        "   (SELECT min(fire_at) FROM study.firing WHERE state IN ('waiting', 'collecting')),"
        "   (SELECT min(next_at) FROM study.schedule WHERE NOT paused AND "
        "isfinite(next_at)))))::double precision";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_int(args, OVERVIEW_DEAD_MAX);
    bool ok = pg_exec(pg, sql, args, &res, err);
    pg_args_destroy(&args);
    if (ok) {
        o->dead_events = pg_int(res, 0, 0);
        o->outbox_oldest_s = pg_double(res, 0, 1);
        o->schedule_lag_s = pg_double(res, 0, 2);
    }
    pg_result_destroy(&res);
    return ok;
}

static bool read_members(struct pg *pg, struct overview *o, struct error *err)
{
    static const char sql[] = "SELECT count(*) FILTER (WHERE answer = 'helped'), count(*) FILTER "
                              "(WHERE answer = 'wrong'),"
                              " (SELECT count(*) FROM study.export_request WHERE done_at IS NULL)"
                              " FROM study.feedback WHERE answered_at > now() - interval '1 day'";
    struct pg_result *res = NULL;

    if (!pg_exec(pg, sql, NULL, &res, err)) {
        return false;
    }
    o->helped = pg_int(res, 0, 0);
    o->wrong = pg_int(res, 0, 1);
    o->export_requests = pg_int(res, 0, 2);
    pg_result_destroy(&res);
    return true;
}

static bool read_pauses(struct pg *pg, struct overview *o, struct error *err)
{
    int64_t counts[OVERVIEW_PAUSABLE] = {0};
    struct pg_result *res = NULL;

    if (!pg_exec(pg,
                 "SELECT role, count(*) FROM study.pause WHERE until IS NULL OR until > now()"
                 " GROUP BY 1",
                 NULL, &res, err)) {
        return false;
    }
    spread(res, overview_pausable, OVERVIEW_PAUSABLE, counts);
    for (size_t i = 0; i < OVERVIEW_PAUSABLE; i++) {
        o->paused[i] = counts[i] > 0;
    }
    pg_result_destroy(&res);
    return true;
}

static bool read_budget(struct pg *pg, struct overview *o, struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg,
                      "SELECT prompt_tokens + completion_tokens, cost / 1e9::double precision,"
                      "       gone_at IS NOT NULL FROM study.budget"
                      " WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date",
                      NULL, &res, err);

    if (ok && pg_rows(res) > 0) {
        o->budget_tokens = pg_int(res, 0, 0);
        o->budget_cost = pg_double(res, 0, 1);
        o->budget_gone = pg_bool(res, 0, 2);
    }
    pg_result_destroy(&res);
    return ok;
}

static bool read_schedules(struct pg *pg, struct overview *o, struct error *err)
{
    static const char sql[] =
        "SELECT s.name, s.paused, CASE WHEN isfinite(s.next_at) THEN"
        "   floor(extract(epoch FROM s.next_at))::bigint END,"
        "  (SELECT floor(extract(epoch FROM max(f.fire_at)))::bigint FROM study.firing f"
        "    WHERE f.schedule_id = s.schedule_id AND f.state <> 'skipped')"
        " FROM study.schedule s ORDER BY s.schedule_id LIMIT $1";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_int(args, OVERVIEW_SCHEDULES_MAX);
    bool ok = pg_exec(pg, sql, args, &res, err);
    pg_args_destroy(&args);
    for (int row = 0; ok && row < pg_rows(res) && row < OVERVIEW_SCHEDULES_MAX; row++) {
        struct overview_schedule *s = &o->schedules[o->schedule_count++];

        snprintf(s->name, sizeof(s->name), "%.*s", STR_ARG(pg_str(res, row, 0)));
        s->paused = pg_bool(res, row, 1);
        s->next_at = pg_int(res, row, 2);
        s->last_at = pg_int(res, row, 3);
    }
    pg_result_destroy(&res);
    return ok;
}

bool overview_read(struct pg *pg, struct overview *overview, struct error *err)
{
    memset(overview, 0, sizeof(*overview));
    return read_states(pg, overview, err) && read_ages(pg, overview, err) &&
           read_members(pg, overview, err) && read_pauses(pg, overview, err) &&
           read_budget(pg, overview, err) && read_schedules(pg, overview, err);
}
