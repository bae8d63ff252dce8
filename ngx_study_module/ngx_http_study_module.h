
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * What the files of the module share.
 *
 * ngx_http_study_module.c     directives, life cycle
 * ngx_http_study_location.c   the settings of a location, their inheritance
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


#include "ngx_http_study_redis.h"


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

void *ngx_http_study_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_study_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
char *ngx_http_study_handler(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
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
