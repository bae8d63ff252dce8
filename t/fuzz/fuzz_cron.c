/*
 * libFuzzer target: a cron line, after its first byte, which picks the zone. A line that parses must
 * have firings that move forward, match the line's own fields, and end.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "schedule/cron.h"
#include "schedule/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"Asia/Seoul", "America/New_York", "Europe/Berlin",
                                        "Australia/Lord_Howe", "Asia/Kathmandu"};
    int64_t t = 1741400000, next;
    struct cron cron;
    struct error err;

    if (size == 0 ||
        !cron_parse(&cron, (struct str){(const char *)data + 1, size - 1}, &err)) {
        return 0;
    }
    const char *name = names[data[0] % 5];
    for (int i = 0; i < 20 && cron_next(&cron, name, t, &next); i++) {
        struct zone zone;
        struct tm tm;

        if (next <= t || next - t > INT64_C(9) * 366 * 86400) {
            abort();
        }
        zone_use(&zone, name);
        localtime_r(&(time_t){(time_t)next}, &tm);
        zone_restore(&zone);
        /* Only a line of fixed hours may fire off its minute: at the end of a gap. */
        if ((cron.minutes >> tm.tm_min & 1) == 0 && (cron.any_hour || tm.tm_min % 30 != 0)) {
            abort();
        }
        t = next;
    }
    return 0;
}
