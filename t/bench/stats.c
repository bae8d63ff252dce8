/*
 * A log-linear histogram: values below 2^11 ns have a cell each; above, every
 * doubling is cut into 1,024 cells.
 */

#include "stats.h"

#include <stdlib.h>

#define FINE_BITS 10
#define FINE      (1u << FINE_BITS)
#define CELLS     (FINE * (64 - FINE_BITS + 1))

struct stats {
    uint64_t count, min, max;
    double sum;
    uint64_t cells[CELLS];
};

struct stats *stats_create(void)
{
    return calloc(1, sizeof(struct stats));
}

void stats_destroy(struct stats **s)
{
    free(*s);
    *s = NULL;
}

static unsigned cell_of(uint64_t ns)
{
    if (ns < 2 * FINE) {
        return (unsigned)ns;
    }

    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - FINE_BITS;

    return shift * FINE + (unsigned)(ns >> shift);
}

/* The middle of a cell. */
static double value_of(unsigned cell)
{
    if (cell < 2 * FINE) {
        return cell;
    }

    unsigned shift = cell / FINE - 1;
    uint64_t low = (uint64_t)(cell - shift * FINE) << shift;

    return (double)low + (double)(UINT64_C(1) << shift) / 2;
}

void stats_add(struct stats *s, uint64_t ns)
{
    s->min = s->count == 0 || ns < s->min ? ns : s->min;
    s->max = ns > s->max ? ns : s->max;
    s->sum += (double)ns;
    s->count++;
    s->cells[cell_of(ns)]++;
}

uint64_t stats_count(const struct stats *s)
{
    return s->count;
}

double stats_min(const struct stats *s)
{
    return (double)s->min / 1e6;
}

double stats_max(const struct stats *s)
{
    return (double)s->max / 1e6;
}

double stats_average(const struct stats *s)
{
    return s->count > 0 ? s->sum / (double)s->count / 1e6 : 0;
}

double stats_part(const struct stats *s, double part)
{
    uint64_t want = (uint64_t)(part * (double)s->count + 0.5);
    uint64_t seen = 0;

    for (unsigned cell = 0; cell < CELLS && s->count > 0; cell++) {
        seen += s->cells[cell];
        if (s->cells[cell] > 0 && seen >= want) {
            double value = value_of(cell) / 1e6;

            return value > stats_max(s)   ? stats_max(s)
                   : value < stats_min(s) ? stats_min(s)
                                          : value;
        }
    }
    return 0;
}
