/*
 * A command or a press of a button, done and answered in the store's transaction: what it changes
 * and the answer are committed together, once for each trigger_id. The answer is a reply to the
 * `response_url`, seen by the asker alone, in their language.
 */
#ifndef STUDY_PROC_STORE_REQUEST_H
#define STUDY_PROC_STORE_REQUEST_H

#include <stdbool.h>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"
#include "ingest/request.h"
#include "io/pg.h"

struct request_terms {
    const char *language; /* where nobody told one */
    const char *quiet_from, *quiet_until;
    bool opt_in; /* [privacy] consent */
    bool private_channels;
    bool external_members;
};
struct request_terms request_terms_of(const struct config *config);

/* identity: of the event, which the answer's row carries on. */
bool request_apply(struct pg *pg, const struct request_terms *terms, const struct request *request,
                   struct str identity, struct error *err);

#endif
