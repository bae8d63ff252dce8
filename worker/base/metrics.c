/*
 * Metrics in one shared mapping. Each process writes its own slot alone: a new series is filled
 * first and then published by raising `used` (release), and never changes its labels again; values
 * are single words. So the reader needs no lock, and a process that dies in the middle of anything
 * leaves a slot that reads well.
 *
 * Over the slots counters and histograms add up; of a gauge the largest counts, since every slot
 * that sets it speaks of the same thing.
 */
#include "base/metrics.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

#define LABEL_BYTES 128 /* a socket's path is at most 107, with "unix:" before it */
#define SERIES_MAX  160 /* of one slot */
#define BUCKETS_MAX 14
#define BUCKETS_END (-1.0)

enum type { COUNTER, GAUGE, HISTOGRAM };

struct description {
    const char *name;
    enum type type;
    const char *labels[2];
    const double *buckets; /* upper bounds, ended by BUCKETS_END */
    const char *help;
};

static const double seconds_buckets[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                         1,     2.5,  5,     10,   30,  60,   BUCKETS_END};
static const double size_buckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, BUCKETS_END};

/* clang-format off */
static const struct description descriptions[METRIC_COUNT] = {
    [METRIC_QUEUE_LENGTH] = {"study_worker_queue_length", GAUGE, {"server", "list"}, NULL, "Elements in a list of the queue."},
    [METRIC_QUEUE_OLDEST_SECONDS] = {"study_worker_queue_oldest_seconds", GAUGE, {"server"}, NULL, "Age of the element at the head of the pending list."},
    [METRIC_EVENT_STORE_SECONDS] = {"study_worker_event_store_seconds", HISTOGRAM, {NULL}, seconds_buckets, "From acceptance by nginx to the commit."},
    [METRIC_BATCH_SIZE] = {"study_worker_batch_size", HISTOGRAM, {NULL}, size_buckets, "Elements of a leased batch."},
    [METRIC_EVENTS_TOTAL] = {"study_worker_events_total", COUNTER, {"outcome"}, NULL, "Elements taken from the queue, by what became of them."},
    [METRIC_LEASE_LOST_TOTAL] = {"study_worker_lease_lost_total", COUNTER, {"role"}, NULL, "Leases and claims found to be no longer ours."},
    [METRIC_DEAD_EVENTS] = {"study_worker_dead_events", GAUGE, {NULL}, NULL, "Rows of dead_event not yet dealt with."},
    [METRIC_SCHEDULE_LAG_SECONDS] = {"study_worker_schedule_lag_seconds", GAUGE, {NULL}, NULL, "Age of the oldest due firing not yet collected."},
    [METRIC_LAST_FIRING_TIMESTAMP] = {"study_worker_last_firing_timestamp_seconds", GAUGE, {"schedule"}, NULL, "Unix time of a schedule's last firing."},
    [METRIC_RETENTION_ROWS_TOTAL] = {"study_worker_retention_rows_total", COUNTER, {"kind"}, NULL, "Rows (of notices: texts) that retention has taken away."},
    [METRIC_FIRINGS_TOTAL] = {"study_worker_firings_total", COUNTER, {"outcome"}, NULL, "Firings, by how they came about."},
    [METRIC_DIGESTS] = {"study_worker_digests", GAUGE, {"state"}, NULL, "Digests by state; finished ones of the last day only."},
    [METRIC_OUTBOX] = {"study_worker_outbox", GAUGE, {"state"}, NULL, "Replies by state; finished ones of the last day, parked ones all."},
    [METRIC_OUTBOX_OLDEST_SECONDS] = {"study_worker_outbox_oldest_seconds", GAUGE, {NULL}, NULL, "Age of the oldest reply not yet sent."},
    [METRIC_HTTP_REQUESTS_TOTAL] = {"study_worker_http_requests_total", COUNTER, {"service", "code"}, NULL, "Requests finished, by status or by what cut them short."},
    [METRIC_HTTP_REQUEST_SECONDS] = {"study_worker_http_request_seconds", HISTOGRAM, {"service"}, seconds_buckets, "Duration of requests."},
    [METRIC_RETRIES_TOTAL] = {"study_worker_retries_total", COUNTER, {"service"}, NULL, "Requests made again."},
    [METRIC_TOKENS_TOTAL] = {"study_worker_tokens_total", COUNTER, {"model", "direction"}, NULL, "Tokens that the model's host counted."},
    [METRIC_BUDGET_TOKENS] = {"study_worker_budget_tokens", GAUGE, {NULL}, NULL, "Tokens used this month (UTC), by all processes."},
    [METRIC_BUDGET_COST] = {"study_worker_budget_cost", GAUGE, {NULL}, NULL, "What they cost by prompt_price and completion_price."},
    [METRIC_BUDGET_GONE] = {"study_worker_budget_gone", GAUGE, {NULL}, NULL, "1 while digests are made without a model because the month's budget is used up."},
    [METRIC_RESTARTS_TOTAL] = {"study_worker_restarts_total", COUNTER, {"role"}, NULL, "Processes started again after they ended by themselves."},
    [METRIC_TCP_SOCKETS] = {"study_worker_tcp_sockets", GAUGE, {"state"}, NULL, "TCP sockets of this host by state."},
    [METRIC_UNSAFE] = {"study_worker_unsafe", GAUGE, {NULL}, NULL, "1 while allow_unsafe lets an unsafe Redis be used."},
    [METRIC_FEEDBACK] = {"study_worker_feedback", GAUGE, {"answer"}, NULL, "What members said of digests within the last day, by the buttons under them."},
    [METRIC_EXPORT_REQUESTS] = {"study_worker_export_requests", GAUGE, {NULL}, NULL, "Members who asked for their data and were not handed it."},
    [METRIC_PAUSED] = {"study_worker_paused", GAUGE, {"role"}, NULL, "1 while a role is paused."},
    [METRIC_BUILD_INFO] = {"study_worker_build_info", GAUGE, {"version"}, NULL, "Always 1."},
};
/* clang-format on */

