/*
 * Reading JSON: a tree in one arena, so that a document is one thing to free and a node is never
 * owned by anybody. Strings keep their length: Slack's users can type a NUL.
 *
 * By hand, and not by yajl's callbacks, which made half of what storing an event costs us. What is
 * read is the document's own copy of the text: strings stay in it where they stand, and a NUL takes
 * the place of the quote behind each. What is refused is left to yajl to explain (json_refuse.c).
 */
#include "base/json.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_refuse.h"

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
#define NODES_RATIO 3 /* what nodes take, in bytes of their text: room of the first chunk */

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

#define TEXT_PAD sizeof(uint64_t)

/* The text is valid UTF-8, and the NULs behind it end every token: nothing looks for the end. */
struct reader {
    struct json_doc *doc;
    char *at;
    unsigned depth;
};

static void *arena_alloc(struct json_doc *doc, size_t size)
{
    struct chunk *chunk = doc->chunks;

    size = (size + 15) & ~(size_t)15;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t room = size > doc->room ? size : doc->room;
        chunk = malloc(sizeof(*chunk) + room);
        if (chunk == NULL) {
            abort();
        }
        *chunk = (struct chunk){.next = doc->chunks, .size = room};
        doc->chunks = chunk;
        doc->room = CHUNK_BYTES;
    }
    void *p = chunk->data + chunk->used;
    chunk->used += size;
    return p;
}

/* yajl's white space, which is a little more than JSON's. */
static void skip_space(struct reader *r)
{
    while (*r->at == ' ' || (*r->at >= '\t' && *r->at <= '\r')) {
        r->at++;
    }
}

/* ---- strings ---- */

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The high bits of a word's bytes that are less than `n`; exact up to the first of them. */
static uint64_t below(uint64_t word, unsigned char n)
{
    return (word - EACH(n)) & ~word & EACH(0x80);
}

/* Eight bytes at once, up to a quote, a backslash or a control character. */
static char *skip_plain(char *p)
{
    for (;; p += TEXT_PAD) {
        uint64_t word, found;

        memcpy(&word, p, TEXT_PAD);
        word = le64toh(word);
        found = below(word, ' ') | below(word ^ EACH('"'), 1) | below(word ^ EACH('\\'), 1);
        if (found != 0) {
            return p + __builtin_ctzll(found) / 8;
        }
    }
}

static bool hex4(const char *p, uint32_t *out)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        char c = p[i];

        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            value = value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = value;
    return true;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (char)(0xE0 | c >> 12);
        } else {
            *to++ = (char)(0xF0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        }
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
    }
    *to++ = (char)(0x80 | (c & 0x3F));
    return to;
}

/* Behind the u. A first half of a pair that stands alone reads as "?"; a second half is refused. */
static bool read_code_point(struct reader *r, char **to)
{
    uint32_t c, low;

    if (!hex4(r->at, &c) || (c & 0xFC00) == 0xDC00) {
        return false;
    }
    r->at += 4;
    if ((c & 0xFC00) == 0xD800) {
        if (r->at[0] != '\\' || r->at[1] != 'u') {
            c = '?';
        } else if (hex4(r->at + 2, &low)) {
            c = 0x10000 + ((c & 0x3FF) << 10 | (low & 0x3FF));
            r->at += 6;
        } else {
            return false;
        }
    }
    *to = put_utf8(*to, c);
    return true;
}

/* Behind the backslash. What it stands for is never longer than it: there is room at `to`. */
static bool read_escape(struct reader *r, char **to)
{
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char c = *r->at++;
    const char *found = c == '\0' ? NULL : strchr(escapes, c);

    if (c == 'u') {
        return read_code_point(r, to);
    }
    if (found == NULL) {
        return false;
    }
    *(*to)++ = meant[found - escapes];
    return true;
}

static bool read_string(struct reader *r, struct str *out)
{
    char *start = r->at + 1, *to;

    if (*r->at != '"') {
        return false;
    }
    to = r->at = skip_plain(start);
    while (*r->at == '\\') {
        r->at++;
        if (!read_escape(r, &to)) {
            return false;
        }
        char *plain = r->at;
        r->at = skip_plain(plain);
        memmove(to, plain, (size_t)(r->at - plain));
        to += r->at - plain;
    }
    if (*r->at++ != '"') {
        return false;
    }
    *to = '\0';
    *out = (struct str){start, (size_t)(to - start)};
    return true;
}

/* ---- values ---- */

static bool skip_digits(char **p)
{
    char *start = *p;

    while (**p >= '0' && **p <= '9') {
        ++*p;
    }
    return *p > start;
}

