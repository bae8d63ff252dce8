/* What is applied once, told by an identity: events other than messages (which are their own). */
#ifndef STUDY_DB_APPLIED_H
#define STUDY_DB_APPLIED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/*
 * Takes each identity for this transaction; fresh[i] is false where another has it already (a
 * concurrent one is waited for). Sorted, for concurrent batches; of equal ones the first is fresh.
 */
bool db_applied_claim(struct pg *pg, const struct str *identities, size_t n, bool *fresh,
                      struct error *err);

#endif
