/*
 * A role's work with PostgreSQL, a turn of its loop at a time: connected and listening before it,
 * after a failure left alone for a while. What is away is said once, and once when it is back.
 */
#ifndef STUDY_PROC_DB_TURN_H
#define STUDY_PROC_DB_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"
#include "proc/outage.h"

struct db_turn {
    struct pg *pg;
    const char *listen; /* the whole statement: "LISTEN study_digest" */
    struct outage outage;
    bool listening;
    int64_t not_before_ms; /* boot clock */
};

/* False: not in this turn; said and put off. */
bool db_turn_begin(struct db_turn *turn);
/* A statement failed: ten seconds' rest where only an operator can help, else half a second. An
 * interruption is no failure of PostgreSQL's and not said. */
void db_turn_failed(struct db_turn *turn, const char *what, const struct error *err);
void db_turn_worked(struct db_turn *turn);
/* Whether there was a notification. One that came with a statement's answer has left the
 * connection by then and wakes no wait for it: to be asked right before the wait, and after it. */
bool db_turn_notified(struct db_turn *turn);

#endif
