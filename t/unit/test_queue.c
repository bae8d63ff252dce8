/* ingest/queue against a private redis-server: batches, leases, suspects. */
#include "queue_server.h"

static void moves_a_batch(void **state)
{
    struct queue *q = create();

    (void)state;
    assert_int_equal(fetch(q)->count, 0);
    push("pending", 1, 5);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 5);
    assert_int_equal(LENGTH("pending"), 0);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    assert_int_equal(NUMBER("GET", P "popped"), 5);
    ack(q, true);
    assert_nothing_left();
    assert_int_equal(fetch(q)->count, 0);
    queue_destroy(&q);
    assert_null(q);
}

static void acks_with_the_next_fetch(void **state)
{
    struct queue *q = create();
    struct error err;

    (void)state;
    limits(q, 20000, 3, 1 << 20);
    push("pending", 1, 6);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    queue_ack_with_fetch(q);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    COMMAND("SCRIPT", "FLUSH"); /* all of it is sent again */
    assert_batch(fetch(q), QUEUE_PENDING, 4, 6);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    assert_int_equal(NUMBER("GET", P "popped"), 6);
    queue_ack_with_fetch(q);
    assert_true(queue_settle(q, &err));
    assert_nothing_left();
    queue_ack_with_fetch(q); /* nothing in hand: nothing happens */
    assert_int_equal(fetch(q)->count, 0);
    assert_int_equal(queue_lost(q), 0);

    limits(q, 100, 3, 1 << 20);
    push("pending", 7, 9);
    assert_batch(fetch(q), QUEUE_PENDING, 7, 9);
    queue_ack_with_fetch(q);
    server_sleep_ms(150);
    assert_int_equal(reap(q), 3);
    assert_batch(fetch(q), QUEUE_SUSPECT, 7, 7);
    assert_int_equal(queue_lost(q), 1);
    assert_int_equal(queue_lost(q), 0);
    queue_destroy(&q);
}

static void serves_control_and_suspects_first(void **state)
{
    struct queue *q = create();

    (void)state;
    push("pending", 1, 2);
    push("suspect", 10, 11);
    push("control", 20, 22);
    assert_batch(fetch(q), QUEUE_CONTROL, 20, 22);
    ack(q, true);
    assert_batch(fetch(q), QUEUE_SUSPECT, 10, 10);
    ack(q, true);
    assert_batch(fetch(q), QUEUE_SUSPECT, 11, 11);
    ack(q, true);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 2);
    ack(q, true);
    assert_int_equal(NUMBER("GET", P "popped"), 2); /* of pending only */
    assert_nothing_left();
    queue_destroy(&q);
}

static void bounds_a_batch_by_count(void **state)
{
    struct queue *q = create();

    (void)state;
    limits(q, 20000, 100, 1 << 20);
    push("pending", 1, 250);
    for (int i = 0; i < 3; i++) {
        assert_batch(fetch(q), QUEUE_PENDING, 100 * i + 1, i == 2 ? 250 : 100 * i + 100);
        ack(q, true);
    }
    assert_nothing_left();
    queue_destroy(&q);
}

/* Never more than the limit, unless one alone is; nearly as much where it can
 * be; in their order. */
static void bounds_a_batch_by_bytes(void **state)
{
    enum { LIMIT = 65536, SMALL = 1000, BIG = 100000, COUNT = 200, BIG_AT = 120 };
    static char element[BIG + 1];
    struct queue *q = create();
    size_t at = 0, batches = 0;

    (void)state;
    limits(q, 20000, 512, LIMIT);
    for (int i = 0; i < COUNT; i++) {
        int len = snprintf(element, sizeof(element), "%0*d", i == BIG_AT ? BIG : SMALL, i);

        assert_int_equal(len, i == BIG_AT ? BIG : SMALL);
        COMMAND("RPUSH", P "pending", element);
    }
    for (struct batch *batch; (batch = fetch(q))->count > 0; batches++) {
        size_t bytes = 0;

        for (size_t i = 0; i < batch->count; i++, at++) {
            bytes += batch->elements[i].len;
            assert_int_equal(strtol(batch->elements[i].data + batch->elements[i].len - 4, NULL, 10),
                             at);
        }
        assert_true(batch->count == 1 || bytes <= LIMIT);
        ack(q, true);
    }
    assert_int_equal(at, COUNT);
    assert_in_range(batches, 5, 7);
    assert_int_equal(NUMBER("GET", P "popped"), COUNT);
    assert_nothing_left();
    queue_destroy(&q);
}

