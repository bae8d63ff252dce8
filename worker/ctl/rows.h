/* What most commands do: one statement's rows to the output, or the error. */
#ifndef STUDY_CTL_ROWS_H
#define STUDY_CTL_ROWS_H

#include "ctl/ctl.h"
#include "ctl/output.h"
#include "db/inspect.h"

/* Takes res over; `ok` and `err` are what the statement gave. */
enum ctl_status rows_print(const struct ctl *ctl, bool ok, struct pg_result *res,
                           const struct error *err);

/* A grid of the result, which it takes over; NULL when not ok. */
struct grid *rows_take(bool ok, struct pg_result **res);

/* The filter of --team, --state and --limit. False, with the reason printed, when --state is none
 * of `states` ("a|b|c"). */
bool rows_filter(const struct ctl *ctl, const char *states, struct inspect_filter *filter);

/* The first argument as an id of a row. */
bool rows_id(const struct ctl *ctl, int64_t *id);

/* "studyctl: no WHAT ARG" on standard error. */
enum ctl_status rows_none(const char *what, const char *which);

#endif
