/*
 * The digest without a model, good enough to be the product: what can be said of the records by
 * counting and quoting them. Quotes are the member's own plain text, shown to nobody else.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "digest/blocks.h"
#include "digest/clean.h"
#include "digest/frame.h"
#include "digest/links.h"
#include "digest/render.h"
#include "digest/words.h"

enum { LONGEST_MAX = 3, QUOTE_MAX = 280, LONG_ENOUGH = 40, LINKS_MAX = 10 };

struct facts {
    size_t days;
    size_t channels;
    size_t longest[LONGEST_MAX];
    size_t longest_count;
};

static void collect(struct facts *f, const struct digest_work *work, const struct source *source)
{
    *f = (struct facts){0};
    for (size_t i = 0; i < work->records_count; i++) {
        size_t length = utf8_length(source_text(source, i));
        size_t at = f->longest_count;

        if (i == 0 || strcmp(work->records[i].day, work->records[i - 1].day) != 0) {
            f->days++;
        }
        if ((size_t)source_channel(source, i) > f->channels) {
            f->channels = (size_t)source_channel(source, i);
        }
        if (length < LONG_ENOUGH) {
            continue;
        }
        while (at > 0 && utf8_length(source_text(source, f->longest[at - 1])) < length) {
            at--;
        }
        if (at < LONGEST_MAX) {
            size_t last = f->longest_count < LONGEST_MAX ? f->longest_count++ : LONGEST_MAX - 1;
            memmove(&f->longest[at + 1], &f->longest[at], (last - at) * sizeof(f->longest[0]));
            f->longest[at] = i;
        }
    }
}

static void add_longest(struct blocks *b, const struct facts *f, const struct digest_work *work,
                        const struct source *source)
{
    const struct words *words = words_of(work->language);
    struct text t, plain;

    text_init(&t, 16384);
    text_init(&plain, 256 * 1024);
    for (size_t k = 0; k < f->longest_count; k++) {
        struct str whole = source_text(source, f->longest[k]);
        struct text shown;

        text_reset(&t);
        text_reset(&plain);
        text_init(&shown, 16384);
        clean_line(&plain, whole);
        if (k == 0) {
            text_addf(&t, "%s\n", words->longest);
        }
        /* its links are the member's own, its mentions are gone: only fences must go */
        if (clean_text(&shown, text_str(&plain), QUOTE_MAX, source, STR_NULL)) {
            text_adds(&t, "• ");
            render_text(&t, text_str(&shown), source);
            text_adds(&t, " ");
            frame_link(&t, work, f->longest[k], words->view);
            blocks_line(b, text_str(&t));
        }
        text_free(&shown);
    }
    blocks_gap(b);
    text_free(&t);
    text_free(&plain);
}

static size_t add_links(struct blocks *b, const struct digest_work *work,
                        const struct source *source)
{
    struct str shown[LINKS_MAX];
    size_t count = 0;
    struct text t;

    text_init(&t, 16384);
    for (size_t i = 0; i < work->records_count && count < LINKS_MAX; i++) {
        struct str link;
        size_t pos = 0;

        while (count < LINKS_MAX && link_next(source_text(source, i), &pos, &link)) {
            bool seen = !link_is_web(link) || link.len > 500;

            for (size_t k = 0; k < count; k++) {
                seen = seen || str_eq(shown[k], link);
            }
            if (seen) {
                continue;
            }
            text_reset(&t);
            if (count == 0) {
                text_addf(&t, "%s\n", words_of(work->language)->links);
            }
            text_adds(&t, "• <");
            mrkdwn_escape(&t, link);
            text_adds(&t, ">");
            blocks_line(b, text_str(&t));
            shown[count++] = link;
        }
    }
    blocks_gap(b);
    text_free(&t);
    return count;
}

/* One line a day: "11월 21일  09:12  10:40 ..." with each time a permalink. */
static void add_records(struct blocks *b, const struct digest_work *work)
{
    const struct words *words = words_of(work->language);
    struct text t;
    bool room = true;

    text_init(&t, 16384);
    for (size_t i = 0; i < work->records_count && room; i++) {
        const struct digest_record *r = &work->records[i];
        bool starts = i == 0 || strcmp(r->day, work->records[i - 1].day) != 0;

        if (starts || blocks_units(text_str(&t)) > 1200) {
            room = t.len == 0 || blocks_line(b, text_str(&t));
            text_reset(&t);
            if (i == 0) {
                text_addf(&t, "%s\n", words->records);
            }
            words_date(&t, work->language, r->day);
        }
        text_adds(&t, "  ");
        frame_link(&t, work, i, r->time);
    }
    room = room && blocks_line(b, text_str(&t));
    if (!room || (size_t)work->records_total > work->records_count) {
        blocks_line(b, str_of(words->more));
    }
    text_free(&t);
}

static bool write_result(struct text *out, const struct digest_work *work, const struct facts *f,
                         size_t links, struct error *err)
{
    struct json_writer *w = json_writer_create(4096);
    struct str json;
    bool ok;

    json_object_begin(w);
    json_put_kint(w, "notes", work->records_total);
    json_put_kint(w, "days", (int64_t)f->days);
    json_put_kint(w, "channels", (int64_t)f->channels);
    json_put_kint(w, "links", (int64_t)links);
    json_object_end(w);
    ok = json_writer_done(w, &json, err) && text_add(out, json);
    json_writer_destroy(&w);
    return ok;
}

bool render_factual(struct text *out, struct text *result, const struct digest_work *work,
                    const struct source *source, struct error *err)
{
    struct blocks *b = blocks_create();
    struct facts f;
    struct text t;
    size_t links;
    bool ok;

    text_init(&t, 4096);
    collect(&f, work, source);
    frame_open(b, work);
    words_totals(&t, work->language, (size_t)work->records_total, f.days, f.channels);
    blocks_line(b, text_str(&t));
    blocks_gap(b);
    add_longest(b, &f, work, source);
    links = add_links(b, work, source);
    add_records(b, work);
    frame_close(b, work, false);
    ok = blocks_done(b, str_of(words_of(work->language)->fallback), out, err) &&
         write_result(result, work, &f, links, err);
    text_free(&t);
    blocks_destroy(&b);
    return ok;
}
