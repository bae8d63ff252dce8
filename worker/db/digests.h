/*
 * Digest rows: claimed with a lease and a token, made, put back or cancelled. Every statement after
 * the claim names the token; a row that is no longer ours is left as it is and reported as lost.
 *
 * pending -> running (claim) -> made (with its reply in the outbox, in one transaction)
 *                            -> pending (a retry, a stop, or its messages changed meanwhile)
 *                            -> cancelled (nothing left of it, or the member wants none)
 */
#ifndef STUDY_DB_DIGESTS_H
#define STUDY_DB_DIGESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "db/streaks.h"
#include "io/pg.h"

#define DIGEST_RECORDS_MAX 1000 /* of one digest; the newest are taken */

struct digest_record { /* a message of the member; strings are owned */
    char *channel_id;
    char *ts;
    char *thread_ts; /* NULL: not a reply */
    char *text;      /* as Slack has it, at most 12,000 code points */
    char *files;     /* names, a line each */
    char *day;       /* the member's study day, as streaks count: "2026-11-21" */
    char *time;      /* "09:12" */
};

struct digest_work {
    int64_t digest_id;
    char *claim_token;
    char *team_id;
    char *user_id;
    int64_t source_version;
    int64_t attempts;   /* this one included */
    bool overdue;       /* the deadline has passed: without a model */
    bool model_allowed; /* the notice was delivered and, where asked for, consent given */
    bool wanted;        /* the member has not turned digests off meanwhile */
    bool weekly;
    bool scheduled;                /* and not fired by hand: it keeps to quiet hours */
    char *language;                /* "ko", "en" */
    char *team_url;                /* "" while unknown */
    char *day;                     /* of the firing, the member's own */
    char *stored_result;           /* NULL, or a validated answer from an earlier attempt */
    char *stored_parts;            /* NULL, or answers for parts of a long day, by such hashes */
    char *stored_hash;             /* hexadecimal SHA-256 of the request that it answered, "" */
    struct digest_record *records; /* oldest first */
    size_t records_count;
    struct streak streak;  /* and totals, as of the firing's study day */
    int64_t records_total; /* more than records_count when the newest were taken */
};

struct digest_terms {
    int limit;
    int64_t lease_ms;
    bool model_open;    /* false: take only what needs no model */
    bool model_enabled; /* [openai] enabled */
    bool opt_in;        /* [privacy] consent */
    bool private_channels;
    const char *language; /* where neither member nor workspace has one */
    const char *host;     /* the model's, as notices name it; "" for none */
};

/* Claims what is due and loads its records, in one transaction of its own. Freed by the caller. */
bool digests_claim(struct pg *pg, const struct digest_terms *terms, struct digest_work ***works,
                   size_t *count, struct error *err);
void digest_work_destroy(struct digest_work **work);

struct budget_limits; /* db/budget.h */
struct budget_use;

struct digest_made {
    const struct digest_work *work;
    const char *origin; /* "model", "factual" */
    const char *model;  /* "" when none was asked */
    struct str result;  /* JSON */
    struct str body;    /* the reply: {"text","blocks"} */
    struct str request; /* what the model was asked; absent: nothing */
    int64_t prompt_tokens;
    int64_t completion_tokens;
    const char *error; /* why it is factual; "" */
    bool stored;       /* out: false when the row was not ours any more, or had changed */
};
/* All of them, their replies and what calls have used (NULL: nothing) in one transaction; what had
 * changed meanwhile is pending again. */
bool digests_store(struct pg *pg, struct digest_made *made, size_t count,
                   const struct budget_limits *limits, const struct budget_use *use,
                   struct error *err);

/* Back to pending, not before next_ms from now, or the deadline if that comes first; error "" keeps
 * none. uncount: the attempt did not happen (a stop). */
bool digest_put_back(struct pg *pg, const struct digest_work *work, int64_t next_ms, bool uncount,
                     int64_t prompt_tokens, int64_t completion_tokens, const char *error,
                     struct error *err);
bool digest_cancel(struct pg *pg, const struct digest_work *work, const char *why,
                   struct error *err);

/* The answer for a part of a long day, so that a crash does not ask again. *kept: false when the
 * row is not ours any more, or its messages have changed. */
bool digest_keep_part(struct pg *pg, const struct digest_work *work, struct str request,
                      struct str result, bool *kept, struct error *err);

/* SHA-256 of a request in hexadecimal, as digests_store keeps it. */
bool digest_request_hash(struct pg *pg, struct str request, char hash[static 65],
                         struct error *err);

/*
 * To be looked at just before the model is asked. fresh[i]: works[i] is still ours, nothing of what
 * it was made from has been deleted, the member has not said no since it was claimed, and
 * neither the role nor the workspace is paused.
 */
bool digests_fresh(struct pg *pg, struct digest_work *const *works, size_t count, bool opt_in,
                   bool *fresh, struct error *err);

/* kept[i] tells whether works[i] is still ours. */
bool digests_renew(struct pg *pg, struct digest_work *const *works, size_t count, int64_t lease_ms,
                   bool *kept, struct error *err);

/*
 * Digests that wait for a notice to arrive, for a yes, or for a lane or a workspace that is stopped
 * are not looked at with every claim: their next_at is put off, by ten minutes at most. A notice's
 * arrival calls them at once (db/outbox.h).
 */
bool digests_rest(struct pg *pg, bool opt_in, struct error *err);

#endif
