/*
 * Signals of a role's process. TERM and INT: stop at once, give back what is held. QUIT: finish
 * what is in hand, then stop. USR1: reopen the log (done inside signals_check).
 */
#ifndef STUDY_PROC_SIGNALS_H
#define STUDY_PROC_SIGNALS_H

#include <stdbool.h>

#include "base/error.h"

bool signals_install(struct error *err);

/* Readable from the moment of TERM or INT on: hand it to pg_set_interrupt and redis_set_interrupt.
 */
int signals_stop_fd(void);
/* Readable after any signal until signals_check: add it to a role's own waits. */
int signals_wake_fd(void);

enum stop { STOP_NOT, STOP_GRACEFUL, STOP_NOW };

/* Takes notice of what has come; also when the parent is gone (STOP_NOW). */
enum stop signals_check(void);

#endif
