/* base/json: both directions. */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static struct json_doc *parse(struct str in)
{
    struct json_doc *doc;
    struct error err;

    if (!json_parse(&doc, in, &err)) {
        fail_msg("%s", err.text);
    }
    return doc;
}

static void refuse(struct str in, const char *part)
{
    struct json_doc *doc = (struct json_doc *)1;
    struct error err;

    assert_false(json_parse(&doc, in, &err));
    assert_null(doc);
    assert_int_equal(err.kind, ERROR_INPUT);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
    }
}

static void reads(void **state)
{
    struct json_doc *doc = parse(STR(" {\"a\":{\"b\":[1,-2.5,\"x\",null,true]},\"\":\"e\","
                                     "\"big\":9223372036854775807,\"over\":9223372036854775808,"
                                     "\"exp\":1e3,\"d\":1,\"d\":2} \n"));
    const struct json *root = json_root(doc), *list = json_path(root, "a.b");
    int64_t n;
    double d;

    (void)state;
    assert_int_equal(json_type(root), JSON_OBJECT);
    assert_int_equal(json_size(root), 7);
    assert_int_equal(json_size(list), 5);
    assert_true(json_int64(json_at(list, 0), &n));
    assert_int_equal(n, 1);
    assert_false(json_int64(json_at(list, 1), &n));
    assert_true(json_double(json_at(list, 1), &d));
    assert_true(d == -2.5);
    assert_true(str_is(json_number_text(json_at(list, 1)), "-2.5"));
    assert_true(str_is(json_string(json_at(list, 2)), "x"));
    assert_int_equal(json_type(json_at(list, 3)), JSON_NULL);
    assert_true(json_bool(json_at(list, 4)));
    assert_true(str_is(json_key(root, 1), ""));
    assert_true(str_is(json_string(json_value(root, 1)), "e"));
    assert_true(json_int64(json_get(root, "big"), &n));
    assert_true(n == INT64_MAX);
    assert_false(json_int64(json_get(root, "over"), &n));
    assert_false(json_int64(json_get(root, "exp"), &n));
    assert_true(json_double(json_get(root, "exp"), &d));
    assert_true(d == 1000);
    assert_true(json_int64(json_get(root, "d"), &n));
    assert_int_equal(n, 2);
    json_destroy(&doc);
    assert_null(doc);
    json_destroy(&doc);
}

static void wrong_types_read_as_nothing(void **state)
{
    struct json_doc *doc = parse(STR("{\"s\":\"x\",\"n\":1,\"a\":[1]}"));
    const struct json *root = json_root(doc), *s = json_get(root, "s");
    int64_t n;
    double d;

    (void)state;
    assert_null(json_get(s, "x"));
    assert_null(json_get(NULL, "x"));
    assert_null(json_get(root, "missing"));
    assert_null(json_path(root, "s.x.y"));
    assert_null(json_path(root, "a.0"));
    assert_null(json_path(root, ""));
    assert_null(json_at(root, 0));
    assert_null(json_at(json_get(root, "a"), 1));
    assert_null(json_value(root, 3));
    assert_null(json_key(json_get(root, "a"), 0).data);
    assert_null(json_string(json_get(root, "n")).data);
    assert_null(json_get_string(root, "n").data);
    assert_int_equal(json_size(s), 0);
    assert_false(json_bool(s));
    assert_false(json_int64(s, &n));
    assert_int_equal(n, 0);
    assert_false(json_double(NULL, &d));
    assert_null(json_number_text(s).data);
    assert_int_equal(json_type(NULL), JSON_NULL);
    json_destroy(&doc);
    assert_null(json_root(NULL));
}

static void strings_are_counted(void **state)
{
    struct json_doc *doc = parse(STR("[\"a\\u0000b\",\"\\ud83d\\ude00\\n\\/\",\"\",\"\\u0000\"]"));
    const struct json *root = json_root(doc);

    (void)state;
    assert_true(str_eq(json_string(json_at(root, 0)), STR("a\0b")));
    assert_true(str_eq(json_string(json_at(root, 1)), STR("\xf0\x9f\x98\x80\n/")));
    assert_true(str_eq(json_string(json_at(root, 2)), STR("")));
    assert_true(str_eq(json_string(json_at(root, 3)), STR("\0")));
    json_destroy(&doc);

    doc = parse(STR("{\"a\\u0000b\":1,\"a\":2}"));
    int64_t n;
    assert_true(json_int64(json_get(json_root(doc), "a"), &n));
    assert_int_equal(n, 2);
    json_destroy(&doc);
}

