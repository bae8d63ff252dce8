/*
 * The digest role: claimed rows become calls to the model, answers become replies in the outbox.
 *
 *   claim (leased, with its messages) -> ask -> check -> store digest and reply in one transaction
 *
 * Many calls are under way at once in one libcurl multi handle; http_wait, with PostgreSQL's socket
 * and the signals as extra descriptors, is the only wait. What one turn of the loop has finished is
 * stored in one transaction, which compares claim token and source_version: an answer that came too
 * late, or was made from a message deleted meanwhile, changes nothing.
 *
 * Nothing of a member goes to the model, and no digest to the member, before the notice has reached
 * them: the claim leaves such rows alone until deliver has noted it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "db/pauses.h"
#include "io/pg.h"
#include "proc/digest_call.h"
#include "proc/digest_notice.h"
#include "proc/role.h"
#include "proc/signals.h"

#define POLL_MS         1000
#define RESPONSE_MAX    (1024 * 1024)
#define QUOTA_PAUSE_MS  (3600 * (int64_t)1000) /* then one call looks whether somebody paid */
#define HOLD_BASE_MS    500
#define HOLD_MAX_MS     30000
#define HOLD_KEPT_MS    5000 /* a shorter rest is waited out with the rows in hand */
#define STORE_FAILED_MS (600 * (int64_t)1000)

struct digest_role {
    const struct config *config;
    struct pg *pg;
    struct http *http;
    struct prompts *prompts;
    struct model model;
    struct digest_terms terms;

    struct call **calls; /* claimed, in any state */
    size_t count;
    size_t concurrency; /* asked at once */
    size_t pool;        /* claimed at once: some stand ready for the moment an answer comes */

    int64_t claim_at_ms; /* boot clock */
    int64_t renew_at_ms;
    int64_t pause_at_ms;
    int64_t store_at_ms; /* after a failed transaction: not before */
    int64_t hold_until_ms;
    unsigned failures; /* of the model's server, in a row */
    bool listening;
    bool db_down, model_down; /* said so */
};

/* ---- PostgreSQL ---- */

static void db_failed(struct digest_role *d, const char *what, const struct error *err)
{
    bool broken = pg_verdict(err) == PG_BROKEN;

    if (err->kind != ERROR_INTERRUPTED && !d->db_down) {
        log_error("%s: %s", what, err->text);
        d->db_down = true;
    }
    d->store_at_ms = clock_boot_ms() + (broken ? 10000 : 500);
    d->claim_at_ms = d->store_at_ms;
}

static bool db_ready(struct digest_role *d)
{
    struct error err = {0};

    if (!pg_is_connected(d->pg)) {
        d->listening = false;
    }
    if (!pg_connect(d->pg, &err) ||
        (!d->listening && !pg_exec(d->pg, "LISTEN study_digest", NULL, NULL, &err))) {
        db_failed(d, "PostgreSQL", &err);
        return false;
    }
    d->listening = true;
    return true;
}

static void db_worked(struct digest_role *d)
{
    if (d->db_down) {
        log_info("PostgreSQL is back");
        d->db_down = false;
    }
}

/* ---- calls ---- */

static size_t count_state(const struct digest_role *d, enum call_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < d->count; i++) {
        n += d->calls[i]->state == state;
    }
    return n;
}

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

static bool model_open(const struct digest_role *d)
{
    return clock_boot_ms() >= d->hold_until_ms;
}

/* ---- claiming and asking ---- */

static void reuse_stored(struct digest_role *d, struct call *call)
{
    struct error err = {0};
    char hash[65];

    if (call->work->stored_result == NULL || call->state != CALL_READY) {
        return;
    }
    if (digest_request_hash(d->pg, text_str(&call->request), hash, &err) &&
        strcmp(hash, call->work->stored_hash) == 0 && call_reuse(&d->model, call)) {
        log_info("digest %" PRId64 ": the stored answer is used again", call->work->digest_id);
    }
}

