/*
 * Workspaces, channels and members as messages and Slack's news bring them. Everything here runs in
 * the store's transaction, and is safe to repeat.
 */
#ifndef STUDY_DB_ROSTER_H
#define STUDY_DB_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

enum db_privacy { DB_PRIVACY_UNKNOWN, DB_PUBLIC, DB_PRIVATE };

struct db_channel {
    struct str team, channel;
    enum db_privacy privacy;
};

struct db_member {
    struct str team, user;
    int64_t posted_at_us; /* Unix, of the newest message seen; 0: none, they are here in person */
};

/* Seen in a batch: inserted where missing. Distinct and sorted by key; in this order, for members
 * and channels refer to teams. */
bool db_teams_seen(struct pg *pg, const struct str *teams, size_t n, struct error *err);
bool db_channels_seen(struct pg *pg, const struct db_channel *channels, size_t n,
                      struct error *err);
/* Not a member who was forgotten, by what they had posted before: see db/forget.h. */
bool db_members_seen(struct pg *pg, const struct db_member *members, size_t n, struct error *err);

/* News, of no effect where the row is not there: nobody is recorded for changing a time zone. */
bool db_channel_renamed(struct pg *pg, struct str team, struct str channel, struct str name,
                        struct error *err);
bool db_member_zone(struct pg *pg, struct str team, struct str user, struct str time_zone,
                    struct error *err);
bool db_team_changed(struct pg *pg, struct str team, struct str name, struct str url,
                     struct error *err); /* absent: as it was */
bool db_team_stopped(struct pg *pg, struct str team, const char *reason, struct error *err);

#endif
