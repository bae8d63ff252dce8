/*
 * The schedule role. Each turn of its loop: schedules that are due become firings; firings that
 * nobody holds are claimed; those whose accept logs have caught up, or which have waited long
 * enough, are collected, a slice each in turn. Nothing in a turn waits for one firing, so one that
 * has to wait never delays another. Every step is a transaction of its own and any number of
 * schedulers may do the same at the same time. Between times it lets go, in small pieces, what
 * retention does not allow to be kept, and what is left of members who are to be forgotten.
 */
#include "proc/role.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "db/clocks.h"
#include "db/firings.h"
#include "db/retention.h"
#include "proc/catchup.h"
#include "proc/forgetting.h"
#include "proc/outage.h"
#include "proc/signals.h"
#include "schedule/due.h"

#define HELD_MAX       32
#define LEASE_MS       15000
#define SLICE_FIRST    100 /* members: the model is asked about them while the next are collected */
#define SLICE_MEMBERS  1000
#define POLL_MS        1000  /* the safety net under NOTIFY */
#define LOOK_FIRST_MS  5     /* a trigger's own batch is acknowledged right after its commit */
#define WAITING_MS     100   /* between two looks at accept logs that have not caught up */
#define LOCKED_MS      50    /* what is due is in other hands */
#define CLOCKS_MS      10000 /* members' rows name a new time zone or time */
#define BROKEN_MS      5000  /* an operator must act: a table or a right is missing */
#define SWEEP_MS       60000
#define SWEEP_MORE_MS  250 /* while there is more: a backlog of days goes in minutes */
#define SWEEP_ROWS     1000
#define SWEEP_LIMIT_MS 3000 /* a statement; leases are renewed every LEASE_MS / 3 */

struct held {
    struct firing_claim claim;
    struct catchup_progress *progress;
    int64_t claimed_ms; /* boot time */
    int64_t slice;      /* members of the next */
    bool ready;         /* to be collected */
    bool overdue;       /* ready, though not caught up */
    int64_t digests;
};

struct scheduler {
    struct pg *pg;
    struct catchup *catchup;
    struct forgetting *forgetting;
    struct outage outage;
    int64_t max_wait_ms, window_s, deadline_ms;
    struct held held[HELD_MAX];
    size_t held_count;
    int64_t look_ms; /* between the last look and the next */
    int64_t renew_at_ms, clocks_at_ms;
    struct retention_terms retention;
    int64_t sweep_at_ms, deadline_pg_ms;
    bool private_channels;
    bool external_members;
    bool listening;
};

static void drop(struct scheduler *s, size_t i)
{
    catchup_end(&s->held[i].progress);
    s->held[i] = s->held[--s->held_count];
}

static void lose(struct scheduler *s, size_t i)
{
    log_warn("firing %" PRId64 " of %s is no longer ours", s->held[i].claim.firing_id,
             s->held[i].claim.schedule);
    metrics_add(METRIC_LEASE_LOST_TOTAL, "schedule", NULL, 1);
    drop(s, i);
}

/* --- the steps of a turn --- */

static bool listen_once(struct scheduler *s, struct error *err)
{
    if (!pg_connect(s->pg, err)) {
        return false;
    }
    if (!s->listening && !pg_exec(s->pg, "LISTEN study_firing", NULL, NULL, err)) {
        return false;
    }
    s->listening = true;
    return pg_notified(s->pg, err) || err->kind == ERROR_NONE;
}

