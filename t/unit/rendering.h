/* A digest as its member reads it, checked for what Slack takes and for markup that is not ours. */
#ifndef STUDY_UNIT_RENDERING_H
#define STUDY_UNIT_RENDERING_H

#include "unit.h"

#include <string.h>

#include "base/json.h"
#include "digest/answer.h"
#include "digest/prompt.h"
#include "digest/render.h"
#include "digest_work.h"

#define PROMPTS STUDY_SOURCE_DIR "/conf/prompts"

static struct prompts *prompts;

static inline int load(void **state)
{
    struct error err = {0};

    (void)state;
    return prompts_load(&prompts, PROMPTS, &err) ? 0 : -1;
}

static inline int unload(void **state)
{
    (void)state;
    prompts_destroy(&prompts);
    return 0;
}

static inline size_t shown_buttons(struct text *out, const struct json *block)
{
    const struct json *buttons = json_get(block, "elements");
    size_t total = 0;

    assert_in_range(json_size(buttons), 1, 25);
    for (size_t i = 0; i < json_size(buttons); i++) {
        const struct json *button = json_at(buttons, i);
        struct str label = json_string(json_path(button, "text.text"));

        assert_true(str_is(json_string(json_path(button, "text.type")), "plain_text"));
        assert_in_range(utf8_length(label), 1, 75);
        assert_in_range(json_get_string(button, "value").len, 1, 2000);
        text_addf(out, "\n[%.*s](%.*s %.*s)", STR_ARG(label),
                  STR_ARG(json_get_string(button, "action_id")),
                  STR_ARG(json_get_string(button, "value")));
        total += utf8_length(label);
    }
    return total;
}

/* All texts that the message shows, a line each; checks Slack's limits on the
 * way. */
static inline void shown(struct text *out, struct str body)
{
    struct error err = {0};
    struct json_doc *doc = NULL;
    const struct json *blocks;
    size_t total = 0;

    assert_true(json_parse(&doc, body, &err));
    blocks = json_get(json_root(doc), "blocks");
    assert_in_range(json_size(blocks), 1, 50);
    assert_true(json_get_string(json_root(doc), "text").len > 0);
    text_add(out, json_get_string(json_root(doc), "text"));
    for (size_t i = 0; i < json_size(blocks); i++) {
        const struct json *block = json_at(blocks, i);
        struct str type = json_get_string(block, "type");
        if (str_is(type, "actions")) {
            total += shown_buttons(out, block);
            continue;
        }
        const struct json *text = str_is(type, "context") ? json_at(json_get(block, "elements"), 0)
                                                          : json_get(block, "text");
        struct str s = json_get_string(text, "text");

        assert_true(utf8_valid(s));
        assert_in_range(utf8_length(s), 1, str_is(type, "header") ? 150 : 3000);
        assert_true(str_is(type, "header") || json_bool(json_get(text, "verbatim")));
        total += utf8_length(s);
        text_adds(out, "\n");
        text_add(out, s);
    }
    assert_in_range(total, 1, 12000);
    json_destroy(&doc);
}

/* "<...>" may hold: the greeting's mention, our permalinks, links of the
 * records. */
static inline void only_our_markup(const char *text, const struct source *source)
{
    for (const char *p = text; (p = strchr(p, '<')) != NULL; p++) {
        const char *end = strchr(p, '>');
        struct str inner;
        struct text plain;

        assert_non_null(end);
        inner = (struct str){p + 1, (size_t)(end - p - 1)};
        text_init(&plain, 4096);
        source_plain(&plain, inner); /* undoes &amp; */
        if (!str_is(inner, "@U0MEMBER1") &&
            !str_starts(inner, "https://group.slack.com/archives/C0") &&
            !source_has_link(source, text_str(&plain))) {
            fail_msg("<%.*s> left", STR_ARG(inner));
        }
        text_free(&plain);
    }
}

static inline struct answer *parse(const char *json, const struct source *source, const char *language)
{
    struct answer *answer = NULL;
    struct text problem;

    text_init(&problem, 400);
    if (!answer_parse(&answer, str_of(json), source, 0, source_count(source),
                      prompt_instructions(prompts, language), &problem)) {
        fail_msg("%s: %s", json, text_cstr(&problem));
    }
    text_free(&problem);
    return answer;
}

static inline void render(struct text *out, const struct digest_work *work, const struct source *source,
                   const char *json)
{
    struct answer *answer = parse(json, source, work->language);
    struct error err = {0};
    struct text body;

    text_init(&body, 512 * 1024);
    assert_true(render_digest(&body, work, source, answer, 0, &err));
    shown(out, text_str(&body));
    text_free(&body);
    answer_destroy(&answer);
}

#endif