static void escapes_are_read(void **state)
{
    struct json_doc *doc =
        parse(STR("[\"\\\"\\\\\\/"
                  "\\b\\f\\n\\r\\t|\",\"\\u007f\\u0080\\u07FF\\u0800\\uffff\",\"\\uD800\\uDC00-"
                  "\\uDBFF\\uDFFF\","
                  "\"\\ud83d-\\n\",\"long enough for a word \\u0041nd more than a word behind\","
                  "{\"k\\u0065y\":\"\"}]"));
    const struct json *root = json_root(doc);

    (void)state;
    assert_true(str_is(json_string(json_at(root, 0)), "\"\\/\b\f\n\r\t|"));
    assert_true(
        str_is(json_string(json_at(root, 1)), "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"));
    assert_true(str_is(json_string(json_at(root, 2)), "\xf0\x90\x80\x80-\xf4\x8f\xbf\xbf"));
    assert_true(str_is(json_string(json_at(root, 3)), "?-\n")); /* half a pair */
    assert_true(str_is(json_string(json_at(root, 4)),
                       "long enough for a word And more than a word behind"));
    assert_true(str_is(json_key(json_at(root, 5), 0), "key"));
    assert_int_equal(json_string(json_at(root, 4)).data[50], '\0');
    json_destroy(&doc);
}

/* Strings are looked through a word at a time: what ends them may stand anywhere in it. */
static void strings_end_anywhere(void **state)
{
    (void)state;
    for (int len = 0; len < 40; len++) {
        char in[64];
        struct json_doc *doc;
        struct error err;

        snprintf(in, sizeof(in), "\"%.*s\"", len,
                 "\xed\x95\x9cstudied the whole of the day, again");
        bool whole = len == 0 || len > 2; /* not inside the first letter */
        assert_true(json_parse(&doc, str_of(in), &err) == whole);
        if (whole) {
            assert_true(str_eq(json_string(json_root(doc)), (struct str){in + 1, strlen(in) - 2}));
        }
        json_destroy(&doc);
        in[1 + len / 2] = '\x1f';
        in[2 + len / 2] = '"';
        in[3 + len / 2] = '\0';
        refuse(str_of(in), "JSON");
    }
}

static void the_document_keeps_no_input(void **state)
{
    char *in = strdup("{\"key\":\"value\"}");
    struct json_doc *doc = parse(str_of(in));

    (void)state;
    memset(in, 'x', strlen(in));
    free(in);
    assert_true(str_is(json_get_string(json_root(doc), "key"), "value"));
    json_destroy(&doc);
}

static void refuses(void **state)
{
    static const char *const malformed[] = {
        "{",
        "[1,",
        "\"abc",
        "{\"a\"}",
        "{a:1}",
        "[1 2]",
        "nul",
        "'a'",
        "[1,]",
        "{\"a\":1,}",
        "tru",
        "[\"\t\"]",
        "\"\\x\"",
        "01",
        "+1",
        ".5",
        "1.",
        "-",
        "\xef\xbb\xbf{}",
        "NaN",
        "1e",
        "1e+",
        "-x",
        "nulL",
        "{\"a\" 1}",
        "{1:1}",
        "[}",
        "{]",
        "[\"a\" \"b\"]",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"\\ud800\\u12\"",
        "\"\\",
        "\"\\u",
        "\"\x7f\x1f\"",
        "[1,,2]",
        "{,}",
        "/**/1",
        "{\"a\"11}",
        "[1 22]",
        "[1}",
        "{\"a\":1]",
    };

    (void)state;
    refuse(STR(""), "JSON");
    refuse(STR("  \n"), "JSON");
    refuse(STR("{} {}"), "near byte");
    refuse(STR("{}x"), "near byte");
    refuse(STR("1 2"), "near byte");
    refuse(STR("{}\0"), "near byte");
    refuse(STR("{}\"half a string"), "trailing garbage near byte");
    refuse(STR("1 tru"), "trailing garbage near byte");
    refuse(STR("[\"a\0b\"]"), "invalid character inside string");
    refuse(STR("[1 2]"), "after array element, I expect ',' or ']' near byte 4");
    refuse(STR("[\"\\udc00\"]"), "invalid UTF-8 in a string near byte 9");
    refuse(STR("[\"\xff\"]"), "UTF");
    refuse(STR("[\"\xed\xa0\x80\"]"), "UTF-8");
    refuse(STR("[\"\xc0\x80\"]"), "UTF-8");
    refuse(STR("{\"\xf5\x80\x80\x80\":1}"), "UTF");
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        refuse(str_of(malformed[i]), "JSON");
    }

    struct json_doc *doc;
    struct error err;
    assert_false(json_parse(&doc, STR("{\"secret text\":\"hidden\",,}"), &err));
    assert_null(strstr(err.text, "hidden"));
    assert_null(strstr(err.text, "secret"));
}

