
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * A worker's connection to one Redis server: one per set of settings, opened
 * when the worker starts and kept.  The states of ngx_http_study_state_e are
 * passed through by ngx_http_study_redis_state() alone:
 *
 *     CLOSED -> CONNECTING -> READY -> CLOSED    lost while it worked well:
 *                   |           |                opened again at once
 *                   +-> DOWN <--+                failed: again after a backoff
 *                        |
 *                        +-> CONNECTING
 *
 * There is one schedule of attempts per connection, whatever the number of
 * requests.  An idle connection never keeps a worker from exiting, and a
 * worker that is exiting closes it with the last reply.
 */


#include "ngx_http_study_module.h"


/* milliseconds */
#define NGX_HTTP_STUDY_BACKOFF_MIN     100
#define NGX_HTTP_STUDY_BACKOFF_MAX     3000

/* a connection that held for so long had come up well */
#define NGX_HTTP_STUDY_STABLE          1000

#define NGX_HTTP_STUDY_PROBE           1000

/* a server that stays away is mentioned so often */
#define NGX_HTTP_STUDY_LOG_INTERVAL    60000


static void ngx_http_study_redis_state(ngx_http_study_peer_t *peer,
    ngx_http_study_state_e state);
static void ngx_http_study_redis_connect(ngx_event_t *ev);
static void ngx_http_study_redis_close(ngx_http_study_peer_t *peer);
static void ngx_http_study_redis_timer(ngx_event_t *ev);
static void ngx_http_study_redis_probe(ngx_event_t *ev);
static u_char *ngx_http_study_redis_log(ngx_log_t *log, u_char *buf,
    size_t len);


void
ngx_http_study_redis_start(ngx_http_study_peer_t *peer)
{
    if (peer->connect.data == NULL) {

        peer->connect.data = peer;
        peer->connect.handler = ngx_http_study_redis_connect;
        peer->connect.log = &peer->log;
        peer->connect.cancelable = 1;

        peer->timer.data = peer;
        peer->timer.handler = ngx_http_study_redis_timer;
        peer->timer.log = &peer->log;

        peer->probe.data = peer;
        peer->probe.handler = ngx_http_study_redis_probe;
        peer->probe.log = &peer->log;
        peer->probe.cancelable = 1;

        peer->flush.data = peer;
        peer->flush.handler = ngx_http_study_pipeline_flush;
        peer->flush.log = &peer->log;

        peer->avoid = ngx_current_msec;
    }

    if (!peer->connect.posted && !peer->connect.timer_set) {
        peer->log = *ngx_cycle->log;
        ngx_post_event(&peer->connect, &ngx_posted_next_events);
    }
}


ngx_http_study_list_t *
ngx_http_study_redis_select(ngx_http_study_loc_conf_t *slcf,
    ngx_http_study_push_t *push, size_t size,
    ngx_http_study_outcome_e *outcome)
{
    ngx_uint_t              i, k, pass, good;
    ngx_http_study_list_t  *list;
    ngx_http_study_peer_t  *peer;

    for (pass = 0; pass < 2; pass++) {

        for (i = 0; i < slcf->nservers; i++) {

            k = (slcf->next + i) % slcf->nservers;

            if (push->tried & ((uint32_t) 1 << k)) {
                continue;
            }

            list = (slcf->kind == NGX_HTTP_STUDY_EVENT)
                   ? slcf->servers[k].pending : slcf->servers[k].control;
            peer = list->peer;

            /* an attempt after a failed one is not waited for */

            if (peer->state == NGX_HTTP_STUDY_DOWN
                || (peer->state == NGX_HTTP_STUDY_CONNECTING
                    && peer->failures))
            {
                *outcome = peer->reason;
                continue;
            }

            if (slcf->queue_limit && list->length > slcf->queue_limit) {
                *outcome = NGX_HTTP_STUDY_QUEUE_FULL;
                continue;
            }

            if (peer->unacked + size > peer->max_pending) {
                *outcome = NGX_HTTP_STUDY_PENDING_FULL;
                continue;
            }

            good = peer->state == NGX_HTTP_STUDY_READY
                   && (ngx_msec_int_t) (peer->avoid - ngx_current_msec) <= 0;

            if (pass == 0 && !good) {
                continue;
            }

            slcf->next = k + 1;
            push->tried |= (uint32_t) 1 << k;

            return list;
        }
    }

    return NULL;
}


static void
ngx_http_study_redis_state(ngx_http_study_peer_t *peer,
    ngx_http_study_state_e state)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, &peer->log, 0,
                   "study redis \"%V\" state %d -> %d",
                   &peer->name, peer->state, state);

    ngx_http_study_metrics_state(peer, peer->state, state);
    peer->state = state;
}


