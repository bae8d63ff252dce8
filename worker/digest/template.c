/* Filled piece by piece, never twice: what a value holds can not become a hole. */
#include "digest/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct piece {
    struct str literal; /* before the hole */
    int hole;           /* -1: none */
    int only_if;        /* a line's condition, -1: none */
};

struct template
{
    char *text;
    struct piece *pieces;
    size_t count;
    size_t holes_count;
};

struct reader {
    struct template *t;
    const char *path;
    size_t line;
    const struct template_hole *holes;
    size_t holes_count;
    bool seen[TEMPLATE_HOLES_MAX];
};

static void add_piece(struct template *t, struct str literal, int hole, int only_if)
{
    if (t->count % 16 == 0) {
        t->pieces = realloc(t->pieces, (t->count + 16) * sizeof(*t->pieces));
        if (t->pieces == NULL) {
            abort();
        }
    }
    t->pieces[t->count++] = (struct piece){literal, hole, only_if};
}

/* s begins behind "{{" (or "{{?"). The length up to and with "}}" goes to *len. */
static bool read_name(struct reader *r, struct str s, int *hole, size_t *len, struct error *err)
{
    const char *close = memmem(s.data, s.len, "}}", 2);
    struct str name;

    if (close == NULL) {
        return error_set(err, ERROR_CONFIG, "%s:%zu: \"{{\" without \"}}\" in its line", r->path,
                         r->line);
    }
    name = (struct str){s.data, (size_t)(close - s.data)};
    for (size_t i = 0; i < r->holes_count; i++) {
        if (str_is(name, r->holes[i].name)) {
            *hole = (int)i;
            *len = name.len + 2;
            return true;
        }
    }
    return error_set(err, ERROR_CONFIG, "%s:%zu: there is no hole named \"%.*s\" in this file",
                     r->path, r->line, (int)(name.len > 40 ? 40 : name.len), name.data);
}

/* line: with its line break, if it has one. */
static bool read_line(struct reader *r, struct str line, struct error *err)
{
    int only_if = -1;
    size_t len;
    int hole;

    if (str_starts(line, "{{?")) {
        line = (struct str){line.data + 3, line.len - 3};
        if (!read_name(r, line, &only_if, &len, err)) {
            return false;
        }
        line = (struct str){line.data + len, line.len - len};
    }
    for (;;) {
        const char *open = memmem(line.data, line.len, "{{", 2);
        struct str before = line;

        if (open == NULL) {
            add_piece(r->t, line, -1, only_if);
            return true;
        }
        before.len = (size_t)(open - line.data);
        line = (struct str){open + 2, line.len - before.len - 2};
        if (!read_name(r, line, &hole, &len, err)) {
            return false;
        }
        add_piece(r->t, before, hole, only_if);
        r->seen[hole] = true;
        line = (struct str){line.data + len, line.len - len};
    }
}

bool template_parse(struct template **out, const char *path, size_t line, struct str text,
                    const struct template_hole *holes, size_t holes_count, struct error *err)
{
    struct template *t = calloc(1, sizeof(*t));
    struct reader r = {t, path, line, holes, holes_count, {false}};
    struct str rest;

    if (t == NULL || holes_count > TEMPLATE_HOLES_MAX) {
        abort();
    }
    t->text = str_dup(text);
    t->holes_count = holes_count;
    rest = (struct str){t->text, text.len};
    if (!utf8_valid(rest) || memchr(t->text, '\0', text.len) != NULL) {
        error_set(err, ERROR_CONFIG, "%s: is not UTF-8 text", path);
        goto fail;
    }
    while (rest.len > 0) {
        const char *stop = memchr(rest.data, '\n', rest.len);
        struct str one = {rest.data, stop != NULL ? (size_t)(stop - rest.data) + 1 : rest.len};

        if (!read_line(&r, one, err)) {
            goto fail;
        }
        rest = (struct str){rest.data + one.len, rest.len - one.len};
        r.line++;
    }
    for (size_t i = 0; i < holes_count; i++) {
        if (holes[i].required && !r.seen[i]) {
            error_set(err, ERROR_CONFIG, "%s:%zu: the hole {{%s}} is missing", path,
                      r.line > line ? r.line - 1 : line, holes[i].name);
            goto fail;
        }
    }
    *out = t;
    return true;
fail:
    template_destroy(&t);
    return false;
}

void template_destroy(struct template **t)
{
    if (*t == NULL) {
        return;
    }
    free((*t)->text);
    free((*t)->pieces);
    free(*t);
    *t = NULL;
}

bool template_fill(const struct template *t, const struct str *values, struct text *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct piece *p = &t->pieces[i];

        if (p->only_if >= 0 && values[p->only_if].len == 0) {
            continue;
        }
        text_add(out, p->literal);
        if (p->hole >= 0) {
            text_add(out, values[p->hole]);
        }
    }
    return !out->truncated;
}

void template_literal(const struct template *t, struct text *out)
{
    for (size_t i = 0; i < t->count; i++) {
        text_add(out, t->pieces[i].literal);
    }
}

bool template_read_file(const char *path, struct text *out, struct error *err)
{
    FILE *file = fopen(path, "re");
    char buffer[4096];
    size_t n;
    bool ok = true;

    if (file == NULL) {
        return error_set(err, ERROR_CONFIG, "%s: %s", path, strerror(errno));
    }
    while (ok && (n = fread(buffer, 1, sizeof(buffer), file)) > 0) {
        ok = text_add(out, (struct str){buffer, n}) ||
             error_set(err, ERROR_CONFIG, "%s: larger than %d bytes", path, TEMPLATE_FILE_MAX);
    }
    if (ok && ferror(file)) {
        ok = error_set(err, ERROR_CONFIG, "%s: %s", path, strerror(errno));
    }
    fclose(file);
    return ok;
}
