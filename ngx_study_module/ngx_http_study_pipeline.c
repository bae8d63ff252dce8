
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Elements out, replies in.
 *
 * A pushed element is copied whole into the batch that its list gathers:
 * whatever becomes of its request afterwards, Redis sees all of it or nothing.
 * A batch is one RPUSH with many values, which Redis applies or refuses as
 * one and which costs it much less than as many commands.  One batch at a
 * time is in flight, for lists take turns.  The next one leaves one turn of
 * the event loop after there was a reason to send it, an element or the reply
 * to the batch before: the turn costs no waiting, and it lets in those who
 * have just been answered and come again at once.  So a batch is what arrived
 * during a round trip: alone when there is little to do, long when there is
 * much.
 *
 * Clients that send as soon as they are answered fall into two halves, one
 * gathering while the other is in flight, and each half costs Redis a command,
 * a write and perhaps an fsync.  So when many have just been answered, the
 * next batch waits until as many have come again, but no longer than a few
 * milliseconds; PostgreSQL's commit_delay does the same for its log.
 */


#include "ngx_http_study_module.h"


/* milliseconds */
#define NGX_HTTP_STUDY_AVOID        1000    /* a server that has just refused */
#define NGX_HTTP_STUDY_PROBE        1000    /* between questions for a length */
#define NGX_HTTP_STUDY_DELAY        3       /* of a batch that may yet grow */

/* a batch waits for more after one of so many, and not beyond so many bytes */
#define NGX_HTTP_STUDY_SIBLINGS     8
#define NGX_HTTP_STUDY_ENOUGH       65536


static void ngx_http_study_pipeline_head(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch);
static ngx_int_t ngx_http_study_pipeline_replies(ngx_http_study_peer_t *peer);
static ngx_int_t ngx_http_study_pipeline_reply(ngx_http_study_peer_t *peer,
    ngx_http_study_reply_t *reply);
static void ngx_http_study_pipeline_length(ngx_http_study_list_t *list,
    int64_t length);
static void ngx_http_study_pipeline_done(ngx_http_study_peer_t *peer);


/* asks for the length of a list in which nothing may be put at the moment */

void
ngx_http_study_pipeline_ask(ngx_http_study_list_t *list)
{
    list->asked = 1;

    ngx_http_study_pipeline_wake(list->peer, 0);
}


/* there is something to be sent; "sooner": and peer->deadline is not waited for */

void
ngx_http_study_pipeline_wake(ngx_http_study_peer_t *peer, ngx_uint_t sooner)
{
    if (peer->connection) {
        peer->connection->idle = 0;
    }

    if (peer->state == NGX_HTTP_STUDY_READY) {

        if (peer->flush.timer_set) {

            if (peer->elements >= peer->expected
                || peer->unacked >= NGX_HTTP_STUDY_ENOUGH)
            {
                ngx_del_timer(&peer->flush);
                ngx_post_event(&peer->flush, &ngx_posted_events);
            }

        } else if (!ngx_http_study_in_flight(peer) && !peer->flush.posted) {
            ngx_post_event(&peer->flush, &ngx_posted_next_events);
        }

    } else if (peer->state == NGX_HTTP_STUDY_CLOSED) {
        ngx_http_study_redis_start(peer);
    }

    if (sooner) {
        ngx_http_study_redis_arm(peer);
    }
}


/* greets Redis, while elements may have been gathered already */

void
ngx_http_study_pipeline_hello(ngx_http_study_peer_t *peer)
{
    ngx_connection_t  *c;

    c = peer->connection;

    peer->out = peer->hello.data;
    peer->len = peer->hello.len;
    peer->sent = 0;

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
    ngx_http_study_pipeline_done(peer);
}


/* the next list in turn that has something, as one command */

void
ngx_http_study_pipeline_flush(ngx_event_t *ev)
{
    ngx_http_study_list_t  *list, *start;
    ngx_http_study_peer_t  *peer;

    peer = ev->data;

    if (peer->state != NGX_HTTP_STUDY_READY || ngx_http_study_in_flight(peer)) {
        return;
    }

    peer->expected = 0;

    start = peer->turn ? peer->turn : peer->lists;
    list = start;

    while (list->gathered == NULL && !list->asked) {

        list = list->next ? list->next : peer->lists;

        if (list == start) {
            return;
        }
    }

    peer->turn = list->next;

    if (list->gathered) {
        peer->flight = list->gathered;
        list->gathered = NULL;

        ngx_http_study_pipeline_head(peer, peer->flight);
        ngx_http_study_count(peer->conf, batches);

    } else {
        peer->asking = list;
        peer->out = list->llen.data;
        peer->len = list->llen.len;
    }

    peer->sent = 0;
    peer->flushed_at = ngx_current_msec;
    peer->flushed_usec = ngx_http_study_usec();

    ngx_http_study_redis_arm(peer);

    ngx_http_study_pipeline_write(peer->connection->write);
}


