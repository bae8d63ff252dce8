/* A line is the unit that is kept or left out, so that no cut ever falls inside a link or an
 * escape. */
#include "digest/blocks.h"

#include <stdlib.h>

#include "base/json.h"

enum {
    BLOCKS_MAX = 48,    /* and the buttons, and the small print */
    BLOCK_UNITS = 100,  /* of the JSON around a text */
    BUTTONS_UNITS = 800 /* of a row of buttons */
};

struct blocks {
    struct json_writer *w;
    struct text section;
    size_t section_units;
    size_t units;
    int count;
    bool ephemeral, replace;
};

size_t blocks_units(struct str s)
{
    size_t units = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];

        if ((c & 0xC0) != 0x80) {
            units += c >= 0xF0 || c == '"' || c == '\\' || c == '\n' || c == '/' ? 2 : 1;
        }
    }
    return units;
}

struct blocks *blocks_create(void)
{
    struct blocks *b = calloc(1, sizeof(*b));

    if (b == NULL) {
        abort();
    }
    b->w = json_writer_create(256 * 1024);
    text_init(&b->section, 64 * 1024);
    json_object_begin(b->w);
    json_put_key(b->w, "blocks");
    json_array_begin(b->w);
    return b;
}

void blocks_destroy(struct blocks **blocks)
{
    if (*blocks == NULL) {
        return;
    }
    json_writer_destroy(&(*blocks)->w);
    text_free(&(*blocks)->section);
    free(*blocks);
    *blocks = NULL;
}

static void put_mrkdwn(struct json_writer *w, struct str text)
{
    json_object_begin(w);
    json_put_kcstr(w, "type", "mrkdwn");
    json_put_kstr(w, "text", text);
    json_put_kbool(w, "verbatim", true);
    json_object_end(w);
}

void blocks_gap(struct blocks *b)
{
    if (b->section.len == 0) {
        return;
    }
    json_object_begin(b->w);
    json_put_kcstr(b->w, "type", "section");
    json_put_key(b->w, "text");
    put_mrkdwn(b->w, text_str(&b->section));
    json_object_end(b->w);
    text_reset(&b->section);
    b->section_units = 0;
}

void blocks_header(struct blocks *b, struct str plain)
{
    struct str s = plain;

    for (size_t n = BLOCKS_HEADER_MAX; blocks_units(s) > BLOCKS_HEADER_MAX; n--) {
        s = utf8_cut(plain, n);
    }
    blocks_gap(b);
    json_object_begin(b->w);
    json_put_kcstr(b->w, "type", "header");
    json_put_key(b->w, "text");
    json_object_begin(b->w);
    json_put_kcstr(b->w, "type", "plain_text");
    json_put_kstr(b->w, "text", s);
    json_put_kbool(b->w, "emoji", true);
    json_object_end(b->w);
    json_object_end(b->w);
    b->units += blocks_units(s) + BLOCK_UNITS;
    b->count++;
}

bool blocks_line(struct blocks *b, struct str line)
{
    size_t units = blocks_units(line) + 2; /* and the line break */
    bool fresh = b->section.len == 0 || b->section_units + units > BLOCKS_SECTION_MAX;
    size_t more = units + (fresh ? BLOCK_UNITS : 0);

    if (units > BLOCKS_SECTION_MAX || (fresh && b->count >= BLOCKS_MAX) ||
        b->units + more > BLOCKS_TOTAL_MAX - BLOCKS_CONTEXT_MAX - BLOCK_UNITS - BUTTONS_UNITS) {
        return false;
    }
    if (fresh) {
        blocks_gap(b);
        b->count++;
    } else {
        text_adds(&b->section, "\n");
    }
    text_add(&b->section, line);
    b->section_units += units;
    b->units += more;
    return true;
}

void blocks_context(struct blocks *b, struct str mrkdwn)
{
    blocks_gap(b);
    json_object_begin(b->w);
    json_put_kcstr(b->w, "type", "context");
    json_put_key(b->w, "elements");
    json_array_begin(b->w);
    put_mrkdwn(b->w, utf8_cut(mrkdwn, BLOCKS_CONTEXT_MAX));
    json_array_end(b->w);
    json_object_end(b->w);
}

static void put_button(struct json_writer *w, const struct blocks_button *button)
{
    json_object_begin(w);
    json_put_kcstr(w, "type", "button");
    json_put_key(w, "text");
    json_object_begin(w);
    json_put_kcstr(w, "type", "plain_text");
    json_put_kstr(w, "text", utf8_cut(str_of(button->label), BLOCKS_BUTTON_MAX));
    json_put_kbool(w, "emoji", true);
    json_object_end(w);
    json_put_kcstr(w, "action_id", button->action_id);
    json_put_kcstr(w, "value", button->value);
    if (button->style != NULL) {
        json_put_kcstr(w, "style", button->style);
    }
    json_object_end(w);
}

void blocks_buttons(struct blocks *b, const struct blocks_button *buttons, size_t n)
{
    blocks_gap(b);
    json_object_begin(b->w);
    json_put_kcstr(b->w, "type", "actions");
    json_put_key(b->w, "elements");
    json_array_begin(b->w);
    for (size_t i = 0; i < n; i++) {
        put_button(b->w, &buttons[i]);
    }
    json_array_end(b->w);
    json_object_end(b->w);
}

void blocks_ephemeral(struct blocks *b, bool replace)
{
    b->ephemeral = true;
    b->replace = replace;
}

bool blocks_done(struct blocks *b, struct str fallback, struct text *out, struct error *err)
{
    struct text text;
    struct str json;
    bool ok;

    blocks_gap(b);
    json_array_end(b->w);
    text_init(&text, 8192);
    mrkdwn_escape(&text, fallback);
    json_put_kstr(b->w, "text", text_str(&text));
    if (b->ephemeral) {
        json_put_kcstr(b->w, "response_type", "ephemeral");
        json_put_kbool(b->w, "replace_original", b->replace);
    }
    json_object_end(b->w);
    ok = json_writer_done(b->w, &json, err);
    if (ok && !text_add(out, json)) {
        ok = error_set(err, ERROR_INPUT, "the reply is too long");
    }
    text_free(&text);
    return ok;
}
