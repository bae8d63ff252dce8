/*
 * The notice board: which processes there should be and which there are, in a mapping shared by
 * the supervisor, who writes, and the status role, who reads. A process adds one thing of its own:
 * the time at which it last looked at its signals, so that one that hangs can be told from one that
 * works.
 */
#ifndef STUDY_PROC_BOARD_H
#define STUDY_PROC_BOARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum board_state {
    BOARD_FREE,    /* no such process is wanted */
    BOARD_WAITING, /* to be started, the first time or again */
    BOARD_RUNNING,
    BOARD_MISCONFIGURED, /* likewise; an operator must act first */
    BOARD_STOPPING,      /* of the configuration before this one */
};

struct board_entry {
    char role[16];
    int index;
    pid_t pid; /* 0: not running */
    enum board_state state;
    int64_t silent_ms; /* since the process last looked at its signals, or started */
};

bool board_create(int entries, struct error *err); /* before fork, once */
int board_size(void);

void board_set(int entry, const char *role, int index, enum board_state state, pid_t pid);
void board_attach(int entry); /* in the child; without it board_beat does nothing */
void board_beat(void);

bool board_get(int entry, struct board_entry *out); /* false: free */

#endif