static bool read_number(struct reader *r, struct json *node)
{
    char *p = r->at + (*r->at == '-');

    if (*p == '0') {
        p++;
    } else if (!skip_digits(&p)) {
        return false;
    }
    if (*p == '.') {
        p++;
        if (!skip_digits(&p)) {
            return false;
        }
    }
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '+' || p[1] == '-' ? 2 : 1;
        if (!skip_digits(&p)) {
            return false;
        }
    }
    node->type = JSON_NUMBER;
    node->size = (size_t)(p - r->at);
    char *copy = arena_alloc(r->doc, node->size + 1);
    memcpy(copy, r->at, node->size);
    copy[node->size] = '\0';
    node->bytes = copy;
    r->at = p;
    return true;
}

static bool read_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(r->at, word, n) != 0) {
        return false;
    }
    r->at += n;
    return true;
}

static bool read_key(struct reader *r, struct str *key)
{
    if (!read_string(r, key)) {
        return false;
    }
    skip_space(r);
    return *r->at++ == ':';
}

static struct json *read_value(struct reader *r);

/* The list of siblings, once it is closed, becomes an array. */
static void close_container(struct json_doc *doc, struct json *container, struct json *first)
{
    size_t i = 0;

    container->nodes = arena_alloc(doc, container->size * sizeof(struct json *));
    for (struct json *node = first; node != NULL; node = node->next) {
        container->nodes[i++] = node;
    }
}

static bool read_container(struct reader *r, struct json *container, enum json_type type)
{
    const char closing = type == JSON_OBJECT ? '}' : ']';
    struct json *first = NULL, **next = &first;

    container->type = type;
    if (r->depth++ == JSON_DEPTH_MAX) {
        return false;
    }
    r->at++;
    skip_space(r);
    bool more = *r->at != closing;
    while (more) {
        struct str key = STR_NULL;

        if (type == JSON_OBJECT && !read_key(r, &key)) {
            return false;
        }
        struct json *node = read_value(r);
        if (node == NULL) {
            return false;
        }
        node->key = key;
        *next = node;
        next = &node->next;
        container->size++;
        skip_space(r);
        more = *r->at == ',';
        if (more) {
            r->at++;
            skip_space(r);
        }
    }
    if (*r->at++ != closing) {
        return false;
    }
    r->depth--;
    close_container(r->doc, container, first);
    return true;
}

static bool read_into(struct reader *r, struct json *node)
{
    struct str s;

    switch (*r->at) {
    case '{':
        return read_container(r, node, JSON_OBJECT);
    case '[':
        return read_container(r, node, JSON_ARRAY);
    case '"':
        if (!read_string(r, &s)) {
            return false;
        }
        node->type = JSON_STRING;
        node->bytes = s.data;
        node->size = s.len;
        return true;
    case 'n':
        return read_word(r, "null");
    case 't':
    case 'f':
        node->type = JSON_BOOL;
        node->boolean = *r->at == 't';
        return read_word(r, node->boolean ? "true" : "false");
    default:
        return read_number(r, node);
    }
}

/* With the white space before it; NULL: malformed. */
static struct json *read_value(struct reader *r)
{
    struct json *node = arena_alloc(r->doc, sizeof(*node));

    *node = (struct json){.type = JSON_NULL};
    skip_space(r);
    return read_into(r, node) ? node : NULL;
}

static bool read_document(struct json_doc *doc, struct str in)
{
    struct reader r = {.doc = doc};
    char *text;

    doc->room = in.len + CHUNK_LEAST +
                (in.len < CHUNK_BYTES / NODES_RATIO ? in.len * NODES_RATIO : CHUNK_BYTES);
    text = arena_alloc(doc, in.len + TEXT_PAD);
    if (in.len != 0) {
        memcpy(text, in.data, in.len);
    }
    memset(text + in.len, '\0', TEXT_PAD);

    r.at = text;
    doc->root = read_value(&r);
    if (doc->root == NULL) {
        return false;
    }
    skip_space(&r);
    return r.at == text + in.len;
}

bool json_parse(struct json_doc **doc, struct str in, struct error *err)
{
    *doc = calloc(1, sizeof(**doc));
    if (*doc == NULL) {
        abort();
    }
    if (!utf8_valid(in) || !read_document(*doc, in)) {
        json_destroy(doc);
        return json_refuse(in, err);
    }
    return true;
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
            struct str name = object->nodes[i]->key;

            if (name.len == key.len && memcmp(name.data, key.data, key.len) == 0) {
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
