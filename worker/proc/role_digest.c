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
#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "db/notices.h"
#include "db/pauses.h"
#include "proc/digest_notice.h"
#include "proc/digest_role.h"
#include "proc/role.h"
#include "proc/signals.h"

#define POLL_MS      1000
#define CLAIM_MAX    32 /* at once: the first are asked while the others are read */
#define RESPONSE_MAX (1024 * 1024)
#define SWARM_MS     40   /* without an answer, and none is expected just now */
#define HOLD_KEPT_MS 5000 /* a shorter rest is waited out with the rows in hand */

size_t digest_count_state(const struct digest_role *d, enum call_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < d->count; i++) {
        n += d->calls[i]->state == state;
    }
    return n;
}

/* ---- claiming and asking ---- */

/* What an earlier attempt was answered is not asked again: the whole digest's, known by the hash of
 * its request, or parts of a long day's. */
static void reuse_stored(struct digest_role *d, struct call *call)
{
    const struct digest_work *work = call->work;
    struct json_doc *parts = NULL;
    struct error err = {0};
    char hash[65];

    if (call->state != CALL_READY || (work->stored_result == NULL && work->stored_parts == NULL)) {
        return;
    }
    if (work->stored_parts != NULL && (!json_parse(&parts, str_of(work->stored_parts), &err) ||
                                       json_type(json_root(parts)) != JSON_OBJECT)) {
        log_warn("digest %" PRId64 ": what was kept of its parts cannot be read: they are asked "
                 "for again",
                 work->digest_id);
        json_destroy(&parts);
    }
    while (call->state == CALL_READY &&
           digest_request_hash(d->db.pg, text_str(&call->request), hash, &err)) {
        const struct json *part = json_get(json_root(parts), hash);
        struct str content = STR_NULL;
        struct json_writer *w = json_writer_create(RESPONSE_MAX);

        if (part != NULL) {
            json_put_node(w, part);
            json_writer_done(w, &content, &err);
        } else if (call->parts_count == 1 && strcmp(hash, work->stored_hash) == 0) {
            content = str_of(work->stored_result);
        }
        bool used = content.data != NULL && call_reuse(&d->model, call, content);
        json_writer_destroy(&w);
        if (part != NULL && !used) {
            log_warn("digest %" PRId64 ": a kept part will not do: it is asked for again",
                     work->digest_id);
        }
        if (!used) {
            break;
        }
        log_info("digest %" PRId64 ": a stored answer is used again", work->digest_id);
        if (call->state == CALL_PART) {
            call_next_part(&d->model, call);
        }
    }
    json_destroy(&parts);
}

/* What a claim passes over: members to be told first, rows that nobody can do anything about. */
static void tidy(struct digest_role *d)
{
    struct error err = {0};

    d->tidy_at_ms = clock_boot_ms() + POLL_MS;
    if (!notices_add(d->db.pg, d->config, d->prompts, d->host, &err) ||
        !channel_notices_add(d->db.pg, d->config, d->prompts, &err) ||
        !digests_rest(d->db.pg, d->terms.opt_in, &err)) {
        db_turn_failed(&d->db, "adding notices", &err);
    }
}

