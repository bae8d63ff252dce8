/* The header line of an element, from any header values: it keeps its bound, and the worker reads
 * out of it what nginx put in. The input is the four values, a line each; its first byte gives the
 * kind, its length the numbers. */
#include "ngx_http_study_element.c"

#include <stdint.h>
#include <stdlib.h>

#include "ingest/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ngx_str_t line(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *stop = memchr(*p, '\n', (size_t)(end - *p));
    ngx_str_t text = {(size_t)((stop != NULL ? stop : end) - *p), (u_char *)*p};

    *p = stop != NULL ? stop + 1 : end;
    return text;
}

/* A value in UTF-8 comes through as it was, cut at its limit, between two characters. */
static void compare(ngx_str_t sent, size_t max, struct str got)
{
    if (got.len > 3 * max) {
        abort();
    }
    if (!utf8_valid((struct str){(const char *)sent.data, sent.len})) {
        return;
    }
    if (sent.len <= max ? got.len != sent.len : got.len > max || got.len + 3 < max) {
        abort();
    }
    if (memcmp(got.data, sent.data, got.len) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *p = data, *end = data + size;
    ngx_http_study_element_t el = {
        .kind = size > 0 ? data[0] % NGX_HTTP_STUDY_KINDS : NGX_HTTP_STUDY_EVENT,
        .retry_num = size % 7,
        .received_at = 1795372952123 + size,
    };
    /* On the heap and no larger than promised: the sanitizer holds it to its word. */
    u_char *head = malloc(NGX_HTTP_STUDY_HEAD_SIZE), *last;
    struct envelope envelope;
    struct error err = {0};

    if (head == NULL) {
        abort();
    }
    el.retry_reason = line(&p, end);
    el.content_type = line(&p, end);
    el.request_id = line(&p, end);
    el.idempotency_key = line(&p, end);

    last = ngx_http_study_element_head(head, &el);
    if (memchr(head, '\n', (size_t)(last - head)) != last - 1) {
        abort();
    }
    if (!envelope_parse(&envelope, (struct str){(char *)head, (size_t)(last - head)}, &err)) {
        abort();
    }
    if ((unsigned)envelope.kind != (unsigned)el.kind || envelope.retry_num != (int64_t)el.retry_num ||
        envelope.received_at_ms != (int64_t)el.received_at || envelope.body.len != 0) {
        abort();
    }
    compare(el.retry_reason, NGX_HTTP_STUDY_MAX_VALUE, envelope.retry_reason);
    compare(el.content_type, NGX_HTTP_STUDY_MAX_VALUE, envelope.content_type);
    compare(el.request_id, NGX_HTTP_STUDY_MAX_VALUE, envelope.request_id);
    compare(el.idempotency_key, NGX_HTTP_STUDY_MAX_IDEMPOTENCY, envelope.idempotency_key);
    envelope_clear(&envelope);
    free(head);
    return 0;
}
