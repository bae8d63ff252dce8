/*
 * How far the reading of a channel's history has come: from `latest` back to `oldest`, both time
 * stamps of Slack's; everything from `reached` on has been handed to the store.
 */
#ifndef STUDY_DB_BACKFILL_H
#define STUDY_DB_BACKFILL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

struct backfill {
    char oldest[20], latest[20], reached[20];
    char begun[20]; /* what was posted after this may have come behind the first run's back */
    int64_t messages, threads;
    bool resumed;
};

/* One at a time for a channel, until this connection ends; *taken is false when another is at it.
 */
bool backfill_lock(struct pg *pg, const char *team_id, const char *channel_id, bool *taken,
                   struct error *err);

/*
 * Goes on with one that was not finished, whose oldest may move further back; otherwise begins one.
 * exact: `latest` was asked for, so one of another latest is not the same.
 */
bool backfill_begin(struct pg *pg, const char *team_id, const char *channel_id, const char *oldest,
                    const char *latest, bool exact, struct backfill *out, struct error *err);

/*
 * Whether a message may be handed over: not what its author (absent: nobody) has had forgotten. In
 * the caller's transaction, which is to end once it has been: forgetting waits for it (AWAIT in
 * db/forget_rows.c).
 */
bool backfill_allows(struct pg *pg, const char *team_id, struct str user, struct str ts,
                     bool *allowed, struct error *err);

/* So much has been handed over; reached NULL: all of it. */
bool backfill_advance(struct pg *pg, const char *team_id, const char *channel_id,
                      const char *reached, int64_t messages, int64_t threads, struct error *err);

/* A time as PostgreSQL reads one, or so long ago ("36h", "14d"), in Unix seconds. */
bool backfill_time(struct pg *pg, const char *text, int64_t *at, struct error *err);

/* Messages that are stored of the channel between the two. */
bool backfill_stored(struct pg *pg, const char *team_id, const char *channel_id, const char *oldest,
                     const char *latest, int64_t *count, struct error *err);

#endif
