/*
 * Time zones. The local clock jumps forward (a gap) and back (an overlap). What the schedules need
 * is its running maximum, zone_reached, and that function's inverse, zone_first: both are monotone,
 * so that a gap, an overlap, half an hour (Lord Howe) and a whole missing day (Apia, 2011) all need
 * no cases of their own.
 */
#include "schedule/zone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOUR 3600
#define DAY  (24 * HOUR)
#define STEP (6 * HOUR)

bool zone_exists(const char *name)
{
    const char *dir = getenv("TZDIR");
    char path[256], magic[4] = "";
    size_t len = strlen(name);

    if (len == 0 || len > ZONE_NAME_MAX || name[0] == '/' || strstr(name, "..") != NULL ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") != len) {
        return false;
    }
    snprintf(path, sizeof(path), "%s/%s", dir != NULL ? dir : "/usr/share/zoneinfo", name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t got = fread(magic, 1, sizeof(magic), file);
    fclose(file);
    return got == sizeof(magic) && memcmp(magic, "TZif", sizeof(magic)) == 0;
}

void zone_use(struct zone *zone, const char *name)
{
    const char *before = getenv("TZ");

    zone->before = before != NULL ? strdup(before) : NULL;
    setenv("TZ", name, 1);
    tzset();
}

void zone_restore(struct zone *zone)
{
    if (zone->before != NULL) {
        setenv("TZ", zone->before, 1);
    } else {
        unsetenv("TZ");
    }
    tzset();
    free(zone->before);
    zone->before = NULL;
}

int64_t zone_offset(int64_t t)
{
    time_t at = (time_t)t;
    struct tm tm;

    return localtime_r(&at, &tm) != NULL ? tm.tm_gmtoff : 0;
}

bool zone_next_change(int64_t t, int64_t limit, int64_t *change)
{
    int64_t offset = zone_offset(t);

    for (int64_t from = t; from < limit; from += STEP) {
        int64_t to = from + STEP < limit ? from + STEP : limit;

        if (zone_offset(to) == offset) {
            continue;
        }
        while (to - from > 1) {
            int64_t middle = from + (to - from) / 2;
            if (zone_offset(middle) == offset) {
                from = middle;
            } else {
                to = middle;
            }
        }
        *change = to;
        return true;
    }
    return false;
}

int64_t zone_first(int64_t local)
{
    /* No zone is, or was, more than a day and a half from UTC. */
    int64_t from = local - 3 * DAY / 2;
    int64_t limit = local + 3 * DAY / 2;
    int64_t change;

    while (zone_next_change(from, limit, &change)) {
        int64_t t = local - zone_offset(from);
        if (t < change) {
            return t > from ? t : from;
        }
        from = change;
    }
    int64_t t = local - zone_offset(from);
    return t > from ? t : from;
}

int64_t zone_reached(int64_t t)
{
    /* No zone was ever put back by more than a day. */
    int64_t from = t - DAY - HOUR;
    int64_t most = t + zone_offset(t);
    int64_t change;

    while (zone_next_change(from, t, &change)) {
        int64_t before = change - 1 + zone_offset(from);
        most = before > most ? before : most;
        from = change;
    }
    return most;
}
