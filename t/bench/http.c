/*
 * Incremental reading of HTTP/1.1 answers, line by line. No more than a line is
 * kept, so a connection's state is a fixed size whatever the server sends.
 */

#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STATUS_LINE, HEADER, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

void http_answer_reset(struct http_answer *a)
{
    a->status = 0;
    a->close = a->until_eof = a->started = a->chunked = false;
    a->state = STATUS_LINE;
    a->left = 0;
    a->line_len = 0;
}

/* Collects a line; true when it is there, without its end, as a string. */
static bool take_line(struct http_answer *a, const char *data, size_t len, size_t *used,
                      bool *too_long)
{
    const char *end = memchr(data, '\n', len);
    size_t n = end != NULL ? (size_t)(end - data) + 1 : len;

    *used += n;
    *too_long = a->line_len + n >= sizeof(a->line);
    if (*too_long) {
        return false;
    }
    memcpy(a->line + a->line_len, data, n);
    a->line_len += n;
    if (end == NULL) {
        return false;
    }
    while (a->line_len > 0 &&
           (a->line[a->line_len - 1] == '\n' || a->line[a->line_len - 1] == '\r')) {
        a->line_len--;
    }
    a->line[a->line_len] = '\0';
    a->line_len = 0;
    return true;
}

static void header(struct http_answer *a, const char *line)
{
    const char *value = strchr(line, ':');

    if (value == NULL) {
        return;
    }
    for (value++; *value == ' ' || *value == '\t'; value++) {
    }
    if (strncasecmp(line, "content-length:", 15) == 0) {
        a->left = strtoull(value, NULL, 10);
        a->until_eof = false;
    } else if (strncasecmp(line, "transfer-encoding:", 18) == 0) {
        a->chunked = strcasestr(value, "chunked") != NULL;
        a->until_eof = false;
    } else if (strncasecmp(line, "connection:", 11) == 0) {
        a->close = strcasestr(value, "close") != NULL;
    }
}

static bool status_line(struct http_answer *a, const char *line)
{
    if (strncmp(line, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)line[7]) || line[8] != ' ') {
        return false;
    }
    a->status = atoi(line + 9);
    a->close = line[7] == '0';
    a->until_eof = true;
    return a->status >= 100 && a->status <= 599;
}

/* One line of the head or of the chunks' framing. */
static enum http_result use_line(struct http_answer *a)
{
    char *end;

    switch (a->state) {
    case STATUS_LINE:
        if (!status_line(a, a->line)) {
            return HTTP_BAD;
        }
        a->state = HEADER;
        return HTTP_MORE;
    case HEADER:
        if (a->line[0] != '\0') {
            header(a, a->line);
            return HTTP_MORE;
        }
        if (a->status < 200) {
            http_answer_reset(a);
            a->started = true;
            return HTTP_MORE;
        }
        if (a->status == 204 || a->status == 304) {
            return HTTP_DONE;
        }
        a->state = a->chunked ? CHUNK_SIZE : BODY;
        a->close = a->close || a->until_eof;
        return a->state == BODY && !a->until_eof && a->left == 0 ? HTTP_DONE : HTTP_MORE;
    case CHUNK_SIZE:
        a->left = strtoull(a->line, &end, 16);
        if (end == a->line) {
            return HTTP_BAD;
        }
        a->state = a->left > 0 ? CHUNK_DATA : TRAILER;
        return HTTP_MORE;
    case CHUNK_END:
        a->state = CHUNK_SIZE;
        return a->line[0] == '\0' ? HTTP_MORE : HTTP_BAD;
    default:
        return a->line[0] == '\0' ? HTTP_DONE : HTTP_MORE;
    }
}

static bool in_data(const struct http_answer *a)
{
    return a->state == BODY || a->state == CHUNK_DATA;
}

enum http_result http_answer_feed(struct http_answer *a, const char *data, size_t len, size_t *used)
{
    *used = 0;
    a->started = a->started || len > 0;

    while (*used < len) {
        size_t rest = len - *used;

        if (in_data(a)) {
            size_t n = !a->until_eof && rest > a->left ? (size_t)a->left : rest;

            *used += n;
            if (a->until_eof) {
                continue;
            }
            a->left -= n;
            if (a->left > 0) {
                continue;
            }
            if (a->state == BODY) {
                return HTTP_DONE;
            }
            a->state = CHUNK_END;
            continue;
        }

        bool too_long;

        if (!take_line(a, data + *used, rest, used, &too_long)) {
            if (too_long) {
                return HTTP_BAD;
            }
            continue;
        }

        enum http_result result = use_line(a);

        if (result != HTTP_MORE) {
            return result;
        }
    }
    return HTTP_MORE;
}
