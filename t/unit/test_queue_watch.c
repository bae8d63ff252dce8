/* ingest/queue: waking, whether a mark has been passed, lengths. */
#include <poll.h>

#include "base/clock.h"
#include "queue_server.h"

/* --- waking --- */

static bool wait_woken(struct queue *q, int ms)
{
    int64_t until = clock_boot_ms() + ms;

    while (clock_boot_ms() < until) {
        struct pollfd fds[QUEUE_FDS];
        int peeks[QUEUE_FDS], n;

        queue_arm(q);
        n = queue_fds(q, peeks);
        for (int i = 0; i < n; i++) {
            fds[i] = (struct pollfd){.fd = peeks[i], .events = POLLIN};
        }
        poll(fds, (nfds_t)n, 50);
        if (queue_woken(q)) {
            return true;
        }
    }
    return false;
}

static void wakes_all_and_moves_nothing(void **state)
{
    struct queue *q = create(), *other = create();

    (void)state;
    assert_false(wait_woken(q, 200));
    assert_false(wait_woken(other, 200));
    assert_true(queue_arm(q));
    push("pending", 1, 1);
    assert_true(wait_woken(q, 10000));
    assert_true(wait_woken(other, 10000));
    assert_int_equal(LENGTH("pending"), 1);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 1);
    ack(q, true);
    assert_int_equal(fetch(other)->count, 0);
    push("control", 2, 2);
    assert_true(wait_woken(other, 10000));
    assert_batch(fetch(other), QUEUE_CONTROL, 2, 2);
    ack(other, true);
    assert_nothing_left();
    queue_destroy(&q);
    queue_destroy(&other);
}

/* --- caught up --- */

static bool caught_up(struct queue *q, struct queue_mark *mark)
{
    struct error err;
    bool yes;

    if (!queue_caught_up(q, mark, &yes, &err)) {
        fail_msg("%s", err.text);
    }
    return yes;
}

static void set_mark(struct queue *q, struct queue_mark *mark)
{
    struct error err;

    if (!queue_mark(q, mark, &err)) {
        fail_msg("%s", err.text);
    }
}

static void tells_when_it_has_caught_up(void **state)
{
    struct queue *q = create(), *other = create();
    struct queue_mark mark, late;

    (void)state;
    limits(q, 20000, 4, 1 << 20);
    set_mark(q, &mark);
    assert_true(caught_up(q, &mark)); /* nothing was there */

    push("pending", 1, 6);
    set_mark(other, &mark);
    push("pending", 7, 30); /* later than the mark */
    assert_false(caught_up(other, &mark));
    fetch(q); /* 1-4 */
    assert_false(caught_up(other, &mark));
    ack(q, true);
    assert_false(caught_up(other, &mark));
    fetch(q); /* 5-8: past the mark, in hand */
    assert_false(caught_up(other, &mark));
    set_mark(other, &late);
    ack(q, true);
    fetch(q); /* what was fetched later is not waited for */
    assert_true(caught_up(other, &mark));
    assert_false(caught_up(other, &late));
    ack(q, true);
    while (fetch(q)->count > 0) {
        ack(q, true);
    }
    assert_true(caught_up(other, &late));
    queue_destroy(&q);
    queue_destroy(&other);
}

/* Given back and taken again between two looks, under a lease with another name. */
static void is_not_fooled_by_a_release(void **state)
{
    struct queue *q = create(), *other = create();
    struct queue_mark mark;

    (void)state;
    push("pending", 1, 3);
    set_mark(other, &mark);
    fetch(q);
    assert_false(caught_up(other, &mark));
    release(q);
    fetch(q);
    assert_false(caught_up(other, &mark));
    ack(q, true);
    assert_true(caught_up(other, &mark));
    assert_nothing_left();
    queue_destroy(&q);
    queue_destroy(&other);
}

/* What was taken before the mark is given back behind one that later elements have passed. */
static void is_not_fooled_by_what_others_took(void **state)
{
    struct queue *q = create(), *other = create();
    struct queue_mark mark;

    (void)state;
    limits(q, 20000, 2, 1 << 20);
    push("pending", 1, 3);
    fetch(q); /* 1, 2 */
    set_mark(other, &mark);
    push("pending", 4, 9); /* later than the mark */
    fetch(other);          /* 3-9 */
    assert_false(caught_up(other, &mark));
    ack(other, true);
    release(q); /* 1, 2 */
    assert_false(caught_up(other, &mark));
    assert_true(mark.renewed);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 2);
    assert_false(caught_up(other, &mark));
    ack(q, true);
    assert_true(caught_up(other, &mark));
    assert_nothing_left();
    queue_destroy(&q);
    queue_destroy(&other);
}

static void hears_of_commands_given_back(void **state)
{
    struct queue *q = create(), *other = create();
    struct queue_mark mark;

    (void)state;
    push("control", 1, 1);
    fetch(q);
    set_mark(other, &mark);
    assert_false(caught_up(other, &mark));
    release(q);
    assert_true(caught_up(other, &mark));
    assert_true(mark.renewed); /* whoever waits for commands looks at them again */
    assert_batch(fetch(q), QUEUE_CONTROL, 1, 1);
    ack(q, true);
    assert_nothing_left();
    queue_destroy(&q);
    queue_destroy(&other);
}

static void waits_for_suspects(void **state)
{
    struct queue *q = create(), *other = create();
    struct queue_mark mark;

    (void)state;
    limits(q, 1, 512, 1 << 20);
    push("pending", 1, 2);
    set_mark(other, &mark);
    fetch(q);
    assert_false(caught_up(other, &mark));
    server_sleep_ms(20);
    reap(other);
    assert_false(caught_up(other, &mark));
    assert_batch(fetch(other), QUEUE_SUSPECT, 1, 1);
    ack(other, true);
    assert_batch(fetch(other), QUEUE_SUSPECT, 2, 2);
    assert_false(caught_up(other, &mark)); /* none is in the list, one in hand */
    ack(other, true);
    assert_true(caught_up(other, &mark));
    queue_destroy(&q);
    queue_destroy(&other);
}

static void tells_the_lengths(void **state)
{
    struct queue *q = create();
    struct queue_lengths l;
    struct error err;

    (void)state;
    assert_true(queue_lengths(q, &l, &err));
    assert_int_equal(l.oldest_ms, 0);
    COMMAND("RPUSH", P "pending",
            "{\"v\":1,\"kind\":\"event\",\"received_at\":1795372952123}\nbody");
    push("pending", 1, 2);
    push("control", 1, 1);
    push("suspect", 1, 1);
    assert_true(queue_lengths(q, &l, &err));
    assert_int_equal(l.list[QUEUE_PENDING], 3);
    assert_int_equal(l.list[QUEUE_CONTROL], 1);
    assert_int_equal(l.list[QUEUE_SUSPECT], 1);
    assert_int_equal(l.leased, 0);
    assert_int_equal(l.oldest_ms, 1795372952123);
    fetch(q);
    assert_true(queue_lengths(q, &l, &err));
    assert_int_equal(l.leased, 1);
    queue_destroy(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(wakes_all_and_moves_nothing, flush),
        cmocka_unit_test_setup(tells_when_it_has_caught_up, flush),
        cmocka_unit_test_setup(is_not_fooled_by_a_release, flush),
        cmocka_unit_test_setup(is_not_fooled_by_what_others_took, flush),
        cmocka_unit_test_setup(hears_of_commands_given_back, flush),
        cmocka_unit_test_setup(waits_for_suspects, flush),
        cmocka_unit_test_setup(tells_the_lengths, flush),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