static void claim(struct digest_role *d)
{
    struct digest_work **works;
    struct error err = {0};
    size_t count;

    d->claim_at_ms = clock_boot_ms() + POLL_MS;
    d->terms.limit = (int)(d->pool - d->count < CLAIM_MAX ? d->pool - d->count : CLAIM_MAX);
    d->more = false;
    d->terms.model_open = digest_model_open(d);
    if (!d->begun && !notices_told_of(d->db.pg, d->host, &err)) {
        db_turn_failed(&d->db, "looking who was told of the model", &err);
        return;
    }
    d->begun = true;
    if (!digests_claim(d->db.pg, &d->terms, &works, &count, &err)) {
        db_turn_failed(&d->db, "claiming digests", &err);
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
    db_turn_worked(&d->db);
    if (count == (size_t)d->terms.limit && count > 0) {
        d->claim_at_ms = 0;
        d->more = true;
    }
    if (d->claim_at_ms > 0 || clock_boot_ms() >= d->tidy_at_ms) {
        tidy(d);
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
    ok = digests_fresh(d->db.pg, works, count, d->terms.opt_in, fresh, &err);
    if (!ok) {
        db_turn_failed(&d->db, "looking once more before asking", &err);
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

/* Reserves what the calls may use; what the month's budget has no room for is made without a model,
 * or waits until those under way have told what they did use. */
static bool reserve(struct digest_role *d, struct call **calls, size_t count)
{
    struct budget_want *wants = calloc(count, sizeof(*wants));
    struct call **of = calloc(count, sizeof(struct call *));
    struct error err = {0};
    bool begun = false;
    size_t n = 0;
    bool ok;

    if (wants == NULL || of == NULL) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        if (calls[i]->state == CALL_READY) {
            wants[n].work = calls[i]->work;
            call_estimate(&d->model, calls[i], &wants[n].prompt_tokens,
                          &wants[n].completion_tokens);
            of[n++] = calls[i];
        }
    }
    ok = n == 0 ||
         (digest_settle(d, &err) && budget_reserve(d->db.pg, &d->limits, wants, n, &begun, &err));
    if (!ok) {
        db_turn_failed(&d->db, "reserving a part of the budget", &err);
    }
    for (size_t i = 0; i < n && ok; i++) {
        if (wants[i].verdict == BUDGET_GONE) {
            call_make_factual(of[i], "the month's budget for the model is used up");
        } else if (wants[i].verdict == BUDGET_WAIT) {
            of[i]->state = CALL_BACK;
            of[i]->wait_ms = POLL_MS;
            of[i]->unasked = !of[i]->repairing;
        }
    }
    if (begun) {
        log_error("ALERT the month's budget for the model is used up: digests are made without a "
                  "model until the month ends (UTC) or the limits are raised");
    }
    free(of);
    free(wants);
    return ok;
}

/* What is about to be asked is looked at once more, all of it in one statement. Without PostgreSQL
 * nothing is asked: nobody could say that it may be. */
static void ask(struct digest_role *d)
{
    size_t asked = digest_count_state(d, CALL_ASKED);
    struct call **calls = calloc(d->pool, sizeof(struct call *));
    size_t n = 0;

    if (calls == NULL) {
        abort();
    }
    for (size_t i = 0; i < d->count && asked + n < d->concurrency && digest_model_open(d); i++) {
        if (d->calls[i]->state == CALL_READY) {
            calls[n++] = d->calls[i];
        }
    }
    if (n > 0 && db_turn_begin(&d->db) && drop_stale(d, calls, n) &&
        (!budget_limited(&d->limits) || reserve(d, calls, n))) {
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

        if (call->state == CALL_READY) {
            call->state = CALL_BACK;
            call->wait_ms = wait_ms;
            call->unasked = !call->repairing;
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
    } else if (now >= d->pause_at_ms && digest_count_state(d, CALL_READY) > 0) {
        d->pause_at_ms = now + POLL_MS;
        if (!db_pause_active(d->db.pg, "digest", &paused, &err)) {
            db_turn_failed(&d->db, "looking for pauses", &err);
        } else if (paused) {
            put_back_ready(d, 0, "");
        }
    }
}

/* ---- the loop ---- */

/*
 * A few at a time, so that a claim is worth its transaction. Calls that began together are answered
 * together, and an answer that comes during a claim has its successor wait for it: with enough
 * standing ready for the rest of such a swarm, what is claimed next is claimed after it.
 */
static bool wants_more(const struct digest_role *d)
{
    size_t ready = digest_count_state(d, CALL_READY);

    if (d->count >= d->pool) {
        return false;
    }
    return ready == 0 ||
           (d->pool - d->count > d->concurrency / 8 &&
            (ready < d->concurrency / 4 || clock_boot_ms() >= d->answered_at_ms + SWARM_MS));
}

/* Only what this turn may do next can cut the wait short: a claim that is due but not allowed (the
 * process is to end, PostgreSQL is given a rest) would turn the loop without pause. */
static int wait_ms(const struct digest_role *d, enum stop stop)
{
    int64_t now = clock_boot_ms();
    int64_t until = now + POLL_MS;
    bool to_store =
        digest_count_state(d, CALL_ASKED) + digest_count_state(d, CALL_READY) < d->count;

    if (stop == STOP_NOT && wants_more(d) && d->claim_at_ms < until) {
        until = d->claim_at_ms > d->db.not_before_ms ? d->claim_at_ms : d->db.not_before_ms;
    } else if (d->more && d->count < d->pool && d->answered_at_ms + SWARM_MS > now &&
               d->answered_at_ms + SWARM_MS < until) {
        until = d->answered_at_ms + SWARM_MS;
    }
    if (to_store && d->db.not_before_ms < until) {
        until = d->db.not_before_ms;
    }
    if (d->hold_until_ms > now && d->hold_until_ms < until &&
        digest_count_state(d, CALL_READY) > 0) {
        until = d->hold_until_ms;
    }
    return until > now ? (int)(until - now) : 0;
}

static void turn(struct digest_role *d, enum stop stop)
{
    int fds[2];
    struct error err = {0};
    int64_t now = clock_boot_ms();

    while (digest_take_answers(d) && stop == STOP_NOT) {
        ask(d);
    }
    if (stop == STOP_NOT) {
        ask(d);
    }
    if (db_turn_begin(&d->db)) {
        if (now >= d->renew_at_ms) {
            digest_renew(d);
        }
        digest_store(d);
        if (stop == STOP_NOT && now >= d->claim_at_ms && wants_more(d)) {
            claim(d);
            digest_store(d); /* what needed no model */
        }
        hold_back(d, stop);
    }
    if (stop == STOP_NOT) {
        ask(d);
    }
    if (db_turn_notified(&d->db)) {
        d->claim_at_ms = 0;
    }
    fds[0] = pg_fd(d->db.pg);
    fds[1] = signals_wake_fd();
    if (!http_wait(d->http, fds, 2, wait_ms(d, stop), &err)) {
        log_error("waiting: %s", err.text);
    }
    if (db_turn_notified(&d->db)) {
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
    d->pool = 2 * d->concurrency + 1;
    d->calls = calloc(d->pool, sizeof(struct call *));
    if (d->calls == NULL) {
        abort();
    }
    d->host = notices_host(c);
    d->terms = (struct digest_terms){
        .lease_ms = config_int(c, "digest", "lease"),
        .model_enabled = config_bool(c, "openai", "enabled"),
        .opt_in = strcmp(config_string(c, "privacy", "consent"), "opt_in") == 0,
        .private_channels = config_bool(c, "privacy", "private_channels"),
        .language = config_string(c, "digest", "language"),
        .host = d->host,
    };
    if (!prompts_load(&d->prompts, config_string(c, "digest", "prompt_dir"), err) ||
        !notices_check(c, d->prompts, err) || !budget_limits_read(&d->limits, c, err)) {
        return false;
    }
    d->http = http_create(&limits, err);
    if (d->http == NULL) {
        return false;
    }
    model_init(&d->model, c, d->prompts, d->http);
    d->db.pg = pg_create(c, "study-worker digest");
    pg_set_interrupt(d->db.pg, signals_stop_fd());
    return true;
}

int role_digest(const struct role *role)
{
    struct digest_role d = {
        .config = role->config,
        .db = {.listen = "LISTEN study_digest", .outage = {.what = "PostgreSQL"}},
    };
    struct error err = {0};
    enum stop stop;
    int status = EXIT_SUCCESS;

    if (open_role(&d, &err)) {
        while ((stop = signals_check()) != STOP_NOW && !(stop == STOP_GRACEFUL && d.count == 0)) {
            turn(&d, stop);
        }
        digest_release_all(&d);
    } else {
        log_error("%s", err.text);
        status = ROLE_MISCONFIGURED;
    }
    free(d.calls);
    free(d.host);
    model_free(&d.model);
    http_destroy(&d.http);
    prompts_destroy(&d.prompts);
    pg_destroy(&d.db.pg);
    return status;
}
