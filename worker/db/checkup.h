/* What studyctl doctor asks the database: one row of facts each, by position. */
#ifndef STUDY_DB_CHECKUP_H
#define STUDY_DB_CHECKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

enum checkup_server {
    CS_VERSION, /* "15.8" */
    CS_STANDBY, /* in recovery */
    CS_READ_ONLY,
    CS_SYNCHRONOUS, /* synchronous_commit of our session */
    CS_FSYNC,
    CS_CLOCK_US,    /* Unix microseconds */
    CS_OLDEST_S,    /* age of the oldest transaction that we may see */
    CS_BYTES,       /* of the database */
    CS_CONNECTIONS, /* per cent of max_connections in use */
    CS_ENCODING,
    CS_QUOTING, /* a login of the worker whose refused rows the server's log quotes; or NULL */
};
bool checkup_server(struct pg *pg, struct pg_result **res, struct error *err);

/* Rows: role, what it lacks. None: all is granted. `study_worker` has to reach every table, and so
 * have we; and somebody has to be able to log in as the worker. */
bool checkup_rights(struct pg *pg, struct pg_result **res, struct error *err);

enum checkup_work {
    CW_DEAD,
    CW_PARKED,
    CW_FAILED,       /* within a day */
    CW_DOUBTFUL_OLD, /* for longer than an hour */
    CW_UNSENT_OLD_S, /* age of the oldest due reply in a lane that is open */
    CW_LANES_STOPPED,
    CW_UNNOTICED,    /* members with a waiting digest whom no notice has reached for an hour */
    CW_DIGESTS_LATE, /* past their deadline for ten minutes, with nothing in their way */
    CW_FIRINGS_LATE, /* waiting or collecting for ten minutes */
    CW_SCHEDULES,    /* that are not paused */
    CW_TEAMS,
};
bool checkup_work(struct pg *pg, struct pg_result **res, struct error *err);

/* Whether the event of this id was applied. */
bool checkup_applied(struct pg *pg, const char *event_id, bool *yes, struct error *err);

#endif
