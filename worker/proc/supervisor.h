/*
 * The supervisor: starts the roles' processes, starts again those that end by themselves, stops
 * them, and changes over to a new configuration. It does no work of its own, talks to nobody but
 * its children and systemd, and so has nothing to crash over.
 *
 *   TERM, INT  stop at once: the children give back what they hold; killed past a limit
 *   QUIT       stop when what is in hand is finished, at most [worker] stop_timeout
 *   HUP        read the file again; with a good one start new children and QUIT the old
 *   USR1       reopen the log, in every process
 */
#ifndef STUDY_PROC_SUPERVISOR_H
#define STUDY_PROC_SUPERVISOR_H

#include "base/config.h"

/* Returns the exit status. Takes the configuration over: *config is NULL afterwards. */
int supervisor_run(struct config **config);

/* What a start and a reload both check beyond the file itself; the log is opened by it. */
bool supervisor_prepare(const struct config *config, struct error *err);

#endif
