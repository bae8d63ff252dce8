/*
 * What servers say is taken as it comes: a compatible server may leave headers out, give a number
 * where OpenAI gives a word, or answer 200 with something else. Whatever is not understood falls
 * into the kindest class that still ends: a retry, one repair, then the digest without a model.
 */
#include "digest/openai.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"

static void put_format(struct json_writer *w, enum openai_format format,
                       const struct openai_schema *schema)
{
    if (format == OPENAI_NO_FORMAT) {
        return;
    }
    json_put_key(w, "response_format");
    json_object_begin(w);
    if (format == OPENAI_JSON_OBJECT) {
        json_put_kcstr(w, "type", "json_object");
    } else {
        json_put_kcstr(w, "type", "json_schema");
        json_put_key(w, "json_schema");
        json_object_begin(w);
        json_put_kcstr(w, "name", schema->name);
        json_put_kbool(w, "strict", true);
        json_put_key(w, "schema");
        json_put_raw(w, str_of(schema->json));
        json_object_end(w);
    }
    json_object_end(w);
}

bool openai_request(struct text *out, const struct openai_settings *settings,
                    const struct openai_schema *schema, const struct openai_message *messages,
                    size_t count, struct error *err)
{
    struct json_writer *w = json_writer_create(OPENAI_REQUEST_MAX);
    struct str body;
    bool ok = false;

    json_object_begin(w);
    json_put_kcstr(w, "model", settings->model);
    json_put_kbool(w, "store", false);
    json_put_kbool(w, "stream", false);
    json_put_kint(w, settings->tokens_field, settings->max_tokens);
    if (settings->has_temperature) {
        json_put_key(w, "temperature");
        json_put_double(w, settings->temperature);
    }
    put_format(w, settings->format, schema);
    json_put_key(w, "messages");
    json_array_begin(w);
    for (size_t i = 0; i < count; i++) {
        json_object_begin(w);
        json_put_kcstr(w, "role", messages[i].role);
        json_put_kstr(w, "content", messages[i].content);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
    if (json_writer_done(w, &body, err)) {
        ok = text_add(out, body) || error_set(err, ERROR_INPUT, "the request is too long");
    }
    json_writer_destroy(&w);
    return ok;
}

/* Milliseconds of a plain decimal number of seconds times `unit`; -1 when it is none. */
static int64_t decimal_ms(const char *text, double unit)
{
    char *end;
    double value;

    if (text[0] < '0' || text[0] > '9') {
        return -1;
    }
    value = strtod(text, &end) * unit;
    if (*end != '\0' || !isfinite(value)) {
        return -1;
    }
    return value > (double)OPENAI_WAIT_MAX_MS ? OPENAI_WAIT_MAX_MS : (int64_t)ceil(value);
}

int64_t openai_duration_ms(const char *text)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    double total = 0;
    int64_t bare = decimal_ms(text, 1000);

    if (bare >= 0) {
        return bare;
    }
    while (*text != '\0') {
        char *end;
        double value;
        double unit = 0;

        if (*text < '0' || *text > '9') {
            return -1;
        }
        value = strtod(text, &end);
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && unit == 0; i++) {
            size_t n = strlen(units[i].name);
            if (strncmp(end, units[i].name, n) == 0 && !(end[n] >= 'a' && end[n] <= 'z')) {
                unit = units[i].ms;
                end += n;
            }
        }
        if (unit == 0) {
            return -1;
        }
        total += value * unit;
        text = end;
    }
    if (!isfinite(total) || total > (double)OPENAI_WAIT_MAX_MS) {
        return OPENAI_WAIT_MAX_MS;
    }
    return total > 0 ? (int64_t)ceil(total) : -1;
}

int64_t openai_retry_after_ms(const char *retry_after, const char *retry_after_ms, int64_t now_ms)
{
    struct tm tm = {0};
    const char *end;
    int64_t at;
    int64_t wait = decimal_ms(retry_after_ms, 1);

    if (wait < 0) {
        wait = decimal_ms(retry_after, 1000);
    }
    if (wait >= 0) {
        return wait;
    }
    /* RFC 9110 5.6.7, the form that servers must send */
    end = strptime(retry_after, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0') {
        return -1;
    }
    at = (int64_t)timegm(&tm) * 1000;
    if (at <= now_ms) {
        return 0;
    }
    return at - now_ms > OPENAI_WAIT_MAX_MS ? OPENAI_WAIT_MAX_MS : at - now_ms;
}

int64_t openai_hold_ms(const struct openai_headers *h)
{
    int64_t requests =
        strcmp(h->remaining_requests, "0") == 0 ? openai_duration_ms(h->reset_requests) : 0;
    int64_t tokens =
        strcmp(h->remaining_tokens, "0") == 0 ? openai_duration_ms(h->reset_tokens) : 0;
    int64_t hold = requests > tokens ? requests : tokens;

    return hold > 0 ? hold : 0;
}

