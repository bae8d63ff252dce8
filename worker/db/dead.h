/* Elements that could not be stored: kept whole, with the reason, for studyctl dead. */
#ifndef STUDY_DB_DEAD_H
#define STUDY_DB_DEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

struct db_dead {
    struct str element;
    const char *reason; /* a word */
    const char *detail; /* for the operator; never a member's text */
};

/* In the caller's transaction; an element that lies there already stays as it is. */
bool db_dead_add(struct pg *pg, const struct db_dead *dead, size_t n, struct error *err);

#endif
