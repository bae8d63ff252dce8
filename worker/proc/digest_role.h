/*
 * Inside the digest role: its state, and the three files that work on it. role_digest.c has the
 * loop, what is claimed and what is asked; digest_answers.c what the model's server says about all
 * calls; digest_store.c what goes back into the database.
 */
#ifndef STUDY_PROC_DIGEST_ROLE_H
#define STUDY_PROC_DIGEST_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/budget.h"
#include "db/digests.h"
#include "proc/db_turn.h"
#include "proc/digest_call.h"

struct digest_role {
    const struct config *config;
    struct db_turn db;
    char *host; /* the model's, of which members were told */
    bool begun; /* those who were told of another are no longer told */
    struct http *http;
    struct prompts *prompts;
    struct model model;
    struct digest_terms terms;
    struct budget_limits limits;
    struct budget_use use; /* of calls that were answered, not yet in the month's */

    struct call **calls; /* claimed, in any state */
    size_t count;
    size_t concurrency; /* asked at once */
    size_t pool;        /* claimed at once: some stand ready for the moment an answer comes */

    int64_t claim_at_ms; /* boot clock */
    bool more;           /* the last claim took all that it had room for */
    int64_t answered_at_ms;
    int64_t tidy_at_ms;
    int64_t renew_at_ms;
    int64_t pause_at_ms;
    int64_t hold_until_ms;
    unsigned failures; /* of the model's server, in a row */
    bool model_down;   /* said so */
};

size_t digest_count_state(const struct digest_role *d, enum call_state state);

/* Takes answers that are there: calls move on, and what they say about the server is kept. True:
 * there may be more; they came together, and what stands ready need not wait for the last of them.
 */
bool digest_take_answers(struct digest_role *d);
bool digest_model_open(const struct digest_role *d);

/* Whatever the last turn has finished goes into the database; on failure it is kept and tried
 * again. */
void digest_store(struct digest_role *d);
/* What calls have used goes into the month's, where no digest comes of it just now. A commit whose
 * outcome is unknown may count it twice: rather that than not at all. */
bool digest_settle(struct digest_role *d, struct error *err);
/* A third of the leases' time has passed: all of them anew; calls that are no longer ours go. */
void digest_renew(struct digest_role *d);
/* The end: stores what is finished and gives everything else back. */
void digest_release_all(struct digest_role *d);

#endif
