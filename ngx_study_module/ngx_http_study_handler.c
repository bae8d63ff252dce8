
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Requests and their answers.
 *
 * Everything from Slack takes one way: headers are judged, the body is read,
 * its signature is verified, the two bodies that the module answers itself
 * are looked for, and the rest is pushed.  The answer waits for Redis; until
 * then the request holds a reference to itself through the body reader's
 * count, and the push a pointer to the request, which a cleanup takes back
 * when the client goes away first.
 */


#include "ngx_http_study_module.h"

#include <openssl/crypto.h>


#define NGX_HTTP_STUDY_MAX_SCHEDULE  64


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


static ngx_int_t ngx_http_study_is_post(ngx_http_request_t *r);
static ngx_http_study_ctx_t *ngx_http_study_create_ctx(ngx_http_request_t *r);
static void ngx_http_study_headers(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx);
static ngx_uint_t ngx_http_study_is_form(ngx_http_request_t *r);
static void ngx_http_study_slack_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_study_body(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx);
static ngx_int_t ngx_http_study_flat(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx, ngx_str_t *body);
static ngx_int_t ngx_http_study_refuse(ngx_http_request_t *r,
    ngx_http_study_outcome_e outcome, ngx_int_t status);

static ngx_uint_t ngx_http_study_authorized(ngx_http_request_t *r,
    ngx_http_study_loc_conf_t *slcf);
static ngx_int_t ngx_http_study_trigger_element(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx);
static void ngx_http_study_trigger_body(ngx_http_request_t *r);

static void ngx_http_study_push(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx);
static ngx_http_variable_value_t *ngx_http_study_request_id(
    ngx_http_request_t *r, ngx_http_study_main_conf_t *smcf);
static void ngx_http_study_send(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx, ngx_http_study_outcome_e outcome);
static void ngx_http_study_pushed(ngx_http_study_push_t *push,
    ngx_http_study_outcome_e outcome, ngx_uint_t again);
static void ngx_http_study_finish(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx, ngx_http_study_outcome_e outcome);
static void ngx_http_study_cleanup(void *data);
static ngx_int_t ngx_http_study_answer(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *text);


ngx_int_t
ngx_http_study_slack_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_study_ctx_t       *ctx;
    ngx_http_study_loc_conf_t  *slcf;

    rc = ngx_http_study_is_post(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx = ngx_http_study_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_study_module);

    if (ctx->repeated) {
        ctx->judged = NGX_DECLINED;

    } else {
        ctx->judged = ngx_http_study_signature_check(&ctx->timestamp,
                                                     &ctx->signature,
                                                     ngx_time(),
                                                     slcf->tolerance);
    }

    /*
     * What is not signed is not read, but for a small form that may be
     * Slack's look at the certificate.
     */

    if (ctx->judged != NGX_OK
        && (slcf->kind == NGX_HTTP_STUDY_EVENT
            || !ngx_http_study_is_form(r)
            || r->headers_in.content_length_n < 0
            || r->headers_in.content_length_n > NGX_HTTP_STUDY_MAX_CHALLENGE))
    {
        return ngx_http_study_refuse(r, (ctx->judged == NGX_ABORT)
                                        ? NGX_HTTP_STUDY_BAD_TIME
                                        : NGX_HTTP_STUDY_NO_SIGNATURE,
                                     NGX_HTTP_UNAUTHORIZED);
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_study_slack_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* a subrequest has the headers of another request, and maybe its body */

static ngx_int_t
ngx_http_study_is_post(ngx_http_request_t *r)
{
    ngx_http_study_main_conf_t  *smcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "a subrequest cannot be accepted as an event");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method != NGX_HTTP_POST) {
        smcf = ngx_http_get_module_main_conf(r, ngx_http_study_module);
        ngx_http_study_count(smcf, outcomes[NGX_HTTP_STUDY_BAD_METHOD]);

        return ngx_http_study_method_not_allowed(r, "POST");
    }

    return NGX_OK;
}


static ngx_http_study_ctx_t *
ngx_http_study_create_ctx(ngx_http_request_t *r)
{
    ngx_http_study_ctx_t       *ctx;
    ngx_http_study_loc_conf_t  *slcf;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_study_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_study_module);

    ctx->request = r;
    ctx->main = ngx_http_get_module_main_conf(r, ngx_http_study_module);
    ctx->push.handler = ngx_http_study_pushed;
    ctx->element.kind = slcf->kind;

    if (r->headers_in.content_type) {
        ctx->element.content_type = r->headers_in.content_type->value;
    }

    ngx_http_study_headers(r, ctx);

    ngx_http_set_ctx(r, ctx, ngx_http_study_module);

    return ctx;
}


