/*
 * Firings: rows that say "the digests of this schedule for T are owed". A firing waits until the
 * accept logs have caught up with T, then its members are collected in slices, a transaction each,
 * with the cursor in the row; so any number of schedulers may die at any moment.
 *
 * A firing is claimed with a lease and a token, and every later write names the token. Times are
 * PostgreSQL's.
 */
#ifndef STUDY_DB_FIRINGS_H
#define STUDY_DB_FIRINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/*
 * A trigger: a firing with an identity ("trigger:...", at most 300 bytes) of its own, for all that
 * was accepted before `received_at_us`. One that was there already is the same firing, and no
 * error. *known is false when there is no such schedule; a paused one is triggered all the same.
 * Call it in a transaction.
 */
bool db_firing_trigger(struct pg *pg, struct str schedule, struct str identity,
                       int64_t received_at_us, bool *known, struct error *err);

struct firing_new {
    const char *time_zone;
    const char *digest_time; /* of a member_clock; "": the schedule's own time */
    int64_t at;              /* Unix seconds */
    bool skipped;
};

/*
 * Those that are not there yet: how many, how many of them are skipped, and how many of the rest
 * are no younger than `timely_at` (Unix seconds). In the transaction that advances the schedule.
 */
struct firing_added {
    int64_t all, skipped, late;
};
bool db_firings_insert(struct pg *pg, int64_t schedule_id, const struct firing_new *firings,
                       size_t count, int64_t timely_at, struct firing_added *added,
                       struct error *err);

struct firing_claim {
    int64_t firing_id;
    int64_t schedule_id;
    char token[40];
    char schedule[65];
    int64_t waited_ms; /* since it was due and known, at the time of the claim */
    bool collecting;   /* begun by one that did not finish */
    bool triggered;    /* by a request, not by the clock */
};

/* The oldest due firings that nobody holds, at most `max`. */
bool db_firings_claim(struct pg *pg, int64_t lease_ms, size_t max, struct firing_claim *out,
                      size_t *count, struct error *err);

/* held[i] tells whether claim i is still ours; its lease then starts anew. */
bool db_firings_renew(struct pg *pg, int64_t lease_ms, const struct firing_claim *claims,
                      size_t count, bool *held, struct error *err);

/* Gives a claim back. */
bool db_firing_release(struct pg *pg, const struct firing_claim *claim, struct error *err);

/* How long until there is a firing or schedule to look at; INT64_MAX: none in sight. */
bool db_firings_next_ms(struct pg *pg, int64_t *ms, struct error *err);

struct firing_slice_limits {
    int64_t members;
    int64_t lease_ms;
    int64_t deadline_ms;   /* of the digests, from now */
    bool overdue;          /* written down: the accept logs had not caught up */
    bool private_channels; /* what was stored of them while the setting was on */
    bool external_members; /* those whom Slack says to be of another organisation */
};

enum firing_slice { FIRING_MORE, FIRING_DONE, FIRING_BUSY, FIRING_LOST };

/*
 * The next slice of members, in a transaction of its own: a digest row for each that has records,
 * with its items. A record is a message that counts (study.is_record), of the schedule's workspace
 * and channel, accepted before T, posted within the kind's window (daily 48 hours, weekly 8 days),
 * and in no digest of the schedule. Members who want none, or said no, get none; nor do those whom
 * Slack last said to be bots, to have left or, unless external_members says so, to be of another
 * organisation.
 *
 * A firing by members' clocks is for those who go by its clock at that moment, and for the study
 * days that had ended by T and began within the window (daily two, weekly eight); so one who
 * changes zones or times once between two firings, or there and back, finds everything in the next.
 * Two changes to elsewhere can put more than 48 hours between two daily firings: what is older than
 * the window then is the weekly one's. A trigger of the same
 * schedule is for all its members and up to T. What a weekly one has had is not digested by a daily
 * one again.
 *
 * FIRING_BUSY: another firing of the same schedule is at it, try again. FIRING_LOST: not ours.
 * A message that is deleted at this moment may become an item: whoever reads items skips deleted
 * messages, and cancels a digest that has no other.
 */
bool db_firing_collect(struct pg *pg, const struct firing_claim *claim,
                       const struct firing_slice_limits *limits, enum firing_slice *result,
                       int64_t *digests, struct error *err);

#endif
