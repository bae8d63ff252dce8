
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * The way to Redis, as ngx_http_study_redis.c, ngx_http_study_connect.c,
 * ngx_http_study_pipeline.c and ngx_http_study_batch.c share it: servers, the
 * lists in them, and the elements under way.  A part of
 * ngx_http_study_module.h, which includes it.
 */


#ifndef _NGX_HTTP_STUDY_REDIS_H_INCLUDED_
#define _NGX_HTTP_STUDY_REDIS_H_INCLUDED_


struct ngx_http_study_list_s {
    ngx_http_study_list_t        *next;         /* of the same peer */
    ngx_http_study_peer_t        *peer;
    ngx_str_t                     key;
    ngx_str_t                     rpush;        /* behind the count of arguments */
    ngx_str_t                     llen;
    ngx_str_t                     label;        /* empty: not a pending list */
    ngx_http_study_cell_t        *cell;

    int64_t                       length;       /* as Redis told last */
    ngx_uint_t                    asked;        /* unsigned  asked:1; */

    ngx_http_study_batch_t       *gathered;     /* waits for its turn */
};


/*
 * One element on its way.  Owned by the request; between a successful
 * ngx_http_study_pipeline_push() and the handler's call the pipeline keeps a
 * pointer, which ngx_http_study_pipeline_cancel() takes back.
 *
 * The handler is called once, from the event loop and never from inside
 * push().  "again" is not 0 when nothing has been written or Redis has refused
 * it, so that another server may be tried, or even the same.
 */

#define NGX_HTTP_STUDY_AGAIN              1
#define NGX_HTTP_STUDY_AGAIN_HERE         2

struct ngx_http_study_push_s {
    void                        (*handler)(ngx_http_study_push_t *push,
                                      ngx_http_study_outcome_e outcome,
                                      ngx_uint_t again);
    ngx_http_study_batch_t       *batch;        /* NULL: not queued */
    ngx_uint_t                    index;        /* in it */
    ngx_msec_t                    deadline;
    uint32_t                      tried;        /* servers, a bit each */
};


/* elements for one list, as one RPUSH */

struct ngx_http_study_batch_s {
    ngx_http_study_list_t        *list;

    u_char                       *start;        /* of the memory */
    size_t                        len;          /* with the room for the head */
    size_t                        size;

    ngx_http_study_batch_t       *chain;        /* of what is given back */

    ngx_http_study_push_t       **pushes;       /* NULL where one was cancelled */
    ngx_uint_t                    n;
    ngx_uint_t                    nalloc;
};


/* one Redis server under one set of settings, and this worker's connection */

struct ngx_http_study_peer_s {

    /* settings, the same in all workers */

    ngx_str_t                     name;         /* as configured */
    ngx_str_t                     host;
    in_port_t                     port;
    ngx_addr_t                   *addrs;        /* when nginx started */
    ngx_uint_t                    naddrs;
    ngx_uint_t                    named;        /* unsigned  named:1; */

    ngx_str_t                     user;
    ngx_str_t                     password;
    ngx_int_t                     db;
    ngx_msec_t                    connect_timeout;
    ngx_msec_t                    timeout;
    size_t                        max_pending;

    ngx_flag_t                    tls;
    ngx_flag_t                    tls_verify;
    ngx_str_t                     tls_trusted_certificate;
    ngx_str_t                     tls_name;
    ngx_str_t                     tls_certificate;
    ngx_str_t                     tls_certificate_key;
    ngx_str_t                     tls_asked_name;   /* before the default */
    ngx_ssl_t                    *ssl;

    ngx_uint_t                    own_resolver; /* unsigned  own_resolver:1; */
    ngx_resolver_t               *resolver;
    ngx_msec_t                    resolver_timeout;

    ngx_str_t                     hello;        /* AUTH, SELECT, LLEN */
    ngx_uint_t                    nhello;       /* its commands */
    ngx_http_study_list_t        *first;        /* whose length it asks for */

    ngx_http_study_main_conf_t   *conf;

    /* the connection */

    ngx_http_study_state_e        state;
    ngx_http_study_outcome_e      reason;       /* why it is down */
    ngx_uint_t                    failures;     /* in a row */
    ngx_uint_t                    attempts;     /* addresses, since then */
    ngx_msec_t                    since;        /* ready */
    ngx_msec_t                    avoid;        /* refused us; not before */
    ngx_msec_t                    logged;
    ngx_uint_t                    lost;         /* unsigned  lost:1; */
    ngx_uint_t                    addr;         /* the one to try, modulo */
    ngx_sockaddr_t                found;        /* where the name led last */
    socklen_t                     found_len;    /* 0: was not looked up */
    ngx_uint_t                    useful;       /* it acknowledged a push */
    ngx_uint_t                    hasty;        /* the one before was not */

