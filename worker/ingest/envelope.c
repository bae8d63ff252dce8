/*
 * Elements come from our own module, but a list can be written by anybody who may reach Redis, and
 * by modules of another version: nothing here trusts the header more than the body.
 */
#include "ingest/envelope.h"

#include <string.h>

/* The year 5138; far inside what PostgreSQL's timestamps hold. */
#define RECEIVED_AT_MAX INT64_C(100000000000000)

static struct str header_string(const struct json *header, const char *key)
{
    struct str s = json_get_string(header, key);

    return s.data != NULL ? s : STR("");
}

static bool read_version(const struct json *header, struct error *err)
{
    int64_t version;

    if (!json_int64(json_get(header, "v"), &version)) {
        return error_set_code(err, ERROR_INPUT, "bad_header", "the header has no version");
    }
    if (version > ENVELOPE_VERSION || version < 1 || version < ENVELOPE_VERSION - 1) {
        return error_set_code(err, ERROR_INPUT, "unknown_version",
                              "element version %lld; this worker reads up to %d",
                              (long long)version, ENVELOPE_VERSION);
    }
    return true;
}

static bool read_kind(const struct json *header, enum envelope_kind *kind, struct error *err)
{
    static const char *const names[] = {
        [ENVELOPE_EVENT] = "event",
        [ENVELOPE_COMMAND] = "command",
        [ENVELOPE_INTERACTION] = "interaction",
        [ENVELOPE_TRIGGER] = "trigger",
    };
    struct str name = json_get_string(header, "kind");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_is(name, names[i])) {
            *kind = (enum envelope_kind)i;
            return true;
        }
    }
    return error_set_code(err, ERROR_INPUT, "unknown_kind", "the header names no kind known here");
}

static bool read_header(struct envelope *out, const struct json *header, struct error *err)
{
    if (json_type(header) != JSON_OBJECT) {
        return error_set_code(err, ERROR_INPUT, "bad_header", "the header is no JSON object");
    }
    if (!read_version(header, err) || !read_kind(header, &out->kind, err)) {
        return false;
    }
    if (!json_int64(json_get(header, "received_at"), &out->received_at_ms) ||
        out->received_at_ms <= 0 || out->received_at_ms > RECEIVED_AT_MAX) {
        return error_set_code(err, ERROR_INPUT, "bad_received_at",
                              "received_at is no time in Unix milliseconds");
    }
    if (!json_int64(json_get(header, "retry_num"), &out->retry_num)) {
        out->retry_num = 0;
    }
    out->retry_reason = header_string(header, "retry_reason");
    out->content_type = header_string(header, "content_type");
    out->request_id = header_string(header, "request_id");
    out->idempotency_key = header_string(header, "idempotency_key");
    return true;
}

bool envelope_parse(struct envelope *out, struct str element, struct error *err)
{
    const char *end;
    struct str line;
    struct error json = {0};

    *out = (struct envelope){0};
    if (element.len == 0) {
        return error_set_code(err, ERROR_INPUT, "empty_element", "the element is empty");
    }

    line.len = element.len < ENVELOPE_HEADER_MAX ? element.len : ENVELOPE_HEADER_MAX;
    end = memchr(element.data, '\n', line.len);
    if (end == NULL) {
        return error_set_code(err, ERROR_INPUT, "no_header",
                              "no header line in the first %zu bytes", line.len);
    }
    line = (struct str){element.data, (size_t)(end - element.data)};
    out->body = (struct str){end + 1, element.len - line.len - 1};

    if (!json_parse(&out->header, line, &json)) {
        error_set_code(err, ERROR_INPUT, "bad_header", "%s", json.text);
        goto fail;
    }
    if (!read_header(out, json_root(out->header), err)) {
        goto fail;
    }
    return true;

fail:
    envelope_clear(out);
    return false;
}

void envelope_clear(struct envelope *envelope)
{
    json_destroy(&envelope->header);
    *envelope = (struct envelope){0};
}
