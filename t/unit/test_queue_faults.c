/* ingest/queue where replies are lost or the server is full. */
#include <poll.h>

#include "queue_server.h"

/* --- replies that are lost: the server gets the command and its answer finds
 * nobody --- */

/* kill() comes back before the server stands still. */
static void stall(void)
{
    int status;

    assert_int_equal(kill(server, SIGSTOP), 0);
    assert_int_equal(waitpid(server, &status, WUNTRACED), server);
    assert_true(WIFSTOPPED(status));
}

/* Until the server has seen what lay in its sockets: `command key` answers n.
 */
static void go_on(const char *name, const char *key, int64_t n)
{
    kill(server, SIGCONT);
    for (int i = 0; i < 500 && NUMBER(name, key) != n; i++) {
        server_sleep_ms(20);
    }
    assert_int_equal(NUMBER(name, key), n);
}

static void a_lost_fetch_is_repeated(void **state)
{
    struct queue *q = create();
    struct batch *batch;
    struct error err;

    (void)state;
    assert_int_equal(fetch(q)->count, 0); /* connected */
    push("pending", 1, 3);
    stall();
    assert_false(queue_fetch(q, &batch, &err));
    assert_int_equal(err.kind, ERROR_TIMEOUT);
    go_on("LLEN", P "pending", 0);
    push("pending", 4, 5);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    assert_int_equal(NUMBER("GET", P "popped"), 3);
    ack(q, true);
    assert_batch(fetch(q), QUEUE_PENDING, 4, 5);
    ack(q, true);
    assert_nothing_left();
    queue_destroy(&q);
}

static void a_stop_gives_back_what_a_lost_fetch_took(void **state)
{
    struct queue *q = create();
    struct batch *batch;
    struct error err;
    bool held;

    (void)state;
    assert_int_equal(fetch(q)->count, 0);
    push("pending", 1, 3);
    stall();
    assert_false(queue_fetch(q, &batch, &err));
    go_on("LLEN", P "pending", 0);
    for (int i = 0; i < 500 && !queue_release(q, &held, &err); i++) {
        server_sleep_ms(20);
    }
    assert_int_equal(LENGTH("pending"), 3);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 0);
    queue_destroy(&q);
    q = create();
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    ack(q, true);
    assert_nothing_left();
    queue_destroy(&q);
}

static void a_lost_ack_is_settled(void **state)
{
    struct queue *q = create();
    struct error err;
    bool held;

    (void)state;
    push("pending", 1, 3);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    /* never arrived */
    server_stop(&server, SIGKILL);
    assert_false(queue_ack(q, &held, &err));
    start_server();
    push("pending", 4, 4);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    assert_batch(fetch(q), QUEUE_PENDING, 4, 4);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    /* arrived, and the answer was lost */
    stall();
    assert_false(queue_ack(q, &held, &err));
    go_on("ZCARD", P "leases", 0);
    assert_int_equal(fetch(q)->count, 0);
    assert_nothing_left();
    queue_destroy(&q);
}

/* The ack and the fetch after it are sent in one: lost, both of them are said
 * again. */
static void a_lost_ack_with_fetch_is_settled(void **state)
{
    struct queue *q = create();
    struct batch *batch;
    struct error err;

    (void)state;
    limits(q, 20000, 3, 1 << 20);
    push("pending", 1, 6);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    queue_ack_with_fetch(q);
    /* never arrived */
    server_stop(&server, SIGKILL);
    assert_false(queue_fetch(q, &batch, &err));
    start_server();
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    assert_batch(fetch(q), QUEUE_PENDING, 4, 6);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 1);
    /* arrived, and the answers were lost */
    push("pending", 7, 9);
    queue_ack_with_fetch(q);
    stall();
    assert_false(queue_fetch(q, &batch, &err));
    go_on("LLEN", P "pending", 0);
    assert_batch(fetch(q), QUEUE_PENDING, 7, 9);
    assert_int_equal(NUMBER("GET", P "popped"), 9);
    ack(q, true);
    assert_int_equal(queue_lost(q), 0); /* it was there in time, both times */
    assert_nothing_left();
    queue_destroy(&q);
}

/* One of the two scripts is unknown to the server, the other not: both are said again. */
static void one_unknown_script_is_loaded(void **state)
{
    struct queue *q = create(), *other = create();

    (void)state;
    limits(q, 20000, 3, 1 << 20);
    push("pending", 1, 7);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    queue_ack_with_fetch(q);
    COMMAND("SCRIPT", "FLUSH");
    limits(other, 20000, 1, 1 << 20);
    assert_batch(fetch(other), QUEUE_PENDING, 4, 4); /* which loads fetch, and not ack */
    assert_batch(fetch(q), QUEUE_PENDING, 5, 7);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 2);
    ack(q, true);
    ack(other, true);
    assert_int_equal(queue_lost(q), 0);
    assert_nothing_left();
    queue_destroy(&q);
    queue_destroy(&other);
}