static void
ngx_http_study_pipeline_head(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch)
{
    u_char  *p, count[1 + NGX_SIZE_T_LEN];
    size_t   len;

    count[0] = '*';
    len = ngx_http_study_number(count + 1, batch->n + 2) - count;

    p = batch->start + ngx_http_study_room(batch->list)
        - batch->list->rpush.len - len;

    peer->out = p;
    peer->len = batch->start + batch->len - p;

    p = ngx_cpymem(p, count, len);
    ngx_memcpy(p, batch->list->rpush.data, batch->list->rpush.len);
}


void
ngx_http_study_pipeline_write(ngx_event_t *wev)
{
    ssize_t                 n;
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_http_study_peer_t  *peer;

    c = wev->data;
    peer = c->data;

    while (peer->sent < peer->len) {

        n = c->send(c, peer->out + peer->sent, peer->len - peer->sent);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
            return;
        }

        peer->sent += n;
    }

    /*
     * A unix socket wakes those who watch it for writing with each piece that
     * Redis takes out of it, so it is watched only while it is full.
     */

    if (peer->sent == peer->len
        && wev->active && (ngx_event_flags & NGX_USE_CLEAR_EVENT))
    {
        rc = ngx_del_event(wev, NGX_WRITE_EVENT, NGX_CLEAR_EVENT);

    } else {
        rc = ngx_handle_write_event(wev, 0);
    }

    if (rc != NGX_OK) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
    }
}


void
ngx_http_study_pipeline_read(ngx_event_t *rev)
{
    u_char                  buf[4096];
    ssize_t                 n;
    ngx_connection_t       *c;
    ngx_http_study_peer_t  *peer;

    c = rev->data;
    peer = c->data;

    if (c->close && ngx_http_study_is_empty(peer)) {
        ngx_http_study_redis_idle(peer);
        return;
    }

    if (c->close && c->error) {
        /* worker_shutdown_timeout is over */
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_LOST);
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
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "Redis sent an unexpected reply");
            ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_ERROR);
            return;
        }

        /* a bad reply to the greeting closes the connection */

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


/* NGX_OK, also when the connection has been closed, or NGX_ERROR: no sense */

static ngx_int_t
ngx_http_study_pipeline_replies(ngx_http_study_peer_t *peer)
{
    ngx_int_t                rc;
    ngx_connection_t        *c;
    ngx_http_study_reply_t   reply;

    c = peer->connection;

    for ( ;; ) {

        rc = ngx_http_study_reader_next(peer->reader, &reply);

        if (rc == NGX_AGAIN) {
            return NGX_OK;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (peer->state == NGX_HTTP_STUDY_READY) {

            if (ngx_http_study_pipeline_reply(peer, &reply) != NGX_OK) {
                return NGX_ERROR;
            }

            if (peer->connection != c) {
                return NGX_OK;
            }

            continue;
        }

        ngx_http_study_redis_hello(peer, &reply);

        if (peer->connection != c) {
            return NGX_OK;
        }
    }
}


static ngx_int_t
ngx_http_study_pipeline_reply(ngx_http_study_peer_t *peer,
    ngx_http_study_reply_t *reply)
{
    ngx_http_study_list_t     *list;
    ngx_http_study_batch_t    *batch;
    ngx_http_study_outcome_e   outcome;

    if (!ngx_http_study_in_flight(peer) || peer->sent < peer->len
        || (reply->type != NGX_HTTP_STUDY_REPLY_INTEGER
            && reply->type != NGX_HTTP_STUDY_REPLY_ERROR))
    {
        return NGX_ERROR;
    }

    batch = peer->flight;
    list = batch ? batch->list : peer->asking;

    peer->flight = NULL;
    peer->asking = NULL;
    list->asked = 0;

    if (reply->type == NGX_HTTP_STUDY_REPLY_INTEGER) {
        outcome = NGX_HTTP_STUDY_ACCEPTED;
        peer->failures = 0;
        peer->useful |= (batch != NULL);
        ngx_http_study_pipeline_length(list, reply->integer);

    } else if (batch == NULL) {

        /* the question will be asked again; a push will tell of the reason */

        return NGX_OK;

    } else {
        outcome = ngx_http_study_reply_outcome(reply);

        if ((ngx_msec_int_t) (peer->avoid - ngx_current_msec) <= 0) {
            ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                          "Redis refused a command with \"%*s\"",
                          reply->len, reply->code);
        }

        peer->avoid = ngx_current_msec + NGX_HTTP_STUDY_AVOID;
    }

    if (batch == NULL) {
        return NGX_OK;
    }

    ngx_http_study_metrics_roundtrip(peer, batch->n);
    ngx_http_study_pipeline_account(peer,
                                    - (ssize_t) (batch->len
                                                 - ngx_http_study_room(list)),
                                    - (ngx_int_t) batch->n);

    if (batch->n >= NGX_HTTP_STUDY_SIBLINGS
        && peer->unacked < NGX_HTTP_STUDY_ENOUGH)
    {
        peer->expected = peer->elements + batch->n;
    }

    ngx_http_study_pipeline_tell(batch, outcome,
                                 (outcome == NGX_HTTP_STUDY_ACCEPTED)
                                 ? 0 : NGX_HTTP_STUDY_AGAIN);
    ngx_http_study_pipeline_release(peer, batch);

    /*
     * No longer the server, or no longer the login, that it was: only a new
     * connection, perhaps to where the name leads by now, can help.
     */

    if (outcome == NGX_HTTP_STUDY_REDIS_READONLY
        || outcome == NGX_HTTP_STUDY_REDIS_MOVED
        || outcome == NGX_HTTP_STUDY_REDIS_NOAUTH)
    {
        ngx_http_study_redis_fail(peer, outcome);
    }

    return NGX_OK;
}


