/*
 * What a person asks of us: a slash command (`/study today`) or a press of one of our buttons, in
 * Slack's shapes (https://docs.slack.dev/interactivity/implementing-slash-commands and
 * https://docs.slack.dev/reference/interaction-payloads/block_actions-payload).
 *
 * The ids and values of the buttons are made where messages are written (digest/, proc/) and read
 * here; a message in Slack lives for years, so neither is ever given another meaning.
 */
#ifndef STUDY_INGEST_REQUEST_H
#define STUDY_INGEST_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

#define ACTION_HELPED      "study_helped"      /* value: the digest's id */
#define ACTION_WRONG       "study_wrong"       /* value: the digest's id */
#define ACTION_CONSENT     "study_consent"     /* value: the member's user id */
#define ACTION_FORGET      "study_forget"      /* value: the member's user id */
#define ACTION_FORGET_EVER "study_forget_ever" /* value: the member's user id */
#define ACTION_FORGET_KEEP "study_forget_keep" /* value: the member's user id */

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
