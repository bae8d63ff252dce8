/*
 * The supervisor's loop. Every signal comes through one descriptor, children that are due to start
 * or to be told more plainly to stop set the wait's limit, and there is nothing else.
 *
 * A reload holds two sets of children at once, so the table has room for two of the largest; a
 * second reload waits until the first one's old children have gone.
 */
#include "proc/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/version.h"
#include "proc/board.h"
#include "proc/child.h"
#include "proc/digest_notice.h"
#include "proc/notify.h"
#include "proc/title.h"
#include "proc/user.h"

struct supervisor {
    struct config *config;
    struct user user;
    struct child *children;
    int places;
    int signal_fd;
    bool stopping;
    bool reload_wanted;
    int64_t watchdog_at_ms;
};

static bool open_log(const struct config *config, const struct user *user, struct error *err)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    const char *path = config_string(config, "log", "file");
    const char *wanted = config_string(config, "log", "level");
    enum log_level level = LOG_LEVEL_INFO;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(wanted, names[i]) == 0) {
            level = (enum log_level)i;
        }
    }
    if (!log_open(path, level, err)) {
        return false;
    }
    /* The children, who are another user by then, open it again after USR1. */
    if (path[0] != '\0' && user->change && chown(path, user->uid, user->gid) != 0) {
        return error_set_errno(err, "log file %s: giving it to user %s", path, user->name);
    }
    return true;
}

/* What only some process would find out, and then too late. */
static bool check_files(const struct config *config, struct error *err)
{
    return config_int(config, "digest", "processes") == 0 || digest_check(config, err);
}

bool supervisor_prepare(const struct config *config, struct error *err)
{
    struct user user;

    return user_find(&user, config, err) && open_log(config, &user, err) &&
           check_files(config, err);
}

/* --- the table of children --- */

static struct child *free_place(struct supervisor *s)
{
    for (int i = 0; i < s->places; i++) {
        if (s->children[i].kind == NULL) {
            return &s->children[i];
        }
    }
    return NULL;
}

static void add_children(struct supervisor *s)
{
    for (int k = 0; k < role_kinds_count; k++) {
        int wanted = role_kind_wanted(&role_kinds[k], s->config);

        for (int i = 0; i < wanted; i++) {
            struct child *child = free_place(s);
            int place = (int)(child - s->children);

            *child = (struct child){
                .kind = &role_kinds[k], .place = place, .index = i, .stop_at_ms = INT64_MAX};
        }
    }
}

static void stop_children(struct supervisor *s, enum child_stop how)
{
    int64_t limit = config_int(s->config, "worker", "stop_timeout");

    for (int i = 0; i < s->places; i++) {
        child_stop(&s->children[i], how, limit);
    }
}

static bool any_left(const struct supervisor *s, bool stopping_only)
{
    for (int i = 0; i < s->places; i++) {
        const struct child *child = &s->children[i];
        if (child->kind != NULL && (!stopping_only || child->stop != CHILD_STAYS)) {
            return true;
        }
    }
    return false;
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < s->places; i++) {
            if (s->children[i].kind != NULL && s->children[i].pid == pid) {
                child_ended(&s->children[i], status);
                break;
            }
        }
    }
}

/* Starts and escalates what is due; returns when there is more to do, in boot time. */
static int64_t attend(struct supervisor *s)
{
    const struct child_setting setting = {s->config, &s->user, s->signal_fd};
    int64_t now = clock_boot_ms();
    int64_t next = INT64_MAX;

    for (int i = 0; i < s->places; i++) {
        struct child *child = &s->children[i];

        if (child->kind != NULL && child->pid != 0 && child->stop_at_ms <= now) {
            child_stop(child, child->stop + 1, 0);
        }
        if (child->kind != NULL && child->pid == 0 && child->start_at_ms <= now) {
            child_start(child, &setting);
        }
        if (child->kind != NULL) {
            int64_t at = child->pid != 0 ? child->stop_at_ms : child->start_at_ms;
            next = at < next ? at : next;
        }
    }
    return next;
}

/* --- signals --- */

static void reload(struct supervisor *s)
{
    struct config *config = NULL;
    struct error err;
    struct user user;

    s->reload_wanted = false;
    notify_reloading();
    if (!config_load(&config, config_path(s->config), &err) || !check_files(config, &err) ||
        !user_find(&user, config, &err) || !open_log(config, &user, &err)) {
        log_error("the configuration stays as it is: %s", err.text);
        config_destroy(&config);
        notify_ready("running; the last reload failed");
        return;
    }
    stop_children(s, CHILD_QUIT); /* with the old file's stop_timeout */
    config_destroy(&s->config);
    s->config = config;
    s->user = user;
    add_children(s);
    log_info("configuration read again; new processes take over");
    notify_ready("running");
}

