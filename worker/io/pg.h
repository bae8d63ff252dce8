/*
 * PostgreSQL over libpq's non-blocking calls. libpq never gives up on a stalled server, so every
 * wait goes through one function: send, poll, consume, with a deadline; past it the connection is
 * dropped. While it waits it sees the interrupt descriptor and calls the tick (store renews its
 * Redis lease there).
 */
#ifndef STUDY_IO_PG_H
#define STUDY_IO_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"

struct pg;
struct pg_result;

/* Settings: config's [postgres]. application_name is shown in pg_stat_activity. No connection yet.
 */
struct pg *pg_create(const struct config *config, const char *application_name);
void pg_destroy(struct pg **pg);

void pg_set_interrupt(struct pg *pg, int fd);
void pg_set_tick(struct pg *pg, int every_ms, void (*tick)(void *arg), void *arg);
void pg_set_deadline(struct pg *pg, int64_t ms); /* per statement; default [postgres] timeout */

/* Connects if not connected; server older than 15 is ERROR_CONFIG. Failed attempts are spaced by a
 * jittered backoff: until it has passed this answers ERROR_CONNECTION at once. */
bool pg_connect(struct pg *pg, struct error *err);
void pg_disconnect(struct pg *pg);
bool pg_is_connected(const struct pg *pg);
int pg_fd(const struct pg *pg);              /* -1 when not connected */
int64_t pg_retry_in_ms(const struct pg *pg); /* 0: connect may be tried now */

/*
 * Parameters. Strings are borrowed until pg_exec has returned; NUL inside text, and anything else
 * that cannot be sent, is ERROR_INPUT there. Types are as named: text for another type wants a cast
 * in the statement ($1::jsonb).
 */
#define PG_ARGS_MAX 40
struct pg_args;
struct pg_args *pg_args_create(void);
struct pg_args *pg_args_pair(const char *a, const char *b); /* with two texts in them already */
void pg_args_destroy(struct pg_args **args);
void pg_args_reset(struct pg_args *args);
void pg_arg_str(struct pg_args *args, struct str s); /* text; absent is NULL */
void pg_arg_cstr(struct pg_args *args, const char *s);
void pg_arg_int(struct pg_args *args, int64_t v); /* bigint */
void pg_arg_bool(struct pg_args *args, bool v);
void pg_arg_double(struct pg_args *args, double v);
void pg_arg_time(struct pg_args *args, int64_t unix_us); /* timestamptz; INT64_MIN is NULL */
void pg_arg_bytes(struct pg_args *args, struct str s);   /* bytea */

/* Array parameters for unnest($1::text[], ...), sent in binary. Elements are copied as they are
 * added; the array is borrowed until pg_exec has returned. */
enum pg_array_type {
    PG_TEXT_ARRAY,
    PG_INT8_ARRAY,
    PG_BOOL_ARRAY,
    PG_TIMESTAMPTZ_ARRAY,
    PG_BYTEA_ARRAY
};
struct pg_array;
struct pg_array *pg_array_create(enum pg_array_type type);
void pg_array_destroy(struct pg_array **array);
void pg_array_reset(struct pg_array *array);
size_t pg_array_size(const struct pg_array *array);
void pg_array_str(struct pg_array *array, struct str s); /* text, bytea; absent is NULL */
void pg_array_int(struct pg_array *array, int64_t v);
void pg_array_bool(struct pg_array *array, bool v);
void pg_array_time(struct pg_array *array, int64_t unix_us); /* INT64_MIN is NULL */
void pg_array_null(struct pg_array *array);
void pg_arg_array(struct pg_args *args, const struct pg_array *array);
/*
 * The same for SELECT unnest($1), unnest($2), ...: with nothing but NULL in it, it goes empty, as
 * the shorter ones of such a list are filled up with NULL. One must have a value in each row.
 */
void pg_arg_column(struct pg_args *args, const struct pg_array *array);

/*
 * One statement with parameters ($1...), args may be NULL. *res may be NULL when no rows are
 * wanted. An SQL error is ERROR_REMOTE with the SQLSTATE as code and the primary message only (the
 * detail may hold a member's text). Time-out, lost connection, a session that may only read
 * (25006): disconnected.
 */
bool pg_exec(struct pg *pg, const char *sql, const struct pg_args *args, struct pg_result **res,
             struct error *err);
/*
 * The same for a statement that is run again and again: parsed and planned once, and anew after ten
 * seconds, after a failure and on a new connection. `sql` is known by its address, so it must be a
 * constant; at most 16 of them a connection. Where the number of elements of an array decides how a
 * statement is best run, this is not for it: the plan is made for any number.
 */
bool pg_exec_prepared(struct pg *pg, const char *sql, const struct pg_args *args,
                      struct pg_result **res, struct error *err);
/* pg_exec, and destroys the arguments. */
bool pg_exec_take(struct pg *pg, const char *sql, struct pg_args *args, struct pg_result **res,
                  struct error *err);
/* Several statements at once without parameters: migrations. */
bool pg_script(struct pg *pg, const char *sql, struct error *err);
/*
 * Statements connect by themselves, but never inside a transaction whose connection was lost: until
 * pg_rollback or the next pg_begin they are ERROR_CONNECTION. A failed commit's outcome may be
 * unknown. pg_rollback works in every state and drops the connection if it must.
 */
bool pg_begin(struct pg *pg, struct error *err);
bool pg_commit(struct pg *pg, struct error *err);
void pg_rollback(struct pg *pg);

int pg_rows(const struct pg_result *res);
int64_t pg_affected(const struct pg_result *res);
bool pg_is_null(const struct pg_result *res, int row, int col);
struct str pg_str(const struct pg_result *res, int row, int col); /* absent when NULL */
char *pg_dup(const struct pg_result *res, int row, int col);      /* malloc'ed; NULL when NULL */
int64_t pg_int(const struct pg_result *res, int row, int col);    /* 0 when NULL */
double pg_double(const struct pg_result *res, int row, int col);
bool pg_bool(const struct pg_result *res, int row, int col);
/* Of a bytea column, decoded; absent when NULL; lives as long as the result. */
struct str pg_bytes(struct pg_result *res, int row, int col);
const char *pg_column(const struct pg_result *res, int col);
int pg_columns(const struct pg_result *res);
enum pg_type { PG_TYPE_TEXT, PG_TYPE_NUMBER, PG_TYPE_BOOL, PG_TYPE_TIME, PG_TYPE_JSON };
enum pg_type pg_column_type(const struct pg_result *res,
                            int col); /* what is none of them is text */
void pg_result_destroy(struct pg_result **res);

/* LISTEN: pg_notified consumes what has arrived and tells whether any notification was among it. */
bool pg_notified(struct pg *pg, struct error *err);

/* What a failed statement means for the work in hand, from the SQLSTATE's class. */
enum pg_verdict {
    PG_RETRY, /* serialisation, deadlock, lost connection, time-out, standby, resources: again later
               */
    PG_BAD_INPUT, /* data exceptions, constraint violations: this row will never go in */
    PG_BROKEN     /* syntax, missing table or right: an operator must act; retry slowly */
};
enum pg_verdict pg_verdict(const struct error *err);

#endif
