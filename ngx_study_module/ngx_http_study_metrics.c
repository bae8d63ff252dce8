
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Counters in shared memory and the page that shows them to Prometheus.
 *
 * Counters are added to by all workers and outlive a reload: the new
 * configuration takes over the old zone if its layout is the one this module
 * knows.  Gauges are written by one process each, in the slot that the master
 * gave it, and summed for the page; a worker zeroes its slot when it starts,
 * for the one before may have been killed.
 */


#include "ngx_http_study_module.h"

#include <hiredis/hiredis.h>


#define NGX_HTTP_STUDY_METRICS_VERSION  1


static ngx_int_t ngx_http_study_metrics_init_zone(ngx_shm_zone_t *zone,
    void *data);
static ngx_int_t ngx_http_study_metrics_cells(ngx_shm_zone_t *zone,
    ngx_http_study_main_conf_t *smcf);
static u_char *ngx_http_study_metrics_text(u_char *p, u_char *last,
    ngx_http_study_main_conf_t *smcf);
static u_char *ngx_http_study_metrics_lengths(u_char *p, u_char *last,
    ngx_http_study_main_conf_t *smcf);
static u_char *ngx_http_study_metrics_histogram(u_char *p, u_char *last,
    ngx_http_study_metrics_t *metrics);


/* in the order of ngx_http_study_outcome_e */

static const char *ngx_http_study_outcomes[] = {
    "accepted",
    "url_verification",
    "ssl_check",
    "bad_method",
    "bad_request",
    "no_signature",
    "bad_time",
    "bad_signature",
    "bad_token",
    "too_large",
    "client_closed",
    "internal_error",
    "pending_full",
    "queue_full",
    "redis_down",
    "redis_lost",
    "redis_timeout",
    "redis_loading",
    "redis_readonly",
    "redis_oom",
    "redis_misconf",
    "redis_noauth",
    "redis_wrongpass",
    "redis_noperm",
    "redis_moved",
    "redis_error"
};

typedef char  ngx_http_study_outcomes_are_complete[
    sizeof(ngx_http_study_outcomes) / sizeof(char *)
    == NGX_HTTP_STUDY_OUTCOMES ? 1 : -1];


static const char *ngx_http_study_kinds[] = {
    "event",
    "command",
    "interaction",
    "trigger"
};


static const char *ngx_http_study_states[] = {
    "closed",
    "connecting",
    "ready",
    "down"
};


/* upper bounds: as text in seconds and in microseconds */

static const struct {
    const char  *le;
    uint64_t     usec;
} ngx_http_study_bounds[NGX_HTTP_STUDY_BUCKETS] = {
    { "0.0001", 100 },
    { "0.00025", 250 },
    { "0.0005", 500 },
    { "0.001", 1000 },
    { "0.0025", 2500 },
    { "0.005", 5000 },
    { "0.01", 10000 },
    { "0.025", 25000 },
    { "0.1", 100000 },
    { "0.25", 250000 },
    { "1", 1000000 },
    { "2.5", 2500000 }
};


const char *
ngx_http_study_outcome_name(ngx_http_study_outcome_e outcome)
{
    return ngx_http_study_outcomes[outcome];
}


ngx_int_t
ngx_http_study_metrics_init(ngx_conf_t *cf, ngx_http_study_main_conf_t *smcf)
{
    ngx_str_t  name = ngx_string("study_metrics");

    smcf->zone = ngx_shared_memory_add(cf, &name, smcf->zone_size,
                                       &ngx_http_study_module);
    if (smcf->zone == NULL) {
        return NGX_ERROR;
    }

    smcf->zone->init = ngx_http_study_metrics_init_zone;
    smcf->zone->data = smcf;

    return NGX_OK;
}


