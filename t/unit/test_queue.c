/* ingest/queue against a private redis-server. */
#include "unit.h"

#include <poll.h>

#include "base/clock.h"
#include "base/config.h"
#include "ingest/queue.h"
#include "io/redis.h"
#include "servers.h"

static char dir[] = "/tmp/study-queue-XXXXXX";
static char socket_path[64], address[80];
static pid_t server;
static struct config *config;
static struct redis *admin; /* looks and pushes, past the queue */

#define P "study:{ingest}:"

/* As shipped: with `everysec` a write may wait for a busy disk, and be lost by a kill. */
static void start_server(void)
{
    char log[64];

    snprintf(log, sizeof(log), "%s/redis.log", dir);
    unlink(socket_path);
    server = server_start(log, (const char *const[]){"redis-server", "--port", "0", "--unixsocket",
                                                     socket_path, "--dir", dir, "--save", "",
                                                     "--appendonly", "yes", "--appendfsync",
                                                     "always", NULL});
    assert_true(server > 0);
    assert_true(server_wait_path(socket_path));
}

static redisReply *command(int argc, const char **argv)
{
    struct error err;
    redisReply *reply = NULL;

    for (int i = 0; i < 500 && reply == NULL; i++) {
        reply = redis_command(admin, &err, argc, argv, NULL);
        if (reply == NULL) {
            server_sleep_ms(20);
        }
    }
    if (reply == NULL) {
        fail_msg("%s", err.text);
    }
    return reply;
}

static int64_t number(int argc, const char **argv)
{
    redisReply *reply = command(argc, argv);
    int64_t n = reply->type == REDIS_REPLY_INTEGER ? reply->integer
                : reply->str != NULL               ? atoll(reply->str)
                                                   : -1;

    freeReplyObject(reply);
    return n;
}

#define ARGV(...)                                                                                  \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[])                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define COMMAND(...) freeReplyObject(command(ARGV(__VA_ARGS__)))
#define NUMBER(...)  number(ARGV(__VA_ARGS__))
#define LENGTH(list) NUMBER("LLEN", P list)

static void push(const char *list, int from, int to)
{
    char key[64], element[32];

    snprintf(key, sizeof(key), P "%s", list);
    for (int i = from; i <= to; i++) {
        snprintf(element, sizeof(element), "%d", i);
        COMMAND("RPUSH", key, element);
    }
}

static struct queue *create(void)
{
    struct queue *q;
    struct error err;

    if (!queue_create(&q, config, address, &err)) {
        fail_msg("%s", err.text);
    }
    return q;
}

static struct batch *fetch(struct queue *q)
{
    struct batch *batch;
    struct error err;

    for (int i = 0; i < 500; i++) {
        if (queue_fetch(q, &batch, &err)) {
            return batch;
        }
        server_sleep_ms(20); /* the backoff of a server that has just come back */
    }
    fail_msg("%s", err.text);
    return NULL;
}

/* The batch holds the numbers from..to, of `list`. */
static void assert_batch(const struct batch *batch, enum queue_list list, int from, int to)
{
    char element[32];

    assert_int_equal(batch->count, to - from + 1);
    assert_int_equal(batch->list, list);
    for (int i = from; i <= to; i++) {
        snprintf(element, sizeof(element), "%d", i);
        assert_true(str_is(batch->elements[i - from], element));
    }
}

