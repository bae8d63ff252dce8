/* One row, locked for the few statements that look, reckon and reserve: that is what makes two
 * processes take turns. Without a limit nothing is reserved, and nobody waits. */
#include "db/budget.h"

#include <stdlib.h>

#define MONTH "date_trunc('month', now() AT TIME ZONE 'UTC')::date"

struct spent {
    int64_t tokens, cost;
};

/* A setting that is empty is none. */
static int64_t or_none(int64_t value)
{
    return value > 0 ? value : 0;
}

bool budget_limits_read(struct budget_limits *limits, const struct config *config,
                        struct error *err)
{
    *limits = (struct budget_limits){
        .tokens = config_int(config, "openai", "monthly_tokens"),
        .cost = or_none(config_int(config, "openai", "monthly_cost")) * 1000000,
        .prompt_price = or_none(config_int(config, "openai", "prompt_price")),
        .completion_price = or_none(config_int(config, "openai", "completion_price")),
    };
    if (limits->cost > 0 && (limits->prompt_price == 0 || limits->completion_price == 0)) {
        return error_set(err, ERROR_CONFIG,
                         "[openai] monthly_cost wants prompt_price and completion_price");
    }
    return true;
}

bool budget_limited(const struct budget_limits *limits)
{
    return limits->tokens > 0 || limits->cost > 0;
}

static int64_t cost_of(const struct budget_limits *limits, int64_t prompt, int64_t completion)
{
    return prompt * limits->prompt_price + completion * limits->completion_price;
}

bool budget_settle(struct pg *pg, const struct budget_limits *limits, const struct budget_use *use,
                   struct error *err)
{
    static const char sql[] =
        "INSERT INTO study.budget AS b (month, calls, prompt_tokens, completion_tokens, cost)"
        " VALUES (" MONTH ", $1, $2, $3, $4)"
        " ON CONFLICT (month) DO UPDATE SET calls = b.calls + EXCLUDED.calls,"
        "    prompt_tokens = b.prompt_tokens + EXCLUDED.prompt_tokens,"
        "    completion_tokens = b.completion_tokens + EXCLUDED.completion_tokens,"
        "    cost = b.cost + EXCLUDED.cost";
    struct pg_args *args;

    if (use->calls == 0) {
        return true;
    }
    args = pg_args_create();
    pg_arg_int(args, use->calls);
    pg_arg_int(args, use->prompt_tokens);
    pg_arg_int(args, use->completion_tokens);
    pg_arg_int(args, cost_of(limits, use->prompt_tokens, use->completion_tokens));
    return pg_exec_take(pg, sql, args, NULL, err);
}

