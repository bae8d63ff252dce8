/*
 * One pass over Slack's text: `<...>` by what it begins with, the three entities, everything else
 * as it stands. Afterwards the ids that we know to be about this member are taken out of the plain
 * text too, for they can stand in pasted addresses, and whatever looks like an id typed as a word.
 */
#include "digest/source.h"

#include <stdlib.h>
#include <string.h>

#include "digest/links.h"

/* Markup at most triples when undone; a record has 12,000 code points at most. */
#define PLAIN_MAX (160 * 1024)

struct source_entry {
    char *plain;
    size_t len;
    int channel;
};

struct source {
    struct source_entry *entries;
    size_t count;
};

static struct str from(struct str s, size_t i)
{
    return (struct str){s.data + i, s.len - i};
}

static void add_unescaped(struct text *out, struct str s)
{
    static const struct {
        const char *entity;
        const char *plain;
    } entities[] = {{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}};

    for (size_t i = 0; i < s.len;) {
        size_t e = 0;

        while (e < 3 && !str_starts(from(s, i), entities[e].entity)) {
            e++;
        }
        if (e < 3) {
            text_adds(out, entities[e].plain);
            i += strlen(entities[e].entity);
        } else {
            text_add(out, (struct str){s.data + i, 1});
            i++;
        }
    }
}

/* A workspace's own addresses carry its name and ids. */
static bool is_slack_address(struct str url)
{
    const char *at = memmem(url.data, url.len, "://", 3);
    const char *end = url.data + url.len;
    const char *p;

    if (at == NULL) {
        return false;
    }
    for (p = at + 3; p < end && *p != '/' && *p != '?' && *p != '#'; p++) {
    }
    return memmem(at, (size_t)(p - at), "slack.com", 9) != NULL;
}

/* Slack said where it ends; in the plain text nothing else would. */
static void add_whole(struct text *out, struct str url)
{
    struct text plain;

    text_init(&plain, PLAIN_MAX);
    add_unescaped(&plain, url);
    link_add_whole(out, text_str(&plain));
    text_free(&plain);
}

static void add_link(struct text *out, struct str url, struct str label)
{
    if (str_starts(url, "mailto:")) {
        text_adds(out, "(e-mail)");
    } else if (str_starts(url, "tel:")) {
        text_adds(out, "(phone)");
    } else if (is_slack_address(url)) {
        text_adds(out, "(Slack link)");
    } else if (label.len == 0 || str_eq(url, label)) {
        add_whole(out, url);
    } else {
        add_unescaped(out, label);
        text_adds(out, " (");
        add_whole(out, url);
        text_adds(out, ")");
    }
}

static void add_markup(struct text *out, struct str inner)
{
    const char *bar = memchr(inner.data, '|', inner.len);
    struct str head = inner;
    struct str label = STR_NULL;

    if (bar != NULL) {
        head.len = (size_t)(bar - inner.data);
        label = from(inner, head.len + 1);
    }
    if (str_starts(head, "@")) {
        text_adds(out, "@member");
    } else if (str_starts(head, "#")) {
        text_adds(out, "#channel");
    } else if (str_starts(head, "!subteam")) {
        text_adds(out, "@group");
    } else if (str_starts(head, "!date")) {
        add_unescaped(out, label);
    } else if (str_starts(head, "!")) {
        text_adds(out, "@all");
    } else {
        add_link(out, head, label);
    }
}

static void add_bare(struct text *out, struct str url)
{
    if (is_slack_address(url)) {
        text_adds(out, "(Slack link)");
    } else {
        add_unescaped(out, url);
    }
}

/* A bare address, as an app or an old client writes it. */
static size_t bare_address(struct str s)
{
    size_t n = 0;

    if (!str_starts(s, "http://") && !str_starts(s, "https://")) {
        return 0;
    }
    while (n < s.len && (unsigned char)s.data[n] > ' ' && s.data[n] != '<' && s.data[n] != '>' &&
           (unsigned char)s.data[n] < 0x80) {
        n++;
    }
    return n;
}

/* Slack writes what its members type as "&lt;": markup without an end was cut, where a record is
 * longer than what is read of it, and a part of an id is no less one. */
static bool is_cut_markup(struct str s)
{
    return str_starts(s, "<@") || str_starts(s, "<#") || str_starts(s, "<!") ||
           str_starts(s, "<http") || str_starts(s, "<mailto:") || str_starts(s, "<tel:");
}

