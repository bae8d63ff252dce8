/*
 * Connections and the fate of their requests: opened, written, answered, lost,
 * sent again. When a new request may start is load.c's affair.
 */

#include "conn.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_RESENDS 5

const char *const load_error_names[LOAD_ERRORS] = {"connect", "ports", "closed", "timeout",
                                                   "protocol"};

uint64_t conn_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* --- the end of a request ------------------------------------------------ */

static void note(struct load *load, const struct request *rq, int status)
{
    char id[32];

    if (load->ids == NULL) {
        return;
    }
    event_id(load->source, &rq->event, id);
    fprintf(load->ids,
            "%" PRIu64 " %s C%06" PRIu32 " %" PRIu64 ".%06" PRIu64 " %d %s U%06" PRIu32 "\n",
            rq->event.serial, event_kind_names[rq->event.kind], rq->event.channel,
            rq->event.ts_us / 1000000, rq->event.ts_us % 1000000, status, id, rq->event.user);
}

static void drop_head(struct conn *c, const struct options *opt)
{
    c->head = (c->head + 1) % opt->pipeline;
    c->count--;
    if (c->unsent > c->count) {
        c->unsent = c->count;
        c->offset = 0;
    }
}

static void request_failed(struct load *load, struct conn *c, enum load_error why)
{
    note(load, &c->ring[c->head], 0);
    load->result->errors[why]++;
    load->finished++;
    drop_head(c, load->opt);
}

static void request_answered(struct load *load, struct conn *c)
{
    struct request *rq = &c->ring[c->head];

    stats_add(load->result->latency, conn_clock() - rq->start);
    load->result->status[c->answer.status]++;
    load->result->answered++;
    load->finished++;
    note(load, rq, c->answer.status);
    c->answered++;
    load->saturated = false;
    drop_head(c, load->opt);
}

/* --- connections --------------------------------------------------------- */

static void conn_watch(struct load *load, struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    if (c->watching != events) {
        epoll_ctl(load->epoll, c->watching == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &ev);
        c->watching = events;
    }
}

void conn_drop(struct conn *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->state = CONN_NONE;
    c->watching = 0;
    c->answered = 0;
    c->taken = c->unsent = c->count;
    c->offset = 0;
    http_answer_reset(&c->answer);
}

void conn_lost(struct load *load, struct conn *c, enum load_error why)
{
    bool again = load->opt->retry_unsent && why == LOAD_CLOSED && c->answered > 0;
    unsigned n = c->count;

    if (n > 0 && c->answer.started) {
        request_failed(load, c, why);
        n--;
    }
    for (; n > 0; n--) {
        struct request *rq = &c->ring[c->head];

        if (!again || rq->resends >= MAX_RESENDS) {
            request_failed(load, c, why);
            continue;
        }
        rq->resends++;
        load->result->retried++;
        /* Rotate: it keeps its place in the order. */
        if (c->count < load->opt->pipeline) {
            unsigned tail = (c->head + c->count) % load->opt->pipeline;
            struct request moved = c->ring[tail];

            c->ring[tail] = *rq;
            *rq = moved;
        }
        c->head = (c->head + 1) % load->opt->pipeline;
    }
    load->saturated = false;
    conn_drop(c);
}

static int open_socket(struct load *load)
{
    int family = load->opt->addr.ss_family, one = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || family == AF_UNIX) {
        return fd;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (load->opt->sources > 0 && family == AF_INET) {
        struct sockaddr_in from = {.sin_family = AF_INET};

        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + load->next_source++ % load->opt->sources);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0) {
            close(fd);
            return -1;
        }
    }
    return fd;
}

void conn_open(struct load *load, struct conn *c)
{
    const struct options *opt = load->opt;

    c->fd = open_socket(load);
    if (c->fd < 0) {
        conn_lost(load, c, LOAD_PORTS);
        return;
    }
    load->result->connections++;
    if (connect(c->fd, (const struct sockaddr *)&opt->addr, opt->addr_len) == 0) {
        c->state = CONN_OPEN;
    } else if (errno == EINPROGRESS) {
        c->state = CONN_CONNECTING;
    } else {
        conn_lost(load, c,
                  errno == EADDRNOTAVAIL || errno == EADDRINUSE ? LOAD_PORTS : LOAD_CONNECT);
        return;
    }
    conn_watch(load, c, c->state == CONN_OPEN ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

bool conn_write(struct load *load, struct conn *c)
{
    while (c->unsent > 0) {
        unsigned at = (c->head + c->count - c->unsent) % load->opt->pipeline;
        struct request *rq = &c->ring[at];
        int more = c->unsent > 1 ? MSG_MORE : 0;
        ssize_t n = send(c->fd, rq->bytes + c->offset, rq->len - c->offset, MSG_NOSIGNAL | more);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            conn_watch(load, c, EPOLLIN | EPOLLOUT);
            return true;
        }
        if (n < 0) {
            conn_lost(load, c, LOAD_CLOSED);
            return false;
        }
        c->offset += (size_t)n;
        if (c->offset == rq->len) {
            c->unsent--;
            c->offset = 0;
        }
    }
    conn_watch(load, c, EPOLLIN);
    return true;
}

/* --- answers ------------------------------------------------------------- */

/* All answers in the bytes read; false when the connection is over. */
static bool conn_answers(struct load *load, struct conn *c, const char *data, size_t len)
{
    while (len > 0) {
        size_t used;
        enum http_result result;

        /* An answer may come before its request is out, not before it began. */
        if (c->count == 0 || (c->count == c->unsent && c->offset == 0)) {
            conn_lost(load, c, LOAD_PROTOCOL);
            return false;
        }
        result = http_answer_feed(&c->answer, data, len, &used);
        if (result == HTTP_BAD) {
            conn_lost(load, c, LOAD_PROTOCOL);
            return false;
        }
        if (result == HTTP_MORE) {
            return true;
        }

        bool last = c->answer.close || c->count == c->unsent;

        request_answered(load, c);
        http_answer_reset(&c->answer);
        data += used;
        len -= used;
        if (last) {
            /* What was pipelined behind it will never be answered here. */
            if (c->count > 0) {
                conn_lost(load, c, LOAD_CLOSED);
                return false;
            }
            c->state = CONN_CLOSING;
            c->since = conn_clock();
            conn_watch(load, c, EPOLLIN);
            return true;
        }
    }
    return true;
}

static void conn_eof(struct load *load, struct conn *c)
{
    if (c->state == CONN_OPEN && c->count > 0 && c->answer.started && c->answer.until_eof) {
        request_answered(load, c);
        http_answer_reset(&c->answer);
    }
    conn_lost(load, c, LOAD_CLOSED);
}

void conn_read(struct load *load, struct conn *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, load->buffer, sizeof(load->buffer), 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            conn_eof(load, c);
            return;
        }
        if (c->state == CONN_CLOSING) {
            continue;
        }
        if (!conn_answers(load, c, load->buffer, (size_t)n)) {
            return;
        }
        if ((size_t)n < sizeof(load->buffer) && c->state != CONN_CLOSING) {
            return;
        }
    }
}