/* Locks the month's row. *gone: these very limits were reached before. */
static bool lock_month(struct pg *pg, const struct budget_limits *limits, struct spent *spent,
                       bool *gone, struct error *err)
{
    static const char sql[] = "INSERT INTO study.budget AS b (month) VALUES (" MONTH ")"
                              " ON CONFLICT (month) DO UPDATE SET month = b.month"
                              " RETURNING prompt_tokens + completion_tokens, cost,"
                              "    gone_at IS NOT NULL AND gone_tokens = $1 AND gone_cost = $2";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_int(args, limits->tokens);
    pg_arg_int(args, limits->cost);
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok) {
        *spent = (struct spent){pg_int(res, 0, 0), pg_int(res, 0, 1)};
        *gone = pg_bool(res, 0, 2);
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

/* But for what the same digests reserved before: that call is over, and settled. */
static bool read_reserved(struct pg *pg, const struct budget_want *wants, size_t count,
                          struct spent *reserved, struct error *err)
{
    static const char sql[] = "SELECT COALESCE(sum(reserved_tokens), 0)::bigint,"
                              "       COALESCE(sum(reserved_cost), 0)::bigint FROM study.digest"
                              " WHERE reserved_tokens IS NOT NULL AND lease_until > now()"
                              "   AND digest_id <> ALL ($1::bigint[])";
    struct pg_array *ids = pg_array_create(PG_INT8_ARRAY);
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    for (size_t i = 0; i < count; i++) {
        pg_array_int(ids, wants[i].work->digest_id);
    }
    pg_arg_array(args, ids);
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok) {
        *reserved = (struct spent){pg_int(res, 0, 0), pg_int(res, 0, 1)};
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    pg_array_destroy(&ids);
    return ok;
}

static bool fits(const struct budget_limits *limits, struct spent spent, int64_t tokens,
                 int64_t cost)
{
    return (limits->tokens == 0 || spent.tokens + tokens <= limits->tokens) &&
           (limits->cost == 0 || spent.cost + cost <= limits->cost);
}

/* Once one call does not fit, no other is made: members are not told apart by the length of their
 * notes, and the alert does not come and go. */
static void judge(const struct budget_limits *limits, struct spent spent, struct spent reserved,
                  struct budget_want *wants, size_t count, bool *gone)
{
    for (size_t i = 0; i < count; i++) {
        int64_t tokens = wants[i].prompt_tokens + wants[i].completion_tokens;
        int64_t cost = cost_of(limits, wants[i].prompt_tokens, wants[i].completion_tokens);
        struct spent both = {spent.tokens + reserved.tokens, spent.cost + reserved.cost};

        *gone = *gone || !fits(limits, spent, tokens, cost);
        if (*gone) {
            wants[i].verdict = BUDGET_GONE;
        } else if (!fits(limits, both, tokens, cost)) {
            wants[i].verdict = BUDGET_WAIT;
        } else {
            wants[i].verdict = BUDGET_GRANTED;
            reserved.tokens += tokens;
            reserved.cost += cost;
        }
    }
}

static bool write_reserved(struct pg *pg, const struct budget_limits *limits,
                           const struct budget_want *wants, size_t count, struct error *err)
{
    static const char sql[] =
        "UPDATE study.digest d SET reserved_tokens = w.tokens, reserved_cost = w.cost"
        "  FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])"
        "       AS w (digest_id, token, tokens, cost)"
        " WHERE d.digest_id = w.digest_id AND d.claim_token = w.token::uuid";
    struct pg_array *a[4];
    struct pg_args *args = pg_args_create();
    bool ok = true;

    for (size_t k = 0; k < 4; k++) {
        a[k] = pg_array_create(k == 1 ? PG_TEXT_ARRAY : PG_INT8_ARRAY);
    }
    for (size_t i = 0; i < count; i++) {
        if (wants[i].verdict == BUDGET_GRANTED) {
            pg_array_int(a[0], wants[i].work->digest_id);
            pg_array_str(a[1], str_of(wants[i].work->claim_token));
            pg_array_int(a[2], wants[i].prompt_tokens + wants[i].completion_tokens);
            pg_array_int(a[3], cost_of(limits, wants[i].prompt_tokens, wants[i].completion_tokens));
        }
    }
    for (size_t k = 0; k < 4; k++) {
        pg_arg_array(args, a[k]);
    }
    if (pg_array_size(a[0]) > 0) {
        ok = pg_exec(pg, sql, args, NULL, err);
    }
    pg_args_destroy(&args);
    for (size_t k = 0; k < 4; k++) {
        pg_array_destroy(&a[k]);
    }
    return ok;
}

static bool write_gone(struct pg *pg, const struct budget_limits *limits, struct error *err)
{
    struct pg_args *args = pg_args_create();
    bool ok;

    pg_arg_int(args, limits->tokens);
    pg_arg_int(args, limits->cost);
    ok = pg_exec(pg,
                 "UPDATE study.budget SET gone_at = now(), gone_tokens = $1, gone_cost = $2"
                 " WHERE month = " MONTH,
                 args, NULL, err);
    pg_args_destroy(&args);
    return ok;
}

/* Limits were raised, or lowered: what was said of the others no longer holds. */
static bool clear_gone(struct pg *pg, struct error *err)
{
    return pg_exec(pg,
                   "UPDATE study.budget SET gone_at = NULL WHERE month = " MONTH
                   " AND gone_at IS NOT NULL",
                   NULL, NULL, err);
}

bool budget_reserve(struct pg *pg, const struct budget_limits *limits, struct budget_want *wants,
                    size_t count, bool *begun, struct error *err)
{
    struct spent spent, reserved;
    bool before, gone;
    bool ok;

    *begun = false;
    ok = pg_begin(pg, err) && lock_month(pg, limits, &spent, &before, err) &&
         read_reserved(pg, wants, count, &reserved, err);
    if (ok) {
        gone = before;
        judge(limits, spent, reserved, wants, count, &gone);
        ok = write_reserved(pg, limits, wants, count, err) &&
             (gone == before || write_gone(pg, limits, err)) && (gone || clear_gone(pg, err)) &&
             pg_commit(pg, err);
        *begun = ok && gone && !before;
    }
    if (!ok) {
        pg_rollback(pg);
    }
    return ok;
}
