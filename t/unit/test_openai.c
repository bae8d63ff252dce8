/* digest/openai: what is asked, and every kind of answer that servers have been seen to give. */
#include "unit.h"

#include <string.h>

#include "base/json.h"
#include "digest/answer.h"
#include "digest/openai.h"

#define NOW 1795372952000 /* Unix ms */

static const struct openai_headers none = {"", "", "", "", "", ""};

static struct openai_settings settings(void)
{
    return (struct openai_settings){
        .model = "m", .tokens_field = "max_completion_tokens", .max_tokens = 2000};
}

static struct json_doc *request(const struct openai_settings *s)
{
    const struct openai_message messages[] = {{"system", STR("be kind")},
                                              {"user", STR("{\"n\":1}\n\"quoted\" \xED\x95\x9C")}};
    struct error err = {0};
    struct json_doc *doc = NULL;
    struct text out;

    text_init(&out, 65536);
    assert_true(openai_request(&out, s, &answer_schema, messages, 2, &err));
    assert_true(json_parse(&doc, text_str(&out), &err));
    text_free(&out);
    return doc;
}

static void asks(void **state)
{
    struct openai_settings s = settings();
    struct json_doc *doc = request(&s);
    const struct json *root = json_root(doc);
    const struct json *schema = json_path(root, "response_format.json_schema");
    int64_t n;

    (void)state;
    assert_true(str_is(json_get_string(root, "model"), "m"));
    assert_int_equal(json_type(json_get(root, "store")), JSON_BOOL);
    assert_false(json_bool(json_get(root, "store")));
    assert_int_equal(json_type(json_get(root, "stream")), JSON_BOOL);
    assert_false(json_bool(json_get(root, "stream")));
    assert_true(json_int64(json_get(root, "max_completion_tokens"), &n) && n == 2000);
    assert_null(json_get(root, "temperature"));
    assert_true(str_is(json_string(json_path(root, "response_format.type")), "json_schema"));
    assert_true(str_is(json_get_string(schema, "name"), "study_digest"));
    assert_true(json_bool(json_get(schema, "strict")));
    assert_int_equal(json_size(json_path(schema, "schema.required")), 3);
    assert_true(str_is(json_get_string(json_at(json_get(root, "messages"), 1), "content"),
                       "{\"n\":1}\n\"quoted\" \xED\x95\x9C"));
    json_destroy(&doc);

    s.tokens_field = "max_tokens";
    s.has_temperature = true;
    s.temperature = 0.25;
    s.format = OPENAI_JSON_OBJECT;
    doc = request(&s);
    root = json_root(doc);
    double t = 0;
    assert_true(json_int64(json_get(root, "max_tokens"), &n) && n == 2000);
    assert_null(json_get(root, "max_completion_tokens"));
    assert_true(json_double(json_get(root, "temperature"), &t) && t > 0.24 && t < 0.26);
    assert_true(str_is(json_string(json_path(root, "response_format.type")), "json_object"));
    assert_null(json_path(root, "response_format.json_schema"));
    json_destroy(&doc);

    s.format = OPENAI_NO_FORMAT;
    doc = request(&s);
    assert_null(json_get(json_root(doc), "response_format"));
    json_destroy(&doc);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"20ms", 20},
        {"1s", 1000},
        {"6m30s", 390000},
        {"0.5s", 500},
        {"1h0m2.5s", 3602500},
        {"2d", 86400000},
        {"1m", 60000},
        {"59.82s", 59820},
        {"0s", -1},
        {"7", 7000},
        {"0.2", 200},
        {"", -1},
        {"soon", -1},
        {"-5s", -1},
        {"5x", -1},
        {"5 s", -1},
        {"1e400", -1},
        {"999999999d", 86400000},
        {"1ms2", -1},
        {"m", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (openai_duration_ms(cases[i].text) != cases[i].ms) {
            fail_msg("\"%s\" is %lld", cases[i].text, (long long)openai_duration_ms(cases[i].text));
        }
    }
}

