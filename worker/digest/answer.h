/*
 * The structured answer that the model is asked for, checked here whatever the server promised:
 *   {"studied":[{"text":"...","records":[1,2]}],"went_well":[...],"try_next":"..."}
 * A statement that names no record of this member is dropped; so is one that quotes the
 * instructions. What is kept is clean (clean.h).
 */
#ifndef STUDY_DIGEST_ANSWER_H
#define STUDY_DIGEST_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "digest/openai.h"
#include "digest/source.h"

#define ANSWER_STUDIED_MAX   16
#define ANSWER_WELL_MAX      6
#define ANSWER_CITES_MAX     6
#define ANSWER_STATEMENT_MAX 500 /* code points */

struct answer_statement {
    char *text;
    size_t records[ANSWER_CITES_MAX]; /* from 0 */
    size_t records_count;
};

struct answer {
    struct answer_statement studied[ANSWER_STUDIED_MAX];
    size_t studied_count;
    struct answer_statement went_well[ANSWER_WELL_MAX];
    size_t went_well_count;
    char *try_next; /* NULL when there is none */
};

extern const struct openai_schema answer_schema;

/*
 * False when it will not do: `problem` then says so in English, for the repair, without quoting.
 * Records from `first` to before `end` were sent: numbers run from 1 over these.
 */
bool answer_parse(struct answer **out, struct str content, const struct source *source,
                  size_t first, size_t end, struct str instructions, struct text *problem);
void answer_destroy(struct answer **answer);

/*
 * One answer of those for the parts of a long day, each of which gives its first statements in
 * turn; the newest part says what to try next. Without a further call: that could only lose what
 * was checked, which statement rests on which record, and would be one more thing to fail.
 */
#define ANSWER_PARTS_MAX 8
struct answer *answer_merge(struct answer *const *parts, size_t count);

/* The same shape again, as it is kept with the digest; numbers as they were. */
bool answer_write(struct text *out, const struct answer *answer, size_t first);

#endif
