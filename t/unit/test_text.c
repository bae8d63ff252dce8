/* base/error, base/clock, base/text. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

static void error_texts(void **state)
{
    struct error err = {.kind = ERROR_NONE};

    (void)state;
    assert_false(error_set(&err, ERROR_INPUT, "line %d", 3));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_string_equal(err.text, "line 3");
    assert_string_equal(err.code, "");

    assert_false(error_wrap(&err, "file %s", "x"));
    assert_string_equal(err.text, "file x: line 3");
    assert_int_equal(err.kind, ERROR_INPUT);

    assert_false(error_set_code(&err, ERROR_REMOTE, "42P01", "no table"));
    assert_string_equal(err.code, "42P01");

    errno = ENOENT;
    assert_false(error_set_errno(&err, "open %s", "y"));
    assert_string_equal(err.text, "open y: No such file or directory");
    assert_int_equal(err.kind, ERROR_SYSTEM);

    error_clear(&err);
    assert_int_equal(err.kind, ERROR_NONE);
    assert_string_equal(err.text, "");
}

static void error_too_long(void **state)
{
    struct error err;
    char long_text[2000];

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';

    error_set_code(&err, ERROR_REMOTE, long_text, "%s", long_text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_int_equal(strlen(err.code), sizeof(err.code) - 1);
    error_wrap(&err, "%s", long_text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    errno = EIO;
    error_set_errno(&err, "%s", long_text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void backoff_bounds(void **state)
{
    bool varied = false;
    int64_t last = -1;

    (void)state;
    for (unsigned attempt = 1; attempt < 100; attempt++) {
        int64_t whole = attempt < 10 ? (int64_t)100 << (attempt - 1) : 30000;
        whole = whole > 30000 ? 30000 : whole;
        int64_t ms = clock_backoff_ms(attempt, 100, 30000);
        assert_in_range(ms, whole / 2, whole);
        varied = varied || (attempt > 20 && last != ms);
        last = attempt > 19 ? ms : -1;
    }
    assert_true(varied);
    assert_in_range(clock_backoff_ms(1, 5000, 1000), 500, 1000);
    assert_in_range(clock_backoff_ms(UINT32_MAX, 1, INT64_MAX), INT64_MAX / 2, INT64_MAX);
    assert_int_equal(clock_backoff_ms(3, 0, 0), 0);
}

static void clocks_and_random(void **state)
{
    char a[33], b[33];

    (void)state;
    int64_t before = clock_boot_ms();
    assert_true(clock_boot_ms() >= before);
    assert_true(clock_wall_ms() > INT64_C(1600000000000));
    clock_random_hex(a, 16);
    clock_random_hex(b, 16);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
    clock_random_hex(a, 0);
    assert_string_equal(a, "");
}

static void strings(void **state)
{
    uint64_t n;

    (void)state;
    assert_true(str_eq(STR("a\0b"), STR("a\0b")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_false(str_eq(STR(""), STR_NULL));
    assert_true(str_eq(STR_NULL, STR_NULL));
    assert_true(str_is(STR("abc"), "abc"));
    assert_false(str_is(STR("abc"), "ab"));
    assert_true(str_starts(STR("abc"), "ab"));
    assert_false(str_starts(STR("a"), "ab"));
    assert_false(str_starts(STR_NULL, ""));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_int_equal(str_cmp(STR("ab"), STR("ab")), 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);

    assert_true(str_one_of(STR("a"), "a|bc|d"));
    assert_true(str_one_of(STR("bc"), "a|bc|d"));
    assert_true(str_one_of(STR("d"), "a|bc|d"));
    assert_false(str_one_of(STR("b"), "a|bc|d"));
    assert_false(str_one_of(STR("a|bc"), "a|bc|d"));
    assert_false(str_one_of(STR(""), "a||d"));
    assert_false(str_one_of(STR_NULL, "a"));

    assert_true(str_to_u64(STR("18446744073709551615"), &n));
    assert_true(n == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &n));
    assert_false(str_to_u64(STR("99999999999999999999"), &n));
    assert_false(str_to_u64(STR(""), &n));
    assert_false(str_to_u64(STR("-1"), &n));
    assert_false(str_to_u64(STR(" 1"), &n));
    assert_false(str_to_u64(STR_NULL, &n));
}

static void text_limits(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 10);
    assert_string_equal(text_cstr(&t), "");
    assert_true(text_adds(&t, "12345"));
    assert_true(text_addf(&t, "%d", 678));
    assert_false(t.truncated);
    assert_false(text_addf(&t, "%s", "abcdef"));
    assert_string_equal(text_cstr(&t), "12345678ab");
    assert_true(t.truncated);
    assert_false(text_adds(&t, "x"));
    assert_int_equal(t.len, 10);
    assert_true(text_adds(&t, ""));

    text_reset(&t);
    assert_false(t.truncated);
    assert_string_equal(text_cstr(&t), "");
    assert_true(text_add(&t, STR("a\0b")));
    assert_int_equal(t.len, 3);
    assert_memory_equal(text_str(&t).data, "a\0b", 4);
    text_free(&t);

    text_init(&t, 1 << 20);
    for (int i = 0; i < 5000; i++) {
        assert_true(text_adds(&t, "0123456789"));
    }
    assert_int_equal(t.len, 50000);
    text_free(&t);
}

static void utf8(void **state)
{
    static const struct {
        struct str s;
        bool valid;
    } cases[] = {
        {STR(""), true},
        {STR("a\0b"), true},
        {STR("\x7f"), true},
        {STR("\xc2\x80\xdf\xbf"), true},
        {STR("\xed\x95\x9c\xea\xb5\xad"), true}, /* Hangul */
        {STR("\xed\x9f\xbf\xee\x80\x80"), true},
        {STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"), true},
        {STR("\x80"), false},
        {STR("\xc0\x80"), false}, /* overlong NUL */
        {STR("\xc1\xbf"), false},
        {STR("\xc2"), false},
        {STR("\xe0\x9f\xbf"), false}, /* overlong */
        {STR("\xed\xa0\x80"), false}, /* surrogate */
        {STR("\xe2\x82"), false},
        {STR("\xe2\x28\xa1"), false},
        {STR("\xf0\x8f\xbf\xbf"), false}, /* overlong */
        {STR("\xf4\x90\x80\x80"), false}, /* past U+10FFFF */
        {STR("\xf5\x80\x80\x80"), false},
        {STR("\xff"), false},
        {STR("ok\xf0\x9f\x98"), false},
        {STR("\xf0\x9f\x98x"), false},
        {{"\xf0\x9f\x98\x80", 3}, false}, /* the rest is not the text's */
        {{"\xc3\xa9", 1}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (utf8_valid(cases[i].s) != cases[i].valid) {
            fail_msg("case %zu should be %s", i, cases[i].valid ? "valid" : "invalid");
        }
    }

    struct str s = STR("a\xed\x95\x9c\xf0\x9f\x98\x80z");
    assert_int_equal(utf8_length(s), 4);
    assert_int_equal(utf8_cut(s, 0).len, 0);
    assert_int_equal(utf8_cut(s, 1).len, 1);
    assert_int_equal(utf8_cut(s, 2).len, 4);
    assert_int_equal(utf8_cut(s, 3).len, 8);
    assert_int_equal(utf8_cut(s, 4).len, 9);
    assert_int_equal(utf8_cut(s, 100).len, 9);
}

