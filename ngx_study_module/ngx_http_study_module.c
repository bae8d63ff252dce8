
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Directives, and the module's life in a worker.
 */


#include "ngx_http_study_module.h"


static void *ngx_http_study_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_study_init_main_conf(ngx_conf_t *cf, void *conf);
static ngx_int_t ngx_http_study_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_study_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_study_init_process(ngx_cycle_t *cycle);
static void ngx_http_study_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_http_study_db_bounds = {
    ngx_conf_check_num_bounds, 0, 65535
};


static ngx_uint_t  ngx_http_study_kind_event = NGX_HTTP_STUDY_EVENT;
static ngx_uint_t  ngx_http_study_kind_command = NGX_HTTP_STUDY_COMMAND;
static ngx_uint_t  ngx_http_study_kind_interaction =
                                                   NGX_HTTP_STUDY_INTERACTION;
static ngx_uint_t  ngx_http_study_kind_trigger = NGX_HTTP_STUDY_TRIGGER;
static ngx_uint_t  ngx_http_study_kind_metrics = NGX_HTTP_STUDY_METRICS;


#define NGX_HTTP_STUDY_ANY                                                    \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF


static ngx_command_t  ngx_http_study_commands[] = {

    { ngx_string("study_events"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_study_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_study_kind_event },

    { ngx_string("study_commands"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_study_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_study_kind_command },

    { ngx_string("study_interactions"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_study_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_study_kind_interaction },

    { ngx_string("study_trigger"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_study_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_study_kind_trigger },

    { ngx_string("study_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_study_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      &ngx_http_study_kind_metrics },

    { ngx_string("study_redis"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_1MORE,
      ngx_http_study_redis,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("study_redis_user"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, user),
      NULL },

    { ngx_string("study_redis_password_file"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_http_study_password_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("study_redis_db"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, db),
      &ngx_http_study_db_bounds },

    { ngx_string("study_redis_connect_timeout"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, connect_timeout),
      NULL },

    { ngx_string("study_redis_timeout"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, timeout),
      NULL },

    { ngx_string("study_redis_max_pending"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, max_pending),
      NULL },

    { ngx_string("study_redis_tls"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tls),
      NULL },

    { ngx_string("study_redis_tls_verify"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tls_verify),
      NULL },

    { ngx_string("study_redis_tls_trusted_certificate"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tls_trusted_certificate),
      NULL },

    { ngx_string("study_redis_tls_name"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tls_name),
      NULL },

    { ngx_string("study_redis_tls_certificate"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tls_certificate),
      NULL },

    { ngx_string("study_redis_tls_certificate_key"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tls_certificate_key),
      NULL },

    { ngx_string("study_key_prefix"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, key_prefix),
      NULL },

    { ngx_string("study_queue_limit"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, queue_limit),
      NULL },

    { ngx_string("study_signing_secret_file"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_1MORE,
      ngx_http_study_signing_secret_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("study_timestamp_tolerance"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_study_loc_conf_t, tolerance),
      NULL },

    { ngx_string("study_trigger_token_file"),
      NGX_HTTP_STUDY_ANY|NGX_CONF_TAKE1,
      ngx_http_study_trigger_token_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("study_metrics_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_study_main_conf_t, zone_size),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_study_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_study_init,                   /* postconfiguration */

    ngx_http_study_create_main_conf,       /* create main configuration */
    ngx_http_study_init_main_conf,         /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_study_create_loc_conf,        /* create location configuration */
    ngx_http_study_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_http_study_module = {
    NGX_MODULE_V1,
    &ngx_http_study_module_ctx,            /* module context */
    ngx_http_study_commands,               /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_study_init_process,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_study_exit_process,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


static void *
ngx_http_study_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_study_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_study_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    smcf->zone_size = NGX_CONF_UNSET_SIZE;

    if (ngx_array_init(&smcf->peers, cf->pool, 2,
                       sizeof(ngx_http_study_peer_t *))
        != NGX_OK
        || ngx_array_init(&smcf->lists, cf->pool, 4,
                          sizeof(ngx_http_study_list_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return smcf;
}


static char *
ngx_http_study_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_study_main_conf_t *smcf = conf;

    size_t     min;
    ngx_str_t  name = ngx_string("request_id");

    ngx_conf_init_size_value(smcf->zone_size, 1024 * 1024);

    min = sizeof(ngx_http_study_metrics_t) + 16 * ngx_pagesize;

    if (smcf->zone_size < min) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"study_metrics_zone\" must be at least %uzk",
                      (min + 1023) / 1024);
        return NGX_CONF_ERROR;
    }

    smcf->request_id = ngx_http_get_variable_index(cf, &name);
    if (smcf->request_id == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_study_init(ngx_conf_t *cf)
{
    ngx_http_study_main_conf_t  *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_study_module);

    if (!smcf->used) {
        return NGX_OK;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_study_header_filter;

    return ngx_http_study_metrics_init(cf, smcf);
}


/*
 * nginx answers a body over client_max_body_size itself.  Slack would send
 * the same body again three times; this header, on an answer that is not a
 * 200, tells it not to.
 */

static ngx_int_t
ngx_http_study_header_filter(ngx_http_request_t *r)
{
    ngx_http_study_loc_conf_t   *slcf;
    ngx_http_study_main_conf_t  *smcf;

    if (r->headers_out.status != NGX_HTTP_REQUEST_ENTITY_TOO_LARGE
        || r != r->main)
    {
        return ngx_http_next_header_filter(r);
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_study_module);

    if (slcf->kind > NGX_HTTP_STUDY_TRIGGER) {
        return ngx_http_next_header_filter(r);
    }

    if (slcf->kind != NGX_HTTP_STUDY_TRIGGER
        && ngx_http_study_add_header(r, "X-Slack-No-Retry", "1") == NULL)
    {
        return NGX_ERROR;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_study_module);
    ngx_http_study_count(smcf, outcomes[NGX_HTTP_STUDY_TOO_LARGE]);

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_study_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i;
    ngx_http_study_peer_t       **peers;
    ngx_http_study_main_conf_t   *smcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_study_module);

    if (smcf == NULL || !smcf->used) {
        return NGX_OK;
    }

    ngx_http_study_metrics_start(smcf);

    peers = smcf->peers.elts;

    for (i = 0; i < smcf->peers.nelts; i++) {
        ngx_http_study_redis_start(peers[i]);
    }

    return NGX_OK;
}


static void
ngx_http_study_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i;
    ngx_http_study_peer_t       **peers;
    ngx_http_study_main_conf_t   *smcf;

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_study_module);

    if (smcf == NULL || !smcf->used) {
        return;
    }

    peers = smcf->peers.elts;

    for (i = 0; i < smcf->peers.nelts; i++) {
        ngx_http_study_redis_exit(peers[i]);
    }

    ngx_http_study_metrics_stop(smcf);
}
