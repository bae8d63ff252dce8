/*
 * Parameters of statements. Scalars of fixed width and arrays go in binary: no quoting, no rounding
 * of times, and an array of a thousand texts is one buffer. Text goes as it is.
 *
 * Array layout (array_recv in PostgreSQL's src/backend/utils/adt/arrayfuncs.c): dimensions, has
 * null, element type, then of each dimension its size and lower bound, then each element's length
 * (-1: NULL) and bytes, all big-endian. Times are microseconds since 2000-01-01.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "io/pg.h"
#include "io/pg_args.h"

/* src/include/catalog/pg_type.dat */
#define OID_BOOL              16
#define OID_BYTEA             17
#define OID_INT8              20
#define OID_TEXT              25
#define OID_FLOAT8            701
#define OID_BOOL_ARRAY        1000
#define OID_BYTEA_ARRAY       1001
#define OID_TEXT_ARRAY        1009
#define OID_INT8_ARRAY        1016
#define OID_TIMESTAMPTZ       1184
#define OID_TIMESTAMPTZ_ARRAY 1185

#define EPOCH_2000_US INT64_C(946684800000000)

#define ARRAY_BYTES_MAX (256 * 1024 * 1024)
#define ARRAY_HEADER    20

struct pg_array {
    enum pg_array_type type;
    size_t size;
    bool has_null, has_value;
    const char *problem;
    struct text data; /* the header is filled in when the array is used */
};

static const struct {
    unsigned array, element;
} array_oids[] = {
    [PG_TEXT_ARRAY] = {OID_TEXT_ARRAY, OID_TEXT},
    [PG_INT8_ARRAY] = {OID_INT8_ARRAY, OID_INT8},
    [PG_BOOL_ARRAY] = {OID_BOOL_ARRAY, OID_BOOL},
    [PG_TIMESTAMPTZ_ARRAY] = {OID_TIMESTAMPTZ_ARRAY, OID_TIMESTAMPTZ},
    [PG_BYTEA_ARRAY] = {OID_BYTEA_ARRAY, OID_BYTEA},
};

struct pg_args *pg_args_create(void)
{
    struct pg_args *args = calloc(1, sizeof(*args));

    if (args == NULL) {
        abort();
    }
    return args;
}

struct pg_args *pg_args_pair(const char *a, const char *b)
{
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, a);
    pg_arg_cstr(args, b);
    return args;
}

void pg_args_destroy(struct pg_args **args)
{
    if (*args == NULL) {
        return;
    }
    pg_args_reset(*args);
    free(*args);
    *args = NULL;
}

void pg_args_reset(struct pg_args *args)
{
    for (int i = 0; i < args->count; i++) {
        free(args->copies[i]);
    }
    memset(args, 0, sizeof(*args));
}

/* More than PG_ARGS_MAX is told by pg_exec. */
static void put(struct pg_args *args, unsigned oid, const char *value, size_t len, int format)
{
    if (args->count == PG_ARGS_MAX) {
        args->problem = "too many parameters";
        return;
    }
    int i = args->count++;
    args->types[i] = oid;
    args->values[i] = value;
    args->lengths[i] = (int)len;
    args->formats[i] = format;
}

/* libpq wants text NUL-terminated, and a borrowed str need not be. */
static void put_copy(struct pg_args *args, unsigned oid, struct str s, int format)
{
    if (args->count == PG_ARGS_MAX) {
        args->problem = "too many parameters";
        return;
    }
    char *copy = str_dup(s);
    args->copies[args->count] = copy;
    put(args, oid, copy, s.len, format);
}

static void put_word(struct pg_args *args, unsigned oid, uint64_t word)
{
    if (args->count < PG_ARGS_MAX) {
        args->words[args->count] = htobe64(word);
    }
    put(args, oid, (const char *)&args->words[args->count % PG_ARGS_MAX], sizeof(word), 1);
}

void pg_arg_str(struct pg_args *args, struct str s)
{
    if (s.data == NULL) {
        put(args, OID_TEXT, NULL, 0, 0);
    } else if (memchr(s.data, '\0', s.len) != NULL) {
        args->problem = "a NUL byte in text";
    } else {
        put_copy(args, OID_TEXT, s, 0);
    }
}

void pg_arg_cstr(struct pg_args *args, const char *s)
{
    put(args, OID_TEXT, s, 0, 0);
}

void pg_arg_int(struct pg_args *args, int64_t v)
{
    put_word(args, OID_INT8, (uint64_t)v);
}

void pg_arg_bool(struct pg_args *args, bool v)
{
    put(args, OID_BOOL, v ? "\1" : "\0", 1, 1);
}

