/*
 * Requests to Slack's Web API: bodies, addresses, and what is read out of good answers. Methods
 * that write take JSON; those that read take a form and do not look at JSON. All take POST; other
 * servers of the protocol take nothing else.
 */
#ifndef STUDY_SLACK_WEB_H
#define STUDY_SLACK_WEB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "io/http.h"

#define SLACK_AUTH_TEST "auth.test"
#define SLACK_OPEN      "conversations.open"
#define SLACK_POST      "chat.postMessage"
#define SLACK_HISTORY   "conversations.history"
#define SLACK_REPLIES   "conversations.replies"
#define SLACK_REACT     "reactions.add"
#define SLACK_DELETE    "chat.delete"
#define SLACK_USER      "users.info"

/*
 * Starts a POST of json or, where that is absent, of a form: "" or "a=b&c=d". `once`: libcurl must
 * not repeat it.
 * owner comes back with the response.
 */
bool slack_start(struct http *http, const char *api_url, const char *method, const char *form,
                 const char *token, struct str json, bool once, void *owner, struct error *err);

/*
 * POSTs JSON to a response_url: no token goes with it, and libcurl must not repeat it
 * (https://docs.slack.dev/interactivity/handling-user-interaction#message_responses).
 */
bool slack_respond(struct http *http, const char *url, struct str json, void *owner,
                   struct error *err);

/* An outbox row's body {"url","message"} taken apart. The address is https, or of api_url's own
 * scheme, host and port; anything else is ERROR_INPUT. */
bool slack_response_body(struct text *url, struct text *message, const char *api_url,
                         struct str body, struct error *err);

/* The arguments of reactions.add, or of chat.delete, from a body {"channel","ts","name"}. */
bool slack_change_body(struct text *out, bool reaction, struct str body, struct error *err);

/* {"users": user} */
bool slack_open_body(struct text *out, const char *user_id, struct error *err);

/*
 * A message from an outbox row's body {"text","blocks"}, with the row's id in its metadata, by
 * which it is found again. Slack is told to make neither links nor mentions of plain words.
 */
bool slack_post_body(struct text *out, const char *channel_id, const char *thread_ts,
                     const char *event_type, int64_t outbox_id, struct str body, struct error *err);

/* A value, as a form has it. */
void slack_form_value(struct text *out, struct str s);

/* The form of a channel's history, or of a thread's replies, from a time (Unix seconds) on. */
void slack_history_query(struct text *out, const char *channel_id, const char *thread_ts,
                         int64_t oldest, struct str cursor);

/* The ts of our message (bot_user_id may be absent) whose metadata has this event_type and
 * outbox_id; absent when the page has none. Other apps' metadata may hold the same number. */
struct str slack_find_post(const struct json *page, const char *event_type, struct str bot_user_id,
                           int64_t outbox_id);
/* Absent when there is no further page. */
struct str slack_next_cursor(const struct json *page);

#endif
