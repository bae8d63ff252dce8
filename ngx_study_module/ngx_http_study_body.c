
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * The two bodies that never reach a list: Slack's url_verification, whose
 * challenge is the answer, and the ssl_check form.
 *
 * The scanner below is no JSON parser.  It walks the members of the outer
 * object, unescapes nothing but the challenge and steps over nested values by
 * counting brackets; what it does not understand is an event like any other,
 * and the worker has a real parser for those.
 */


#include "ngx_http_study_module.h"


static u_char *ngx_http_study_space(u_char *p, u_char *last);
static u_char *ngx_http_study_skip_string(u_char *p, u_char *last);
static u_char *ngx_http_study_skip_value(u_char *p, u_char *last);
static ngx_int_t ngx_http_study_unescape(ngx_str_t *value);
static u_char *ngx_http_study_escape(u_char *s, u_char *last, uint32_t *c);
static u_char *ngx_http_study_encode(u_char *d, uint32_t c);
static ngx_int_t ngx_http_study_hex4(u_char *p, u_char *last);


#define ngx_http_study_equals(p, e, text)                                     \
    ((size_t) ((e) - (p)) == sizeof(text) - 1                                 \
     && ngx_memcmp(p, text, sizeof(text) - 1) == 0)


ngx_int_t
ngx_http_study_challenge(ngx_str_t *body, ngx_str_t *challenge)
{
    u_char      *p, *last, *name, *name_end, *value;
    ngx_uint_t   found;

    if (body->len > NGX_HTTP_STUDY_MAX_CHALLENGE
        || memmem(body->data, body->len, "\"url_verification\"",
                  sizeof("\"url_verification\"") - 1) == NULL)
    {
        return NGX_DECLINED;
    }

    last = body->data + body->len;
    found = 0;
    ngx_str_null(challenge);

    p = ngx_http_study_space(body->data, last);

    if (p == last || *p++ != '{') {
        return NGX_DECLINED;
    }

    for ( ;; ) {

        p = ngx_http_study_space(p, last);

        if (p == last || *p != '"') {
            return NGX_DECLINED;
        }

        name = p + 1;
        p = ngx_http_study_skip_string(p, last);

        if (p == NULL) {
            return NGX_DECLINED;
        }

        name_end = p - 1;
        p = ngx_http_study_space(p, last);

        if (p == last || *p++ != ':') {
            return NGX_DECLINED;
        }

        value = ngx_http_study_space(p, last);
        p = ngx_http_study_skip_value(value, last);

        if (p == NULL) {
            return NGX_DECLINED;
        }

        if (*value == '"') {

            if (ngx_http_study_equals(name, name_end, "type")) {
                found = ngx_http_study_equals(value, p, "\"url_verification\"");

            } else if (ngx_http_study_equals(name, name_end, "challenge")) {
                challenge->data = value + 1;
                challenge->len = p - value - 2;
            }
        }

        p = ngx_http_study_space(p, last);

        if (p == last) {
            return NGX_DECLINED;
        }

        if (*p == '}') {
            break;
        }

        if (*p++ != ',') {
            return NGX_DECLINED;
        }
    }

    if (ngx_http_study_space(p + 1, last) != last
        || !found || challenge->data == NULL)
    {
        return NGX_DECLINED;
    }

    return ngx_http_study_unescape(challenge);
}


static u_char *
ngx_http_study_space(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t' || *p == CR || *p == LF)) {
        p++;
    }

    return p;
}


/* from an opening quote to behind the closing one, or NULL */

static u_char *
ngx_http_study_skip_string(u_char *p, u_char *last)
{
    for (p++; p < last; p++) {

        if (*p == '"') {
            return p + 1;
        }

        if (*p == '\\') {
            p++;
        }
    }

    return NULL;
}


/* behind a value that is followed by something, or NULL */

static u_char *
ngx_http_study_skip_value(u_char *p, u_char *last)
{
    u_char      *start;
    ngx_uint_t   depth;

    start = p;
    depth = 0;

    while (p < last) {

        switch (*p) {

        case '"':
            p = ngx_http_study_skip_string(p, last);

            if (p == NULL) {
                return NULL;
            }

            if (depth == 0) {
                return (p < last) ? p : NULL;
            }

            continue;

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':
            if (depth == 0) {
                return (p > start) ? p : NULL;
            }

            depth--;

            if (depth == 0) {
                return (p + 1 < last) ? p + 1 : NULL;
            }

            break;

        case ',':
            if (depth == 0) {
                return (p > start) ? p : NULL;
            }

            break;
        }

        p++;
    }

    return NULL;
}


