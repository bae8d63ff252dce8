/*
 * One process of a role, as the supervisor sees it: started, watched, told to stop by growing
 * degrees. Its place in the supervisor's table is its slot of the metrics and its entry on the
 * board, so a role that is started again goes on counting where it was.
 */
#ifndef STUDY_PROC_CHILD_H
#define STUDY_PROC_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/config.h"
#include "proc/role.h"
#include "proc/user.h"

struct role_kind {
    const char *name;
    int (*run)(const struct role *role);
    bool counted; /* [name] processes says how many; else one, if [status] listen */
};

extern const struct role_kind role_kinds[];
extern const int role_kinds_count;

/* How many processes of this kind the configuration asks for, and the most that any could. */
int role_kind_wanted(const struct role_kind *kind, const struct config *config);
int role_kind_most(const struct role_kind *kind);

/* Each has a time limit, after which comes the next. */
enum child_stop { CHILD_STAYS, CHILD_QUIT, CHILD_TERM, CHILD_KILL };

struct child {
    const struct role_kind *kind; /* NULL: a free place */
    int place;
    int index;            /* among the processes of its kind */
    pid_t pid;            /* 0: not running */
    enum child_stop stop; /* what it was told last */
    int64_t stop_at_ms;   /* boot time of the next degree; INT64_MAX: none */
    int64_t started_ms;
    int64_t start_at_ms; /* when pid is 0 */
    unsigned failures;   /* in a row, each soon after its start */
    bool misconfigured;  /* likewise, by its own word */
};

struct child_setting {
    const struct config *config;
    const struct user *user;
    int close_fd; /* the supervisor's own */
};

/* Forks; when that fails it is tried again later. Never returns in the child. */
void child_start(struct child *child, const struct child_setting *setting);

/* Tells it to stop, unless it was told as much before. One that is not running is simply freed. */
void child_stop(struct child *child, enum child_stop how, int64_t stop_timeout_ms);

/* Its end, from waitpid: says so in the log, then frees the place or sets the time of a new start.
 */
void child_ended(struct child *child, int status);

#endif
