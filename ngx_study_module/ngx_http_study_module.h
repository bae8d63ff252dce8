
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * What the files of the module share.
 *
 * ngx_http_study_module.c     directives, configuration, life cycle
 * ngx_http_study_conf.c       directives with a file or an address
 * ngx_http_study_servers.c    the servers and lists of a location
 * ngx_http_study_handler.c    requests of Slack
 * ngx_http_study_trigger.c    triggers
 * ngx_http_study_answer.c     from an element to its answer
 * ngx_http_study_signature.c  Slack's v0 signature; pure
 * ngx_http_study_body.c       the two bodies that the module answers itself:
 *                             url_verification and ssl_check; pure
 * ngx_http_study_element.c    the header line of a list element; pure
 * ngx_http_study_redis.c      the choice of a server; the states of a
 *                             connection: ready, failed, coming back
 * ngx_http_study_connect.c    an attempt to connect: name, address, TLS
 * ngx_http_study_pipeline.c   what goes over it: batches out, replies in
 * ngx_http_study_batch.c      elements and requests that wait together
 * ngx_http_study_reply.c      one reply out of the byte stream (hiredis); pure
 * ngx_http_study_metrics.c    counters in shared memory, Prometheus text
 *
 * "Pure" means: no state, no I/O, no nginx object beyond strings and chains,
 * so that the file can be driven by a fuzzer alone.
 */


#ifndef _NGX_HTTP_STUDY_MODULE_H_INCLUDED_
#define _NGX_HTTP_STUDY_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_http.h>

#include <openssl/sha.h>


#define NGX_HTTP_STUDY_VERSION            "0.1.0"

/*
 * Slack waits for 3 seconds; the answer has to be on its way before.
 * Milliseconds, counted from the moment the body has been read.
 */
#define NGX_HTTP_STUDY_DEADLINE           2500

/* servers of one study_redis; a request remembers in a bitmask where it was */
#define NGX_HTTP_STUDY_MAX_SERVERS        32

/* a secret, token or password file may hold this much */
#define NGX_HTTP_STUDY_MAX_SECRET         4096

/* source bytes of header values that are kept in an element */
#define NGX_HTTP_STUDY_MAX_VALUE          128
#define NGX_HTTP_STUDY_MAX_IDEMPOTENCY    255

/* a header line never takes more: six bytes for each byte of its values */
#define NGX_HTTP_STUDY_HEAD_SIZE                                              \
    (256 + 6 * (3 * NGX_HTTP_STUDY_MAX_VALUE + NGX_HTTP_STUDY_MAX_IDEMPOTENCY))

/* "v0=" and the 64 hexadecimal digits of an HMAC-SHA256 */
#define NGX_HTTP_STUDY_SIGNATURE_LEN      67


/* what a location does; the first four are also the kinds of list elements */

typedef enum {
    NGX_HTTP_STUDY_EVENT = 0,
    NGX_HTTP_STUDY_COMMAND,
    NGX_HTTP_STUDY_INTERACTION,
    NGX_HTTP_STUDY_TRIGGER,
    NGX_HTTP_STUDY_METRICS
} ngx_http_study_kind_e;

#define NGX_HTTP_STUDY_KINDS              4


/* how a request ended: the label of study_nginx_events_total */

typedef enum {
    NGX_HTTP_STUDY_ACCEPTED = 0,
    NGX_HTTP_STUDY_URL_VERIFICATION,
    NGX_HTTP_STUDY_SSL_CHECK,

    NGX_HTTP_STUDY_BAD_METHOD,
    NGX_HTTP_STUDY_BAD_REQUEST,
    NGX_HTTP_STUDY_NO_SIGNATURE,
    NGX_HTTP_STUDY_BAD_TIME,
    NGX_HTTP_STUDY_BAD_SIGNATURE,
    NGX_HTTP_STUDY_BAD_TOKEN,
    NGX_HTTP_STUDY_TOO_LARGE,
    NGX_HTTP_STUDY_CLIENT_CLOSED,
    NGX_HTTP_STUDY_INTERNAL_ERROR,

    NGX_HTTP_STUDY_PENDING_FULL,
    NGX_HTTP_STUDY_QUEUE_FULL,
    NGX_HTTP_STUDY_REDIS_DOWN,
    NGX_HTTP_STUDY_REDIS_LOST,
    NGX_HTTP_STUDY_REDIS_TIMEOUT,
    NGX_HTTP_STUDY_REDIS_LOADING,
    NGX_HTTP_STUDY_REDIS_READONLY,
    NGX_HTTP_STUDY_REDIS_OOM,
    NGX_HTTP_STUDY_REDIS_MISCONF,
    NGX_HTTP_STUDY_REDIS_NOAUTH,
    NGX_HTTP_STUDY_REDIS_WRONGPASS,
    NGX_HTTP_STUDY_REDIS_NOPERM,
    NGX_HTTP_STUDY_REDIS_MOVED,
    NGX_HTTP_STUDY_REDIS_ERROR,

    NGX_HTTP_STUDY_OUTCOMES
} ngx_http_study_outcome_e;