static void claim(struct digest_role *d)
{
    struct digest_work **works;
    struct error err = {0};
    size_t count;

    d->claim_at_ms = clock_boot_ms() + POLL_MS;
    d->terms.limit = (int)(d->pool - d->count);
    d->terms.model_open = model_open(d);
    if (!digests_claim(d->pg, &d->terms, &works, &count, &err)) {
        db_failed(d, "claiming digests", &err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct call *call = call_create(&d->model, works[i], d->terms.model_enabled);

        if (call->state == CALL_READY && !call->work->model_allowed) {
            call_make_factual(call, "the member has not agreed to a model"); /* never asked */
        }
        reuse_stored(d, call);
        d->calls[d->count++] = call;
    }
    free(works);
    if (!notices_add(d->pg, d->config, d->prompts, &err) ||
        !digests_rest(d->pg, d->terms.opt_in, &err)) {
        db_failed(d, "adding notices", &err);
        return;
    }
    db_worked(d);
    if (count == (size_t)d->terms.limit && count > 0) {
        d->claim_at_ms = 0; /* there may be more than we had room for */
    }
}

/* Deleted, or withdrawn, while it stood ready: the row goes back, to be claimed as it is now. */
static bool drop_stale(struct digest_role *d, struct call **calls, size_t count)
{
    struct digest_work **works = calloc(count, sizeof(*works));
    bool *fresh = calloc(count, sizeof(*fresh));
    struct error err = {0};
    bool ok;

    if (works == NULL || fresh == NULL) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        works[i] = calls[i]->work;
    }
    ok = digests_fresh(d->pg, works, count, d->terms.opt_in, fresh, &err);
    if (!ok) {
        db_failed(d, "looking once more before asking", &err);
    }
    for (size_t i = 0; i < count && ok; i++) {
        if (!fresh[i]) {
            calls[i]->state = CALL_BACK;
            calls[i]->wait_ms = 0;
            calls[i]->unasked = !calls[i]->repairing;
            d->claim_at_ms = 0;
        }
    }
    free(fresh);
    free(works);
    return ok;
}

/* What is about to be asked is looked at once more, all of it in one statement. Without PostgreSQL
 * nothing is asked: nobody could say that it may be. */
static void ask(struct digest_role *d)
{
    size_t asked = count_state(d, CALL_ASKED);
    struct call **calls = calloc(d->pool, sizeof(struct call *));
    size_t n = 0;

    if (calls == NULL) {
        abort();
    }
    for (size_t i = 0; i < d->count && asked + n < d->concurrency && model_open(d); i++) {
        if (d->calls[i]->state == CALL_READY) {
            calls[n++] = d->calls[i];
        }
    }
    if (n > 0 && clock_boot_ms() >= d->store_at_ms && db_ready(d) && drop_stale(d, calls, n)) {
        for (size_t i = 0; i < n; i++) {
            struct error err = {0};

            if (calls[i]->state == CALL_READY && !call_ask(&d->model, calls[i], &err)) {
                log_error("asking the model: %s", err.text);
            }
        }
    }
    free(calls);
}

static void put_back_ready(struct digest_role *d, int64_t wait_ms, const char *why)
{
    for (size_t i = 0; i < d->count; i++) {
        struct call *call = d->calls[i];

        if (call->state == CALL_READY && !call->repairing) {
            call->state = CALL_BACK;
            call->wait_ms = wait_ms;
            call->unasked = true;
            snprintf(call->reason, sizeof(call->reason), "%s", why);
        }
    }
}

/* What stands ready is not asked after all when the server wants a rest, somebody has paused the
 * role, or the process is to end. */
static void hold_back(struct digest_role *d, enum stop stop)
{
    int64_t now = clock_boot_ms();
    struct error err = {0};
    bool paused = false;

    if (stop != STOP_NOT) {
        put_back_ready(d, 0, "");
    } else if (d->hold_until_ms - now > HOLD_KEPT_MS) {
        put_back_ready(d, d->hold_until_ms - now, "the model is given a rest");
    } else if (now >= d->pause_at_ms && count_state(d, CALL_READY) > 0) {
        d->pause_at_ms = now + POLL_MS;
        if (!db_pause_active(d->pg, "digest", &paused, &err)) {
            db_failed(d, "looking for pauses", &err);
        } else if (paused) {
            put_back_ready(d, 0, "");
        }
    }
}

/* ---- answers ---- */

static void hold(struct digest_role *d, int64_t ms)
{
    int64_t until = clock_boot_ms() + ms;

    d->hold_until_ms = until > d->hold_until_ms ? until : d->hold_until_ms;
}

