/* url_verification and ssl_check: any body; and any text as the challenge of a body that is right. */
#include "ngx_http_study_body.c"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A body with just that size: a read past its end is seen. */
static ngx_str_t copy(const uint8_t *data, size_t size)
{
    ngx_str_t text = {size, malloc(size != 0 ? size : 1)};

    if (text.data == NULL) {
        abort();
    }
    memcpy(text.data, data, size);
    return text;
}

static void any_body(const uint8_t *data, size_t size)
{
    ngx_str_t body = copy(data, size), challenge;

    if (ngx_http_study_challenge(&body, &challenge) == NGX_OK) {
        if (challenge.data < body.data || challenge.data + challenge.len > body.data + size) {
            abort();
        }
        if (memmem(data, size, "\"url_verification\"", 18) == NULL) {
            abort();
        }
    } else if (memcmp(body.data, data, size) != 0) {
        abort();
    }
    free(body.data);
}

/* The input as a JSON string: \u for every third character that has to be escaped anyway. */
static size_t escape(char *out, const uint8_t *data, size_t size)
{
    char *p = out;

    for (size_t i = 0; i < size; i++) {
        if (data[i] < 0x20 || ((data[i] == '"' || data[i] == '\\') && i % 3 == 0)) {
            p += sprintf(p, i % 2 == 0 ? "\\u%04x" : "\\u%04X", data[i]);
        } else if (data[i] == '"' || data[i] == '\\') {
            *p++ = '\\';
            *p++ = (char)data[i];
        } else {
            *p++ = (char)data[i];
        }
    }
    return (size_t)(p - out);
}

static void any_challenge(const uint8_t *data, size_t size)
{
    static const char head[] = "{\"token\":[{\"type\":\"x\"}],\"challenge\":\"";
    static const char tail[] = "\" , \"type\" :\"url_verification\"}";
    char text[sizeof(head) + sizeof(tail) + 6 * 512];
    char *p = text;
    ngx_str_t body, challenge;

    if (size > 512) {
        return;
    }
    p = (char *)ngx_cpymem(p, head, sizeof(head) - 1);
    p += escape(p, data, size);
    p = (char *)ngx_cpymem(p, tail, sizeof(tail) - 1);
    body = copy((const uint8_t *)text, (size_t)(p - text));
    if (ngx_http_study_challenge(&body, &challenge) != NGX_OK || challenge.len != size ||
        memcmp(challenge.data, data, size) != 0) {
        abort();
    }
    free(body.data);
}

static void any_form(const uint8_t *data, size_t size)
{
    ngx_str_t form = copy(data, size);
    bool found = ngx_http_study_ssl_check(&form) != 0, there = false;

    /* Parameter by parameter, the slow way. */
    for (size_t from = 0, i = 0; i <= size; i++) {
        if (i < size && data[i] != '&') {
            continue;
        }
        size_t len = i - from;

        while (len > 0 && memchr("\r\n", data[from + len - 1], 2) != NULL) {
            len--;
        }
        there = there || (len == 11 && memcmp(data + from, "ssl_check=1", 11) == 0);
        from = i + 1;
    }
    if (there && !found) {
        abort();
    }
    if (found && memmem(data, size, "ssl_check=1", 11) == NULL) {
        abort();
    }
    free(form.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    any_body(data, size);
    any_challenge(data, size);
    any_form(data, size);
    return 0;
}
