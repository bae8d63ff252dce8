/*
 * Reading what Slack keeps of a channel, page by page
 * (https://docs.slack.dev/reference/methods/conversations.history, .../conversations.replies). Each
 * call keeps Slack's limits together with every other process: it books its turn in
 * study.slack_wait, and what a 429 says is written there. Whatever passes is tried again, with a
 * backoff and an end.
 */
#ifndef STUDY_SLACK_HISTORY_H
#define STUDY_SLACK_HISTORY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "io/http.h"
#include "io/pg.h"
#include "slack/outcome.h"

#define SLACK_INFO "conversations.info"

struct history {
    const struct config *config;
    struct pg *pg;
    struct http *http; /* of its own */
    const char *token;
    char team_id[65]; /* "" until auth.test was asked: then nothing is booked */
    int64_t page;     /* messages a call */
    int64_t interval_ms;
    const volatile sig_atomic_t *stop; /* set: calls end with ERROR_INTERRUPTED */
};

/*
 * One call with a form. True: answer->outcome is SLACK_OK, to be freed with slack_answer_free.
 * False with Slack's word as code when it will not do (ERROR_REMOTE), or after the last attempt.
 */
bool history_call(struct history *history, const char *method, const char *form,
                  struct slack_answer *answer, struct error *err);

/*
 * A page of the channel (thread_ts NULL; the newest first), or of a thread (its first message, then
 * the oldest first), of what was posted between two time stamps, both excluded. cursor: of the page
 * before, or absent.
 */
bool history_page(struct history *history, const char *channel, const char *thread_ts,
                  const char *oldest, const char *latest, struct str cursor,
                  struct slack_answer *answer, struct error *err);

#endif
