/*
 * A role's process from fork to its end. One that ends soon after each start is started again ever
 * more slowly; one that says that it is misconfigured, slowly from the beginning and with one line
 * in the log, for only an operator can help it.
 */
#include "proc/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/options.h"
#include "proc/board.h"
#include "proc/signals.h"
#include "proc/title.h"

#define SOON_MS          10000 /* an end this soon after the start counts as a failed start */
#define RESTART_BASE_MS  200
#define RESTART_MAX_MS   30000
#define MISCONFIGURED_MS 30000
#define TERM_LIMIT_MS    5000 /* then SIGKILL */

const struct role_kind role_kinds[] = {
    {"store", role_store, true},    {"schedule", role_schedule, true},
    {"digest", role_digest, true},  {"deliver", role_deliver, true},
    {"status", role_status, false},
};
const int role_kinds_count = sizeof(role_kinds) / sizeof(role_kinds[0]);

/* Gauges speak of the present: those of a process that is gone for good are forgotten. */
static const enum metric gauges[] = {
    METRIC_QUEUE_LENGTH,
    METRIC_QUEUE_OLDEST_SECONDS,
    METRIC_DEAD_EVENTS,
    METRIC_DIGESTS,
    METRIC_SCHEDULE_LAG_SECONDS,
    METRIC_LAST_FIRING_TIMESTAMP,
    METRIC_OUTBOX,
    METRIC_OUTBOX_OLDEST_SECONDS,
    METRIC_TCP_SOCKETS,
    METRIC_UNSAFE,
    METRIC_PAUSED,
};

int role_kind_wanted(const struct role_kind *kind, const struct config *config)
{
    if (kind->counted) {
        return (int)config_int(config, kind->name, "processes");
    }
    return config_string(config, "status", "listen")[0] != '\0';
}

int role_kind_most(const struct role_kind *kind)
{
    return kind->counted ? (int)option_find(kind->name, "processes")->max : 1;
}

static void show(const struct child *child, enum board_state state)
{
    board_set(child->place, child->kind->name, child->index, state, child->pid);
}

static _Noreturn void become(const struct child *child, const struct child_setting *setting,
                             pid_t supervisor)
{
    const struct role role = {child->kind->name, child->index, setting->config};
    struct error err;

    close(setting->close_fd);
    if (child->kind->counted) {
        title_set("%s %d", role.name, role.index);
    } else {
        title_set("%s", role.name);
    }
    log_set_role(role.name);
    metrics_attach(child->place + 1);
    board_attach(child->place);

    if (!user_become(setting->user, &err)) {
        log_error("%s", err.text);
        exit(ROLE_MISCONFIGURED);
    }
    /* After the change of user, which undoes it; and the parent may have gone just before. */
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != supervisor) {
        exit(EXIT_SUCCESS);
    }
    if (!signals_install(&err)) {
        log_error("%s", err.text);
        exit(EXIT_FAILURE);
    }
    exit(child->kind->run(&role));
}

void child_start(struct child *child, const struct child_setting *setting)
{
    pid_t supervisor = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        become(child, setting, supervisor);
    }
    child->started_ms = clock_boot_ms();
    if (pid < 0) {
        child->failures++;
        child->start_at_ms =
            child->started_ms + clock_backoff_ms(child->failures, RESTART_BASE_MS, RESTART_MAX_MS);
        log_error("cannot start %s %d: fork: %s", child->kind->name, child->index, strerror(errno));
        show(child, BOARD_WAITING);
        return;
    }
    child->pid = pid;
    log_debug("%s %d is process %d", child->kind->name, child->index, (int)pid);
    show(child, child->misconfigured ? BOARD_MISCONFIGURED : BOARD_RUNNING);
}

static void release(struct child *child)
{
    child->pid = 0;
    show(child, BOARD_FREE);
    metrics_attach(child->place + 1);
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        metrics_clear(gauges[i]);
    }
    metrics_attach(0);
    child->kind = NULL;
}

void child_stop(struct child *child, enum child_stop how, int64_t stop_timeout_ms)
{
    static const int signals[] = {
        [CHILD_QUIT] = SIGQUIT, [CHILD_TERM] = SIGTERM, [CHILD_KILL] = SIGKILL};

    if (child->kind == NULL || child->stop >= how) {
        return;
    }
    child->stop = how;
    if (child->pid == 0) {
        release(child);
        return;
    }
    if (how == CHILD_KILL) {
        log_warn("%s %d (process %d) does not stop: killing it", child->kind->name, child->index,
                 (int)child->pid);
    }
    kill(child->pid, signals[how]);
    child->stop_at_ms = how == CHILD_QUIT   ? clock_boot_ms() + stop_timeout_ms
                        : how == CHILD_TERM ? clock_boot_ms() + TERM_LIMIT_MS
                                            : INT64_MAX;
    show(child, BOARD_STOPPING);
}

static int64_t restart_in_ms(struct child *child, int status)
{
    bool soon = clock_boot_ms() - child->started_ms < SOON_MS;

    child->misconfigured = WIFEXITED(status) && WEXITSTATUS(status) == ROLE_MISCONFIGURED;
    child->failures = soon ? child->failures + 1 : 0;
    if (child->misconfigured) {
        return MISCONFIGURED_MS;
    }
    return child->failures < 2
               ? 0
               : clock_backoff_ms(child->failures - 1, RESTART_BASE_MS, RESTART_MAX_MS);
}

static void say_end(const struct child *child, int status, bool said_before, int64_t restart_ms)
{
    const char *name = child->kind->name;
    double seconds = (double)restart_ms / 1000;

    if (WIFSIGNALED(status)) {
        log_error("%s %d (process %d) was killed by signal %d (%s); starting it again in %.1f s",
                  name, child->index, (int)child->pid, WTERMSIG(status),
                  strsignal(WTERMSIG(status)), seconds);
    } else if (!child->misconfigured) {
        log_error("%s %d (process %d) ended with status %d; starting it again in %.1f s", name,
                  child->index, (int)child->pid, WEXITSTATUS(status), seconds);
    } else if (!said_before) {
        log_error("%s %d cannot work until what it said above is put right; trying again every "
                  "%.0f s",
                  name, child->index, seconds);
    }
}

void child_ended(struct child *child, int status)
{
    if (child->stop != CHILD_STAYS) {
        if (WIFSIGNALED(status) && child->stop != CHILD_KILL) {
            log_warn("%s %d (process %d) was killed by signal %d while it stopped",
                     child->kind->name, child->index, (int)child->pid, WTERMSIG(status));
        }
        release(child);
        return;
    }
    bool said_before = child->misconfigured;
    int64_t restart_ms = restart_in_ms(child, status);

    say_end(child, status, said_before, restart_ms);
    metrics_add(METRIC_RESTARTS_TOTAL, child->kind->name, NULL, 1);
    child->pid = 0;
    child->start_at_ms = clock_boot_ms() + restart_ms;
    show(child, child->misconfigured ? BOARD_MISCONFIGURED : BOARD_WAITING);
}
