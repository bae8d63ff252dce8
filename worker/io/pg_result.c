/* Rows as they are read, and what a failed statement means. Values come as text, but for bytea. */
#include "io/pg_result.h"

#include <stdlib.h>
#include <string.h>

struct decoded {
    struct decoded *next;
    unsigned char *data;
};

struct pg_result {
    PGresult *raw;
    struct decoded *decoded;
};

struct pg_result *pg_result_wrap(PGresult *raw)
{
    struct pg_result *res = calloc(1, sizeof(*res));

    if (res == NULL) {
        abort();
    }
    res->raw = raw;
    return res;
}

void pg_result_destroy(struct pg_result **res)
{
    if (*res == NULL) {
        return;
    }
    for (struct decoded *d = (*res)->decoded; d != NULL;) {
        struct decoded *next = d->next;
        PQfreemem(d->data);
        free(d);
        d = next;
    }
    PQclear((*res)->raw);
    free(*res);
    *res = NULL;
}

int pg_rows(const struct pg_result *res)
{
    return PQntuples(res->raw);
}

int64_t pg_affected(const struct pg_result *res)
{
    return strtoll(PQcmdTuples(res->raw), NULL, 10);
}

bool pg_is_null(const struct pg_result *res, int row, int col)
{
    return PQgetisnull(res->raw, row, col) != 0;
}

struct str pg_str(const struct pg_result *res, int row, int col)
{
    if (pg_is_null(res, row, col)) {
        return STR_NULL;
    }
    return (struct str){PQgetvalue(res->raw, row, col), (size_t)PQgetlength(res->raw, row, col)};
}

char *pg_dup(const struct pg_result *res, int row, int col)
{
    return pg_is_null(res, row, col) ? NULL : str_dup(pg_str(res, row, col));
}

int64_t pg_int(const struct pg_result *res, int row, int col)
{
    return strtoll(PQgetvalue(res->raw, row, col), NULL, 10);
}

double pg_double(const struct pg_result *res, int row, int col)
{
    return strtod(PQgetvalue(res->raw, row, col), NULL);
}

bool pg_bool(const struct pg_result *res, int row, int col)
{
    return PQgetvalue(res->raw, row, col)[0] == 't';
}

struct str pg_bytes(struct pg_result *res, int row, int col)
{
    size_t len;

    if (pg_is_null(res, row, col)) {
        return STR_NULL;
    }
    struct decoded *d = malloc(sizeof(*d));
    if (d == NULL) {
        abort();
    }
    d->data = PQunescapeBytea((const unsigned char *)PQgetvalue(res->raw, row, col), &len);
    if (d->data == NULL) {
        abort();
    }
    d->next = res->decoded;
    res->decoded = d;
    return (struct str){(const char *)d->data, len};
}

const char *pg_column(const struct pg_result *res, int col)
{
    return PQfname(res->raw, col);
}

int pg_columns(const struct pg_result *res)
{
    return PQnfields(res->raw);
}

/* src/include/catalog/pg_type.dat */
enum pg_type pg_column_type(const struct pg_result *res, int col)
{
    switch (PQftype(res->raw, col)) {
    case 16:
        return PG_TYPE_BOOL;
    case 20:   /* int8 */
    case 21:   /* int2 */
    case 23:   /* int4 */
    case 700:  /* float4 */
    case 701:  /* float8 */
    case 1700: /* numeric */
        return PG_TYPE_NUMBER;
    case 1184: /* timestamptz */
        return PG_TYPE_TIME;
    case 114:  /* json */
    case 3802: /* jsonb */
        return PG_TYPE_JSON;
    default:
        return PG_TYPE_TEXT;
    }
}

/* Classes: https://www.postgresql.org/docs/15/errcodes-appendix.html */
enum pg_verdict pg_verdict(const struct error *err)
{
    static const char *const retry[] = {
        "08",             /* connection */
        "40",             /* serialisation, deadlock */
        "53",             /* disk, memory, connections */
        "55P03", "55006", /* lock not available, object in use */
        "57",             /* cancelled, shutting down, starting */
        "58",             /* the server's system calls */
        "25006",          /* read-only: a standby, or on its way */
        "25P02", "25P03", /* the transaction is gone */
        "26000",          /* a prepared statement is: it is made anew */
        "0A000",          /* its columns are others since a migration: likewise */
    };
    static const char *const input[] = {
        "22",    /* data exceptions */
        "23",    /* constraint violations */
        "54",    /* program limits: a value too large for its index, say */
        "44000", /* WITH CHECK OPTION */
        "P0001", /* RAISE EXCEPTION */
    };

    if (err->kind == ERROR_INPUT) {
        return PG_BAD_INPUT;
    }
    if (err->kind == ERROR_CONFIG) {
        return PG_BROKEN;
    }
    if (err->kind != ERROR_REMOTE) {
        return PG_RETRY;
    }
    for (size_t i = 0; i < sizeof(retry) / sizeof(retry[0]); i++) {
        if (strncmp(err->code, retry[i], strlen(retry[i])) == 0) {
            return PG_RETRY;
        }
    }
    for (size_t i = 0; i < sizeof(input) / sizeof(input[0]); i++) {
        if (strncmp(err->code, input[i], strlen(input[i])) == 0) {
            return PG_BAD_INPUT;
        }
    }
    return PG_BROKEN;
}
