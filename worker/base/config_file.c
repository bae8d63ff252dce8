/*
 * The INI file, through libinih. Debian builds that library without line numbers, with lines cut at
 * 200 bytes and with comments behind values (" ;"), all of it silently. So the lines come from a
 * reader of our own, which counts them and refuses what the library would maim. A long value goes
 * on in indented lines, as the library has it.
 */
#include "base/config_file.h"

#include <ini.h>
#include <stdio.h>
#include <string.h>

struct reader {
    FILE *file;
    const struct config_file_sink *sink;
    int line;
    bool indented;
    bool after_key; /* an indented line goes on with that key's value */
};

/* One line without its end; false at the end of the file. *fits: it did, and held no NUL. */
static bool read_line(FILE *file, char *out, size_t size, bool *fits)
{
    size_t n = 0;
    int c;

    *fits = true;
    while ((c = getc(file)) != EOF && c != '\n') {
        if (n + 1 < size && c != '\0') {
            out[n++] = (char)c;
        } else {
            *fits = false;
        }
    }
    while (n > 0 && out[n - 1] == '\r') {
        n--;
    }
    out[n] = '\0';
    return c != EOF || n > 0 || !*fits;
}

static bool has_inline_comment(const char *line)
{
    for (const char *p = line; (p = strchr(p, ';')) != NULL; p++) {
        if (p > line && (p[-1] == ' ' || p[-1] == '\t')) {
            return true;
        }
    }
    return false;
}

/* Why the library must not see this line, or NULL. */
static const char *objection(struct reader *r, const char *line, bool fits)
{
    const char *start = line + strspn(line, " \t");

    r->indented = false;
    if (!fits) {
        return "longer than 190 bytes, or a NUL byte in it; go on in an indented line";
    }
    if (*start == '\0' || *start == '#' || *start == ';') {
        return NULL;
    }
    if (has_inline_comment(line)) {
        return "a comment must stand on a line of its own";
    }
    r->indented = start > line;
    if (r->indented && !r->after_key) {
        return "sections and keys start in the first column";
    }
    if (!r->indented) {
        r->after_key = *start != '[';
    }
    return NULL;
}

static char *next_line(char *out, int size, void *arg)
{
    struct reader *r = arg;
    char line[192];
    bool fits;

    if (!read_line(r->file, line, sizeof(line), &fits)) {
        return NULL;
    }
    r->line++;
    const char *why = objection(r, line, fits);
    if (why != NULL) {
        r->sink->fault(r->sink->arg, r->line, why);
        line[0] = '\0';
    }
    snprintf(out, (size_t)size, "%s", line);
    return out;
}

static int on_value(void *arg, const char *section, const char *key, const char *value)
{
    struct reader *r = arg;

    r->sink->value(r->sink->arg, r->line, section, key, value, r->indented);
    return 1;
}

/* ini_parse_stream has one argument for the reader and one for the handler; both are ours. */
bool config_file_read(const char *path, const struct config_file_sink *sink, struct error *err)
{
    struct reader r = {.file = fopen(path, "re"), .sink = sink};

    if (r.file == NULL) {
        return error_set_errno(err, "%s", path);
    }
    int syntax = ini_parse_stream(next_line, &r, on_value, &r);
    bool readable = !ferror(r.file);
    if (!readable) {
        error_set_errno(err, "%s", path);
    } else if (syntax > 0) {
        sink->fault(sink->arg, syntax, "neither [section] nor key = value");
    }
    fclose(r.file);
    return readable;
}
