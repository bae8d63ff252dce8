/*
 * The store role: batches from the accept logs into PostgreSQL, read from top to bottom.
 *
 *   fetch (leased) -> read -> one transaction -> ack after COMMIT
 *
 * An element leaves Redis only after its row is committed, so a crash at any point costs repeated
 * work and nothing else: every application is idempotent. Nothing is fetched while the database is
 * away, since what lies in the list is safer there than in our hands. While a transaction waits,
 * the lease is renewed at a third of its time.
 *
 * A batch costs Redis two writes to its append-only file and PostgreSQL one, however small it is,
 * on a disk that nginx' pushes wait for, too. So after a small one the next is fetched no sooner
 * than GATHER_MS after it: what comes alone is stored at once, what comes often is stored together.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "db/pauses.h"
#include "ingest/queue.h"
#include "io/pg.h"
#include "proc/outage.h"
#include "proc/role.h"
#include "proc/signals.h"
#include "proc/store_apply.h"

#define SERVERS_MAX     16
#define REAP_MS         1000
#define PAUSE_MS        1000 /* obeyed within two seconds */
#define RETRY_BASE_MS   100
#define RETRY_MAX_MS    5000
#define BROKEN_MS       10000 /* an operator must act: slowly */
#define GATHER_MS       10
#define GATHER_ENOUGH   64 /* elements: there is a backlog */
#define DEAD_LOGGED_MAX 5  /* lines a batch */

struct server {
    struct queue *queue;
    int64_t reap_at_ms;
    struct outage outage;
    unsigned failures; /* in a row */
    int64_t retry_at_ms;
};

struct store {
    struct pg *pg;
    struct store_apply *apply;
    struct event_rules rules;
    int64_t lease_ms, poll_ms;
    int stop_fd;
    size_t enough; /* of a batch behind which more will come */

    struct server servers[SERVERS_MAX];
    size_t nservers;

    struct store_item *items; /* of the batch in hand */
    size_t nitems, cap;

    struct server *holding; /* whose batch is in hand */
    int64_t renewed_ms;
    bool lost; /* its lease is gone */

    struct outage outage; /* PostgreSQL's */
    bool paused;          /* as it was looked up last */
    int64_t pause_at_ms;
};

enum done { DONE, DONE_LOST, DONE_STOP };

/* --- the lease ------------------------------------------------------------------------------ */

static void renew(void *arg)
{
    struct store *s = arg;
    struct error err = {0};
    bool held;

    if (s->holding == NULL || s->lost || clock_boot_ms() - s->renewed_ms < s->lease_ms / 3) {
        return;
    }
    if (!queue_renew(s->holding->queue, &held, &err)) {
        log_debug("lease not renewed: %s", err.text); /* the next tick tries again */
        return;
    }
    s->renewed_ms = clock_boot_ms();
    s->lost = !held;
}

/* --- waiting -------------------------------------------------------------------------------- */

static void wait_fds(struct pollfd *fds, nfds_t n, int64_t ms)
{
    if (ms > 0 && poll(fds, n, (int)(ms > 60000 ? 60000 : ms)) < 0 && errno != EINTR) {
        log_warn("poll: %s", strerror(errno));
    }
}

/* Sleeps, keeping the lease; ends early when told to stop. */
static enum stop rest(struct store *s, int64_t ms)
{
    int64_t until = clock_boot_ms() + ms;
    struct pollfd wake = {.fd = signals_wake_fd(), .events = POLLIN};
    enum stop stop;

    while ((stop = signals_check()) != STOP_NOW) {
        int64_t left = until - clock_boot_ms();

        if (left <= 0 || (stop == STOP_GRACEFUL && s->holding == NULL)) {
            break;
        }
        renew(s);
        wait_fds(&wake, 1, left < s->lease_ms / 3 ? left : s->lease_ms / 3);
    }
    return stop;
}

/* Nothing was there: waits for an element, a signal, or the time to look anyway. */
static void wait_for_work(struct store *s)
{
    struct pollfd fds[1 + SERVERS_MAX * QUEUE_FDS];
    nfds_t n = 0;
    int64_t ms = s->poll_ms < REAP_MS ? s->poll_ms : REAP_MS;

    fds[n++] = (struct pollfd){.fd = signals_wake_fd(), .events = POLLIN};
    for (size_t i = 0; i < s->nservers; i++) {
        int peeks[QUEUE_FDS], count;

        if (s->servers[i].outage.on) {
            int64_t left = s->servers[i].retry_at_ms - clock_boot_ms();

            ms = left < ms ? left : ms;
            continue;
        }
        queue_arm(s->servers[i].queue);
        count = queue_fds(s->servers[i].queue, peeks);
        for (int k = 0; k < count; k++) {
            fds[n++] = (struct pollfd){.fd = peeks[k], .events = POLLIN};
        }
    }
    wait_fds(fds, n, ms);
    for (size_t i = 0; i < s->nservers; i++) {
        queue_woken(s->servers[i].queue);
    }
}

