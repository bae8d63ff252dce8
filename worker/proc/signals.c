/*
 * Signals of a role's process. They stay blocked and are looked at where the role chooses to, so
 * nothing of the role runs in a handler. TERM and INT are never taken: a signalfd over them that
 * nobody reads stays readable, which is what the waits of io/ want.
 */
#include "proc/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "proc/board.h"

static int stop_fd = -1;
static int wake_fd = -1;
static pid_t parent;
static bool quitting;

static sigset_t set_of(const int *signals, size_t count)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < count; i++) {
        sigaddset(&set, signals[i]);
    }
    return set;
}

static sigset_t stop_set(void)
{
    return set_of((const int[]){SIGTERM, SIGINT}, 2);
}

/* Those that are taken as they are noticed. */
static sigset_t taken_set(void)
{
    return set_of((const int[]){SIGQUIT, SIGUSR1}, 2);
}

bool signals_install(struct error *err)
{
    sigset_t stop = stop_set();
    sigset_t all = set_of((const int[]){SIGTERM, SIGINT, SIGQUIT, SIGUSR1}, 4);

    /* A terminal that goes away, or the supervisor's reload, is not for a role. */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &all, NULL);

    stop_fd = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
    wake_fd = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
    if (stop_fd < 0 || wake_fd < 0) {
        return error_set_errno(err, "signalfd");
    }
    parent = getppid();
    quitting = false;
    return true;
}

int signals_stop_fd(void)
{
    return stop_fd;
}

int signals_wake_fd(void)
{
    return wake_fd;
}

static void take(void)
{
    const struct timespec at_once = {0, 0};
    sigset_t taken = taken_set();
    struct error err;
    int sig;

    while ((sig = sigtimedwait(&taken, NULL, &at_once)) > 0 || errno == EINTR) {
        if (sig == SIGQUIT) {
            quitting = true;
        } else if (sig == SIGUSR1 && !log_reopen(&err)) {
            log_error("the log stays as it is: %s", err.text);
        }
    }
}

enum stop signals_check(void)
{
    sigset_t pending;

    board_beat();
    take();
    sigpending(&pending);
    if (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT) || getppid() != parent) {
        return STOP_NOW;
    }
    return quitting ? STOP_GRACEFUL : STOP_NOT;
}
