/*
 * Counted strings, the bounded buffer, UTF-8 and mrkdwn. Everything that leaves the project in a
 * length limit (a prompt, a Slack block) is cut here, at code points and never inside one.
 */
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool str_eq(struct str a, struct str b)
{
    if (a.data == NULL || b.data == NULL) {
        return a.data == b.data;
    }
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

bool str_is(struct str s, const char *cstr)
{
    return str_eq(s, str_of(cstr));
}

bool str_starts(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.data != NULL && s.len >= n && memcmp(s.data, prefix, n) == 0;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n == 0 ? 0 : memcmp(a.data, b.data, n);

    if (order != 0) {
        return order;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

char *str_dup(struct str s)
{
    char *copy = malloc(s.len + 1);

    if (copy == NULL) {
        abort();
    }
    if (s.len != 0) {
        memcpy(copy, s.data, s.len);
    }
    copy[s.len] = '\0';
    return copy;
}

bool str_one_of(struct str s, const char *words)
{
    while (s.len != 0) {
        size_t n = strcspn(words, "|");
        if (n == s.len && memcmp(words, s.data, n) == 0) {
            return true;
        }
        if (words[n] == '\0') {
            break;
        }
        words += n + 1;
    }
    return false;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            return false;
        }
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

void text_init(struct text *t, size_t limit)
{
    *t = (struct text){.limit = limit};
}

void text_free(struct text *t)
{
    free(t->data);
    text_init(t, t->limit);
}

void text_reset(struct text *t)
{
    t->len = 0;
    t->truncated = false;
    if (t->data != NULL) {
        t->data[0] = '\0';
    }
}

/* Room for `more` bytes and the NUL, or for as many as the limit and the memory give. */
static size_t text_room(struct text *t, size_t more)
{
    size_t left = t->limit > t->len ? t->limit - t->len : 0;

    if (more > left) {
        t->truncated = true;
        more = left;
    }
    if (t->cap > t->len + more) {
        return more;
    }

    size_t cap = t->cap < 64 ? 64 : t->cap;
    while (cap <= t->len + more) {
        cap *= 2;
    }
    char *data = realloc(t->data, cap);
    if (data == NULL) {
        t->truncated = true;
        return t->cap > t->len ? t->cap - t->len - 1 : 0;
    }
    t->data = data;
    t->cap = cap;
    t->data[t->len] = '\0';
    return more;
}

void text_fit(struct text *t)
{
    char *data = t->data != NULL ? realloc(t->data, t->len + 1) : NULL;

    if (data != NULL) {
        t->data = data;
        t->cap = t->len + 1;
    }
}

bool text_add(struct text *t, struct str s)
{
    size_t n = text_room(t, s.len);

    if (n != 0) {
        memcpy(t->data + t->len, s.data, n);
        t->len += n;
        t->data[t->len] = '\0';
    }
    return n == s.len;
}

bool text_adds(struct text *t, const char *cstr)
{
    return text_add(t, str_of(cstr));
}

bool text_vaddf(struct text *t, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    int need = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (need < 0) {
        t->truncated = true;
        return false;
    }

    size_t n = text_room(t, (size_t)need);
    if (n != 0) {
        vsnprintf(t->data + t->len, n + 1, fmt, ap);
        t->len += n;
    }
    return n == (size_t)need;
}

bool text_addf(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    bool ok = text_vaddf(t, fmt, ap);
    va_end(ap);
    return ok;
}

const char *text_cstr(const struct text *t)
{
    return t->data != NULL ? t->data : "";
}

struct str text_str(const struct text *t)
{
    return (struct str){text_cstr(t), t->len};
}

static bool in_range(unsigned char c, unsigned char low, unsigned char high)
{
    return c >= low && c <= high;
}

/* Three bytes, neither overlong nor a surrogate: what Korean is made of. */
static bool is_three(const unsigned char *p)
{
    uint32_t word = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

    return (word & 0xF0C0C0) == 0xE08080 && (word & 0x0F2000) != 0 && (word & 0x0F2000) != 0x0D2000;
}

/* Bytes of the well-formed sequence at p (RFC 3629's table), 0 if it is none. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char low, high;

    if (p[0] < 0x80) {
        return 1;
    }
    if (in_range(p[0], 0xC2, 0xDF)) {
        return left >= 2 && in_range(p[1], 0x80, 0xBF) ? 2 : 0;
    }
    if (in_range(p[0], 0xE0, 0xEF)) {
        return left >= 3 && is_three(p) ? 3 : 0;
    }
    low = p[0] == 0xF0 ? 0x90 : 0x80;  /* no overlong form */
    high = p[0] == 0xF4 ? 0x8F : 0xBF; /* nothing past U+10FFFF */
    return in_range(p[0], 0xF0, 0xF4) && left >= 4 && in_range(p[1], low, high) &&
                   in_range(p[2], 0x80, 0xBF) && in_range(p[3], 0x80, 0xBF)
               ? 4
               : 0;
}

bool utf8_valid(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.data;

    for (size_t i = 0; i < s.len;) {
        uint64_t word;

        /* Eight at once of what most text is made of. */
        if (s.len - i >= sizeof(word)) {
            memcpy(&word, p + i, sizeof(word));
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        if (s.len - i >= 3 && is_three(p + i)) {
            i += 3;
            continue;
        }
        size_t n = utf8_sequence(p + i, s.len - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t utf8_length(struct str s)
{
    size_t count = 0;

    for (size_t i = 0; i < s.len; i++) {
        count += !continues(s.data[i]);
    }
    return count;
}

struct str utf8_cut(struct str s, size_t code_points)
{
    size_t count = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (!continues(s.data[i]) && count++ == code_points) {
            return (struct str){s.data, i};
        }
    }
    return s;
}

void utf8_copy(char *out, size_t size, const char *s)
{
    size_t left = strlen(s), len = 0, n;

    while (len < left && (n = utf8_sequence((const unsigned char *)s + len, left - len)) > 0 &&
           len + n < size) {
        len += n;
    }
    memcpy(out, s, len);
    out[len] = '\0';
}

bool mrkdwn_escape(struct text *out, struct str s)
{
    size_t start = 0;
    bool ok = true;

    for (size_t i = 0; i < s.len; i++) {
        const char *entity;

        switch (s.data[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        default:
            continue;
        }
        ok = text_add(out, (struct str){s.data + start, i - start}) && ok;
        ok = text_adds(out, entity) && ok;
        start = i + 1;
    }
    if (start < s.len) {
        ok = text_add(out, (struct str){s.data + start, s.len - start}) && ok;
    }
    return ok;
}

bool slack_is_id(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-')) {
            return false;
        }
    }
    return s.len >= 1 && s.len <= 64;
}

bool slack_is_ts(struct str s)
{
    if (s.len != 17 || s.data[10] != '.') {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (i != 10 && (s.data[i] < '0' || s.data[i] > '9')) {
            return false;
        }
    }
    return true;
}
