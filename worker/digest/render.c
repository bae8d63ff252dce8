/*
 * Order of what is shown is order of what is dropped: when a message is full, later lines stay out
 * whole. The small print has its room kept.
 */
#include "digest/render.h"

#include <stdlib.h>
#include <string.h>

#include "base/action.h"
#include "digest/blocks.h"
#include "digest/frame.h"
#include "digest/links.h"
#include "digest/words.h"

#define LINE_MAX 16384

void render_text(struct text *out, struct str plain, const struct source *source)
{
    struct str link;
    size_t pos = 0;
    size_t from = 0;

    while (link_next(plain, &pos, &link)) {
        size_t at = (size_t)(link.data - plain.data);

        mrkdwn_escape(out, (struct str){plain.data + from, at - from});
        if (link_is_web(link) && source_has_link(source, link)) {
            text_adds(out, "<");
            mrkdwn_escape(out, link);
            text_adds(out, ">");
        } else {
            mrkdwn_escape(out, link);
        }
        from = pos;
    }
    mrkdwn_escape(out, (struct str){plain.data + from, plain.len - from});
}

/* The heading only together with a first line. */
static void add_list(struct blocks *b, const char *heading, const struct answer_statement *list,
                     size_t count, const struct digest_work *work, const struct source *source)
{
    const struct words *words = words_of(work->language);
    struct text t;
    bool headed = false;

    text_init(&t, LINE_MAX);
    for (size_t i = 0; i < count; i++) {
        text_reset(&t);
        if (!headed) {
            text_addf(&t, "%s\n", heading);
        }
        text_adds(&t, "• ");
        render_text(&t, str_of(list[i].text), source);
        for (size_t k = 0; k < list[i].records_count; k++) {
            struct text label;

            text_init(&label, 256);
            text_adds(&label, words->view);
            if (list[i].records_count > 1) {
                text_addf(&label, " %zu", k + 1);
            }
            text_adds(&t, " ");
            frame_link(&t, work, list[i].records[k], text_cstr(&label));
            text_free(&label);
        }
        headed = blocks_line(b, text_str(&t)) || headed;
    }
    blocks_gap(b);
    text_free(&t);
}

bool render_digest(struct text *out, const struct digest_work *work, const struct source *source,
                   const struct answer *answer, size_t first, struct error *err)
{
    const struct words *words = words_of(work->language);
    struct blocks *b = blocks_create();
    struct text t;
    bool ok;

    text_init(&t, LINE_MAX);
    frame_open(b, work);
    if ((size_t)work->records_total > work->records_count - first) {
        words_left_out(&t, work->language, work->records_count - first);
        blocks_line(b, text_str(&t)); /* here, where there is room for it */
        blocks_gap(b);
        text_reset(&t);
    }
    add_list(b, words->studied, answer->studied, answer->studied_count, work, source);
    add_list(b, words->went_well, answer->went_well, answer->went_well_count, work, source);
    if (answer->try_next != NULL) {
        text_addf(&t, "%s\n", words->try_next);
        render_text(&t, str_of(answer->try_next), source);
        blocks_line(b, text_str(&t));
        blocks_gap(b);
    }
    frame_close(b, work, true);
    ok = blocks_done(b, str_of(words->fallback), out, err);
    text_free(&t);
    blocks_destroy(&b);
    return ok;
}

static void add_greeting(struct blocks *b, const char *user_id)
{
    struct text hello;

    text_init(&hello, LINE_MAX);
    text_addf(&hello, "<@%s>", user_id);
    blocks_line(b, text_str(&hello));
    text_free(&hello);
}

bool render_notice(struct text *out, const char *user_id, const char *language, bool ask,
                   struct str notice, struct error *err)
{
    struct blocks *b = blocks_create();
    const char *p = notice.data;
    const char *end = notice.data + notice.len;
    struct str fallback = STR_NULL;
    bool ok;

    if (user_id != NULL) {
        add_greeting(b, user_id);
    }
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        struct str line = {p, (size_t)((stop != NULL ? stop : end) - p)};

        if (line.len == 0) {
            blocks_gap(b);
        } else if (!blocks_line(b, line)) {
            ok =
                error_set(err, ERROR_CONFIG, "the notice (%s) is too long for a message", language);
            goto done;
        } else if (fallback.data == NULL) {
            fallback = utf8_cut(line, 300);
        }
        p = stop != NULL ? stop + 1 : end;
    }
    if (user_id != NULL && ask) {
        blocks_buttons(
            b,
            &(struct blocks_button){ACTION_CONSENT, user_id, words_of(language)->agree, "primary"},
            1);
    }
    ok = blocks_done(b, fallback.data != NULL ? fallback : STR("Study Tracker"), out, err);
done:
    blocks_destroy(&b);
    return ok;
}
