/*
 * JSON over yajl. Reading builds a tree in one arena, with counted strings (a NUL inside a string
 * survives, unlike in yajl_tree); writing goes through yajl_gen into a struct text.
 */
#ifndef STUDY_BASE_JSON_H
#define STUDY_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json; /* a node; lives as long as its document */
struct json_doc;

#define JSON_DEPTH_MAX 64

/*
 * Parses exactly one value; trailing bytes other than white space, invalid UTF-8 and nesting past
 * JSON_DEPTH_MAX are ERROR_INPUT. The error names the place, never the content. The document does
 * not refer to `in` afterwards.
 */
bool json_parse(struct json_doc **doc, struct str in, struct error *err);
void json_destroy(struct json_doc **doc);
const struct json *json_root(const struct json_doc *doc);

/* All readers accept NULL and nodes of another type, and then give NULL, STR_NULL, 0 or false. */
enum json_type json_type(const struct json *node); /* NULL gives JSON_NULL */
const struct json *json_member(const struct json *object, struct str key); /* the last so named */
static inline const struct json *json_get(const struct json *object, const char *key)
{
    return json_member(object, str_of(key));
}
const struct json *json_path(const struct json *node, const char *dotted); /* "event.message.ts" */
size_t json_size(const struct json *array_or_object);
const struct json *json_at(const struct json *array, size_t i);
struct str json_key(const struct json *object, size_t i);
const struct json *json_value(const struct json *object, size_t i);
struct str json_string(const struct json *node);
static inline struct str json_get_string(const struct json *object, const char *key)
{
    return json_string(json_get(object, key));
}
bool json_bool(const struct json *node);
bool json_int64(const struct json *node, int64_t *out); /* integral numbers only */
bool json_double(const struct json *node, double *out);
struct str json_number_text(const struct json *node); /* as it was written */

struct json_writer;
struct json_writer *json_writer_create(size_t limit); /* bytes of output at most */
void json_writer_destroy(struct json_writer **w);
void json_writer_reset(struct json_writer *w);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_put_key(struct json_writer *w, const char *key);
void json_put_str(struct json_writer *w, struct str s); /* absent writes null; must be UTF-8 */
void json_put_cstr(struct json_writer *w, const char *s);
void json_put_int(struct json_writer *w, int64_t v);
void json_put_double(struct json_writer *w, double v);
void json_put_bool(struct json_writer *w, bool v);
void json_put_null(struct json_writer *w);
void json_put_node(struct json_writer *w, const struct json *node); /* a whole parsed value */
void json_put_raw(struct json_writer *w, struct str json);          /* trusted, already JSON */
/* key and value in one call */
void json_put_kstr(struct json_writer *w, const char *key, struct str s);
void json_put_kcstr(struct json_writer *w, const char *key, const char *s);
void json_put_kint(struct json_writer *w, const char *key, int64_t v);
void json_put_kbool(struct json_writer *w, const char *key, bool v);
/* False when anything went wrong since create or reset (limit, invalid UTF-8, wrong nesting). */
bool json_writer_done(const struct json_writer *w, struct str *out, struct error *err);

#endif
