/*
 * What an operator changes by hand: studyctl's switches. Each is a transaction of its own and says
 * what it found, so that a command can tell why nothing was done. Locks are taken as everywhere:
 * the lane, then the digest, then the reply.
 */
#ifndef STUDY_DB_OPERATE_H
#define STUDY_DB_OPERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/* ---- pauses ---- */

struct operate_pause {
    const char *role;
    const char *team_id; /* "": all workspaces */
    const char *reason;
    const char *until; /* a time as PostgreSQL reads it; NULL: see for_ms */
    int64_t for_ms;    /* -1: until resumed */
};
/* A pause that is there already takes the new reason and end, and keeps its beginning. One row:
 * role, team_id, reason, since, until. ERROR_INPUT when `until` is no time, or has passed. */
bool operate_pause(struct pg *pg, const struct operate_pause *pause, struct pg_result **res,
                   struct error *err);
/* Ends the pause of exactly this role and workspace; wakes who waits. *found: there was one. */
bool operate_resume(struct pg *pg, const char *role, const char *team_id, bool *found,
                    struct error *err);

/* A resumed schedule is reckoned anew: what fell into its pause is not made up. *found: there is
 * such a schedule; *changed: it was not so before. */
bool operate_schedule_pause(struct pg *pg, const char *name, bool paused, bool *found,
                            bool *changed, struct error *err);

/* ---- dead events ---- */

/* Ids up to the newest of now, with one reason (NULL: any) and older than `before` (a time as
 * PostgreSQL reads it; NULL: any), in order behind `after`: dead_id. */
bool operate_dead_ids(struct pg *pg, const char *reason, const char *before, int64_t after,
                      int limit, struct pg_result **res, struct error *err);
/* How many there are of them. */
bool operate_dead_count(struct pg *pg, const char *reason, const char *before, int64_t *count,
                        struct error *err);
/*
 * Takes one away, in the caller's transaction, and gives its element (one row, or none: it is not
 * there). A store that has it again waits for that transaction's end, so an element that was put
 * back into Redis before the COMMIT, and dies again, leaves its row again.
 */
bool operate_dead_take(struct pg *pg, int64_t dead_id, struct pg_result **res, struct error *err);
bool operate_dead_purge(struct pg *pg, const char *reason, const char *before, int64_t *count,
                        struct error *err);

/* ---- digests and replies ---- */

enum operate_verdict {
    OPERATE_DONE,
    OPERATE_NONE,    /* there is no such row */
    OPERATE_REFUSED, /* `why` says it */
    OPERATE_ASK,     /* it may send something twice: only when told to (`sure`) */
};
struct operate_said {
    enum operate_verdict verdict;
    char why[200]; /* of REFUSED and ASK; of DONE what it still waits for, or "" */
};

/*
 * Has a digest made anew, from what is left of its messages: one that was cancelled, one made
 * without a model, one whose reply failed. A pending one becomes due. One that is in hand, or whose
 * reply is on its way, is refused; one whose reply was sent, or may have been, is OPERATE_ASK
 * unless `again`.
 */
bool operate_digest_retry(struct pg *pg, int64_t digest_id, bool again, int64_t deadline_ms,
                          struct operate_said *said, struct error *err);

/*
 * Has a reply sent (again): failed and parked ones become pending, as new; waiting ones become due;
 * the lane, if stopped, is tried. Parked and doubtful ones may have been sent: OPERATE_ASK unless
 * `sure`.
 */
bool operate_outbox_retry(struct pg *pg, int64_t outbox_id, bool sure, struct operate_said *said,
                          struct error *err);
/* Takes a waiting reply out of its lane until somebody retries it. */
bool operate_outbox_park(struct pg *pg, int64_t outbox_id, struct operate_said *said,
                         struct error *err);

/* ---- settings of people ---- */

bool operate_team_set(struct pg *pg, const char *team_id, const char *language, bool *found,
                      struct error *err);
struct operate_member {
    const char *language; /* NULL: as it is */
    const char *consent;
    int digests; /* 0, 1; -1: as it is */
};
/* Waiting digests of the member are looked at at once. */
bool operate_member_set(struct pg *pg, const char *team_id, const char *user_id,
                        const struct operate_member *change, bool *found, struct error *err);

#endif
