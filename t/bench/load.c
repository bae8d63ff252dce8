/*
 * The loop of the load generator: when a request starts, on which connection,
 * and when the run is over.
 */

#include "load.h"
#include "conn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BATCH    512
#define SWEEP_NS UINT64_C(100000000)

static volatile sig_atomic_t stopped;

void load_stop(void)
{
    stopped = 1;
}

/* --- new requests -------------------------------------------------------- */

static bool conn_has_room(const struct load *load, const struct conn *c)
{
    const struct options *opt = load->opt;
    uint64_t limit = !opt->keepalive ? 1 : opt->requests_per_connection;

    return c->state != CONN_CLOSING && c->count < opt->pipeline && (limit == 0 || c->taken < limit);
}

/* How many events are due now. */
static uint64_t due(const struct load *load, uint64_t now)
{
    const struct options *opt = load->opt;
    uint64_t n;

    if (opt->rate <= 0) {
        return opt->requests;
    }
    n = (uint64_t)((double)(now - load->start) / 1e9 * opt->rate) + 1;
    return n < opt->requests ? n : opt->requests;
}

static bool conn_take(struct load *load, struct conn *c, uint64_t now)
{
    struct request *rq = &c->ring[(c->head + c->count) % load->opt->pipeline];

    if (rq->bytes == NULL) {
        rq->bytes = malloc(event_max_request(load->source));
        if (rq->bytes == NULL) {
            return false;
        }
    }
    rq->event = event_next(load->source);
    rq->len = event_request(load->source, &rq->event, rq->bytes);
    if (rq->len == 0) {
        return false;
    }
    rq->resends = 0;
    rq->taken = now;
    rq->start = load->opt->rate > 0
                    ? load->start + (uint64_t)((double)load->result->sent / load->opt->rate * 1e9)
                    : now;
    load->result->kinds[rq->event.kind]++;
    load->result->sent++;
    c->count++;
    c->unsent++;
    c->taken++;
    return true;
}

/* Gives a connection what it may take, and sends it. */
static bool conn_fill(struct load *load, struct conn *c)
{
    uint64_t now = conn_clock();

    /* Round again when a connection that had stood idle turns out to be closed. */
    for (;;) {
        while (!stopped && conn_has_room(load, c) && load->result->sent < due(load, now)) {
            if (!conn_take(load, c, now)) {
                return false;
            }
            if (load->opt->rate > 0) {
                break;
            }
        }
        if (c->count > 0 && c->state == CONN_NONE) {
            conn_open(load, c);
        }
        /* What could not be opened waits for the next sweep: no hot loop against a dead server. */
        if (c->count == 0 || c->state != CONN_OPEN || conn_write(load, c)) {
            return true;
        }
    }
}

/* Open loop: hands what is due to the connections with room, in turn. */
static bool hand_out(struct load *load)
{
    while (!load->saturated && !stopped && load->result->sent < due(load, conn_clock())) {
        unsigned tried = 0;
        struct conn *c;

        do {
            c = &load->conns[load->cursor++ % load->opt->connections];
        } while (!conn_has_room(load, c) && ++tried < load->opt->connections);
        if (!conn_has_room(load, c)) {
            load->saturated = true;
        } else if (!conn_fill(load, c)) {
            return false;
        }
    }
    return true;
}

