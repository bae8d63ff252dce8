#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

/*
 * Sends the load and counts what comes back: connections in one epoll loop, one
 * thread. Bounded by the number of requests and by the run's duration.
 *
 * Closed loop: each connection sends its next event when it has room in its
 * pipeline. Open loop (--rate): events fall due by the clock and go out on the
 * next connection with room; an event that had to wait counts its wait.
 *
 * A failed request is an answer that never came: it is counted by cause and not
 * sent again, except by --retry-unsent, on a connection that had answered before
 * and was closed before a byte of this answer.
 */

#include "options.h"
#include "stats.h"

#include <stdbool.h>
#include <stdint.h>

enum load_error {
    LOAD_CONNECT, /* refused, unreachable, reset while connecting */
    LOAD_PORTS,   /* no local port or descriptor left */
    LOAD_CLOSED,  /* closed or reset before the answer was complete */
    LOAD_TIMEOUT,
    LOAD_PROTOCOL, /* the answer is not HTTP */
    LOAD_ERRORS
};

extern const char *const load_error_names[LOAD_ERRORS];

struct load_result {
    uint64_t sent;     /* distinct events */
    uint64_t answered; /* with a whole answer, whatever its status */
    uint64_t status[600];
    uint64_t errors[LOAD_ERRORS];
    uint64_t retried;
    uint64_t connections; /* opened */
    uint64_t kinds[EVENT_KINDS];
    double wall_s;
    struct stats *latency; /* of answered requests; the caller's to destroy */
};

/* False, with a word on standard error, when the run could not start or not finish. */
bool load_run(const struct options *opt, struct load_result *result);

/* Makes the run end at once; for signal handlers. */
void load_stop(void);

#endif