static void quota_gone(struct digest_role *d)
{
    struct error err = {0};
    bool begun = false;

    hold(d, POLL_MS);
    if (!db_pause_set(d->pg, "digest", "", PAUSE_QUOTA, QUOTA_PAUSE_MS, &begun, &err)) {
        db_failed(d, "pausing", &err);
    } else if (begun) {
        log_error("ALERT the model's quota is used up (insufficient_quota): no calls for an hour; "
                  "digests past their deadline are made without a model");
    }
}

static void take_news(struct digest_role *d, const struct call_news *news)
{
    if (news->quota_gone) {
        quota_gone(d);
    } else if (news->answered) {
        d->failures = 0;
        if (d->model_down) {
            log_info("the model answers again");
            d->model_down = false;
        }
    } else {
        d->failures++;
        if (!d->model_down) {
            log_error("%sthe model's server: %s", news->broken ? "ALERT " : "", news->said);
            d->model_down = true;
        }
        if (d->failures > 1 && news->hold_ms == 0) {
            hold(d, clock_backoff_ms(d->failures - 1, HOLD_BASE_MS, HOLD_MAX_MS));
        }
    }
    if (news->hold_ms > 0) {
        hold(d, news->hold_ms);
    }
}

static void take_answers(struct digest_role *d)
{
    struct http_response response;

    while (http_next(d->http, &response)) {
        struct call *call = response.owner;
        struct call_news news;

        call_answered(&d->model, call, &response, &news);
        take_news(d, &news);
        if (call->state == CALL_MADE || call->state == CALL_BACK) {
            d->claim_at_ms = 0;
        }
    }
}

/* ---- storing ---- */

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
        .request = by_model && !call->repairing ? text_str(&call->request) : STR_NULL,
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
        if (digests_store(d->pg, &made[i], 1, err)) {
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

static bool store_made(struct digest_role *d, struct error *err)
{
    size_t count = count_state(d, CALL_MADE);
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
    if (n > 0) {
        ok = digests_store(d->pg, made, n, err);
        if (ok) {
            for (size_t i = 0; i < n; i++) {
                calls[i]->state = CALL_GONE;
            }
        } else if (pg_verdict(err) == PG_BAD_INPUT) {
            ok = store_one_by_one(d, made, calls, n, err);
        }
    }
    free(calls);
    free(made);
    return ok;
}

static bool give_back(struct digest_role *d, struct call *call, struct error *err)
{
    return digest_put_back(d->pg, call->work, call->wait_ms, call->unasked, call->prompt_tokens,
                           call->completion_tokens, call->reason, err);
}

/* Whatever the last turn has finished; on failure it is kept and tried again. */
static void store(struct digest_role *d)
{
    struct error err = {0};
    bool ok = store_made(d, &err);

    for (size_t i = 0; i < d->count && ok; i++) {
        struct call *call = d->calls[i];

        if (call->state == CALL_BACK) {
            ok = give_back(d, call, &err);
        } else if (call->state == CALL_CANCEL) {
            ok = digest_cancel(d->pg, call->work, call->reason, &err);
        } else {
            continue;
        }
        if (ok) {
            call->state = CALL_GONE;
        }
    }
    if (!ok) {
        db_failed(d, "storing digests", &err);
    }
    drop_gone(d);
}

static void renew(struct digest_role *d)
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
    if (digests_renew(d->pg, works, d->count, d->terms.lease_ms, kept, &err)) {
        for (size_t i = 0; i < d->count; i++) {
            if (!kept[i]) {
                log_warn("digest %" PRId64 " is no longer ours", works[i]->digest_id);
                d->calls[i]->state = CALL_GONE;
            }
        }
        drop_gone(d);
    } else {
        db_failed(d, "renewing leases", &err);
    }
    free(kept);
    free(works);
}

/* ---- the loop ---- */

static void release_all(struct digest_role *d)
{
    struct error err = {0};

    pg_set_interrupt(d->pg, -1);
    pg_set_deadline(d->pg, 3000);
    if (d->count > 0 && db_ready(d)) {
        store(d);
    }
    for (size_t i = 0; i < d->count; i++) {
        struct call *call = d->calls[i];

        http_cancel(d->http, call);
        call->wait_ms = 0;
        call->unasked = true;
        if (pg_is_connected(d->pg)) {
            give_back(d, call, &err);
        }
        call->state = CALL_GONE;
    }
    drop_gone(d);
}

/* A few at a time, so that a claim is worth its transaction; at once when nothing stands ready. */
static bool wants_more(const struct digest_role *d)
{
    return d->pool - d->count > d->concurrency / 8 ||
           (d->count < d->pool && count_state(d, CALL_READY) == 0);
}

