/* Whatever a server that is no Redis may answer. The first byte says in what pieces it arrives:
 * the replies read are the same as if it came at once. */
#include "ngx_http_study_reply.c"

#include <stdbool.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST 256

struct heard {
    ngx_http_study_reply_t replies[MOST];
    size_t n;
    bool broken;
};

static void take(void *reader, struct heard *heard)
{
    ngx_http_study_reply_t reply = {0};

    while (!heard->broken && heard->n < MOST) {
        switch (ngx_http_study_reader_next(reader, &reply)) {
        case NGX_AGAIN:
            return;
        case NGX_OK:
            break;
        default:
            heard->broken = true;
            return;
        }
        if (reply.len > sizeof(reply.code) ||
            (reply.type != NGX_HTTP_STUDY_REPLY_ERROR && reply.len != 0) ||
            ngx_http_study_reply_outcome(&reply) > NGX_HTTP_STUDY_REDIS_ERROR) {
            abort();
        }
        heard->replies[heard->n++] = reply;
    }
}

static void listen_to(const uint8_t *data, size_t size, size_t piece, struct heard *heard)
{
    void *reader = ngx_http_study_reader_create();

    if (reader == NULL) {
        abort();
    }
    heard->n = 0;
    heard->broken = false;
    for (size_t at = 0; at < size && !heard->broken && heard->n < MOST; at += piece) {
        size_t n = ngx_min(piece, size - at);

        if (ngx_http_study_reader_feed(reader, (u_char *)data + at, n) != NGX_OK) {
            heard->broken = true;
            break;
        }
        take(reader, heard);
    }
    ngx_http_study_reader_destroy(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct heard whole, pieces;

    if (size < 2) {
        return 0;
    }
    listen_to(data + 1, size - 1, size - 1, &whole);
    listen_to(data + 1, size - 1, (size_t)data[0] + 1, &pieces);
    if (whole.n != pieces.n) {
        abort();
    }
    for (size_t i = 0; i < whole.n; i++) {
        const ngx_http_study_reply_t *a = &whole.replies[i], *b = &pieces.replies[i];

        if (a->type != b->type || a->len != b->len || memcmp(a->code, b->code, a->len) != 0 ||
            (a->type == NGX_HTTP_STUDY_REPLY_INTEGER && a->integer != b->integer)) {
            abort();
        }
    }
    return 0;
}
