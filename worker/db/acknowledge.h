/* Reactions that tell members that a message of theirs was recorded ([store] acknowledge). */
#ifndef STUDY_DB_ACKNOWLEDGE_H
#define STUDY_DB_ACKNOWLEDGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

#define ACKNOWLEDGE_WITHIN_S 120 /* of a message's posting: later it would puzzle */
#define ACKNOWLEDGE_STALE_S  300 /* one that Slack's limit held back so long is not sent */

struct acknowledged {
    struct str team, channel, ts;
};

/*
 * In the store's transaction, behind the messages. Of these, those that are records, were posted
 * just now and had no reaction yet get one; of their channels, what has waited too long is dropped,
 * so that a channel busier than Slack's limit does not pile them up.
 */
bool db_acknowledge(struct pg *pg, const struct acknowledged *messages, size_t n, const char *emoji,
                    struct error *err);

#endif
