/*
 * Servers that ignore the schema still often put the right object somewhere: inside a fence, after
 * a "thinking" passage. The outermost braces are tried before the answer is given up.
 */
#include "digest/answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "digest/clean.h"

#define STATEMENTS                                                                                 \
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"                          \
    "\"text\":{\"type\":\"string\"},"                                                              \
    "\"records\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}},"                          \
    "\"required\":[\"text\",\"records\"],\"additionalProperties\":false}}"

const struct openai_schema answer_schema = {
    "study_digest",
    "{\"type\":\"object\",\"properties\":{\"studied\":" STATEMENTS ",\"went_well\":" STATEMENTS
    ",\"try_next\":{\"type\":\"string\"}},"
    "\"required\":[\"studied\",\"went_well\",\"try_next\"],\"additionalProperties\":false}"};

static bool parse_object(struct json_doc **doc, struct str content)
{
    struct error err = {0};
    const char *open;
    const char *close;

    if (json_parse(doc, content, &err)) {
        if (json_type(json_root(*doc)) == JSON_OBJECT) {
            return true;
        }
        json_destroy(doc);
        return false;
    }
    open = memchr(content.data, '{', content.len);
    if (str_starts(content, "<think>")) {
        const char *end = memmem(content.data, content.len, "</think>", 8);
        open = end == NULL ? NULL : memchr(end, '{', content.len - (size_t)(end - content.data));
    }
    close = memrchr(content.data, '}', content.len);
    if (open == NULL || close == NULL || close < open) {
        return false;
    }
    return json_parse(doc, (struct str){open, (size_t)(close - open) + 1}, &err) &&
           json_type(json_root(*doc)) == JSON_OBJECT;
}

static size_t read_cites(size_t *records, const struct json *list, size_t first, size_t end)
{
    size_t found = 0;

    for (size_t i = 0; i < json_size(list) && found < ANSWER_CITES_MAX; i++) {
        int64_t n;
        bool seen = false;

        if (!json_int64(json_at(list, i), &n) || n < 1 || (uint64_t)n > end - first) {
            continue;
        }
        for (size_t k = 0; k < found; k++) {
            seen = seen || records[k] == first + (size_t)n - 1;
        }
        if (!seen) {
            records[found++] = first + (size_t)n - 1;
        }
    }
    return found;
}

static size_t read_statements(struct answer_statement *out, size_t max, const struct json *list,
                              const struct source *source, size_t first, size_t end,
                              struct str instructions)
{
    size_t kept = 0;

    for (size_t i = 0; i < json_size(list) && kept < max; i++) {
        const struct json *item = json_at(list, i);
        struct answer_statement *s = &out[kept];
        struct text text;

        s->records_count = read_cites(s->records, json_get(item, "records"), first, end);
        text_init(&text, 8192);
        if (s->records_count > 0 && clean_text(&text, json_get_string(item, "text"),
                                               ANSWER_STATEMENT_MAX, source, instructions)) {
            s->text = str_dup(text_str(&text));
            kept++;
        }
        text_free(&text);
    }
    return kept;
}

bool answer_parse(struct answer **out, struct str content, const struct source *source,
                  size_t first, size_t end, struct str instructions, struct text *problem)
{
    struct json_doc *doc = NULL;
    struct answer *a = calloc(1, sizeof(*a));
    const struct json *root;
    struct text next;
    bool ok = false;

    if (a == NULL) {
        abort();
    }
    text_init(&next, 8192);
    if (content.len == 0 || !parse_object(&doc, content)) {
        text_adds(problem, "it is not one JSON object");
        goto done;
    }
    root = json_root(doc);
    if (json_type(json_get(root, "studied")) != JSON_ARRAY) {
        text_adds(problem, "\"studied\" is not a list");
        goto done;
    }
    a->studied_count = read_statements(a->studied, ANSWER_STUDIED_MAX, json_get(root, "studied"),
                                       source, first, end, instructions);
    a->went_well_count = read_statements(a->went_well, ANSWER_WELL_MAX, json_get(root, "went_well"),
                                         source, first, end, instructions);
    if (clean_text(&next, json_get_string(root, "try_next"), ANSWER_STATEMENT_MAX, source,
                   instructions)) {
        a->try_next = str_dup(text_str(&next));
    }
    if (a->studied_count == 0) {
        text_adds(problem, "no statement in \"studied\" has a text and the numbers of records "
                           "that were given");
        goto done;
    }
    ok = true;
done:
    text_free(&next);
    json_destroy(&doc);
    if (!ok) {
        answer_destroy(&a);
    }
    *out = a;
    return ok;
}

