/*
 * What Slack says about members (users.info): their clock, their language, and whether they are
 * people of the workspace at all.
 */
#ifndef STUDY_DB_PROFILES_H
#define STUDY_DB_PROFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

struct profile_wanted { /* strings are owned */
    char *team_id;
    char *user_id;
};
/*
 * Members whose profile is unknown or a week old (a day, if they had left), at most `limit` and few
 * of one workspace, of those that may be asked now. Each is given to one caller for five minutes: a
 * profile that does not come by then is asked for again.
 */
bool profiles_claim(struct pg *pg, int limit, struct profile_wanted **wanted, size_t *count,
                    struct error *err);
void profiles_free(struct profile_wanted **wanted, size_t count);

struct profile {
    char *time_zone; /* "" when Slack says none: what is known stays */
    char *locale;
    const char *standing; /* "person", "bot", "external", "gone"; static */
};
struct profile *profile_create(struct str time_zone, struct str locale, const char *standing);
void profile_destroy(struct profile **profile);

/* In the caller's transaction. */
bool profile_keep(struct pg *pg, const char *team_id, const char *user_id,
                  const struct profile *profile, struct error *err);

#endif
