/* Workspaces as deliver knows them: who we are there, and whether they still let us in. */
#ifndef STUDY_DB_TEAMS_H
#define STUDY_DB_TEAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/* Ids (owned), at most `limit`: of active workspaces that auth.test has not yet described; or, with
 * stopped_after ("" or an id), of those that are stopped, in order, behind that id. */
bool teams_to_test(struct pg *pg, const char *stopped_after, int limit, char ***team_ids,
                   size_t *count, struct error *err);
void teams_free(char ***team_ids, size_t count);

/* What auth.test said; a stopped workspace is active again. */
bool team_identify(struct pg *pg, const char *team_id, struct str name, struct str url,
                   struct str bot_user_id, struct error *err);
/* *changed: it was active before. */
bool team_stop(struct pg *pg, const char *team_id, const char *reason, bool *changed,
               struct error *err);

/* conversations.open's answer, kept for the next time. */
bool member_dm_opened(struct pg *pg, const char *team_id, const char *user_id,
                      const char *channel_id, struct error *err);

#endif