static ngx_int_t
ngx_http_study_metrics_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t             *shpool;
    ngx_http_study_metrics_t    *metrics;
    ngx_http_study_main_conf_t  *smcf;

    smcf = zone->data;
    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    metrics = shpool->data;

    if (metrics
        && (metrics->version != NGX_HTTP_STUDY_METRICS_VERSION
            || metrics->size != sizeof(ngx_http_study_metrics_t)))
    {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "zone \"%V\" was made by another version of the module",
                      &zone->shm.name);
        return NGX_ERROR;
    }

    if (metrics == NULL) {
        metrics = ngx_slab_calloc(shpool, sizeof(ngx_http_study_metrics_t));
        if (metrics == NULL) {
            return NGX_ERROR;
        }

        metrics->version = NGX_HTTP_STUDY_METRICS_VERSION;
        metrics->size = sizeof(ngx_http_study_metrics_t);
        shpool->data = metrics;
    }

    smcf->metrics = metrics;

    return ngx_http_study_metrics_cells(zone, smcf);
}


/* a cell for the pending list of each server, the old one if there was one */

static ngx_int_t
ngx_http_study_metrics_cells(ngx_shm_zone_t *zone,
    ngx_http_study_main_conf_t *smcf)
{
    ngx_uint_t               i;
    ngx_slab_pool_t         *shpool;
    ngx_http_study_cell_t   *cell;
    ngx_http_study_list_t  **lists;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;
    lists = smcf->lists.elts;

    for (i = 0; i < smcf->lists.nelts; i++) {

        if (lists[i]->label.len == 0) {
            continue;
        }

        for (cell = smcf->metrics->cells; cell; cell = cell->next) {
            if (cell->len == lists[i]->label.len
                && ngx_memcmp(cell->label, lists[i]->label.data, cell->len)
                   == 0)
            {
                break;
            }
        }

        if (cell == NULL) {
            cell = ngx_slab_calloc(shpool, sizeof(ngx_http_study_cell_t)
                                           + lists[i]->label.len);
            if (cell == NULL) {
                return NGX_ERROR;
            }

            cell->len = lists[i]->label.len;
            ngx_memcpy(cell->label, lists[i]->label.data, cell->len);

            cell->next = smcf->metrics->cells;
            smcf->metrics->cells = cell;
        }

        lists[i]->cell = cell;
    }

    return NGX_OK;
}


void
ngx_http_study_metrics_start(ngx_http_study_main_conf_t *smcf)
{
    ngx_http_study_gauges_t  *gauges;

    gauges = ngx_http_study_gauges(smcf);

    ngx_memzero(gauges, sizeof(ngx_http_study_gauges_t));

    gauges->connections[NGX_HTTP_STUDY_CLOSED] = smcf->peers.nelts;
    gauges->pid = ngx_pid;
}


void
ngx_http_study_metrics_stop(ngx_http_study_main_conf_t *smcf)
{
    ngx_memzero(ngx_http_study_gauges(smcf), sizeof(ngx_http_study_gauges_t));
}


void
ngx_http_study_metrics_state(ngx_http_study_peer_t *peer,
    ngx_http_study_state_e from, ngx_http_study_state_e to)
{
    ngx_http_study_gauges_t  *gauges;

    gauges = ngx_http_study_gauges(peer->conf);

    if (gauges->connections[from]) {
        gauges->connections[from]--;
    }

    gauges->connections[to]++;
}


void
ngx_http_study_metrics_length(ngx_http_study_list_t *list, int64_t length)
{
    list->length = length;

    if (list->cell) {
        list->cell->length = (ngx_atomic_uint_t) length;
        list->cell->known = 1;
    }
}


void
ngx_http_study_metrics_roundtrip(ngx_http_study_peer_t *peer,
    ngx_uint_t replies)
{
    uint64_t                   usec;
    ngx_uint_t                 i;
    ngx_http_study_metrics_t  *metrics;

    metrics = peer->conf->metrics;
    usec = ngx_http_study_usec() - peer->flushed_usec;

    for (i = 0; i < NGX_HTTP_STUDY_BUCKETS; i++) {
        if (usec <= ngx_http_study_bounds[i].usec) {
            break;
        }
    }

    (void) ngx_atomic_fetch_add(&metrics->buckets[i], replies);
    (void) ngx_atomic_fetch_add(&metrics->roundtrip_usec, usec * replies);
}