static void depth(void **state)
{
    char in[2 * JSON_DEPTH_MAX + 3];

    (void)state;
    memset(in, '[', JSON_DEPTH_MAX);
    memset(in + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    struct json_doc *doc = parse((struct str){in, 2 * JSON_DEPTH_MAX});
    json_destroy(&doc);

    memset(in, '[', JSON_DEPTH_MAX + 1);
    memset(in + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    refuse((struct str){in, 2 * JSON_DEPTH_MAX + 2}, "too deeply");

    /* depth is not the number of containers */
    doc = parse(
        STR("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},"
            "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]"));
    assert_int_equal(json_size(json_root(doc)), 78);
    json_destroy(&doc);

    char *deep = malloc(1 << 20);
    memset(deep, '[', 1 << 20);
    refuse((struct str){deep, 1 << 20}, "too deeply");
    free(deep);
}

static void many_members(void **state)
{
    struct json_writer *w = json_writer_create(1 << 22);
    struct error err;
    struct str out;

    (void)state;
    json_array_begin(w);
    for (int i = 0; i < 100000; i++) {
        json_put_int(w, i);
    }
    json_array_end(w);
    assert_true(json_writer_done(w, &out, &err));
    struct json_doc *doc = parse(out);
    int64_t n;
    assert_int_equal(json_size(json_root(doc)), 100000);
    assert_true(json_int64(json_at(json_root(doc), 99999), &n));
    assert_int_equal(n, 99999);
    json_destroy(&doc);
    json_writer_destroy(&w);
    assert_null(w);
}

static void writes(void **state)
{
    struct json_writer *w = json_writer_create(1000);
    struct json_doc *doc = parse(STR("{\"x\":[1.50,{\"y\":\"\\u0000\"}],\"z\":null}"));
    struct error err;
    struct str out;

    (void)state;
    json_object_begin(w);
    json_put_kcstr(w, "s", "a\"b\\\n\x01/");
    json_put_kstr(w, "absent", STR_NULL);
    json_put_kint(w, "min", INT64_MIN);
    json_put_kbool(w, "t", true);
    json_put_key(w, "d");
    json_put_double(w, 0.1);
    json_put_key(w, "third");
    json_put_double(w, 1.0 / 3);
    json_put_key(w, "list");
    json_array_begin(w);
    json_put_null(w);
    json_put_bool(w, false);
    json_put_raw(w, STR("{\"r\":1}"));
    json_array_end(w);
    json_put_key(w, "node");
    json_put_node(w, json_root(doc));
    json_object_end(w);
    assert_true(json_writer_done(w, &out, &err));
    char *text = str_dup(out);
    assert_string_equal(text, "{\"s\":\"a\\\"b\\\\\\n\\u0001/\",\"absent\":null,"
                              "\"min\":-9223372036854775808,\"t\":true,\"d\":0.1,"
                              "\"third\":0.3333333333333333,\"list\":[null,false,{\"r\":1}],"
                              "\"node\":{\"x\":[1.50,{\"y\":\"\\u0000\"}],\"z\":null}}");
    free(text);
    json_destroy(&doc);

    json_writer_reset(w);
    json_put_cstr(w, "again");
    assert_true(json_writer_done(w, &out, &err));
    assert_true(str_is(out, "\"again\""));
    json_writer_destroy(&w);
}

static void misuse_does_not_pass(void **state)
{
    struct json_writer *w = json_writer_create(20);
    struct error err;
    struct str out;

    (void)state;
    assert_false(json_writer_done(w, &out, &err)); /* nothing written */

    json_array_begin(w);
    assert_false(json_writer_done(w, &out, &err)); /* not closed */
    json_object_end(w);
    json_array_end(w);
    assert_false(json_writer_done(w, &out, &err)); /* closed by the wrong bracket */

    json_writer_reset(w);
    json_put_int(w, 1);
    json_put_int(w, 2);
    assert_false(json_writer_done(w, &out, &err)); /* two values */

    json_writer_reset(w);
    json_object_begin(w);
    json_put_int(w, 1);
    json_object_end(w);
    assert_false(json_writer_done(w, &out, &err)); /* no key */

    json_writer_reset(w);
    json_object_begin(w);
    json_put_key(w, "k");
    json_object_end(w);
    assert_false(json_writer_done(w, &out, &err)); /* no value */

    json_writer_reset(w);
    json_put_cstr(w, "\xff");
    assert_false(json_writer_done(w, &out, &err));
    assert_non_null(strstr(err.text, "UTF-8"));

    json_writer_reset(w);
    json_put_str(w, STR("\xed\xa0\x80"));
    assert_false(json_writer_done(w, &out, &err));

    json_writer_reset(w);
    json_put_double(w, NAN);
    assert_false(json_writer_done(w, &out, &err));

    json_writer_reset(w);
    json_put_cstr(w, "0123456789012345678901234567890");
    assert_false(json_writer_done(w, &out, &err));
    assert_non_null(strstr(err.text, "limit"));

    json_writer_reset(w);
    for (int i = 0; i <= JSON_DEPTH_MAX; i++) {
        json_array_begin(w);
    }
    assert_false(json_writer_done(w, &out, &err));

    json_writer_reset(w);
    json_put_bool(w, true);
    assert_true(json_writer_done(w, &out, &err)); /* reset forgives all */
    json_writer_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(wrong_types_read_as_nothing),
        cmocka_unit_test(strings_are_counted),
        cmocka_unit_test(escapes_are_read),
        cmocka_unit_test(strings_end_anywhere),
        cmocka_unit_test(the_document_keeps_no_input),
        cmocka_unit_test(refuses),
        cmocka_unit_test(depth),
        cmocka_unit_test(many_members),
        cmocka_unit_test(writes),
        cmocka_unit_test(misuse_does_not_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
