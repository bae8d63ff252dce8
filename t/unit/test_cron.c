/*
 * schedule/cron, schedule/zone. With arguments this program prints firings
 * instead, for t/worker/cron.t, which reckons them by other means:
 *
 *   test_cron walk ZONE FROM UNTIL LINE [HOUR MINUTE]
 *
 * Unix times, one a line, FROM < t <= UNTIL; with an hour and a minute the
 * line's days at that time.
 */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "schedule/cron.h"
#include "schedule/zone.h"

static struct cron parsed(const char *line)
{
    struct cron cron;
    struct error err;

    if (!cron_parse(&cron, str_of(line), &err)) {
        fail_msg("\"%s\": %s", line, err.text);
    }
    return cron;
}

static void good_lines(void **state)
{
    struct cron cron = parsed("  5,10-12,*/30 0 1 jan,DEC\tsun ");

    (void)state;
    assert_true(cron.minutes == (1ULL << 5 | 7ULL << 10 | 1ULL << 0 | 1ULL << 30));
    assert_int_equal(cron.hours, 1);
    assert_int_equal(cron.days, 1 << 1);
    assert_int_equal(cron.months, 1 << 1 | 1 << 12);
    assert_int_equal(cron.weekdays, 1);
    assert_true(cron.either_day);
    assert_false(cron.any_hour);

    cron = parsed("0 */6 * * 7");
    assert_int_equal(cron.hours, 1 | 1 << 6 | 1 << 12 | 1 << 18);
    assert_int_equal(cron.weekdays, 1);
    assert_true(cron.any_hour);
    assert_false(cron.either_day);

    assert_int_equal(parsed("0 0 * * mon-FRI").weekdays, 0x3e);
    assert_int_equal(parsed("0 0 * * fri-7").weekdays, 0x61);
    assert_int_equal(parsed("0 0 * * 0-7").weekdays, 0x7f);
    assert_int_equal(parsed("0 0 10-20/5 * *").days, 1 << 10 | 1 << 15 | 1 << 20);
    assert_true(parsed("59 23 31 12 6").minutes == 1ULL << 59);
}

