/* Everything a model says is taken for what an attacker among the records made it say. */
#include "digest/clean.h"

#include <string.h>
#include <strings.h>

#include "digest/links.h"

/* A quoted run of QUOTE_BYTES holds one whole window, for they begin QUOTE_STEP apart. */
enum { QUOTE_BYTES = 90, QUOTE_STEP = 30, QUOTE_WINDOW = QUOTE_BYTES - QUOTE_STEP };

/* Bytes of a character that has no business in a line: controls, zero width, direction marks. */
static size_t unreadable(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.data[i];
    unsigned char d = i + 1 < s.len ? (unsigned char)s.data[i + 1] : 0;
    unsigned char e = i + 2 < s.len ? (unsigned char)s.data[i + 2] : 0;

    if (c < 0x20 || c == 0x7F) {
        return 1;
    }
    if (c == 0xC2 && d >= 0x80 && d <= 0x9F) { /* C1 controls */
        return 2;
    }
    if (c == 0xC2 && d == 0xAD) { /* soft hyphen */
        return 2;
    }
    if (c == 0xE2 && d == 0x80 && ((e >= 0x8B && e <= 0x8C) || (e >= 0x8E && e <= 0x8F))) {
        return 3; /* zero width space, non-joiner, direction marks; the joiner is for emoji */
    }
    if (c == 0xE2 && d == 0x80 && e >= 0xA8 && e <= 0xAE) { /* line separators, overrides */
        return 3;
    }
    if (c == 0xE2 && d == 0x81 && e >= 0xA0 && e <= 0xAF) { /* invisible operators, isolates */
        return 3;
    }
    if (c == 0xEF && d == 0xBB && e == 0xBF) { /* byte order mark */
        return 3;
    }
    if (c == 0xF3 && d == 0xA0) { /* U+E0000..E0FFF: tags, which hide whole sentences */
        return s.len - i < 4 ? s.len - i : 4;
    }
    return 0;
}

void clean_line(struct text *out, struct str s)
{
    bool blank = false;
    bool begun = false;

    for (size_t i = 0; i < s.len;) {
        size_t skip = unreadable(s, i);

        if (s.data[i] == ' ' || s.data[i] == '\t' || s.data[i] == '\n' || s.data[i] == '\r') {
            blank = begun;
            i++;
        } else if (skip > 0) {
            i += skip;
        } else {
            if (blank) {
                text_adds(out, " ");
            }
            text_add(out, (struct str){s.data + i, 1});
            blank = false;
            begun = true;
            i++;
        }
    }
}

static bool quotes(struct str s, struct str instructions)
{
    for (size_t i = 0; i + QUOTE_WINDOW <= instructions.len; i += QUOTE_STEP) {
        if (memmem(s.data, s.len, instructions.data + i, QUOTE_WINDOW) != NULL) {
            return true;
        }
    }
    return false;
}

/* "@channel", "@here", "@everyone": no client may take them for a ping. */
static bool is_broadcast(struct str s, size_t i)
{
    static const char *const words[] = {"channel", "here", "everyone"};

    while (i < s.len && s.data[i] == '@') {
        i++;
    }
    for (size_t k = 0; k < 3; k++) {
        size_t n = strlen(words[k]);
        if (s.len - i >= n && strncasecmp(s.data + i, words[k], n) == 0) {
            return true;
        }
    }
    return false;
}

/* Fences would swallow what follows in the block; a lone backtick could, too. */
static void add_quiet(struct text *out, struct str s, size_t *ticks)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '`' && out->len > 0 && out->data[out->len - 1] == '`') {
            continue;
        }
        if (s.data[i] == '@' && is_broadcast(s, i)) {
            continue;
        }
        *ticks += s.data[i] == '`';
        text_add(out, (struct str){s.data + i, 1});
    }
}

static void drop_last_tick(struct text *t)
{
    char *tick = memrchr(t->data, '`', t->len);

    if (tick != NULL) {
        memmove(tick, tick + 1, t->len - (size_t)(tick - t->data));
        t->len--;
    }
}

bool clean_text(struct text *out, struct str s, size_t code_points, const struct source *source,
                struct str instructions)
{
    struct text line, kept;
    struct str link, short_line;
    size_t pos = 0;
    size_t from = 0;
    size_t ticks = 0;
    bool ok = false;

    text_init(&line, 64 * 1024);
    text_init(&kept, 64 * 1024);
    clean_line(&line, s);
    if (quotes(text_str(&line), instructions)) {
        goto done;
    }
    short_line = utf8_cut(text_str(&line), code_points);
    while (link_next(short_line, &pos, &link)) {
        size_t at = (size_t)(link.data - short_line.data);

        add_quiet(&kept, (struct str){short_line.data + from, at - from}, &ticks);
        if (source_has_link(source, link)) {
            text_add(&kept, link);
        }
        from = pos;
    }
    add_quiet(&kept, (struct str){short_line.data + from, short_line.len - from}, &ticks);
    if (ticks % 2 == 1) {
        drop_last_tick(&kept);
    }
    text_reset(&line);
    clean_line(&line, text_str(&kept)); /* blanks that a removed link left doubled */
    ok = line.len > 0 && text_add(out, text_str(&line));
    if (ok && short_line.len < s.len && utf8_length(short_line) == code_points) {
        text_adds(out, "…");
    }
done:
    text_free(&line);
    text_free(&kept);
    return ok;
}