static void ack(struct queue *q, bool expect_held)
{
    struct error err;
    bool held;

    if (!queue_ack(q, &held, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(held, expect_held);
}

static void release(struct queue *q)
{
    struct error err;
    bool held;

    if (!queue_release(q, &held, &err)) {
        fail_msg("%s", err.text);
    }
}

static size_t reap(struct queue *q)
{
    struct error err;
    size_t moved;

    if (!queue_reap(q, &moved, &err)) {
        fail_msg("%s", err.text);
    }
    return moved;
}

static void limits(struct queue *q, int64_t lease_ms, int64_t elements, int64_t bytes)
{
    queue_set_limits(q, &(struct queue_limits){lease_ms, elements, bytes});
}

static void assert_nothing_left(void)
{
    redisReply *keys = command(ARGV("KEYS", P "*"));

    for (size_t i = 0; i < keys->elements; i++) {
        const char *key = keys->element[i]->str;

        if (strcmp(key, P "popped") != 0 && strcmp(key, P "released") != 0) {
            fail_msg("left behind: %s", key);
        }
    }
    freeReplyObject(keys);
}

/* --- */

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

/* By bytes, at least one; and what was taken too much goes back in its order. */
static void bounds_a_batch_by_bytes(void **state)
{
    static char big[3001];
    struct queue *q = create();
    struct batch *batch;
    static const size_t sizes[] = {10, 10, 3000, 10, 10, 10, 3000, 3000, 10};
    static const size_t batches[] = {2, 1, 3, 1, 1, 1};
    size_t at = 0;

    (void)state;
    limits(q, 20000, 512, 1000);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        memset(big, 'a' + (int)i, sizes[i]);
        big[sizes[i]] = '\0';
        COMMAND("RPUSH", P "pending", big);
    }
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        batch = fetch(q);
        assert_int_equal(batch->count, batches[i]);
        for (size_t k = 0; k < batch->count; k++, at++) {
            assert_int_equal(batch->elements[k].len, sizes[at]);
            assert_int_equal(batch->elements[k].data[0], 'a' + (int)at);
        }
        ack(q, true);
    }
    assert_int_equal(NUMBER("GET", P "popped"), 9);
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

/* An element that takes its worker down: its neighbours are spared, itself it is marked. */
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

/* --- replies that are lost: the server gets the command and its answer finds nobody --- */

static void stall(void)
{
    kill(server, SIGSTOP);
}

/* Until the server has seen what lay in its sockets: `command key` answers n. */
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

static int flush(void **state)
{
    (void)state;
    COMMAND("FLUSHALL");
    return 0;
}

static int set_up(void **state)
{
    struct error err;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    snprintf(socket_path, sizeof(socket_path), "%s/r.sock", dir);
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    setenv("STUDY_REDIS_CONNECT_TIMEOUT", "2s", 1);
    setenv("STUDY_REDIS_TIMEOUT", "700ms", 1);
    start_server();
    if (!config_load(&config, NULL, &err) || !redis_create(&admin, config, address, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}

static int tear_down(void **state)
{
    char rm[64];

    (void)state;
    redis_destroy(&admin);
    config_destroy(&config);
    server_stop(&server, SIGKILL);
    snprintf(rm, sizeof(rm), "rm -rf %s", dir);
    return system(rm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(moves_a_batch, flush),
        cmocka_unit_test_setup(serves_control_and_suspects_first, flush),
        cmocka_unit_test_setup(bounds_a_batch_by_count, flush),
        cmocka_unit_test_setup(bounds_a_batch_by_bytes, flush),
        cmocka_unit_test_setup(elements_are_bytes, flush),
        cmocka_unit_test_setup(gives_back_what_it_released, flush),
        cmocka_unit_test_setup(a_lease_ends_unless_renewed, flush),
        cmocka_unit_test_setup(marks_who_crashes, flush),
        cmocka_unit_test_setup(a_suspect_that_goes_well_is_cleared, flush),
        cmocka_unit_test_setup(reaps_many, flush),
        cmocka_unit_test_setup(a_lost_fetch_is_repeated, flush),
        cmocka_unit_test_setup(a_stop_gives_back_what_a_lost_fetch_took, flush),
        cmocka_unit_test_setup(a_lost_ack_is_settled, flush),
        cmocka_unit_test_setup(a_lost_release_is_settled, flush),
        cmocka_unit_test_setup(drains_a_full_server, flush),
        cmocka_unit_test_setup(wakes_all_and_moves_nothing, flush),
        cmocka_unit_test_setup(tells_when_it_has_caught_up, flush),
        cmocka_unit_test_setup(is_not_fooled_by_a_release, flush),
        cmocka_unit_test_setup(waits_for_suspects, flush),
        cmocka_unit_test_setup(tells_the_lengths, flush),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