/* error.code is a word at OpenAI, a number or absent elsewhere; error.type then says it. */
static bool error_is(const struct json *error, const char *name)
{
    return str_is(json_get_string(error, "code"), name) ||
           str_is(json_get_string(error, "type"), name);
}

/* Only a word of the protocol goes into logs: a message may quote the request. */
static bool is_word(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!((s.data[i] >= 'a' && s.data[i] <= 'z') || (s.data[i] >= '0' && s.data[i] <= '9') ||
              s.data[i] == '_')) {
            return false;
        }
    }
    return s.len > 0;
}

static void read_error(struct openai_reply *reply, long status, const struct json *error,
                       const struct openai_headers *headers, int64_t now_ms)
{
    char code[sizeof(reply->error.code)] = "";
    struct str word = json_get_string(error, "code");

    if (word.len == 0) {
        word = json_get_string(error, "type");
    }
    if (is_word(word) && word.len < sizeof(code)) {
        memcpy(code, word.data, word.len);
        code[word.len] = '\0';
    }
    if (error_is(error, "insufficient_quota")) {
        reply->verdict = OPENAI_QUOTA;
    } else if (status == 408 || status == 409 || status == 429 || status >= 500) {
        reply->verdict = OPENAI_RETRY;
        reply->wait_ms =
            openai_retry_after_ms(headers->retry_after, headers->retry_after_ms, now_ms);
    } else if (status == 401 || status == 403 || status == 404 || status == 405 ||
               (status >= 300 && status < 400)) {
        reply->verdict = OPENAI_BROKEN;
    } else {
        reply->verdict = OPENAI_REFUSED;
    }
    error_set_code(&reply->error, ERROR_REMOTE, code, "the model's server answered %ld%s%s", status,
                   code[0] != '\0' ? " " : "", code);
}

static void read_usage(struct openai_reply *reply, const struct json *root)
{
    json_int64(json_path(root, "usage.prompt_tokens"), &reply->prompt_tokens);
    json_int64(json_path(root, "usage.completion_tokens"), &reply->completion_tokens);
    if (reply->prompt_tokens < 0 || reply->prompt_tokens > INT32_MAX) {
        reply->prompt_tokens = 0;
    }
    if (reply->completion_tokens < 0 || reply->completion_tokens > INT32_MAX) {
        reply->completion_tokens = 0;
    }
}

static void read_choice(struct openai_reply *reply, const struct json *choice)
{
    struct str finish = json_get_string(choice, "finish_reason");
    const struct json *message = json_get(choice, "message");
    struct str content = json_get_string(message, "content");

    if (str_is(finish, "content_filter")) {
        reply->verdict = OPENAI_REFUSED;
        error_set_code(&reply->error, ERROR_REMOTE, "content_filter", "the answer was filtered");
    } else if (json_get_string(message, "refusal").len > 0) {
        reply->verdict = OPENAI_REFUSED;
        error_set_code(&reply->error, ERROR_REMOTE, "refusal", "the model refused");
    } else if (str_is(finish, "length")) {
        reply->verdict = OPENAI_INCOMPLETE;
        reply->content = content;
        error_set_code(&reply->error, ERROR_REMOTE, "length", "the answer was cut at its limit");
    } else if (content.len == 0) {
        reply->verdict = OPENAI_INCOMPLETE;
        error_set(&reply->error, ERROR_INPUT, "the answer has no content");
    } else {
        reply->verdict = OPENAI_ANSWERED;
        reply->content = content;
    }
}

void openai_read(struct openai_reply *reply, long status, struct str body,
                 const struct openai_headers *headers, int64_t now_ms)
{
    struct error err = {0};
    const struct json *root;

    *reply = (struct openai_reply){.wait_ms = -1};
    if (!json_parse(&reply->doc, body, &err)) {
        reply->doc = NULL;
    }
    root = json_root(reply->doc);
    if (status < 200 || status > 299) {
        read_error(reply, status, json_get(root, "error"), headers, now_ms);
        return;
    }
    if (json_type(root) != JSON_OBJECT || json_size(json_get(root, "choices")) == 0) {
        reply->verdict = OPENAI_INCOMPLETE;
        error_set(&reply->error, ERROR_INPUT, "the answer is not a chat completion");
        return;
    }
    read_usage(reply, root);
    read_choice(reply, json_at(json_get(root, "choices"), 0));
}

void openai_reply_free(struct openai_reply *reply)
{
    json_destroy(&reply->doc);
    *reply = (struct openai_reply){.wait_ms = -1};
}
