/*
 * Messages: applying a folded batch, and what a deletion takes with it.
 *
 * The table's rows obey the same order as the fold: a version is newer by (edited_ts,
 * edited_event_ts), a deletion is the newest for ever, accepted_at is the least seen. So any order
 * and repetition of the same batches leaves the same rows.
 */
#ifndef STUDY_DB_MESSAGES_H
#define STUDY_DB_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

struct db_message {
    struct str team, channel, ts;                                    /* the key */
    struct str thread_ts, user, subtype, edited_ts, edited_event_ts; /* may be absent */
    struct str text;
    const struct str *files;
    size_t nfiles;
    int64_t posted_at_us, accepted_at_us; /* Unix */
    bool deleted;    /* then text and files are empty, subtype and edits absent */
    bool only_known; /* no row is made, one that is there is changed */
    bool fresh;      /* expected to have no row yet, which makes it cheaper; see below */
};

struct db_message_counts {
    size_t stored;   /* new rows */
    size_t changed;  /* rows that took a newer version */
    size_t deleted;  /* rows that became tombstones, or came as such */
    size_t repeated; /* nothing to change but perhaps accepted_at */
};

struct db_messages; /* one batch on its way */

struct db_messages *db_messages_create(void);
void db_messages_destroy(struct db_messages **batch);
void db_messages_reset(struct db_messages *batch);
void db_messages_add(struct db_messages *batch, const struct db_message *message); /* copies */

/*
 * In the caller's transaction. Keys must be distinct, and sorted so that concurrent batches do not
 * deadlock.
 *
 * A `fresh` message that has a row after all fails the transaction with SQLSTATE 23505, and is to be
 * applied again without. So do, with 40P01, two batches at once of which each holds the edit of a
 * fresh message of the other: the fresh ones are written first.
 */
bool db_messages_apply(struct pg *pg, struct db_messages *batch, struct db_message_counts *counts,
                       struct error *err);

/*
 * What the batch's deletions take with them, after it was applied. Where a message of a digest became
 * a tombstone: the digest loses its result and gets a higher source_version; its reply, when not yet
 * on its way, is cancelled and the digest made anew from what is left (or cancelled when nothing
 * is); a reply that was sent or given up loses its body; one that is being sent is left to deliver,
 * which compares source_version. Locks digests and then replies, so lanes come before it.
 */
bool db_messages_blank(struct pg *pg, struct db_messages *batch, struct error *err);

#endif
