/*
 * Writing JSON through yajl_gen into a bounded text. yajl_gen puts commas, colons and escapes; what
 * it does not look at (a bracket closed by the other kind, a member without a value, one value
 * after another, UTF-8 beyond its shape) is kept track of here. The first fault sticks until reset.
 */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

enum place { IN_ROOT, IN_ARRAY, BEFORE_KEY, BEFORE_VALUE };

struct json_writer {
    yajl_gen gen;
    struct text out;
    enum place places[JSON_DEPTH_MAX + 1];
    size_t depth;
    bool written; /* the root value has begun */
    const char *fault;
};

static void print(void *arg, const char *data, size_t len)
{
    struct json_writer *w = arg;

    text_add(&w->out, (struct str){data, len});
}

struct json_writer *json_writer_create(size_t limit)
{
    struct json_writer *w = calloc(1, sizeof(*w));

    if (w == NULL || (w->gen = yajl_gen_alloc(NULL)) == NULL) {
        abort();
    }
    yajl_gen_config(w->gen, yajl_gen_print_callback, print, w);
    text_init(&w->out, limit);
    return w;
}

void json_writer_destroy(struct json_writer **w)
{
    if (*w == NULL) {
        return;
    }
    yajl_gen_free((*w)->gen);
    text_free(&(*w)->out);
    free(*w);
    *w = NULL;
}

void json_writer_reset(struct json_writer *w)
{
    yajl_gen_reset(w->gen, NULL);
    text_reset(&w->out);
    w->depth = 0;
    w->places[0] = IN_ROOT;
    w->written = false;
    w->fault = NULL;
}

static bool fault(struct json_writer *w, const char *why)
{
    if (w->fault == NULL) {
        w->fault = why;
    }
    return false;
}

/* May a value stand here? If so, what is expected after it. */
static bool value_begins(struct json_writer *w)
{
    enum place *place = &w->places[w->depth];

    if (w->fault != NULL) {
        return false;
    }
    switch (*place) {
    case IN_ROOT:
        if (w->written) {
            return fault(w, "two values at the top");
        }
        w->written = true;
        return true;
    case IN_ARRAY:
        return true;
    case BEFORE_KEY:
        return fault(w, "a value where a key belongs");
    case BEFORE_VALUE:
        *place = BEFORE_KEY;
        return true;
    }
    return false;
}

static void check(struct json_writer *w, yajl_gen_status status)
{
    if (status != yajl_gen_status_ok && status != yajl_gen_generation_complete) {
        fault(w, "not representable");
    }
}

static bool container_begins(struct json_writer *w, enum place inside)
{
    if (!value_begins(w)) {
        return false;
    }
    if (w->depth == JSON_DEPTH_MAX) {
        return fault(w, "nested too deeply");
    }
    w->places[++w->depth] = inside;
    return true;
}

static bool container_ends(struct json_writer *w, enum place inside)
{
    if (w->fault != NULL) {
        return false;
    }
    if (w->depth == 0 || w->places[w->depth] != inside) {
        return fault(w, "a bracket closed that was not open");
    }
    w->depth--;
    return true;
}

void json_object_begin(struct json_writer *w)
{
    if (container_begins(w, BEFORE_KEY)) {
        check(w, yajl_gen_map_open(w->gen));
    }
}

void json_object_end(struct json_writer *w)
{
    if (container_ends(w, BEFORE_KEY)) {
        check(w, yajl_gen_map_close(w->gen));
    }
}

void json_array_begin(struct json_writer *w)
{
    if (container_begins(w, IN_ARRAY)) {
        check(w, yajl_gen_array_open(w->gen));
    }
}

void json_array_end(struct json_writer *w)
{
    if (container_ends(w, IN_ARRAY)) {
        check(w, yajl_gen_array_close(w->gen));
    }
}

static void put_string(struct json_writer *w, struct str s)
{
    if (!utf8_valid(s)) {
        fault(w, "invalid UTF-8");
        return;
    }
    check(w, yajl_gen_string(w->gen, (const unsigned char *)s.data, s.len));
}