/* Only what this turn may do next can cut the wait short: a claim that is due but not allowed (the
 * process is to end, PostgreSQL is given a rest) would turn the loop without pause. */
static int wait_ms(const struct digest_role *d, enum stop stop)
{
    int64_t now = clock_boot_ms();
    int64_t until = now + POLL_MS;
    bool to_store = count_state(d, CALL_ASKED) + count_state(d, CALL_READY) < d->count;

    if (stop == STOP_NOT && wants_more(d) && d->claim_at_ms < until) {
        until = d->claim_at_ms > d->store_at_ms ? d->claim_at_ms : d->store_at_ms;
    }
    if (to_store && d->store_at_ms < until) {
        until = d->store_at_ms;
    }
    if (d->hold_until_ms > now && d->hold_until_ms < until && count_state(d, CALL_READY) > 0) {
        until = d->hold_until_ms;
    }
    return until > now ? (int)(until - now) : 0;
}

static void turn(struct digest_role *d, enum stop stop)
{
    int fds[2];
    struct error err = {0};
    int64_t now = clock_boot_ms();

    if (stop == STOP_NOT) {
        ask(d);
    }
    if (now >= d->store_at_ms && db_ready(d)) {
        if (now >= d->renew_at_ms) {
            renew(d);
        }
        store(d);
        if (stop == STOP_NOT && now >= d->claim_at_ms && wants_more(d)) {
            claim(d);
            store(d); /* what needed no model */
        }
        hold_back(d, stop);
    }
    ask(d);
    fds[0] = pg_fd(d->pg);
    fds[1] = signals_wake_fd();
    if (!http_wait(d->http, fds, 2, wait_ms(d, stop), &err)) {
        log_error("waiting: %s", err.text);
    }
    take_answers(d);
    if (pg_is_connected(d->pg) && pg_notified(d->pg, &err)) {
        d->claim_at_ms = 0;
    }
}

static bool open_role(struct digest_role *d, struct error *err)
{
    const struct config *c = d->config;
    const char *ca_file = config_string(c, "openai", "ca_file");
    const struct http_limits limits = {
        .service = "openai",
        .user_agent = "study-tracker/" STUDY_VERSION,
        .ca_file = ca_file[0] != '\0' ? ca_file : NULL,
        .max_connections = (int)config_int(c, "openai", "max_connections"),
        .max_response = RESPONSE_MAX,
        .connect_timeout_ms = config_int(c, "openai", "connect_timeout"),
        .timeout_ms = config_int(c, "openai", "timeout"),
    };

    d->concurrency = (size_t)config_int(c, "openai", "concurrency");
    d->pool = d->concurrency + d->concurrency / 2 + 1;
    d->calls = calloc(d->pool, sizeof(struct call *));
    if (d->calls == NULL) {
        abort();
    }
    d->terms = (struct digest_terms){
        .lease_ms = config_int(c, "digest", "lease"),
        .model_enabled = config_bool(c, "openai", "enabled"),
        .opt_in = strcmp(config_string(c, "privacy", "consent"), "opt_in") == 0,
        .private_channels = config_bool(c, "privacy", "private_channels"),
        .language = config_string(c, "digest", "language"),
    };
    if (!prompts_load(&d->prompts, config_string(c, "digest", "prompt_dir"), err) ||
        !notices_check(c, d->prompts, err)) {
        return false;
    }
    d->http = http_create(&limits, err);
    if (d->http == NULL) {
        return false;
    }
    model_init(&d->model, c, d->prompts, d->http);
    d->pg = pg_create(c, "study-worker digest");
    pg_set_interrupt(d->pg, signals_stop_fd());
    return true;
}

int role_digest(const struct role *role)
{
    struct digest_role d = {.config = role->config};
    struct error err = {0};
    enum stop stop;
    int status = EXIT_SUCCESS;

    if (open_role(&d, &err)) {
        while ((stop = signals_check()) != STOP_NOW && !(stop == STOP_GRACEFUL && d.count == 0)) {
            turn(&d, stop);
        }
        release_all(&d);
    } else {
        log_error("%s", err.text);
        status = ROLE_MISCONFIGURED;
    }
    free(d.calls);
    model_free(&d.model);
    http_destroy(&d.http);
    prompts_destroy(&d.prompts);
    pg_destroy(&d.pg);
    return status;
}