struct series {
    enum metric metric;
    char labels[2][LABEL_BYTES];
    _Atomic(uint64_t) value; /* a double's bits; of a histogram its sum */
    _Atomic(uint64_t) buckets[BUCKETS_MAX];
    _Atomic(bool) present; /* a gauge that was cleared is not */
};

struct slot {
    atomic_uint used;
    bool full_told;
    struct series series[SERIES_MAX];
};

static struct slot *slots;
static int slots_count;
static struct slot *mine;

bool metrics_create(int count, struct error *err)
{
    size_t bytes = (size_t)count * sizeof(struct slot);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return error_set_errno(err, "shared memory for metrics");
    }
    slots = p;
    slots_count = count;
    return true;
}

void metrics_attach(int slot)
{
    mine = slot >= 0 && slot < slots_count ? &slots[slot] : NULL;
}

void metrics_detach_all(void)
{
    if (slots != NULL) {
        munmap(slots, (size_t)slots_count * sizeof(struct slot));
    }
    slots = NULL;
    slots_count = 0;
    mine = NULL;
}

static double load(const _Atomic(uint64_t) *bits)
{
    uint64_t raw = atomic_load_explicit(bits, memory_order_relaxed);
    double value;

    memcpy(&value, &raw, sizeof(value));
    return value;
}

static void store(_Atomic(uint64_t) *bits, double value)
{
    uint64_t raw;

    memcpy(&raw, &value, sizeof(raw));
    atomic_store_explicit(bits, raw, memory_order_relaxed);
}

/* Labels longer than their room are compared, and kept, cut. */
static bool label_is(const char *have, const char *want)
{
    return strncmp(have, want != NULL ? want : "", LABEL_BYTES - 1) == 0;
}

static struct series *series_find(struct slot *slot, enum metric m, const char *l1, const char *l2)
{
    unsigned used = atomic_load_explicit(&slot->used, memory_order_acquire);

    for (unsigned i = 0; i < used; i++) {
        struct series *s = &slot->series[i];
        if (s->metric == m && label_is(s->labels[0], l1) && label_is(s->labels[1], l2)) {
            return s;
        }
    }
    return NULL;
}

static struct series *series_mine(enum metric m, const char *l1, const char *l2)
{
    if (mine == NULL) {
        return NULL;
    }
    struct series *s = series_find(mine, m, l1, l2);
    if (s != NULL) {
        return s;
    }

    unsigned used = atomic_load_explicit(&mine->used, memory_order_relaxed);
    if (used == SERIES_MAX) {
        if (!mine->full_told) {
            mine->full_told = true;
            log_warn("metrics: no room for another series of %s", descriptions[m].name);
        }
        return NULL;
    }
    s = &mine->series[used];
    memset(s, 0, sizeof(*s));
    s->metric = m;
    strncpy(s->labels[0], l1 != NULL ? l1 : "", LABEL_BYTES - 1);
    strncpy(s->labels[1], l2 != NULL ? l2 : "", LABEL_BYTES - 1);
    atomic_store_explicit(&mine->used, used + 1, memory_order_release);
    return s;
}

void metrics_add(enum metric m, const char *l1, const char *l2, double by)
{
    struct series *s = series_mine(m, l1, l2);

    if (s != NULL) {
        store(&s->value, load(&s->value) + by);
        atomic_store_explicit(&s->present, true, memory_order_relaxed);
    }
}

void metrics_set(enum metric m, const char *l1, const char *l2, double value)
{
    struct series *s = series_mine(m, l1, l2);

    if (s != NULL) {
        store(&s->value, value);
        atomic_store_explicit(&s->present, true, memory_order_relaxed);
    }
}

void metrics_clear(enum metric m)
{
    unsigned used = mine == NULL ? 0 : atomic_load_explicit(&mine->used, memory_order_relaxed);

    for (unsigned i = 0; i < used; i++) {
        if (mine->series[i].metric == m) {
            atomic_store_explicit(&mine->series[i].present, false, memory_order_relaxed);
        }
    }
}

