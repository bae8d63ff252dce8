/*
 * The connection to PostgreSQL, and the one place where anybody waits for it: wait_for(). A session
 * that was left (time-out, stop) is ended by the server itself: it looks for its client while a
 * statement runs, and gives up a transaction in which nothing happens, so that a stopped worker
 * holds no locks.
 */
#include "io/pg.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/pg_args.h"
#include "io/pg_hosts.h"
#include "io/pg_result.h"

#define BACKOFF_BASE_MS 250
#define BACKOFF_MAX_MS  10000
#define VERSION_LEAST   150000
#define PREPARED_MAX    16
#define PREPARED_MS     10000 /* then they are planned anew: tables grow */
/* Statements here touch few rows and run often: compiling one that looks dear to the planner (views
 * over a member's days) takes a second where running it takes a millisecond. */
#define SESSION_SETTINGS                                                                           \
    "SET client_connection_check_interval = '5s';"                                                 \
    "SET idle_in_transaction_session_timeout = '60s'; SET jit = off;"                              \
    "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'"

struct pg {
    const char *conninfo, *password; /* config's */
    char *application_name;
    int64_t connect_timeout_ms, timeout_ms;
    PGconn *conn;
    unsigned first_host, hosts;
    int interrupt_fd;
    int tick_every_ms; /* 0: none */
    void (*tick)(void *arg);
    void *tick_arg;
    int64_t tick_at_ms;
    bool in_transaction; /* begun by us, not ended: no new connection may go on in its stead */
    unsigned failures;
    int64_t retry_at_ms;

    const char *prepared[PREPARED_MAX]; /* of this connection: statement n is named "n" */
    int nprepared;
    int64_t prepared_until_ms;
};

struct pg *pg_create(const struct config *config, const char *application_name)
{
    struct pg *pg = calloc(1, sizeof(*pg));

    if (pg == NULL) {
        abort();
    }
    pg->conninfo = config_string(config, "postgres", "conninfo");
    pg->password = config_secret(config, "postgres", "password");
    pg->connect_timeout_ms = config_int(config, "postgres", "connect_timeout");
    pg->timeout_ms = config_int(config, "postgres", "timeout");
    pg->application_name = str_dup(str_of(application_name));
    pg->interrupt_fd = -1;
    return pg;
}

void pg_destroy(struct pg **pg)
{
    if (*pg == NULL) {
        return;
    }
    pg_disconnect(*pg);
    free((*pg)->application_name);
    free(*pg);
    *pg = NULL;
}

void pg_set_interrupt(struct pg *pg, int fd)
{
    pg->interrupt_fd = fd;
}

void pg_set_tick(struct pg *pg, int every_ms, void (*tick)(void *arg), void *arg)
{
    pg->tick_every_ms = tick != NULL ? every_ms : 0;
    pg->tick = tick;
    pg->tick_arg = arg;
    pg->tick_at_ms = clock_boot_ms() + every_ms;
}

void pg_set_deadline(struct pg *pg, int64_t ms)
{
    pg->timeout_ms = ms;
}

void pg_disconnect(struct pg *pg)
{
    if (pg->conn != NULL) {
        PQfinish(pg->conn);
        pg->conn = NULL;
        pg->nprepared = 0;
        pg->prepared_until_ms = 0;
    }
}

bool pg_is_connected(const struct pg *pg)
{
    return pg->conn != NULL;
}

int pg_fd(const struct pg *pg)
{
    return pg->conn != NULL ? PQsocket(pg->conn) : -1;
}

int64_t pg_retry_in_ms(const struct pg *pg)
{
    int64_t left = pg->retry_at_ms - clock_boot_ms();

    return pg->conn != NULL || left < 0 ? 0 : left;
}

/* ---- waiting ---- */

/* Calls the tick if it is due; milliseconds until the next thing to do, at most `left`. */
static int64_t tick(struct pg *pg, int64_t left)
{
    if (pg->tick_every_ms == 0) {
        return left;
    }
    int64_t until = pg->tick_at_ms - clock_boot_ms();
    if (until <= 0) {
        pg->tick_at_ms = clock_boot_ms() + pg->tick_every_ms;
        pg->tick(pg->tick_arg);
        until = pg->tick_every_ms;
    }
    return until < left ? until : left;
}

static bool wait_for(struct pg *pg, short events, int64_t deadline_ms, struct error *err)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = PQsocket(pg->conn), .events = events},
                                {.fd = pg->interrupt_fd, .events = POLLIN}};
        int64_t left = deadline_ms - clock_boot_ms();

        if (left <= 0) {
            return error_set(err, ERROR_TIMEOUT, "PostgreSQL: no answer in time");
        }
        left = tick(pg, left);
        int n = poll(fds, 2, left > INT32_MAX ? INT32_MAX : (int)left);
        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, "poll");
        }
        if (n > 0 && fds[0].revents != 0) {
            return true;
        }
        if (n > 0 && fds[1].revents != 0) {
            return error_set(err, ERROR_INTERRUPTED, "PostgreSQL: told to stop while waiting");
        }
    }
}

