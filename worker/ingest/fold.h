/*
 * One batch as the database wants it: a row a message, however many events were about it; keys
 * sorted, so that two stores that meet the same rows lock them in the same order; and the distinct
 * teams, channels and members that the messages need.
 */
#ifndef STUDY_INGEST_FOLD_H
#define STUDY_INGEST_FOLD_H

#include <stddef.h>

#include "ingest/event.h"

/*
 * Folds `from` into `into`, which is about the same message. Any order and repetition of the same
 * changes gives the same result; the statement that applies a row to the table follows the same
 * rules.
 */
void message_fold(struct message_change *into, const struct message_change *from);
/* < 0, 0, > 0 as version a is older than, the same as, newer than b. */
int message_compare_version(const struct message_change *a, const struct message_change *b);

struct fold;

struct fold_member {
    struct str team;
    struct str user;
    int64_t posted_at_us; /* of the newest of their messages */
};

struct fold *fold_create(void);
void fold_destroy(struct fold **fold);
void fold_reset(struct fold *fold);

/* Messages only; the strings are borrowed. */
void fold_add(struct fold *fold, const struct message_change *message);

/* After the last fold_add: sorts, folds, lists. */
void fold_finish(struct fold *fold);
const struct message_change *fold_messages(const struct fold *fold, size_t *n);
const struct str *fold_teams(const struct fold *fold, size_t *n);
const struct channel_news *fold_channels(const struct fold *fold, size_t *n);
const struct fold_member *fold_members(const struct fold *fold, size_t *n);

#endif