/* How many statements each part may give: in turn, until `max` are taken. */
static void share(const size_t *has, size_t count, size_t max, size_t *takes)
{
    size_t left = max;
    bool more = true;

    memset(takes, 0, count * sizeof(*takes));
    while (more && left > 0) {
        more = false;
        for (size_t i = 0; i < count && left > 0; i++) {
            if (takes[i] < has[i]) {
                takes[i]++;
                left--;
                more = true;
            }
        }
    }
}

static struct answer_statement copy_of(const struct answer_statement *s)
{
    struct answer_statement copy = *s;

    copy.text = str_dup(str_of(s->text));
    return copy;
}

struct answer *answer_merge(struct answer *const *parts, size_t count)
{
    struct answer *a = calloc(1, sizeof(*a));
    size_t has[ANSWER_PARTS_MAX] = {0}, takes[ANSWER_PARTS_MAX];

    if (a == NULL || count > ANSWER_PARTS_MAX) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        has[i] = parts[i]->studied_count;
    }
    share(has, count, ANSWER_STUDIED_MAX, takes);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < takes[i]; k++) {
            a->studied[a->studied_count++] = copy_of(&parts[i]->studied[k]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        has[i] = parts[i]->went_well_count;
    }
    share(has, count, ANSWER_WELL_MAX, takes);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < takes[i]; k++) {
            a->went_well[a->went_well_count++] = copy_of(&parts[i]->went_well[k]);
        }
    }
    for (size_t i = count; i > 0 && a->try_next == NULL; i--) {
        if (parts[i - 1]->try_next != NULL) {
            a->try_next = str_dup(str_of(parts[i - 1]->try_next));
        }
    }
    return a;
}

void answer_destroy(struct answer **answer)
{
    struct answer *a = *answer;

    if (a == NULL) {
        return;
    }
    for (size_t i = 0; i < a->studied_count; i++) {
        free(a->studied[i].text);
    }
    for (size_t i = 0; i < a->went_well_count; i++) {
        free(a->went_well[i].text);
    }
    free(a->try_next);
    free(a);
    *answer = NULL;
}

static void write_statements(struct json_writer *w, const char *key,
                             const struct answer_statement *list, size_t count, size_t first)
{
    json_put_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < count; i++) {
        json_object_begin(w);
        json_put_kcstr(w, "text", list[i].text);
        json_put_key(w, "records");
        json_array_begin(w);
        for (size_t k = 0; k < list[i].records_count; k++) {
            json_put_int(w, (int64_t)(list[i].records[k] - first + 1));
        }
        json_array_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

bool answer_write(struct text *out, const struct answer *a, size_t first)
{
    struct json_writer *w = json_writer_create(256 * 1024);
    struct error err = {0};
    struct str json;
    bool ok;

    json_object_begin(w);
    write_statements(w, "studied", a->studied, a->studied_count, first);
    write_statements(w, "went_well", a->went_well, a->went_well_count, first);
    json_put_kcstr(w, "try_next", a->try_next != NULL ? a->try_next : "");
    json_object_end(w);
    ok = json_writer_done(w, &json, &err) && text_add(out, json);
    json_writer_destroy(&w);
    return ok;
}
