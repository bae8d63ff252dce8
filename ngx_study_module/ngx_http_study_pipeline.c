
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Commands out, replies in.
 *
 * A command is copied whole into "next" when it is pushed: whatever becomes
 * of its request afterwards, Redis sees all of it or nothing.  One batch at a
 * time is in flight; "next" becomes the batch at the end of the turn of the
 * event loop in which the last reply to the one before has come.  So a batch
 * is what arrived during a round trip: alone when there is little to do, long
 * when there is much, which is what makes Redis cheap per command.
 *
 * "slots" holds what each command still without a reply is to do with it, in
 * the order of the commands.  Numbers of slots only ever grow; the ring, the
 * two buffers and hiredis' are all that is allocated, and they are kept.
 */


#include "ngx_http_study_module.h"


#define NGX_HTTP_STUDY_BATCH_SIZE   16384

/* an idle connection does not keep more than this of a burst, twice */
#define NGX_HTTP_STUDY_BATCH_KEEP   262144

#define NGX_HTTP_STUDY_SLOTS        64

/* milliseconds */
#define NGX_HTTP_STUDY_AVOID        1000    /* a server that has just refused */
#define NGX_HTTP_STUDY_PROBE        1000    /* between questions for a length */


static ngx_http_study_slot_t *ngx_http_study_pipeline_slot(
    ngx_http_study_peer_t *peer, size_t size);
static ngx_int_t ngx_http_study_pipeline_reserve(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch, size_t size);
static void ngx_http_study_pipeline_queued(ngx_http_study_peer_t *peer);
static ngx_int_t ngx_http_study_pipeline_replies(ngx_http_study_peer_t *peer);
static ngx_int_t ngx_http_study_pipeline_reply(ngx_http_study_peer_t *peer,
    ngx_http_study_reply_t *reply);
static void ngx_http_study_pipeline_length(ngx_http_study_list_t *list,
    int64_t length);
static void ngx_http_study_pipeline_done(ngx_http_study_peer_t *peer);
static void ngx_http_study_pipeline_shrink(ngx_http_study_batch_t *batch);
static void ngx_http_study_pipeline_gauges(ngx_http_study_peer_t *peer,
    size_t unacked, uint64_t commands);


#define ngx_http_study_slot(peer, seq)                                        \
    (&(peer)->slots[(seq) & ((peer)->nslots - 1)])


