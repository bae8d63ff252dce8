/* Writing down, and saying, what became of deliver's jobs. */
#ifndef STUDY_PROC_DELIVER_END_H
#define STUDY_PROC_DELIVER_END_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "io/pg.h"
#include "proc/deliver_job.h"

/*
 * Writes down those jobs that are DONE, in one transaction: rows, waits, stopped lanes and
 * workspaces. What PostgreSQL refuses with the others is tried alone, and what it refuses alone is
 * left (JOB_GONE) to the end of its lease. stopped[i]: the workspace was active until now.
 */
bool ends_write(struct pg *pg, struct job *const *jobs, size_t count, bool *stopped,
                struct error *err);

void end_say(const struct job *job, bool team_stopped);

#endif
