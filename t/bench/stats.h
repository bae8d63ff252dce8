#ifndef BENCH_STATS_H
#define BENCH_STATS_H

/*
 * Latencies, kept in a histogram of fixed size whose steps are below 0.1 % of
 * the value, so that a run of any length costs the same memory and percentiles
 * stay good to three digits. Values are nanoseconds.
 */

#include <stdint.h>

struct stats;

/* NULL without memory. */
struct stats *stats_create(void);
void stats_destroy(struct stats **s);

void stats_add(struct stats *s, uint64_t ns);

uint64_t stats_count(const struct stats *s);

/* Milliseconds; 0 when nothing was added. part: 0.5 is the median. */
double stats_min(const struct stats *s);
double stats_max(const struct stats *s);
double stats_average(const struct stats *s);
double stats_part(const struct stats *s, double part);

#endif