static bool advance(struct scheduler *s, bool *more, struct error *err)
{
    struct due_counts counts;

    if (clock_boot_ms() >= s->clocks_at_ms) {
        if (!db_clocks_follow(s->pg, err)) {
            return false;
        }
        s->clocks_at_ms = clock_boot_ms() + CLOCKS_MS;
    }
    if (!due_advance(s->pg, s->window_s, &counts, err)) {
        return false;
    }
    if (counts.fired + counts.made_up + counts.skipped > 0) {
        metrics_add(METRIC_FIRINGS_TOTAL, "fired", NULL, (double)counts.fired);
        metrics_add(METRIC_FIRINGS_TOTAL, "made_up", NULL, (double)counts.made_up);
        metrics_add(METRIC_FIRINGS_TOTAL, "skipped", NULL, (double)counts.skipped);
        metrics_add(METRIC_FIRINGS_TOTAL, "unknown_zone", NULL, (double)counts.unknown_zone);
    }
    if (counts.made_up + counts.skipped > 0) {
        log_warn("firings were missed: %" PRId64 " made up, %" PRId64 " skipped", counts.made_up,
                 counts.skipped);
    }
    *more |= counts.more;
    return true;
}

static bool claim(struct scheduler *s, struct error *err)
{
    struct firing_claim claims[HELD_MAX];
    size_t count;

    if (s->held_count == HELD_MAX) {
        return true;
    }
    if (!db_firings_claim(s->pg, LEASE_MS, HELD_MAX - s->held_count, claims, &count, err)) {
        return false;
    }
    if (count > 0) {
        s->look_ms = LOOK_FIRST_MS / 2;
    }
    for (size_t i = 0; i < count; i++) {
        s->held[s->held_count++] = (struct held){
            .claim = claims[i],
            .progress = catchup_begin(s->catchup, false),
            .claimed_ms = clock_boot_ms(),
            .slice = SLICE_FIRST,
            .ready = claims[i].collecting,
        };
    }
    return true;
}

static bool renew(struct scheduler *s, struct error *err)
{
    struct firing_claim claims[HELD_MAX];
    bool still[HELD_MAX];

    if (clock_boot_ms() < s->renew_at_ms) {
        return true;
    }
    s->renew_at_ms = clock_boot_ms() + LEASE_MS / 3;
    if (s->held_count == 0) {
        return true;
    }
    for (size_t i = 0; i < s->held_count; i++) {
        claims[i] = s->held[i].claim;
    }
    if (!db_firings_renew(s->pg, LEASE_MS, claims, s->held_count, still, err)) {
        return false;
    }
    for (size_t i = s->held_count; i-- > 0;) {
        if (!still[i]) {
            lose(s, i);
        }
    }
    return true;
}

static bool look(struct scheduler *s, struct held *held, struct error *err)
{
    int64_t waited = held->claim.waited_ms + (clock_boot_ms() - held->claimed_ms);
    bool yes;

    if (held->ready) {
        return true;
    }
    if (!catchup_look(s->catchup, held->progress, &yes, err)) {
        return false;
    }
    held->ready = yes;
    if (!yes && waited >= s->max_wait_ms) {
        held->ready = held->overdue = true;
        metrics_add(METRIC_FIRINGS_TOTAL, "max_wait", NULL, 1);
        log_warn("firing %" PRId64 " of %s goes on after %.1f s, though a queue has not caught up "
                 "with it: what comes late belongs to the next one",
                 held->claim.firing_id, held->claim.schedule, (double)waited / 1000);
    }
    return true;
}

/* One slice; held i is gone afterwards when it was the last, or not ours. */
static bool collect(struct scheduler *s, size_t i, bool *progress, struct error *err)
{
    struct held *held = &s->held[i];
    const struct firing_slice_limits limits = {
        .members = held->slice,
        .lease_ms = LEASE_MS,
        .deadline_ms = s->deadline_ms,
        .overdue = held->overdue,
        .private_channels = s->private_channels,
        .external_members = s->external_members,
    };
    enum firing_slice result;
    int64_t digests;

    if (!db_firing_collect(s->pg, &held->claim, &limits, &result, &digests, err)) {
        return false;
    }
    held->digests += digests;
    held->slice = SLICE_MEMBERS;
    switch (result) {
    case FIRING_DONE:
        log_info("firing %" PRId64 " of %s: %" PRId64 " digests", held->claim.firing_id,
                 held->claim.schedule, held->digests);
        if (held->claim.triggered) {
            metrics_add(METRIC_FIRINGS_TOTAL, "triggered", NULL, 1);
        }
        drop(s, i);
        *progress = true;
        break;
    case FIRING_MORE:
        *progress = true;
        break;
    case FIRING_LOST:
        lose(s, i);
        break;
    case FIRING_BUSY:
        break;
    }
    return true;
}

