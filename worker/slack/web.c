/* https://docs.slack.dev/reference/methods, https://docs.slack.dev/messaging/message-metadata */
#include "slack/web.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 200 };

bool slack_start(struct http *http, const char *api_url, const char *method, const char *form,
                 const char *token, struct str json, bool once, void *owner, struct error *err)
{
    bool is_json = json.data != NULL;
    size_t n = strlen(api_url);
    char *url = NULL;
    char *bearer = NULL;
    bool ok;

    if (asprintf(&url, "%s%s%s", api_url, n > 0 && api_url[n - 1] == '/' ? "" : "/", method) < 0 ||
        asprintf(&bearer, "Bearer %s", token) < 0) {
        abort();
    }
    struct http_header headers[] = {
        {"Authorization", bearer},
        {"Accept", "application/json"},
        {"Content-Type",
         is_json ? "application/json; charset=utf-8" : "application/x-www-form-urlencoded"},
    };
    struct http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .headers_count = 3,
        .body = is_json ? json : str_of(form),
        .once = once,
        .owner = owner,
    };
    ok = http_start(http, &request, err);
    explicit_bzero(bearer, strlen(bearer));
    free(bearer);
    free(url);
    return ok;
}

bool slack_respond(struct http *http, const char *url, struct str json, void *owner,
                   struct error *err)
{
    struct http_header headers[] = {{"Content-Type", "application/json; charset=utf-8"}};
    struct http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .headers_count = 1,
        .body = json,
        .once = true,
        .owner = owner,
    };

    return http_start(http, &request, err);
}

static bool write_out(struct json_writer **w, struct text *out, struct error *err)
{
    struct str json;
    bool ok = json_writer_done(*w, &json, err);

    if (ok && !text_add(out, json)) {
        ok = error_set(err, ERROR_INPUT, "the request is too long");
    }
    json_writer_destroy(w);
    return ok;
}

bool slack_open_body(struct text *out, const char *user_id, struct error *err)
{
    struct json_writer *w = json_writer_create(4096);

    json_object_begin(w);
    json_put_kcstr(w, "users", user_id);
    json_object_end(w);
    return write_out(&w, out, err);
}

bool slack_post_body(struct text *out, const char *channel_id, const char *thread_ts,
                     const char *event_type, int64_t outbox_id, struct str body, struct error *err)
{
    struct json_doc *doc = NULL;
    struct json_writer *w;
    const struct json *root;

    if (!json_parse(&doc, body, err)) {
        return error_wrap(err, "the reply's body");
    }
    root = json_root(doc);
    w = json_writer_create(512 * 1024);
    json_object_begin(w);
    json_put_kcstr(w, "channel", channel_id);
    if (thread_ts != NULL) {
        json_put_kcstr(w, "thread_ts", thread_ts);
    }
    json_put_kstr(w, "text", json_get_string(root, "text"));
    json_put_key(w, "blocks");
    json_put_node(w, json_get(root, "blocks"));
    json_put_kcstr(w, "parse", "none");
    json_put_kbool(w, "link_names", false);
    json_put_kbool(w, "unfurl_links", false);
    json_put_kbool(w, "unfurl_media", false);
    json_put_key(w, "metadata");
    json_object_begin(w);
    json_put_kcstr(w, "event_type", event_type);
    json_put_key(w, "event_payload");
    json_object_begin(w);
    json_put_kint(w, "outbox_id", outbox_id);
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
    json_destroy(&doc);
    return write_out(&w, out, err);
}

/* "https://slack.com/api/" -> the length of "https://slack.com", 0 when it is no such address. */
static size_t origin_length(struct str url)
{
    size_t scheme = str_starts(url, "https://") ? 8 : str_starts(url, "http://") ? 7 : 0;
    size_t end = scheme;

    while (scheme > 0 && end < url.len && strchr("/?#", url.data[end]) == NULL) {
        end++;
    }
    return end > scheme ? end : 0;
}

