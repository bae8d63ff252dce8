
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * The servers and lists of a location, made when its configuration is merged.
 *
 * A connection's settings are its identity: locations whose settings agree in
 * all that a connection has share one, others do not.  Nothing here needs a
 * Redis, and a name that does not resolve yet is no error.
 */


#include "ngx_http_study_module.h"


#define NGX_HTTP_STUDY_RESOLV_CONF   "/etc/resolv.conf"
#define NGX_HTTP_STUDY_NAMESERVERS   3


static ngx_http_study_peer_t *ngx_http_study_peer(ngx_conf_t *cf,
    ngx_http_study_loc_conf_t *slcf, ngx_url_t *url);
static ngx_uint_t ngx_http_study_same_peer(ngx_http_study_peer_t *a,
    ngx_http_study_peer_t *b);
static ngx_int_t ngx_http_study_peer_addrs(ngx_conf_t *cf,
    ngx_http_study_peer_t *peer, ngx_url_t *url);
static ngx_resolver_t *ngx_http_study_system_resolver(ngx_conf_t *cf);
static ngx_int_t ngx_http_study_peer_tls(ngx_conf_t *cf,
    ngx_http_study_peer_t *peer);
static ngx_http_study_list_t *ngx_http_study_list(ngx_conf_t *cf,
    ngx_http_study_loc_conf_t *slcf, ngx_http_study_peer_t *peer,
    const char *name);
static ngx_int_t ngx_http_study_label(ngx_conf_t *cf,
    ngx_http_study_loc_conf_t *slcf, ngx_http_study_list_t *list);
static ngx_int_t ngx_http_study_hello(ngx_conf_t *cf,
    ngx_http_study_peer_t *peer);