/* states of a connection to Redis: the label of study_nginx_redis_connections */

typedef enum {
    NGX_HTTP_STUDY_CLOSED = 0,      /* no connection, none has failed */
    NGX_HTTP_STUDY_CONNECTING,      /* resolving, connecting, TLS, logging in */
    NGX_HTTP_STUDY_READY,
    NGX_HTTP_STUDY_DOWN,            /* the last attempt failed, waiting */

    NGX_HTTP_STUDY_STATES
} ngx_http_study_state_e;


typedef struct ngx_http_study_peer_s    ngx_http_study_peer_t;
typedef struct ngx_http_study_list_s    ngx_http_study_list_t;
typedef struct ngx_http_study_push_s    ngx_http_study_push_t;
typedef struct ngx_http_study_batch_s   ngx_http_study_batch_t;
typedef struct ngx_http_study_cell_s    ngx_http_study_cell_t;


/* signature */

/* an HMAC key, ready to use: the SHA-256 states after the two padded keys */

typedef struct {
    SHA256_CTX                    inner;
    SHA256_CTX                    outer;
} ngx_http_study_key_t;

void ngx_http_study_key_init(ngx_http_study_key_t *key, u_char *secret,
    size_t len);

/*
 * NGX_OK; NGX_DECLINED: a value is malformed; NGX_ABORT: the time is further
 * than "tolerance" seconds from "now", either way.  A malformed signature is
 * one of a wrong length or version; its digits are judged by the comparison.
 */
ngx_int_t ngx_http_study_signature_check(ngx_str_t *timestamp,
    ngx_str_t *signature, time_t now, time_t tolerance);

/*
 * NGX_OK or NGX_DECLINED.  The body's buffers are in memory; the signature's
 * length has been checked.
 */
ngx_int_t ngx_http_study_signature_verify(ngx_http_study_key_t *keys,
    ngx_uint_t nkeys, ngx_str_t *timestamp, ngx_str_t *signature,
    ngx_chain_t *body);


/* bodies */

/* larger ones are events, whatever they say */
#define NGX_HTTP_STUDY_MAX_CHALLENGE      4096

/*
 * NGX_OK when the body is a JSON object whose own "type" is
 * "url_verification" and that has a string "challenge", which is unescaped
 * inside the body and returned; NGX_DECLINED otherwise.  The body is changed
 * only with NGX_OK.
 */
ngx_int_t ngx_http_study_challenge(ngx_str_t *body, ngx_str_t *challenge);

/* whether a form has the parameter ssl_check=1 */
ngx_uint_t ngx_http_study_ssl_check(ngx_str_t *form);


/* element */

typedef struct {
    ngx_http_study_kind_e         kind;
    ngx_uint_t                    retry_num;
    uint64_t                      received_at;      /* Unix milliseconds */
    ngx_str_t                     retry_reason;
    ngx_str_t                     content_type;
    ngx_str_t                     request_id;
    ngx_str_t                     idempotency_key;
} ngx_http_study_element_t;

/* writes at most NGX_HTTP_STUDY_HEAD_SIZE bytes, returns the end */
u_char *ngx_http_study_element_head(u_char *p, ngx_http_study_element_t *el);

u_char *ngx_http_study_number(u_char *p, uint64_t n);


/* reply */

typedef enum {
    NGX_HTTP_STUDY_REPLY_INTEGER = 0,
    NGX_HTTP_STUDY_REPLY_STATUS,
    NGX_HTTP_STUDY_REPLY_ERROR,
    NGX_HTTP_STUDY_REPLY_OTHER
} ngx_http_study_reply_e;

