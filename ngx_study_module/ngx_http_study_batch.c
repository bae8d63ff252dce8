
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Batches: elements that wait for the same list, in the form in which they
 * are sent, and the requests that wait for them.
 *
 * The number of values stands at the head of an RPUSH and is known last, so
 * each batch starts with room for a head, which is written to end where the
 * values begin.  Batches grow to what is needed and are used again; nothing is
 * allocated per element.
 */


#include "ngx_http_study_module.h"


#define NGX_HTTP_STUDY_BATCH_SIZE   16384
#define NGX_HTTP_STUDY_PUSHES       64

/* a batch that grew larger in a burst is given back to the system */
#define NGX_HTTP_STUDY_BATCH_KEEP   1048576


static ngx_http_study_batch_t *ngx_http_study_pipeline_batch(
    ngx_http_study_list_t *list, size_t size);
static ngx_int_t ngx_http_study_pipeline_more(ngx_http_study_batch_t *batch,
    ngx_log_t *log);
static ngx_int_t ngx_http_study_pipeline_grow(ngx_http_study_batch_t *batch,
    size_t size, ngx_log_t *log);
static ngx_inline void ngx_http_study_prefetch(ngx_http_study_push_t **pushes,
    ngx_uint_t i, ngx_uint_t n);
static ngx_inline ngx_http_request_t *ngx_http_study_prefetch_request(
    ngx_http_study_push_t **pushes, ngx_uint_t i, ngx_uint_t n);
static void ngx_http_study_pipeline_expire_batch(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch, ngx_msec_t now);
static void ngx_http_study_pipeline_free_batch(ngx_http_study_batch_t *batch);


