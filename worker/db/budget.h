/*
 * The month's budget: tokens and money. What a call may use at most is reserved in its digest's row
 * just before it is made, and what it did use is added to the month's when its answer is stored; so
 * however many processes there are, they never spend more than the limit together. A reservation
 * ends with its claim: that of a process that died counts until its lease has ended.
 *
 * Money is reckoned in thousand millionths of the currency that the prices are given in: a price of
 * 0.4 for a million tokens is 400 of them a token.
 */
#ifndef STUDY_DB_BUDGET_H
#define STUDY_DB_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "db/digests.h"
#include "io/pg.h"

struct budget_limits {
    int64_t tokens, cost;                   /* of a month; 0: none */
    int64_t prompt_price, completion_price; /* of a token */
};

/* [openai] monthly_tokens, monthly_cost, prompt_price, completion_price. A limit of money without
 * prices is ERROR_CONFIG. */
bool budget_limits_read(struct budget_limits *limits, const struct config *config,
                        struct error *err);
bool budget_limited(const struct budget_limits *limits);

struct budget_use {
    int64_t calls, prompt_tokens, completion_tokens;
};
/* Adds to the month's; no-op without calls. Before anything else in its transaction: the month's
 * row is locked before any digest's. */
bool budget_settle(struct pg *pg, const struct budget_limits *limits, const struct budget_use *use,
                   struct error *err);

enum budget_verdict {
    BUDGET_GRANTED,
    BUDGET_WAIT, /* it fits if what is under way uses less than was reserved */
    BUDGET_GONE, /* it does not fit: not this month */
};
struct budget_want {
    const struct digest_work *work;
    int64_t prompt_tokens, completion_tokens; /* at most */
    enum budget_verdict verdict;              /* out */
};
/* In order, in one transaction of its own; what their digests used before is settled. *begun: with
 * this the budget is gone; before it was not.
 */
bool budget_reserve(struct pg *pg, const struct budget_limits *limits, struct budget_want *wants,
                    size_t count, bool *begun, struct error *err);

#endif
