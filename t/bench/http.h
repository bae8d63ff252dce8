#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

/*
 * Reads HTTP/1.1 answers as they arrive: the status, whether the connection
 * stays, and where the answer ends. Bodies are skipped, whether they have a
 * length, come in chunks or end with the connection.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_result {
    HTTP_MORE, /* all of the input used, the answer goes on */
    HTTP_DONE, /* the answer is complete */
    HTTP_BAD,  /* this is not HTTP, or its head is over 8 KiB */
};

struct http_answer {
    int status;
    bool close;     /* the server will close */
    bool until_eof; /* the body ends with the connection */
    bool started;   /* at least a byte has come */

    /* Private. */
    int state;
    bool chunked;
    uint64_t left;
    size_t line_len;
    char line[8192];
};

void http_answer_reset(struct http_answer *a);

/* Takes bytes; *used says how many belong to this answer. */
enum http_result http_answer_feed(struct http_answer *a, const char *data, size_t len,
                                  size_t *used);

#endif