ngx_int_t
ngx_http_study_init_servers(ngx_conf_t *cf, ngx_http_study_loc_conf_t *slcf)
{
    ngx_url_t              *url;
    ngx_uint_t              i;
    ngx_http_study_peer_t  *peer;

    slcf->nservers = slcf->redis->nelts;

    slcf->servers = ngx_pcalloc(cf->pool, slcf->nservers
                                          * sizeof(ngx_http_study_server_t));
    if (slcf->servers == NULL) {
        return NGX_ERROR;
    }

    url = slcf->redis->elts;

    for (i = 0; i < slcf->nservers; i++) {

        peer = ngx_http_study_peer(cf, slcf, &url[i]);
        if (peer == NULL) {
            return NGX_ERROR;
        }

        slcf->servers[i].pending = ngx_http_study_list(cf, slcf, peer,
                                                       "pending");
        slcf->servers[i].control = ngx_http_study_list(cf, slcf, peer,
                                                       "control");

        if (slcf->servers[i].pending == NULL
            || slcf->servers[i].control == NULL)
        {
            return NGX_ERROR;
        }

        if (peer->hello.len == 0) {
            peer->first = slcf->servers[i].pending;

            if (ngx_http_study_hello(cf, peer) != NGX_OK) {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


/* the connection with these settings, made if there is none yet */

static ngx_http_study_peer_t *
ngx_http_study_peer(ngx_conf_t *cf, ngx_http_study_loc_conf_t *slcf,
    ngx_url_t *url)
{
    ngx_uint_t                    i;
    ngx_http_study_peer_t        *peer, **peers;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_study_main_conf_t   *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_study_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    peer = ngx_pcalloc(cf->pool, sizeof(ngx_http_study_peer_t));
    if (peer == NULL) {
        return NULL;
    }

    peer->name = url->url;
    peer->port = url->port;
    peer->user = slcf->user;
    peer->db = slcf->db;
    peer->connect_timeout = slcf->connect_timeout;
    peer->timeout = slcf->timeout;
    peer->max_pending = slcf->max_pending;
    peer->tls = slcf->tls;
    peer->conf = smcf;
    peer->log = cf->cycle->new_log;

    if (slcf->password) {
        peer->password = *slcf->password;
    }

    if (peer->tls) {
        peer->tls_verify = slcf->tls_verify;
        peer->tls_trusted_certificate = slcf->tls_trusted_certificate;
        peer->tls_name = slcf->tls_name;
        peer->tls_certificate = slcf->tls_certificate;
        peer->tls_certificate_key = slcf->tls_certificate_key;
    }

    if (clcf->resolver && clcf->resolver->connections.nelts) {
        peer->resolver = clcf->resolver;
        peer->resolver_timeout = clcf->resolver_timeout;
    }

    peers = smcf->peers.elts;

    for (i = 0; i < smcf->peers.nelts; i++) {
        if (ngx_http_study_same_peer(peers[i], peer)) {
            return peers[i];
        }
    }

    if (ngx_http_study_peer_addrs(cf, peer, url) != NGX_OK) {
        return NULL;
    }

    if (peer->tls && ngx_http_study_peer_tls(cf, peer) != NGX_OK) {
        return NULL;
    }

    peers = ngx_array_push(&smcf->peers);
    if (peers == NULL) {
        return NULL;
    }

    *peers = peer;

    return peer;
}


static ngx_uint_t
ngx_http_study_same_peer(ngx_http_study_peer_t *a, ngx_http_study_peer_t *b)
{
    ngx_uint_t   i;
    ngx_str_t   *pairs[][2] = {
        { &a->name, &b->name },
        { &a->user, &b->user },
        { &a->password, &b->password },
        { &a->tls_trusted_certificate, &b->tls_trusted_certificate },
        { &a->tls_certificate, &b->tls_certificate },
        { &a->tls_certificate_key, &b->tls_certificate_key },
        { &a->tls_asked_name, &b->tls_name }
    };

    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i][0]->len != pairs[i][1]->len
            || ngx_memcmp(pairs[i][0]->data, pairs[i][1]->data,
                          pairs[i][0]->len)
               != 0)
        {
            return 0;
        }
    }

    return a->db == b->db
           && a->tls == b->tls
           && a->tls_verify == b->tls_verify
           && a->connect_timeout == b->connect_timeout
           && a->timeout == b->timeout
           && a->max_pending == b->max_pending
           && (!a->named
               || (a->own_resolver
                   ? b->resolver == NULL
                   : a->resolver == b->resolver
                     && a->resolver_timeout == b->resolver_timeout));
}


/*
 * The addresses of a name are looked up here too, as nginx does for any
 * server; they are what is used until a resolver has better ones.
 */

static ngx_int_t
ngx_http_study_peer_addrs(ngx_conf_t *cf, ngx_http_study_peer_t *peer,
    ngx_url_t *url)
{
    ngx_url_t  u;

    peer->host.len = url->host.len;
    peer->host.data = ngx_pnalloc(cf->pool, url->host.len + 1);
    if (peer->host.data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(peer->host.data, url->host.data, url->host.len + 1);

    peer->tls_asked_name = peer->tls_name;

    if (peer->tls && peer->tls_name.len == 0) {

        if (url->family == AF_UNIX) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"study_redis_tls_name\" is required for \"%V\"",
                          &peer->name);
            return NGX_ERROR;
        }

        peer->tls_name = peer->host;

        if (peer->host.len > 2 && peer->host.data[0] == '[') {
            peer->host.data[peer->host.len - 1] = '\0';
            peer->tls_name.data++;
            peer->tls_name.len -= 2;
        }
    }

    if (url->naddrs) {
        peer->addrs = url->addrs;
        peer->naddrs = url->naddrs;
        return NGX_OK;
    }

    peer->named = 1;

    if (peer->resolver == NULL) {
        peer->resolver = ngx_http_study_system_resolver(cf);
        peer->resolver_timeout = NGX_HTTP_STUDY_DEADLINE;
        peer->own_resolver = 1;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = url->url;
    u.default_port = 6379;

    if (ngx_parse_url(cf->pool, &u) == NGX_OK) {
        peer->addrs = u.addrs;
        peer->naddrs = u.naddrs;
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "%s in \"study_redis\" server \"%V\", "
                  "workers will try again",
                  u.err ? u.err : "no address", &peer->name);

    return NGX_OK;
}


/* without a "resolver", the name servers that the system uses */

static ngx_resolver_t *
ngx_http_study_system_resolver(ngx_conf_t *cf)
{
    FILE        *file;
    char         line[512];
    u_char      *p, *end;
    ngx_str_t    names[NGX_HTTP_STUDY_NAMESERVERS];
    ngx_uint_t   n;

    file = fopen(NGX_HTTP_STUDY_RESOLV_CONF, "re");
    if (file == NULL) {
        return NULL;
    }

    for (n = 0; n < NGX_HTTP_STUDY_NAMESERVERS; /* void */) {

        if (fgets(line, sizeof(line), file) == NULL) {
            break;
        }

        p = (u_char *) line;

        if (ngx_strncmp(p, "nameserver", 10) != 0 || (p[10] != ' '
                                                      && p[10] != '\t'))
        {
            continue;
        }

        for (p += 10; *p == ' ' || *p == '\t'; p++) { /* void */ }
        for (end = p; *end > ' '; end++) { /* void */ }

        /* an address with a zone is not for ngx_resolver */

        if (p == end || ngx_strlchr(p, end, '%')) {
            continue;
        }

        names[n].data = ngx_pnalloc(cf->pool, end - p + 3);
        if (names[n].data == NULL) {
            break;
        }

        names[n].len = ngx_sprintf(names[n].data,
                                   ngx_strlchr(p, end, ':') ? "[%*s]%Z"
                                                            : "%*s%Z",
                                   (size_t) (end - p), p)
                       - names[n].data - 1;
        n++;
    }

    (void) fclose(file);

    return n ? ngx_resolver_create(cf, names, n) : NULL;
}


static ngx_int_t
ngx_http_study_peer_tls(ngx_conf_t *cf, ngx_http_study_peer_t *peer)
{
    ngx_str_t            cert, key, ca;
    ngx_pool_cleanup_t  *cln;

    /* nginx makes these absolute, and the peer's own are to be compared */

    cert = peer->tls_certificate;
    key = peer->tls_certificate_key;
    ca = peer->tls_trusted_certificate;

    peer->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (peer->ssl == NULL) {
        return NGX_ERROR;
    }

    peer->ssl->log = cf->log;

    if (ngx_ssl_create(peer->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(peer->ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = peer->ssl;

    if (cert.len
        && ngx_ssl_certificate(cf, peer->ssl, &cert, &key, NULL) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (peer->tls_verify
        && ngx_ssl_trusted_certificate(cf, peer->ssl, &ca, 4) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_http_study_list_t *
ngx_http_study_list(ngx_conf_t *cf, ngx_http_study_loc_conf_t *slcf,
    ngx_http_study_peer_t *peer, const char *name)
{
    size_t                        n;
    u_char                       *p;
    ngx_str_t                     key;
    ngx_uint_t                    i;
    ngx_http_study_list_t        *list, **lists;
    ngx_http_study_main_conf_t   *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_study_module);

    n = slcf->key_prefix.len + ngx_strlen(name) + sizeof(":{ingest}:") - 1;

    key.data = ngx_pnalloc(cf->pool, n);
    if (key.data == NULL) {
        return NULL;
    }

    key.len = ngx_sprintf(key.data, "%V:{ingest}:%s", &slcf->key_prefix, name)
              - key.data;

    lists = smcf->lists.elts;

    for (i = 0; i < smcf->lists.nelts; i++) {
        list = lists[i];

        if (list->peer == peer && list->key.len == key.len
            && ngx_memcmp(list->key.data, key.data, key.len) == 0)
        {
            return list;
        }
    }

    list = ngx_pcalloc(cf->pool, sizeof(ngx_http_study_list_t));
    if (list == NULL) {
        return NULL;
    }

    list->peer = peer;
    list->key = key;

    n = sizeof(CRLF "$5" CRLF "RPUSH" CRLF "$" CRLF CRLF)
        + NGX_SIZE_T_LEN + key.len;

    p = ngx_pnalloc(cf->pool, 2 * n);
    if (p == NULL) {
        return NULL;
    }

    list->rpush.data = p;
    list->rpush.len = ngx_sprintf(p, CRLF "$5" CRLF "RPUSH" CRLF
                                  "$%uz" CRLF "%V" CRLF, key.len, &key)
                      - p;

    p += n;

    list->llen.data = p;
    list->llen.len = ngx_sprintf(p, "*2" CRLF "$4" CRLF "LLEN" CRLF
                                 "$%uz" CRLF "%V" CRLF, key.len, &key)
                     - p;

    if (ngx_strcmp(name, "pending") == 0
        && ngx_http_study_label(cf, slcf, list) != NGX_OK)
    {
        return NULL;
    }

    list->next = peer->lists;
    peer->lists = list;

    lists = ngx_array_push(&smcf->lists);
    if (lists == NULL) {
        return NULL;
    }

    *lists = list;

    return list;
}


/* database and prefix are told only where they are not the default */

static ngx_int_t
ngx_http_study_label(ngx_conf_t *cf, ngx_http_study_loc_conf_t *slcf,
    ngx_http_study_list_t *list)
{
    u_char                 *p;
    ngx_http_study_peer_t  *peer;

    peer = list->peer;

    p = ngx_pnalloc(cf->pool, peer->name.len + NGX_INT_T_LEN
                              + slcf->key_prefix.len + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    list->label.data = p;
    p = ngx_cpymem(p, peer->name.data, peer->name.len);

    if (peer->db) {
        p = ngx_sprintf(p, "/%i", peer->db);
    }

    if (slcf->key_prefix.len != sizeof("study") - 1
        || ngx_memcmp(slcf->key_prefix.data, "study", sizeof("study") - 1)
           != 0)
    {
        p = ngx_sprintf(p, ",%V", &slcf->key_prefix);
    }

    list->label.len = p - list->label.data;

    return NGX_OK;
}


/* what a new connection says first, with the password in it */

static ngx_int_t
ngx_http_study_hello(ngx_conf_t *cf, ngx_http_study_peer_t *peer)
{
    size_t   n;
    u_char  *p, db[NGX_INT_T_LEN];

    n = sizeof("*3" CRLF "$4" CRLF "AUTH" CRLF "$" CRLF CRLF "$" CRLF CRLF)
        + 2 * NGX_SIZE_T_LEN + peer->user.len + peer->password.len
        + sizeof("*2" CRLF "$6" CRLF "SELECT" CRLF "$" CRLF CRLF)
        + NGX_SIZE_T_LEN + NGX_INT_T_LEN
        + peer->first->llen.len;

    p = ngx_pnalloc(cf->pool, n);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_study_clear_later(cf, p, n) != NGX_OK) {
        return NGX_ERROR;
    }

    peer->hello.data = p;

    if (peer->password.len) {
        p = ngx_sprintf(p, "*%d" CRLF "$4" CRLF "AUTH" CRLF,
                        peer->user.len ? 3 : 2);

        if (peer->user.len) {
            p = ngx_sprintf(p, "$%uz" CRLF "%V" CRLF, peer->user.len,
                            &peer->user);
        }

        p = ngx_sprintf(p, "$%uz" CRLF "%V" CRLF, peer->password.len,
                        &peer->password);
        peer->nhello++;
    }

    if (peer->db) {
        n = ngx_sprintf(db, "%i", peer->db) - db;
        p = ngx_sprintf(p, "*2" CRLF "$6" CRLF "SELECT" CRLF
                        "$%uz" CRLF "%*s" CRLF, n, n, db);
        peer->nhello++;
    }

    p = ngx_cpymem(p, peer->first->llen.data, peer->first->llen.len);
    peer->nhello++;

    peer->hello.len = p - peer->hello.data;

    return NGX_OK;
}
