
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * One attempt to reach a Redis server: a name is resolved, a connection
 * opened, TLS agreed upon and the certificate checked.  Each step ends in the
 * next one or in ngx_http_study_redis_fail(); the last one is the greeting of
 * ngx_http_study_pipeline_hello().
 */


#include "ngx_http_study_module.h"


#define NGX_HTTP_STUDY_RESOLVE   2000   /* milliseconds */


static ngx_int_t ngx_http_study_redis_resolve(ngx_http_study_peer_t *peer);
static void ngx_http_study_redis_open(ngx_http_study_peer_t *peer,
    ngx_addr_t *addr);
static void ngx_http_study_redis_resolved(ngx_resolver_ctx_t *ctx);
static void ngx_http_study_redis_connecting(ngx_event_t *ev);
static void ngx_http_study_redis_connected(ngx_http_study_peer_t *peer);
static ngx_int_t ngx_http_study_redis_tls(ngx_http_study_peer_t *peer);
static void ngx_http_study_redis_handshake(ngx_connection_t *c);
static ngx_int_t ngx_http_study_redis_verify(ngx_http_study_peer_t *peer);


void
ngx_http_study_redis_attempt(ngx_http_study_peer_t *peer)
{
    if (ngx_http_study_redis_resolve(peer) == NGX_AGAIN) {
        ngx_http_study_redis_arm(peer);
        return;
    }

    if (peer->naddrs == 0) {
        ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                      "no address is known for \"%V\"", &peer->host);
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
        return;
    }

    ngx_http_study_redis_open(peer,
                              &peer->addrs[peer->addr % peer->naddrs]);
}


/*
 * NGX_AGAIN: the answer will come, or has come; NGX_DECLINED: no resolver, or
 * no name.
 */

static ngx_int_t
ngx_http_study_redis_resolve(ngx_http_study_peer_t *peer)
{
    ngx_resolver_ctx_t  *ctx;

    if (!peer->named || peer->resolver == NULL) {
        return NGX_DECLINED;
    }

    /*
     * Nobody asked for these name servers, and they may not know what the
     * hosts file does: an address that works needs none.  Once they have been
     * needed, the name has moved, and what it was before is not gone back to.
     */

    if (peer->own_resolver && peer->naddrs && peer->failures == 0
        && peer->found_len == 0)
    {
        return NGX_DECLINED;
    }

    ctx = ngx_resolve_start(peer->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_DECLINED;
    }

    ctx->name = peer->host;
    ctx->handler = ngx_http_study_redis_resolved;
    ctx->data = peer;
    ctx->timeout = ngx_min(peer->resolver_timeout, NGX_HTTP_STUDY_RESOLVE);
    ctx->cancelable = 1;

    peer->resolving = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        peer->resolving = NULL;
        return NGX_DECLINED;
    }

    return NGX_AGAIN;
}


static void
ngx_http_study_redis_resolved(ngx_resolver_ctx_t *ctx)
{
    ngx_addr_t              addr;
    ngx_resolver_addr_t    *found;
    ngx_http_study_peer_t  *peer;

    peer = ctx->data;
    peer->resolving = NULL;

    ngx_memzero(&addr, sizeof(ngx_addr_t));

    if (ctx->state) {
        ngx_log_error(NGX_LOG_ERR, &peer->log, 0,
                      "\"%V\" could not be resolved (%i: %s)",
                      &ctx->name, ctx->state,
                      ngx_resolver_strerror(ctx->state));

        if (peer->found_len) {
            addr.sockaddr = &peer->found.sockaddr;
            addr.socklen = peer->found_len;

        } else if (peer->naddrs) {
            addr = peer->addrs[peer->addr % peer->naddrs];
        }

    } else {
        found = &ctx->addrs[peer->addr % ctx->naddrs];

        ngx_memcpy(&peer->found, found->sockaddr, found->socklen);
        peer->found_len = found->socklen;

        addr.sockaddr = &peer->found.sockaddr;
        addr.socklen = peer->found_len;
        ngx_inet_set_port(addr.sockaddr, peer->port);
    }

    ngx_resolve_name_done(ctx);

    if (addr.sockaddr == NULL) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
        return;
    }

    /* the time for connecting counts from here */

    peer->flushed_at = ngx_current_msec;

    ngx_http_study_redis_open(peer, &addr);
}


