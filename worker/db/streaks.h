/*
 * Streaks: days of study in a row, and the totals, as a member's digest shows them. A study day is
 * the member's own and begins at study.setting's day_starts; what counts is study.is_record, over
 * all that was ever recorded (the views member_day and streak).
 */
#ifndef STUDY_DB_STREAKS_H
#define STUDY_DB_STREAKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

struct streak {
    int64_t current; /* days in a row up to the firing's study day or the day before it */
    int64_t longest;
    int64_t days; /* with a record, in all */
    int64_t records;
};

/*
 * out[i] is that of digest_ids[i]'s member, as it stood on the study day of the digest's firing;
 * all 0 where there is no such digest. One statement, one index scan a member.
 */
bool db_streaks(struct pg *pg, const int64_t *digest_ids, size_t count, struct streak *out,
                struct error *err);

#endif
