/*
 * The effective configuration: STUDY_<SECTION>_<KEY> over the file over the vendor's variable over
 * the default. An unknown key, a bad value or an unreadable secret is ERROR_CONFIG with file, line,
 * key and the allowed range; all are found at load, none later.
 *
 * Beside a secret's variable there is STUDY_<SECTION>_<KEY>_FILE, naming a file. A variable that
 * begins with STUDY_ and one of the sections but names no key is an error too.
 */
#ifndef STUDY_BASE_CONFIG_H
#define STUDY_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct config;

bool config_load(struct config **out, const char *path, struct error *err); /* NULL: no file */
void config_destroy(struct config **config);                                /* clears secrets */

/* section and key must be in the table (a programming error aborts). Strings live as long as c. */
const char *config_string(const struct config *c, const char *section, const char *key);
/* Also SIZE, DURATION in ms, DECIMAL in thousandths (INT64_MIN: empty). */
int64_t config_int(const struct config *c, const char *section, const char *key);
bool config_bool(const struct config *c, const char *section, const char *key);
size_t config_list(const struct config *c, const char *section, const char *key,
                   const char *const **items);
/* "" when unset. */
const char *config_secret(const struct config *c, const char *section, const char *key);
/* The file that it was read from; "" when it came from the environment, or there is none. */
const char *config_secret_path(const struct config *c, const char *section, const char *key);

/*
 * [slack] token_dir/<team_id>, else [slack] bot_token; NULL when there is none. Read at load and
 * again by config_load only; the directory's files are listed at load.
 */
const char *config_slack_token(const struct config *c, const char *team_id);

/* Where a value came from: "default", "study-worker.conf:LINE", "environment", "secret file". */
const char *config_origin(const struct config *c, const char *section, const char *key);
const char *config_path(const struct config *c);

#endif