typedef struct {
    ngx_http_study_reply_e        type;
    int64_t                       integer;

    /*
     * The first word of an error.  The rest is not kept: Redis quotes
     * arguments there, and those are what members wrote, or a password.
     */
    size_t                        len;
    u_char                        code[24];
} ngx_http_study_reply_t;

void *ngx_http_study_reader_create(void);
void ngx_http_study_reader_destroy(void *reader);

/* NGX_OK or NGX_ERROR */
ngx_int_t ngx_http_study_reader_feed(void *reader, u_char *buf, size_t n);

/* NGX_OK; NGX_AGAIN: no whole reply there yet; NGX_ERROR: not RESP */
ngx_int_t ngx_http_study_reader_next(void *reader,
    ngx_http_study_reply_t *reply);

ngx_http_study_outcome_e ngx_http_study_reply_outcome(
    ngx_http_study_reply_t *reply);


/* metrics */

#define NGX_HTTP_STUDY_BUCKETS            12

/* written by one process only */

typedef struct {
    ngx_atomic_t                  pending_bytes;
    ngx_atomic_t                  pending_elements;
    ngx_atomic_t                  connections[NGX_HTTP_STUDY_STATES];
    ngx_atomic_t                  pid;
    ngx_atomic_t                  unused[1];
} ngx_http_study_gauges_t;

/* the last known length of one server's pending list */

struct ngx_http_study_cell_s {
    ngx_http_study_cell_t        *next;
    ngx_atomic_t                  length;
    ngx_atomic_t                  known;
    size_t                        len;
    u_char                        label[1];
};

typedef struct {
    ngx_uint_t                    version;
    size_t                        size;

    ngx_atomic_t                  outcomes[NGX_HTTP_STUDY_OUTCOMES];
    ngx_atomic_t                  accepted[NGX_HTTP_STUDY_KINDS];
    ngx_atomic_t                  bytes;
    ngx_atomic_t                  batches;
    ngx_atomic_t                  reconnects;

    ngx_atomic_t                  buckets[NGX_HTTP_STUDY_BUCKETS + 1];
    ngx_atomic_t                  roundtrip_usec;

    ngx_http_study_cell_t        *cells;

    ngx_http_study_gauges_t       gauges[NGX_MAX_PROCESSES];
} ngx_http_study_metrics_t;


/* configuration */

typedef struct {
    ngx_array_t                   peers;    /* ngx_http_study_peer_t * */
    ngx_array_t                   lists;    /* ngx_http_study_list_t * */

    size_t                        zone_size;
    ngx_shm_zone_t               *zone;
    ngx_http_study_metrics_t     *metrics;

    ngx_int_t                     request_id;   /* index of $request_id */
    uint64_t                      random[4];    /* state, of a worker's own */
    ngx_uint_t                    used;         /* unsigned  used:1; */
} ngx_http_study_main_conf_t;


/* the two lists of a queue server */

typedef struct {
    ngx_http_study_list_t        *pending;
    ngx_http_study_list_t        *control;
} ngx_http_study_server_t;


typedef struct {
    ngx_uint_t                    kind;

    ngx_array_t                  *redis;        /* ngx_url_t */
    ngx_str_t                     user;
    ngx_str_t                    *password;
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

    ngx_str_t                     key_prefix;
    ngx_int_t                     queue_limit;

    ngx_array_t                  *keys;         /* ngx_http_study_key_t */
    time_t                        tolerance;
    u_char                       *token;        /* its SHA-256 */

    ngx_http_study_server_t      *servers;
    ngx_uint_t                    nservers;
    ngx_uint_t                    next;         /* of the round-robin */
} ngx_http_study_loc_conf_t;


/* redis */

struct ngx_http_study_list_s {
    ngx_http_study_list_t        *next;         /* of the same peer */
    ngx_http_study_peer_t        *peer;
    ngx_str_t                     key;
    ngx_str_t                     rpush;        /* behind the count of arguments */
    ngx_str_t                     llen;
    ngx_str_t                     label;        /* empty: not a pending list */
    ngx_http_study_cell_t        *cell;

    int64_t                       length;       /* as Redis told last */
    ngx_int_t                     limit;        /* lowest that uses it */
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
    ngx_uint_t first);
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


/* requests */

typedef struct {
    ngx_http_study_push_t         push;         /* first: it is cast back */
    ngx_http_request_t           *request;
    ngx_http_study_main_conf_t   *main;

    ngx_int_t                     judged;       /* of the signature headers */
    ngx_str_t                     timestamp;
    ngx_str_t                     signature;

    ngx_http_study_element_t      element;
    ngx_chain_t                  *body;
    size_t                        size;

    unsigned                      repeated:1;
} ngx_http_study_ctx_t;


