/* io/pg against a private PostgreSQL. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "io/pg.h"
#include "servers.h"

static char dir[] = "/tmp/study-pg-XXXXXX";
static pid_t server;
static struct config *config;

static struct config *load(const char *conninfo)
{
    struct config *c;
    struct error err;

    setenv("STUDY_POSTGRES_CONNINFO", conninfo, 1);
    setenv("STUDY_POSTGRES_TIMEOUT", "5s", 1);
    setenv("STUDY_POSTGRES_CONNECT_TIMEOUT", "1s", 1);
    if (!config_load(&c, NULL, &err)) {
        fail_msg("%s", err.text);
    }
    return c;
}

static struct pg *connected(void)
{
    struct pg *pg = pg_create(config, "unit");
    struct error err;

    for (int i = 0; i < 400 && !pg_connect(pg, &err); i++) {
        server_sleep_ms(20); /* starting up */
    }
    if (!pg_is_connected(pg)) {
        fail_msg("%s", err.text);
    }
    return pg;
}

static struct pg_result *query(struct pg *pg, const char *sql, const struct pg_args *args)
{
    struct pg_result *res;
    struct error err;

    if (!pg_exec(pg, sql, args, &res, &err)) {
        fail_msg("%s", err.text);
    }
    return res;
}

static void refuse(struct pg *pg, const char *sql, const struct pg_args *args, const char *code,
                   struct error *err)
{
    struct pg_result *res = (struct pg_result *)1;

    assert_false(pg_exec(pg, sql, args, &res, err));
    assert_null(res);
    assert_string_equal(err->code, code);
}

static void scalars_both_ways(void **state)
{
    struct pg *pg = connected();
    struct pg_args *args = pg_args_create();
    char borrowed[] = {'t', 'e', 'x', 't'}; /* no NUL */

    (void)state;
    pg_arg_str(args, (struct str){borrowed, sizeof(borrowed)});
    pg_arg_str(args, STR_NULL);
    pg_arg_cstr(args, "c");
    pg_arg_int(args, INT64_MIN);
    pg_arg_bool(args, true);
    pg_arg_double(args, -0.125);
    pg_arg_time(args, INT64_C(1795372952123456));
    pg_arg_time(args, INT64_MIN);
    pg_arg_bytes(args, STR("a\0\xff'\\"));
    pg_arg_str(args, STR(""));
    struct pg_result *res = query(pg,
                                  "SELECT $1 AS one, $2, $3, $4, $5, $6, $7,"
                                  " (extract(epoch FROM $7) * 1000000)::bigint, $8, $9, $10,"
                                  " length($9)",
                                  args);
    assert_int_equal(pg_rows(res), 1);
    assert_int_equal(pg_columns(res), 12);
    assert_string_equal(pg_column(res, 0), "one");
    assert_true(str_is(pg_str(res, 0, 0), "text"));
    assert_true(pg_is_null(res, 0, 1));
    assert_null(pg_str(res, 0, 1).data);
    assert_true(str_is(pg_str(res, 0, 2), "c"));
    assert_true(pg_int(res, 0, 3) == INT64_MIN);
    assert_true(pg_bool(res, 0, 4));
    assert_true(pg_double(res, 0, 5) == -0.125);
    assert_true(str_is(pg_str(res, 0, 6), "2026-11-22 18:42:32.123456+00"));
    assert_true(pg_int(res, 0, 7) == INT64_C(1795372952123456));
    assert_true(pg_is_null(res, 0, 8));
    assert_true(str_eq(pg_bytes(res, 0, 9), STR("a\0\xff'\\")));
    assert_true(str_is(pg_str(res, 0, 10), ""));
    assert_non_null(pg_str(res, 0, 10).data);
    assert_int_equal(pg_int(res, 0, 11), 5);
    assert_int_equal(pg_int(res, 0, 1), 0);
    assert_false(pg_bool(res, 0, 1));
    assert_null(pg_bytes(res, 0, 8).data);
    pg_result_destroy(&res);
    assert_null(res);
    pg_args_destroy(&args);
    pg_destroy(&pg);
}