static void
ngx_http_study_redis_open(ngx_http_study_peer_t *peer, ngx_addr_t *addr)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_peer_connection_t   pc;

    ngx_memzero(&pc, sizeof(ngx_peer_connection_t));

    pc.sockaddr = addr->sockaddr;
    pc.socklen = addr->socklen;
    pc.name = &peer->name;
    pc.get = ngx_event_get_peer;
    pc.log = &peer->log;
    pc.log_error = NGX_ERROR_ERR;
    pc.so_keepalive = (addr->sockaddr->sa_family != AF_UNIX);

    rc = ngx_event_connect_peer(&pc);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
        return;
    }

    c = pc.connection;
    c->data = peer;
    c->idle = ngx_http_study_is_empty(peer);

    peer->connection = c;
    peer->log.connection = c->number;

    ngx_http_study_redis_arm(peer);

    peer->reader = ngx_http_study_reader_create();

    c->pool = ngx_create_pool(256, &peer->log);

    if (c->pool == NULL || peer->reader == NULL) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    if (pc.so_keepalive && ngx_tcp_nodelay(c) != NGX_OK) {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_INTERNAL_ERROR);
        return;
    }

    c->read->handler = ngx_http_study_redis_connecting;
    c->write->handler = ngx_http_study_redis_connecting;

    if (rc == NGX_OK) {
        ngx_http_study_redis_connected(peer);
    }
}


static void
ngx_http_study_redis_connecting(ngx_event_t *ev)
{
    int                     err;
    socklen_t               len;
    ngx_connection_t       *c;
    ngx_http_study_peer_t  *peer;

    c = ev->data;
    peer = c->data;

    if (c->close && ngx_http_study_is_empty(peer)) {
        ngx_http_study_redis_idle(peer);
        return;
    }

    if (!ev->write && !ev->pending_eof && !c->write->ready) {
        return;
    }

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_log_error(NGX_LOG_ERR, c->log, err, "connect() failed");
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
        return;
    }

    ngx_http_study_redis_connected(peer);
}


static void
ngx_http_study_redis_connected(ngx_http_study_peer_t *peer)
{
    if (peer->ssl) {

        if (ngx_http_study_redis_tls(peer) != NGX_OK) {
            ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
        }

        return;
    }

    peer->log.action = "greeting Redis";

    ngx_http_study_pipeline_hello(peer);
}


static ngx_int_t
ngx_http_study_redis_tls(ngx_http_study_peer_t *peer)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = peer->connection;
    peer->log.action = "SSL handshaking to Redis";

    if (ngx_ssl_create_connection(peer->ssl, c, NGX_SSL_BUFFER|NGX_SSL_CLIENT)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* an address is no name (RFC 6066, 3) */

#ifdef SSL_CTRL_SET_TLSEXT_HOSTNAME

    if (ngx_inet_addr(peer->tls_name.data, peer->tls_name.len) == INADDR_NONE
        && ngx_strlchr(peer->tls_name.data,
                       peer->tls_name.data + peer->tls_name.len, ':')
           == NULL
        && SSL_set_tlsext_host_name(c->ssl->connection,
                                    (char *) peer->tls_name.data)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, c->log, 0,
                      "SSL_set_tlsext_host_name(\"%s\") failed",
                      peer->tls_name.data);
        return NGX_ERROR;
    }

#endif

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_http_study_redis_handshake;
        return NGX_OK;
    }

    ngx_http_study_redis_handshake(c);

    return NGX_OK;
}


static void
ngx_http_study_redis_handshake(ngx_connection_t *c)
{
    ngx_http_study_peer_t  *peer;

    peer = c->data;

    if (!c->ssl->handshaked
        || (peer->tls_verify && ngx_http_study_redis_verify(peer) != NGX_OK))
    {
        ngx_http_study_redis_fail(peer, NGX_HTTP_STUDY_REDIS_DOWN);
        return;
    }

    peer->log.action = "greeting Redis";

    ngx_http_study_pipeline_hello(peer);
}


static ngx_int_t
ngx_http_study_redis_verify(ngx_http_study_peer_t *peer)
{
    long               rc;
    X509              *cert;
    ngx_int_t          match;
    ngx_connection_t  *c;

    c = peer->connection;

    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "Redis' SSL certificate verify error: (%l:%s)",
                      rc, X509_verify_cert_error_string(rc));
        return NGX_ERROR;
    }

    if (ngx_ssl_check_host(c, &peer->tls_name) == NGX_OK) {
        return NGX_OK;
    }

    /* ngx_ssl_check_host() does not look at addresses */

    cert = SSL_get_peer_certificate(c->ssl->connection);
    match = cert && X509_check_ip_asc(cert, (char *) peer->tls_name.data, 0)
                    == 1;
    X509_free(cert);

    if (!match) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "Redis' SSL certificate does not match \"%V\"",
                      &peer->tls_name);
        return NGX_ERROR;
    }

    return NGX_OK;
}