/* All that may be of three bytes, or nearly, at every distance from the text's end. */
static void utf8_three_bytes(void **state)
{
    static const unsigned char thirds[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};

    (void)state;
    for (unsigned n = 0; n < 16 * 256 * sizeof(thirds); n++) {
        unsigned char lead = 0xE0 | (n & 15), second = n >> 4 & 255, third = thirds[n >> 12];
        char text[] = {'a', (char)lead, (char)second, (char)third, '\0'};
        unsigned c = (lead & 15u) << 12 | (second & 63u) << 6 | (third & 63u);
        bool valid =
            second >> 6 == 2 && third >> 6 == 2 && c >= 0x800 && (c < 0xD800 || c > 0xDFFF);
        char out[8];

        if (utf8_valid((struct str){text, 4}) != valid ||
            utf8_valid((struct str){text + 1, 3}) != valid) {
            fail_msg("%02x %02x %02x should be %s", lead, second, third,
                     valid ? "valid" : "invalid");
        }
        assert_false(utf8_valid((struct str){text, 2}));
        assert_false(utf8_valid((struct str){text, 3}));
        utf8_copy(out, sizeof(out), text);
        assert_string_equal(out, valid ? text : "a");
    }
}

static void utf8_copies(void **state)
{
    char out[8];

    (void)state;
    utf8_copy(out, sizeof(out), "a\xed\x95\x9c\xed\x95\x9c");
    assert_string_equal(out, "a\xed\x95\x9c\xed\x95\x9c");
    utf8_copy(out, 7, "a\xed\x95\x9c\xed\x95\x9c");
    assert_string_equal(out, "a\xed\x95\x9c");
    utf8_copy(out, sizeof(out), "ab\xed\x95");
    assert_string_equal(out, "ab");
    utf8_copy(out, sizeof(out),
              "ab\xff"
              "c");
    assert_string_equal(out, "ab");
    utf8_copy(out, sizeof(out), "12345678");
    assert_string_equal(out, "1234567");
    utf8_copy(out, 1, "x");
    assert_string_equal(out, "");

    /* nothing behind the text's end is read */
    memset(out, 'z', sizeof(out));
    utf8_copy(out, sizeof(out), "ab\0defgh");
    assert_memory_equal(out, "ab\0zzzzz", sizeof(out));
}

static void mrkdwn(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 1000);
    assert_true(mrkdwn_escape(&t, STR("<!channel> & <@U1|x> \"*_~`&amp;")));
    assert_string_equal(text_cstr(&t), "&lt;!channel&gt; &amp; &lt;@U1|x&gt; \"*_~`&amp;amp;");
    text_reset(&t);
    assert_true(mrkdwn_escape(&t, STR_NULL));
    assert_string_equal(text_cstr(&t), "");
    text_free(&t);

    text_init(&t, 6);
    assert_false(mrkdwn_escape(&t, STR("a<<")));
    assert_true(t.truncated);
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_texts),    cmocka_unit_test(error_too_long),
        cmocka_unit_test(backoff_bounds), cmocka_unit_test(clocks_and_random),
        cmocka_unit_test(strings),        cmocka_unit_test(text_limits),
        cmocka_unit_test(utf8),           cmocka_unit_test(utf8_three_bytes),
        cmocka_unit_test(utf8_copies),    cmocka_unit_test(mrkdwn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
