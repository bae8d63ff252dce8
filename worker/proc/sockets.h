/* The host's TCP sockets by state, from /proc/net/tcp and tcp6: where a run out of ports shows. */
#ifndef STUDY_PROC_SOCKETS_H
#define STUDY_PROC_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

/* The kernel's numbers (include/net/tcp_states.h); 0 is none of them. */
#define SOCKET_STATES 13
extern const char *const socket_states[SOCKET_STATES];

/* Adds up; false when the file cannot be read (there may be no IPv6). */
bool sockets_count(const char *path, int64_t counts[SOCKET_STATES]);

#endif
