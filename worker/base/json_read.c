/*
 * Reading JSON: yajl's callbacks build a tree in one arena, so that a document is one thing to free
 * and a node is never owned by anybody. Strings keep their length: Slack's users can type a NUL.
 *
 * yajl checks UTF-8 only roughly (it takes surrogates and overlong forms, and PostgreSQL does not),
 * so each string is checked here, and yajl is told not to.
 */
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

struct json {
    enum json_type type;
    bool boolean;
    size_t size;       /* bytes, elements or members */
    struct json *next; /* the next sibling, while the parent is still open */
    struct str key;    /* of a member */
    union {
        const char *bytes;   /* of a string, or a number as it was written */
        struct json **nodes; /* elements, members */
    };
};

#define CHUNK_BYTES (16 * 1024)
#define CHUNK_LEAST 512
#define CHUNK_RATIO 4 /* what a tree takes, in bytes of its text: the first chunk is that large */

struct chunk {
    struct chunk *next;
    size_t used, size;
    char data[] __attribute__((aligned(16)));
};

struct json_doc {
    struct chunk *chunks;
    size_t room; /* of the next chunk */
    struct json *root;
};

struct frame {
    struct json *container;
    struct json *first, *last;
    struct str key; /* of the member being read */
};

struct parser {
    struct json_doc *doc;
    struct frame frames[JSON_DEPTH_MAX];
    size_t depth;
    const char *problem; /* why we stopped it, if it was us */
};

static void *arena_alloc(struct json_doc *doc, size_t size)
{
    struct chunk *chunk = doc->chunks;

    size = (size + 15) & ~(size_t)15;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t room = size > doc->room ? size : doc->room;
        chunk = malloc(sizeof(*chunk) + room);
        if (chunk == NULL) {
            return NULL;
        }
        *chunk = (struct chunk){.next = doc->chunks, .size = room};
        doc->chunks = chunk;
        doc->room = CHUNK_BYTES;
    }
    void *p = chunk->data + chunk->used;
    chunk->used += size;
    return p;
}

static int stop(struct parser *p, const char *problem)
{
    p->problem = problem;
    return 0;
}

static struct json *node_add(struct parser *p, enum json_type type)
{
    struct json *node = arena_alloc(p->doc, sizeof(*node));

    if (node == NULL) {
        stop(p, "out of memory");
        return NULL;
    }
    *node = (struct json){.type = type};

    if (p->depth == 0) {
        p->doc->root = node;
        return node;
    }
    struct frame *frame = &p->frames[p->depth - 1];
    node->key = frame->key;
    if (frame->last == NULL) {
        frame->first = node;
    } else {
        frame->last->next = node;
    }
    frame->last = node;
    frame->container->size++;
    return node;
}

static bool bytes_copy(struct parser *p, const void *data, size_t len, struct str *out)
{
    char *copy = arena_alloc(p->doc, len + 1);

    if (copy == NULL) {
        return stop(p, "out of memory");
    }
    if (len != 0) {
        memcpy(copy, data, len);
    }
    copy[len] = '\0';
    *out = (struct str){copy, len};
    return true;
}

static bool string_copy(struct parser *p, const unsigned char *data, size_t len, struct str *out)
{
    if (!utf8_valid((struct str){(const char *)data, len})) {
        return stop(p, "invalid UTF-8 in a string");
    }
    return bytes_copy(p, data, len, out);
}

static int on_null(void *arg)
{
    return node_add(arg, JSON_NULL) != NULL;
}

static int on_boolean(void *arg, int value)
{
    struct json *node = node_add(arg, JSON_BOOL);

    if (node == NULL) {
        return 0;
    }
    node->boolean = value != 0;
    return 1;
}

static int on_number(void *arg, const char *data, size_t len)
{
    struct json *node = node_add(arg, JSON_NUMBER);
    struct str s;

    if (node == NULL || !bytes_copy(arg, data, len, &s)) {
        return 0;
    }
    node->bytes = s.data;
    node->size = s.len;
    return 1;
}

static int on_string(void *arg, const unsigned char *data, size_t len)
{
    struct json *node = node_add(arg, JSON_STRING);
    struct str s;

    if (node == NULL || !string_copy(arg, data, len, &s)) {
        return 0;
    }
    node->bytes = s.data;
    node->size = s.len;
    return 1;
}

static int on_key(void *arg, const unsigned char *data, size_t len)
{
    struct parser *p = arg;

    return string_copy(p, data, len, &p->frames[p->depth - 1].key);
}

static int on_start(struct parser *p, enum json_type type)
{
    if (p->depth == JSON_DEPTH_MAX) {
        return stop(p, "nested too deeply");
    }
    struct json *node = node_add(p, type);
    if (node == NULL) {
        return 0;
    }
    p->frames[p->depth++] = (struct frame){.container = node};
    return 1;
}

static int on_start_map(void *arg)
{
    return on_start(arg, JSON_OBJECT);
}

static int on_start_array(void *arg)
{
    return on_start(arg, JSON_ARRAY);
}

