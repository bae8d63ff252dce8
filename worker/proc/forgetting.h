/*
 * Members who are being forgotten (db/forget.h), seen to their end by the schedule role: the rows,
 * a little in each turn, then the accept logs. All whose rows are gone at the same time are one
 * group: once the logs have passed that time and Redis has written its append-only file anew,
 * nothing of them is left there either.
 */
#ifndef STUDY_PROC_FORGETTING_H
#define STUDY_PROC_FORGETTING_H

#include <stdbool.h>

#include "base/error.h"
#include "io/pg.h"
#include "proc/catchup.h"

struct forgetting;

struct forgetting *forgetting_create(struct catchup *catchup); /* borrowed */
void forgetting_destroy(struct forgetting **forgetting);

/* A step, if it is time for one. False: PostgreSQL's error, or one of catchup_look's; the next step
 * is then some seconds away. */
bool forgetting_turn(struct forgetting *forgetting, struct pg *pg, struct error *err);

/* Until there is something to do, by what is known here. */
int forgetting_idle_ms(const struct forgetting *forgetting);

#endif