static void count_swept(const struct retention_counts *counts)
{
    const struct {
        const char *kind;
        int64_t rows;
    } kinds[] = {
        {"message", counts->messages},
        {"digest", counts->digests},
        {"dead_event", counts->dead_events},
        {"applied", counts->applied},
        {"firing", counts->firings},
        {"notice", counts->notices},
        {"reply", counts->replies + counts->parked},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].rows > 0) {
            metrics_add(METRIC_RETENTION_ROWS_TOTAL, kinds[i].kind, NULL, (double)kinds[i].rows);
        }
    }
}

/* A sweep that fails is tried again with the next; firings are not kept waiting for it. */
static bool sweep(struct scheduler *s, struct error *err)
{
    struct retention_counts counts;

    if (clock_boot_ms() < s->sweep_at_ms) {
        return true;
    }
    s->sweep_at_ms = clock_boot_ms() + SWEEP_MS;
    pg_set_deadline(s->pg, SWEEP_LIMIT_MS);
    bool ok = db_retention_sweep(s->pg, &s->retention, &counts, err);
    pg_set_deadline(s->pg, s->deadline_pg_ms);
    if (!ok) {
        log_warn("what retention has ended stays for now: %s", err->text);
        return pg_is_connected(s->pg) && err->kind != ERROR_INTERRUPTED;
    }
    count_swept(&counts);
    if (counts.replies_cancelled > 0 || counts.digests_cancelled > 0) {
        log_warn("given up, as nothing could be sent there: %" PRId64 " replies, %" PRId64
                 " digests not made yet",
                 counts.replies_cancelled, counts.digests_cancelled);
    }
    if (counts.more) {
        s->sweep_at_ms = clock_boot_ms() + SWEEP_MORE_MS;
    }
    return true;
}

/* The same: it is tried again, and nobody is kept waiting for it. */
static bool forget(struct scheduler *s, struct error *err)
{
    pg_set_deadline(s->pg, SWEEP_LIMIT_MS);
    bool ok = forgetting_turn(s->forgetting, s->pg, err);
    pg_set_deadline(s->pg, s->deadline_pg_ms);
    if (!ok && err->kind != ERROR_INTERRUPTED && err->kind != ERROR_CONFIG) {
        log_warn("forgetting a member is not done yet: %s", err->text);
        return pg_is_connected(s->pg);
    }
    return ok;
}

static bool turn(struct scheduler *s, bool *progress, struct error *err)
{
    *progress = false;
    if (!listen_once(s, err) || !renew(s, err) || !advance(s, progress, err) || !claim(s, err)) {
        return false;
    }
    catchup_round(s->catchup);
    for (size_t i = s->held_count; i-- > 0;) {
        if (!look(s, &s->held[i], err)) {
            return false;
        }
    }
    for (size_t i = s->held_count; i-- > 0;) {
        if (s->held[i].ready && !collect(s, i, progress, err)) {
            return false;
        }
    }
    return forget(s, err) && sweep(s, err);
}

/* --- the loop --- */

static void wait_for_work(struct scheduler *s, int64_t ms)
{
    struct error err;

    /* What came with a statement's answer has left the connection: it wakes no poll. */
    if (pg_notified(s->pg, &err)) {
        return;
    }
    struct pollfd fds[2] = {{.fd = signals_wake_fd(), .events = POLLIN},
                            {.fd = pg_fd(s->pg), .events = POLLIN}};
    if (poll(fds, 2, (int)(ms < 0 ? 0 : ms)) < 0 && errno != EINTR) {
        log_error("poll failed, errno %d", errno);
    }
}

