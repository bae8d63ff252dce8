/*
 * Members with a digest that is due who do not count as told. One that has a notice on its way, or
 * one that came to nothing less than a day ago, or whose lane is stopped, is not owed another.
 */
#ifndef STUDY_DB_NOTICES_H
#define STUDY_DB_NOTICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

struct notice_owed {
    char *team_id;
    char *user_id;
    char *language;
    int64_t serial; /* 1, 2, ...: of the member's notices */
    bool scheduled; /* no digest that waits for it was fired by hand */
};
/* In order, those behind `after` (NULL: from the first). host: NULL where no model is used. */
bool notices_owed(struct pg *pg, const char *language, const char *host,
                  const struct notice_owed *after, int limit, struct notice_owed **owed,
                  size_t *count, struct error *err);
/* Before the first claim: from now on only those count as told whose last notice named this host of
 * the model; with "", for no model, all whom one has reached. */
bool notices_told_of(struct pg *pg, const char *host, struct error *err);
/* A notice that waits for its member's morning goes at once when a digest fired by hand waits for
 * it: that one keeps to no quiet hours. */
bool notices_let_go(struct pg *pg, struct error *err);
void notices_free(struct notice_owed **owed, size_t count);

#endif
