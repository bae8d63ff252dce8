/*
 * One table. An error that is not in it was still an answer: the message was not sent, and trying
 * again, slowly and not for ever, is the kind reading of what we do not know.
 */
#include "slack/outcome.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static const struct {
    const char *error;
    enum slack_outcome outcome;
} table[] = {
    {"ratelimited", SLACK_NOT_SENT},
    {"rate_limited", SLACK_NOT_SENT},

    {"service_unavailable", SLACK_RETRY},
    {"request_timeout", SLACK_RETRY},
    {"team_added_to_org", SLACK_RETRY},

    {"fatal_error", SLACK_DOUBTFUL},
    {"internal_error", SLACK_DOUBTFUL},

    {"msg_too_long", SLACK_MESSAGE_NEVER},
    {"msg_blocks_too_long", SLACK_MESSAGE_NEVER},
    {"invalid_blocks", SLACK_MESSAGE_NEVER},
    {"invalid_blocks_format", SLACK_MESSAGE_NEVER},
    {"no_text", SLACK_MESSAGE_NEVER},
    {"metadata_too_large", SLACK_MESSAGE_NEVER},
    {"invalid_metadata_format", SLACK_MESSAGE_NEVER},
    {"invalid_metadata_schema", SLACK_MESSAGE_NEVER},
    {"thread_not_found", SLACK_MESSAGE_NEVER},

    {"already_reacted", SLACK_MESSAGE_NEVER},
    {"message_not_found", SLACK_MESSAGE_NEVER},
    {"bad_timestamp", SLACK_MESSAGE_NEVER},
    {"invalid_name", SLACK_MESSAGE_NEVER},
    {"no_item_specified", SLACK_MESSAGE_NEVER},
    {"too_many_emoji", SLACK_MESSAGE_NEVER},
    {"too_many_reactions", SLACK_MESSAGE_NEVER},
    {"cant_delete_message", SLACK_MESSAGE_NEVER},
    {"compliance_exports_prevent_deletion", SLACK_MESSAGE_NEVER},
    {"used_url", SLACK_MESSAGE_NEVER},
    {"expired_url", SLACK_MESSAGE_NEVER},

    {"channel_not_found", SLACK_CHANNEL_NEVER},
    {"is_archived", SLACK_CHANNEL_NEVER},
    {"not_in_channel", SLACK_CHANNEL_NEVER},
    {"restricted_action", SLACK_CHANNEL_NEVER},
    {"messages_tab_disabled", SLACK_CHANNEL_NEVER},
    {"user_disabled", SLACK_CHANNEL_NEVER},
    {"user_not_found", SLACK_CHANNEL_NEVER},
    {"user_not_visible", SLACK_CHANNEL_NEVER},
    {"cannot_dm_bot", SLACK_CHANNEL_NEVER},

    {"invalid_auth", SLACK_TEAM_STOPS},
    {"not_authed", SLACK_TEAM_STOPS},
    {"account_inactive", SLACK_TEAM_STOPS},
    {"token_revoked", SLACK_TEAM_STOPS},
    {"token_expired", SLACK_TEAM_STOPS},
    {"missing_scope", SLACK_TEAM_STOPS},
};

enum slack_outcome slack_error_outcome(struct str error)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_is(error, table[i].error)) {
            return table[i].outcome;
        }
    }
    return SLACK_RETRY;
}

int64_t slack_retry_after_ms(const char *retry_after)
{
    uint64_t seconds;

    if (!str_to_u64(str_of(retry_after), &seconds) || seconds == 0) {
        return SLACK_WAIT_DEFAULT_MS + (int64_t)(clock_random() % (SLACK_WAIT_DEFAULT_MS / 4));
    }
    return seconds > SLACK_WAIT_MAX_MS / 1000 ? SLACK_WAIT_MAX_MS : (int64_t)seconds * 1000;
}

/* Into the log and the row: only if it looks like one of Slack's words. */
static void keep_word(struct slack_answer *answer, struct str word)
{
    bool fits = word.len > 0 && word.len < sizeof(answer->code);

    for (size_t i = 0; fits && i < word.len; i++) {
        char c = word.data[i];
        fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    }
    snprintf(answer->code, sizeof(answer->code), "%.*s", fits ? (int)word.len : 13,
             fits ? word.data : "unknown_error");
}

static void read_status(struct slack_answer *answer, long status, const char *retry_after)
{
    snprintf(answer->code, sizeof(answer->code), "http_%ld", status);
    if (status == 429) {
        answer->outcome = SLACK_NOT_SENT;
        answer->wait_ms = slack_retry_after_ms(retry_after);
    } else if (status >= 500 || (status >= 200 && status < 300)) {
        answer->outcome = SLACK_DOUBTFUL;
    } else {
        answer->outcome = SLACK_RETRY; /* refused before Slack's application saw it */
    }
}

static bool read_transport(struct slack_answer *answer, const struct http_response *response)
{
    *answer = (struct slack_answer){.wait_ms = -1};
    if (response->fate == HTTP_ANSWERED) {
        return true;
    }
    answer->outcome = response->fate == HTTP_NOT_SENT ? SLACK_NOT_SENT : SLACK_DOUBTFUL;
    snprintf(answer->code, sizeof(answer->code), "%s",
             response->fate == HTTP_NOT_SENT ? "not_reached" : "no_answer");
    return false;
}

void slack_read_response(struct slack_answer *answer, const struct http_response *response,
                         const char *retry_after)
{
    if (!read_transport(answer, response)) {
        return;
    }
    read_status(answer, response->status, retry_after);
    if (response->status >= 200 && response->status < 300) {
        answer->outcome = SLACK_OK;
        answer->code[0] = '\0';
    } else if (answer->outcome == SLACK_RETRY && response->status != 408) {
        answer->outcome = SLACK_MESSAGE_NEVER;
    }
}

void slack_read(struct slack_answer *answer, const struct http_response *response,
                const char *retry_after)
{
    struct error err = {0};
    struct str word;

    if (!read_transport(answer, response)) {
        return;
    }
    if (json_parse(&answer->doc, response->body, &err)) {
        answer->root = json_root(answer->doc);
    } else {
        answer->doc = NULL;
    }
    if (response->status != 200 || json_type(json_get(answer->root, "ok")) != JSON_BOOL) {
        read_status(answer, response->status, retry_after);
        return;
    }
    if (json_bool(json_get(answer->root, "ok"))) {
        answer->outcome = SLACK_OK;
        return;
    }
    word = json_get_string(answer->root, "error");
    keep_word(answer, word);
    answer->outcome = slack_error_outcome(word);
    if (answer->outcome == SLACK_NOT_SENT) {
        answer->wait_ms = slack_retry_after_ms(retry_after);
    }
}

void slack_answer_free(struct slack_answer *answer)
{
    json_destroy(&answer->doc);
    answer->root = NULL;
}
