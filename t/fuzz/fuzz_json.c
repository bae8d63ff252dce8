/*
 * libFuzzer target: JSON. What parses is written again; that must parse to the same text, and every
 * string in it must be valid UTF-8.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json *node)
{
    double d;
    int64_t n;

    if (!utf8_valid(json_string(node))) {
        abort();
    }
    json_int64(node, &n);
    json_double(node, &d);
    for (size_t i = 0; i < json_size(node); i++) {
        if (json_type(node) == JSON_OBJECT && !utf8_valid(json_key(node, i))) {
            abort();
        }
        walk(json_type(node) == JSON_OBJECT ? json_value(node, i) : json_at(node, i));
    }
}

/* NULL when it does not parse; malloc'ed. */
static char *rewrite(struct str in, size_t *len)
{
    struct json_doc *doc;
    struct error err;
    struct str out;

    if (!json_parse(&doc, in, &err)) {
        return NULL;
    }
    walk(json_root(doc));
    struct json_writer *w = json_writer_create(8 << 20);
    json_put_node(w, json_root(doc));
    if (!json_writer_done(w, &out, &err)) {
        abort();
    }
    char *text = str_dup(out);
    *len = out.len;
    json_writer_destroy(&w);
    json_destroy(&doc);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t first_len, second_len;
    char *first = rewrite((struct str){(const char *)data, size}, &first_len);

    if (first != NULL) {
        char *second = rewrite((struct str){first, first_len}, &second_len);
        if (second == NULL || first_len != second_len || memcmp(first, second, first_len) != 0) {
            abort();
        }
        free(second);
    }
    free(first);
    return 0;
}
