/*
 * What is known of one message, one element, one reply or one member's day: the rows that studyctl
 * trace tells its story from. Each is answered from a key or an index. Columns are by position, as
 * the enums name them.
 */
#ifndef STUDY_DB_TRACE_H
#define STUDY_DB_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

enum trace_message {
    TM_TEAM,
    TM_CHANNEL,
    TM_TS,
    TM_USER,
    TM_ACCEPTED_AT,
    TM_STORED_AT,
    TM_EDITED,
    TM_DELETED,
    TM_IS_RECORD,
    TM_CHARACTERS,
    TM_PRIVATE,
    TM_WANTED, /* the member has digests on, and did not say no */
    TM_TEXT,   /* null unless show_text */
    TM_POSTED_AT,
};
/* team_id NULL: of whichever workspace has such a one. */
bool trace_message(struct pg *pg, const char *team_id, const char *channel_id, const char *ts,
                   bool show_text, struct pg_result **res, struct error *err);

/* What can be said of a key that has no row: has_channel (something of the channel is recorded),
 * posted_at, now. */
enum trace_absent { TA_HAS_CHANNEL, TA_POSTED_AT, TA_AGE_S };
bool trace_absent(struct pg *pg, const char *channel_id, const char *ts, struct pg_result **res,
                  struct error *err);

enum trace_digest {
    TD_ID,
    TD_SCHEDULE,
    TD_FIRE_AT,
    TD_STATE,
    TD_ORIGIN,
    TD_ATTEMPTS,
    TD_ERROR,
    TD_DEADLINE,
    TD_NEXT_AT,
    TD_MADE_AT,
    TD_CREATED_AT,
    TD_NOTICED, /* the privacy notice has reached the member */
    TD_CONSENT,
    TD_TEAM_STOPPED, /* why, or null */
    TD_LANE_STOPPED,
    TD_PAUSED, /* the reason, or null */
    TD_GONE,   /* of the message asked for: it was deleted */
};
bool trace_digests_of_message(struct pg *pg, const char *team_id, const char *channel_id,
                              const char *ts, struct pg_result **res, struct error *err);
bool trace_digest(struct pg *pg, int64_t digest_id, struct pg_result **res, struct error *err);

enum trace_reply {
    TR_ID,
    TR_KIND,
    TR_STATE,
    TR_ATTEMPTS,
    TR_ERROR,
    TR_NEXT_AT,
    TR_CREATED_AT,
    TR_DONE_AT,
    TR_CHANNEL,
    TR_SENT_TS,
    TR_TEAM_STOPPED,
    TR_LANE_STOPPED,
    TR_LANE_AT, /* the lane's next free second, or when it is tried again */
    TR_PAUSED,
    TR_AHEAD, /* unfinished replies before it in its lane */
    TR_WAIT,  /* Slack's limit for the workspace ends then, or null */
    TR_DIGEST_ID,
    TR_TEAM,
    TR_TARGET,
    TR_HOLD, /* not in the member's quiet hours */
};
bool trace_replies_of_digest(struct pg *pg, int64_t digest_id, struct pg_result **res,
                             struct error *err);
bool trace_reply(struct pg *pg, int64_t outbox_id, struct pg_result **res, struct error *err);
/* The member's notices. */
bool trace_notices(struct pg *pg, const char *team_id, const char *user_id, struct pg_result **res,
                   struct error *err);

/* Among the newest 10,000: dead_id, reason, created_at of those whose element has both words. */
bool trace_dead(struct pg *pg, const char *word, const char *other, struct pg_result **res,
                struct error *err);

/* Schedules that could take a message of this workspace and channel: name, paused, next_at. */
bool trace_schedules(struct pg *pg, const char *team_id, const char *channel_id,
                     struct pg_result **res, struct error *err);

/* Of an event other than a message, a command or a trigger: what, at. */
bool trace_applied(struct pg *pg, const char *id, struct pg_result **res, struct error *err);

/* That user in every workspace that knows of them, or has forgotten them. */
enum trace_member {
    TU_TEAM,
    TU_DIGESTS,
    TU_CONSENT,
    TU_NOTICED_AT,
    TU_FORGOTTEN,
    TU_STANDING,
    TU_TODAY
};
bool trace_members(struct pg *pg, const char *user_id, struct pg_result **res, struct error *err);
/* That day's, by the member's clock (day NULL: the newest): channel_id, ts, at most 200. */
bool trace_day(struct pg *pg, const char *team_id, const char *user_id, const char *day,
               struct pg_result **res, struct error *err);

#endif
