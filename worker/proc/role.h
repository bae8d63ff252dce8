/*
 * What a role's process is given, and the roles' entry points. The supervisor forks; the child
 * attaches its metrics slot, drops privileges, sets the parent-death signal, installs its signals
 * and calls the role's function, whose return value is the process' exit status: EXIT_SUCCESS after
 * an orderly stop, ROLE_MISCONFIGURED when an operator must act first, anything else is a crash.
 */
#ifndef STUDY_PROC_ROLE_H
#define STUDY_PROC_ROLE_H

#include "base/config.h"

#define ROLE_MISCONFIGURED 78 /* EX_CONFIG: the supervisor starts it again slowly and says why */

struct role {
    const char *name;            /* "store", ...; also the metrics label */
    int index;                   /* 0.. among the processes of this role */
    const struct config *config; /* loaded before the fork */
};

int role_store(const struct role *role);
int role_schedule(const struct role *role);
int role_digest(const struct role *role);
int role_deliver(const struct role *role);
int role_status(const struct role *role);

#endif