static void
ngx_http_study_headers(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx)
{
    ngx_int_t         n;
    ngx_str_t        *value, retry_num;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;
    ngx_list_part_t  *part;

#define ngx_http_study_named(h, name)                                         \
    ((h)->key.len == sizeof(name) - 1                                         \
     && ngx_memcmp((h)->lowcase_key, name, sizeof(name) - 1) == 0)

    ngx_str_null(&retry_num);

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        switch (h[i].lowcase_key[0]) {

        case 'x':
            if (ngx_http_study_named(&h[i], "x-slack-signature")) {
                value = &ctx->signature;

            } else if (ngx_http_study_named(&h[i],
                                            "x-slack-request-timestamp"))
            {
                value = &ctx->timestamp;

            } else if (ngx_http_study_named(&h[i], "x-slack-retry-num")) {
                retry_num = h[i].value;
                continue;

            } else if (ngx_http_study_named(&h[i], "x-slack-retry-reason")) {
                ctx->element.retry_reason = h[i].value;
                continue;

            } else {
                continue;
            }

            break;

        case 'i':
            if (ctx->element.kind == NGX_HTTP_STUDY_TRIGGER
                && ngx_http_study_named(&h[i], "idempotency-key"))
            {
                value = &ctx->element.idempotency_key;
                break;
            }

            continue;

        default:
            continue;
        }

        if (value->data) {
            ctx->repeated = 1;
        }

        *value = h[i].value;
    }

    /* only for the record: what is no number is 0 */

    n = (retry_num.len <= 9) ? ngx_atoi(retry_num.data, retry_num.len) : 0;
    ctx->element.retry_num = (n == NGX_ERROR) ? 0 : n;
}


static ngx_uint_t
ngx_http_study_is_form(ngx_http_request_t *r)
{
    size_t      len;
    ngx_str_t  *type;

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    type = &r->headers_in.content_type->value;
    len = sizeof("application/x-www-form-urlencoded") - 1;

    return type->len >= len
           && ngx_strncasecmp(type->data,
                              (u_char *) "application/x-www-form-urlencoded",
                              len)
              == 0
           && (type->len == len || type->data[len] == ';'
               || type->data[len] == ' ');
}


static void
ngx_http_study_slack_body(ngx_http_request_t *r)
{
    ngx_str_t                   body, challenge;
    ngx_http_study_ctx_t       *ctx;
    ngx_http_study_loc_conf_t  *slcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_study_module);
    slcf = ngx_http_get_module_loc_conf(r, ngx_http_study_module);

    if (ngx_http_study_body(r, ctx) != NGX_OK
        || ngx_http_study_flat(r, ctx, &body) != NGX_OK)
    {
        ngx_http_study_finish(r, ctx, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    /* answered without a look at the signature, for nothing of it is used */

    if (slcf->kind != NGX_HTTP_STUDY_EVENT && body.len
        && ngx_http_study_is_form(r) && ngx_http_study_ssl_check(&body))
    {
        ngx_http_study_finish(r, ctx, NGX_HTTP_STUDY_SSL_CHECK);
        return;
    }

    if (ctx->judged != NGX_OK) {
        ngx_http_study_finish(r, ctx, (ctx->judged == NGX_ABORT)
                                      ? NGX_HTTP_STUDY_BAD_TIME
                                      : NGX_HTTP_STUDY_NO_SIGNATURE);
        return;
    }

    if (ngx_http_study_signature_verify(slcf->keys->elts, slcf->keys->nelts,
                                        &ctx->timestamp, &ctx->signature,
                                        ctx->body)
        != NGX_OK)
    {
        ngx_http_study_finish(r, ctx, NGX_HTTP_STUDY_BAD_SIGNATURE);
        return;
    }

    if (slcf->kind == NGX_HTTP_STUDY_EVENT && body.len) {

        if (ngx_http_study_is_form(r) && ngx_http_study_ssl_check(&body)) {
            ngx_http_study_finish(r, ctx, NGX_HTTP_STUDY_SSL_CHECK);
            return;
        }

        if (ngx_http_study_challenge(&body, &challenge) == NGX_OK) {
            ngx_http_study_count(ctx->main,
                                 outcomes[NGX_HTTP_STUDY_URL_VERIFICATION]);
            ngx_http_finalize_request(r, ngx_http_study_answer(r, NGX_HTTP_OK,
                                                               &challenge));
            return;
        }
    }

    ngx_http_study_push(r, ctx);
}


/* the body as buffers in memory; what was spooled to disk is read back */

static ngx_int_t
ngx_http_study_body(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx)
{
    size_t        size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_uint_t    spooled;
    ngx_chain_t  *cl, *copy;

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    spooled = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        ctx->size += ngx_buf_size(cl->buf);

        if (!ngx_buf_in_memory(cl->buf) && cl->buf->in_file) {
            spooled = 1;
        }
    }

    if (!spooled) {
        ctx->body = r->request_body->bufs;
        return NGX_OK;
    }

    b = ngx_create_temp_buf(r->pool, ctx->size);
    copy = ngx_alloc_chain_link(r->pool);

    if (b == NULL || copy == NULL) {
        return NGX_ERROR;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        size = (size_t) ngx_buf_size(cl->buf);

        if (ngx_buf_in_memory(cl->buf)) {
            b->last = ngx_cpymem(b->last, cl->buf->pos, size);
            continue;
        }

        n = ngx_read_file(cl->buf->file, b->last, size, cl->buf->file_pos);

        if (n == NGX_ERROR || (size_t) n != size) {
            ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                          "could not read back a body of %uz bytes", ctx->size);
            return NGX_ERROR;
        }

        b->last += n;
    }

    copy->buf = b;
    copy->next = NULL;
    ctx->body = copy;

    return NGX_OK;
}