static void columns(void **state)
{
    struct pg *pg = connected();
    struct pg_args *args = pg_args_create();
    struct pg_array *ints = pg_array_create(PG_INT8_ARRAY);
    struct pg_array *nulls = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *blank = pg_array_create(PG_TEXT_ARRAY); /* a text, if an empty one */

    (void)state;
    for (int i = 0; i < 3; i++) {
        pg_array_int(ints, i);
        pg_array_str(nulls, STR_NULL);
        pg_array_str(blank, i == 1 ? STR("") : STR_NULL);
    }
    pg_arg_column(args, ints);
    pg_arg_column(args, nulls);
    pg_arg_column(args, blank);
    struct pg_result *res = query(pg,
                                  "SELECT unnest($1::bigint[]), unnest($2::text[]),"
                                  " unnest($3::text[]), cardinality($2)",
                                  args);
    assert_int_equal(pg_rows(res), 3);
    for (int i = 0; i < 3; i++) {
        assert_true(pg_is_null(res, i, 1));
        assert_int_equal(pg_is_null(res, i, 2), i != 1);
    }
    assert_int_equal(pg_int(res, 0, 3), 0);
    pg_result_destroy(&res);

    pg_array_reset(blank);
    pg_array_null(blank);
    pg_args_reset(args);
    pg_arg_column(args, blank);
    pg_arg_array(args, nulls);
    res = query(pg, "SELECT cardinality($1::text[]), cardinality($2::text[])", args);
    assert_int_equal(pg_int(res, 0, 0), 0);
    assert_int_equal(pg_int(res, 0, 1), 3);
    pg_result_destroy(&res);

    pg_array_destroy(&ints);
    pg_array_destroy(&nulls);
    pg_array_destroy(&blank);
    pg_args_destroy(&args);
    pg_destroy(&pg);
}

