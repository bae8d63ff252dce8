
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * The header line of a list element.  Its values come from the network and
 * may hold anything; the line is always one line of valid JSON in UTF-8 and
 * never longer than NGX_HTTP_STUDY_HEAD_SIZE.
 */


#include "ngx_http_study_module.h"


static u_char *ngx_http_study_string(u_char *p, ngx_str_t *value, size_t max);
static size_t ngx_http_study_utf8(const u_char *p, const u_char *last);


static ngx_str_t  ngx_http_study_kind_names[] = {
    ngx_string("event"),
    ngx_string("command"),
    ngx_string("interaction"),
    ngx_string("trigger")
};


#define ngx_http_study_literal(p, text)                                       \
    ngx_cpymem(p, text, sizeof(text) - 1)


u_char *
ngx_http_study_element_head(u_char *p, ngx_http_study_element_t *el)
{
    ngx_str_t  *kind;

    kind = &ngx_http_study_kind_names[el->kind];

    p = ngx_http_study_literal(p, "{\"v\":1,\"kind\":\"");
    p = ngx_cpymem(p, kind->data, kind->len);
    p = ngx_http_study_literal(p, "\",\"received_at\":");
    p = ngx_http_study_number(p, el->received_at);
    p = ngx_http_study_literal(p, ",\"retry_num\":");
    p = ngx_http_study_number(p, el->retry_num);
    p = ngx_http_study_literal(p, ",\"retry_reason\":\"");
    p = ngx_http_study_string(p, &el->retry_reason, NGX_HTTP_STUDY_MAX_VALUE);
    p = ngx_http_study_literal(p, "\",\"content_type\":\"");
    p = ngx_http_study_string(p, &el->content_type, NGX_HTTP_STUDY_MAX_VALUE);
    p = ngx_http_study_literal(p, "\",\"request_id\":\"");
    p = ngx_http_study_string(p, &el->request_id, NGX_HTTP_STUDY_MAX_VALUE);
    p = ngx_http_study_literal(p, "\",\"idempotency_key\":\"");
    p = ngx_http_study_string(p, &el->idempotency_key,
                              NGX_HTTP_STUDY_MAX_IDEMPOTENCY);
    p = ngx_http_study_literal(p, "\"}\n");

    return p;
}


u_char *
ngx_http_study_number(u_char *p, uint64_t n)
{
    u_char  *d, digits[NGX_INT64_LEN];

    d = digits + sizeof(digits);

    do {
        *--d = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    return ngx_cpymem(p, d, digits + sizeof(digits) - d);
}


/*
 * A value longer than "max" is cut, at a character.  Bytes that are not UTF-8
 * become U+FFFD.
 */

static u_char *
ngx_http_study_string(u_char *p, ngx_str_t *value, size_t max)
{
    size_t                n;
    u_char               *s, *last, *limit;
    static const u_char   hex[] = "0123456789abcdef";

    s = value->data;
    last = s + value->len;
    limit = s + ngx_min(value->len, max);

    while (s < limit) {

        if (*s >= 0x20 && *s < 0x7f) {
            if (*s == '"' || *s == '\\') {
                *p++ = '\\';
            }

            *p++ = *s++;
            continue;
        }

        n = (*s < 0x80) ? 0 : ngx_http_study_utf8(s, last);

        if (n) {
            if (n > (size_t) (limit - s)) {
                break;
            }

            p = ngx_cpymem(p, s, n);
            s += n;
            continue;
        }

        if (*s < 0x80) {
            p = ngx_http_study_literal(p, "\\u00");
            *p++ = hex[*s >> 4];
            *p++ = hex[*s & 0xf];

        } else {
            p = ngx_http_study_literal(p, "\\ufffd");
        }

        s++;
    }

    return p;
}


/* the length of a well-formed sequence of several bytes, else 0 */

static size_t
ngx_http_study_utf8(const u_char *p, const u_char *last)
{
    u_char  min, max;
    size_t  n, i;

    min = 0x80;
    max = 0xbf;

    if (*p >= 0xc2 && *p <= 0xdf) {
        n = 2;

    } else if (*p >= 0xe0 && *p <= 0xef) {
        n = 3;

        if (*p == 0xe0) {
            min = 0xa0;

        } else if (*p == 0xed) {
            max = 0x9f;
        }

    } else if (*p >= 0xf0 && *p <= 0xf4) {
        n = 4;

        if (*p == 0xf0) {
            min = 0x90;

        } else if (*p == 0xf4) {
            max = 0x8f;
        }

    } else {
        return 0;
    }

    if ((size_t) (last - p) < n || p[1] < min || p[1] > max) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }

    return n;
}