/* ---- connecting ---- */

/* libpq's text without its line end; of several lines the last says why. */
static bool connection_error(struct pg *pg, const char *what, struct error *err)
{
    struct str text = str_of(PQerrorMessage(pg->conn));

    while (text.len > 0 && text.data[text.len - 1] == '\n') {
        text.len--;
    }
    return error_set(err, ERROR_CONNECTION, "PostgreSQL: %s: %.*s", what, STR_ARG(text));
}

static void drop_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

static bool start(struct pg *pg, struct error *err)
{
    const char *names[5 + PG_HOSTS_MAX] = {"dbname", "fallback_application_name",
                                           "client_encoding"};
    const char *values[5 + PG_HOSTS_MAX] = {pg->conninfo, pg->application_name, "UTF8"};
    struct pg_hosts hosts;
    int n = 3;

    if (!pg_hosts_read(&hosts, pg->conninfo, pg->first_host, err)) {
        return false;
    }
    for (int i = 0; i < hosts.count; i++) {
        names[n] = hosts.names[i];
        values[n++] = hosts.values[i];
    }
    if (pg->password[0] != '\0') {
        names[n] = "password";
        values[n] = pg->password;
    }
    pg->conn = PQconnectStartParams(names, values, 1);
    pg->hosts = hosts.hosts;
    pg_hosts_free(&hosts);
    if (pg->conn == NULL) {
        return error_set(err, ERROR_SYSTEM, "PostgreSQL: out of memory");
    }
    if (PQstatus(pg->conn) == CONNECTION_BAD) {
        return connection_error(pg, "connect", err);
    }
    PQsetNoticeReceiver(pg->conn, drop_notice, NULL);
    return true;
}

static bool finish(struct pg *pg, struct error *err)
{
    int64_t deadline = clock_boot_ms() + pg->connect_timeout_ms;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    while (status != PGRES_POLLING_OK) {
        if (!wait_for(pg, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, err)) {
            return error_wrap(err, "connect");
        }
        status = PQconnectPoll(pg->conn);
        if (status == PGRES_POLLING_FAILED) {
            return connection_error(pg, "connect", err);
        }
    }
    if (PQsetnonblocking(pg->conn, 1) != 0) {
        return connection_error(pg, "connect", err);
    }
    return true;
}

static bool open_connection(struct pg *pg, struct error *err)
{
    for (unsigned tried = 1; !start(pg, err) || !finish(pg, err); tried++) {
        if (err->kind != ERROR_TIMEOUT || tried >= pg->hosts) {
            return false;
        }
        pg_disconnect(pg);
        pg->first_host++;
    }
    int version = PQserverVersion(pg->conn);
    if (version < VERSION_LEAST) {
        return error_set(err, ERROR_CONFIG, "PostgreSQL %d: 15 or newer is needed",
                         version / 10000);
    }
    return pg_script(pg, SESSION_SETTINGS, err);
}

bool pg_connect(struct pg *pg, struct error *err)
{
    if (pg->conn != NULL) {
        return true;
    }
    int64_t left = pg_retry_in_ms(pg);
    if (left > 0) {
        return error_set(err, ERROR_CONNECTION,
                         "PostgreSQL: not connected; next attempt in %lld ms", (long long)left);
    }
    if (open_connection(pg, err)) {
        pg->failures = 0;
        return true;
    }
    pg_disconnect(pg);
    if (err->kind != ERROR_INTERRUPTED) {
        pg->retry_at_ms =
            clock_boot_ms() + clock_backoff_ms(++pg->failures, BACKOFF_BASE_MS, BACKOFF_MAX_MS);
    }
    return false;
}

/* ---- statements ---- */

/* Drops a connection on which an answer may still come. */
static bool give_up(struct pg *pg, struct error *err)
{
    if (err->kind == ERROR_NONE) {
        connection_error(pg, "connection lost", err);
    }
    pg_disconnect(pg);
    return false;
}

static bool flush(struct pg *pg, int64_t deadline, struct error *err)
{
    int more;

    while ((more = PQflush(pg->conn)) > 0) {
        /* The server may have to be read from before it reads on. */
        if (!wait_for(pg, POLLIN | POLLOUT, deadline, err)) {
            return false;
        }
        if (PQconsumeInput(pg->conn) == 0) {
            return false;
        }
    }
    return more == 0;
}