bool source_plain(struct text *out, struct str s)
{
    size_t i = 0;

    while (i < s.len) {
        size_t n = 0;

        if (s.data[i] == '<') {
            const char *close = memchr(s.data + i, '>', s.len - i);
            if (close != NULL && close > s.data + i + 1) {
                n = (size_t)(close - (s.data + i)) + 1;
                add_markup(out, (struct str){s.data + i + 1, n - 2});
            } else if (close == NULL && is_cut_markup(from(s, i))) {
                break;
            }
        } else if ((n = bare_address(from(s, i))) > 0) {
            add_bare(out, (struct str){s.data + i, n});
        }
        if (n == 0) {
            for (n = 1; i + n < s.len && s.data[i + n] != '<' && s.data[i + n] != 'h'; n++) {
            }
            add_unescaped(out, (struct str){s.data + i, n});
        }
        i += n;
    }
    return !out->truncated;
}

static void scrub(struct text *plain, const char *id)
{
    size_t n = strlen(id);
    char *at;

    while (n > 4 && plain->len > 0 && (at = memmem(plain->data, plain->len, id, n)) != NULL) {
        size_t tail = plain->len - (size_t)(at - plain->data) - n;
        memcpy(at, "(id)", 4);
        memmove(at + 4, at + n, tail + 1);
        plain->len -= n - 4;
    }
}

static bool is_id_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Not what is beyond ASCII: in Korean an id is followed by its particle without a blank. */
static bool is_word_char(char c)
{
    return is_id_char(c) || (c >= 'a' && c <= 'z');
}

/*
 * Somebody's, or some place's, id typed as a word: U, W, C, G, D, T or F and eight to ten capitals
 * and digits, a digit among them. A course's number may look like one; that is the lesser harm.
 */
static size_t typed_id(struct str s, size_t i)
{
    size_t n = 0;
    bool digit = false;

    if (strchr("UWCGDTF", s.data[i]) == NULL || s.data[i] == '\0' ||
        (i > 0 && is_word_char(s.data[i - 1]))) {
        return 0;
    }
    while (i + n < s.len && is_id_char(s.data[i + n])) {
        digit = digit || (s.data[i + n] >= '0' && s.data[i + n] <= '9');
        n++;
    }
    return digit && n >= 9 && n <= 11 && (i + n == s.len || !is_word_char(s.data[i + n])) ? n : 0;
}

void source_without_ids(struct text *out, struct str s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = typed_id(s, i);

        text_add(out, n > 0 ? STR("(id)") : (struct str){s.data + i, 1});
        i += n > 0 ? n : 1;
    }
}

static int channel_number(const struct source *source, const struct digest_work *work, size_t i)
{
    int last = 0;

    for (size_t k = 0; k < i; k++) {
        if (strcmp(work->records[k].channel_id, work->records[i].channel_id) == 0) {
            return source->entries[k].channel;
        }
        if (source->entries[k].channel > last) {
            last = source->entries[k].channel;
        }
    }
    return last + 1;
}

struct source *source_create(const struct digest_work *work)
{
    struct source *source = calloc(1, sizeof(*source));

    if (source == NULL ||
        (source->entries = calloc(work->records_count + 1, sizeof(*source->entries))) == NULL) {
        abort();
    }
    source->count = work->records_count;
    for (size_t i = 0; i < source->count; i++) {
        struct text plain, clean;

        text_init(&clean, PLAIN_MAX);
        text_init(&plain, PLAIN_MAX);
        source_plain(&plain, str_of(work->records[i].text));
        scrub(&plain, work->user_id);
        scrub(&plain, work->team_id);
        for (size_t k = 0; k < source->count; k++) {
            if (k == 0 || strcmp(work->records[k].channel_id, work->records[k - 1].channel_id)) {
                scrub(&plain, work->records[k].channel_id);
            }
        }
        source_without_ids(&clean, text_str(&plain));
        source->entries[i].plain = str_dup(text_str(&clean));
        source->entries[i].len = clean.len;
        source->entries[i].channel = channel_number(source, work, i);
        text_free(&clean);
        text_free(&plain);
    }
    return source;
}

void source_destroy(struct source **source)
{
    if (*source == NULL) {
        return;
    }
    for (size_t i = 0; i < (*source)->count; i++) {
        free((*source)->entries[i].plain);
    }
    free((*source)->entries);
    free(*source);
    *source = NULL;
}

size_t source_count(const struct source *source)
{
    return source->count;
}

struct str source_text(const struct source *source, size_t i)
{
    return (struct str){source->entries[i].plain, source->entries[i].len};
}

int source_channel(const struct source *source, size_t i)
{
    return source->entries[i].channel;
}

bool source_has_link(const struct source *source, struct str link)
{
    for (size_t i = 0; i < source->count; i++) {
        struct str found;
        size_t pos = 0;

        while (link_next(source_text(source, i), &pos, &found)) {
            if (str_eq(found, link)) {
                return true;
            }
        }
    }
    return false;
}
