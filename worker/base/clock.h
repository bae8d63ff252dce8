/* Clocks: wall time for what is written down, boot time for leases and limits, jitter for retries.
 */
#ifndef STUDY_BASE_CLOCK_H
#define STUDY_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* Unix milliseconds */
/* CLOCK_BOOTTIME: goes on while the machine sleeps, so that a woken process sees its lease gone. */
int64_t clock_boot_ms(void);

/* `attempt` from 1: min(base << (attempt - 1), max), of which the upper half is random. */
int64_t clock_backoff_ms(unsigned attempt, int64_t base_ms, int64_t max_ms);
uint64_t clock_random(void);                 /* getrandom */
void clock_random_hex(char *out, int bytes); /* 2 * bytes digits and a NUL */

#endif
