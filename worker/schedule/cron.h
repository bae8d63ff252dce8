/*
 * Five-field cron lines, as cron(8) of Debian (Vixie) reads them, in a time zone. Pure: no clock,
 * no I/O but glibc's time zone files.
 *
 *   minute 0-59, hour 0-23, day of month 1-31, month 1-12 or JAN-DEC, day of week 0-7 or SUN-SAT
 *   (0 and 7 are Sunday); each *, a number, a range a-b, a list of those, each with a step /n. A
 *   name may stand wherever a number may.
 *
 * When both day fields are restricted a day needs to match only one of them; a field that begins
 * with * does not count as restricted, and then a day needs to match both.
 *
 * Where the clock changes: a line with fixed hours (its hour field does not begin with *) fires
 * once for a time that exists twice, and for a time that does not exist at the first instant after
 * the gap. A line with a * for hours goes by the clock in each interval: in both of the two, and
 * not at all for the missing one.
 */
#ifndef STUDY_SCHEDULE_CRON_H
#define STUDY_SCHEDULE_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct cron {
    uint64_t minutes; /* bit n: minute n */
    uint32_t hours;
    uint32_t days;    /* bit 1 to 31 */
    uint16_t months;  /* bit 1 to 12 */
    uint8_t weekdays; /* bit 0 to 6, Sunday is 0 */
    bool any_hour;    /* the hour field began with * */
    bool either_day;  /* both day fields are restricted */
};

/* ERROR_INPUT names the field and what it may hold. */
bool cron_parse(struct cron *cron, struct str line, struct error *err);

/* The same days, at one fixed time. */
void cron_set_time(struct cron *cron, unsigned hour, unsigned minute);

/*
 * The first firing strictly after `after` (Unix seconds) in the zone (which zone_exists must know).
 * False when there is none within the years that a calendar needs to repeat itself: "0 0 31 2 *".
 */
bool cron_next(const struct cron *cron, const char *zone, int64_t after, int64_t *next);

#endif