uint64_t
ngx_http_study_usec(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


ngx_int_t
ngx_http_study_metrics_handler(ngx_http_request_t *r)
{
    size_t                       size;
    ngx_int_t                    rc;
    ngx_buf_t                   *b;
    ngx_uint_t                   i;
    ngx_chain_t                  out;
    ngx_http_study_list_t      **lists;
    ngx_http_study_main_conf_t  *smcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_study_method_not_allowed(r, "GET, HEAD");
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_study_module);

    size = 16384;
    lists = smcf->lists.elts;

    for (i = 0; i < smcf->lists.nelts; i++) {
        size += 128 + lists[i]->label.len;
    }

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_http_study_metrics_text(b->last, b->end, smcf);
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");
    r->headers_out.content_type_len = sizeof("text/plain; version=0.0.4") - 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


#define ngx_http_study_family(p, last, name, type, help)                      \
    ngx_slprintf(p, last, "# HELP " name " " help "\n# TYPE " name " " type   \
                 "\n")


static u_char *
ngx_http_study_metrics_text(u_char *p, u_char *last,
    ngx_http_study_main_conf_t *smcf)
{
    ngx_pid_t                  pid;
    ngx_uint_t                 i, n;
    ngx_http_study_gauges_t    sum;
    ngx_http_study_metrics_t  *metrics;

    metrics = smcf->metrics;

    p = ngx_http_study_family(p, last, "study_nginx_events_total", "counter",
                              "Requests by how they ended.");

    for (i = 0; i < NGX_HTTP_STUDY_OUTCOMES; i++) {
        p = ngx_slprintf(p, last,
                         "study_nginx_events_total{outcome=\"%s\"} %uA\n",
                         ngx_http_study_outcomes[i], metrics->outcomes[i]);
    }

    p = ngx_http_study_family(p, last, "study_nginx_accepted_total", "counter",
                              "Elements acknowledged by Redis.");

    for (i = 0; i < NGX_HTTP_STUDY_KINDS; i++) {
        p = ngx_slprintf(p, last,
                         "study_nginx_accepted_total{kind=\"%s\"} %uA\n",
                         ngx_http_study_kinds[i], metrics->accepted[i]);
    }

    p = ngx_http_study_family(p, last, "study_nginx_accepted_bytes_total",
                              "counter", "Bytes of the bodies in them.");
    p = ngx_slprintf(p, last, "study_nginx_accepted_bytes_total %uA\n",
                     metrics->bytes);

    p = ngx_http_study_family(p, last, "study_nginx_redis_batches_total",
                              "counter", "Batches of elements sent to Redis.");
    p = ngx_slprintf(p, last, "study_nginx_redis_batches_total %uA\n",
                     metrics->batches);

    p = ngx_http_study_family(p, last, "study_nginx_redis_reconnects_total",
                              "counter",
                              "Attempts to connect to Redis again.");
    p = ngx_slprintf(p, last, "study_nginx_redis_reconnects_total %uA\n",
                     metrics->reconnects);

    p = ngx_http_study_metrics_histogram(p, last, metrics);

    ngx_memzero(&sum, sizeof(ngx_http_study_gauges_t));

    for (i = 0; i < NGX_MAX_PROCESSES; i++) {

        pid = (ngx_pid_t) metrics->gauges[i].pid;

        /* the slot of a worker that was killed is not taken again at once */

        if (pid == 0 || (kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH)) {
            continue;
        }

        sum.pending_bytes += metrics->gauges[i].pending_bytes;
        sum.pending_elements += metrics->gauges[i].pending_elements;

        for (n = 0; n < NGX_HTTP_STUDY_STATES; n++) {
            sum.connections[n] += metrics->gauges[i].connections[n];
        }
    }

    p = ngx_http_study_family(p, last, "study_nginx_pending_bytes", "gauge",
                              "Bytes of elements without a reply.");
    p = ngx_slprintf(p, last, "study_nginx_pending_bytes %uA\n",
                     sum.pending_bytes);

    p = ngx_http_study_family(p, last, "study_nginx_pending_elements", "gauge",
                              "Elements without a reply.");
    p = ngx_slprintf(p, last, "study_nginx_pending_elements %uA\n",
                     sum.pending_elements);

    p = ngx_http_study_family(p, last, "study_nginx_redis_connections",
                              "gauge", "Connections to Redis by state.");

    for (i = 0; i < NGX_HTTP_STUDY_STATES; i++) {
        p = ngx_slprintf(p, last,
                         "study_nginx_redis_connections{state=\"%s\"} %uA\n",
                         ngx_http_study_states[i], sum.connections[i]);
    }

    p = ngx_http_study_metrics_lengths(p, last, smcf);

    p = ngx_http_study_family(p, last, "study_nginx_build_info", "gauge",
                              "Versions of the module and its parts.");

    return ngx_slprintf(p, last, "study_nginx_build_info{version=\"%s\","
                        "nginx=\"%s\",hiredis=\"%d.%d.%d\"} 1\n",
                        NGX_HTTP_STUDY_VERSION, NGINX_VERSION, HIREDIS_MAJOR,
                        HIREDIS_MINOR, HIREDIS_PATCH);
}


static u_char *
ngx_http_study_metrics_lengths(u_char *p, u_char *last,
    ngx_http_study_main_conf_t *smcf)
{
    ngx_uint_t               i, k;
    ngx_http_study_list_t  **lists;

    p = ngx_http_study_family(p, last, "study_nginx_queue_length", "gauge",
                              "Length of the pending list as told last.");

    lists = smcf->lists.elts;

    for (i = 0; i < smcf->lists.nelts; i++) {

        if (lists[i]->cell == NULL || !lists[i]->cell->known) {
            continue;
        }

        /* connections that differ in other settings share a cell */

        for (k = 0; k < i; k++) {
            if (lists[k]->cell == lists[i]->cell) {
                break;
            }
        }

        if (k == i) {
            p = ngx_slprintf(p, last,
                             "study_nginx_queue_length{server=\"%V\"} %uA\n",
                             &lists[i]->label, lists[i]->cell->length);
        }
    }

    return p;
}


static u_char *
ngx_http_study_metrics_histogram(u_char *p, u_char *last,
    ngx_http_study_metrics_t *metrics)
{
    uint64_t    n, usec;
    ngx_uint_t  i;

    p = ngx_http_study_family(p, last, "study_nginx_redis_roundtrip_seconds",
                              "histogram",
                              "From the sending of a batch to each reply.");

    n = 0;

    for (i = 0; i < NGX_HTTP_STUDY_BUCKETS; i++) {
        n += metrics->buckets[i];

        p = ngx_slprintf(p, last, "study_nginx_redis_roundtrip_seconds_bucket"
                         "{le=\"%s\"} %uL\n",
                         ngx_http_study_bounds[i].le, n);
    }

    n += metrics->buckets[NGX_HTTP_STUDY_BUCKETS];
    usec = metrics->roundtrip_usec;

    return ngx_slprintf(p, last, "study_nginx_redis_roundtrip_seconds_bucket"
                        "{le=\"+Inf\"} %uL\n"
                        "study_nginx_redis_roundtrip_seconds_sum %uL.%06uL\n"
                        "study_nginx_redis_roundtrip_seconds_count %uL\n",
                        n, usec / 1000000, usec % 1000000, n);
}
