/* schedule/due: what a plan makes of times that have passed. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "schedule/due.h"

#define T0     INT64_C(1767225600) /* 1 January 2026 00:00 UTC */
#define MINUTE 60
#define HOUR   3600

static struct due_plan *plan_of(const char *line, enum schedule_missed missed, int64_t window,
                                int64_t next_at, int64_t now)
{
    static struct due_plan plan;
    struct cron cron;
    struct error err;

    assert_true(cron_parse(&cron, str_of(line), &err));
    memset(&plan, 0xff, sizeof(plan));
    due_plan(&cron, "UTC", missed, window, next_at, now, &plan);
    return &plan;
}

/* One letter a time: fired, made up, skipped. */
static void assert_fates(const struct due_plan *plan, const char *want)
{
    char got[DUE_MAX + 1] = "";

    for (size_t i = 0; i < plan->count; i++) {
        got[i] = "fms"[plan->times[i].fate];
    }
    got[plan->count] = '\0';
    assert_string_equal(got, want);
}

static void on_time(void **state)
{
    (void)state;
    for (int missed = MISSED_LAST; missed <= MISSED_SKIP; missed++) {
        struct due_plan *plan =
            plan_of("0 * * * *", (enum schedule_missed)missed, 0, T0, T0 + DUE_TIMELY_S - 1);

        assert_fates(plan, "f");
        assert_int_equal(plan->times[0].at, T0);
        assert_int_equal(plan->next_at, T0 + HOUR);
    }
}

static void policies(void **state)
{
    int64_t now = T0 + 4 * HOUR + 10 * MINUTE;

    (void)state;
    assert_fates(plan_of("0 * * * *", MISSED_LAST, 6 * HOUR, T0, now), "ssssm");
    assert_fates(plan_of("0 * * * *", MISSED_ALL, 6 * HOUR, T0, now), "mmmmm");
    assert_fates(plan_of("0 * * * *", MISSED_SKIP, 6 * HOUR, T0, now), "sssss");
    /* Two hours and ten minutes: the edge of the window is within. */
    assert_fates(plan_of("0 * * * *", MISSED_ALL, 2 * HOUR + 10 * MINUTE, T0, now), "ssmmm");
    assert_fates(plan_of("0 * * * *", MISSED_LAST, 5 * MINUTE, T0, now), "sssss");
    /* The latest is timely: it fires, and what was missed before it is not the last. */
    now = T0 + 2 * HOUR + 30;
    assert_fates(plan_of("0 * * * *", MISSED_LAST, 6 * HOUR, T0, now), "ssf");
    assert_fates(plan_of("0 * * * *", MISSED_ALL, 6 * HOUR, T0, now), "mmf");
    assert_fates(plan_of("0 * * * *", MISSED_SKIP, 6 * HOUR, T0, now), "ssf");
}

/* A long outage comes in plans of DUE_MAX; only the very last time of all is "the last". */
static void many(void **state)
{
    int64_t now = T0 + (2 * DUE_MAX + 10) * (int64_t)MINUTE + 59;
    struct due_plan *plan = plan_of("* * * * *", MISSED_LAST, 7 * 24 * HOUR, T0, now);

    (void)state;
    for (int part = 0; part < 2; part++) {
        assert_int_equal(plan->count, DUE_MAX);
        for (size_t i = 0; i < DUE_MAX; i++) {
            assert_int_equal(plan->times[i].fate, DUE_SKIPPED);
        }
        assert_int_equal(plan->next_at, T0 + (part + 1) * DUE_MAX * MINUTE);
        plan = plan_of("* * * * *", MISSED_LAST, 7 * 24 * HOUR, plan->next_at, now);
    }
    assert_fates(plan, "ssssssssssf");
    assert_int_equal(plan->next_at, now + 1);
}

static void last_of_all(void **state)
{
    struct due_plan *plan = plan_of("0 0 30 2 *", MISSED_LAST, HOUR, T0, T0 + HOUR);

    (void)state;
    assert_fates(plan, "m");
    assert_true(plan->next_at == SCHEDULE_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_time),
        cmocka_unit_test(policies),
        cmocka_unit_test(many),
        cmocka_unit_test(last_of_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