/* --- the batch ------------------------------------------------------------------------------ */

static void count_range(const struct store_item *items, size_t n, const struct store_counts *c)
{
    const struct {
        const char *outcome;
        size_t count;
    } rows[] = {
        {"stored", c->stored},     {"changed", c->changed},         {"deleted", c->deleted},
        {"repeated", c->repeated}, {"folded", c->folded},           {"applied", c->applied},
        {"ignored", c->ignored},   {"unsupported", c->unsupported}, {"dead", c->dead},
    };
    int64_t now = clock_wall_ms();
    size_t logged = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].count > 0) {
            metrics_add(METRIC_EVENTS_TOTAL, rows[i].outcome, NULL, (double)rows[i].count);
        }
    }
    for (size_t i = 0; i < n; i++) {
        const struct event *event = &items[i].event;

        if (event->effect == EVENT_MESSAGE) {
            metrics_observe(METRIC_EVENT_STORE_SECONDS, NULL,
                            (double)(now - event->received_at_us / 1000) / 1000);
        } else if (event->effect == EVENT_DEAD && logged++ < DEAD_LOGGED_MAX) {
            log_warn("an element went to dead_event: %s: %s", event->reason, event->detail);
        } else if (event->effect == EVENT_IGNORED &&
                   strcmp(event->reason, "app_rate_limited") == 0) {
            log_warn("Slack held back events: the workspace passed its hourly limit");
        }
    }
    if (logged > DEAD_LOGGED_MAX) {
        log_warn("and %zu more of the same batch", logged - DEAD_LOGGED_MAX);
    }
}

/*
 * Until the range is committed, or no longer ours, or we are told to stop. A range that PostgreSQL
 * refuses is halved until the bad element stands alone.
 */
static enum done store_range(struct store *s, struct store_item *items, size_t n)
{
    for (unsigned attempt = 1;; attempt++) {
        struct error err = {0};
        struct store_counts counts;
        enum pg_verdict verdict;

        renew(s);
        if (s->lost) {
            return DONE_LOST;
        }
        if (pg_connect(s->pg, &err) && store_apply_run(s->apply, items, n, &counts, &err)) {
            outage_end(&s->outage);
            count_range(items, n, &counts);
            return DONE;
        }
        if (err.kind == ERROR_INTERRUPTED) {
            return DONE_STOP;
        }

        verdict = pg_verdict(&err);
        if (verdict == PG_BAD_INPUT && n > 1) {
            enum done first = store_range(s, items, n / 2);

            return first != DONE ? first : store_range(s, items + n / 2, n - n / 2);
        }
        if (verdict == PG_BAD_INPUT && items[0].event.effect != EVENT_DEAD) {
            event_bury_refused(&items[0].event, err.code);
            continue;
        }

        outage_begin(&s->outage, &err);
        if (verdict == PG_RETRY) {
            metrics_add(METRIC_RETRIES_TOTAL, "postgres", NULL, 1);
        }
        if (rest(s, verdict == PG_RETRY ? clock_backoff_ms(attempt, RETRY_BASE_MS, RETRY_MAX_MS)
                                        : BROKEN_MS) != STOP_NOT) {
            return DONE_STOP; /* also when asked to finish: the list keeps it */
        }
    }
}

static void read_batch(struct store *s, const struct batch *batch)
{
    if (batch->count > s->cap) {
        s->items = reallocarray(s->items, batch->count, sizeof(*s->items));
        if (s->items == NULL) {
            abort();
        }
        s->cap = batch->count;
    }
    for (size_t i = 0; i < batch->count; i++) {
        store_item_read(&s->items[i], batch->elements[i], batch->marked, &s->rules);
        if (batch->list == QUEUE_SUSPECT && s->items[i].event.effect == EVENT_MESSAGE) {
            s->items[i].event.message.repeated = true;
        }
    }
    s->nitems = batch->count;
}

static void clear_batch(struct store *s)
{
    for (size_t i = 0; i < s->nitems; i++) {
        store_item_clear(&s->items[i]);
    }
    s->nitems = 0;
    s->holding = NULL;
}