/*
 * A thousand requests that wait are some megabytes, which the cache no longer
 * holds when Redis has answered.  While one is being answered, those behind
 * it are fetched, first what the push is part of, then what that leads to.
 */

#define NGX_HTTP_STUDY_AHEAD              4

static ngx_inline void
ngx_http_study_prefetch(ngx_http_study_push_t **pushes, ngx_uint_t i,
    ngx_uint_t n)
{
#if (__GNUC__)
    ngx_http_request_t  *r;

    if (i + 2 * NGX_HTTP_STUDY_AHEAD < n) {
        __builtin_prefetch(pushes[i + 2 * NGX_HTTP_STUDY_AHEAD], 1);
    }

    if (i + NGX_HTTP_STUDY_AHEAD < n && pushes[i + NGX_HTTP_STUDY_AHEAD]) {
        r = ((ngx_http_study_ctx_t *) pushes[i + NGX_HTTP_STUDY_AHEAD])
            ->request;

        __builtin_prefetch(&r->connection, 1);
        __builtin_prefetch(&r->pool, 1);
        __builtin_prefetch(&r->headers_out, 1);
        __builtin_prefetch(&r->headers_out.status, 1);
    }

    if (i + NGX_HTTP_STUDY_AHEAD / 2 < n
        && pushes[i + NGX_HTTP_STUDY_AHEAD / 2])
    {
        r = ((ngx_http_study_ctx_t *) pushes[i + NGX_HTTP_STUDY_AHEAD / 2])
            ->request;

        __builtin_prefetch(r->connection, 1);
        __builtin_prefetch(r->connection->write, 1);
        __builtin_prefetch(r->pool, 1);
    }
#endif
}


/* NGX_OK, or the status of a subrequest or another method */
ngx_int_t ngx_http_study_is_post(ngx_http_request_t *r);
ngx_http_study_ctx_t *ngx_http_study_create_ctx(ngx_http_request_t *r);
void ngx_http_study_headers(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx);

/* counts and logs, returns the status */
ngx_int_t ngx_http_study_refuse(ngx_http_request_t *r,
    ngx_http_study_outcome_e outcome, ngx_int_t status);

/* these end the request, now or later */
void ngx_http_study_push(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx);
void ngx_http_study_finish(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx,
    ngx_http_study_outcome_e outcome);
ngx_int_t ngx_http_study_answer(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *text);

ngx_int_t ngx_http_study_slack_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_study_trigger_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_study_metrics_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_study_method_not_allowed(ngx_http_request_t *r,
    const char *allow);
ngx_table_elt_t *ngx_http_study_add_header(ngx_http_request_t *r,
    const char *name, const char *value);


/* metrics */

ngx_int_t ngx_http_study_metrics_init(ngx_conf_t *cf,
    ngx_http_study_main_conf_t *smcf);
void ngx_http_study_metrics_start(ngx_http_study_main_conf_t *smcf);
void ngx_http_study_metrics_stop(ngx_http_study_main_conf_t *smcf);
const char *ngx_http_study_outcome_name(ngx_http_study_outcome_e outcome);
void ngx_http_study_metrics_state(ngx_http_study_peer_t *peer,
    ngx_http_study_state_e from, ngx_http_study_state_e to);
void ngx_http_study_metrics_length(ngx_http_study_list_t *list,
    int64_t length);
void ngx_http_study_metrics_roundtrip(ngx_http_study_peer_t *peer,
    ngx_uint_t replies);
uint64_t ngx_http_study_usec(void);

#define ngx_http_study_gauges(smcf)                                           \
    (&(smcf)->metrics->gauges[ngx_process_slot])

#define ngx_http_study_count(smcf, field)                                     \
    (void) ngx_atomic_fetch_add(&(smcf)->metrics->field, 1)


/* reading of the configuration */

char *ngx_http_study_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_study_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_study_signing_secret_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_study_trigger_token_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_study_clear_later(ngx_conf_t *cf, void *data, size_t len);
ngx_int_t ngx_http_study_init_servers(ngx_conf_t *cf,
    ngx_http_study_loc_conf_t *slcf);


extern ngx_module_t  ngx_http_study_module;


#endif /* _NGX_HTTP_STUDY_MODULE_H_INCLUDED_ */
