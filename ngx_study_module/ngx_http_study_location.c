
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * The settings of a location: what they are when nothing is said, what comes
 * from the level above, and what a handler cannot do without.
 *
 * A location with one of the handlers gets its Redis connections when its
 * configuration is merged; connections with the same settings are one, so
 * that the workers hold as few as there are different ones.
 */


#include "ngx_http_study_module.h"


static ngx_int_t ngx_http_study_complete(ngx_conf_t *cf,
    ngx_http_study_loc_conf_t *conf);


/* in the order of ngx_http_study_kind_e */

static ngx_http_handler_pt  ngx_http_study_handlers[] = {
    ngx_http_study_slack_handler,
    ngx_http_study_slack_handler,
    ngx_http_study_slack_handler,
    ngx_http_study_trigger_handler,
    ngx_http_study_metrics_handler
};


void *
ngx_http_study_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_study_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_study_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->user = { 0, NULL };
     *     conf->tls_* = { 0, NULL };
     *     conf->key_prefix = { 0, NULL };
     *     conf->servers = NULL;
     *     conf->nservers = 0;
     *     conf->next = 0;
     */

    conf->kind = NGX_CONF_UNSET_UINT;
    conf->redis = NGX_CONF_UNSET_PTR;
    conf->password = NGX_CONF_UNSET_PTR;
    conf->db = NGX_CONF_UNSET;
    conf->connect_timeout = NGX_CONF_UNSET_MSEC;
    conf->timeout = NGX_CONF_UNSET_MSEC;
    conf->max_pending = NGX_CONF_UNSET_SIZE;
    conf->tls = NGX_CONF_UNSET;
    conf->tls_verify = NGX_CONF_UNSET;
    conf->queue_limit = NGX_CONF_UNSET;
    conf->keys = NGX_CONF_UNSET_PTR;
    conf->tolerance = NGX_CONF_UNSET;
    conf->token = NGX_CONF_UNSET_PTR;

    return conf;
}


char *
ngx_http_study_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_study_loc_conf_t *prev = parent;
    ngx_http_study_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_ptr_value(conf->redis, prev->redis, NULL);
    ngx_conf_merge_str_value(conf->user, prev->user, "");
    ngx_conf_merge_ptr_value(conf->password, prev->password, NULL);
    ngx_conf_merge_value(conf->db, prev->db, 0);
    ngx_conf_merge_msec_value(conf->connect_timeout, prev->connect_timeout,
                              500);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 1500);
    ngx_conf_merge_size_value(conf->max_pending, prev->max_pending,
                              8 * 1024 * 1024);

    ngx_conf_merge_value(conf->tls, prev->tls, 0);
    ngx_conf_merge_value(conf->tls_verify, prev->tls_verify, 1);
    ngx_conf_merge_str_value(conf->tls_trusted_certificate,
                             prev->tls_trusted_certificate, "");
    ngx_conf_merge_str_value(conf->tls_name, prev->tls_name, "");
    ngx_conf_merge_str_value(conf->tls_certificate, prev->tls_certificate, "");
    ngx_conf_merge_str_value(conf->tls_certificate_key,
                             prev->tls_certificate_key, "");

    ngx_conf_merge_str_value(conf->key_prefix, prev->key_prefix, "study");
    ngx_conf_merge_value(conf->queue_limit, prev->queue_limit, 1000000);

    ngx_conf_merge_ptr_value(conf->keys, prev->keys, NULL);
    ngx_conf_merge_sec_value(conf->tolerance, prev->tolerance, 300);
    ngx_conf_merge_ptr_value(conf->token, prev->token, NULL);

    /* "if" and "limit_except" blocks do what the location around them does */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname && clcf->handler == NULL
        && prev->kind != NGX_CONF_UNSET_UINT)
    {
        conf->kind = prev->kind;

        clcf->handler = ngx_http_study_handlers[conf->kind];
    }

    if (conf->kind == NGX_CONF_UNSET_UINT
        || conf->kind == NGX_HTTP_STUDY_METRICS)
    {
        return NGX_CONF_OK;
    }

    if (ngx_http_study_complete(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* a location has all that its handler needs */

static ngx_int_t
ngx_http_study_complete(ngx_conf_t *cf, ngx_http_study_loc_conf_t *conf)
{
    ngx_uint_t                 i;
    const char                *missing;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->redis == NULL) {
        missing = "study_redis";

    } else if (conf->kind != NGX_HTTP_STUDY_TRIGGER && conf->keys == NULL) {
        missing = "study_signing_secret_file";

    } else if (conf->kind == NGX_HTTP_STUDY_TRIGGER && conf->token == NULL) {
        missing = "study_trigger_token_file";

    } else if (conf->user.len && conf->password == NULL) {
        missing = "study_redis_password_file";

    } else if (conf->tls && conf->tls_verify
               && conf->tls_trusted_certificate.len == 0)
    {
        missing = "study_redis_tls_trusted_certificate";

    } else if (conf->tls && conf->tls_certificate.len
               && conf->tls_certificate_key.len == 0)
    {
        missing = "study_redis_tls_certificate_key";

    } else {
        missing = NULL;
    }

    if (missing) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no \"%s\" is defined for location \"%V\" in %s:%ui",
                      missing, &clcf->name, cf->conf_file->file.name.data,
                      cf->conf_file->line);
        return NGX_ERROR;
    }

    if (conf->connect_timeout == 0 || conf->timeout == 0
        || conf->max_pending == 0)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"study_redis_connect_timeout\", "
                      "\"study_redis_timeout\" and "
                      "\"study_redis_max_pending\" must not be 0");
        return NGX_ERROR;
    }

    /* it becomes part of keys with a hash tag of their own */

    if (conf->key_prefix.len == 0 || conf->key_prefix.len > 64) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"study_key_prefix\" must have 1 to 64 characters");
        return NGX_ERROR;
    }

    for (i = 0; i < conf->key_prefix.len; i++) {
        if (conf->key_prefix.data[i] <= ' ' || conf->key_prefix.data[i] > '~'
            || conf->key_prefix.data[i] == '"'
            || conf->key_prefix.data[i] == '\\'
            || conf->key_prefix.data[i] == '{'
            || conf->key_prefix.data[i] == '}')
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "invalid \"study_key_prefix\" \"%V\"",
                          &conf->key_prefix);
            return NGX_ERROR;
        }
    }

    return ngx_http_study_init_servers(cf, conf);
}


char *
ngx_http_study_handler(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_study_loc_conf_t *slcf = conf;

    ngx_uint_t                  *kind;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_study_main_conf_t  *smcf;

    kind = cmd->post;

    if (slcf->kind != NGX_CONF_UNSET_UINT) {
        return (slcf->kind == *kind) ? "is duplicate"
                                     : "conflicts with another handler";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "conflicts with another handler";
    }

    slcf->kind = *kind;
    clcf->handler = ngx_http_study_handlers[*kind];

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_study_module);
    smcf->used = 1;

    return NGX_CONF_OK;
}
