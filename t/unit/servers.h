/* Private servers for unit tests, under a directory of their own; stopped by the id held here. */
#ifndef STUDY_UNIT_SERVERS_H
#define STUDY_UNIT_SERVERS_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline void server_sleep_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

/* Runs argv with output to `log`; its own process group, so that a terminal's Ctrl-C ends it too.
 */
static inline pid_t server_start(const char *log, const char *const argv[])
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGINT);
        if (freopen(log, "a", stdout) == NULL || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) {
            _exit(126);
        }
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

/* Until the path exists, 10 s at most. */
static inline bool server_wait_path(const char *path)
{
    for (int i = 0; i < 500; i++) {
        if (access(path, F_OK) == 0) {
            return true;
        }
        server_sleep_ms(20);
    }
    return false;
}

static inline void server_stop(pid_t *pid, int signo)
{
    if (*pid > 0) {
        kill(*pid, signo);
        waitpid(*pid, NULL, 0);
        *pid = 0;
    }
}

#define SERVER_PG_BIN "/usr/lib/postgresql/15/bin/"

/* PostgreSQL does not run as root: then it is given to, and run as, postgres. */
#define SERVER_AS_POSTGRES "setpriv --reuid=postgres --regid=postgres --clear-groups "

/*
 * A private cluster dir/pg with its socket in dir, superuser "study", trusting whoever reaches the
 * socket. 0 when it does not come up.
 */
static inline pid_t server_start_postgres(const char *dir)
{
    char command[600], data[128], log[128], path[128];
    const char *as = geteuid() == 0 ? SERVER_AS_POSTGRES : "";
    const char *argv[20];
    int n = 0;

    snprintf(command, sizeof(command),
             "mkdir %s/pg && chmod 755 %s && { [ -z '%s' ] || chown postgres %s %s/pg; } && "
             "%s" SERVER_PG_BIN "initdb -D %s/pg -A trust -U study -E UTF8 --locale=C.UTF-8 "
             "--no-sync >%s/initdb.log 2>&1",
             dir, dir, as, dir, dir, as, dir, dir);
    if (system(command) != 0) {
        return 0;
    }
    if (as[0] != '\0') {
        argv[n++] = "setpriv";
        argv[n++] = "--reuid=postgres";
        argv[n++] = "--regid=postgres";
        argv[n++] = "--clear-groups";
        argv[n++] = "--pdeathsig=INT";
    }
    snprintf(data, sizeof(data), "%s/pg", dir);
    snprintf(log, sizeof(log), "%s/pg.log", dir);
    snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", dir);
    const char *rest[] = {SERVER_PG_BIN "postgres", "-D", data,        "-k", dir, "-c",
                          "listen_addresses=",      "-c", "fsync=off", NULL};
    memcpy(argv + n, rest, sizeof(rest));
    pid_t pid = server_start(log, argv);
    return server_wait_path(path) ? pid : 0;
}

#endif