ngx_int_t
ngx_http_study_pipeline_push(ngx_http_study_list_t *list,
    ngx_http_study_push_t *push, ngx_str_t *head, ngx_chain_t *body,
    size_t size)
{
    u_char                  *p, *start;
    ngx_uint_t               sooner;
    ngx_chain_t             *cl;
    ngx_http_study_peer_t   *peer;
    ngx_http_study_batch_t  *batch;

    peer = list->peer;

    /* "$" and a length, a line end after it and after the value */

    batch = ngx_http_study_pipeline_batch(list, 1 + NGX_SIZE_T_LEN + 4
                                                + head->len + size);
    if (batch == NULL) {
        return NGX_ERROR;
    }

    start = batch->start + batch->len;
    p = start;

    *p++ = '$';
    p = ngx_http_study_number(p, head->len + size);
    *p++ = CR; *p++ = LF;
    p = ngx_cpymem(p, head->data, head->len);

    for (cl = body; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    *p++ = CR; *p++ = LF;

    push->batch = batch;
    push->index = batch->n;

    batch->len += p - start;
    batch->pushes[batch->n++] = push;

    /* one that comes from another server has less time than those before it */

    sooner = peer->elements == 0
             || (ngx_msec_int_t) (push->deadline - peer->deadline) < 0;

    if (sooner) {
        peer->deadline = push->deadline;
    }

    ngx_http_study_pipeline_account(peer, p - start, 1);
    ngx_http_study_pipeline_wake(peer, sooner);

    return NGX_OK;
}


/* the batch that a list gathers, with room for one more */

static ngx_http_study_batch_t *
ngx_http_study_pipeline_batch(ngx_http_study_list_t *list, size_t size)
{
    ngx_log_t               *log;
    ngx_http_study_batch_t  *batch;

    log = &list->peer->log;
    batch = list->gathered;

    if (batch == NULL) {
        batch = list->peer->spare;

        if (batch) {
            list->peer->spare = batch->chain;

        } else {
            batch = ngx_calloc(sizeof(ngx_http_study_batch_t), log);
            if (batch == NULL) {
                return NULL;
            }
        }

        batch->list = list;
        batch->len = ngx_http_study_room(list);
        batch->n = 0;
    }

    if (ngx_http_study_pipeline_more(batch, log) != NGX_OK
        || ngx_http_study_pipeline_grow(batch, batch->len + size, log)
           != NGX_OK)
    {
        /* an empty batch must never be gathered, and so be sent */

        if (batch != list->gathered) {
            ngx_http_study_pipeline_release(list->peer, batch);
        }

        return NULL;
    }

    list->gathered = batch;

    return batch;
}


/* room for one more request */

static ngx_int_t
ngx_http_study_pipeline_more(ngx_http_study_batch_t *batch, ngx_log_t *log)
{
    ngx_uint_t               n;
    ngx_http_study_push_t  **pushes;

    if (batch->n < batch->nalloc) {
        return NGX_OK;
    }

    n = batch->nalloc ? batch->nalloc * 2 : NGX_HTTP_STUDY_PUSHES;

    pushes = ngx_alloc(n * sizeof(ngx_http_study_push_t *), log);
    if (pushes == NULL) {
        return NGX_ERROR;
    }

    if (batch->pushes) {
        ngx_memcpy(pushes, batch->pushes,
                   batch->n * sizeof(ngx_http_study_push_t *));
        ngx_free(batch->pushes);
    }

    batch->pushes = pushes;
    batch->nalloc = n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_study_pipeline_grow(ngx_http_study_batch_t *batch, size_t size,
    ngx_log_t *log)
{
    size_t   n;
    u_char  *p;

    if (size <= batch->size) {
        return NGX_OK;
    }

    n = batch->size ? batch->size : NGX_HTTP_STUDY_BATCH_SIZE;

    while (n < size) {
        n *= 2;
    }

    p = ngx_alloc(n, log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (batch->start) {
        ngx_memcpy(p, batch->start, batch->len);
        ngx_free(batch->start);
    }

    batch->start = p;
    batch->size = n;

    return NGX_OK;
}


/* the request goes away; its element does not */

void
ngx_http_study_pipeline_cancel(ngx_http_study_push_t *push)
{
    if (push->batch) {
        push->batch->pushes[push->index] = NULL;
        push->batch = NULL;
    }
}


/*
 * The handlers are free to push again: the batch is no longer anybody's.
 */

void
ngx_http_study_pipeline_tell(ngx_http_study_batch_t *batch,
    ngx_http_study_outcome_e outcome, ngx_uint_t again)
{
    ngx_uint_t              i;
    ngx_http_study_push_t  *push;

    for (i = 0; i < batch->n; i++) {
        ngx_http_study_prefetch(batch->pushes, i, batch->n);

        push = batch->pushes[i];

        if (push) {
            batch->pushes[i] = NULL;
            push->batch = NULL;
            push->handler(push, outcome, again);
        }
    }
}


/*
 * A thousand requests that wait are some megabytes, which the cache no longer
 * holds when Redis has answered.  While one is being answered, those behind
 * it are fetched: first what the push is part of, then, one request nearer
 * each, what that leads to.
 */

static ngx_inline void
ngx_http_study_prefetch(ngx_http_study_push_t **pushes, ngx_uint_t i,
    ngx_uint_t n)
{
#if (__GNUC__)
    ngx_connection_t      *c;
    ngx_http_request_t    *r;
    ngx_http_study_ctx_t  *ctx;

    if (i + 5 < n && pushes[i + 5]) {
        ctx = (ngx_http_study_ctx_t *) pushes[i + 5];

        __builtin_prefetch(ctx, 1);
        __builtin_prefetch(&ctx->element, 1);
    }

    r = ngx_http_study_prefetch_request(pushes, i + 4, n);

    if (r) {
        __builtin_prefetch(&r->connection, 1);
        __builtin_prefetch(&r->pool, 1);
        __builtin_prefetch(&r->headers_out, 1);
        __builtin_prefetch(&r->headers_out.status, 1);
        __builtin_prefetch(&r->headers_out.content_length_n, 1);
        __builtin_prefetch(&r->main, 1);
        __builtin_prefetch(&r->http_connection, 1);
        __builtin_prefetch(&r->state, 1);
    }

    r = ngx_http_study_prefetch_request(pushes, i + 3, n);

    if (r) {
        __builtin_prefetch(r->connection, 1);
        __builtin_prefetch(&r->connection->log, 1);
        __builtin_prefetch(&r->connection->requests, 1);
        __builtin_prefetch(r->http_connection, 1);
        __builtin_prefetch(r->header_in, 1);
        __builtin_prefetch(r->pool, 1);
    }

    r = ngx_http_study_prefetch_request(pushes, i + 2, n);

    if (r) {
        c = r->connection;

        __builtin_prefetch(c->read, 1);
        __builtin_prefetch(c->write, 1);
        __builtin_prefetch(c->log, 1);
        __builtin_prefetch(c->pool, 1);
        __builtin_prefetch(r->pool->d.last, 1);
        __builtin_prefetch(r->pool->d.end, 1);
    }

    r = ngx_http_study_prefetch_request(pushes, i + 1, n);

    if (r) {
        __builtin_prefetch(r->connection->log->data, 1);
    }

    /* GCC 12 drops the calls of a function that does nothing but prefetch */

    __asm__ volatile ("");
#endif
}


static ngx_inline ngx_http_request_t *
ngx_http_study_prefetch_request(ngx_http_study_push_t **pushes, ngx_uint_t i,
    ngx_uint_t n)
{
    return (i < n && pushes[i]) ? ((ngx_http_study_ctx_t *) pushes[i])->request
                                : NULL;
}


/* answers those whose time is up; their elements stay */

void
ngx_http_study_pipeline_expire(ngx_http_study_peer_t *peer)
{
    ngx_msec_t              now;
    ngx_http_study_list_t  *list;

    now = ngx_current_msec;
    peer->deadline = now + NGX_HTTP_STUDY_DEADLINE;

    if (peer->flight) {
        ngx_http_study_pipeline_expire_batch(peer, peer->flight, now);
    }

    for (list = peer->lists; list; list = list->next) {
        if (list->gathered) {
            ngx_http_study_pipeline_expire_batch(peer, list->gathered, now);
        }
    }
}


static void
ngx_http_study_pipeline_expire_batch(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch, ngx_msec_t now)
{
    ngx_uint_t              i, n;
    ngx_http_study_push_t  *push;

    n = batch->n;

    for (i = 0; i < n; i++) {
        push = batch->pushes[i];

        if (push == NULL) {
            continue;
        }

        if ((ngx_msec_int_t) (push->deadline - now) > 0) {

            if ((ngx_msec_int_t) (push->deadline - peer->deadline) < 0) {
                peer->deadline = push->deadline;
            }

            continue;
        }

        batch->pushes[i] = NULL;
        push->batch = NULL;
        push->handler(push, NGX_HTTP_STUDY_REDIS_TIMEOUT, 0);
    }
}


/*
 * Keeps two batches for the next use, one to gather while the other is in
 * flight, unless they have grown large.
 */

void
ngx_http_study_pipeline_release(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch)
{
    if ((peer->spare && peer->spare->chain)
        || batch->size > NGX_HTTP_STUDY_BATCH_KEEP)
    {
        ngx_http_study_pipeline_free_batch(batch);
        return;
    }

    batch->chain = peer->spare;
    peer->spare = batch;
}


void
ngx_http_study_pipeline_free(ngx_http_study_peer_t *peer)
{
    ngx_uint_t               i;
    ngx_http_study_list_t   *list;
    ngx_http_study_batch_t  *batch;

    batch = peer->flight;
    list = peer->lists;

    for ( ;; ) {

        if (batch) {
            for (i = 0; i < batch->n; i++) {
                if (batch->pushes[i]) {
                    batch->pushes[i]->batch = NULL;
                }
            }

            ngx_http_study_pipeline_free_batch(batch);
        }

        if (list == NULL) {
            break;
        }

        batch = list->gathered;
        list->gathered = NULL;
        list = list->next;
    }

    while (peer->spare) {
        batch = peer->spare;
        peer->spare = batch->chain;

        ngx_http_study_pipeline_free_batch(batch);
    }

    peer->flight = NULL;
    peer->asking = NULL;
    peer->unacked = 0;
    peer->elements = 0;
}


static void
ngx_http_study_pipeline_free_batch(ngx_http_study_batch_t *batch)
{
    if (batch->start) {
        ngx_free(batch->start);
    }

    if (batch->pushes) {
        ngx_free(batch->pushes);
    }

    ngx_free(batch);
}


void
ngx_http_study_pipeline_account(ngx_http_study_peer_t *peer, ssize_t bytes,
    ngx_int_t elements)
{
    ngx_http_study_gauges_t  *gauges;

    gauges = ngx_http_study_gauges(peer->conf);

    gauges->pending_bytes += bytes;
    gauges->pending_elements += elements;

    peer->unacked += bytes;
    peer->elements += elements;
}
