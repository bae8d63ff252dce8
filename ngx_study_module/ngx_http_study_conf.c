
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Directives whose parameters are more than a value: secrets, which are read
 * out of their files, and the addresses of servers.
 *
 * Secrets are kept in the form in which they are used (keyed hash states, the
 * hash of a token) or, where Redis wants the text, as the text, and cleared
 * with the configuration's pool.
 */


#include "ngx_http_study_module.h"


static char *ngx_http_study_secret(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *secret);
static ngx_int_t ngx_http_study_read_secret(ngx_conf_t *cf, ngx_fd_t fd,
    ngx_str_t *name, ngx_str_t *secret);
static void ngx_http_study_clear(void *data);


typedef struct {
    void    *data;
    size_t   len;
} ngx_http_study_clear_t;


char *
ngx_http_study_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_study_loc_conf_t *slcf = conf;

    ngx_str_t   *value;
    ngx_url_t   *url, *other;
    ngx_uint_t   i, k;

    if (slcf->redis != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    if (cf->args->nelts - 1 > NGX_HTTP_STUDY_MAX_SERVERS) {
        return "has too many servers";
    }

    slcf->redis = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                   sizeof(ngx_url_t));
    if (slcf->redis == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        other = slcf->redis->elts;

        for (k = 0; k < slcf->redis->nelts; k++) {
            if (other[k].url.len == value[i].len
                && ngx_strcmp(other[k].url.data, value[i].data) == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate server \"%V\" in \"study_redis\"",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }
        }

        url = ngx_array_push(slcf->redis);
        if (url == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(url, sizeof(ngx_url_t));

        url->url = value[i];
        url->default_port = 6379;
        url->no_resolve = 1;

        if (ngx_parse_url(cf->pool, url) != NGX_OK || url->uri.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s in \"study_redis\" server \"%V\"",
                               url->err ? url->err : "invalid address",
                               &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_study_password_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_study_loc_conf_t *slcf = conf;

    char       *rv;
    ngx_str_t  *value, *password;

    if (slcf->password != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    password = ngx_palloc(cf->pool, sizeof(ngx_str_t));
    if (password == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    rv = ngx_http_study_secret(cf, &value[1], password);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    slcf->password = password;

    return NGX_CONF_OK;
}


char *
ngx_http_study_signing_secret_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_study_loc_conf_t *slcf = conf;

    char                  *rv;
    ngx_str_t             *value, secret;
    ngx_uint_t             i;
    ngx_http_study_key_t  *key;

    if (slcf->keys != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    slcf->keys = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                  sizeof(ngx_http_study_key_t));
    if (slcf->keys == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_study_clear_later(cf, slcf->keys->elts,
                                   (cf->args->nelts - 1)
                                   * sizeof(ngx_http_study_key_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        rv = ngx_http_study_secret(cf, &value[i], &secret);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        key = ngx_array_push(slcf->keys);
        if (key == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_http_study_key_init(key, secret.data, secret.len);
        ngx_explicit_memzero(secret.data, secret.len);
    }

    return NGX_CONF_OK;
}


char *
ngx_http_study_trigger_token_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_study_loc_conf_t *slcf = conf;

    char       *rv;
    u_char     *digest;
    ngx_str_t  *value, token;

    if (slcf->token != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    digest = ngx_palloc(cf->pool, SHA256_DIGEST_LENGTH);
    if (digest == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    rv = ngx_http_study_secret(cf, &value[1], &token);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    SHA256(token.data, token.len, digest);
    ngx_explicit_memzero(token.data, token.len);

    slcf->token = digest;

    return NGX_CONF_OK;
}


/*
 * The one line of a file that nobody but its owner and group may touch.  The
 * text is cleared with the pool; a caller that does not need it until then
 * clears it earlier.
 */

static char *
ngx_http_study_secret(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *secret)
{
    ngx_fd_t   fd;
    ngx_int_t  rc;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_CONF_ERROR;
    }

    rc = ngx_http_study_read_secret(cf, fd, name, secret);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", name);
    }

    return (rc == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_study_read_secret(ngx_conf_t *cf, ngx_fd_t fd, ngx_str_t *name,
    ngx_str_t *secret)
{
    size_t           i, len;
    u_char          *p;
    ssize_t          n;
    const char      *err;
    ngx_file_info_t  fi;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    if (!ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a regular file", name);
        return NGX_ERROR;
    }

    if (ngx_file_access(&fi) & (S_IRWXO)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" holds a secret and is accessible to others, "
                           "change its mode to 0640 or 0600",
                           name);
        return NGX_ERROR;
    }

    p = ngx_pnalloc(cf->pool, NGX_HTTP_STUDY_MAX_SECRET + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_study_clear_later(cf, p, NGX_HTTP_STUDY_MAX_SECRET + 1)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    len = 0;

    do {
        n = ngx_read_fd(fd, p + len, NGX_HTTP_STUDY_MAX_SECRET + 1 - len);

        if (n == -1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               ngx_read_fd_n " \"%V\" failed", name);
            return NGX_ERROR;
        }

        len += n;

    } while (n && len <= NGX_HTTP_STUDY_MAX_SECRET);

    err = (len > NGX_HTTP_STUDY_MAX_SECRET) ? "is too long for a secret" : NULL;

    while (len && (p[len - 1] == LF || p[len - 1] == CR || p[len - 1] == ' '
                   || p[len - 1] == '\t'))
    {
        len--;
    }

    if (len == 0) {
        err = "is empty";
    }

    for (i = 0; i < len && err == NULL; i++) {
        if (p[i] < ' ') {
            err = "must hold one line of text";
        }
    }

    if (err) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" %s", name, err);
        return NGX_ERROR;
    }

    secret->data = p;
    secret->len = len;

    return NGX_OK;
}


ngx_int_t
ngx_http_study_clear_later(ngx_conf_t *cf, void *data, size_t len)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_study_clear_t  *clear;

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_study_clear_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    clear = cln->data;
    clear->data = data;
    clear->len = len;

    cln->handler = ngx_http_study_clear;

    return NGX_OK;
}


static void
ngx_http_study_clear(void *data)
{
    ngx_http_study_clear_t *clear = data;

    ngx_explicit_memzero(clear->data, clear->len);
}
