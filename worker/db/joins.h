/*
 * Channels that we came into, and whether they were told what is kept. The store notes a coming
 * (study.channel_join); the digest role, which has the words, settles it.
 */
#ifndef STUDY_DB_JOINS_H
#define STUDY_DB_JOINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/* In the caller's transaction; the workspace's row is there. ours: `user` is known to be our bot.
 * Otherwise nothing is noted of a member who was forgotten: that is somebody, and not us. */
bool join_seen(struct pg *pg, struct str team, struct str channel, struct str user, bool ours,
               bool is_private, struct error *err);

bool joins_waiting(struct pg *pg, bool *any, struct error *err);

struct channel_owed {
    char *team_id;
    char *channel_id;
    char *language;
    int64_t serial; /* 1, 2, ...: of the channel's notices */
};

/*
 * Takes the comings that can be told apart, in the caller's transaction, which is to write the
 * notices: ours, now that the workspace's bot is known. A channel that was told less than a month
 * ago is not owed another. What nobody could settle within a day is dropped.
 */
bool joins_settle(struct pg *pg, const char *language, struct channel_owed **owed, size_t *count,
                  struct error *err);
void joins_free(struct channel_owed **owed, size_t count);

#endif