static bool may_answer_to(struct str url, struct str api_url)
{
    size_t origin = origin_length(url);

    for (size_t i = 0; i < url.len; i++) {
        if ((unsigned char)url.data[i] <= ' ' || (unsigned char)url.data[i] >= 0x7F) {
            return false;
        }
    }
    return origin > 0 && memchr(url.data, '@', origin) == NULL &&
           (str_starts(url, "https://") ||
            str_eq((struct str){url.data, origin},
                   (struct str){api_url.data, origin_length(api_url)}));
}

bool slack_response_body(struct text *url, struct text *message, const char *api_url,
                         struct str body, struct error *err)
{
    struct json_doc *doc = NULL;
    struct json_writer *w;
    struct str to;
    bool ok;

    if (!json_parse(&doc, body, err)) {
        return error_wrap(err, "the answer's body");
    }
    to = json_get_string(json_root(doc), "url");
    if (!may_answer_to(to, str_of(api_url)) || !text_add(url, to)) {
        ok = error_set(err, ERROR_INPUT, "the response_url is not an https address");
    } else if (json_type(json_get(json_root(doc), "message")) != JSON_OBJECT) {
        ok = error_set(err, ERROR_INPUT, "the answer has no message");
    } else {
        w = json_writer_create(512 * 1024);
        json_put_node(w, json_get(json_root(doc), "message"));
        ok = write_out(&w, message, err);
    }
    json_destroy(&doc);
    return ok;
}

bool slack_change_body(struct text *out, bool reaction, struct str body, struct error *err)
{
    struct json_doc *doc = NULL;
    struct json_writer *w;
    const struct json *root;

    if (!json_parse(&doc, body, err)) {
        return error_wrap(err, "the reply's body");
    }
    root = json_root(doc);
    w = json_writer_create(4096);
    json_object_begin(w);
    json_put_kstr(w, "channel", json_get_string(root, "channel"));
    json_put_kstr(w, reaction ? "timestamp" : "ts", json_get_string(root, "ts"));
    if (reaction) {
        json_put_kstr(w, "name", json_get_string(root, "name"));
    }
    json_object_end(w);
    json_destroy(&doc);
    return write_out(&w, out, err);
}

void slack_form_value(struct text *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            c == '-' || c == '.' || c == '_' || c == '~') {
            text_add(out, (struct str){s.data + i, 1});
        } else {
            text_addf(out, "%%%02X", c);
        }
    }
}

void slack_history_query(struct text *out, const char *channel_id, const char *thread_ts,
                         int64_t oldest, struct str cursor)
{
    text_addf(out, "channel=%s", channel_id);
    if (thread_ts != NULL) {
        text_addf(out, "&ts=%s", thread_ts);
    }
    text_addf(out, "&oldest=%" PRId64 ".000000&limit=%d&include_all_metadata=true", oldest, PAGE);
    if (cursor.len > 0) {
        text_adds(out, "&cursor=");
        slack_form_value(out, cursor);
    }
}

/* A message of a bot names its user or, of older apps, only its bot_id. */
static bool is_ours(const struct json *message, const char *event_type, struct str bot_user_id)
{
    struct str user = json_get_string(message, "user");

    return str_is(json_string(json_path(message, "metadata.event_type")), event_type) &&
           (user.len == 0 || bot_user_id.len == 0 || str_eq(user, bot_user_id));
}

struct str slack_find_post(const struct json *page, const char *event_type, struct str bot_user_id,
                           int64_t outbox_id)
{
    const struct json *messages = json_get(page, "messages");

    for (size_t i = 0; i < json_size(messages); i++) {
        const struct json *message = json_at(messages, i);
        const struct json *id = json_path(message, "metadata.event_payload.outbox_id");
        int64_t number;
        uint64_t word;

        if (!is_ours(message, event_type, bot_user_id)) {
            continue;
        }
        if ((json_int64(id, &number) && number == outbox_id) ||
            (str_to_u64(json_string(id), &word) && word == (uint64_t)outbox_id)) {
            return json_get_string(message, "ts");
        }
    }
    return STR_NULL;
}

struct str slack_next_cursor(const struct json *page)
{
    struct str cursor = json_string(json_path(page, "response_metadata.next_cursor"));

    return cursor.len > 0 ? cursor : STR_NULL;
}
