/* Between event.c and event_message.c: what a reader of one event is given, and how it answers. */
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

#endif
