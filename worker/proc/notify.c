/* The notification protocol of systemd: variables, one a line, in one datagram. */
#include "proc/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

static struct sockaddr_un address;
static socklen_t address_len; /* 0: nobody listens */
static int64_t watchdog_ms = INT64_MAX;

static void read_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t value;

    if (pid != NULL && (!str_to_u64(str_of(pid), &value) || value != (uint64_t)getpid())) {
        return;
    }
    if (usec != NULL && str_to_u64(str_of(usec), &value) && value >= 2000) {
        watchdog_ms = (int64_t)(value / 2000);
    }
}

void notify_init(void)
{
    const char *path = getenv("NOTIFY_SOCKET");

    if (path != NULL && (path[0] == '/' || path[0] == '@') && path[1] != '\0' &&
        strlen(path) < sizeof(address.sun_path)) {
        address.sun_family = AF_UNIX;
        memcpy(address.sun_path, path, strlen(path));
        if (path[0] == '@') {
            address.sun_path[0] = '\0'; /* the abstract name space */
        }
        address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
        read_watchdog();
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void tell(const char *message)
{
    if (address_len == 0) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    /* Nothing can be done about a manager that does not listen: its own time-out decides. */
    (void)!sendto(fd, message, strlen(message), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                  address_len);
    close(fd);
}

void notify_ready(const char *status)
{
    char message[256];

    snprintf(message, sizeof(message), "READY=1\nSTATUS=%s", status);
    tell(message);
}

void notify_reloading(void)
{
    char message[64];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
             (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(message);
}

void notify_stopping(void)
{
    tell("STOPPING=1");
}

int64_t notify_watchdog_ms(void)
{
    return watchdog_ms;
}

void notify_watchdog(void)
{
    tell("WATCHDOG=1");
}
