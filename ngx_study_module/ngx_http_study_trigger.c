
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Triggers: a token instead of a signature, a schedule instead of a body.
 */


#include "ngx_http_study_module.h"

#include <openssl/crypto.h>


#define NGX_HTTP_STUDY_MAX_SCHEDULE  64


static ngx_uint_t ngx_http_study_authorized(ngx_http_request_t *r,
    ngx_http_study_loc_conf_t *slcf);
static ngx_int_t ngx_http_study_trigger_element(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx);
static void ngx_http_study_trigger_body(ngx_http_request_t *r);


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
