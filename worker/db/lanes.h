/*
 * Keeping Slack's limits for all processes together: what a lane may not do any more, how long a
 * method must wait in a workspace (its Retry-After), and our own pace for methods that Slack limits
 * by the minute.
 */
#ifndef STUDY_DB_LANES_H
#define STUDY_DB_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

/* https://docs.slack.dev/apis/web-api/rate-limits: several hundred messages a minute a workspace,
 * and fifty calls a minute of tier 3's methods, bursts included. */
#define SLACK_POST_MS        200
#define SLACK_POST_BURST_MS  4000
#define SLACK_TIER3_MS       1500
#define SLACK_TIER3_BURST_MS 13500

/* a hundred a minute of tier 4's */
#define SLACK_TIER4_MS       700
#define SLACK_TIER4_BURST_MS 7000

/* For a day: then it is tried again (db/retention.h), as a member may have come back. */
bool lane_stop(struct pg *pg, const char *team_id, const char *target, const char *reason,
               struct error *err);

/* No call of the method in the workspace for wait_ms; a longer wait that stands is kept. */
bool slack_wait_set(struct pg *pg, const char *team_id, const char *method, int64_t wait_ms,
                    struct error *err);

/*
 * Books `count` calls of a method, an interval apart, of which `burst_ms` worth may go at once.
 * *wait_ms: 0 when they may go now; otherwise nothing was booked, and it is worth asking then.
 */
bool slack_wait_take(struct pg *pg, const char *team_id, const char *method, int64_t interval_ms,
                     int64_t burst_ms, int count, int64_t *wait_ms, struct error *err);

#endif
