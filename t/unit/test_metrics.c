/* base/metrics over several processes, and base/log. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"

static struct text out;

static int create(void **state)
{
    struct error err;

    (void)state;
    text_init(&out, 1 << 20);
    return metrics_create(3, &err) ? 0 : -1;
}

static int detach(void **state)
{
    (void)state;
    metrics_detach_all();
    text_free(&out);
    return 0;
}

static const char *written(void)
{
    text_reset(&out);
    metrics_write(&out);
    return text_cstr(&out);
}

static void has(const char *line)
{
    if (strstr(written(), line) == NULL) {
        fail_msg("no \"%s\" in:\n%s", line, text_cstr(&out));
    }
}

static void in_child(int slot, void (*work)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        metrics_attach(slot);
        work();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void count_two(void)
{
    metrics_add(METRIC_EVENTS_TOTAL, "stored", NULL, 2);
}

static void measure_low(void)
{
    metrics_set(METRIC_OUTBOX, "sent", NULL, 3);
    metrics_set(METRIC_OUTBOX, "failed", NULL, 1);
}

static void measure_high(void)
{
    metrics_clear(METRIC_OUTBOX);
    metrics_set(METRIC_OUTBOX, "sent", NULL, 8);
}

static void observe_some(void)
{
    metrics_observe(METRIC_BATCH_SIZE, NULL, 1);
    metrics_observe(METRIC_BATCH_SIZE, NULL, 3);
    metrics_observe(METRIC_BATCH_SIZE, NULL, 5000);
}

static void counters_add_up(void **state)
{
    (void)state;
    in_child(0, count_two);
    in_child(1, count_two);
    in_child(1, count_two); /* a restarted process goes on in its slot */
    assert_true(metrics_sum(METRIC_EVENTS_TOTAL, "stored", NULL) == 6);
    has("# TYPE study_worker_events_total counter\n");
    has("\nstudy_worker_events_total{outcome=\"stored\"} 6\n");
}

static void the_largest_gauge_counts(void **state)
{
    (void)state;
    in_child(0, measure_low);
    in_child(1, measure_high);
    assert_true(metrics_sum(METRIC_OUTBOX, "sent", NULL) == 8);
    has("study_worker_outbox{state=\"failed\"} 1\n");
    in_child(0, measure_high); /* clears "failed" */
    assert_null(strstr(written(), "failed"));
}

static void histograms(void **state)
{
    (void)state;
    in_child(0, observe_some);
    in_child(2, observe_some);
    has("study_worker_batch_size_bucket{le=\"1\"} 2\n");
    has("study_worker_batch_size_bucket{le=\"4\"} 4\n");
    has("study_worker_batch_size_bucket{le=\"512\"} 4\n");
    has("study_worker_batch_size_bucket{le=\"+Inf\"} 6\n");
    has("study_worker_batch_size_sum 10008\n");
    has("study_worker_batch_size_count 6\n");
}

static void labels_are_escaped_and_cut(void **state)
{
    char long_label[200];

    (void)state;
    memset(long_label, 'm', sizeof(long_label) - 1);
    long_label[sizeof(long_label) - 1] = '\0';
    metrics_attach(0);
    metrics_add(METRIC_TOKENS_TOTAL, "a\"b\\c\n", "in", 1);
    metrics_add(METRIC_TOKENS_TOTAL, long_label, "in", 1);
    metrics_add(METRIC_TOKENS_TOTAL, long_label, "in", 1);
    metrics_set(METRIC_SCHEDULE_LAG_SECONDS, NULL, NULL, 0.25);
    has("study_worker_tokens_total{model=\"a\\\"b\\\\c\\n\",direction=\"in\"} 1\n");
    has("m\",direction=\"in\"} 2\n");
    has("study_worker_schedule_lag_seconds 0.25\n");
}

static void a_full_slot_drops_quietly(void **state)
{
    char label[20];

    (void)state;
    metrics_attach(1);
    for (int i = 0; i < 1000; i++) {
        snprintf(label, sizeof(label), "c%d", i);
        metrics_add(METRIC_HTTP_REQUESTS_TOTAL, "slack", label, 1);
    }
    has("code=\"c0\"} 1\n");
    assert_null(strstr(written(), "code=\"c999\""));
    metrics_add(METRIC_HTTP_REQUESTS_TOTAL, "slack", "c0", 1);
    has("code=\"c0\"} 2\n");
}

static void unattached_calls_do_nothing(void **state)
{
    (void)state;
    metrics_attach(-1);
    metrics_add(METRIC_EVENTS_TOTAL, "x", NULL, 1);
    metrics_observe(METRIC_BATCH_SIZE, NULL, 1);
    metrics_clear(METRIC_OUTBOX);
    assert_string_equal(written(), "");
    metrics_detach_all();
    metrics_add(METRIC_EVENTS_TOTAL, "x", NULL, 1);
    assert_string_equal(written(), "");
}

static void log_lines(void **state)
{
    char path[] = "/tmp/study-log-XXXXXX", content[8192], moved[40];
    struct error err;
    int fd = mkstemp(path);

    (void)state;
    assert_true(log_open(path, LOG_LEVEL_INFO, &err));
    log_set_role("test");
    log_debug("not this");
    log_info("one\n2026-11-22 forged line");
    log_warn("%05000d", 1);

    snprintf(moved, sizeof(moved), "%s.1", path);
    assert_int_equal(rename(path, moved), 0);
    log_error("before reopening");
    assert_true(log_reopen(&err));
    log_error("after reopening");

    ssize_t n = read(fd, content, sizeof(content) - 1);
    assert_true(n > 0);
    content[n] = '\0';
    assert_null(strstr(content, "not this"));
    assert_non_null(strstr(content, " info test["));
    assert_non_null(strstr(content, "] one 2026-11-22 forged line\n"));
    assert_non_null(strstr(content, "Z error test["));
    assert_non_null(strstr(content, "before reopening\n"));
    assert_null(strstr(content, "after reopening"));
    int lines = 0;
    for (const char *p = content; (p = strchr(p, '\n')) != NULL; p++) {
        lines++;
    }
    assert_int_equal(lines, 3);
    close(fd);

    assert_true(log_open(NULL, LOG_LEVEL_INFO, &err));
    assert_false(log_open("/nonexistent/x.log", LOG_LEVEL_INFO, &err));
    assert_non_null(strstr(err.text, "/nonexistent/x.log: No such file"));
    unlink(path);
    unlink(moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counters_add_up, create, detach),
        cmocka_unit_test_setup_teardown(the_largest_gauge_counts, create, detach),
        cmocka_unit_test_setup_teardown(histograms, create, detach),
        cmocka_unit_test_setup_teardown(labels_are_escaped_and_cut, create, detach),
        cmocka_unit_test_setup_teardown(a_full_slot_drops_quietly, create, detach),
        cmocka_unit_test_setup_teardown(unattached_calls_do_nothing, create, detach),
        cmocka_unit_test(log_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
