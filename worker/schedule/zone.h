/*
 * IANA time zones through glibc, which knows one zone at a time, in the variable TZ. zone_use sets
 * it, zone_restore gives back what was there; between the two only this header is used. A process
 * with other threads that read the environment must not call them.
 *
 * Times are Unix seconds. A local time is written as the Unix seconds that it would be in UTC.
 */
#ifndef STUDY_SCHEDULE_ZONE_H
#define STUDY_SCHEDULE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#define ZONE_NAME_MAX 64

/* Whether the system's time zone database has it. glibc takes any name, and UTC for unknown ones.
 */
bool zone_exists(const char *name);

struct zone {
    char *before; /* the TZ that was there; NULL: none */
};

void zone_use(struct zone *zone, const char *name);
void zone_restore(struct zone *zone);

/* Of the zone in use. */
int64_t zone_offset(int64_t t); /* seconds east of UTC at t */

/*
 * The first instant after t, and not after limit, from which on another offset holds; false when
 * there is none. Two changes within six hours of each other would pass for none.
 */
bool zone_next_change(int64_t t, int64_t limit, int64_t *change);

/* The first instant at which the local clock has reached `local`: of a time that exists twice the
 * first, of one that does not exist the first instant after the gap. */
int64_t zone_first(int64_t local);

/* The furthest that the local clock had ever reached by t. zone_first(l) > t just when l is more.
 */
int64_t zone_reached(int64_t t);

#endif