static void
ngx_http_study_redis_connect(ngx_event_t *ev)
{
    ngx_http_study_peer_t  *peer;

    peer = ev->data;

    if (peer->state != NGX_HTTP_STUDY_CLOSED
        && peer->state != NGX_HTTP_STUDY_DOWN)
    {
        return;
    }

    if (ngx_exiting && ngx_http_study_is_empty(peer)) {
        return;
    }

    peer->log = *ngx_cycle->log;
    peer->log.handler = ngx_http_study_redis_log;
    peer->log.data = peer;
    peer->log.action = "connecting to Redis";

    /* what stays broken is not told with each attempt */

    if (peer->failures
        && ngx_current_msec - peer->logged < NGX_HTTP_STUDY_LOG_INTERVAL)
    {
        peer->log.log_level = ngx_min(peer->log.log_level, NGX_LOG_ALERT);
    }

    if (peer->lost) {
        ngx_http_study_count(peer->conf, reconnects);
    }

    ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_CONNECTING);
    peer->flushed_at = ngx_current_msec;

    ngx_http_study_redis_attempt(peer);
}


void
ngx_http_study_redis_hello(ngx_http_study_peer_t *peer,
    ngx_http_study_reply_t *reply)
{
    const char  *command;

    peer->greeted++;

    if (peer->greeted == peer->nhello) {
        command = "LLEN";

    } else if (peer->greeted == 1 && peer->password.len) {
        command = "AUTH";

    } else {
        command = "SELECT";
    }

    if (reply->type == NGX_HTTP_STUDY_REPLY_ERROR) {
        ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                      "Redis answered \"%*s\" to %s",
                      reply->len, reply->code, command);
        ngx_http_study_redis_fail(peer, ngx_http_study_reply_outcome(reply));
        return;
    }

    if (peer->greeted < peer->nhello) {
        return;
    }

    if (reply->type != NGX_HTTP_STUDY_REPLY_INTEGER) {
        ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                      "Redis sent an unexpected reply to %s", command);
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_ERROR);
        return;
    }

    ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_READY);
    peer->since = ngx_current_msec;
    peer->useful = 0;
    peer->attempts = 0;

    if (peer->failures) {
        peer->log.log_level = ngx_cycle->log->log_level;
        peer->logged = ngx_current_msec - NGX_HTTP_STUDY_LOG_INTERVAL;
        ngx_log_error(NGX_LOG_NOTICE, &peer->log, 0, "Redis is back");
    }

    peer->log.action = "talking to Redis";

    ngx_http_study_metrics_length(peer->first, reply->integer);
    ngx_http_study_redis_probe(&peer->probe);
    ngx_http_study_pipeline_ready(peer);
}


/*
 * The one way out of a connection that was not idle.  The state is settled
 * before any push is told, for its handler may come back here.
 */

void
ngx_http_study_redis_fail(ngx_http_study_peer_t *peer,
    ngx_http_study_outcome_e reason)
{
    ngx_msec_t  delay;
    ngx_uint_t  held, well, other;

    /*
     * A connection that was of use, or held, is opened again at once; another
     * one only once, or a server that greets and hangs up would be called
     * without end.
     */

    held = peer->state == NGX_HTTP_STUDY_READY
           && (peer->useful
               || ngx_current_msec - peer->since >= NGX_HTTP_STUDY_STABLE);

    well = reason == NGX_HTTP_STUDY_REDIS_DOWN
           && peer->state == NGX_HTTP_STUDY_READY
           && (held || !peer->hasty);

    peer->hasty = !held;

    /* a name may have addresses of which only one is served */

    other = reason == NGX_HTTP_STUDY_REDIS_DOWN
            && peer->state == NGX_HTTP_STUDY_CONNECTING
            && ++peer->attempts < peer->naddrs;

    ngx_http_study_redis_close(peer);

    peer->lost = 1;
    peer->reason = reason;

    if (well) {
        peer->failures = 0;
        delay = 0;
        ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_CLOSED);

    } else if (other) {
        delay = 0;
        ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_CLOSED);

    } else {
        if (peer->failures == 0
            || ngx_current_msec - peer->logged >= NGX_HTTP_STUDY_LOG_INTERVAL)
        {
            peer->logged = ngx_current_msec;
            ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                          "Redis is not available, trying again");
        }

        delay = NGX_HTTP_STUDY_BACKOFF_MIN << ngx_min(peer->failures, 8);
        delay = ngx_min(delay, NGX_HTTP_STUDY_BACKOFF_MAX);
        delay = delay / 2 + (ngx_msec_t) ngx_random() % (delay / 2 + 1);

        peer->failures++;
        peer->attempts = 0;
        ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_DOWN);
    }

    if (!well) {
        peer->addr++;
    }

    if (!ngx_exiting) {
        if (delay) {
            ngx_add_timer(&peer->connect, delay);

        } else {
            ngx_http_study_redis_start(peer);
        }
    }

    ngx_http_study_pipeline_abort(peer, reason);
}


/* nothing is waited for any more */

