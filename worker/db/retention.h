/*
 * What is older than [privacy] retention goes, a small transaction at a time, so that nobody waits
 * for it: messages and tombstones, finished digests with their replies, dead events, applied
 * identities, firings without digests, and the text of notices (their rows stay: they are why a
 * member is not told twice). A reply that is not finished keeps its digest. How many records a
 * member had on each study day stays, in past_day: streaks and totals outlive the text. Deletions that
 * a forgetting under way is waiting for stay until it has counted them.
 *
 * So that everything is finished once: in a workspace or a lane that is stopped, what is older than
 * [deliver] give_up, nights that it was held for not counted, is cancelled, replies and digests; so are digests of that age whose member no
 * notice has reached. A lane that was stopped is tried again after a day.
 */
#ifndef STUDY_DB_RETENTION_H
#define STUDY_DB_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

struct retention_counts {
    int64_t messages, digests, dead_events, applied, firings, notices, replies, parked;
    int64_t lanes_tried, replies_cancelled, digests_cancelled;
    bool more; /* one of them reached the limit */
};

struct retention_terms {
    int64_t keep_s, give_up_s;
    int64_t limit;          /* rows of each kind, at most */
    const char *quiet_from; /* "22:00", of the member; equal to quiet_until: no nights */
    const char *quiet_until;
};

/* Rows that another process holds are left for the next time. */
bool db_retention_sweep(struct pg *pg, const struct retention_terms *terms,
                        struct retention_counts *counts, struct error *err);

#endif