/* Calls of a command since CONFIG RESETSTAT. */
static int64_t calls(const char *name)
{
    redisReply *info = command(ARGV("INFO", "commandstats"));
    char line[64];
    const char *at;
    int64_t n;

    snprintf(line, sizeof(line), "cmdstat_%s:calls=", name);
    at = strstr(info->str, line);
    n = at != NULL ? strtoll(at + strlen(line), NULL, 10) : 0;
    freeReplyObject(info);
    return n;
}

/* What is copied to see whether it is too much is no more than about as much. */
static void looks_before_it_copies(void **state)
{
    enum { LIMIT = 65536, BIG = 30000, COUNT = 300, LIGHT = 200 };
    static char element[BIG + 1];
    struct queue *q = create();
    size_t at = 0, batches = 0;

    (void)state;
    limits(q, 20000, 512, LIMIT);
    for (int i = 0; i < COUNT; i++) {
        snprintf(element, sizeof(element), "%0*d", i < LIGHT ? 200 : BIG, i);
        COMMAND("RPUSH", P "pending", element);
    }
    COMMAND("CONFIG", "RESETSTAT");
    for (struct batch *batch; (batch = fetch(q))->count > 0; batches++) {
        at += batch->count;
        assert_int_equal(batch->left, COUNT - at);
        ack(q, true);
    }
    assert_int_equal(at, COUNT);
    assert_int_equal(batches, 1 + (COUNT - LIGHT) / 2); /* 200 light ones, and then two and two */
    assert_in_range(calls("sort"), 0, 2);
    assert_nothing_left();
    queue_destroy(&q);
}

/* A script is not rolled back. */
static void a_refused_command_leaves_no_copy(void **state)
{
    static const char *const without[] = {"-lmove", "-ltrim", "-sort", "-memory|usage", "-llen"};
    struct queue *q = create();
    struct batch *batch;
    struct error err;

    (void)state;
    push("pending", 1, 3);
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        COMMAND("ACL", "SETUSER", "default", "+@all", without[i]);
        for (int again = 0; again < 2; again++) {
            if (queue_fetch(q, &batch, &err)) {
                assert_string_equal(without[i], "-lmove"); /* not needed here */
                release(q);
            } else {
                assert_int_equal(err.kind, ERROR_REMOTE);
            }
        }
        COMMAND("ACL", "SETUSER", "default", "+@all");
        assert_int_equal(NUMBER("DBSIZE"), 1 + NUMBER("EXISTS", P "popped", P "released"));
    }
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    ack(q, true);
    assert_nothing_left();
    queue_destroy(&q);
}

static void elements_are_bytes(void **state)
{
    struct queue *q = create();
    struct error err;
    const char *argv[] = {"RPUSH", P "pending", "a\0b", ""};
    struct batch *batch;

    (void)state;
    freeReplyObject(
        redis_command(admin, &err, 4, argv, (size_t[]){5, sizeof(P "pending") - 1, 3, 0}));
    batch = fetch(q);
    assert_int_equal(batch->count, 2);
    assert_true(str_eq(batch->elements[0], STR("a\0b")));
    assert_int_equal(batch->elements[1].len, 0);
    ack(q, true);
    queue_destroy(&q);
}

static void gives_back_what_it_released(void **state)
{
    struct queue *q = create();

    (void)state;
    limits(q, 20000, 3, 1 << 20);
    push("pending", 1, 5);
    push("control", 20, 21);
    assert_batch(fetch(q), QUEUE_CONTROL, 20, 21);
    release(q);
    assert_int_equal(LENGTH("control"), 2);
    assert_batch(fetch(q), QUEUE_CONTROL, 20, 21);
    ack(q, true);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    release(q);
    assert_int_equal(LENGTH("pending"), 5);
    assert_int_equal(NUMBER("GET", P "popped"), 0);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    ack(q, true);
    assert_batch(fetch(q), QUEUE_PENDING, 4, 5);
    release(q);
    release(q); /* nothing in hand: nothing happens */
    assert_int_equal(LENGTH("pending"), 2);
    assert_batch(fetch(q), QUEUE_PENDING, 4, 5);
    ack(q, true);
    assert_int_equal(NUMBER("EXISTS", P "crashes"), 0);
    assert_nothing_left();
    queue_destroy(&q);
}

