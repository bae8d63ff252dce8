/*
 * Metrics: one shared mapping made before fork, a slot a process, so that counting is a plain
 * store into memory that nobody else writes. The status role adds the slots up. A slot outlives
 * its process: a restarted role goes on counting in it.
 *
 * Names, types, labels and help texts stand in one table (metrics.c); label sets are small and
 * fixed, never a channel, a member or an event.
 */
#ifndef STUDY_BASE_METRICS_H
#define STUDY_BASE_METRICS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

enum metric {
    METRIC_QUEUE_LENGTH,          /* gauge {server,list} */
    METRIC_QUEUE_OLDEST_SECONDS,  /* gauge {server} */
    METRIC_EVENT_STORE_SECONDS,   /* histogram: accepted by nginx -> committed */
    METRIC_BATCH_SIZE,            /* histogram: elements */
    METRIC_EVENTS_TOTAL,          /* counter {outcome}: stored, repeated, ignored, dead ... */
    METRIC_LEASE_LOST_TOTAL,      /* counter {role} */
    METRIC_DEAD_EVENTS,           /* gauge */
    METRIC_SCHEDULE_LAG_SECONDS,  /* gauge: oldest due firing not yet collected */
    METRIC_LAST_FIRING_TIMESTAMP, /* gauge {schedule} */
    METRIC_RETENTION_ROWS_TOTAL,  /* counter {kind}: message, digest, dead_event ... */
    METRIC_FIRINGS_TOTAL,         /* counter {outcome}: fired, skipped, triggered ... */
    METRIC_DIGESTS,               /* gauge {state} */
    METRIC_OUTBOX,                /* gauge {state} */
    METRIC_OUTBOX_OLDEST_SECONDS, /* gauge */
    METRIC_HTTP_REQUESTS_TOTAL,   /* counter {service,code}: code is the status or curl's class */
    METRIC_HTTP_REQUEST_SECONDS,  /* histogram {service} */
    METRIC_RETRIES_TOTAL,         /* counter {service} */
    METRIC_TOKENS_TOTAL,          /* counter {model,direction} */
    METRIC_BUDGET_TOKENS,         /* gauge: of the month so far */
    METRIC_BUDGET_COST,           /* gauge */
    METRIC_BUDGET_GONE,           /* gauge: 1, no model until the month ends */
    METRIC_RESTARTS_TOTAL,        /* counter {role} */
    METRIC_TCP_SOCKETS,           /* gauge {state} */
    METRIC_UNSAFE,                /* gauge: allow_unsafe is in use */
    METRIC_FEEDBACK,              /* gauge {answer}: of the last day */
    METRIC_EXPORT_REQUESTS,       /* gauge: not yet handed out */
    METRIC_PAUSED,                /* gauge {role}: a pause row exists */
    METRIC_BUILD_INFO,            /* gauge {version} */
    METRIC_COUNT
};

bool metrics_create(int slots, struct error *err); /* before fork, once */
void metrics_attach(int slot);                     /* in the child; without it calls do nothing */
void metrics_detach_all(void);                     /* unmap; tests */

/* l1, l2: values of the metric's labels in the table's order, NULL where it has fewer. */
void metrics_add(enum metric m, const char *l1, const char *l2, double by);
void metrics_set(enum metric m, const char *l1, const char *l2, double value);
/* Forget every series of gauge m in this slot, before setting the current ones. */
void metrics_clear(enum metric m);
void metrics_observe(enum metric m, const char *l1, double value);
/* Over all slots: counters added up (of a histogram its sum), of a gauge the largest. */
double metrics_sum(enum metric m, const char *l1, const char *l2);

void metrics_write(struct text *out); /* Prometheus text format 0.0.4 */

#endif