void metrics_observe(enum metric m, const char *l1, double value)
{
    const double *bounds = descriptions[m].buckets;
    struct series *s = series_mine(m, l1, NULL);
    size_t i = 0;

    if (s == NULL || bounds == NULL) {
        return;
    }
    while (bounds[i] >= 0 && value > bounds[i]) {
        i++;
    }
    /* Only this process writes here: no read-modify-write is needed. */
    uint64_t count = atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
    atomic_store_explicit(&s->buckets[i], count + 1, memory_order_relaxed);
    store(&s->value, load(&s->value) + value);
    atomic_store_explicit(&s->present, true, memory_order_relaxed);
}

/* One series over all slots. */
struct total {
    double value;
    uint64_t buckets[BUCKETS_MAX];
    bool present;
};

static struct total total_of(enum metric m, const char *l1, const char *l2)
{
    struct total total = {.value = 0};

    for (int i = 0; i < slots_count; i++) {
        const struct series *s = series_find(&slots[i], m, l1, l2);
        if (s == NULL || !atomic_load_explicit(&s->present, memory_order_relaxed)) {
            continue;
        }
        double value = load(&s->value);
        if (descriptions[m].type != GAUGE) {
            total.value += value;
        } else if (!total.present || value > total.value) {
            total.value = value;
        }
        for (size_t b = 0; b < BUCKETS_MAX; b++) {
            total.buckets[b] += atomic_load_explicit(&s->buckets[b], memory_order_relaxed);
        }
        total.present = true;
    }
    return total;
}

double metrics_sum(enum metric m, const char *l1, const char *l2)
{
    return total_of(m, l1, l2).value;
}

/* {name="value",...} with the text format's three escapes; `le` is the histogram's own. */
static void write_labels(struct text *out, const struct series *s, const char *le)
{
    const struct description *d = &descriptions[s->metric];
    const char *comma = "{";

    for (size_t i = 0; i < 2 && d->labels[i] != NULL; i++) {
        text_addf(out, "%s%s=\"", comma, d->labels[i]);
        for (const char *p = s->labels[i]; *p != '\0'; p++) {
            if (*p == '\n') {
                text_adds(out, "\\n");
            } else {
                text_addf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
            }
        }
        text_adds(out, "\"");
        comma = ",";
    }
    if (le != NULL) {
        text_addf(out, "%sle=\"%s\"", comma, le);
        comma = ",";
    }
    if (*comma == ',') {
        text_adds(out, "}");
    }
}

static void write_number(struct text *out, double value)
{
    if (value == floor(value) && fabs(value) < 1e15) {
        text_addf(out, " %.0f\n", value);
    } else {
        text_addf(out, " %.9g\n", value);
    }
}

static void write_histogram(struct text *out, const struct series *s, const struct total *total)
{
    const struct description *d = &descriptions[s->metric];
    uint64_t count = 0;
    char le[24];
    size_t i;

    for (i = 0; d->buckets[i] >= 0; i++) {
        count += total->buckets[i];
        snprintf(le, sizeof(le), "%g", d->buckets[i]);
        text_addf(out, "%s_bucket", d->name);
        write_labels(out, s, le);
        write_number(out, (double)count);
    }
    count += total->buckets[i];
    text_addf(out, "%s_bucket", d->name);
    write_labels(out, s, "+Inf");
    write_number(out, (double)count);
    text_addf(out, "%s_sum", d->name);
    write_labels(out, s, NULL);
    write_number(out, total->value);
    text_addf(out, "%s_count", d->name);
    write_labels(out, s, NULL);
    write_number(out, (double)count);
}

static bool seen_before(int slot, const struct series *s)
{
    for (int i = 0; i < slot; i++) {
        if (series_find(&slots[i], s->metric, s->labels[0], s->labels[1]) != NULL) {
            return true;
        }
    }
    return false;
}

static void write_series(struct text *out, const struct series *s, bool *headed)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const struct description *d = &descriptions[s->metric];
    struct total total = total_of(s->metric, s->labels[0], s->labels[1]);

    if (!total.present) {
        return;
    }
    if (!*headed) {
        text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name, types[d->type]);
        *headed = true;
    }
    if (d->type == HISTOGRAM) {
        write_histogram(out, s, &total);
        return;
    }
    text_adds(out, d->name);
    write_labels(out, s, NULL);
    write_number(out, total.value);
}

void metrics_write(struct text *out)
{
    for (enum metric m = 0; m < METRIC_COUNT; m++) {
        bool headed = false;

        for (int i = 0; i < slots_count; i++) {
            unsigned used = atomic_load_explicit(&slots[i].used, memory_order_acquire);
            for (unsigned j = 0; j < used; j++) {
                const struct series *s = &slots[i].series[j];
                if (s->metric == m && !seen_before(i, s)) {
                    write_series(out, s, &headed);
                }
            }
        }
    }
}