static void bad_lines(void **state)
{
    static const struct {
        const char *line, *said;
    } cases[] = {
        {"", "the minute is missing"},
        {"* * * *", "the day of week is missing"},
        {"* * * * * *", "more than five fields"},
        {"60 * * * *", "minute \"60\": 0 to 59"},
        {"-1 * * * *", "minute"},
        {"99999999999999999999 * * * *", "minute"},
        {"* 24 * * *", "hour \"24\": 0 to 23"},
        {"* * 0 * *", "day of month \"0\": 1 to 31"},
        {"* * 32 * *", "day of month"},
        {"* * * 13 *", "month \"13\": 1 to 12, names of three letters"},
        {"* * * foo *", "month \"foo\""},
        {"* * * january *", "month"},
        {"* * * * 8", "day of week \"8\": 0 to 7"},
        {"5-1 * * * *", "minute \"5-1\""},
        {"*/0 * * * *", "minute"},
        {"*/60 * * * *", "minute"},
        {"5/2 * * * *", "minute"},
        {"1, * * * *", "minute"},
        {",1 * * * *", "minute"},
        {"1-2-3 * * * *", "minute"},
        {"1--3 * * * *", "minute"},
        {"jan * * * *", "minute"},
        {"@daily", "minute"},
        {"0 0 L * *", "day of month"},
        {"0\n0 0 1 * *", "minute"},
    };
    struct cron cron;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_false(cron_parse(&cron, str_of(cases[i].line), &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        if (strstr(err.text, cases[i].said) == NULL) {
            fail_msg("\"%s\": %s", cases[i].line, err.text);
        }
    }
    assert_false(cron_parse(&cron, (struct str){"0\0 0 * * *", 10}, &err));
}

static int64_t utc(const char *text)
{
    struct tm tm = {.tm_isdst = 0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
    return timegm(&tm);
}

/* Checks that the firings after `after` (UTC) are those given (UTC). */
static void fires(const char *line, const char *zone, const char *after, const char *const *want)
{
    struct cron cron = parsed(line);
    int64_t t = utc(after), next;

    for (; *want != NULL; want++) {
        assert_true(cron_next(&cron, zone, t, &next));
        if (next != utc(*want)) {
            fail_msg("\"%s\" in %s after %" PRId64 ": %" PRId64 ", not %s", line, zone, t, next,
                     *want);
        }
        t = next;
    }
}

#define FIRES(line, zone, after, ...)                                                              \
    fires(line, zone, after, (const char *const[]){__VA_ARGS__, NULL})

static void days(void **state)
{
    (void)state;
    FIRES("30 8 * * *", "UTC", "2026-02-28 08:29", "2026-02-28 08:30", "2026-03-01 08:30");
    /* Strictly after, to the second. */
    FIRES("* * * * *", "UTC", "2026-02-28 23:59", "2026-03-01 00:00");
    FIRES("0 0 29 2 *", "UTC", "2026-01-01 00:00", "2028-02-29 00:00", "2032-02-29 00:00");
    FIRES("0 0 29 2 *", "UTC", "2096-03-01 00:00", "2104-02-29 00:00");
    FIRES("0 9 31 * *", "UTC", "2026-01-31 09:00", "2026-03-31 09:00", "2026-05-31 09:00");
    /* Either day, when both are restricted: the 13th, and Fridays. */
    FIRES("0 0 13 * FRI", "UTC", "2026-03-01 00:00", "2026-03-06 00:00", "2026-03-13 00:00",
          "2026-03-20 00:00", "2026-03-27 00:00", "2026-04-03 00:00", "2026-04-10 00:00",
          "2026-04-13 00:00");
    /* A field that begins with * is not restricted: both must match. Odd days
     * that are Mondays. */
    FIRES("0 0 */2 * MON", "UTC", "2026-03-01 00:00", "2026-03-09 00:00", "2026-03-23 00:00");
    FIRES("0 9 * * 1", "Asia/Seoul", "2026-11-22 23:59", "2026-11-23 00:00", "2026-11-30 00:00");
}

static void gaps(void **state)
{
    (void)state;
    /* 02:00 to 03:00 is missing on 8 March 2026: the first instant after is 07:00
     * UTC. */
    FIRES("30 2 * * *", "America/New_York", "2026-03-07 12:00", "2026-03-08 07:00",
          "2026-03-09 06:30");
    FIRES("0,15,30 2 * * *", "America/New_York", "2026-03-07 12:00", "2026-03-08 07:00",
          "2026-03-09 06:00");
    /* One that is there anyway is one firing with those that moved onto it. */
    FIRES("30 2,3 * * *", "America/New_York", "2026-03-08 00:00", "2026-03-08 07:00",
          "2026-03-08 07:30", "2026-03-09 06:30");
    FIRES("30 * * * *", "America/New_York", "2026-03-08 05:30", "2026-03-08 06:30",
          "2026-03-08 07:30");
    FIRES("0 */2 * * *", "America/New_York", "2026-03-08 05:00", "2026-03-08 08:00");
    /* Half an hour: 02:00 to 02:30 on 4 October 2026. */
    FIRES("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 00:00", "2026-10-03 15:30",
          "2026-10-04 15:15");
    /* A day that never was: 30 December 2011. */
    FIRES("30 8 * * *", "Pacific/Apia", "2011-12-29 00:00", "2011-12-29 18:30", "2011-12-30 10:00",
          "2011-12-30 18:30");
}

static void overlaps(void **state)
{
    (void)state;
    /* 01:00 to 02:00 comes twice on 1 November 2026. */
    FIRES("30 1 * * *", "America/New_York", "2026-10-31 12:00", "2026-11-01 05:30",
          "2026-11-02 06:30");
    FIRES("30 1 * * *", "America/New_York", "2026-11-01 06:10", "2026-11-02 06:30");
    FIRES("*/30 1 * * *", "America/New_York", "2026-11-01 04:00", "2026-11-01 05:00",
          "2026-11-01 05:30", "2026-11-02 06:00");
    FIRES("0 2 * * *", "America/New_York", "2026-10-31 12:00", "2026-11-01 07:00");
    FIRES("30 * * * *", "America/New_York", "2026-11-01 04:30", "2026-11-01 05:30",
          "2026-11-01 06:30", "2026-11-01 07:30");
    /* Half an hour: 01:30 to 02:00 comes twice on 5 April 2026. */
    FIRES("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 00:00", "2026-04-04 14:45",
          "2026-04-05 15:15");
    FIRES("*/15 * * * *", "Australia/Lord_Howe", "2026-04-04 14:30", "2026-04-04 14:45",
          "2026-04-04 15:00", "2026-04-04 15:15", "2026-04-04 15:30");
}

static void never(void **state)
{
    static const char *const lines[] = {"0 0 31 2 *", "0 0 30 2 *", "0 * 31 4,6,9,11 *",
                                        "0 0 31 FEB *"};
    int64_t next;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct cron cron = parsed(lines[i]);
        assert_false(cron_next(&cron, "America/New_York", utc("2026-01-01 00:00"), &next));
    }
}

static void zones(void **state)
{
    static const char *const good[] = {"UTC", "Asia/Seoul", "America/Argentina/Ushuaia",
                                       "Etc/GMT+5"};
    static const char *const bad[] = {
        "",         "Asia/Nowhere", "Asia",        "/etc/localtime", "../zoneinfo/UTC",
        "zone.tab", "KST-9",        "Asia/Seoul\n"};
    struct zone zone;
    char local[64];
    time_t t = (time_t)utc("2026-06-01 12:00");

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(zone_exists(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(zone_exists(bad[i]));
    }

    /* What was there is there again, a variable or none. */
    setenv("TZ", "Asia/Kathmandu", 1);
    zone_use(&zone, "Europe/Berlin");
    assert_int_equal(zone_offset(t), 7200);
    zone_restore(&zone);
    assert_string_equal(getenv("TZ"), "Asia/Kathmandu");
    strftime(local, sizeof(local), "%H:%M", localtime(&t));
    assert_string_equal(local, "17:45");

    unsetenv("TZ");
    zone_use(&zone, "Europe/Berlin");
    zone_restore(&zone);
    assert_null(getenv("TZ"));
}

/* hour, minute: NULL where the line's own are meant. */
static int walk(const char *zone, int64_t t, int64_t until, const char *line, const char *hour,
                const char *minute)
{
    struct cron cron;
    struct error err;

    if (!zone_exists(zone) || !cron_parse(&cron, str_of(line), &err)) {
        fprintf(stderr, "bad zone or line\n");
        return EXIT_FAILURE;
    }
    if (hour != NULL) {
        cron_set_time(&cron, (unsigned)atoi(hour), (unsigned)atoi(minute));
    }
    for (int64_t next; cron_next(&cron, zone, t, &next) && next <= until; t = next) {
        if (next <= t) {
            fprintf(stderr, "after %" PRId64 " comes %" PRId64 "\n", t, next);
            return EXIT_FAILURE;
        }
        printf("%" PRId64 "\n", next);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines), cmocka_unit_test(bad_lines), cmocka_unit_test(days),
        cmocka_unit_test(gaps),       cmocka_unit_test(overlaps),  cmocka_unit_test(never),
        cmocka_unit_test(zones),
    };

    if ((argc == 6 || argc == 8) && strcmp(argv[1], "walk") == 0) {
        return walk(argv[2], atoll(argv[3]), atoll(argv[4]), argv[5], argc == 8 ? argv[6] : NULL,
                    argc == 8 ? argv[7] : NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
