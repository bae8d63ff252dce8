/*
 * What an answer of Slack's Web API means for the message that was to be sent. An error is HTTP 200
 * with {"ok":false,"error":"..."}; only 429 and trouble on Slack's side are statuses
 * (https://docs.slack.dev/apis/web-api/,
 * https://docs.slack.dev/reference/methods/chat.postMessage).
 */
#ifndef STUDY_SLACK_OUTCOME_H
#define STUDY_SLACK_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/text.h"
#include "io/http.h"

enum slack_outcome {
    SLACK_OK,
    SLACK_NOT_SENT,      /* surely not: connect, DNS, TLS, rate limit; again after a while */
    SLACK_RETRY,         /* surely not, and Slack says that it is passing, or nothing we know */
    SLACK_DOUBTFUL,      /* may have been sent */
    SLACK_MESSAGE_NEVER, /* this message will never be taken */
    SLACK_CHANNEL_NEVER, /* nothing will be taken there */
    SLACK_TEAM_STOPS,    /* the workspace does not let us in any more: an operator must act */
};

struct slack_answer {
    enum slack_outcome outcome;
    int64_t wait_ms; /* of a rate limit: until the method may be called again; otherwise -1 */
    char code[64];   /* Slack's word, "http_503", or the transport's class */
    struct json_doc *doc;
    const struct json *root; /* NULL when there was no JSON */
};

/* retry_after: the header, "" when absent. Never fails. */
void slack_read(struct slack_answer *answer, const struct http_response *response,
                const char *retry_after);
/* Of a response_url: any 2xx is its thanks, whatever the body; used up or expired is never. */
void slack_read_response(struct slack_answer *answer, const struct http_response *response,
                         const char *retry_after);
void slack_answer_free(struct slack_answer *answer);

enum slack_outcome slack_error_outcome(struct str error);

/* Missing, 0 or not a number: the default of 30 s, jittered; at most an hour. */
#define SLACK_WAIT_DEFAULT_MS 30000
#define SLACK_WAIT_MAX_MS     3600000
int64_t slack_retry_after_ms(const char *retry_after);

#endif
