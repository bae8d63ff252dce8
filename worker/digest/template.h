/*
 * A text file with named holes: {{name}}. A line that begins with {{?name}} is left out while name
 * is empty. Which holes a file may and must have is checked when it is read, so that a slip of the
 * pen stops the start with file and line and not a digest at night.
 */
#ifndef STUDY_DIGEST_TEMPLATE_H
#define STUDY_DIGEST_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

#define TEMPLATE_HOLES_MAX 8
#define TEMPLATE_FILE_MAX  (64 * 1024)

struct template_hole {
    const char *name;
    bool required;
};

struct template;

/*
 * text: a part of the file `path`, from line `line` on; copied. An unknown or a missing hole, an
 * unclosed one, invalid UTF-8: ERROR_CONFIG "path:line: ...".
 */
bool template_parse(struct template **out, const char *path, size_t line, struct str text,
                    const struct template_hole *holes, size_t holes_count, struct error *err);
void template_destroy(struct template **t);

/* values in the order of the holes; absent is empty. False when out has no room. */
bool template_fill(const struct template *t, const struct str *values, struct text *out);

/* The text without what is in holes, for comparing. */
void template_literal(const struct template *t, struct text *out);

bool template_read_file(const char *path, struct text *out, struct error *err);

#endif
