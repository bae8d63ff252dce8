/*
 * Connecting by hand instead of by hiredis: its blocking connect sees no signal, and its
 * non-blocking one gives up after a name's first address.
 */
#include "io/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

static bool take(char *out, size_t size, struct str s)
{
    if (s.len == 0 || s.len >= size) {
        return false;
    }
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

static bool take_port(struct address *a, const char *text)
{
    uint64_t port;

    if (!str_to_u64(str_of(text), &port) || port > 65535) {
        return false;
    }
    return take(a->port, sizeof(a->port), str_of(text));
}

static bool parse(struct address *a, const char *text, const char *default_port)
{
    const char *end, *port;

    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un un;
        a->local = true;
        return text[5] == '/' && strlen(text + 5) < sizeof(un.sun_path) &&
               take(a->host, sizeof(a->host), str_of(text + 5));
    }
    if (text[0] == '[') {
        end = strchr(text, ']');
        if (end == NULL ||
            !take(a->host, sizeof(a->host), (struct str){text + 1, (size_t)(end - text - 1)})) {
            return false;
        }
        port = end + 1;
    } else {
        port = text + strcspn(text, ":");
        if (!take(a->host, sizeof(a->host), (struct str){text, (size_t)(port - text)})) {
            return false;
        }
    }
    if (*port == '\0') {
        return default_port != NULL && take_port(a, default_port);
    }
    return *port == ':' && take_port(a, port + 1);
}

bool address_parse(struct address *out, const char *text, const char *default_port,
                   struct error *err)
{
    *out = (struct address){.local = false};
    if (!parse(out, text, default_port)) {
        return error_set(err, ERROR_CONFIG, "address %.100s: expected host%s, [v6]%s or unix:/path",
                         text, default_port != NULL ? "[:port]" : ":port",
                         default_port != NULL ? "[:port]" : ":port");
    }
    return true;
}

bool fd_wait(int fd, short events, int64_t deadline_ms, int interrupt_fd, struct error *err)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = fd, .events = events},
                                {.fd = interrupt_fd, .events = POLLIN}};
        int64_t left = deadline_ms - clock_boot_ms();
        int n = poll(fds, 2, left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left);

        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, "poll");
        }
        if (n > 0 && fds[0].revents != 0) {
            return true;
        }
        if (n > 0 && fds[1].revents != 0) {
            return error_set(err, ERROR_INTERRUPTED, "told to stop");
        }
        if (n == 0 && left <= 0) {
            return error_set(err, ERROR_TIMEOUT, "no answer in time");
        }
    }
}

/* -1 with *err filled. */
static int connect_one(const struct sockaddr *sa, socklen_t len, int64_t deadline_ms,
                       int interrupt_fd, struct error *err)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, problem = 0;
    socklen_t size = sizeof(problem);

    if (fd < 0) {
        error_set_errno(err, "socket");
        return -1;
    }
    if (sa->sa_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    if (connect(fd, sa, len) != 0) {
        if (errno != EINPROGRESS) {
            error_set_errno(err, "connect");
            goto fail;
        }
        if (!fd_wait(fd, POLLOUT, deadline_ms, interrupt_fd, err)) {
            goto fail;
        }
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        if (problem != 0) {
            errno = problem;
            error_set_errno(err, "connect");
            goto fail;
        }
    }
    return fd;

fail:
    if (err->kind == ERROR_SYSTEM) {
        err->kind = ERROR_CONNECTION;
    }
    close(fd);
    return -1;
}

static int connect_name(const struct address *address, int64_t deadline_ms, int interrupt_fd,
                        struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list;
    int fd = -1;
    int status = getaddrinfo(address->host, address->port, &hints, &list);

    if (status == EAI_NONAME || status == EAI_ADDRFAMILY) {
        /* AI_ADDRCONFIG hides ::1 on a host whose only address is loopback's. */
        hints.ai_flags = 0;
        status = getaddrinfo(address->host, address->port, &hints, &list);
    }
    if (status != 0) {
        error_set(err, ERROR_CONNECTION, "%s: %s", address->host, gai_strerror(status));
        return -1;
    }
    for (struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next) {
        /* What is left is shared by those still to be tried. */
        int64_t now = clock_boot_ms();
        int64_t limit = ai->ai_next != NULL ? now + (deadline_ms - now) / 2 : deadline_ms;
        fd = connect_one(ai->ai_addr, ai->ai_addrlen, limit, interrupt_fd, err);
        if (fd < 0 && err->kind == ERROR_INTERRUPTED) {
            break;
        }
    }
    freeaddrinfo(list);
    return fd;
}

bool address_connect(const struct address *address, int64_t timeout_ms, int interrupt_fd, int *fd,
                     struct error *err)
{
    int64_t deadline = clock_boot_ms() + timeout_ms;

    if (address->local) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};

        memcpy(un.sun_path, address->host, strnlen(address->host, sizeof(un.sun_path) - 1));
        *fd = connect_one((const struct sockaddr *)&un, sizeof(un), deadline, interrupt_fd, err);
    } else {
        *fd = connect_name(address, deadline, interrupt_fd, err);
    }
    return *fd >= 0;
}
