/*
 * The status role: measures every [status] interval, and serves /metrics, /healthz and /status.json
 * from what it last saw. It goes on serving while PostgreSQL is slow, from the tick of the wait; a
 * Redis server gets half a second, and one that used it up is left alone for a while.
 */
#include "proc/role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "io/httpd.h"
#include "proc/outage.h"
#include "proc/signals.h"
#include "proc/sockets.h"
#include "proc/status_page.h"

#define POSTGRES_MS     5000 /* of a statement; served meanwhile */
#define TICK_MS         20
#define REDIS_MS        500
#define REDIS_AWAY_MS   2000 /* base and most of the pause after a failure */
#define REDIS_AWAY_MOST 15000
#define SILENT_MS       60000
#define BIND_MS         300  /* between two attempts to listen */
#define BIND_SILENT_MS  3000 /* at a reload the one before us is about to give the address up */

struct source {
    struct queue *queue;
    struct outage outage;
    unsigned failures;
    int64_t next_ms; /* boot time; not asked before */
};

struct role_state {
    const struct config *config;
    struct httpd *httpd; /* NULL: not yet listening */
    struct outage listening;
    int64_t born_ms, bind_at_ms, measure_at_ms;
    struct pg *pg;
    struct outage postgres;
    struct source sources[STATUS_SERVERS_MAX];
    int limit_fd; /* readable at a stop, and when Redis has had its time */
    int timer_fd;
    struct status status;
};

/* --- pages --- */

static unsigned handle(void *arg, const char *path, struct text *body, const char **type)
{
    struct role_state *s = arg;

    if (strcmp(path, "/metrics") == 0) {
        *type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_write(body);
        return 200;
    }
    if (strcmp(path, "/healthz") == 0) {
        *type = "text/plain; charset=utf-8";
        return status_health(&s->status, body) ? 200 : 503;
    }
    if (strcmp(path, "/status.json") == 0) {
        *type = "application/json";
        return status_json(&s->status, body) ? 200 : 500;
    }
    text_adds(body, "/metrics /healthz /status.json\n");
    return 404;
}

static void serve(void *arg)
{
    struct role_state *s = arg;

    if (s->httpd != NULL) {
        httpd_run(s->httpd, 0, -1);
    }
}

/* False: an operator must change the address. */
static bool open_pages(struct role_state *s)
{
    const char *address = config_string(s->config, "status", "listen");
    int64_t now = clock_boot_ms();
    struct error err;

    if (s->httpd != NULL || now < s->bind_at_ms) {
        return true;
    }
    if (httpd_create(&s->httpd, address, handle, s, &err)) {
        outage_end(&s->listening);
        return true;
    }
    if (err.kind == ERROR_CONFIG) {
        log_error("[status] listen: %s", err.text);
        return false;
    }
    if (now - s->born_ms >= BIND_SILENT_MS) {
        outage_begin(&s->listening, &err);
    }
    s->bind_at_ms = now + BIND_MS;
    return true;
}

/* --- measuring --- */

static void keep_error(char *out, size_t size, const struct error *err)
{
    snprintf(out, size, "%.*s", (int)size - 1, err->text);
}

static void set_database_gauges(const struct overview *o)
{
    for (size_t i = 0; i < OVERVIEW_DIGEST_STATES; i++) {
        metrics_set(METRIC_DIGESTS, overview_digest_states[i], NULL, (double)o->digests[i]);
    }
    for (size_t i = 0; i < OVERVIEW_OUTBOX_STATES; i++) {
        metrics_set(METRIC_OUTBOX, overview_outbox_states[i], NULL, (double)o->outbox[i]);
    }
    for (size_t i = 0; i < OVERVIEW_PAUSABLE; i++) {
        metrics_set(METRIC_PAUSED, overview_pausable[i], NULL, o->paused[i]);
    }
    metrics_set(METRIC_FEEDBACK, "helped", NULL, (double)o->helped);
    metrics_set(METRIC_FEEDBACK, "wrong", NULL, (double)o->wrong);
    metrics_set(METRIC_EXPORT_REQUESTS, NULL, NULL, (double)o->export_requests);
    metrics_set(METRIC_BUDGET_TOKENS, NULL, NULL, (double)o->budget_tokens);
    metrics_set(METRIC_BUDGET_COST, NULL, NULL, o->budget_cost);
    metrics_set(METRIC_BUDGET_GONE, NULL, NULL, o->budget_gone);
    metrics_set(METRIC_OUTBOX_OLDEST_SECONDS, NULL, NULL, o->outbox_oldest_s);
    metrics_set(METRIC_SCHEDULE_LAG_SECONDS, NULL, NULL, o->schedule_lag_s);
    metrics_set(METRIC_DEAD_EVENTS, NULL, NULL, (double)o->dead_events);
    metrics_clear(METRIC_LAST_FIRING_TIMESTAMP);
    for (size_t i = 0; i < o->schedule_count; i++) {
        if (o->schedules[i].last_at != 0) {
            metrics_set(METRIC_LAST_FIRING_TIMESTAMP, o->schedules[i].name, NULL,
                        (double)o->schedules[i].last_at);
        }
    }
}

static void measure_postgres(struct role_state *s)
{
    struct overview overview;
    struct error err;

    if (pg_connect(s->pg, &err) && overview_read(s->pg, &overview, &err)) {
        outage_end(&s->postgres);
        s->status.postgres_ok = true;
        s->status.overview = overview;
        set_database_gauges(&overview);
        return;
    }
    if (err.kind == ERROR_INTERRUPTED) {
        return;
    }
    /* While it spaces its attempts, the first reason says more than "not now". */
    if (s->status.postgres_ok || s->status.postgres_error[0] == '\0' ||
        pg_retry_in_ms(s->pg) == 0) {
        keep_error(s->status.postgres_error, sizeof(s->status.postgres_error), &err);
    }
    s->status.postgres_ok = false;
    outage_begin(&s->postgres, &err);
}