/* How long there is nothing to do; the connection and the clock may both cut it short. */
static int64_t idle_ms(struct scheduler *s)
{
    struct error err;
    int64_t next;

    if (s->held_count > 0) {
        s->look_ms = s->look_ms * 2 < WAITING_MS ? s->look_ms * 2 : WAITING_MS;
        return s->look_ms;
    }
    if (!db_firings_next_ms(s->pg, &next, &err)) {
        return 0; /* the next turn meets the same error, and says so */
    }
    /* Due, and yet nothing was there to do: another process is at it. */
    if (next <= 0) {
        return LOCKED_MS;
    }
    if (forgetting_idle_ms(s->forgetting) < next) {
        return forgetting_idle_ms(s->forgetting);
    }
    return next < POLL_MS ? next + 1 : POLL_MS;
}

/* What a failed turn leaves to do; false when only an operator can help. */
static bool recover(struct scheduler *s, const struct error *err)
{
    if (err->kind == ERROR_INTERRUPTED) {
        return true;
    }
    if (err->kind == ERROR_CONFIG) {
        log_error("%s", err->text);
        return false;
    }
    outage_begin(&s->outage, err);
    int64_t ms = pg_is_connected(s->pg) ? BROKEN_MS : pg_retry_in_ms(s->pg);
    if (pg_verdict(err) == PG_RETRY && ms > POLL_MS) {
        ms = POLL_MS;
    }
    struct pollfd wake = {.fd = signals_wake_fd(), .events = POLLIN};
    poll(&wake, 1, (int)(ms < 50 ? 50 : ms));
    return true;
}

static void run(struct scheduler *s, bool *misconfigured)
{
    struct error err;
    bool progress;

    /* What is in hand is a slice, and a slice is finished within a turn. */
    while (signals_check() == STOP_NOT) {
        error_clear(&err);
        if (!pg_is_connected(s->pg)) {
            s->listening = false;
        }
        if (turn(s, &progress, &err)) {
            outage_end(&s->outage);
            if (!progress) {
                wait_for_work(s, idle_ms(s));
            }
        } else if (!recover(s, &err)) {
            *misconfigured = true;
            break;
        }
    }
    /* At a stop the lease's end would do as well; this way another goes on at once. */
    pg_set_interrupt(s->pg, -1);
    pg_set_deadline(s->pg, POLL_MS);
    for (size_t i = 0; i < s->held_count; i++) {
        if (pg_is_connected(s->pg)) {
            db_firing_release(s->pg, &s->held[i].claim, &err);
        }
    }
}

int role_schedule(const struct role *role)
{
    const struct config *config = role->config;
    struct scheduler s = {
        .outage = {.what = "PostgreSQL"},
        .max_wait_ms = config_int(config, "schedule", "max_wait"),
        .window_s = config_int(config, "schedule", "missed_window") / 1000,
        .deadline_ms = config_int(config, "digest", "deadline"),
        .private_channels = config_bool(config, "privacy", "private_channels"),
        .external_members = config_bool(config, "privacy", "external_members"),
        .retention =
            {
                .keep_s = config_int(config, "privacy", "retention") / 1000,
                .give_up_s = config_int(config, "deliver", "give_up") / 1000,
                .limit = SWEEP_ROWS,
                .quiet_from = config_string(config, "deliver", "quiet_from"),
                .quiet_until = config_string(config, "deliver", "quiet_until"),
            },
        .deadline_pg_ms = config_int(config, "postgres", "timeout"),
    };
    bool misconfigured = false;
    struct error err;

    s.pg = pg_create(config, "study-worker schedule");
    pg_set_interrupt(s.pg, signals_stop_fd());
    if (catchup_create(&s.catchup, config, signals_stop_fd(), &err)) {
        s.forgetting = forgetting_create(s.catchup);
        run(&s, &misconfigured);
    } else {
        log_error("%s", err.text);
        misconfigured = true;
    }

    while (s.held_count > 0) {
        drop(&s, s.held_count - 1);
    }
    forgetting_destroy(&s.forgetting);
    catchup_destroy(&s.catchup);
    pg_destroy(&s.pg);
    return misconfigured ? ROLE_MISCONFIGURED : EXIT_SUCCESS;
}
