/*
 * What the status role knows, and how its pages show it. The pages are made from this and from the
 * supervisor's board alone: a page never waits for anybody.
 */
#ifndef STUDY_PROC_STATUS_PAGE_H
#define STUDY_PROC_STATUS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "db/overview.h"
#include "ingest/queue.h"

#define STATUS_SERVERS_MAX 16

struct status_server {
    const char *name;
    bool ok;
    char error[256];
    struct queue_lengths lengths;
};

struct status {
    bool measured;       /* at least once */
    int64_t measured_ms; /* boot time */
    int64_t interval_ms;
    int64_t silent_ms; /* a process that has not looked at its signals for longer hangs */
    bool postgres_ok;
    char postgres_error[256];
    struct overview overview;
    struct status_server servers[STATUS_SERVERS_MAX];
    size_t server_count;
};

extern const char *const status_lists[QUEUE_LISTS]; /* names for labels */

/* "ok", or a line for each reason why not; returns whether all is well. */
bool status_health(const struct status *status, struct text *out);

/* One JSON object. False when it does not fit. */
bool status_json(const struct status *status, struct text *out);

#endif
