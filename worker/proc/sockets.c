/* /proc/net/tcp: a head line, then "sl local remote st ...", st being two hexadecimal digits. */
#include "proc/sockets.h"

#include <stddef.h>
#include <stdio.h>

const char *const socket_states[SOCKET_STATES] = {
    NULL,    "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2",   "time_wait",
    "close", "close_wait",  "last_ack", "listen",   "closing",   "new_syn_recv"};

bool sockets_count(const char *path, int64_t counts[SOCKET_STATES])
{
    FILE *file = fopen(path, "re");
    char line[256];
    unsigned state;

    if (file == NULL) {
        return false;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, " %*[0-9]: %*[0-9A-F:] %*[0-9A-F:] %2x", &state) == 1 && state > 0 &&
            state < SOCKET_STATES) {
            counts[state]++;
        }
    }
    fclose(file);
    return true;
}