ngx_int_t
ngx_http_study_pipeline_push(ngx_http_study_list_t *list,
    ngx_http_study_push_t *push, ngx_str_t *head, ngx_chain_t *body,
    size_t size)
{
    u_char                  *p, *start;
    ngx_chain_t             *cl;
    ngx_http_study_peer_t   *peer;
    ngx_http_study_slot_t   *slot;

    peer = list->peer;

    slot = ngx_http_study_pipeline_slot(peer, list->rpush.len + NGX_SIZE_T_LEN
                                              + head->len + size + 4);
    if (slot == NULL) {
        return NGX_ERROR;
    }

    start = peer->next.start + peer->next.len;

    p = ngx_cpymem(start, list->rpush.data, list->rpush.len);
    p = ngx_http_study_number(p, head->len + size);
    *p++ = CR; *p++ = LF;
    p = ngx_cpymem(p, head->data, head->len);

    for (cl = body; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    *p++ = CR; *p++ = LF;

    slot->push = push;
    slot->list = list;
    slot->size = p - start;

    push->peer = peer;
    push->seq = peer->tail;

    if (ngx_http_study_is_empty(peer)
        || (ngx_msec_int_t) (push->deadline - peer->deadline) < 0)
    {
        peer->deadline = push->deadline;
    }

    ngx_http_study_pipeline_queued(peer);

    return NGX_OK;
}


/* asks for the length of a list in which nothing may be put at the moment */

void
ngx_http_study_pipeline_probe(ngx_http_study_list_t *list)
{
    ngx_http_study_peer_t  *peer;
    ngx_http_study_slot_t  *slot;

    peer = list->peer;

    slot = ngx_http_study_pipeline_slot(peer, list->llen.len);
    if (slot == NULL) {
        return;
    }

    ngx_memcpy(peer->next.start + peer->next.len, list->llen.data,
               list->llen.len);

    slot->push = NULL;
    slot->list = list;
    slot->size = list->llen.len;

    if (ngx_http_study_is_empty(peer)) {
        peer->deadline = ngx_current_msec + NGX_HTTP_STUDY_DEADLINE;
    }

    ngx_http_study_pipeline_queued(peer);
}


/* room for a command and for what is to be known about it */

static ngx_http_study_slot_t *
ngx_http_study_pipeline_slot(ngx_http_study_peer_t *peer, size_t size)
{
    uint64_t                nslots, seq;
    ngx_http_study_slot_t  *slots, *slot;

    if (ngx_http_study_pipeline_reserve(peer, &peer->next, size) != NGX_OK) {
        return NULL;
    }

    if (peer->tail - peer->head == peer->nslots) {

        nslots = peer->nslots ? peer->nslots * 2 : NGX_HTTP_STUDY_SLOTS;

        slots = ngx_alloc(nslots * sizeof(ngx_http_study_slot_t), &peer->log);
        if (slots == NULL) {
            return NULL;
        }

        for (seq = peer->head; seq != peer->tail; seq++) {
            slots[seq & (nslots - 1)] = *ngx_http_study_slot(peer, seq);
        }

        if (peer->slots) {
            ngx_free(peer->slots);
        }

        peer->slots = slots;
        peer->nslots = nslots;
    }

    slot = ngx_http_study_slot(peer, peer->tail);
    slot->offset = peer->next.len;

    return slot;
}


static ngx_int_t
ngx_http_study_pipeline_reserve(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch, size_t size)
{
    size_t   n;
    u_char  *p;

    if (batch->size - batch->len >= size) {
        return NGX_OK;
    }

    n = batch->size ? batch->size * 2 : NGX_HTTP_STUDY_BATCH_SIZE;

    while (n - batch->len < size) {
        n *= 2;
    }

    p = ngx_alloc(n, &peer->log);
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


static void
ngx_http_study_pipeline_queued(ngx_http_study_peer_t *peer)
{
    size_t      size;
    ngx_uint_t  first;

    first = ngx_http_study_is_empty(peer);
    size = ngx_http_study_slot(peer, peer->tail)->size;

    peer->next.len += size;
    peer->tail++;

    ngx_http_study_pipeline_gauges(peer, peer->unacked + size, 1);

    if (peer->connection) {
        peer->connection->idle = 0;
    }

    if (peer->state == NGX_HTTP_STUDY_READY) {

        if (!ngx_http_study_in_flight(peer) && !peer->flush.posted) {
            ngx_post_event(&peer->flush, &ngx_posted_events);
        }

    } else if (peer->state == NGX_HTTP_STUDY_CLOSED) {
        ngx_http_study_redis_start(peer);
    }

    if (first) {
        ngx_http_study_redis_arm(peer);
    }
}


/* the request goes away; its command does not */

void
ngx_http_study_pipeline_cancel(ngx_http_study_push_t *push)
{
    if (push->peer) {
        ngx_http_study_slot(push->peer, push->seq)->push = NULL;
        push->peer = NULL;
    }
}


/* greets Redis, while commands may be waiting in "next" already */

void
ngx_http_study_pipeline_hello(ngx_http_study_peer_t *peer)
{
    ngx_connection_t  *c;

    c = peer->connection;

    peer->out.len = 0;
    peer->sent = 0;

    if (ngx_http_study_pipeline_reserve(peer, &peer->out, peer->hello.len)
        != NGX_OK)
    {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    ngx_memcpy(peer->out.start, peer->hello.data, peer->hello.len);
    peer->out.len = peer->hello.len;

    c->read->handler = ngx_http_study_pipeline_read;
    c->write->handler = ngx_http_study_pipeline_write;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    ngx_http_study_pipeline_write(c->write);
}


void
ngx_http_study_pipeline_ready(ngx_http_study_peer_t *peer)
{
    /* it held the password */

    ngx_explicit_memzero(peer->out.start, peer->out.len);
    peer->out.len = 0;
    peer->sent = 0;

    ngx_http_study_pipeline_done(peer);
}


void
ngx_http_study_pipeline_flush(ngx_event_t *ev)
{
    ngx_http_study_peer_t   *peer;
    ngx_http_study_batch_t   batch;

    peer = ev->data;

    if (peer->state != NGX_HTTP_STUDY_READY
        || ngx_http_study_in_flight(peer)
        || ngx_http_study_is_empty(peer))
    {
        return;
    }

    batch = peer->out;
    peer->out = peer->next;
    peer->next = batch;
    peer->next.len = 0;

    peer->sent = 0;
    peer->flushed = peer->tail;
    peer->flushed_at = ngx_current_msec;
    peer->flushed_usec = ngx_http_study_usec();

    ngx_http_study_count(peer->conf, batches);
    ngx_http_study_redis_arm(peer);

    ngx_http_study_pipeline_write(peer->connection->write);
}


void
ngx_http_study_pipeline_write(ngx_event_t *wev)
{
    ssize_t                 n;
    ngx_connection_t       *c;
    ngx_http_study_peer_t  *peer;

    c = wev->data;
    peer = c->data;

    while (peer->sent < peer->out.len) {

        n = c->send(c, peer->out.start + peer->sent,
                    peer->out.len - peer->sent);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
            return;
        }

        peer->sent += n;
    }

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
    }
}


void
ngx_http_study_pipeline_read(ngx_event_t *rev)
{
    u_char                  buf[16384];
    ssize_t                 n;
    ngx_connection_t       *c;
    ngx_http_study_peer_t  *peer;

    c = rev->data;
    peer = c->data;

    if (c->close && ngx_http_study_is_empty(peer)) {
        ngx_http_study_redis_idle(peer);
        return;
    }

    do {
        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == 0) {
            ngx_log_error(NGX_LOG_INFO, c->log, 0, "Redis closed connection");
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
            return;
        }

        if (ngx_http_study_reader_feed(peer->reader, buf, n) != NGX_OK
            || ngx_http_study_pipeline_replies(peer) != NGX_OK)
        {
            /* a bad reply to hello has closed the connection already */

            if (peer->connection == c) {
                ngx_log_error(NGX_LOG_ERR, c->log, 0,
                              "Redis sent an unexpected reply");
                ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_ERROR);
            }

            return;
        }

        if (peer->connection != c) {
            return;
        }

    } while (rev->ready);

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    if (peer->state == NGX_HTTP_STUDY_READY
        && !ngx_http_study_in_flight(peer))
    {
        ngx_http_study_pipeline_done(peer);
    }
}


