/*
 * Our buttons in Slack: action_id and what its value holds. Written where messages are (digest/,
 * proc/), read where presses come in (ingest/). A message in Slack lives for years, so none of
 * these is ever given another meaning.
 */
#ifndef STUDY_BASE_ACTION_H
#define STUDY_BASE_ACTION_H

#define ACTION_HELPED      "study_helped"      /* the digest's id */
#define ACTION_WRONG       "study_wrong"       /* the digest's id */
#define ACTION_CONSENT     "study_consent"     /* the member's user id, as of all below */
#define ACTION_FORGET      "study_forget"      /* what is stored of them is deleted */
#define ACTION_FORGET_EVER "study_forget_ever" /* and nothing is stored any more */
#define ACTION_FORGET_KEEP "study_forget_keep" /* it is not */

#endif
