/*
 * Waiting until the accept logs have caught up with a time T: all that nginx had acknowledged by T
 * is then stored. Each Redis server is asked, at or after T, how far its log reaches, and later
 * whether that much has gone through. A server that cannot be asked has not caught up.
 */
#ifndef STUDY_PROC_CATCHUP_H
#define STUDY_PROC_CATCHUP_H

#include <stdbool.h>

#include "base/config.h"
#include "base/error.h"

struct catchup;          /* the servers, shared by all waits */
struct catchup_progress; /* one wait */

bool catchup_create(struct catchup **out, const struct config *config, int interrupt_fd,
                    struct error *err);
void catchup_destroy(struct catchup **catchup);

/* Created at or after T. commands_too: what waits in control counts as well. */
struct catchup_progress *catchup_begin(const struct catchup *catchup, bool commands_too);
void catchup_end(struct catchup_progress **progress);

/* Call before each round of catchup_look: within a round a server that failed is not asked again.
 */
void catchup_round(struct catchup *catchup);

/*
 * *yes: every server has caught up. False with ERROR_CONFIG (an unsafe Redis) or ERROR_INTERRUPTED
 * only; a server that is away is logged once and otherwise means *yes = false.
 */
bool catchup_look(struct catchup *catchup, struct catchup_progress *progress, bool *yes,
                  struct error *err);

/*
 * After catchup_look has said yes: every server writes its append-only file anew. *yes: all have.
 * why: the first that has not, and for which reason ("": it is at it). Fails as catchup_look does.
 */
bool catchup_rewrite(struct catchup *catchup, struct catchup_progress *progress, bool *yes,
                     char why[256], struct error *err);

#endif
