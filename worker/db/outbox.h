/*
 * Replies on their way to Slack. One row a reply, one lane a target; only the oldest unfinished
 * reply of a lane is ever worked on, and only by the process that holds its claim token.
 *
 *   pending  --claim--> pending (leased) --outbox_sending--> sending
 *   sending  --outbox_finish--> sent, failed, pending (a sure failure)
 *   sending  --the request's end is unknown, or its process died--> doubtful
 *   doubtful --claim--> doubtful (leased) --outbox_finish--> sent (found in the channel's
 *            history), pending (not there: sent again), parked
 *   cancelled: what it was made from is gone; logged: a setting said that it is not to be sent;
 *   parked, failed: an operator decides
 *
 * A reaction and a deletion that are in doubt are asked for again, which does no harm.
 *
 * `sending` is committed before the request leaves. Locks are taken lane first, then the row.
 */
#ifndef STUDY_DB_OUTBOX_H
#define STUDY_DB_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "io/pg.h"

/*
 * What a reply is, where it stands in line, and its body:
 *
 *   digest, notice  the member (by DM)        {"text","blocks"}; chat.postMessage
 *   channel_notice  the channel               {"text","blocks"}; chat.postMessage
 *   response        "response-" and the user  {"url","message"}; message is posted to the
 *                   response_url url, once and soon: not looked up, not after half an hour
 *   reaction        "reaction-" and channel   {"channel","ts","name"}; reactions.add
 *   delete          "delete-" and channel     {"channel","ts"}; chat.delete
 */
enum outbox_kind {
    OUTBOX_DIGEST,
    OUTBOX_NOTICE,
    OUTBOX_CHANNEL_NOTICE,
    OUTBOX_RESPONSE,
    OUTBOX_REACTION,
    OUTBOX_DELETE,
};

struct outbox_new {
    const char *identity; /* a second row of the same identity is not made */
    const char *kind;     /* as outbox_kind's words */
    const char *team_id;
    const char *target;    /* below */
    const char *thread_ts; /* NULL */
    int64_t digest_id;     /* 0: none */
    int64_t source_version;
    struct str body;       /* below */
    bool hold;             /* it waits for the end of the member's quiet hours, out of line */
    const char *told_host; /* of a notice: the model's host that it names, "" for none */
};
/* Inside the caller's transaction; NOTIFYs deliver when it made any. */
bool outbox_add(struct pg *pg, const struct outbox_new *rows, size_t count, struct error *err);

/* Inside the caller's transaction, before it touches the digests whose replies it will add: lanes
 * come first everywhere. Two arrays of text, equally long. */
bool outbox_lock_lanes(struct pg *pg, struct pg_array *teams, struct pg_array *targets,
                       struct error *err);

struct outbox_work { /* strings are owned */
    int64_t outbox_id;
    char *claim_token;
    enum outbox_kind kind;
    bool doubtful;
    char *team_id;
    char *target;
    char *thread_ts; /* NULL */
    char *body;
    char *channel_id;  /* NULL: not known yet; of a user the DM, once opened */
    char *bot_user_id; /* ours in this workspace; NULL: not known yet */
    int64_t attempts;
    int64_t age_ms;
    int64_t sent_from_us; /* Unix microseconds of the first request; INT64_MIN: none left */
};
void outbox_work_destroy(struct outbox_work **work);

/* By which a member's night is told; SQL, of rows of member m, schedule s and setting e. */
#define OUTBOX_ZONE "study.valid_zone(m.time_zone, study.valid_zone(s.time_zone, e.time_zone))"

/* How long the reply o was held in its member's nights, from one time of day (text) until another;
 * SQL, an interval: a reply that may not go at night does not grow older in it. */
#define OUTBOX_HELD(o, from, until)                                                                \
    "(SELECT COALESCE(sum(GREATEST(LEAST(now(), (day + night.length) AT TIME ZONE zone)"           \
    "      - GREATEST(" o ".created_at, day AT TIME ZONE zone), '0 s')), '0 s')"                   \
    "   FROM study.setting e"                                                                      \
    "   LEFT JOIN study.member m ON m.team_id = " o ".team_id AND m.user_id = " o ".target"        \
    "   LEFT JOIN study.digest d ON d.digest_id = " o ".digest_id"                                 \
    "   LEFT JOIN study.schedule s USING (schedule_id)"                                            \
    "  CROSS JOIN LATERAL (SELECT " OUTBOX_ZONE " AS zone) z"                                      \
    "  CROSS JOIN (SELECT " from "::text::time AS begins, " until "::text::time AS ends) q"        \
    "  CROSS JOIN LATERAL (SELECT q.ends - q.begins + CASE WHEN q.ends < q.begins"                 \
    "                             THEN interval '1 day' ELSE '0 s' END AS length) night"           \
    "  CROSS JOIN LATERAL generate_series("                                                        \
    "        (" o ".created_at AT TIME ZONE zone)::date - interval '1 day' + q.begins,"            \
    "        now() AT TIME ZONE zone, interval '1 day') AS day"                                    \
    "  WHERE " o ".hold)"

struct outbox_terms {
    int limit;
    bool responses_only; /* answers to commands: somebody waits for them */
    int64_t lease_ms;
    int64_t settle_ms;
    const char *quiet_from; /* "22:00", of the member; equal to quiet_until: never */
    const char *quiet_until;
};

/*
 * Claims heads of lanes that are due, answers to commands first, in one transaction of its own.
 * Rows found `sending` after their lease become doubtful, to be looked at settle_ms after it.
 * *next_ms: until the next lane is due; -1 when none is.
 */
bool outbox_claim(struct pg *pg, const struct outbox_terms *terms, struct outbox_work ***works,
                  size_t *count, int64_t *next_ms, struct error *err);

/*
 * Says `sending` for all of them, in one transaction of its own; leases begin anew, lanes are
 * closed for a second. go[i]: still ours, made from what is still there, of a digest wanted, and
 * not paused; otherwise drop the work (what is outdated or unwanted has been cancelled, what is
 * paused given back). channels[i]: where each will be posted.
 */
bool outbox_sending(struct pg *pg, struct outbox_work *const *works, const char *const *channels,
                    size_t count, int64_t lease_ms, bool *go, struct error *err);

/*
 * Makes a `delete` row for each sent digest that was made from a message deleted since
 * (db/messages.h takes its text away), once; at most a hundred a call, in a transaction of its own.
 * *count: made.
 */
bool outbox_retract(struct pg *pg, int64_t *count, struct error *err);

enum outbox_end {
    OUTBOX_SENT,
    OUTBOX_RETRY,    /* surely not sent: pending again after wait_ms */
    OUTBOX_DOUBTFUL, /* may have been sent: looked up after wait_ms */
    OUTBOX_FAILED,   /* Slack will never take this message */
    OUTBOX_PARKED,
    OUTBOX_LOGGED,  /* a setting says that it is not to be sent */
    OUTBOX_RELEASE, /* nothing was tried: as it was before the claim */
};

struct outbox_done {
    const struct outbox_work *work;
    enum outbox_end end;
    const char *sent_ts; /* of a message SENT; else "" */
    int64_t wait_ms;
    const char *error; /* "" */
};
/* In the caller's transaction. Rows that are not ours any more are left alone. A delivered notice
 * is noted with its member, whose waiting digests become due, and digest is NOTIFYed. */
bool outbox_finish(struct pg *pg, const struct outbox_done *done, size_t count, struct error *err);

#endif
