/* Between event.c and the readers beside it: what a reader is given, and how it answers. */
#ifndef STUDY_INGEST_EVENT_READ_H
#define STUDY_INGEST_EVENT_READ_H

#include "ingest/event.h"

struct reading {
    struct event *out;
    const struct event_rules *rules;
    const struct json *callback; /* the whole body */
    const struct json *event;    /* its inner event */
    struct str type;             /* of the inner event */
    struct str team;             /* checked */
    struct str own_user;         /* our bot's user id; absent when the event does not tell */
};

void event_ignore(struct event *out, const char *reason);
void event_bury(struct event *out, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Take a string that the tables restrict; false: the event was buried. `what` names it for the
 * operator. Ids: 1..64 of A-Z a-z 0-9 _ -; ts: ten digits, a dot, six digits; text: no NUL, at most
 * `most` code points. An optional one may be missing or null, and is then absent.
 */
enum event_need { EVENT_REQUIRED, EVENT_OPTIONAL };
bool event_take_id(struct event *out, const struct json *node, enum event_need need,
                   const char *what, struct str *id);
bool event_take_ts(struct event *out, const struct json *node, enum event_need need,
                   const char *what, struct str *ts);
bool event_take_text(struct event *out, const struct json *node, size_t most, const char *what,
                     struct str *text);

/* "event:<event_id>" into out->identity; false: buried. */
bool event_take_identity(const struct reading *r);

void event_read_message(const struct reading *r);

/* --- forms ---------------------------------------------------------------------------------- */

/*
 * One field of a form, decoded. False: it was missing or empty; a required one is then buried. The
 * bytes are not checked: they may hold NUL or be no UTF-8.
 */
bool event_take_field(struct event *out, struct str body, const char *name, enum event_need need,
                      struct str *value);
/* `prefix` and s into out->identity; false: buried. */
bool event_take_identity_of(struct event *out, const char *prefix, struct str s);
/* The body, or a field, as a JSON object; NULL: buried. */
const struct json *event_parse(struct event *out, struct str body);

/* An answer goes to where Slack says; what is no plain address is not kept. */
struct str event_response_url(struct str url);

void event_read_command(struct event *out, struct str body);
void event_read_interaction(struct event *out, struct str body, const struct event_rules *rules);

#endif
