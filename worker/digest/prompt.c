/* Everything is read once, at start; a role holds both languages. */
#include "digest/prompt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "digest/clean.h"
#include "digest/template.h"

#define PROMPT_MAX    (1024 * 1024)
#define FILE_NAME_MAX 200 /* code points */
#define DIVIDER       "\n=== records ===\n"

enum language { KOREAN, ENGLISH, LANGUAGES };

enum { HOLE_RECORDS, HOLE_COUNT, HOLE_LEFT_OUT, HOLE_PART, HOLE_PARTS, USER_HOLES };
enum { HOLE_RETENTION, HOLE_MODEL_HOST, HOLE_OPT_IN, NOTICE_HOLES };

static const struct template_hole user_holes[USER_HOLES] = {
    [HOLE_RECORDS] = {"records", true},    [HOLE_COUNT] = {"count", false},
    [HOLE_LEFT_OUT] = {"left_out", false}, [HOLE_PART] = {"part", false},
    [HOLE_PARTS] = {"parts", false},
};
static const struct template_hole repair_holes[] = {{"problem", true}};
static const struct template_hole notice_holes[NOTICE_HOLES] = {
    [HOLE_RETENTION] = {"retention", true},
    [HOLE_MODEL_HOST] = {"model_host", false},
    [HOLE_OPT_IN] = {"opt_in", false},
};

struct prompts {
    struct {
        struct template *system;
        struct template *user;
        struct template *repair;
        struct template *notice, *channel;
        struct text instructions;
    } of[LANGUAGES];
};

static enum language language_of(const char *name)
{
    return strcmp(name, "en") == 0 ? ENGLISH : KOREAN;
}

static bool load_digest(struct prompts *p, int language, const char *path, struct str file,
                        struct error *err)
{
    const char *at = memmem(file.data, file.len, DIVIDER, strlen(DIVIDER));
    struct str head, tail;
    struct text literal;
    size_t line = 1;

    if (at == NULL) {
        return error_set(err, ERROR_CONFIG, "%s:1: the line \"=== records ===\" is missing", path);
    }
    head = (struct str){file.data, (size_t)(at - file.data) + 1};
    tail.data = at + strlen(DIVIDER);
    tail.len = file.len - (size_t)(tail.data - file.data);
    for (const char *c = file.data; c < tail.data; c++) {
        line += *c == '\n';
    }
    if (!template_parse(&p->of[language].system, path, 1, head, NULL, 0, err) ||
        !template_parse(&p->of[language].user, path, line, tail, user_holes, USER_HOLES, err)) {
        return false;
    }
    text_init(&literal, TEMPLATE_FILE_MAX);
    text_init(&p->of[language].instructions, TEMPLATE_FILE_MAX);
    template_literal(p->of[language].system, &literal);
    clean_line(&p->of[language].instructions, text_str(&literal));
    text_free(&literal);
    return true;
}

static bool load_file(struct prompts *p, const char *dir, const char *name, int language,
                      struct error *err)
{
    char *path = NULL;
    struct text file;
    bool ok;

    if (asprintf(&path, "%s/%s.%s.txt", dir, name, language == ENGLISH ? "en" : "ko") < 0) {
        abort();
    }
    text_init(&file, TEMPLATE_FILE_MAX);
    ok = template_read_file(path, &file, err);
    if (ok && strcmp(name, "digest") == 0) {
        ok = load_digest(p, language, path, text_str(&file), err);
    } else if (ok && strcmp(name, "repair") == 0) {
        ok =
            template_parse(&p->of[language].repair, path, 1, text_str(&file), repair_holes, 1, err);
    } else if (ok) {
        ok = template_parse(strcmp(name, "notice") == 0 ? &p->of[language].notice
                                                        : &p->of[language].channel,
                            path, 1, text_str(&file), notice_holes, NOTICE_HOLES, err);
    }
    text_free(&file);
    free(path);
    return ok;
}

bool prompts_load(struct prompts **out, const char *dir, struct error *err)
{
    static const char *const names[] = {"digest", "repair", "notice", "channel"};
    struct prompts *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        abort();
    }
    for (int language = 0; language < LANGUAGES; language++) {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (!load_file(p, dir, names[i], language, err)) {
                prompts_destroy(&p);
                return false;
            }
        }
    }
    *out = p;
    return true;
}

void prompts_destroy(struct prompts **prompts)
{
    if (*prompts == NULL) {
        return;
    }
    for (int i = 0; i < LANGUAGES; i++) {
        template_destroy(&(*prompts)->of[i].system);
        template_destroy(&(*prompts)->of[i].user);
        template_destroy(&(*prompts)->of[i].repair);
        template_destroy(&(*prompts)->of[i].notice);
        template_destroy(&(*prompts)->of[i].channel);
        text_free(&(*prompts)->of[i].instructions);
    }
    free(*prompts);
    *prompts = NULL;
}

struct str prompt_instructions(const struct prompts *prompts, const char *language)
{
    return text_str(&prompts->of[language_of(language)].instructions);
}

/* How many code points of record i go in: all, or what its share of the bound leaves. */
static size_t record_cost(const struct digest_work *work, const struct source *source, size_t i)
{
    return utf8_length(source_text(source, i)) + utf8_length(str_of(work->records[i].files)) + 80;
}

/* The first record of a part that ends before `end`; at least one goes in. */
static size_t part_begin(const struct digest_work *work, const struct source *source,
                         size_t max_input, size_t end)
{
    size_t used = 0;
    size_t i = end;

    while (i > 0) {
        size_t cost = record_cost(work, source, i - 1);

        if (used + cost > max_input && i < end) {
            break;
        }
        used += cost;
        i--;
    }
    return i;
}