static void reopen(struct supervisor *s)
{
    struct error err;

    if (!log_reopen(&err) || !open_log(s->config, &s->user, &err)) {
        log_error("the log stays as it is: %s", err.text);
    }
    for (int i = 0; i < s->places; i++) {
        if (s->children[i].kind != NULL && s->children[i].pid != 0) {
            kill(s->children[i].pid, SIGUSR1);
        }
    }
}

static void stop(struct supervisor *s, enum child_stop how, const char *why)
{
    if (!s->stopping) {
        notify_stopping();
    }
    log_info("%s: stopping%s", why, how == CHILD_QUIT ? " when what is in hand is done" : "");
    s->stopping = true;
    stop_children(s, how);
}

static void take_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGTERM:
            stop(s, CHILD_TERM, "SIGTERM");
            break;
        case SIGINT:
            stop(s, CHILD_TERM, "SIGINT");
            break;
        case SIGQUIT:
            stop(s, CHILD_QUIT, "SIGQUIT");
            break;
        case SIGHUP:
            s->reload_wanted = !s->stopping;
            break;
        case SIGUSR1:
            reopen(s);
            break;
        case SIGCHLD:
            break; /* reap() looks anyway */
        }
    }
}

static void wait_for_work(struct supervisor *s, int64_t until_ms)
{
    struct pollfd pfd = {.fd = s->signal_fd, .events = POLLIN};
    int64_t now = clock_boot_ms();
    int64_t ms;

    if (s->watchdog_at_ms <= now) {
        notify_watchdog();
        s->watchdog_at_ms = now + notify_watchdog_ms();
    }
    until_ms = until_ms < s->watchdog_at_ms ? until_ms : s->watchdog_at_ms;
    ms = until_ms - now;
    poll(&pfd, 1, ms <= 0 ? 0 : ms > 60000 ? 60000 : (int)ms);
}

/* --- start and end --- */

static bool set_up(struct supervisor *s, struct error *err)
{
    sigset_t set;

    for (int k = 0; k < role_kinds_count; k++) {
        s->places += 2 * role_kind_most(&role_kinds[k]);
    }
    s->children = calloc((size_t)s->places, sizeof(*s->children));
    if (s->children == NULL) {
        return error_set(err, ERROR_SYSTEM, "no memory");
    }

    sigemptyset(&set);
    for (int i = 0; i < 6; i++) {
        sigaddset(&set, (const int[]){SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD}[i]);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0) {
        return error_set_errno(err, "signalfd");
    }

    /* Slot 0 is the supervisor's own. */
    if (!user_find(&s->user, s->config, err) || !metrics_create(s->places + 1, err) ||
        !board_create(s->places, err)) {
        return false;
    }
    metrics_attach(0);
    metrics_set(METRIC_BUILD_INFO, STUDY_VERSION, NULL, 1);
    s->watchdog_at_ms = notify_watchdog_ms() == INT64_MAX ? INT64_MAX : 0;
    return true;
}

static void run(struct supervisor *s)
{
    add_children(s);
    log_info("study-worker " STUDY_VERSION " started");

    for (bool ready = false; any_left(s, false);) {
        int64_t next = attend(s);

        if (!ready) {
            notify_ready("running");
            ready = true;
        }
        wait_for_work(s, next);
        take_signals(s);
        reap(s);
        if (s->reload_wanted && !any_left(s, true)) {
            reload(s);
        }
    }
    log_info("study-worker stopped");
}

int supervisor_run(struct config **config)
{
    struct supervisor s = {.config = *config, .signal_fd = -1, .watchdog_at_ms = INT64_MAX};
    struct error err;
    int status = EXIT_FAILURE;

    *config = NULL;
    title_set("supervisor (%s)", config_path(s.config));
    if (set_up(&s, &err)) {
        run(&s);
        status = EXIT_SUCCESS;
    } else {
        log_error("%s", err.text);
    }

    if (s.signal_fd >= 0) {
        close(s.signal_fd);
    }
    free(s.children);
    metrics_detach_all();
    config_destroy(&s.config);
    return status;
}
