/*
 * Messages of a channel's history as elements of the accept log: what nginx would have pushed, had
 * Slack sent them. So the store treats them as it treats every event, whatever its rules are.
 */
#ifndef STUDY_CTL_ELEMENTS_H
#define STUDY_CTL_ELEMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

struct element_place {
    const char *team_id, *channel_id;
    const char *bot_user_id;
    const char *enterprise_id; /* "" */
    bool is_private, is_shared;
};

/* The element of a message as conversations.history gives it, read at now_ms; lives in `out`. */
bool element_of(struct text *out, const struct element_place *place, const struct json *message,
                int64_t now_ms, struct error *err);

#endif
