/*
 * What is wrong with a text that was refused, in yajl's words. It takes surrogates and overlong
 * forms for UTF-8, and any depth, so these are looked for in its callbacks.
 */
#include "base/json_refuse.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "base/json.h"

struct search {
    unsigned depth;
    const char *problem; /* why we stopped it, if it was us */
};

static int on_string(void *arg, const unsigned char *data, size_t len)
{
    struct search *s = arg;

    if (!utf8_valid((struct str){(const char *)data, len})) {
        s->problem = "invalid UTF-8 in a string";
    }
    return s->problem == NULL;
}

static int on_start(void *arg)
{
    struct search *s = arg;

    if (s->depth++ == JSON_DEPTH_MAX) {
        s->problem = "nested too deeply";
    }
    return s->problem == NULL;
}

static int on_end(void *arg)
{
    struct search *s = arg;

    s->depth--;
    return 1;
}

/* Otherwise it would refuse numbers that are too large for its own types. */
static int on_number(void *arg, const char *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_map_key = on_string,
    .yajl_start_map = on_start,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start,
    .yajl_end_array = on_end,
};

/* Without the text around the place, which may be a member's. */
static void explain(yajl_handle handle, const char *problem, struct error *err)
{
    size_t at = yajl_get_bytes_consumed(handle);
    unsigned char *words = NULL;

    if (problem == NULL) {
        words = yajl_get_error(handle, 0, NULL, 0);
        problem = words != NULL ? (const char *)words : "malformed";
    }
    error_set(err, ERROR_INPUT, "JSON: %.*s near byte %zu", (int)strcspn(problem, "\n"), problem,
              at);
    if (words != NULL) {
        yajl_free_error(handle, words);
    }
}

bool json_refuse(struct str in, struct error *err)
{
    struct search s = {0};
    yajl_handle handle = yajl_alloc(&callbacks, NULL, &s);
    yajl_status status = yajl_status_ok;

    if (handle == NULL) {
        abort();
    }
    if (in.len > 0) {
        status = yajl_parse(handle, (const unsigned char *)in.data, in.len);
    }
    if (status == yajl_status_ok && yajl_complete_parse(handle) == yajl_status_ok) {
        s.problem = "trailing garbage"; /* half a token, which is all that it overlooks */
    }
    explain(handle, s.problem, err);
    yajl_free(handle);
    return false;
}
