/* Roles that were told to stop, for one workspace or for all. A claim looks at these rows itself.
 */
#ifndef STUDY_DB_PAUSES_H
#define STUDY_DB_PAUSES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

/* This reason stops the asking of the model only: digests past their deadline are still made. */
#define PAUSE_QUOTA "insufficient_quota"

/* In a statement: whether the role is paused for the workspace that the expression `team` names. */
#define PAUSED_SQL(role, team)                                                                     \
    "EXISTS (SELECT FROM study.pause p WHERE p.role = '" role "' AND p.team_id IN ('', " team ")"  \
    "  AND (p.until IS NULL OR p.until > now()))"

/* team_id "": all. for_ms -1: until resumed. A pause that an operator set stays as it is.
 * *begun: there was none of this reason before. */
bool db_pause_set(struct pg *pg, const char *role, const char *team_id, const char *reason,
                  int64_t for_ms, bool *begun, struct error *err);

/* Whether the role is paused for all workspaces. */
bool db_pause_active(struct pg *pg, const char *role, bool *paused, struct error *err);

#endif