static void a_lease_ends_unless_renewed(void **state)
{
    struct queue *q = create(), *other = create();
    struct error err;
    bool held;

    (void)state;
    limits(q, 400, 512, 1 << 20);
    push("pending", 1, 3);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    for (int i = 0; i < 8; i++) {
        server_sleep_ms(100);
        assert_true(queue_renew(q, &held, &err));
        assert_true(held);
        assert_int_equal(reap(other), 0);
    }
    server_sleep_ms(500);
    assert_int_equal(reap(other), 3);
    assert_true(queue_renew(q, &held, &err));
    assert_false(held);
    ack(q, false);
    /* Its work was committed or not: it is done again, one by one. */
    for (int i = 1; i <= 3; i++) {
        struct batch *batch = fetch(other);

        assert_batch(batch, QUEUE_SUSPECT, i, i);
        assert_false(batch->marked);
        ack(other, true);
    }
    assert_nothing_left(); /* no crash was counted, for none stood alone */
    queue_destroy(&q);
    queue_destroy(&other);
}

/* An element that takes its worker down: its neighbours are spared, itself it
 * is marked. */
static void marks_who_crashes(void **state)
{
    struct queue *other = create();
    struct batch *batch;

    (void)state;
    push("pending", 1, 3);
    for (int crash = 0; crash < 3; crash++) {
        struct queue *q = create(); /* a process that is gone before its ack */

        limits(q, 1, 512, 1 << 20);
        batch = fetch(q);
        assert_int_equal(batch->count, crash == 0 ? 3 : 1);
        assert_false(batch->marked);
        queue_destroy(&q);
        server_sleep_ms(20);
        assert_int_equal(reap(other), crash == 0 ? 3 : 1);
        if (crash == 0) {
            /* The neighbours are served before it. */
            for (int i = 1; i <= 2; i++) {
                assert_batch(fetch(other), QUEUE_SUSPECT, i, i);
                ack(other, true);
            }
        }
    }
    batch = fetch(other);
    assert_batch(batch, QUEUE_SUSPECT, 3, 3);
    assert_true(batch->marked);
    release(other); /* a stop does not wash it clean */
    batch = fetch(other);
    assert_true(batch->marked);
    ack(other, true);
    assert_nothing_left();
    queue_destroy(&other);
}

static void a_suspect_that_goes_well_is_cleared(void **state)
{
    struct queue *other = create();

    (void)state;
    for (int round = 0; round < 3; round++) {
        struct queue *q = create();

        push("pending", 7, 7);
        limits(q, 1, 512, 1 << 20);
        fetch(q);
        queue_destroy(&q);
        server_sleep_ms(20);
        assert_int_equal(reap(other), 1);
        assert_int_equal(NUMBER("HLEN", P "crashes"), 1);
        struct batch *batch = fetch(other);
        assert_false(batch->marked);
        ack(other, true);
        assert_nothing_left();
    }
    queue_destroy(&other);
}

static void reaps_many(void **state)
{
    struct queue *other = create();

    (void)state;
    for (int i = 0; i < 40; i++) {
        struct queue *q = create();

        push("pending", 2 * i, 2 * i + 1);
        limits(q, 1, 512, 1 << 20);
        fetch(q);
        queue_destroy(&q);
    }
    server_sleep_ms(20);
    assert_int_equal(reap(other), 80);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 0);
    assert_int_equal(LENGTH("suspect"), 80);
    COMMAND("DEL", P "suspect");
    queue_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(moves_a_batch, flush),
        cmocka_unit_test_setup(acks_with_the_next_fetch, flush),
        cmocka_unit_test_setup(serves_control_and_suspects_first, flush),
        cmocka_unit_test_setup(bounds_a_batch_by_count, flush),
        cmocka_unit_test_setup(bounds_a_batch_by_bytes, flush),
        cmocka_unit_test_setup(looks_before_it_copies, flush),
        cmocka_unit_test_setup(a_refused_command_leaves_no_copy, flush),
        cmocka_unit_test_setup(elements_are_bytes, flush),
        cmocka_unit_test_setup(gives_back_what_it_released, flush),
        cmocka_unit_test_setup(a_lease_ends_unless_renewed, flush),
        cmocka_unit_test_setup(marks_who_crashes, flush),
        cmocka_unit_test_setup(a_suspect_that_goes_well_is_cleared, flush),
        cmocka_unit_test_setup(reaps_many, flush),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
