/*
 * What a person asks of us: a slash command (`/study today`) or a press of one of our buttons, in
 * Slack's shapes (https://docs.slack.dev/interactivity/implementing-slash-commands and
 * https://docs.slack.dev/reference/interaction-payloads/block_actions-payload).
 */
#ifndef STUDY_INGEST_REQUEST_H
#define STUDY_INGEST_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

enum request_verb {
    REQUEST_HELP, /* and whatever is not understood */
    REQUEST_TODAY,
    REQUEST_ON,
    REQUEST_OFF,
    REQUEST_LANGUAGE,
    REQUEST_TIME,
    REQUEST_EXPORT,
    REQUEST_FORGET, /* asks back */
    REQUEST_FORGET_YES,
    REQUEST_FORGET_EVER, /* and nothing is recorded any more */
    REQUEST_FORGET_NO,
    REQUEST_CONSENT,
    REQUEST_FEEDBACK,
    REQUEST_REFUSED /* by a person of another organisation */
};

struct request {
    enum request_verb verb;
    bool unclear; /* a word is missing or not understood: of HELP, LANGUAGE, TIME */
    struct str team;
    struct str user;
    struct str response_url; /* absent: there is no way to answer */
    const char *language;    /* of LANGUAGE: "ko", "en" */
    int minute;              /* of TIME: of the day; -1: the schedule's own */
    int64_t digest_id;       /* of FEEDBACK */
    bool helped;             /* of FEEDBACK */
};

#endif