size_t prompt_parts(const struct digest_work *work, const struct source *source, size_t max_input,
                    size_t max_parts, struct prompt_part parts[static PROMPT_PARTS_MAX])
{
    struct prompt_part found[PROMPT_PARTS_MAX]; /* newest first */
    size_t limit = max_parts < PROMPT_PARTS_MAX ? max_parts : PROMPT_PARTS_MAX;
    size_t count = 0;
    size_t end = work->records_count;

    do {
        size_t first = part_begin(work, source, max_input, end);

        found[count++] = (struct prompt_part){first, end};
        end = first;
    } while (end > 0 && count < limit);
    for (size_t i = 0; i < count; i++) {
        parts[i] = found[count - 1 - i];
    }
    return count;
}

static void put_files(struct json_writer *w, const char *files)
{
    const char *p = files;

    if (*p == '\0') {
        return;
    }
    json_put_key(w, "files");
    json_array_begin(w);
    while (*p != '\0') {
        const char *stop = strchrnul(p, '\n');
        struct text name;

        text_init(&name, 4096);
        source_without_ids(&name, (struct str){p, (size_t)(stop - p)});
        /* after the ids: the end of a cut word would look like one, or not any more */
        json_put_str(w, utf8_cut(text_str(&name), FILE_NAME_MAX));
        text_free(&name);
        p = *stop == '\n' ? stop + 1 : stop;
    }
    json_array_end(w);
}

static bool put_record(struct text *out, const struct digest_work *work,
                       const struct source *source, size_t i, size_t n, size_t max_input,
                       struct error *err)
{
    const struct digest_record *r = &work->records[i];
    struct json_writer *w = json_writer_create(PROMPT_MAX);
    struct str line;
    bool ok;

    json_object_begin(w);
    json_put_kint(w, "n", (int64_t)n);
    json_put_kcstr(w, "day", r->day);
    json_put_kcstr(w, "time", r->time);
    json_put_kint(w, "channel", source_channel(source, i));
    json_put_kbool(w, "thread", r->thread_ts != NULL);
    json_put_kstr(w, "text", utf8_cut(source_text(source, i), max_input));
    put_files(w, r->files);
    json_object_end(w);
    ok = json_writer_done(w, &line, err) && text_add(out, line) && text_adds(out, "\n");
    json_writer_destroy(&w);
    return ok;
}

bool prompt_digest(const struct prompts *prompts, const struct digest_work *work,
                   const struct source *source, const struct prompt_part *parts, size_t parts_count,
                   size_t part, size_t max_input, struct text *system, struct text *user,
                   struct error *err)
{
    enum language language = language_of(work->language);
    struct str values[USER_HOLES] = {STR_NULL};
    size_t first = parts[part].first;
    size_t end = parts[part].end;
    size_t taken = work->records_count - parts[0].first;
    struct text records, count, left_out, nth, of;
    bool ok = true;

    text_init(&records, PROMPT_MAX);
    text_init(&count, 32);
    text_init(&left_out, 32);
    text_init(&nth, 32);
    text_init(&of, 32);
    for (size_t i = first; i < end && ok; i++) {
        ok = put_record(&records, work, source, i, i - first + 1, max_input, err);
    }
    text_addf(&count, "%zu", end - first);
    if ((size_t)work->records_total > taken) {
        text_addf(&left_out, "%zu", (size_t)work->records_total - taken);
    }
    if (parts_count > 1) {
        text_addf(&nth, "%zu", part + 1);
        text_addf(&of, "%zu", parts_count);
    }
    if (records.len > 0) {
        records.len--; /* the template puts its own line break */
    }
    values[HOLE_RECORDS] = text_str(&records);
    values[HOLE_COUNT] = text_str(&count);
    values[HOLE_LEFT_OUT] = text_str(&left_out);
    values[HOLE_PART] = text_str(&nth);
    values[HOLE_PARTS] = text_str(&of);
    ok = ok && ((template_fill(prompts->of[language].system, NULL, system) &&
                 template_fill(prompts->of[language].user, values, user)) ||
                error_set(err, ERROR_INPUT, "the prompt is too long"));
    text_free(&records);
    text_free(&count);
    text_free(&left_out);
    text_free(&nth);
    text_free(&of);
    return ok;
}

bool prompt_repair(const struct prompts *prompts, const char *language, struct str problem,
                   struct text *out)
{
    return template_fill(prompts->of[language_of(language)].repair, &problem, out);
}

bool prompt_notice(const struct prompts *prompts, bool to_channel, const char *language,
                   int64_t retention_days, const char *model_host, bool opt_in, struct text *out)
{
    enum language of = language_of(language);
    struct str values[NOTICE_HOLES] = {STR_NULL};
    struct text days, host;
    bool ok;

    text_init(&days, 32);
    text_init(&host, 1024);
    text_addf(&days, "%" PRId64, retention_days);
    mrkdwn_escape(&host, str_of(model_host));
    values[HOLE_RETENTION] = text_str(&days);
    values[HOLE_MODEL_HOST] = text_str(&host);
    values[HOLE_OPT_IN] = opt_in ? STR("yes") : STR_NULL;
    ok = template_fill(to_channel ? prompts->of[of].channel : prompts->of[of].notice, values, out);
    text_free(&days);
    text_free(&host);
    return ok;
}
