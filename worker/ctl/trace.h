/* Telling what became of a message, a digest or a reply, from the rows and the lists. */
#ifndef STUDY_CTL_TRACE_H
#define STUDY_CTL_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl/ctl.h"
#include "ctl/story.h"

/* A key that may be asked for without its workspace. */
struct trace_key {
    const char *team; /* NULL: any */
    const char *channel;
    const char *ts;
};

/* Each adds its steps; false: the database could not be asked. */
bool trace_tell_message(struct ctl *ctl, const struct trace_key *key, struct story *story,
                        struct error *err);
bool trace_tell_digest(struct ctl *ctl, int64_t digest_id, struct story *story, bool *found,
                       struct error *err);
bool trace_tell_reply(struct ctl *ctl, int64_t outbox_id, struct story *story, bool *found,
                      struct error *err);
/* What still lies in Redis, or in dead_event, with both words in it; *found: something does. */
bool trace_tell_waiting(struct ctl *ctl, const char *word, const char *other, struct story *story,
                        bool *found, struct error *err);

#endif
