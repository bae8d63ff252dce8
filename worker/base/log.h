/*
 * The log: a line a fact, "2026-11-22T08:30:00.123Z level role[pid] text", to stderr or a file.
 * Never a secret, never a member's text.
 */
#ifndef STUDY_BASE_LOG_H
#define STUDY_BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

bool log_open(const char *path, enum log_level level, struct error *err); /* NULL or "": stderr */
bool log_reopen(struct error *err);  /* after logrotate; keeps the old file when it fails */
void log_set_role(const char *role); /* static string */

void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