static void lease_lost(const struct server *server)
{
    metrics_add(METRIC_LEASE_LOST_TOTAL, "store", NULL, 1);
    log_warn("%s: the lease of a batch ended before its ack; it is stored again by another",
             queue_name(server->queue));
}

/* Whether serve() comes back to this server at once, with nothing to wait for before. */
static bool fetches_next(const struct store *s, bool calm)
{
    return !calm && s->nservers == 1 && clock_boot_ms() < s->pause_at_ms &&
           signals_check() == STOP_NOT;
}

static enum done store_batch(struct store *s, struct server *server, const struct batch *batch,
                             bool calm)
{
    struct error err = {0};
    enum done done;
    bool held = true;

    s->holding = server;
    s->renewed_ms = batch->renewed_ms;
    s->lost = false;
    metrics_observe(METRIC_BATCH_SIZE, NULL, (double)batch->count);
    read_batch(s, batch);

    done = store_range(s, s->items, s->nitems);
    switch (done) {
    case DONE:
        if (fetches_next(s, calm)) {
            queue_ack_with_fetch(server->queue);
        } else if (!queue_ack(server->queue, &held, &err)) {
            log_debug("an ack is owed: %s", err.text);
            held = true;
        }
        break;
    case DONE_STOP:
        if (!queue_release(server->queue, &held, &err)) {
            log_warn("batch not given back, its lease will end: %s", err.text);
            held = true;
        }
        break;
    case DONE_LOST:
        queue_abandon(server->queue);
        held = false;
        break;
    }
    if (!held) {
        lease_lost(server);
    }
    clear_batch(s);
    return done;
}

/* --- the loop ------------------------------------------------------------------------------- */

enum turn { TURN_IDLE, TURN_CALM, TURN_WORKED, TURN_STOP, TURN_MISCONFIGURED };

/* What comes before the list of events is served at once: it says nothing of their backlog. */
static bool is_calm(const struct store *s, const struct batch *batch)
{
    return batch->list == QUEUE_PENDING && batch->count < s->enough && batch->left == 0;
}

static enum turn serve(struct store *s, struct server *server)
{
    struct error err = {0};
    struct batch *batch;
    size_t moved = 0;
    bool calm;

    if (clock_boot_ms() < server->retry_at_ms) {
        return TURN_IDLE;
    }
    if (clock_boot_ms() >= server->reap_at_ms) {
        server->reap_at_ms = clock_boot_ms() + REAP_MS;
        if (!queue_reap(server->queue, &moved, &err)) {
            goto fail;
        }
        if (moved > 0) {
            log_warn("%s: %zu elements of batches whose lease ended are tried one by one",
                     queue_name(server->queue), moved);
        }
    }
    if (!queue_fetch(server->queue, &batch, &err)) {
        goto fail;
    }
    outage_end(&server->outage);
    server->failures = 0;
    for (size_t lost = queue_lost(server->queue); lost > 0; lost--) {
        lease_lost(server);
    }
    if (batch->count == 0) {
        return TURN_IDLE;
    }
    calm = is_calm(s, batch);
    if (store_batch(s, server, batch, calm) == DONE_STOP) {
        return TURN_STOP;
    }
    return calm ? TURN_CALM : TURN_WORKED;

fail:
    if (err.kind == ERROR_INTERRUPTED) {
        return TURN_STOP;
    }
    outage_begin(&server->outage, &err);
    server->retry_at_ms =
        clock_boot_ms() + clock_backoff_ms(++server->failures, RETRY_BASE_MS, RETRY_MAX_MS);
    return err.kind == ERROR_CONFIG ? TURN_MISCONFIGURED : TURN_IDLE;
}

/* False: nothing may be fetched now. */
static bool may_work(struct store *s, struct error *err)
{
    bool paused;

    if (!pg_connect(s->pg, err)) {
        return false;
    }
    if (clock_boot_ms() < s->pause_at_ms) {
        return !s->paused;
    }
    s->pause_at_ms = clock_boot_ms() + PAUSE_MS;
    if (!db_pause_active(s->pg, "store", &paused, err)) {
        return false;
    }
    if (paused != s->paused) {
        log_info(paused ? "paused" : "resumed");
        s->paused = paused;
    }
    return !paused;
}

/* Before a wait: the lease of what is stored must not end meanwhile. */
static void settle(struct store *s)
{
    for (size_t i = 0; i < s->nservers; i++) {
        struct error err = {0};

        if (!s->servers[i].outage.on && !queue_settle(s->servers[i].queue, &err)) {
            log_debug("an ack is owed: %s", err.text);
        }
    }
}

