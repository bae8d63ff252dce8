/* Addresses of servers, and connecting to one with a limit: for Redis and the status listener. */
#ifndef STUDY_IO_ADDRESS_H
#define STUDY_IO_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct address {
    bool local;     /* host is the path of a Unix socket */
    char host[256]; /* a v6 literal without its brackets */
    char port[6];
};

/*
 * "host[:port]", "[v6][:port]" or "unix:/path". default_port may be NULL: then a port must be
 * given. Anything else is ERROR_CONFIG.
 */
bool address_parse(struct address *out, const char *text, const char *default_port,
                   struct error *err);

/*
 * A connected, non-blocking descriptor, closed on exec. Each of the name's addresses is tried in
 * turn within the limit. Resolving a name is the resolver's own wait (resolv.conf's time-outs).
 * interrupt_fd readable (-1: none): ERROR_INTERRUPTED.
 */
bool address_connect(const struct address *address, int64_t timeout_ms, int interrupt_fd, int *fd,
                     struct error *err);

/*
 * Waits until fd shows one of poll's events or the clock reaches deadline (clock_boot_ms):
 * ERROR_TIMEOUT; interrupt_fd readable: ERROR_INTERRUPTED.
 */
bool fd_wait(int fd, short events, int64_t deadline_ms, int interrupt_fd, struct error *err);

#endif