/* The list of siblings becomes an array. */
static int on_end(void *arg)
{
    struct parser *p = arg;
    struct frame *frame = &p->frames[--p->depth];
    struct json *container = frame->container;
    struct json **nodes = arena_alloc(p->doc, container->size * sizeof(struct json *));
    size_t i = 0;

    if (nodes == NULL) {
        return stop(p, "out of memory");
    }
    for (struct json *node = frame->first; node != NULL; node = node->next) {
        nodes[i++] = node;
    }
    container->nodes = nodes;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

/* yajl's own words without the text around the place, which may be a member's. */
static void explain(yajl_handle handle, const struct parser *p, struct error *err)
{
    size_t at = yajl_get_bytes_consumed(handle);

    if (p->problem != NULL) {
        error_set(err, ERROR_INPUT, "JSON: %s near byte %zu", p->problem, at);
        return;
    }
    unsigned char *words = yajl_get_error(handle, 0, NULL, 0);
    const char *text = words != NULL ? (const char *)words : "malformed";
    error_set(err, ERROR_INPUT, "JSON: %.*s near byte %zu", (int)strcspn(text, "\n"), text, at);
    if (words != NULL) {
        yajl_free_error(handle, words);
    }
}

bool json_parse(struct json_doc **doc, struct str in, struct error *err)
{
    struct parser p = {.doc = calloc(1, sizeof(struct json_doc))};
    yajl_handle handle = yajl_alloc(&callbacks, NULL, &p);
    yajl_status status;
    size_t end;

    *doc = NULL;
    if (p.doc == NULL || handle == NULL) {
        error_set(err, ERROR_SYSTEM, "JSON: out of memory");
        goto fail;
    }
    yajl_config(handle, yajl_dont_validate_strings, 1);
    yajl_config(handle, yajl_allow_trailing_garbage, 1); /* it overlooks half a token there */
    p.doc->room = in.len < CHUNK_LEAST / CHUNK_RATIO   ? CHUNK_LEAST
                  : in.len < CHUNK_BYTES / CHUNK_RATIO ? in.len * CHUNK_RATIO
                                                       : CHUNK_BYTES;

    status =
        in.len == 0 ? yajl_status_ok : yajl_parse(handle, (const unsigned char *)in.data, in.len);
    end = yajl_get_bytes_consumed(handle);
    if (status == yajl_status_ok) {
        status = yajl_complete_parse(handle);
    }
    if (status != yajl_status_ok) {
        explain(handle, &p, err);
        goto fail;
    }
    while (end < in.len && memchr(" \t\r\n", in.data[end], 4) != NULL) {
        end++;
    }
    if (end < in.len) {
        error_set(err, ERROR_INPUT, "JSON: trailing garbage near byte %zu", end);
        goto fail;
    }
    yajl_free(handle);
    *doc = p.doc;
    return true;

fail:
    if (handle != NULL) {
        yajl_free(handle);
    }
    json_destroy(&p.doc);
    return false;
}

void json_destroy(struct json_doc **doc)
{
    if (*doc == NULL) {
        return;
    }
    for (struct chunk *chunk = (*doc)->chunks; chunk != NULL;) {
        struct chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    free(*doc);
    *doc = NULL;
}

const struct json *json_root(const struct json_doc *doc)
{
    return doc != NULL ? doc->root : NULL;
}

enum json_type json_type(const struct json *node)
{
    return node != NULL ? node->type : JSON_NULL;
}

static bool is(const struct json *node, enum json_type type)
{
    return node != NULL && node->type == type;
}

const struct json *json_member(const struct json *object, struct str key)
{
    if (is(object, JSON_OBJECT)) {
        for (size_t i = object->size; i-- > 0;) {
            if (str_eq(object->nodes[i]->key, key)) {
                return object->nodes[i];
            }
        }
    }
    return NULL;
}

const struct json *json_path(const struct json *node, const char *dotted)
{
    while (node != NULL) {
        size_t n = strcspn(dotted, ".");

        node = json_member(node, (struct str){dotted, n});
        if (dotted[n] == '\0') {
            break;
        }
        dotted += n + 1;
    }
    return node;
}

size_t json_size(const struct json *node)
{
    return is(node, JSON_ARRAY) || is(node, JSON_OBJECT) ? node->size : 0;
}

const struct json *json_at(const struct json *array, size_t i)
{
    return is(array, JSON_ARRAY) && i < array->size ? array->nodes[i] : NULL;
}

struct str json_key(const struct json *object, size_t i)
{
    return is(object, JSON_OBJECT) && i < object->size ? object->nodes[i]->key : STR_NULL;
}

const struct json *json_value(const struct json *object, size_t i)
{
    return is(object, JSON_OBJECT) && i < object->size ? object->nodes[i] : NULL;
}

struct str json_string(const struct json *node)
{
    return is(node, JSON_STRING) ? (struct str){node->bytes, node->size} : STR_NULL;
}

bool json_bool(const struct json *node)
{
    return is(node, JSON_BOOL) && node->boolean;
}

bool json_int64(const struct json *node, int64_t *out)
{
    char *end;

    *out = 0;
    if (!is(node, JSON_NUMBER)) {
        return false;
    }
    errno = 0;
    long long value = strtoll(node->bytes, &end, 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *out = value;
    return true;
}

bool json_double(const struct json *node, double *out)
{
    *out = 0;
    if (!is(node, JSON_NUMBER)) {
        return false;
    }
    errno = 0;
    double value = strtod(node->bytes, NULL);
    if (errno == ERANGE && (value > 1 || value < -1)) {
        return false;
    }
    *out = value;
    return true;
}

struct str json_number_text(const struct json *node)
{
    return is(node, JSON_NUMBER) ? (struct str){node->bytes, node->size} : STR_NULL;
}
