/*
 * The status pages' server: libmicrohttpd without a thread of its own. Its epoll descriptor is
 * waited for together with the owner's, and each response is built whole before it is queued.
 */
#include "io/httpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/address.h"

#define CONNECTIONS_MAX   32
#define IDLE_SECONDS      10
#define CONNECTION_MEMORY (16 * 1024)
#define BODY_BYTES_MAX    (4 * 1024 * 1024)

struct httpd {
    struct MHD_Daemon *daemon;
    httpd_handler *handler;
    void *arg;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct text *body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->len, body->len != 0 ? body->data : NULL, MHD_RESPMEM_MUST_COPY);

    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    }
    enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

/* libmicrohttpd calls once with the headers, and again with what body there is. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **seen)
{
    struct httpd *httpd = arg;
    const char *type = "text/plain; charset=utf-8";
    unsigned status = MHD_HTTP_METHOD_NOT_ALLOWED;
    struct text body;

    (void)version;
    (void)upload;
    if (*seen == NULL) {
        *seen = httpd;
        return MHD_YES;
    }
    if (*upload_size != 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    text_init(&body, BODY_BYTES_MAX);
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        status = httpd->handler(httpd->arg, url, &body, &type);
    }
    enum MHD_Result queued = answer(connection, status, type, &body);
    text_free(&body);
    return queued;
}

static struct MHD_Daemon *start(struct httpd *httpd, const struct addrinfo *ai)
{
    unsigned flags = MHD_USE_EPOLL | (ai->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0);

    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, httpd, MHD_OPTION_SOCK_ADDR, ai->ai_addr,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
}

bool httpd_create(struct httpd **out, const char *listen, httpd_handler *handler, void *arg,
                  struct error *err)
{
    struct httpd *httpd = calloc(1, sizeof(*httpd));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    struct address address;

    *out = NULL;
    if (httpd == NULL) {
        abort();
    }
    *httpd = (struct httpd){.handler = handler, .arg = arg};
    if (!address_parse(&address, listen, NULL, err)) {
        goto fail;
    }
    if (address.local) {
        error_set(err, ERROR_CONFIG, "%s: host:port is needed to listen", listen);
        goto fail;
    }
    int status = getaddrinfo(address.host, address.port, &hints, &list);
    if (status != 0) {
        error_set(err, ERROR_CONFIG, "%s: %s", listen, gai_strerror(status));
        goto fail;
    }
    errno = 0;
    httpd->daemon = start(httpd, list);
    if (httpd->daemon == NULL) {
        error_set_errno(err, "listen on %s", listen);
        goto fail;
    }
    freeaddrinfo(list);
    *out = httpd;
    return true;

fail:
    if (list != NULL) {
        freeaddrinfo(list);
    }
    httpd_destroy(&httpd);
    return false;
}

void httpd_destroy(struct httpd **httpd)
{
    if (*httpd == NULL) {
        return;
    }
    if ((*httpd)->daemon != NULL) {
        MHD_stop_daemon((*httpd)->daemon);
    }
    free(*httpd);
    *httpd = NULL;
}

unsigned httpd_port(const struct httpd *httpd)
{
    return MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void httpd_run(struct httpd *httpd, int timeout_ms, int extra_fd)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd fds[2] = {{.fd = info->epoll_fd, .events = POLLIN},
                            {.fd = extra_fd, .events = POLLIN}};
    MHD_UNSIGNED_LONG_LONG own;

    if (MHD_get_timeout(httpd->daemon, &own) == MHD_YES && own < (unsigned)timeout_ms) {
        timeout_ms = (int)own;
    }
    if (poll(fds, 2, timeout_ms) >= 0 || errno == EINTR) {
        MHD_run(httpd->daemon);
    }
}
