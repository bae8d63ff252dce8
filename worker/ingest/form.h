/* application/x-www-form-urlencoded bodies: slash commands, interactions, triggers. */
#ifndef STUDY_INGEST_FORM_H
#define STUDY_INGEST_FORM_H

#include <stdbool.h>

#include "base/text.h"

/*
 * The first field of that name, decoded into malloc'ed memory that the caller frees; NULL when the
 * form has none. A per cent sign that no two hex digits follow stands for itself, as WHATWG's URL
 * standard has it. The bytes are not checked: they may hold NUL or be no UTF-8.
 */
char *form_get(struct str body, const char *name, struct str *value);

#endif