    ngx_connection_t             *connection;
    ngx_resolver_ctx_t           *resolving;
    ngx_log_t                     log;
    ngx_event_t                   timer;        /* of what is being waited for */
    ngx_event_t                   connect;      /* now, or after a backoff */
    ngx_event_t                   probe;        /* of over-long lists */
    ngx_uint_t                    greeted;      /* replies to hello so far */

    /* the pipeline: what is in flight; lists hold what is gathered meanwhile */

    void                         *reader;
    ngx_event_t                   flush;
    ngx_http_study_list_t        *lists;
    ngx_http_study_list_t        *turn;         /* the first to be looked at */

    ngx_http_study_batch_t       *flight;
    ngx_http_study_list_t        *asking;       /* for its length */
    ngx_http_study_batch_t       *spare;
    ngx_uint_t                    expected;     /* elements; 0: not waited for */

    u_char                       *out;          /* what is being sent */
    size_t                        len;
    size_t                        sent;

    size_t                        unacked;      /* bytes of all batches */
    ngx_uint_t                    elements;     /* in all batches */
    ngx_msec_t                    flushed_at;
    uint64_t                      flushed_usec;
    ngx_msec_t                    deadline;     /* earliest of all pushes */
};


/* starts the connection if there is none, in the next turn of the loop */
void ngx_http_study_redis_start(ngx_http_study_peer_t *peer);
void ngx_http_study_redis_fail(ngx_http_study_peer_t *peer,
    ngx_http_study_outcome_e reason);
void ngx_http_study_redis_arm(ngx_http_study_peer_t *peer);
void ngx_http_study_redis_idle(ngx_http_study_peer_t *peer);
void ngx_http_study_redis_exit(ngx_http_study_peer_t *peer);

/* one attempt, which ends in pipeline_hello() or redis_fail() */
void ngx_http_study_redis_attempt(ngx_http_study_peer_t *peer);

/* one of the replies to what was said by pipeline_hello() */
void ngx_http_study_redis_hello(ngx_http_study_peer_t *peer,
    ngx_http_study_reply_t *reply);

/*
 * The next server for the push, or NULL with the outcome that says why there
 * is none.
 */
ngx_http_study_list_t *ngx_http_study_redis_select(
    ngx_http_study_loc_conf_t *slcf, ngx_http_study_push_t *push, size_t size,
    ngx_http_study_outcome_e *outcome);

/* NGX_OK or NGX_ERROR (out of memory; nothing queued) */
ngx_int_t ngx_http_study_pipeline_push(ngx_http_study_list_t *list,
    ngx_http_study_push_t *push, ngx_str_t *head, ngx_chain_t *body,
    size_t size);
void ngx_http_study_pipeline_cancel(ngx_http_study_push_t *push);
void ngx_http_study_pipeline_hello(ngx_http_study_peer_t *peer);
void ngx_http_study_pipeline_ready(ngx_http_study_peer_t *peer);
void ngx_http_study_pipeline_abort(ngx_http_study_peer_t *peer,
    ngx_http_study_outcome_e reason);
void ngx_http_study_pipeline_expire(ngx_http_study_peer_t *peer);
void ngx_http_study_pipeline_ask(ngx_http_study_list_t *list);
void ngx_http_study_pipeline_wake(ngx_http_study_peer_t *peer,
    ngx_uint_t sooner);
void ngx_http_study_pipeline_read(ngx_event_t *rev);
void ngx_http_study_pipeline_write(ngx_event_t *wev);
void ngx_http_study_pipeline_flush(ngx_event_t *ev);
void ngx_http_study_pipeline_free(ngx_http_study_peer_t *peer);

/* calls the handlers of a batch that is no longer anybody's */
void ngx_http_study_pipeline_tell(ngx_http_study_batch_t *batch,
    ngx_http_study_outcome_e outcome, ngx_uint_t again);
void ngx_http_study_pipeline_release(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch);
void ngx_http_study_pipeline_account(ngx_http_study_peer_t *peer,
    ssize_t bytes, ngx_int_t elements);

/* "*" and a number of values, in front of the list's own part of the head */
#define ngx_http_study_room(list)  (1 + NGX_SIZE_T_LEN + (list)->rpush.len)

#define ngx_http_study_in_flight(peer)  ((peer)->flight || (peer)->asking)
#define ngx_http_study_is_empty(peer)                                         \
    ((peer)->elements == 0 && (peer)->asking == NULL)


#endif /* _NGX_HTTP_STUDY_REDIS_H_INCLUDED_ */
