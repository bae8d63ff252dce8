/* Inside base: why a text is no JSON that we read. */
#ifndef STUDY_BASE_JSON_REFUSE_H
#define STUDY_BASE_JSON_REFUSE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

/* ERROR_INPUT with what is wrong first, and where; false. */
bool json_refuse(struct str in, struct error *err);

#endif