static void put_key(struct json_writer *w, struct str key)
{
    if (w->fault != NULL) {
        return;
    }
    if (w->places[w->depth] != BEFORE_KEY) {
        fault(w, "a key where none belongs");
        return;
    }
    w->places[w->depth] = BEFORE_VALUE;
    put_string(w, key);
}

void json_put_key(struct json_writer *w, const char *key)
{
    put_key(w, str_of(key));
}

void json_put_str(struct json_writer *w, struct str s)
{
    if (s.data == NULL) {
        json_put_null(w);
    } else if (value_begins(w)) {
        put_string(w, s);
    }
}

void json_put_cstr(struct json_writer *w, const char *s)
{
    json_put_str(w, str_of(s));
}

static void put_atom(struct json_writer *w, const char *text, size_t len)
{
    if (value_begins(w)) {
        check(w, yajl_gen_number(w->gen, text, len));
    }
}

void json_put_int(struct json_writer *w, int64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%" PRId64, v);

    put_atom(w, digits, (size_t)n);
}

/* The shortest digits that read back as the same number; yajl_gen_double would write 0.1 in full.
 */
void json_put_double(struct json_writer *w, double v)
{
    char digits[40];
    int n = 0;

    if (!isfinite(v)) {
        fault(w, "a number that is not finite");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        n = snprintf(digits, sizeof(digits), "%.*g", precision, v);
        if (strtod(digits, NULL) == v) {
            break;
        }
    }
    put_atom(w, digits, (size_t)n);
}

void json_put_bool(struct json_writer *w, bool v)
{
    if (value_begins(w)) {
        check(w, yajl_gen_bool(w->gen, v));
    }
}

void json_put_null(struct json_writer *w)
{
    if (value_begins(w)) {
        check(w, yajl_gen_null(w->gen));
    }
}

void json_put_raw(struct json_writer *w, struct str json)
{
    put_atom(w, json.data, json.len);
}

void json_put_node(struct json_writer *w, const struct json *node)
{
    struct str number;

    switch (json_type(node)) {
    case JSON_NULL:
        json_put_null(w);
        return;
    case JSON_BOOL:
        json_put_bool(w, json_bool(node));
        return;
    case JSON_NUMBER:
        number = json_number_text(node);
        put_atom(w, number.data, number.len);
        return;
    case JSON_STRING:
        json_put_str(w, json_string(node));
        return;
    case JSON_ARRAY:
        json_array_begin(w);
        for (size_t i = 0; i < json_size(node); i++) {
            json_put_node(w, json_at(node, i));
        }
        json_array_end(w);
        return;
    case JSON_OBJECT:
        json_object_begin(w);
        for (size_t i = 0; i < json_size(node); i++) {
            put_key(w, json_key(node, i));
            json_put_node(w, json_value(node, i));
        }
        json_object_end(w);
        return;
    }
}

void json_put_kstr(struct json_writer *w, const char *key, struct str s)
{
    json_put_key(w, key);
    json_put_str(w, s);
}

void json_put_kcstr(struct json_writer *w, const char *key, const char *s)
{
    json_put_key(w, key);
    json_put_cstr(w, s);
}

void json_put_kint(struct json_writer *w, const char *key, int64_t v)
{
    json_put_key(w, key);
    json_put_int(w, v);
}

void json_put_kbool(struct json_writer *w, const char *key, bool v)
{
    json_put_key(w, key);
    json_put_bool(w, v);
}

bool json_writer_done(const struct json_writer *w, struct str *out, struct error *err)
{
    const char *why = w->fault;

    if (why == NULL && w->out.truncated) {
        why = "longer than its limit";
    }
    if (why == NULL && (w->depth != 0 || !w->written)) {
        why = "not complete";
    }
    if (why != NULL) {
        return error_set(err, ERROR_INPUT, "JSON to write: %s", why);
    }
    *out = text_str(&w->out);
    return true;
}