static enum turn turn(struct store *s)
{
    struct error err = {0};
    enum turn result = TURN_IDLE;
    bool is_unsafe = false;

    if (!may_work(s, &err)) {
        if (err.kind == ERROR_INTERRUPTED) {
            return TURN_STOP;
        }
        if (err.kind != ERROR_NONE) {
            outage_begin(&s->outage, &err);
        }
        if (err.kind == ERROR_CONFIG) {
            return TURN_MISCONFIGURED;
        }
        settle(s);
        rest(s, clock_backoff_ms(1, PAUSE_MS, PAUSE_MS));
        return TURN_WORKED;
    }
    outage_end(&s->outage);

    for (size_t i = 0; i < s->nservers; i++) {
        enum turn one = serve(s, &s->servers[i]);

        if (one == TURN_STOP || one == TURN_MISCONFIGURED) {
            return one;
        }
        if (one > result) {
            result = one;
        }
        is_unsafe = is_unsafe || queue_is_unsafe(s->servers[i].queue);
    }
    metrics_set(METRIC_UNSAFE, NULL, NULL, is_unsafe);
    return result;
}

static bool open_servers(struct store *s, const struct config *config, struct error *err)
{
    const char *const *addresses;
    size_t n = config_list(config, "redis", "servers", &addresses);
    struct queue_limits limits = {
        .lease_ms = s->lease_ms,
        .elements = config_int(config, "store", "batch_events"),
        .bytes = config_int(config, "store", "batch_bytes"),
    };

    s->enough = limits.elements < GATHER_ENOUGH ? limits.elements : GATHER_ENOUGH;
    for (size_t i = 0; i < n && i < SERVERS_MAX; i++) {
        if (!queue_create(&s->servers[i].queue, config, addresses[i], err)) {
            return false;
        }
        s->servers[i].outage.what = addresses[i];
        s->nservers++;
        queue_set_limits(s->servers[i].queue, &limits);
        queue_set_interrupt(s->servers[i].queue, s->stop_fd);
        log_info("%s: our batches are named %s", addresses[i], queue_worker(s->servers[i].queue));
    }
    return true;
}

static bool open_store(struct store *s, const struct role *role, struct error *err)
{
    s->rules.private_channels = config_bool(role->config, "privacy", "private_channels");
    s->rules.external_members = config_bool(role->config, "privacy", "external_members");
    s->rules.retention_us = config_int(role->config, "privacy", "retention") * 1000;
    s->lease_ms = config_int(role->config, "store", "lease");
    s->poll_ms = config_int(role->config, "store", "poll");
    s->stop_fd = signals_stop_fd();
    s->outage.what = "PostgreSQL";

    s->pg = pg_create(role->config, "study-worker store");
    pg_set_interrupt(s->pg, s->stop_fd);
    pg_set_tick(s->pg, (int)(s->lease_ms / 6), renew, s);
    s->apply = store_apply_create(s->pg, role->config);
    return open_servers(s, role->config, err);
}

/* What a fetch took whose reply never came goes back, too. */
static void close_store(struct store *s)
{
    for (size_t i = 0; i < s->nservers; i++) {
        struct error err = {0};
        bool held;

        if (!s->servers[i].outage.on && !queue_release(s->servers[i].queue, &held, &err)) {
            log_warn("%s", err.text);
        }
        queue_destroy(&s->servers[i].queue);
    }
    store_apply_destroy(&s->apply);
    pg_destroy(&s->pg);
    free(s->items);
}

int role_store(const struct role *role)
{
    struct store s = {0};
    struct error err = {0};
    int status = EXIT_SUCCESS;

    if (!open_store(&s, role, &err)) {
        log_error("%s", err.text);
        status = err.kind == ERROR_CONFIG ? ROLE_MISCONFIGURED : EXIT_FAILURE;
        goto fail;
    }
    while (signals_check() == STOP_NOT) {
        int64_t start_ms = clock_boot_ms();
        enum turn result = turn(&s);

        if (result == TURN_MISCONFIGURED) {
            status = ROLE_MISCONFIGURED;
            break;
        }
        if (result == TURN_STOP) {
            break;
        }
        if (result == TURN_IDLE) {
            wait_for_work(&s);
        } else if (result == TURN_CALM) {
            rest(&s, start_ms + GATHER_MS - clock_boot_ms());
        }
    }

fail:
    close_store(&s);
    return status;
}
