/*
 * What a member asks of us, as rows: switches, language, time, what is held of them, their word on
 * a digest. Everything here runs in the store's transaction, on a member whose row is there, and is
 * safe to repeat.
 */
#ifndef STUDY_DB_MEMBERS_H
#define STUDY_DB_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/* `fallback`: the language where nobody told one. */
struct member {
    bool known; /* false: nothing is recorded of them, they were forgotten for ever */
    bool external; /* of another organisation, as Slack says */
    bool english;
    bool digests;
    bool agreed;         /* consent is yes */
    bool noticed;        /* the privacy notice has arrived */
    char time[8];        /* "08:30", "" where the member chose none */
    int64_t messages;    /* held, the blanked ones left out */
    int64_t digests_got; /* held */
};
bool member_read(struct pg *pg, struct str team, struct str user, const char *fallback,
                 struct member *out, struct error *err);

/*
 * The member's own switch. With opt_in it is their yes or no, too. Digests that waited for a yes
 * become due; replies that were not yet on their way when they said no are not sent.
 */
bool member_switch(struct pg *pg, struct str team, struct str user, bool on, bool opt_in,
                   struct error *err);
/* A yes to the model, by the button of the notice: nothing else changes. */
bool member_consents(struct pg *pg, struct str team, struct str user, struct error *err);
bool member_set_language(struct pg *pg, struct str team, struct str user, const char *language,
                         struct error *err);
/* minute of the day; -1: the schedule's own time */
bool member_set_time(struct pg *pg, struct str team, struct str user, int minute,
                     struct error *err);

/* Records of the member's study day, the newest first, at most `limit` of them. */
struct today_record { /* strings are owned */
    char *channel_id;
    char *ts;
    char *thread_ts; /* NULL: not a reply */
    char *time;      /* "09:12", the member's own */
};
struct today {
    char day[16];   /* "2026-11-21" */
    char *team_url; /* "" while unknown */
    struct today_record *records;
    size_t count;
    int64_t total;  /* of the day */
    int64_t streak; /* days in a row up to this one, or the one before while this one has none */
};
bool member_today(struct pg *pg, struct str team, struct str user, bool private_channels, int limit,
                  struct today *out, struct error *err);
void today_clear(struct today *today);

/* *fresh: it was not asked for before, or has been handed out since. */
bool member_asks_export(struct pg *pg, struct str team, struct str user, bool *fresh,
                        struct error *err);

/* *theirs is false, and nothing is counted, where the digest is another's or gone. */
bool member_says(struct pg *pg, struct str team, struct str user, int64_t digest_id, bool helped,
                 bool *theirs, struct error *err);

#endif
