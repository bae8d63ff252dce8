/*
 * HTTP over one libcurl multi handle. A request has a slot that keeps its easy handle, so headers
 * and buffers are reused; connections belong to the multi handle and are kept alive there.
 *
 * What became of a request decides whether it may be made again, and so is told narrowly: NOT_SENT
 * only where not one byte of it can have left, DOUBTFUL wherever the server may have acted.
 */
#include "io/http.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"

#define HEADERS_BYTES_MAX (100 * 1024)
#define WAIT_FDS_MAX      16

struct slot {
    struct slot *next; /* in the list of the free or of the finished */
    struct http *http;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    size_t body_len, body_sent;
    struct text received;
    size_t headers_bytes;
    void *owner;
    CURLcode result;
    bool active;
    char problem[CURL_ERROR_SIZE];
};

struct http {
    CURLM *multi;
    char *service, *user_agent, *ca_file, *no_proxy;
    size_t max_response;
    long connect_timeout_ms, timeout_ms;
    struct slot **slots; /* all there are */
    size_t slots_count, active;
    struct slot *free;
    struct slot *current; /* what http_next gave last */
};

static char *copy(const char *s)
{
    return s != NULL ? str_dup(str_of(s)) : NULL;
}

/* A stand-in on loopback is never asked for through a proxy. */
static char *no_proxy_list(void)
{
    const char *given = getenv("no_proxy");
    struct text t;

    given = given != NULL ? given : getenv("NO_PROXY");
    text_init(&t, 64 * 1024);
    text_addf(&t, "%s%slocalhost,127.0.0.1,::1", given != NULL ? given : "",
              given != NULL && given[0] != '\0' ? "," : "");
    char *list = str_dup(text_str(&t));
    text_free(&t);
    return list;
}

struct http *http_create(const struct http_limits *limits, struct error *err)
{
    struct http *http = calloc(1, sizeof(*http));

    if (http == NULL) {
        abort();
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        (http->multi = curl_multi_init()) == NULL) {
        error_set(err, ERROR_SYSTEM, "libcurl does not start");
        free(http);
        return NULL;
    }
    http->service = copy(limits->service);
    http->user_agent = copy(limits->user_agent);
    http->ca_file =
        limits->ca_file != NULL && limits->ca_file[0] != '\0' ? copy(limits->ca_file) : NULL;
    http->no_proxy = no_proxy_list();
    http->max_response = limits->max_response;
    http->connect_timeout_ms = (long)limits->connect_timeout_ms;
    http->timeout_ms = (long)limits->timeout_ms;
    curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)limits->max_connections);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)limits->max_connections);
    return http;
}

static void slot_clear(struct slot *slot)
{
    curl_slist_free_all(slot->headers);
    slot->headers = NULL;
    free(slot->body);
    slot->body = NULL;
    slot->body_len = slot->body_sent = slot->headers_bytes = 0;
    slot->owner = NULL;
    slot->problem[0] = '\0';
    text_reset(&slot->received);
}

/* Back to the free ones; a large buffer is not kept. */
static void slot_release(struct slot *slot)
{
    slot_clear(slot);
    if (slot->received.cap > 64 * 1024) {
        text_free(&slot->received);
    }
    curl_easy_reset(slot->easy);
    slot->next = slot->http->free;
    slot->http->free = slot;
}

static void slot_stop(struct slot *slot)
{
    if (slot->active) {
        curl_multi_remove_handle(slot->http->multi, slot->easy);
        slot->active = false;
        slot->http->active--;
    }
}

void http_destroy(struct http **http)
{
    struct http *h = *http;

    if (h == NULL) {
        return;
    }
    for (size_t i = 0; i < h->slots_count; i++) {
        slot_stop(h->slots[i]);
        slot_clear(h->slots[i]);
        text_free(&h->slots[i]->received);
        curl_easy_cleanup(h->slots[i]->easy);
        free(h->slots[i]);
    }
    curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    free(h->slots);
    free(h->service);
    free(h->user_agent);
    free(h->ca_file);
    free(h->no_proxy);
    free(h);
    *http = NULL;
}

static struct slot *slot_take(struct http *http)
{
    struct slot *slot = http->free;

