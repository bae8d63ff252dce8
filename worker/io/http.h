/*
 * Many HTTP requests at once over one libcurl multi handle. http_wait is the only wait; finished
 * requests are taken with http_next, so there are no callbacks for the caller to follow.
 */
#ifndef STUDY_IO_HTTP_H
#define STUDY_IO_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct http;

struct http_limits {
    const char *service; /* metrics label: "slack", "openai" */
    const char *user_agent;
    const char *ca_file; /* NULL: the system's */
    int max_connections; /* open at once, in all */
    size_t max_response; /* bytes of a body */
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* whole request */
};

/* Limits are copied. NULL with *err filled. Proxies come from the environment, never for loopback.
 */
struct http *http_create(const struct http_limits *limits, struct error *err);
void http_destroy(struct http **http); /* aborts what is under way */

enum http_fate {
    HTTP_ANSWERED, /* a complete response: status, headers, body */
    HTTP_NOT_SENT, /* certainly never reached the server: DNS, connect, TLS */
    HTTP_DOUBTFUL, /* may have been acted upon: cut or timed out after the request left */
};

struct http_header { /* names compare without case */
    const char *name;
    const char *value;
};

struct http_request {
    const char *method; /* "GET", "POST" */
    const char *url;
    const struct http_header *headers;
    size_t headers_count;
    struct str body; /* copied */
    /* libcurl must not repeat the body by itself when a reused connection dies: the body goes
     * through a read callback whose seek refuses; CURLE_SEND_FAIL_REWIND is HTTP_DOUBTFUL. */
    bool once;
    void *owner; /* given back in the response */
};

struct http_response {
    void *owner;
    enum http_fate fate;
    long status;     /* when answered */
    struct str body; /* valid until the next http_next or http_destroy */
    /* When not answered; code: resolve, connect, tls, timeout, cut, too_large. */
    struct error error;
    double seconds;
};
/* "" when absent; the last of that name; valid as long as the body. */
const char *http_header(const struct http *http, const char *name);

/* https asks for HTTP/2; redirects are not followed. Each request finished is counted (metrics). */
bool http_start(struct http *http, const struct http_request *request, struct error *err);
size_t http_active(const struct http *http);
/* Sleeps until something of HTTP, or one of fds (NULL, 0: none; -1 entries are skipped), can go on,
 * at most timeout_ms. */
bool http_wait(struct http *http, const int *fds, size_t fds_count, int timeout_ms,
               struct error *err);
bool http_next(struct http *http, struct http_response *response); /* false: none finished */
void http_cancel(struct http *http, void *owner);

#endif
