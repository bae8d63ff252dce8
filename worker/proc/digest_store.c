/*
 * Storing: what one turn has finished goes in one transaction, which compares claim token and
 * source_version; an answer that came too late, or was made from a message deleted meanwhile,
 * changes nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "proc/digest_role.h"

#define STORE_FAILED_MS (600 * (int64_t)1000)
#define RELEASE_MS      3000 /* a statement's time at the end */

static void drop_gone(struct digest_role *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->count; i++) {
        if (d->calls[i]->state == CALL_GONE) {
            http_cancel(d->http, d->calls[i]);
            call_destroy(&d->calls[i]);
        } else {
            d->calls[kept++] = d->calls[i];
        }
    }
    d->count = kept;
}

static void fill_made(struct digest_made *made, const struct digest_role *d,
                      const struct call *call)
{
    bool by_model = strcmp(call->origin, "model") == 0;

    *made = (struct digest_made){
        .work = call->work,
        .origin = call->origin,
        .model = by_model ? d->model.settings.model : "",
        .result = text_str(&call->result),
        .body = text_str(&call->body),
        /* the first request's, by which a stored answer is known again */
        .request = by_model && !call->repairing && call->parts_count == 1 ? text_str(&call->request)
                                                                          : STR_NULL,
        .prompt_tokens = call->prompt_tokens,
        .completion_tokens = call->completion_tokens,
        .error = call->reason,
    };
}

/* What PostgreSQL refuses with the others is tried alone, and what it refuses alone rests; past its
 * deadline, when there is nothing left to try, it is given up. */
static bool store_one_by_one(struct digest_role *d, struct digest_made *made, struct call **calls,
                             size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (digests_store(d->db.pg, &made[i], 1, NULL, NULL, err)) {
            calls[i]->state = CALL_GONE;
        } else if (pg_verdict(err) != PG_BAD_INPUT) {
            return false;
        } else {
            log_error("digest %" PRId64 " cannot be stored: %s", calls[i]->work->digest_id,
                      err->text);
            calls[i]->state = calls[i]->work->overdue ? CALL_CANCEL : CALL_BACK;
            calls[i]->wait_ms = STORE_FAILED_MS;
            snprintf(calls[i]->reason, sizeof(calls[i]->reason), "it cannot be stored");
        }
    }
    return true;
}

bool digest_settle(struct digest_role *d, struct error *err)
{
    bool ok = budget_settle(d->db.pg, &d->limits, &d->use, err);

    if (ok) {
        d->use = (struct budget_use){0};
    }
    return ok;
}

static bool store_made(struct digest_role *d, struct error *err)
{
    size_t count = digest_count_state(d, CALL_MADE);
    struct digest_made *made = calloc(count + 1, sizeof(*made));
    struct call **calls = calloc(count + 1, sizeof(struct call *));
    size_t n = 0;
    bool ok = true;

    if (made == NULL || calls == NULL) {
        abort();
    }
    for (size_t i = 0; i < d->count; i++) {
        if (d->calls[i]->state == CALL_MADE) {
            calls[n] = d->calls[i];
            fill_made(&made[n++], d, d->calls[i]);
        }
    }
    if (n == 0) {
        ok = digest_settle(d, err);
    } else {
        ok = digests_store(d->db.pg, made, n, &d->limits, &d->use, err);
        if (ok) {
            d->use = (struct budget_use){0};
            for (size_t i = 0; i < n; i++) {
                calls[i]->state = CALL_GONE;
            }
        } else if (pg_verdict(err) == PG_BAD_INPUT) {
            ok = digest_settle(d, err) && store_one_by_one(d, made, calls, n, err);
        }
    }
    free(calls);
    free(made);
    return ok;
}

static bool give_back(struct digest_role *d, struct call *call, struct error *err)
{
    return digest_put_back(d->db.pg, call->work, call->wait_ms, call->unasked, call->prompt_tokens,
                           call->completion_tokens, call->reason, err);
}

/* A part's answer is safe before the next is asked for; what has changed meanwhile begins anew, and
 * an answer that PostgreSQL will never take is done without, for the whole would meet the same. */
static bool keep_part(struct digest_role *d, struct call *call, struct error *err)
{
    bool kept;

    if (!digest_keep_part(d->db.pg, call->work, text_str(&call->request), text_str(&call->result),
                          &kept, err)) {
        if (pg_verdict(err) != PG_BAD_INPUT) {
            return false;
        }
        log_error("digest %" PRId64 ": the answer for a part cannot be kept: %s",
                  call->work->digest_id, err->text);
        call_make_factual(call, "the answer for a part cannot be kept");
        return true;
    }
    if (kept) {
        call_next_part(&d->model, call);
    } else {
        call->state = CALL_BACK;
        call->wait_ms = 0;
        call->unasked = false;
    }
    return true;
}

static bool keep_parts(struct digest_role *d, struct error *err)
{
    bool ok = true;

    for (size_t i = 0; i < d->count && ok; i++) {
        ok = d->calls[i]->state != CALL_PART || keep_part(d, d->calls[i], err);
    }
    return ok;
}

/* Whatever the last turn has finished; on failure it is kept and tried again. */
void digest_store(struct digest_role *d)
{
    struct error err = {0};
    bool ok = keep_parts(d, &err) && store_made(d, &err);

    for (size_t i = 0; i < d->count && ok; i++) {
        struct call *call = d->calls[i];

        if (call->state == CALL_BACK) {
            ok = give_back(d, call, &err);
        } else if (call->state == CALL_CANCEL) {
            ok = digest_cancel(d->db.pg, call->work, call->reason, &err);
        } else {
            continue;
        }
        if (ok) {
            call->state = CALL_GONE;
        }
    }
    if (!ok) {
        db_turn_failed(&d->db, "storing digests", &err);
    }
    drop_gone(d);
}

void digest_renew(struct digest_role *d)
{
    struct digest_work **works;
    struct error err = {0};
    bool *kept;

    d->renew_at_ms = clock_boot_ms() + d->terms.lease_ms / 3;
    if (d->count == 0) {
        return;
    }
    works = calloc(d->count, sizeof(*works));
    kept = calloc(d->count, sizeof(*kept));
    if (works == NULL || kept == NULL) {
        abort();
    }
    for (size_t i = 0; i < d->count; i++) {
        works[i] = d->calls[i]->work;
    }
    if (digests_renew(d->db.pg, works, d->count, d->terms.lease_ms, kept, &err)) {
        for (size_t i = 0; i < d->count; i++) {
            if (!kept[i]) {
                log_warn("digest %" PRId64 " is no longer ours", works[i]->digest_id);
                d->calls[i]->state = CALL_GONE;
            }
        }
        drop_gone(d);
    } else {
        db_turn_failed(&d->db, "renewing leases", &err);
    }
    free(kept);
    free(works);
}

void digest_release_all(struct digest_role *d)
{
    struct error err = {0};

    pg_set_interrupt(d->db.pg, -1);
    pg_set_deadline(d->db.pg, RELEASE_MS);
    d->db.not_before_ms = 0; /* the stop itself may have ended a statement */
    if (d->count > 0 && db_turn_begin(&d->db)) {
        digest_store(d);
    }
    for (size_t i = 0; i < d->count; i++) {
        struct call *call = d->calls[i];

        http_cancel(d->http, call);
        call->wait_ms = 0;
        call->unasked = true;
        if (pg_is_connected(d->db.pg)) {
            give_back(d, call, &err);
        }
        call->state = CALL_GONE;
    }
    drop_gone(d);
}