    if (slot != NULL) {
        http->free = slot->next;
        return slot;
    }
    slot = calloc(1, sizeof(*slot));
    http->slots = realloc(http->slots, (http->slots_count + 1) * sizeof(struct slot *));
    if (slot == NULL || http->slots == NULL || (slot->easy = curl_easy_init()) == NULL) {
        abort();
    }
    slot->http = http;
    text_init(&slot->received, http->max_response);
    http->slots[http->slots_count++] = slot;
    return slot;
}

/* ---- one request ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;

    return text_add(&slot->received, (struct str){data, size * count}) ? size * count : 0;
}

/* libcurl keeps the headers (curl_easy_header); how much it keeps is bounded here. */
static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;

    (void)data;
    slot->headers_bytes += size * count;
    return slot->headers_bytes <= HEADERS_BYTES_MAX ? size * count : 0;
}

static size_t on_read(char *buffer, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;
    size_t left = slot->body_len - slot->body_sent;
    size_t n = left < size * count ? left : size * count;

    memcpy(buffer, slot->body + slot->body_sent, n);
    slot->body_sent += n;
    return n;
}

static int refuse_seek(void *arg, curl_off_t offset, int origin)
{
    (void)arg;
    (void)offset;
    (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static bool add_header(struct slot *slot, const char *name, const char *value)
{
    struct text line;

    text_init(&line, 16 * 1024);
    bool ok = text_addf(&line, "%s: %s", name, value) && strpbrk(text_cstr(&line), "\r\n") == NULL;
    struct curl_slist *list = ok ? curl_slist_append(slot->headers, text_cstr(&line)) : NULL;
    explicit_bzero(line.data, line.len); /* it may hold a token */
    text_free(&line);
    if (list != NULL) {
        slot->headers = list;
    }
    return list != NULL;
}

static void set_body(struct slot *slot, const struct http_request *request)
{
    CURL *easy = slot->easy;

    slot->body = str_dup(request->body);
    slot->body_len = request->body.len;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)slot->body_len);
    if (request->once) {
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, slot);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, refuse_seek);
    } else {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, slot->body);
    }
}

static void set_limits(struct slot *slot)
{
    const struct http *http = slot->http;
    CURL *easy = slot->easy;

    curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->problem);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, http->user_agent);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, http->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, http->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, http->no_proxy);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    /* hundreds are under way at once, each a few kilobytes: the default is 64 for every one */
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
    if (http->ca_file != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
    }
}

bool http_start(struct http *http, const struct http_request *request, struct error *err)
{
    struct slot *slot = slot_take(http);

    set_limits(slot);
    slot->owner = request->owner;
    curl_easy_setopt(slot->easy, CURLOPT_URL, request->url);
    if (strcmp(request->method, "POST") == 0) {
        set_body(slot, request);
    } else if (strcmp(request->method, "GET") != 0) {
        error_set(err, ERROR_INPUT, "HTTP method %s", request->method);
        goto fail;
    }
    /* No waiting for "100 Continue". */
    if (!add_header(slot, "Expect", "")) {
        error_set(err, ERROR_SYSTEM, "HTTP: out of memory");
        goto fail;
    }
    for (size_t i = 0; i < request->headers_count; i++) {
        if (!add_header(slot, request->headers[i].name, request->headers[i].value)) {
            error_set(err, ERROR_INPUT, "HTTP header %s cannot be sent", request->headers[i].name);
            goto fail;
        }
    }
    curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, slot->headers);

    CURLMcode code = curl_multi_add_handle(http->multi, slot->easy);
    if (code != CURLM_OK) {
        error_set(err, ERROR_SYSTEM, "HTTP: %s", curl_multi_strerror(code));
        goto fail;
    }
    slot->active = true;
    http->active++;
    return true;

fail:
    slot_release(slot);
    return false;
}

size_t http_active(const struct http *http)
{
    return http->active;
}

/* ---- waiting ---- */

bool http_wait(struct http *http, const int *fds, size_t fds_count, int timeout_ms,
               struct error *err)
{
    struct curl_waitfd extra[WAIT_FDS_MAX];
    unsigned n = 0;
    int running, before = 0;
    CURLMcode code;

    for (size_t i = 0; i < fds_count && n < WAIT_FDS_MAX; i++) {
        if (fds[i] >= 0) {
            extra[n++] = (struct curl_waitfd){.fd = fds[i], .events = CURL_WAIT_POLLIN};
        }
    }
    code = curl_multi_perform(http->multi, &before);
    if (code == CURLM_OK && (size_t)before == http->active) {
        code = curl_multi_poll(http->multi, extra, n, timeout_ms, NULL);
        if (code == CURLM_OK) {
            code = curl_multi_perform(http->multi, &running);
        }
    }
    if (code != CURLM_OK) {
        return error_set(err, ERROR_SYSTEM, "HTTP: %s", curl_multi_strerror(code));
    }
    return true;
}

