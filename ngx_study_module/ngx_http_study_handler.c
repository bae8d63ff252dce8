
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Requests of Slack.  All take one way: headers are judged, the body is read,
 * its signature is verified, the two bodies that the module answers itself
 * are looked for, and the rest is pushed.
 */


#include "ngx_http_study_module.h"


static ngx_uint_t ngx_http_study_is_form(ngx_http_request_t *r);
static void ngx_http_study_slack_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_study_body(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx);
static ngx_int_t ngx_http_study_flat(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx, ngx_str_t *body);


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
     * Slack's look at the certificate, and in HTTP/2, where some clients take
     * an answer that comes before they have sent everything for an error of
     * the stream.
     */

    if (ctx->judged != NGX_OK
        && r->http_version < NGX_HTTP_VERSION_20
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


void
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