static void retry_after(void **state)
{
    static const struct {
        const char *seconds, *ms;
        int64_t wait;
    } cases[] = {
        {"2", "", 2000},
        {"2", "1500", 1500},
        {"", "1500.5", 1501},
        {"0", "", 0},
        {"0.25", "", 250},
        {"2", "never", 2000},
        {"", "", -1},
        {"soon", "", -1},
        {"-1", "", -1},
        {"99999999", "", OPENAI_WAIT_MAX_MS},
        {"Sun, 22 Nov 2026 18:42:42 GMT", "", 10000}, /* NOW is 18:42:32 */
        {"Sun, 22 Nov 2026 18:42:00 GMT", "", 0},
        {"Sun, 22 Nov 2027 18:42:00 GMT", "", OPENAI_WAIT_MAX_MS},
        {"Sun, 22 Nov 2026", "", -1},
        {"Sun, 22 Nov 2026 18:42:42 GMT and more", "", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t wait = openai_retry_after_ms(cases[i].seconds, cases[i].ms, NOW);
        if (wait != cases[i].wait) {
            fail_msg("\"%s\", \"%s\" is %lld", cases[i].seconds, cases[i].ms, (long long)wait);
        }
    }
}

static void holds(void **state)
{
    struct openai_headers h = none;

    (void)state;
    assert_int_equal(openai_hold_ms(&h), 0);
    h.remaining_requests = "3";
    h.reset_requests = "1m";
    assert_int_equal(openai_hold_ms(&h), 0);
    h.remaining_requests = "0";
    assert_int_equal(openai_hold_ms(&h), 60000);
    h.remaining_tokens = "0";
    h.reset_tokens = "6m0s";
    assert_int_equal(openai_hold_ms(&h), 360000);
    h.reset_requests = "x";
    h.reset_tokens = "";
    assert_int_equal(openai_hold_ms(&h), 0);
}

#define CHOICE(message, finish)                                                                    \
    "{\"choices\":[{\"message\":" message ",\"finish_reason\":\"" finish                           \
    "\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}"

static void verdicts(void **state)
{
    static const struct {
        long status;
        const char *body;
        enum openai_verdict verdict;
        const char *code;
    } cases[] = {
        {200, CHOICE("{\"content\":\"hi\"}", "stop"), OPENAI_ANSWERED, ""},
        {200, CHOICE("{\"content\":\"hi\"}", "length"), OPENAI_INCOMPLETE, "length"},
        {200, CHOICE("{\"content\":\"\"}", "stop"), OPENAI_INCOMPLETE, ""},
        {200, CHOICE("{\"content\":null}", "stop"), OPENAI_INCOMPLETE, ""},
        {200, CHOICE("{\"content\":[1]}", "stop"), OPENAI_INCOMPLETE, ""},
        {200, CHOICE("{}", "stop"), OPENAI_INCOMPLETE, ""},
        {200, CHOICE("7", "stop"), OPENAI_INCOMPLETE, ""},
        {200, CHOICE("{\"content\":\"\"}", "content_filter"), OPENAI_REFUSED, "content_filter"},
        {200, CHOICE("{\"content\":null,\"refusal\":\"no\"}", "stop"), OPENAI_REFUSED, "refusal"},
        {200, "{\"choices\":[]}", OPENAI_INCOMPLETE, ""},
        {200, "{\"choices\":7}", OPENAI_INCOMPLETE, ""},
        {200, "[]", OPENAI_INCOMPLETE, ""},
        {200, "<html>", OPENAI_INCOMPLETE, ""},
        {200, "", OPENAI_INCOMPLETE, ""},
        {429, "{\"error\":{\"code\":\"rate_limit_exceeded\"}}", OPENAI_RETRY,
         "rate_limit_exceeded"},
        {429, "{\"error\":{\"code\":\"insufficient_quota\"}}", OPENAI_QUOTA, "insufficient_quota"},
        {429, "{\"error\":{\"type\":\"insufficient_quota\",\"code\":null}}", OPENAI_QUOTA,
         "insufficient_quota"},
        {403, "{\"error\":{\"code\":\"insufficient_quota\"}}", OPENAI_QUOTA, "insufficient_quota"},
        {429, "{\"error\":{\"code\":1300,\"type\":\"rate_limited\"}}", OPENAI_RETRY,
         "rate_limited"},
        {429, "{\"error\":\"slow down\"}", OPENAI_RETRY, ""},
        {429, "", OPENAI_RETRY, ""},
        {408, "", OPENAI_RETRY, ""},
        {409, "", OPENAI_RETRY, ""},
        {500, "{\"error\":{\"code\":\"My Words\"}}", OPENAI_RETRY, ""},
        {503, "<html>", OPENAI_RETRY, ""},
        {401, "{\"error\":{\"code\":\"invalid_api_key\"}}", OPENAI_BROKEN, "invalid_api_key"},
        {404, "{\"error\":{\"code\":\"model_not_found\"}}", OPENAI_BROKEN, "model_not_found"},
        {301, "", OPENAI_BROKEN, ""},
        {400, "{\"error\":{\"code\":\"context_length_exceeded\"}}", OPENAI_REFUSED,
         "context_length_exceeded"},
        {413, "", OPENAI_REFUSED, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct openai_reply reply;

        openai_read(&reply, cases[i].status, str_of(cases[i].body), &none, NOW);
        if (reply.verdict != cases[i].verdict || strcmp(reply.error.code, cases[i].code) != 0) {
            fail_msg("%ld %s: verdict %d, code \"%s\"", cases[i].status, cases[i].body,
                     reply.verdict, reply.error.code);
        }
        if (strstr(cases[i].body, "usage") != NULL) {
            assert_int_equal(reply.prompt_tokens, 7);
            assert_int_equal(reply.completion_tokens, 5);
        }
        assert_null(strstr(reply.error.text, "My Words")); /* a server's prose is never logged */
        openai_reply_free(&reply);
    }
}

static void waits(void **state)
{
    struct openai_headers h = none;
    struct openai_reply reply;

    (void)state;
    openai_read(&reply, 429, STR("{}"), &h, NOW);
    assert_int_equal(reply.wait_ms, -1);
    openai_reply_free(&reply);
    h.retry_after = "3";
    openai_read(&reply, 503, STR("{}"), &h, NOW);
    assert_int_equal(reply.wait_ms, 3000);
    openai_reply_free(&reply);
}

static void strange_usage(void **state)
{
    struct openai_reply reply;

    (void)state;
    openai_read(&reply, 200,
                STR("{\"choices\":[{\"message\":{\"content\":\"x\"}}],"
                    "\"usage\":{\"prompt_tokens\":-4,\"completion_tokens\":99999999999999}}"),
                &none, NOW);
    assert_int_equal(reply.verdict, OPENAI_ANSWERED);
    assert_int_equal(reply.prompt_tokens, 0);
    assert_int_equal(reply.completion_tokens, 0);
    openai_reply_free(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks),          cmocka_unit_test(durations), cmocka_unit_test(retry_after),
        cmocka_unit_test(holds),         cmocka_unit_test(verdicts),  cmocka_unit_test(waits),
        cmocka_unit_test(strange_usage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