static ngx_int_t
ngx_http_study_pipeline_replies(ngx_http_study_peer_t *peer)
{
    ngx_int_t                rc;
    ngx_uint_t               n;
    ngx_connection_t        *c;
    ngx_http_study_reply_t   reply;

    c = peer->connection;

    for (n = 0; /* void */; n++) {

        rc = ngx_http_study_reader_next(peer->reader, &reply);

        if (rc == NGX_AGAIN) {
            break;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (peer->state != NGX_HTTP_STUDY_READY) {
            n--;
            ngx_http_study_redis_hello(peer, &reply);

            if (peer->connection != c) {
                return NGX_OK;
            }

            continue;
        }

        if (ngx_http_study_pipeline_reply(peer, &reply) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (n) {
        ngx_http_study_metrics_roundtrip(peer, n);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_study_pipeline_reply(ngx_http_study_peer_t *peer,
    ngx_http_study_reply_t *reply)
{
    ngx_http_study_slot_t     slot;
    ngx_http_study_outcome_e  outcome;

    if (!ngx_http_study_in_flight(peer)
        || (reply->type != NGX_HTTP_STUDY_REPLY_INTEGER
            && reply->type != NGX_HTTP_STUDY_REPLY_ERROR))
    {
        return NGX_ERROR;
    }

    slot = *ngx_http_study_slot(peer, peer->head);
    peer->head++;

    ngx_http_study_pipeline_gauges(peer, peer->unacked - slot.size, -1);

    if (reply->type == NGX_HTTP_STUDY_REPLY_INTEGER) {
        outcome = NGX_HTTP_STUDY_ACCEPTED;
        peer->failures = 0;
        ngx_http_study_pipeline_length(slot.list, reply->integer);

    } else {
        slot.list->asked = 0;
        outcome = ngx_http_study_reply_outcome(reply);

        if ((ngx_msec_int_t) (peer->avoid - ngx_current_msec) <= 0) {
            ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                          "Redis refused a command with \"%*s\"",
                          reply->len, reply->code);
        }

        peer->avoid = ngx_current_msec + NGX_HTTP_STUDY_AVOID;
    }

    if (slot.push) {
        slot.push->peer = NULL;
        slot.push->handler(slot.push, outcome,
                           outcome != NGX_HTTP_STUDY_ACCEPTED);
    }

    return NGX_OK;
}


static void
ngx_http_study_pipeline_length(ngx_http_study_list_t *list, int64_t length)
{
    list->asked = 0;
    ngx_http_study_metrics_length(list, length);

    if (list->limit && length > list->limit
        && !list->peer->probe.timer_set && !ngx_exiting)
    {
        ngx_add_timer(&list->peer->probe, NGX_HTTP_STUDY_PROBE);
    }
}


/* nothing is in flight */

static void
ngx_http_study_pipeline_done(ngx_http_study_peer_t *peer)
{
    if (!ngx_http_study_is_empty(peer)) {

        if (!peer->flush.posted) {
            ngx_post_event(&peer->flush, &ngx_posted_events);
        }

        return;
    }

    ngx_http_study_pipeline_shrink(&peer->out);
    ngx_http_study_pipeline_shrink(&peer->next);

    ngx_http_study_redis_idle(peer);
}


static void
ngx_http_study_pipeline_shrink(ngx_http_study_batch_t *batch)
{
    if (batch->size > NGX_HTTP_STUDY_BATCH_KEEP) {
        ngx_free(batch->start);
        ngx_memzero(batch, sizeof(ngx_http_study_batch_t));
    }
}


/*
 * The connection is gone.  What had been written, even in part, is lost in
 * doubt; the rest may go elsewhere, or here again if the connection can be
 * opened again at once.
 */

void
ngx_http_study_pipeline_abort(ngx_http_study_peer_t *peer,
    ngx_http_study_outcome_e reason)
{
    size_t                 sent;
    uint64_t               seq, flushed, tail;
    ngx_uint_t             again;
    ngx_http_study_slot_t  slot;

    sent = peer->sent;
    flushed = peer->flushed;
    tail = peer->tail;

    peer->out.len = 0;
    peer->next.len = 0;
    peer->sent = 0;
    peer->flushed = tail;

    ngx_http_study_pipeline_gauges(peer, 0, peer->head - tail);

    for (seq = peer->head; seq != tail; seq++) {

        slot = *ngx_http_study_slot(peer, seq);
        peer->head++;
        slot.list->asked = 0;

        if (slot.push == NULL) {
            continue;
        }

        if (seq < flushed && slot.offset < sent) {
            again = 0;

        } else {
            again = (peer->state == NGX_HTTP_STUDY_CLOSED)
                    ? NGX_HTTP_STUDY_AGAIN_HERE : NGX_HTTP_STUDY_AGAIN;
        }

        slot.push->peer = NULL;

        if (again || reason == NGX_HTTP_STUDY_REDIS_TIMEOUT) {
            slot.push->handler(slot.push, reason, again);

        } else {
            slot.push->handler(slot.push, NGX_HTTP_STUDY_REDIS_LOST, 0);
        }
    }
}


/* answers those whose time is up; their commands stay */

void
ngx_http_study_pipeline_expire(ngx_http_study_peer_t *peer)
{
    uint64_t                seq, tail;
    ngx_msec_t              now;
    ngx_http_study_slot_t  *slot;
    ngx_http_study_push_t  *push;

    now = ngx_current_msec;
    tail = peer->tail;
    peer->deadline = now + NGX_HTTP_STUDY_DEADLINE;

    for (seq = peer->head; seq != tail; seq++) {

        slot = ngx_http_study_slot(peer, seq);
        push = slot->push;

        if (push == NULL) {
            continue;
        }

        if ((ngx_msec_int_t) (push->deadline - now) > 0) {

            if ((ngx_msec_int_t) (push->deadline - peer->deadline) < 0) {
                peer->deadline = push->deadline;
            }

            continue;
        }

        slot->push = NULL;
        push->peer = NULL;
        push->handler(push, NGX_HTTP_STUDY_REDIS_TIMEOUT, 0);
    }
}


void
ngx_http_study_pipeline_free(ngx_http_study_peer_t *peer)
{
    uint64_t                seq;
    ngx_http_study_push_t  *push;

    for (seq = peer->head; seq != peer->tail; seq++) {
        push = ngx_http_study_slot(peer, seq)->push;

        if (push) {
            push->peer = NULL;
        }
    }

    if (peer->slots) {
        ngx_free(peer->slots);
        peer->slots = NULL;
        peer->nslots = 0;
    }

    if (peer->out.start) {
        ngx_free(peer->out.start);
    }

    if (peer->next.start) {
        ngx_free(peer->next.start);
    }

    ngx_memzero(&peer->out, sizeof(ngx_http_study_batch_t));
    ngx_memzero(&peer->next, sizeof(ngx_http_study_batch_t));

    peer->head = peer->flushed = peer->tail;
}


static void
ngx_http_study_pipeline_gauges(ngx_http_study_peer_t *peer, size_t unacked,
    uint64_t commands)
{
    ngx_http_study_gauges_t  *gauges;

    gauges = ngx_http_study_gauges(peer->conf);

    gauges->pending_bytes += unacked - peer->unacked;
    gauges->pending_commands += commands;

    peer->unacked = unacked;
}
