/*
 * The rights that the Slack app's manifest asks for (and says what each is for): what a token is
 * held against. Slack tells those of a token in the header x-oauth-scopes of every answer
 * (https://docs.slack.dev/authentication/installing-with-oauth).
 */
#ifndef STUDY_SLACK_SCOPES_H
#define STUDY_SLACK_SCOPES_H

#include <stdbool.h>
#include <stddef.h>

struct slack_scope {
    const char *name;
    /* Needed only where this switch is on; NULL: always. */
    const char *section, *key;
};

extern const struct slack_scope slack_scopes[];
extern const size_t slack_scopes_count;

/* `granted`: the header's value, "a,b, c". */
bool slack_scope_granted(const char *granted, const char *name);

#endif
