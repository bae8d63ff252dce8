/* ingest/envelope, ingest/form; the elements in t/lib/fixtures are those of the module's tests. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/envelope.h"
#include "ingest/event.h"
#include "ingest/form.h"

#define HEADER(v, kind, at)                                                                        \
    "{\"v\":" v ",\"kind\":\"" kind "\",\"received_at\":" at                                       \
    ",\"retry_num\":0,\"retry_reason\":\"\",\"content_type\":\"application/json\","                \
    "\"request_id\":\"r1\",\"idempotency_key\":\"\"}"

static void reads_every_field(void **state)
{
    struct envelope e;
    struct error err = {0};

    (void)state;
    assert_true(envelope_parse(
        &e,
        STR("{\"v\":1,\"kind\":\"trigger\",\"received_at\":1795372952123,\"retry_num\":2,"
            "\"retry_reason\":\"http_timeout\",\"content_type\":\"text/plain\","
            "\"request_id\":\"abc\",\"idempotency_key\":\"k\\u00e9\"}\nschedule=daily\n"),
        &err));
    assert_int_equal(e.kind, ENVELOPE_TRIGGER);
    assert_int_equal(e.received_at_ms, 1795372952123);
    assert_int_equal(e.retry_num, 2);
    assert_true(str_is(e.retry_reason, "http_timeout"));
    assert_true(str_is(e.content_type, "text/plain"));
    assert_true(str_is(e.request_id, "abc"));
    assert_true(str_is(e.idempotency_key, "k\303\251"));
    assert_true(str_is(e.body, "schedule=daily\n"));
    envelope_clear(&e);
}

static void keeps_the_body_byte_for_byte(void **state)
{
    static const char element[] = HEADER("1", "event", "5") "\n\n\0\xff{\r\n";
    struct envelope e;
    struct error err = {0};

    (void)state;
    assert_true(envelope_parse(&e, (struct str){element, sizeof(element) - 1}, &err));
    assert_int_equal(e.body.len, 6);
    assert_memory_equal(e.body.data, "\n\0\xff{\r\n", 6);
    envelope_clear(&e);
}

static void knows_the_kinds(void **state)
{
    static const struct {
        const char *element;
        enum envelope_kind kind;
    } rows[] = {
        {HEADER("1", "event", "1") "\n", ENVELOPE_EVENT},
        {HEADER("1", "command", "1") "\n", ENVELOPE_COMMAND},
        {HEADER("1", "interaction", "1") "\n", ENVELOPE_INTERACTION},
        {HEADER("1", "trigger", "1") "\n", ENVELOPE_TRIGGER},
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct envelope e;
        struct error err = {0};

        assert_true(envelope_parse(&e, str_of(rows[i].element), &err));
        assert_int_equal(e.kind, rows[i].kind);
        assert_int_equal(e.body.len, 0);
        envelope_clear(&e);
    }
}

static void gives_a_reason(void **state)
{
    static const struct {
        const char *element;
        const char *reason;
    } rows[] = {
        {"", "empty_element"},
        {"{}", "no_header"},
        {"\n{}", "bad_header"},
        {"not json\nbody", "bad_header"},
        {"[1]\nbody", "bad_header"},
        {"{}\nbody", "bad_header"},
        {"{\"v\":\"1\"}\n", "bad_header"},
        {HEADER("1", "event", "1") "x\nbody", "bad_header"},
        {"{\"v\":1,\"kind\":\"ev\xff\"}\n", "bad_header"},
        {HEADER("2", "event", "1") "\n", "unknown_version"},
        {HEADER("0", "event", "1") "\n", "unknown_version"},
        {HEADER("-1", "event", "1") "\n", "unknown_version"},
        {HEADER("1", "Event", "1") "\n", "unknown_kind"},
        {HEADER("1", "", "1") "\n", "unknown_kind"},
        {HEADER("1", "event", "\"1\"") "\n", "bad_received_at"},
        {HEADER("1", "event", "0") "\n", "bad_received_at"},
        {HEADER("1", "event", "-5") "\n", "bad_received_at"},
        {HEADER("1", "event", "1e3000") "\n", "bad_received_at"},
        {HEADER("1", "event", "100000000000001") "\n", "bad_received_at"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct envelope e;
        struct error err = {0};

        assert_false(envelope_parse(&e, str_of(rows[i].element), &err));
        assert_string_equal(err.code, rows[i].reason);
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_null(e.header);
    }
}

static void bounds_the_header(void **state)
{
    char *element = malloc(ENVELOPE_HEADER_MAX + 2);
    struct envelope e;
    struct error err = {0};

    (void)state;
    memset(element, ' ', ENVELOPE_HEADER_MAX + 1);
    element[ENVELOPE_HEADER_MAX] = '\n';
    assert_false(envelope_parse(&e, (struct str){element, ENVELOPE_HEADER_MAX + 1}, &err));
    assert_string_equal(err.code, "no_header");
    free(element);
}

/* What the module's tests assert that it pushes. */
static void reads_what_the_module_pushes(void **state)
{
    static const struct {
        const char *name;
        enum envelope_kind kind;
        enum event_effect effect;
    } rows[] = {
        {"element", ENVELOPE_EVENT, EVENT_MESSAGE},
        {"element-first", ENVELOPE_EVENT, EVENT_MESSAGE},
        {"element-empty", ENVELOPE_EVENT, EVENT_DEAD},
        {"element-raw", ENVELOPE_EVENT, EVENT_DEAD},
        {"element-command", ENVELOPE_COMMAND, EVENT_REQUEST},
        {"element-interaction", ENVELOPE_INTERACTION, EVENT_IGNORED},
        {"element-trigger", ENVELOPE_TRIGGER, EVENT_TRIGGER},
    };
    const struct event_rules rules = {.private_channels = false};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[256], element[16384];
        struct envelope e;
        struct event event;
        struct error err = {0};
        FILE *in;
        size_t n;

        snprintf(path, sizeof(path), STUDY_SOURCE_DIR "/t/lib/fixtures/%s.bin", rows[i].name);
        in = fopen(path, "rb");
        assert_non_null(in);
        n = fread(element, 1, sizeof(element), in);
        fclose(in);
        assert_true(envelope_parse(&e, (struct str){element, n}, &err));
        assert_int_equal(e.kind, rows[i].kind);
        assert_int_equal(e.received_at_ms, 1795372952123);
        assert_true(str_is(e.request_id, "5f0c7d1e9b3a48626f2d1c0b9a897867"));
        event_read(&event, &e, &rules);
        if (event.effect != rows[i].effect) {
            fail_msg("%s: effect %d, %s", rows[i].name, (int)event.effect, event.reason);
        }
        event_clear(&event);
        envelope_clear(&e);
    }
}

static void reads_forms(void **state)
{
    static const struct {
        const char *body;
        const char *value; /* of `schedule`; NULL: none */
    } rows[] = {
        {"schedule=daily", "daily"},
        {"a=b&schedule=daily&schedule=weekly", "daily"},
        {"schedule=a+b%20c%2Fd", "a b c/d"},
        {"schedule=%ec%8a%a4", "\354\212\244"},
        {"schedule=%zz%4", "%zz%4"},
        {"schedule=", ""},
        {"schedule", NULL},
        {"schedules=daily", NULL},
        {"&&=&x", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str value = STR_NULL;
        char *memory = form_get(str_of(rows[i].body), "schedule", &value);

        if (rows[i].value == NULL) {
            assert_null(memory);
        } else {
            assert_non_null(memory);
            assert_true(str_is(value, rows[i].value));
        }
        free(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_field), cmocka_unit_test(keeps_the_body_byte_for_byte),
        cmocka_unit_test(knows_the_kinds),   cmocka_unit_test(gives_a_reason),
        cmocka_unit_test(bounds_the_header), cmocka_unit_test(reads_what_the_module_pushes),
        cmocka_unit_test(reads_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
