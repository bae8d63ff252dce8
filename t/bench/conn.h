#ifndef BENCH_CONN_H
#define BENCH_CONN_H

/*
 * The connections of a load. A connection owns a ring of requests under way,
 * oldest first: their bytes stay until the answer is complete, so that a request
 * can go out again on a new connection exactly as it was.
 *
 * Whatever ends a connection goes through conn_lost(), whatever ends a request
 * through its two functions for answered and failed: the counts cannot drift.
 */

#include "event.h"
#include "http.h"
#include "load.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct request {
    struct event event;
    uint64_t start; /* ns, monotonic: what its latency counts from */
    uint64_t taken; /* ns: what its time-out counts from */
    unsigned resends;
    size_t len;
    char *bytes;
};

enum conn_state { CONN_NONE, CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };

struct conn {
    int fd;
    enum conn_state state;
    uint32_t watching; /* epoll events asked for */
    uint64_t taken;    /* requests put on this connection */
    uint64_t answered; /* by this connection */
    uint64_t since;    /* ns: when CONN_CLOSING began */
    struct request *ring;
    unsigned head, count; /* under way: ring[head], ... */
    unsigned unsent;      /* of them, the last so many are not written yet ... */
    size_t offset;        /* ... but for this part of the first one */
    struct http_answer answer;
};

struct load {
    const struct options *opt;
    struct load_result *result;
    struct event_source *source;
    struct conn *conns;
    FILE *ids;
    int epoll, timer;
    uint64_t start, finished;
    unsigned next_source, cursor;
    bool saturated; /* open loop: no connection has room */
    char buffer[65536];
};

uint64_t conn_clock(void); /* ns, monotonic */

/* Starts to connect; what cannot even start is lost. */
void conn_open(struct load *load, struct conn *c);

/* Writes what is not written yet; false when the connection is lost. */
bool conn_write(struct load *load, struct conn *c);

/* Takes what has arrived. */
void conn_read(struct load *load, struct conn *c);

/*
 * The connection is gone. What it had not answered fails, or, where that is
 * asked for and sure, stays to be sent again.
 */
void conn_lost(struct load *load, struct conn *c, enum load_error why);

/* Closes it, and nothing else. */
void conn_drop(struct conn *c);

#endif