static void arrays(void **state)
{
    struct pg *pg = connected();
    struct pg_args *args = pg_args_create();
    struct pg_array *texts = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *ints = pg_array_create(PG_INT8_ARRAY);
    struct pg_array *bools = pg_array_create(PG_BOOL_ARRAY);
    struct pg_array *times = pg_array_create(PG_TIMESTAMPTZ_ARRAY);
    struct pg_array *blobs = pg_array_create(PG_BYTEA_ARRAY);
    struct pg_array *none = pg_array_create(PG_TEXT_ARRAY);

    (void)state;
    for (int i = 0; i < 3; i++) {
        pg_array_str(texts, i == 1 ? STR_NULL : STR("{\"quo,ted\\\"}"));
        pg_array_int(ints, i - 1);
        pg_array_bool(bools, i == 2);
        pg_array_time(times, i == 0 ? INT64_MIN : i);
        pg_array_str(blobs, STR("\0\1"));
    }
    assert_int_equal(pg_array_size(texts), 3);
    pg_arg_array(args, texts);
    pg_arg_array(args, ints);
    pg_arg_array(args, bools);
    pg_arg_array(args, times);
    pg_arg_array(args, blobs);
    pg_arg_array(args, none);
    struct pg_result *res = query(pg,
                                  "SELECT t, i, b, (extract(epoch FROM ts) * 1000000)::bigint, x, "
                                  "cardinality($6)"
                                  " FROM unnest($1::text[], $2::bigint[], $3::boolean[], "
                                  "$4::timestamptz[], $5::bytea[])"
                                  " WITH ORDINALITY AS u(t, i, b, ts, x, n) ORDER BY n",
                                  args);
    assert_int_equal(pg_rows(res), 3);
    assert_true(str_is(pg_str(res, 0, 0), "{\"quo,ted\\\"}"));
    assert_true(pg_is_null(res, 1, 0));
    assert_true(pg_int(res, 0, 1) == -1);
    assert_false(pg_bool(res, 1, 2));
    assert_true(pg_bool(res, 2, 2));
    assert_true(pg_is_null(res, 0, 3));
    assert_int_equal(pg_int(res, 2, 3), 2);
    assert_true(str_eq(pg_bytes(res, 1, 4), STR("\0\1")));
    assert_int_equal(pg_int(res, 0, 5), 0);
    pg_result_destroy(&res);

    struct error err;
    pg_args_reset(args);
    pg_array_int(texts, 1);
    pg_arg_array(args, texts);
    assert_false(pg_exec(pg, "SELECT $1", args, NULL, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    pg_args_reset(args);
    pg_array_reset(texts);
    pg_array_str(texts, STR("a\0b"));
    pg_arg_array(args, texts);
    assert_false(pg_exec(pg, "SELECT $1", args, NULL, &err));
    assert_non_null(strstr(err.text, "NUL"));

    pg_array_destroy(&texts);
    pg_array_destroy(&ints);
    pg_array_destroy(&bools);
    pg_array_destroy(&times);
    pg_array_destroy(&blobs);
    pg_array_destroy(&none);
    pg_args_destroy(&args);
    pg_destroy(&pg);
}

static void bad_parameters(void **state)
{
    struct pg *pg = connected();
    struct pg_args *args = pg_args_create();
    struct error err;

    (void)state;
    pg_arg_str(args, STR("a\0b"));
    assert_false(pg_exec(pg, "SELECT $1", args, NULL, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_int_equal(pg_verdict(&err), PG_BAD_INPUT);
    pg_args_reset(args);
    for (int i = 0; i < PG_ARGS_MAX + 1; i++) {
        pg_arg_int(args, i);
    }
    assert_false(pg_exec(pg, "SELECT 1", args, NULL, &err));
    assert_non_null(strstr(err.text, "too many"));
    pg_args_destroy(&args);
    pg_destroy(&pg);
}

static void errors_tell_no_data(void **state)
{
    struct pg *pg = connected();
    struct pg_args *args = pg_args_create();
    struct error err;

    (void)state;
    pg_arg_cstr(args, "members text");
    refuse(pg, "SELECT $1::int", args, "22P02", &err);
    assert_null(strstr(err.text, "members text"));
    assert_int_equal(pg_verdict(&err), PG_BAD_INPUT);
    refuse(pg, "SELECT $1::jsonb", args, "22P02", &err);
    assert_null(strstr(err.text, "members text"));

    assert_true(pg_script(pg,
                          "CREATE TEMP TABLE t (v text CONSTRAINT t_v UNIQUE,"
                          " n int CONSTRAINT t_n CHECK (n < 5));"
                          "INSERT INTO t VALUES ('members text', 1)",
                          &err));
    refuse(pg, "INSERT INTO t VALUES ($1, 1)", args, "23505", &err);
    assert_null(strstr(err.text, "members text"));
    assert_non_null(strstr(err.text, "t_v"));
    refuse(pg, "INSERT INTO t VALUES ('x', 7)", NULL, "23514", &err);
    assert_int_equal(pg_verdict(&err), PG_BAD_INPUT);
    refuse(pg, "SELECT * FROM nosuch", NULL, "42P01", &err);
    assert_int_equal(pg_verdict(&err), PG_BROKEN);
    refuse(pg, "SELECT 1; SELECT 2", NULL, "42601", &err); /* one statement a call */
    assert_true(pg_is_connected(pg));
    pg_args_reset(args);
    pg_arg_cstr(args, "\xff");
    refuse(pg, "SELECT $1", args, "22021", &err);
    pg_args_destroy(&args);
    pg_destroy(&pg);
}

static void verdicts(void **state)
{
    static const struct {
        enum error_kind kind;
        const char *code;
        enum pg_verdict verdict;
    } cases[] = {
        {ERROR_REMOTE, "40P01", PG_RETRY},     {ERROR_REMOTE, "40001", PG_RETRY},
        {ERROR_REMOTE, "53100", PG_RETRY},     {ERROR_REMOTE, "57P01", PG_RETRY},
        {ERROR_REMOTE, "55P03", PG_RETRY},     {ERROR_REMOTE, "25006", PG_RETRY},
        {ERROR_REMOTE, "08006", PG_RETRY},     {ERROR_TIMEOUT, "", PG_RETRY},
        {ERROR_CONNECTION, "", PG_RETRY},      {ERROR_REMOTE, "22001", PG_BAD_INPUT},
        {ERROR_REMOTE, "23503", PG_BAD_INPUT}, {ERROR_REMOTE, "54000", PG_BAD_INPUT},
        {ERROR_INPUT, "", PG_BAD_INPUT},       {ERROR_REMOTE, "42501", PG_BROKEN},
        {ERROR_REMOTE, "55000", PG_BROKEN},    {ERROR_CONFIG, "", PG_BROKEN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        error_set_code(&err, cases[i].kind, cases[i].code, "x");
        if (pg_verdict(&err) != cases[i].verdict) {
            fail_msg("%s", cases[i].code);
        }
    }
}

static void transactions(void **state)
{
    struct pg *pg = connected();
    struct error err;

    (void)state;
    assert_true(pg_script(pg, "CREATE TABLE tx (n int)", &err));
    assert_true(pg_begin(pg, &err));
    struct pg_result *res = query(pg, "INSERT INTO tx VALUES (1), (2)", NULL);
    assert_int_equal(pg_affected(res), 2);
    pg_result_destroy(&res);
    assert_true(pg_commit(pg, &err));

    assert_true(pg_begin(pg, &err));
    pg_exec(pg, "INSERT INTO tx VALUES (3)", NULL, NULL, &err);
    pg_rollback(pg);
    pg_rollback(pg); /* in any state */

    assert_true(pg_begin(pg, &err));
    refuse(pg, "SELECT 1/0", NULL, "22012", &err);
    refuse(pg, "SELECT 1", NULL, "25P02", &err);
    assert_false(pg_commit(pg, &err)); /* would have been a silent rollback */
    assert_int_equal(pg_verdict(&err), PG_RETRY);

    /* A transaction whose connection is lost is not gone on with on another. */
    assert_true(pg_begin(pg, &err));
    res = query(pg, "SELECT pg_backend_pid()", NULL);
    struct pg *killer = connected();
    struct pg_args *args = pg_args_create();
    pg_arg_int(args, pg_int(res, 0, 0));
    pg_result_destroy(&res);
    assert_true(pg_exec(killer, "SELECT pg_terminate_backend($1::int)", args, NULL, &err));
    pg_args_destroy(&args);
    assert_false(pg_exec(pg, "INSERT INTO tx VALUES (4)", NULL, NULL, &err));
    assert_int_equal(pg_verdict(&err), PG_RETRY);
    assert_false(pg_is_connected(pg));
    assert_false(pg_exec(pg, "INSERT INTO tx VALUES (5)", NULL, NULL, &err));
    assert_int_equal(err.kind, ERROR_CONNECTION);
    assert_false(pg_commit(pg, &err));
    pg_rollback(pg);
    res = query(pg, "SELECT count(*) FROM tx", NULL);
    assert_int_equal(pg_int(res, 0, 0), 2);
    pg_result_destroy(&res);
    pg_destroy(&killer);
    pg_destroy(&pg);
}

static int ticks;

static void count_tick(void *arg)
{
    assert_ptr_equal(arg, &ticks);
    ticks++;
}

static const char twice_sql[] = "SELECT 2 * $1, (SELECT count(*) FROM pg_prepared_statements)";
static const char inverse_sql[] = "SELECT 100 / $1";
static const char all_sql[] = "SELECT * FROM wide WHERE $1 = 0";

/* Gives what the statement makes of n. */
static bool prepared(struct pg *pg, const char *sql, int64_t n, int64_t *made, int64_t *others,
                     struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_int(args, n);
    ok = pg_exec_prepared(pg, sql, args, &res, err);
    if (ok) {
        *made = pg_int(res, 0, 0);
        *others = pg_columns(res) > 1 ? pg_int(res, 0, 1) : 0;
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

static void statements_are_prepared_once(void **state)
{
    struct pg *pg = connected();
    struct error err;
    int64_t made, others;

    (void)state;
    for (int i = 1; i <= 8; i++) {
        assert_true(prepared(pg, twice_sql, i, &made, &others, &err));
        assert_int_equal(made, 2 * i);
        assert_int_equal(others, 1);
    }
    assert_true(prepared(pg, inverse_sql, 4, &made, &others, &err));
    assert_int_equal(made, 25);
    assert_true(prepared(pg, twice_sql, 1, &made, &others, &err));
    assert_int_equal(others, 2);

    /* A failure within a transaction, and what it leaves. */
    assert_true(pg_begin(pg, &err));
    assert_false(prepared(pg, inverse_sql, 0, &made, &others, &err));
    assert_string_equal(err.code, "22012");
    assert_false(prepared(pg, inverse_sql, 1, &made, &others, &err));
    assert_string_equal(err.code, "25P02");
    pg_rollback(pg);
    assert_true(prepared(pg, inverse_sql, 5, &made, &others, &err));
    assert_int_equal(made, 20);
    assert_true(prepared(pg, twice_sql, 1, &made, &others, &err));
    assert_int_equal(others, 2);

    /* Somebody took them away. */
    assert_true(pg_script(pg, "DEALLOCATE ALL", &err));
    assert_false(prepared(pg, twice_sql, 3, &made, &others, &err));
    assert_string_equal(err.code, "26000");
    assert_int_equal(pg_verdict(&err), PG_RETRY);
    assert_true(prepared(pg, twice_sql, 3, &made, &others, &err));
    assert_int_equal(made, 6);

    /* A migration made its columns others. */
    assert_true(pg_script(pg, "CREATE TABLE wide AS SELECT 7 AS n", &err));
    assert_true(prepared(pg, all_sql, 0, &made, &others, &err));
    assert_true(pg_script(pg, "ALTER TABLE wide ALTER n TYPE bigint", &err));
    assert_false(prepared(pg, all_sql, 0, &made, &others, &err));
    assert_string_equal(err.code, "0A000");
    assert_int_equal(pg_verdict(&err), PG_RETRY);
    assert_true(prepared(pg, all_sql, 0, &made, &others, &err));
    assert_int_equal(made, 7);

    /* Another connection knows none. */
    pg_disconnect(pg);
    assert_true(prepared(pg, twice_sql, 4, &made, &others, &err));
    assert_int_equal(made, 8);
    assert_int_equal(others, 1);

    /* One that we do not know of has the name. */
    pg_disconnect(pg);
    assert_true(pg_script(pg, "PREPARE \"0\" AS SELECT 1", &err));
    assert_true(prepared(pg, twice_sql, 5, &made, &others, &err));
    assert_int_equal(made, 10);
    assert_int_equal(others, 1);
    pg_destroy(&pg);
}

static void waits_end(void **state)
{
    struct pg *pg = connected();
    struct error err;
    int fds[2];

    (void)state;
    pg_set_tick(pg, 20, count_tick, &ticks);
    pg_set_deadline(pg, 300);
    assert_false(pg_exec(pg, "SELECT pg_sleep(60)", NULL, NULL, &err));
    assert_int_equal(err.kind, ERROR_TIMEOUT);
    assert_false(pg_is_connected(pg));
    assert_int_equal(pg_fd(pg), -1);
    assert_true(ticks > 1);

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pg_set_deadline(pg, 30000);
    pg_set_interrupt(pg, fds[0]);
    struct pg_result *res = query(pg, "SELECT 1", NULL);
    pg_result_destroy(&res);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_false(pg_exec(pg, "SELECT pg_sleep(60)", NULL, NULL, &err));
    assert_int_equal(err.kind, ERROR_INTERRUPTED);
    pg_set_interrupt(pg, -1);
    res = query(pg, "SELECT 1", NULL);
    pg_result_destroy(&res);
    close(fds[0]);
    close(fds[1]);
    pg_destroy(&pg);
}

static void big_values(void **state)
{
    struct pg *pg = connected();
    struct pg_args *args = pg_args_create();
    size_t size = 8 << 20;
    char *blob = malloc(size);

    (void)state;
    memset(blob, 'x', size);
    pg_arg_str(args, (struct str){blob, size});
    struct pg_result *res = query(pg, "SELECT $1", args);
    assert_int_equal(pg_str(res, 0, 0).len, size);
    pg_result_destroy(&res);
    free(blob);
    pg_args_destroy(&args);
    pg_destroy(&pg);
}

static void notifications(void **state)
{
    struct pg *pg = connected(), *other = connected();
    struct error err;

    (void)state;
    assert_true(pg_exec(pg, "LISTEN work", NULL, NULL, &err));
    assert_false(pg_notified(pg, &err));
    assert_int_equal(err.kind, ERROR_NONE);
    assert_true(pg_exec(other, "NOTIFY work", NULL, NULL, &err));
    struct pollfd fd = {.fd = pg_fd(pg), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 5000), 1);
    assert_true(pg_notified(pg, &err));
    assert_false(pg_notified(pg, &err));
    assert_int_equal(err.kind, ERROR_NONE);
    pg_destroy(&pg);
    pg_destroy(&other);
}

static void nobody_there(void **state)
{
    struct config *c = load("host=/nonexistent dbname=x");
    struct pg *pg = pg_create(c, "unit");
    struct error err;

    (void)state;
    assert_false(pg_connect(pg, &err));
    assert_int_equal(err.kind, ERROR_CONNECTION);
    assert_int_equal(pg_verdict(&err), PG_RETRY);
    assert_true(pg_retry_in_ms(pg) > 0);
    assert_false(pg_exec(pg, "SELECT 1", NULL, NULL, &err));
    assert_non_null(strstr(err.text, "next attempt in"));
    pg_destroy(&pg);
    config_destroy(&c);

    c = load("nonsense");
    pg = pg_create(c, "unit");
    assert_false(pg_connect(pg, &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.text, "[postgres] conninfo"));
    pg_destroy(&pg);
    config_destroy(&c);

    /* A server that listens and never answers. */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char conninfo[200];
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/.s.PGSQL.5499", dir);
    snprintf(conninfo, sizeof(conninfo), "host=%s port=5499 dbname=x", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 5), 0);
    c = load(conninfo);
    pg = pg_create(c, "unit");
    assert_false(pg_connect(pg, &err));
    assert_int_equal(err.kind, ERROR_TIMEOUT);
    pg_destroy(&pg);
    config_destroy(&c);

    /* With another one behind it. */
    snprintf(conninfo, sizeof(conninfo),
             "host=%s,%s,%s port=5499,5499,5432 user=study dbname=postgres", dir, dir, dir);
    c = load(conninfo);
    pg = pg_create(c, "unit");
    if (!pg_connect(pg, &err)) {
        fail_msg("%s", err.text);
    }
    pg_destroy(&pg);
    config_destroy(&c);
    close(fd);
}

static int set_up(void **state)
{
    char conninfo[100];

    (void)state;
    if (mkdtemp(dir) == NULL || (server = server_start_postgres(dir)) == 0) {
        return -1;
    }
    snprintf(conninfo, sizeof(conninfo), "host=%s user=study dbname=postgres", dir);
    config = load(conninfo);
    return 0;
}

static int tear_down(void **state)
{
    char rm[64];

    (void)state;
    server_stop(&server, SIGINT);
    config_destroy(&config);
    snprintf(rm, sizeof(rm), "rm -rf %s", dir);
    return system(rm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_both_ways),
        cmocka_unit_test(arrays),
        cmocka_unit_test(columns),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(errors_tell_no_data),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(transactions),
        cmocka_unit_test(waits_end),
        cmocka_unit_test(big_values),
        cmocka_unit_test(statements_are_prepared_once),
        cmocka_unit_test(notifications),
        cmocka_unit_test(nobody_there),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