/* ---- what became of it ---- */

/* Not one byte of the request can have left: it did not come as far as a connection. */
static bool certainly_not_sent(CURL *easy, CURLcode result)
{
    long sent = 0;

    switch (result) {
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_NO_CONNECTION_AVAILABLE:
    case CURLE_PROXY:
        return true;
    case CURLE_UNSUPPORTED_PROTOCOL: /* also said of an answer that is not HTTP */
    case CURLE_OPERATION_TIMEDOUT:
        /* Bytes of requests that were handed to the socket; 0 while connecting or queued. */
        return curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent == 0;
    default:
        return false;
    }
}

static enum error_kind kind_of(CURLcode result, enum http_fate fate)
{
    switch (result) {
    case CURLE_OPERATION_TIMEDOUT:
        return ERROR_TIMEOUT;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CACERT_BADFILE:
        return fate == HTTP_NOT_SENT ? ERROR_CONFIG : ERROR_CONNECTION;
    case CURLE_WRITE_ERROR:
        return ERROR_REMOTE;
    default:
        return ERROR_CONNECTION;
    }
}

static const char *class_of(CURLcode result)
{
    switch (result) {
    case CURLE_OPERATION_TIMEDOUT:
        return "timeout";
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
        return "resolve";
    case CURLE_COULDNT_CONNECT:
        return "connect";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
        return "tls";
    case CURLE_WRITE_ERROR:
        return "too_large";
    default:
        return "cut";
    }
}

static void count(const struct http *http, const struct slot *slot,
                  const struct http_response *response)
{
    char code[8];

    snprintf(code, sizeof(code), "%ld", response->status % 1000);
    metrics_add(METRIC_HTTP_REQUESTS_TOTAL, http->service,
                response->fate == HTTP_ANSWERED ? code : class_of(slot->result), 1);
    metrics_observe(METRIC_HTTP_REQUEST_SECONDS, http->service, response->seconds);
}

static void describe(struct slot *slot, struct http_response *response)
{
    *response = (struct http_response){.owner = slot->owner};
    curl_easy_getinfo(slot->easy, CURLINFO_TOTAL_TIME, &response->seconds);
    if (slot->result == CURLE_OK) {
        response->fate = HTTP_ANSWERED;
        curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &response->status);
        response->body = text_str(&slot->received);
        return;
    }
    response->fate = certainly_not_sent(slot->easy, slot->result) ? HTTP_NOT_SENT : HTTP_DOUBTFUL;
    error_set_code(&response->error, kind_of(slot->result, response->fate), class_of(slot->result),
                   "%s: %s", slot->http->service,
                   slot->result == CURLE_WRITE_ERROR ? "the response is over its limit"
                   : slot->problem[0] != '\0'        ? slot->problem
                                                     : curl_easy_strerror(slot->result));
}

bool http_next(struct http *http, struct http_response *response)
{
    CURLMsg *message;
    int left;
    char *private;

    if (http->current != NULL) {
        slot_release(http->current);
        http->current = NULL;
    }
    do {
        message = curl_multi_info_read(http->multi, &left);
        if (message == NULL) {
            return false;
        }
    } while (message->msg != CURLMSG_DONE);

    CURLcode result = message->data.result;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
    struct slot *slot = (struct slot *)(void *)private;
    slot->result = result;
    slot_stop(slot);
    http->current = slot;
    describe(slot, response);
    count(http, slot, response);
    return true;
}

const char *http_header(const struct http *http, const char *name)
{
    struct curl_header *header;

    if (http->current == NULL ||
        curl_easy_header(http->current->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
        return "";
    }
    if (header->amount > 1 && curl_easy_header(http->current->easy, name, header->amount - 1,
                                               CURLH_HEADER, -1, &header) != CURLHE_OK) {
        return "";
    }
    return header->value;
}

void http_cancel(struct http *http, void *owner)
{
    for (size_t i = 0; i < http->slots_count; i++) {
        struct slot *slot = http->slots[i];
        if (slot->active && slot->owner == owner) {
            slot_stop(slot);
            slot_release(slot);
        }
    }
}
