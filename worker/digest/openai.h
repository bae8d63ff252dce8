/*
 * OpenAI's chat completions, as OpenAI and the servers that speak its protocol have them: the
 * request's body, and what an answer means. No I/O here.
 *
 * https://platform.openai.com/docs/api-reference/chat/create
 * https://platform.openai.com/docs/guides/rate-limits
 */
#ifndef STUDY_DIGEST_OPENAI_H
#define STUDY_DIGEST_OPENAI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

enum openai_format { OPENAI_JSON_SCHEMA, OPENAI_JSON_OBJECT, OPENAI_NO_FORMAT };

struct openai_settings {
    const char *model;
    const char *tokens_field; /* "max_completion_tokens" or "max_tokens" */
    int64_t max_tokens;
    bool has_temperature;
    double temperature;
    enum openai_format format;
};

struct openai_message {
    const char *role; /* "system", "user", "assistant" */
    struct str content;
};

/* Of a JSON schema: its name and its text (trusted JSON). */
struct openai_schema {
    const char *name;
    const char *json;
};

#define OPENAI_REQUEST_MAX (2 * 1024 * 1024)

/* Appends the body of POST {base}/chat/completions. */
bool openai_request(struct text *out, const struct openai_settings *settings,
                    const struct openai_schema *schema, const struct openai_message *messages,
                    size_t count, struct error *err);

enum openai_verdict {
    OPENAI_ANSWERED,   /* content is there; whether it is any good is the caller's to see */
    OPENAI_INCOMPLETE, /* cut short, empty, or not OpenAI's shape: may be asked once more */
    OPENAI_RETRY,      /* not now: again after wait_ms, or a backoff when that is -1 */
    OPENAI_QUOTA,      /* insufficient_quota: no call will do until somebody pays */
    OPENAI_REFUSED,    /* refused or filtered, or the request is not acceptable: not this one */
    OPENAI_BROKEN,     /* key, model or address are wrong: an operator must act */
};

struct openai_reply {
    enum openai_verdict verdict;
    struct str content;    /* when answered; lives as long as the reply */
    int64_t prompt_tokens; /* 0 when the server did not say */
    int64_t completion_tokens;
    int64_t wait_ms;    /* of RETRY; -1: the server did not say */
    struct error error; /* of everything but ANSWERED; never the content */
    struct json_doc *doc;
};

/* The headers that matter; "" where absent. */
struct openai_headers {
    const char *retry_after;
    const char *retry_after_ms;
    const char *remaining_requests;
    const char *remaining_tokens;
    const char *reset_requests;
    const char *reset_tokens;
};

void openai_read(struct openai_reply *reply, long status, struct str body,
                 const struct openai_headers *headers, int64_t now_ms);
void openai_reply_free(struct openai_reply *reply);

/*
 * How long the server wants no more calls, from x-ratelimit-remaining-* at 0 and their reset
 * times; 0: go on.
 */
int64_t openai_hold_ms(const struct openai_headers *headers);

/* "20ms", "1s", "6m30s", "1h0m2.5s", bare seconds; -1 when it is none of these. */
int64_t openai_duration_ms(const char *text);

/* retry-after-ms, else retry-after in seconds or as an HTTP date; -1 when neither can be read. At
 * most OPENAI_WAIT_MAX_MS. now_ms: Unix milliseconds, for the date. */
#define OPENAI_WAIT_MAX_MS (24 * 3600 * (int64_t)1000)
int64_t openai_retry_after_ms(const char *retry_after, const char *retry_after_ms, int64_t now_ms);

#endif