static void
ngx_http_study_pipeline_length(ngx_http_study_list_t *list, int64_t length)
{
    ngx_http_study_metrics_length(list, length);

    if (length > 0 && !list->peer->probe.timer_set && !ngx_exiting) {
        ngx_add_timer(&list->peer->probe, NGX_HTTP_STUDY_PROBE);
    }
}


/* nothing is in flight */

static void
ngx_http_study_pipeline_done(ngx_http_study_peer_t *peer)
{
    ngx_http_study_list_t  *list;

    for (list = peer->lists; list; list = list->next) {

        if (list->gathered || list->asked) {

            if (peer->flush.posted || peer->flush.timer_set) {
                return;
            }

            if (peer->elements < peer->expected) {
                ngx_add_timer(&peer->flush, NGX_HTTP_STUDY_DELAY);

            } else {
                ngx_post_event(&peer->flush, &ngx_posted_next_events);
            }

            return;
        }
    }

    peer->expected = 0;

    ngx_http_study_redis_idle(peer);
}


/*
 * The connection is gone.  What had been sent whole is in doubt.  A command
 * of which Redis has only a part is not executed, so its elements, like those
 * still being gathered, may go elsewhere; or here again, if the connection
 * can be opened again at once.
 */

void
ngx_http_study_pipeline_abort(ngx_http_study_peer_t *peer,
    ngx_http_study_outcome_e reason)
{
    ngx_uint_t               again, doubtful;
    ngx_http_study_list_t   *list;
    ngx_http_study_batch_t  *flight, *batch, *lost;

    again = (peer->state == NGX_HTTP_STUDY_CLOSED) ? NGX_HTTP_STUDY_AGAIN_HERE
                                                   : NGX_HTTP_STUDY_AGAIN;
    flight = peer->flight;
    doubtful = flight && peer->sent == peer->len;
    lost = NULL;

    peer->flight = NULL;
    peer->asking = NULL;
    peer->len = 0;
    peer->sent = 0;

    for (list = peer->lists; list; list = list->next) {
        list->asked = 0;
        batch = list->gathered;

        if (batch) {
            list->gathered = NULL;
            batch->chain = lost;
            lost = batch;
        }
    }

    ngx_http_study_pipeline_account(peer, - (ssize_t) peer->unacked,
                                    - (ngx_int_t) peer->elements);

    if (flight) {
        if (!doubtful) {
            ngx_http_study_pipeline_tell(flight, reason, again);

        } else {
            ngx_http_study_pipeline_tell(flight,
                                         (reason
                                          == NGX_HTTP_STUDY_REDIS_TIMEOUT)
                                         ? reason : NGX_HTTP_STUDY_REDIS_LOST,
                                         0);
        }

        ngx_http_study_pipeline_release(peer, flight);
    }

    while (lost) {
        batch = lost;
        lost = batch->chain;

        ngx_http_study_pipeline_tell(batch, reason, again);
        ngx_http_study_pipeline_release(peer, batch);
    }
}