void pg_arg_double(struct pg_args *args, double v)
{
    uint64_t word;

    memcpy(&word, &v, sizeof(word));
    put_word(args, OID_FLOAT8, word);
}

void pg_arg_time(struct pg_args *args, int64_t unix_us)
{
    if (unix_us == INT64_MIN) {
        put(args, OID_TIMESTAMPTZ, NULL, 0, 1);
    } else {
        put_word(args, OID_TIMESTAMPTZ, (uint64_t)(unix_us - EPOCH_2000_US));
    }
}

void pg_arg_bytes(struct pg_args *args, struct str s)
{
    if (s.data != NULL && s.len > INT32_MAX) {
        args->problem = "more bytes than a value can hold";
    } else {
        put(args, OID_BYTEA, s.data, s.len, 1);
    }
}

struct pg_array *pg_array_create(enum pg_array_type type)
{
    struct pg_array *array = calloc(1, sizeof(*array));

    if (array == NULL) {
        abort();
    }
    array->type = type;
    text_init(&array->data, ARRAY_BYTES_MAX);
    pg_array_reset(array);
    return array;
}

void pg_array_destroy(struct pg_array **array)
{
    if (*array == NULL) {
        return;
    }
    text_free(&(*array)->data);
    free(*array);
    *array = NULL;
}

static void append(struct pg_array *array, const void *data, size_t len)
{
    text_add(&array->data, (struct str){data, len});
}

static void append_u32(struct pg_array *array, uint32_t v)
{
    v = htobe32(v);
    append(array, &v, sizeof(v));
}

void pg_array_reset(struct pg_array *array)
{
    static const char header[ARRAY_HEADER];

    text_reset(&array->data);
    append(array, header, sizeof(header));
    array->size = 0;
    array->has_null = array->has_value = false;
    array->problem = NULL;
}

size_t pg_array_size(const struct pg_array *array)
{
    return array->size;
}

void pg_array_null(struct pg_array *array)
{
    append_u32(array, UINT32_MAX);
    array->has_null = true;
    array->size++;
}

/* The element must be of the array's type: a slip here would be read as other data. */
static bool element(struct pg_array *array, bool fits, size_t len)
{
    if (!fits) {
        array->problem = "an element of another type than the array's";
        return false;
    }
    append_u32(array, (uint32_t)len);
    array->has_value = true;
    array->size++;
    return true;
}

void pg_array_str(struct pg_array *array, struct str s)
{
    bool text = array->type == PG_TEXT_ARRAY;

    if (s.data == NULL) {
        pg_array_null(array);
    } else if (text && memchr(s.data, '\0', s.len) != NULL) {
        array->problem = "a NUL byte in text";
    } else if (element(array, text || array->type == PG_BYTEA_ARRAY, s.len)) {
        append(array, s.data, s.len);
    }
}

static void element_word(struct pg_array *array, enum pg_array_type type, int64_t v)
{
    if (element(array, array->type == type, sizeof(v))) {
        uint64_t word = htobe64((uint64_t)v);
        append(array, &word, sizeof(word));
    }
}

void pg_array_int(struct pg_array *array, int64_t v)
{
    element_word(array, PG_INT8_ARRAY, v);
}

void pg_array_bool(struct pg_array *array, bool v)
{
    if (element(array, array->type == PG_BOOL_ARRAY, 1)) {
        append(array, v ? "\1" : "\0", 1);
    }
}

void pg_array_time(struct pg_array *array, int64_t unix_us)
{
    if (unix_us == INT64_MIN) {
        pg_array_null(array);
    } else {
        element_word(array, PG_TIMESTAMPTZ_ARRAY, unix_us - EPOCH_2000_US);
    }
}

static void put_array(struct pg_args *args, const struct pg_array *array, bool some)
{
    uint32_t header[ARRAY_HEADER / 4] = {
        htobe32(some ? 1 : 0),
        htobe32(array->has_null),
        htobe32(array_oids[array->type].element),
        htobe32((uint32_t)array->size),
        htobe32(1),
    };

    if (array->problem != NULL || array->data.truncated) {
        args->problem = array->problem != NULL ? array->problem : "an array past its limit";
        return;
    }
    /* Without elements there are no dimensions, and the last two words are not there. */
    memcpy(array->data.data, header, sizeof(header));
    put(args, array_oids[array->type].array, array->data.data, some ? array->data.len : 12, 1);
}

void pg_arg_array(struct pg_args *args, const struct pg_array *array)
{
    put_array(args, array, array->size > 0);
}

void pg_arg_column(struct pg_args *args, const struct pg_array *array)
{
    put_array(args, array, array->has_value);
}