/* a short body in one piece; empty if it is longer */

static ngx_int_t
ngx_http_study_flat(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx,
    ngx_str_t *body)
{
    u_char       *p;
    ngx_chain_t  *cl;

    ngx_str_null(body);

    if (ctx->size == 0 || ctx->size > NGX_HTTP_STUDY_MAX_CHALLENGE) {
        return NGX_OK;
    }

    body->len = ctx->size;

    if (ctx->body->next == NULL) {
        body->data = ctx->body->buf->pos;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, ctx->size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    for (cl = ctx->body; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_study_trigger_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_table_elt_t            *h;
    ngx_http_study_ctx_t       *ctx;
    ngx_http_study_loc_conf_t  *slcf;

    rc = ngx_http_study_is_post(r);
    if (rc != NGX_OK) {
        return rc;
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_study_module);

    if (!ngx_http_study_authorized(r, slcf)) {

        h = ngx_http_study_add_header(r, "WWW-Authenticate", "Bearer");
        if (h == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        r->headers_out.www_authenticate = h;

        return ngx_http_study_refuse(r, NGX_HTTP_STUDY_BAD_TOKEN,
                                     NGX_HTTP_UNAUTHORIZED);
    }

    ctx = ngx_http_study_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_study_trigger_element(r, ctx);

    if (rc == NGX_DECLINED) {
        return ngx_http_study_refuse(r, NGX_HTTP_STUDY_BAD_REQUEST,
                                     NGX_HTTP_BAD_REQUEST);
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_study_trigger_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_study_authorized(ngx_http_request_t *r,
    ngx_http_study_loc_conf_t *slcf)
{
    u_char     digest[SHA256_DIGEST_LENGTH];
    ngx_str_t  token;

    if (r->headers_in.authorization == NULL) {
        return 0;
    }

    token = r->headers_in.authorization->value;

    if (token.len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(token.data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           != 0)
    {
        return 0;
    }

    token.data += sizeof("Bearer ") - 1;
    token.len -= sizeof("Bearer ") - 1;

    while (token.len && token.data[0] == ' ') {
        token.data++;
        token.len--;
    }

    SHA256(token.data, token.len, digest);

    return CRYPTO_memcmp(digest, slcf->token, sizeof(digest)) == 0;
}


/*
 * NGX_DECLINED: the request is not understood.  Nothing is cut or replaced
 * here, as it would be in an event's header line: two keys must not become
 * one.
 */

static ngx_int_t
ngx_http_study_trigger_element(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx)
{
    size_t      i;
    u_char      c;
    ngx_buf_t  *b;
    ngx_str_t   name, *key;

    key = &ctx->element.idempotency_key;

    if (ctx->repeated || key->len > NGX_HTTP_STUDY_MAX_IDEMPOTENCY) {
        return NGX_DECLINED;
    }

    for (i = 0; i < key->len; i++) {
        if (key->data[i] < ' ' || key->data[i] > '~') {
            return NGX_DECLINED;
        }
    }

    if (ngx_http_arg(r, (u_char *) "schedule", sizeof("schedule") - 1, &name)
        != NGX_OK
        || name.len == 0 || name.len > NGX_HTTP_STUDY_MAX_SCHEDULE)
    {
        return NGX_DECLINED;
    }

    for (i = 0; i < name.len; i++) {
        c = name.data[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
            && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.')
        {
            return NGX_DECLINED;
        }
    }

    b = ngx_create_temp_buf(r->pool, sizeof("schedule=") - 1 + name.len);
    ctx->body = ngx_alloc_chain_link(r->pool);

    if (b == NULL || ctx->body == NULL) {
        return NGX_ERROR;
    }

    b->last = ngx_cpymem(b->last, "schedule=", sizeof("schedule=") - 1);
    b->last = ngx_cpymem(b->last, name.data, name.len);

    ctx->body->buf = b;
    ctx->body->next = NULL;
    ctx->size = b->last - b->pos;

    ngx_str_set(&ctx->element.content_type,
                "application/x-www-form-urlencoded");

    return NGX_OK;
}


/* read because it may be there; a trigger has nothing to say in it */

static void
ngx_http_study_trigger_body(ngx_http_request_t *r)
{
    ngx_http_study_push(r, ngx_http_get_module_ctx(r, ngx_http_study_module));
}


static void
ngx_http_study_push(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx)
{
    ngx_time_t                 *tp;
    ngx_http_cleanup_t         *cln;
    ngx_http_variable_value_t  *id;

    id = ngx_http_study_request_id(r, ctx->main);
    cln = ngx_http_cleanup_add(r, 0);

    if (id == NULL || cln == NULL) {
        ngx_http_study_finish(r, ctx, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    cln->handler = ngx_http_study_cleanup;
    cln->data = ctx;

    tp = ngx_timeofday();

    ctx->element.received_at = (uint64_t) tp->sec * 1000 + tp->msec;
    ctx->element.request_id.len = id->len;
    ctx->element.request_id.data = id->data;

    ctx->push.deadline = ngx_current_msec + NGX_HTTP_STUDY_DEADLINE;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_study_send(r, ctx, NGX_HTTP_STUDY_REDIS_DOWN);
}


/*
 * $request_id, as nginx' logs may show it.  Where nobody has asked for it yet
 * it is set here: nginx would take it from RAND_bytes(), which is more than a
 * quarter of what the whole module costs, and all that it has to be is
 * different.  The generator is xoshiro256** (Blackman and Vigna).
 */

static ngx_http_variable_value_t *
ngx_http_study_request_id(ngx_http_request_t *r,
    ngx_http_study_main_conf_t *smcf)
{
    u_char                     *p, raw[16];
    uint64_t                    n, t, *s;
    ngx_uint_t                  i;
    ngx_http_variable_value_t  *v;

    v = &r->variables[smcf->request_id];

    if (v->valid) {
        return v;
    }

    p = ngx_pnalloc(r->pool, 2 * sizeof(raw));
    if (p == NULL) {
        return NULL;
    }

    s = smcf->random;

    for (i = 0; i < sizeof(raw); i += sizeof(uint64_t)) {
        n = s[1] * 5;
        n = ((n << 7) | (n >> 57)) * 9;
        ngx_memcpy(&raw[i], &n, sizeof(uint64_t));

        t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = (s[3] << 45) | (s[3] >> 19);
    }

    v->data = p;
    v->len = ngx_hex_dump(p, raw, sizeof(raw)) - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return v;
}


/* gives the element to the next server, or the answer that there is none */

static void
ngx_http_study_send(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx,
    ngx_http_study_outcome_e outcome)
{
    u_char                      buf[NGX_HTTP_STUDY_HEAD_SIZE];
    ngx_str_t                   head;
    ngx_http_study_list_t      *list;
    ngx_http_study_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_study_module);

    head.data = buf;
    head.len = ngx_http_study_element_head(buf, &ctx->element) - buf;

    list = ngx_http_study_redis_select(slcf, &ctx->push, head.len + ctx->size,
                                       &outcome);

    if (list == NULL) {
        ngx_http_study_finish(r, ctx, outcome);
        return;
    }

    if (ngx_http_study_pipeline_push(list, &ctx->push, &head, ctx->body,
                                     ctx->size)
        != NGX_OK)
    {
        ngx_http_study_finish(r, ctx, NGX_HTTP_STUDY_INTERNAL_ERROR);
    }
}


static void
ngx_http_study_pushed(ngx_http_study_push_t *push,
    ngx_http_study_outcome_e outcome, ngx_uint_t again)
{
    ngx_connection_t      *c;
    ngx_http_request_t    *r;
    ngx_http_study_ctx_t  *ctx;

    ctx = (ngx_http_study_ctx_t *) push;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (again
        && (ngx_msec_int_t) (push->deadline - ngx_current_msec) > 0)
    {
        if (again == NGX_HTTP_STUDY_AGAIN_HERE) {
            push->tried = 0;
        }

        ngx_http_study_send(r, ctx, outcome);

    } else {
        ngx_http_study_finish(r, ctx, outcome);
    }

    ngx_http_run_posted_requests(c);
}


/* refuses before the body has been read */

static ngx_int_t
ngx_http_study_refuse(ngx_http_request_t *r, ngx_http_study_outcome_e outcome,
    ngx_int_t status)
{
    ngx_http_study_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_http_study_module);

    ngx_http_study_count(smcf, outcomes[outcome]);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "study request refused: %s",
                  ngx_http_study_outcome_name(outcome));

    return status;
}


static void
ngx_http_study_finish(ngx_http_request_t *r, ngx_http_study_ctx_t *ctx,
    ngx_http_study_outcome_e outcome)
{
    ngx_int_t  status;

    switch (outcome) {

    case NGX_HTTP_STUDY_ACCEPTED:
        ngx_http_study_count(ctx->main, outcomes[outcome]);
        ngx_http_study_count(ctx->main, accepted[ctx->element.kind]);
        (void) ngx_atomic_fetch_add(&ctx->main->metrics->bytes, ctx->size);

        status = ngx_http_study_answer(r,
                                       (ctx->element.kind
                                        == NGX_HTTP_STUDY_TRIGGER)
                                       ? NGX_HTTP_ACCEPTED : NGX_HTTP_OK,
                                       NULL);
        break;

    case NGX_HTTP_STUDY_SSL_CHECK:
        ngx_http_study_count(ctx->main, outcomes[outcome]);
        status = ngx_http_study_answer(r, NGX_HTTP_OK, NULL);
        break;

    case NGX_HTTP_STUDY_NO_SIGNATURE:
    case NGX_HTTP_STUDY_BAD_TIME:
    case NGX_HTTP_STUDY_BAD_SIGNATURE:
        status = ngx_http_study_refuse(r, outcome, NGX_HTTP_UNAUTHORIZED);
        break;

    case NGX_HTTP_STUDY_INTERNAL_ERROR:
        status = ngx_http_study_refuse(r, outcome,
                                       NGX_HTTP_INTERNAL_SERVER_ERROR);
        break;

    default:
        status = ngx_http_study_refuse(r, outcome,
                                       NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    ngx_http_finalize_request(r, status);
}


static void
ngx_http_study_cleanup(void *data)
{
    ngx_http_study_ctx_t *ctx = data;

    if (ctx->push.batch) {
        ngx_http_study_pipeline_cancel(&ctx->push);
        ngx_http_study_count(ctx->main,
                             outcomes[NGX_HTTP_STUDY_CLIENT_CLOSED]);
    }
}


static ngx_int_t
ngx_http_study_answer(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *text)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;

    if (text == NULL || text->len == 0) {
        r->headers_out.content_length_n = 0;
        r->header_only = 1;

        return ngx_http_send_header(r);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = text->data;
    b->last = text->data + text->len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.content_length_n = text->len;
    ngx_str_set(&r->headers_out.content_type, "text/plain");
    r->headers_out.content_type_len = sizeof("text/plain") - 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_study_method_not_allowed(ngx_http_request_t *r, const char *allow)
{
    if (ngx_http_study_add_header(r, "Allow", allow) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_NOT_ALLOWED;
}


ngx_table_elt_t *
ngx_http_study_add_header(ngx_http_request_t *r, const char *name,
    const char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return h;
}
