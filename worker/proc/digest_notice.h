/*
 * The privacy notice that each member gets before the first digest: what is kept, for how long,
 * which host's model sees it, how to stop.
 */
#ifndef STUDY_PROC_DIGEST_NOTICE_H
#define STUDY_PROC_DIGEST_NOTICE_H

#include <stdbool.h>

#include "base/config.h"
#include "base/error.h"
#include "digest/prompt.h"
#include "io/pg.h"

/* Whether the notices fit into a message, in both languages: ERROR_CONFIG. */
bool notices_check(const struct config *config, const struct prompts *prompts, struct error *err);

/* Whether the prompt files are there and can be used; nothing is kept. ERROR_CONFIG, with the file
 * and the line. */
bool digest_check(const struct config *config, struct error *err);

/* The model's host as notices name it, "" where no model is used; to be freed. */
char *notices_host(const struct config *config);

/*
 * Puts a notice into the outbox for every member with a digest that is due who does not count as
 * told. Their digests are not claimed before it has arrived; one that came to nothing is made again
 * after a day. host: notices_host.
 */
bool notices_add(struct pg *pg, const struct config *config, const struct prompts *prompts,
                 const char *host, struct error *err);

/* The same for every channel that we were invited to, in the workspace's language. */
bool channel_notices_add(struct pg *pg, const struct config *config, const struct prompts *prompts,
                         struct error *err);

#endif