static void set_timer(struct load *load)
{
    uint64_t now = conn_clock(), at = now + SWEEP_NS;
    struct itimerspec spec = {0};

    if (load->opt->rate > 0 && !load->saturated && load->result->sent < load->opt->requests) {
        uint64_t next =
            load->start + (uint64_t)((double)load->result->sent / load->opt->rate * 1e9);

        at = next < now ? now + 1 : next < at ? next : at;
    }
    spec.it_value.tv_sec = (time_t)(at / 1000000000);
    spec.it_value.tv_nsec = (long)(at % 1000000000);
    timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* The client's own limit of requests a connection. */
static void conn_retire(struct load *load, struct conn *c)
{
    uint64_t limit = load->opt->requests_per_connection;

    if (c->state == CONN_OPEN && c->count == 0 && limit > 0 && c->taken >= limit) {
        conn_drop(c);
    }
}

static bool conn_event(struct load *load, struct conn *c, uint32_t events)
{
    if (c->state == CONN_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        int error = 0;
        socklen_t len = sizeof(error);

        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0) {
            conn_lost(load, c, error == EADDRNOTAVAIL ? LOAD_PORTS : LOAD_CONNECT);
            return true;
        }
        c->state = CONN_OPEN;
        conn_write(load, c);
    } else if (c->state == CONN_OPEN && (events & EPOLLOUT) != 0) {
        conn_write(load, c);
    }
    if ((c->state == CONN_OPEN || c->state == CONN_CLOSING) &&
        (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        conn_read(load, c);
    }
    conn_retire(load, c);
    return c->state == CONN_CONNECTING || c->state == CONN_CLOSING ||
           (load->opt->rate > 0 && c->count == 0) || conn_fill(load, c);
}

/* --- the loop ------------------------------------------------------------ */

static bool sweep(struct load *load, uint64_t now)
{
    uint64_t limit = (uint64_t)(load->opt->timeout * 1e9);

    for (unsigned i = 0; i < load->opt->connections; i++) {
        struct conn *c = &load->conns[i];

        if (c->state == CONN_CLOSING && now - c->since > UINT64_C(1000000000)) {
            conn_drop(c);
        } else if (c->count > 0 && now > c->ring[c->head].taken + limit) {
            conn_lost(load, c, LOAD_TIMEOUT);
        } else if (c->state != CONN_NONE) {
            continue;
        }
        load->saturated = false;
        if (load->opt->rate <= 0 && !conn_fill(load, c)) {
            return false;
        }
    }
    return true;
}

static bool loop(struct load *load)
{
    struct epoll_event events[BATCH];
    uint64_t end = load->start + (uint64_t)(load->opt->duration * 1e9);
    uint64_t swept = load->start;

    while (load->finished < load->opt->requests && !stopped) {
        uint64_t now = conn_clock();
        int n;

        if (now >= end) {
            fprintf(stderr, "sender: the %g s are over\n", load->opt->duration);
            return false;
        }
        if (now - swept >= SWEEP_NS) {
            swept = now;
            if (!sweep(load, now)) {
                return false;
            }
        }
        if (load->opt->rate > 0 && !hand_out(load)) {
            return false;
        }
        set_timer(load);
        n = epoll_wait(load->epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != NULL &&
                !conn_event(load, events[i].data.ptr, events[i].events)) {
                return false;
            }
        }
    }
    return load->finished == load->opt->requests;
}

static bool prepare(struct load *load)
{
    const struct options *opt = load->opt;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

    load->source = event_source_create(&opt->event);
    load->conns = calloc(opt->connections, sizeof(*load->conns));
    load->result->latency = stats_create();
    if (load->source == NULL || load->conns == NULL || load->result->latency == NULL) {
        fputs("sender: out of memory, or no HMAC\n", stderr);
        return false;
    }
    for (unsigned i = 0; i < opt->connections; i++) {
        load->conns[i].fd = -1;
        load->conns[i].ring = calloc(opt->pipeline, sizeof(struct request));
        if (load->conns[i].ring == NULL) {
            return false;
        }
        conn_drop(&load->conns[i]);
    }
    if (opt->ids_file != NULL && (load->ids = fopen(opt->ids_file, "we")) == NULL) {
        fprintf(stderr, "sender: %s: %s\n", opt->ids_file, strerror(errno));
        return false;
    }
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (load->epoll < 0 || load->timer < 0 ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->timer, &ev) != 0) {
        fprintf(stderr, "sender: epoll: %s\n", strerror(errno));
        return false;
    }
    return true;
}

static void release(struct load *load)
{
    for (unsigned i = 0; load->conns != NULL && i < load->opt->connections; i++) {
        conn_drop(&load->conns[i]);
        for (unsigned k = 0; load->conns[i].ring != NULL && k < load->opt->pipeline; k++) {
            free(load->conns[i].ring[k].bytes);
        }
        free(load->conns[i].ring);
    }
    free(load->conns);
    event_source_destroy(&load->source);
    if (load->ids != NULL && fclose(load->ids) != 0) {
        fprintf(stderr, "sender: %s: %s\n", load->opt->ids_file, strerror(errno));
    }
    if (load->epoll >= 0) {
        close(load->epoll);
    }
    if (load->timer >= 0) {
        close(load->timer);
    }
}

bool load_run(const struct options *opt, struct load_result *result)
{
    struct load *load = calloc(1, sizeof(*load));
    bool ok = false;

    memset(result, 0, sizeof(*result));
    if (load == NULL) {
        return false;
    }
    load->opt = opt;
    load->result = result;
    load->epoll = load->timer = -1;
    if (prepare(load)) {
        load->start = conn_clock();
        ok = true;
        for (unsigned i = 0; ok && opt->rate <= 0 && i < opt->connections; i++) {
            ok = conn_fill(load, &load->conns[i]);
        }
        ok = ok && loop(load);
        result->wall_s = (double)(conn_clock() - load->start) / 1e9;
    }
    release(load);
    free(load);
    return ok;
}