/* The next result, NULL after the last. */
static bool next_result(struct pg *pg, int64_t deadline, PGresult **res, struct error *err)
{
    while (PQisBusy(pg->conn)) {
        if (!wait_for(pg, POLLIN, deadline, err) || PQconsumeInput(pg->conn) == 0) {
            return false;
        }
    }
    *res = PQgetResult(pg->conn);
    return true;
}

/*
 * The primary message alone: detail and context may hold a row. Where the message itself shows the
 * value it could not read (class 22), it ends before that.
 */
static void sql_error(const PGresult *res, struct error *err)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME);

    state = state != NULL ? state : "";
    text = text != NULL ? text : "unknown error";
    const char *value = strncmp(state, "22", 2) == 0 ? strchr(text, '"') : NULL;
    int len = (int)(value != NULL ? (size_t)(value - text) : strlen(text));
    error_set_code(err, ERROR_REMOTE, state, "PostgreSQL: %.*s%s%s%s (%s)", len, text,
                   value != NULL ? "..." : "", constraint != NULL ? ", constraint " : "",
                   constraint != NULL ? constraint : "", state);
}

static bool usable(struct pg *pg, struct error *err)
{
    if (pg->conn == NULL && pg->in_transaction) {
        return error_set(err, ERROR_CONNECTION, "PostgreSQL: the transaction's connection is gone");
    }
    return pg_connect(pg, err);
}

/* Keeps the last result; an error among them wins. Reads to the end, so that the connection is
 * ready for the next statement. */
static bool collect(struct pg *pg, int64_t deadline, PGresult **last, struct error *err)
{
    PGresult *res;
    bool ok = true;

    *last = NULL;
    for (;;) {
        if (!next_result(pg, deadline, &res, err)) {
            give_up(pg, err);
            goto fail;
        }
        if (res == NULL) {
            break;
        }
        ExecStatusType status = PQresultStatus(res);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            PQclear(res);
            error_set(err, ERROR_INPUT, "PostgreSQL: COPY is not for here");
            give_up(pg, err);
            goto fail;
        }
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK &&
            status != PGRES_EMPTY_QUERY && ok) {
            sql_error(res, err);
            ok = false;
        }
        PQclear(*last);
        *last = res;
    }
    if (PQstatus(pg->conn) == CONNECTION_BAD) {
        /* An administrator's shutdown comes as an SQL error first: keep its words. */
        if (ok) {
            connection_error(pg, "connection lost", err);
        }
        pg_disconnect(pg);
        goto fail;
    }
    if (ok) {
        return true;
    }
    /* A standby, or a database that was made read-only: a session may stay so when that is over,
     * and a new one may be led to another server. */
    if (strcmp(err->code, "25006") == 0) {
        pg_disconnect(pg);
    }

fail:
    PQclear(*last);
    *last = NULL;
    return false;
}

/* How a statement goes: libpq's calls differ in nothing else. */
enum way { WAY_SCRIPT, WAY_ONCE, WAY_PREPARE, WAY_PREPARED };

static int put(struct pg *pg, enum way way, const char *name, const char *sql,
               const struct pg_args *args)
{
    static const struct pg_args none;

    args = args != NULL ? args : &none;
    switch (way) {
    case WAY_SCRIPT:
        return PQsendQuery(pg->conn, sql);
    case WAY_ONCE:
        return PQsendQueryParams(pg->conn, sql, args->count, args->types, args->values,
                                 args->lengths, args->formats, 0);
    case WAY_PREPARE:
        return PQsendPrepare(pg->conn, name, sql, args->count, args->types);
    case WAY_PREPARED:
        return PQsendQueryPrepared(pg->conn, name, args->count, args->values, args->lengths,
                                   args->formats, 0);
    }
    return 0;
}

static bool run(struct pg *pg, enum way way, const char *name, const char *sql,
                const struct pg_args *args, PGresult **res, struct error *err)
{
    int64_t deadline = clock_boot_ms() + pg->timeout_ms;

    error_clear(err);
    if (put(pg, way, name, sql, args) == 0 || !flush(pg, deadline, err)) {
        return give_up(pg, err);
    }
    return collect(pg, deadline, res, err);
}

static bool run_plain(struct pg *pg, enum way way, const char *sql, struct error *err)
{
    PGresult *raw;

    if (!run(pg, way, NULL, sql, NULL, &raw, err)) {
        return false;
    }
    PQclear(raw);
    return true;
}

/* Gives the name that the statement has on this connection; false: it could not be prepared. */
static bool prepare(struct pg *pg, const char *sql, const struct pg_args *args, char name[12],
                    struct error *err)
{
    PGresult *raw;
    int n = 0;