/* in place; checked whole before the first byte is changed */

static ngx_int_t
ngx_http_study_unescape(ngx_str_t *value)
{
    u_char      *s, *d, *last;
    uint32_t     c;
    ngx_uint_t   write;

    last = value->data + value->len;
    d = value->data;

    for (write = 0; write < 2; write++) {

        d = value->data;

        for (s = value->data; s < last; /* void */) {

            c = *s++;

            if (c < 0x20) {
                return NGX_DECLINED;
            }

            if (c != '\\') {
                if (write) {
                    *d++ = (u_char) c;
                }

                continue;
            }

            s = ngx_http_study_escape(s, last, &c);

            if (s == NULL) {
                return NGX_DECLINED;
            }

            if (write) {
                d = ngx_http_study_encode(d, c);
            }
        }
    }

    value->len = d - value->data;

    return NGX_OK;
}


/* what follows a backslash: behind it, or NULL */

static u_char *
ngx_http_study_escape(u_char *s, u_char *last, uint32_t *c)
{
    u_char              *p;
    ngx_int_t            hi, lo;
    static const char    from[] = "\"\\/bfnrt";
    static const u_char  to[] = "\"\\/\b\f\n\r\t";

    if (s == last || *s == '\0') {
        return NULL;
    }

    p = (u_char *) ngx_strchr(from, *s);

    if (p) {
        *c = to[p - (u_char *) from];
        return s + 1;
    }

    if (*s++ != 'u') {
        return NULL;
    }

    hi = ngx_http_study_hex4(s, last);

    if (hi == NGX_ERROR || (hi >= 0xdc00 && hi <= 0xdfff)) {
        return NULL;
    }

    *c = (uint32_t) hi;
    s += 4;

    if (hi < 0xd800 || hi > 0xdbff) {
        return s;
    }

    if (last - s < 6 || s[0] != '\\' || s[1] != 'u') {
        return NULL;
    }

    lo = ngx_http_study_hex4(s + 2, last);

    if (lo < 0xdc00 || lo > 0xdfff) {
        return NULL;
    }

    *c = 0x10000 + ((uint32_t) (hi - 0xd800) << 10) + (uint32_t) (lo - 0xdc00);

    return s + 6;
}


/* as UTF-8, which is never longer than the escape was */

static u_char *
ngx_http_study_encode(u_char *d, uint32_t c)
{
    if (c < 0x80) {
        *d++ = (u_char) c;
        return d;
    }

    if (c < 0x800) {
        *d++ = (u_char) (0xc0 | (c >> 6));

    } else {
        if (c < 0x10000) {
            *d++ = (u_char) (0xe0 | (c >> 12));

        } else {
            *d++ = (u_char) (0xf0 | (c >> 18));
            *d++ = (u_char) (0x80 | ((c >> 12) & 0x3f));
        }

        *d++ = (u_char) (0x80 | ((c >> 6) & 0x3f));
    }

    *d++ = (u_char) (0x80 | (c & 0x3f));

    return d;
}


static ngx_int_t
ngx_http_study_hex4(u_char *p, u_char *last)
{
    u_char      c;
    ngx_int_t   n;
    ngx_uint_t  i;

    if (last - p < 4) {
        return NGX_ERROR;
    }

    n = 0;

    for (i = 0; i < 4; i++) {
        c = p[i];

        if (c >= '0' && c <= '9') {
            n = n * 16 + (c - '0');

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            n = n * 16 + ((c | 0x20) - 'a' + 10);

        } else {
            return NGX_ERROR;
        }
    }

    return n;
}


ngx_uint_t
ngx_http_study_ssl_check(ngx_str_t *form)
{
    u_char  *p, *last, *end;

    p = form->data;
    last = p + form->len;

    while (p < last) {

        p = memmem(p, last - p, "ssl_check=1", sizeof("ssl_check=1") - 1);

        if (p == NULL) {
            return 0;
        }

        end = p + sizeof("ssl_check=1") - 1;

        if ((p == form->data || p[-1] == '&')
            && (end == last || *end == '&' || *end == CR || *end == LF))
        {
            return 1;
        }

        p = end;
    }

    return 0;
}
