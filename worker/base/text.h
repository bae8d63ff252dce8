/*
 * Text: counted strings, a bounded growing buffer, UTF-8, and Slack's mrkdwn escaping.
 * Lengths are bytes unless a name says code points.
 */
#ifndef STUDY_BASE_TEXT_H
#define STUDY_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes; may hold NUL; data == NULL means absent (not the same as empty). */
struct str {
    const char *data;
    size_t len;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NULL     ((struct str){NULL, 0})
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).len, ((s).data != NULL ? (s).data : "")

/* NULL gives STR_NULL. Inline, as what is looked up is nearly always a literal. */
static inline struct str str_of(const char *cstr)
{
    return cstr != NULL ? (struct str){cstr, strlen(cstr)} : STR_NULL;
}

bool str_eq(struct str a, struct str b);
bool str_is(struct str s, const char *cstr);
bool str_starts(struct str s, const char *prefix);
int str_cmp(struct str a, struct str b); /* bytewise; a shorter prefix sorts first */
char *str_dup(struct str s);             /* malloc'ed, NUL-terminated; aborts without memory */
bool str_one_of(struct str s, const char *words); /* words: "a|b|c"; "" is none of them */
/* Decimal digits only, no sign, no blank; false on anything else or on overflow. */
bool str_to_u64(struct str s, uint64_t *out);

/*
 * A growing buffer that is told its limit. Past the limit (or without memory) it keeps what fits,
 * `truncated` is set, and stays set until text_reset(). `data` is always NUL-terminated once
 * anything was appended; text_cstr() never returns NULL.
 */
struct text {
    char *data;
    size_t len;
    size_t cap;
    size_t limit;
    bool truncated;
};

void text_init(struct text *t, size_t limit);
void text_free(struct text *t);
void text_reset(struct text *t); /* keeps the memory */
void text_fit(struct text *t);   /* gives back what it does not need; it may still grow */
bool text_add(struct text *t, struct str s);
bool text_adds(struct text *t, const char *cstr);
bool text_addf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool text_vaddf(struct text *t, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
const char *text_cstr(const struct text *t);
struct str text_str(const struct text *t);

bool utf8_valid(struct str s);                         /* RFC 3629; NUL is valid UTF-8 */
size_t utf8_length(struct str s);                      /* code points; s must be valid */
struct str utf8_cut(struct str s, size_t code_points); /* the longest prefix of at most so many */
/* As much of s as has room, NUL-terminated: whole code points, up to what is not UTF-8. */
void utf8_copy(char *out, size_t size, const char *s);

/*
 * Escapes exactly & < > (https://docs.slack.dev/messaging/formatting-message-text), so that no text
 * can become a ping, a channel name or a link.
 */
bool mrkdwn_escape(struct text *out, struct str s);

/* Slack's ids (1..64 of A-Z a-z 0-9 _ -) and time stamps ("1531420618.000200"), as the tables'
 * domains slack_id and slack_ts take them. */
bool slack_is_id(struct str s);
bool slack_is_ts(struct str s);

#endif