    /* Also where we know of none: one may be there that an answer was lost of. */
    if (clock_boot_ms() >= pg->prepared_until_ms) {
        if (!run_plain(pg, WAY_ONCE, "DEALLOCATE ALL", err)) {
            return false;
        }
        pg->nprepared = 0;
        pg->prepared_until_ms = clock_boot_ms() + PREPARED_MS;
    }
    while (n < pg->nprepared && pg->prepared[n] != sql) {
        n++;
    }
    if (n == PREPARED_MAX) {
        return error_set(err, ERROR_SYSTEM, "PostgreSQL: too many prepared statements");
    }
    snprintf(name, 12, "%d", n);
    if (n < pg->nprepared) {
        return true;
    }
    if (!run(pg, WAY_PREPARE, name, sql, args, &raw, err)) {
        return false;
    }
    PQclear(raw);
    pg->prepared[pg->nprepared++] = sql;
    return true;
}

static bool run_prepared(struct pg *pg, const char *sql, const struct pg_args *args, PGresult **res,
                         struct error *err)
{
    char name[12];

    if (prepare(pg, sql, args, name, err) && run(pg, WAY_PREPARED, name, NULL, args, res, err)) {
        return true;
    }
    pg->prepared_until_ms = 0; /* whatever is wrong with them, they are made anew */
    return false;
}

static bool exec(struct pg *pg, enum way way, const char *sql, const struct pg_args *args,
                 struct pg_result **res, struct error *err)
{
    PGresult *raw;

    if (res != NULL) {
        *res = NULL;
    }
    if (args != NULL && args->problem != NULL) {
        return error_set(err, ERROR_INPUT, "PostgreSQL: %s", args->problem);
    }
    if (!usable(pg, err) || !(way == WAY_PREPARED ? run_prepared(pg, sql, args, &raw, err)
                                                  : run(pg, way, NULL, sql, args, &raw, err))) {
        return false;
    }
    if (res != NULL) {
        *res = pg_result_wrap(raw);
    } else {
        PQclear(raw);
    }
    return true;
}

bool pg_exec(struct pg *pg, const char *sql, const struct pg_args *args, struct pg_result **res,
             struct error *err)
{
    return exec(pg, WAY_ONCE, sql, args, res, err);
}

bool pg_exec_prepared(struct pg *pg, const char *sql, const struct pg_args *args,
                      struct pg_result **res, struct error *err)
{
    return exec(pg, WAY_PREPARED, sql, args, res, err);
}

bool pg_script(struct pg *pg, const char *sql, struct error *err)
{
    return usable(pg, err) && run_plain(pg, WAY_SCRIPT, sql, err);
}

bool pg_begin(struct pg *pg, struct error *err)
{
    pg->in_transaction = false;
    pg->in_transaction = pg_exec(pg, "BEGIN", NULL, NULL, err);
    return pg->in_transaction;
}

bool pg_commit(struct pg *pg, struct error *err)
{
    PGresult *raw;

    if (!usable(pg, err)) {
        return false;
    }
    if (!run(pg, WAY_ONCE, NULL, "COMMIT", NULL, &raw, err)) {
        return false;
    }
    pg->in_transaction = false;
    /* COMMIT of a transaction that had failed succeeds, and rolls back. */
    bool committed = strcmp(PQcmdStatus(raw), "COMMIT") == 0;
    PQclear(raw);
    if (!committed) {
        return error_set_code(err, ERROR_REMOTE, "25P02", "PostgreSQL: rolled back at commit");
    }
    return true;
}

void pg_rollback(struct pg *pg)
{
    struct error err;

    pg->in_transaction = false;
    if (pg->conn == NULL || PQtransactionStatus(pg->conn) == PQTRANS_IDLE) {
        return;
    }
    if (PQtransactionStatus(pg->conn) == PQTRANS_ACTIVE ||
        !run_plain(pg, WAY_ONCE, "ROLLBACK", &err)) {
        pg_disconnect(pg);
    }
}

bool pg_notified(struct pg *pg, struct error *err)
{
    bool any = false;
    PGnotify *note;

    error_clear(err);
    if (pg->conn == NULL) {
        return error_set(err, ERROR_CONNECTION, "PostgreSQL: not connected");
    }
    if (PQconsumeInput(pg->conn) == 0) {
        return give_up(pg, err);
    }
    while ((note = PQnotifies(pg->conn)) != NULL) {
        any = true;
        PQfreemem(note);
    }
    return any;
}

bool pg_exec_take(struct pg *pg, const char *sql, struct pg_args *args, struct pg_result **res,
                  struct error *err)
{
    bool ok = pg_exec(pg, sql, args, res, err);

    pg_args_destroy(&args);
    return ok;
}