void
ngx_http_study_redis_idle(ngx_http_study_peer_t *peer)
{
    peer->connection->idle = 1;

    if (ngx_exiting || peer->connection->close) {
        ngx_http_study_redis_close(peer);
        ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_CLOSED);
    }
}


void
ngx_http_study_redis_exit(ngx_http_study_peer_t *peer)
{
    ngx_http_study_redis_close(peer);
    ngx_http_study_redis_state(peer, NGX_HTTP_STUDY_CLOSED);
    ngx_http_study_pipeline_free(peer);
}


static void
ngx_http_study_redis_close(ngx_http_study_peer_t *peer)
{
    ngx_pool_t        *pool;
    ngx_connection_t  *c;

    if (peer->resolving) {
        ngx_resolve_name_done(peer->resolving);
        peer->resolving = NULL;
    }

    if (peer->timer.timer_set) {
        ngx_del_timer(&peer->timer);
    }

    if (peer->probe.timer_set) {
        ngx_del_timer(&peer->probe);
    }

    if (peer->reader) {
        ngx_http_study_reader_destroy(peer->reader);
        peer->reader = NULL;
    }

    peer->greeted = 0;

    c = peer->connection;

    if (c == NULL) {
        return;
    }

    peer->connection = NULL;

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;

        /* what cannot be written now would keep the SSL object for ever */

        c->timedout = !ngx_http_study_is_empty(peer);
        (void) ngx_ssl_shutdown(c);
    }

    pool = c->pool;

    ngx_close_connection(c);

    if (pool) {
        ngx_destroy_pool(pool);
    }
}


/* sets the timer to the first thing that is being waited for */

void
ngx_http_study_redis_arm(ngx_http_study_peer_t *peer)
{
    ngx_msec_t      when;
    ngx_msec_int_t  left;

    if (peer->state == NGX_HTTP_STUDY_CONNECTING) {
        when = peer->flushed_at + (peer->resolving ? NGX_HTTP_STUDY_DEADLINE
                                                   : peer->connect_timeout);

    } else if (ngx_http_study_in_flight(peer)) {
        when = peer->flushed_at + peer->timeout;

    } else if (peer->elements) {
        when = peer->deadline;

    } else {
        return;
    }

    if (peer->elements
        && (ngx_msec_int_t) (peer->deadline - when) < 0)
    {
        when = peer->deadline;
    }

    /* nginx is lazy about moving a timer, too much so if it is to be earlier */

    if (peer->timer.timer_set
        && (ngx_msec_int_t) (when - peer->timer.timer.key) < 0)
    {
        ngx_del_timer(&peer->timer);
    }

    left = (ngx_msec_int_t) (when - ngx_current_msec);

    ngx_add_timer(&peer->timer, (ngx_msec_t) ngx_max(left, 1));
}


static void
ngx_http_study_redis_timer(ngx_event_t *ev)
{
    ngx_msec_t              limit;
    ngx_http_study_peer_t  *peer;

    peer = ev->data;

    if (peer->state == NGX_HTTP_STUDY_CONNECTING
        || ngx_http_study_in_flight(peer))
    {
        if (peer->state != NGX_HTTP_STUDY_CONNECTING) {
            limit = peer->timeout;

        } else if (peer->resolving) {
            limit = NGX_HTTP_STUDY_DEADLINE;

        } else {
            limit = peer->connect_timeout;
        }

        if (ngx_current_msec - peer->flushed_at >= limit) {
            ngx_log_error(NGX_LOG_ERR, &peer->log, NGX_ETIMEDOUT,
                          "Redis timed out");
            ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_TIMEOUT);
            return;
        }
    }

    if (peer->elements) {
        ngx_http_study_pipeline_expire(peer);
    }

    ngx_http_study_redis_arm(peer);
}


/*
 * While a list is not empty, Redis is asked for its length: an over-long one
 * may be used again, and the gauge must not tell of elements long gone.
 */

static void
ngx_http_study_redis_probe(ngx_event_t *ev)
{
    ngx_uint_t              n;
    ngx_http_study_list_t  *list;
    ngx_http_study_peer_t  *peer;

    peer = ev->data;

    if (peer->state != NGX_HTTP_STUDY_READY || ngx_exiting) {
        return;
    }

    n = 0;

    for (list = peer->lists; list; list = list->next) {
        if (list->length > 0) {
            ngx_http_study_pipeline_ask(list);
            n++;
        }
    }

    if (n && !peer->probe.timer_set) {
        ngx_add_timer(&peer->probe, NGX_HTTP_STUDY_PROBE);
    }
}


static u_char *
ngx_http_study_redis_log(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char                 *p;
    ngx_http_study_peer_t  *peer;

    peer = log->data;

    p = ngx_snprintf(buf, len, " while %s, study_redis: \"%V\"", log->action,
                     &peer->name);

    return p;
}
