/* Operators' changes of schedules and of study.setting. Whoever calls has looked at the words. */
#ifndef STUDY_DB_SCHEDULES_EDIT_H
#define STUDY_DB_SCHEDULES_EDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

/* NULL: as it is, or the default of a new one. "" takes a window, team or channel away. */
struct schedule_edit {
    const char *name;
    const char *kind, *scope, *cron, *time_zone, *missed;
    const char *missed_window; /* as PostgreSQL reads an interval */
    const char *team_id, *channel_id;
};

/* *done is false when there is one of that name already. */
bool db_schedule_add(struct pg *pg, const struct schedule_edit *edit, bool *done,
                     struct error *err);

/* *done is false when there is none. It is reckoned anew when its times have changed. */
bool db_schedule_set(struct pg *pg, const struct schedule_edit *edit, bool *done,
                     struct error *err);

/* What goes with it: firings, digests, and replies that were not sent. */
struct schedule_holds {
    bool known;
    int64_t firings, digests, unsent;
};
bool db_schedule_holds(struct pg *pg, const char *name, struct schedule_holds *holds,
                       struct error *err);
bool db_schedule_remove(struct pg *pg, const char *name, struct error *err);

/* NULL: as it is. The row as it is then is *res. */
bool db_setting(struct pg *pg, const char *day_starts, const char *time_zone,
                struct pg_result **res, struct error *err);

#endif
