/*
 * Handing elements to the store through the accept log, as nginx does: to a queue server that takes
 * them, and not while the store has much to do already.
 */
#ifndef STUDY_CTL_FEED_H
#define STUDY_CTL_FEED_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"

struct feed;

/* stop: set, waits end with ERROR_INTERRUPTED. False when no server answers. */
bool feed_open(struct feed **out, const struct config *config, const volatile sig_atomic_t *stop,
               struct error *err);
void feed_close(struct feed **feed);

/* Waits until the store has come so far that more may be handed to it. */
bool feed_await_room(struct feed *feed, struct error *err);
/* An event's element, at the end of the log; tried again for a while. */
bool feed_push(struct feed *feed, struct str element, struct error *err);
/* Until all that was in any server's log at that moment is stored: an earlier run may have filled
 * another. False: not within limit_ms; why: the error that it ended with, "" when it is only slow. */
bool feed_settle(struct feed *feed, int64_t limit_ms, char why[256]);

#endif
