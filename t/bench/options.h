#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

/*
 * The load generator's command line. All members are set, with defaults where
 * an option was not given; strings live as long as the arguments, except the
 * secret and the address parts, which options_free() releases.
 */

#include "event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct options {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char *host;
    char *path;
    unsigned connections;
    uint64_t requests;
    uint64_t requests_per_connection; /* 0 = no limit */
    double rate;                      /* events a second; 0 = closed loop */
    unsigned pipeline;
    unsigned sources; /* loopback addresses 127.0.0.1 ... to send from; 0 = the system's choice */
    bool keepalive;
    bool retry_unsent;
    double timeout;  /* seconds, each request */
    double duration; /* seconds, the whole run */
    const char *ids_file;
    struct event_options event;
};

/*
 * Parses the arguments. On a mistake it says so on standard error and returns
 * false.
 */
bool options_parse(struct options *opt, int argc, char **argv);
void options_free(struct options *opt);

#endif
