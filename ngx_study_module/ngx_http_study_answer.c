
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * From an element to its answer: the way of every request that has been found
 * good.  A request that waits for Redis is held by the count of the body's
 * reader; the push holds a pointer to the request, which a cleanup takes back
 * when the client goes away first.
 */


#include "ngx_http_study_module.h"


static ngx_http_variable_value_t *ngx_http_study_request_id(
    ngx_http_request_t *r, ngx_http_study_main_conf_t *smcf);
static void ngx_http_study_send(ngx_http_request_t *r,
    ngx_http_study_ctx_t *ctx, ngx_http_study_outcome_e outcome);
static void ngx_http_study_pushed(ngx_http_study_push_t *push,
    ngx_http_study_outcome_e outcome, ngx_uint_t again);
static void ngx_http_study_cleanup(void *data);


/* a subrequest has the headers of another request, and maybe its body */

ngx_int_t
ngx_http_study_is_post(ngx_http_request_t *r)
{
    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "a subrequest cannot be accepted as an event");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method != NGX_HTTP_POST) {
        (void) ngx_http_study_refuse(r, NGX_HTTP_STUDY_BAD_METHOD, NGX_OK);

        return ngx_http_study_method_not_allowed(r, "POST");
    }

    return NGX_OK;
}


ngx_http_study_ctx_t *
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


void
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

    if ((s[0] | s[1] | s[2] | s[3]) == 0
        && RAND_bytes((u_char *) s, sizeof(smcf->random)) != 1)
    {
        ngx_ssl_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "RAND_bytes() failed");
        return NULL;
    }

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

ngx_int_t
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


void
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


ngx_int_t
ngx_http_study_answer(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *text)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;

    /* a condition that fails would make a 412 of it */

    r->disable_not_modified = 1;

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
