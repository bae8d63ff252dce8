/*
 * What an element means: a change of one message's row, news about a channel, a member or a
 * workspace, a trigger, something to leave alone, or something that cannot be stored. Pure: no
 * clock, no database.
 *
 * Shapes are Slack's Events API (https://docs.slack.dev/reference/events) and, for slash commands
 * and interactions, its forms. The team is the one through which we receive the event
 * (context_team_id, authorizations[0].team_id), not the outer team_id, which in shared channels and
 * on Enterprise Grid may be another's.
 */
#ifndef STUDY_INGEST_EVENT_H
#define STUDY_INGEST_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "ingest/envelope.h"
#include "ingest/request.h"

#define EVENT_TEXT_MAX   200000 /* code points of a message, as the table has it */
#define EVENT_FILES_MAX  100
#define EVENT_MEMORY_MAX 8 /* decoded fields of a form, and the identity */

/* [privacy]: what is recorded beyond our own people in public channels, and what is not any more:
 * a message posted longer than `retention_us` before its event came (0: no limit). */
struct event_rules {
    bool private_channels;
    bool external_members;
    int64_t retention_us;
};

enum event_effect {
    EVENT_IGNORED, /* `reason`; nothing to do */
    EVENT_DEAD,    /* `reason`, `detail`: goes to dead_event whole */
    EVENT_MESSAGE, /* `message` */
    EVENT_CHANNEL, /* `channel`, once per `identity` */
    EVENT_MEMBER,  /* `member`, once per `identity` */
    EVENT_TEAM,    /* `team`, once per `identity` */
    EVENT_REQUEST, /* `request`: a person asks for something, once per `identity` */
    EVENT_TRIGGER  /* `schedule` is to fire, once per `identity` */
};

enum event_privacy { EVENT_UNKNOWN, EVENT_PUBLIC, EVENT_PRIVATE };

/*
 * A message as this event shows it: new, edited or deleted. Its key is (team, channel, ts).
 * Versions are ordered by (edited_ts, edited_event_ts), an unedited one before all others; a
 * deletion is after all others. edited.ts has whole seconds only, so the event's own ts tells two
 * edits within one second apart.
 */
struct message_change {
    struct str team;
    struct str channel;
    struct str ts;
    struct str thread_ts; /* absent unless a reply */
    struct str user;      /* absent in a deletion */
    struct str subtype;   /* absent in a plain message */
    struct str text;
    struct str edited_ts; /* absent: never edited */
    struct str edited_event_ts;
    const struct str *files; /* names */
    size_t nfiles;
    int64_t posted_at_us; /* ts as Unix microseconds */
    int64_t accepted_at_us;
    enum event_privacy privacy; /* of the channel */
    bool deleted;
    bool only_known; /* of a deletion: where such messages are not recorded, so it leaves no row */
    bool repeated;   /* there may be a row of it: Slack says so, or it was in a batch before */
};

struct channel_news {
    struct str team;
    struct str channel;
    struct str name;   /* absent: not told */
    struct str joined; /* whoever came into it; absent: nobody */
    bool joined_is_us; /* false: the event does not tell whether it was our bot */
    enum event_privacy privacy;
};

struct member_news {
    struct str team;
    struct str user;
    struct str time_zone; /* IANA, as Slack tells it; absent: not told */
};

struct team_news {
    struct str team;
    struct str name;        /* absent: not told */
    struct str url;         /* absent: not told */
    const char *stopped_by; /* tokens_revoked, app_uninstalled, or NULL */
};

struct event {
    enum event_effect effect;
    char reason[48];     /* a word */
    char detail[208];    /* for the operator; never what a member wrote */
    struct str identity; /* "event:Ev...", "trigger:..." */
    struct str schedule;
    int64_t received_at_us;
    union {
        struct message_change message;
        struct channel_news channel;
        struct member_news member;
        struct team_news team;
        struct request request;
    };

    /* what the strings above point into */
    struct json_doc *doc;
    struct str *files;
    char *memory[EVENT_MEMORY_MAX];
    size_t nmemory;
};

/*
 * Reads the element's body. Never fails: what cannot be read is EVENT_DEAD. The event's strings
 * live until event_clear, and as long as the envelope and its element.
 */
void event_read(struct event *out, const struct envelope *envelope,
                const struct event_rules *rules);
void event_clear(struct event *event);

/* Makes any event a dead one: its envelope could not be read, or PostgreSQL refused its row. Of the
 * latter only the SQLSTATE is kept, since the message may quote what a member wrote. */
void event_bury_envelope(struct event *event, const struct error *err);
void event_bury_refused(struct event *event, const char *sqlstate);
void event_bury_unread(struct event *event);

#endif