static void arm_limit(struct role_state *s, int64_t ms)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};

    timerfd_settime(s->timer_fd, 0, &when, NULL);
}

static void measure_redis(struct role_state *s, struct source *source, struct status_server *server)
{
    struct error err;

    if (clock_boot_ms() < source->next_ms) {
        return;
    }
    arm_limit(s, REDIS_MS);
    server->ok = queue_lengths(source->queue, &server->lengths, &err);
    arm_limit(s, 0);
    if (server->ok) {
        double age = (double)(clock_wall_ms() - server->lengths.oldest_ms) / 1000;

        source->failures = 0;
        outage_end(&source->outage);
        for (int list = 0; list < QUEUE_LISTS; list++) {
            metrics_set(METRIC_QUEUE_LENGTH, server->name, status_lists[list],
                        (double)server->lengths.list[list]);
        }
        metrics_set(METRIC_QUEUE_OLDEST_SECONDS, server->name, NULL,
                    server->lengths.oldest_ms != 0 && age > 0 ? age : 0);
        return;
    }
    if (signals_check() == STOP_NOW) {
        return;
    }
    if (err.kind == ERROR_INTERRUPTED) {
        error_set(&err, ERROR_TIMEOUT, "no answer within %d ms", REDIS_MS);
    }
    keep_error(server->error, sizeof(server->error), &err);
    outage_begin(&source->outage, &err);
    source->next_ms =
        clock_boot_ms() + clock_backoff_ms(++source->failures, REDIS_AWAY_MS, REDIS_AWAY_MOST);
}

static void measure_sockets(void)
{
    int64_t counts[SOCKET_STATES] = {0};

    bool any = sockets_count("/proc/net/tcp", counts);
    any |= sockets_count("/proc/net/tcp6", counts);
    for (size_t i = 1; any && i < SOCKET_STATES; i++) {
        metrics_set(METRIC_TCP_SOCKETS, socket_states[i], NULL, (double)counts[i]);
    }
}

static void measure(struct role_state *s)
{
    if (clock_boot_ms() < s->measure_at_ms) {
        return;
    }
    measure_sockets();
    measure_postgres(s);
    for (size_t i = 0; i < s->status.server_count; i++) {
        serve(s);
        measure_redis(s, &s->sources[i], &s->status.servers[i]);
    }
    s->status.measured = true;
    s->status.measured_ms = clock_boot_ms();
    s->measure_at_ms = s->status.measured_ms + s->status.interval_ms;
}

/* --- the loop --- */

static bool set_up(struct role_state *s, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    const char *const *addresses;
    size_t count = config_list(s->config, "redis", "servers", &addresses);

    s->limit_fd = epoll_create1(EPOLL_CLOEXEC);
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->limit_fd < 0 || s->timer_fd < 0 ||
        epoll_ctl(s->limit_fd, EPOLL_CTL_ADD, s->timer_fd, &event) != 0 ||
        epoll_ctl(s->limit_fd, EPOLL_CTL_ADD, signals_stop_fd(), &event) != 0) {
        return error_set_errno(err, "timer");
    }

    s->pg = pg_create(s->config, "study-worker status");
    pg_set_interrupt(s->pg, signals_stop_fd());
    pg_set_deadline(s->pg, POSTGRES_MS);
    pg_set_tick(s->pg, TICK_MS, serve, s);

    for (size_t i = 0; i < count && i < STATUS_SERVERS_MAX; i++) {
        if (!queue_create(&s->sources[i].queue, s->config, addresses[i], err)) {
            return false;
        }
        queue_set_interrupt(s->sources[i].queue, s->limit_fd);
        s->status.servers[i].name = queue_name(s->sources[i].queue);
        s->sources[i].outage.what = s->status.servers[i].name;
        s->status.server_count++;
    }
    return true;
}

static bool run(struct role_state *s)
{
    while (signals_check() == STOP_NOT) {
        if (!open_pages(s)) {
            return false;
        }
        measure(s);
        int64_t ms = s->measure_at_ms - clock_boot_ms();
        if (s->httpd == NULL) {
            usleep(BIND_MS * 1000);
        } else if (ms > 0) {
            httpd_run(s->httpd, (int)(ms < 1000 ? ms : 1000), signals_wake_fd());
        }
    }
    return true;
}

int role_status(const struct role *role)
{
    struct role_state *s = calloc(1, sizeof(*s));
    int status = ROLE_MISCONFIGURED;
    struct error err;

    if (s == NULL) {
        return EXIT_FAILURE;
    }
    s->config = role->config;
    s->listening.what = "the status pages";
    s->postgres.what = "PostgreSQL";
    s->born_ms = clock_boot_ms();
    s->status.interval_ms = config_int(role->config, "status", "interval");
    /* Longer than the longest wait between two looks, which is for a statement. */
    s->status.silent_ms = SILENT_MS + config_int(role->config, "postgres", "timeout");
    s->limit_fd = s->timer_fd = -1;

    if (!set_up(s, &err)) {
        log_error("%s", err.text);
    } else if (run(s)) {
        status = EXIT_SUCCESS;
    }

    httpd_destroy(&s->httpd);
    for (size_t i = 0; i < s->status.server_count; i++) {
        queue_destroy(&s->sources[i].queue);
    }
    pg_destroy(&s->pg);
    close(s->timer_fd);
    close(s->limit_fd);
    free(s);
    return status;
}