static void a_stop_settles_what_was_to_go_with_a_fetch(void **state)
{
    struct queue *q = create();
    struct batch *batch;
    struct error err;
    bool held;
    int stop[2];

    (void)state;
    limits(q, 20000, 3, 1 << 20);
    push("pending", 1, 6);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    queue_ack_with_fetch(q);
    assert_int_equal(pipe(stop), 0);
    assert_int_equal(write(stop[1], "x", 1), 1);
    queue_set_interrupt(q, stop[0]);
    assert_false(queue_fetch(q, &batch, &err));
    assert_int_equal(err.kind, ERROR_INTERRUPTED);
    assert_true(queue_release(q, &held, &err));
    assert_int_equal(LENGTH("pending"), 3);
    assert_int_equal(NUMBER("ZCARD", P "leases"), 0);
    assert_int_equal(NUMBER("GET", P "popped"), 3);
    queue_destroy(&q);
    close(stop[0]);
    close(stop[1]);
}

/* The answer to the ack counts, whatever comes of the fetch behind it. */
static void a_refused_fetch_does_not_hide_a_lost_lease(void **state)
{
    struct queue *q = create();
    struct batch *batch;
    struct error err;

    (void)state;
    limits(q, 50, 3, 1 << 20);
    push("pending", 1, 3);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    queue_ack_with_fetch(q);
    server_sleep_ms(80);
    assert_int_equal(reap(q), 3);
    queue_ack_with_fetch(q);
    COMMAND("SET", P "control", "x");
    assert_false(queue_fetch(q, &batch, &err));
    assert_string_equal(err.code, "WRONGTYPE");
    COMMAND("DEL", P "control");
    assert_batch(fetch(q), QUEUE_SUSPECT, 1, 1);
    assert_int_equal(queue_lost(q), 1);
    queue_destroy(&q);
}

static void a_lost_release_is_settled(void **state)
{
    struct queue *q = create();
    struct error err;
    bool held;

    (void)state;
    push("pending", 1, 3);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    server_stop(&server, SIGKILL);
    assert_false(queue_release(q, &held, &err));
    start_server();
    assert_int_equal(LENGTH("pending"), 0);
    assert_batch(fetch(q), QUEUE_PENDING, 1, 3);
    ack(q, true);
    assert_nothing_left();
    queue_destroy(&q);
}

/* --- a full server --- */

static void drains_a_full_server(void **state)
{
    struct queue *q = create();
    size_t got = 0;

    (void)state;
    push("pending", 1, 300);
    COMMAND("CONFIG", "SET", "maxmemory", "1mb");
    struct error err;
    assert_null(redis_command(admin, &err, 3, (const char *[]){"RPUSH", P "pending", "x"}, NULL));
    assert_string_equal(err.code, "OOM");
    /* The blocking peek is refused, and that is told apart from an empty list. */
    queue_arm(q);
    for (int i = 0; i < 200; i++) {
        struct pollfd fd = {.events = POLLIN};
        int fds[QUEUE_FDS];

        if (queue_fds(q, fds) == 0) {
            break;
        }
        fd.fd = fds[0];
        poll(&fd, 1, 20);
        queue_woken(q);
    }
    assert_false(queue_arm(q));
    for (struct batch *batch; (batch = fetch(q))->count > 0;) {
        got += batch->count;
        ack(q, true);
    }
    assert_int_equal(got, 300);
    assert_nothing_left();
    COMMAND("CONFIG", "SET", "maxmemory", "0");
    queue_destroy(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_lost_fetch_is_repeated, flush),
        cmocka_unit_test_setup(a_stop_gives_back_what_a_lost_fetch_took, flush),
        cmocka_unit_test_setup(a_lost_ack_is_settled, flush),
        cmocka_unit_test_setup(a_lost_ack_with_fetch_is_settled, flush),
        cmocka_unit_test_setup(one_unknown_script_is_loaded, flush),
        cmocka_unit_test_setup(a_stop_settles_what_was_to_go_with_a_fetch, flush),
        cmocka_unit_test_setup(a_refused_fetch_does_not_hide_a_lost_lease, flush),
        cmocka_unit_test_setup(a_lost_release_is_settled, flush),
        cmocka_unit_test_setup(drains_a_full_server, flush),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
