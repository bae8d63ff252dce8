/* Commands and buttons as Slack sends them: what is asked for, and by whom. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/event.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct event_rules strict, wide = {.external_members = true};

static void read_body(struct event *e, enum envelope_kind kind, const char *body,
                      const struct event_rules *rules)
{
    struct envelope envelope = {
        .kind = kind, .received_at_ms = 1795372952123, .body = str_of(body)};

    event_read(e, &envelope, rules);
}

static char *command(const char *text)
{
    char *body;

    assert_true(asprintf(&body,
                         "token=x&team_id=T1&channel_id=C1&user_id=U1&command=%%2Fstudy&"
                         "text=%s"
                         "&response_url=https%%3A%%2F%%2Fhooks.slack.com%%2Fc%%2F1"
                         "&trigger_id=13345224609.738474920.8088930838d8",
                         text) > 0);
    return body;
}

static void words(void **state)
{
    static const struct {
        const char *text;
        enum request_verb verb;
        bool unclear;
        const char *language;
        int minute;
    } rows[] = {
        {"", REQUEST_HELP, false, NULL, 0},
        {"+++", REQUEST_HELP, false, NULL, 0},
        {"help", REQUEST_HELP, false, NULL, 0},
        {"%EB%8F%84%EC%9B%80%EB%A7%90", REQUEST_HELP, false, NULL, 0},
        {"make+me+a+sandwich", REQUEST_HELP, true, NULL, 0},
        {"todayx", REQUEST_HELP, true, NULL, 0},
        {"today%7Con", REQUEST_HELP, true, NULL, 0},
        {"today", REQUEST_TODAY, false, NULL, 0},
        {"+TODAY+please", REQUEST_TODAY, false, NULL, 0},
        {"%EC%98%A4%EB%8A%98", REQUEST_TODAY, false, NULL, 0},
        {"on", REQUEST_ON, false, NULL, 0},
        {"%EC%BC%9C%EA%B8%B0", REQUEST_ON, false, NULL, 0},
        {"off", REQUEST_OFF, false, NULL, 0},
        {"%EB%81%84%EA%B8%B0", REQUEST_OFF, false, NULL, 0},
        {"lang+ko", REQUEST_LANGUAGE, false, "ko", 0},
        {"lang+EN", REQUEST_LANGUAGE, false, "en", 0},
        {"%EC%96%B8%EC%96%B4+%EC%98%81%EC%96%B4", REQUEST_LANGUAGE, false, "en", 0},
        {"lang+fr", REQUEST_LANGUAGE, true, NULL, 0},
        {"lang", REQUEST_LANGUAGE, true, NULL, 0},
        {"time+08%3A30", REQUEST_TIME, false, NULL, 510},
        {"time+8%3A30", REQUEST_TIME, false, NULL, 510},
        {"time+00%3A00", REQUEST_TIME, false, NULL, 0},
        {"time+23%3A59", REQUEST_TIME, false, NULL, 1439},
        {"%EC%8B%9C%EA%B0%84+7%3A05", REQUEST_TIME, false, NULL, 425},
        {"time+default", REQUEST_TIME, false, NULL, -1},
        {"export", REQUEST_EXPORT, false, NULL, 0},
        {"%EB%82%B4%EB%B3%B4%EB%82%B4%EA%B8%B0", REQUEST_EXPORT, false, NULL, 0},
        {"forget", REQUEST_FORGET, false, NULL, 0},
        {"%EC%82%AD%EC%A0%9C", REQUEST_FORGET, false, NULL, 0},
        {"%EC%9E%8A%EA%B8%B0", REQUEST_FORGET, false, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *body = command(rows[i].text);
        struct event e;

        read_body(&e, ENVELOPE_COMMAND, body, &strict);
        if (e.effect != EVENT_REQUEST || e.request.verb != rows[i].verb ||
            e.request.unclear != rows[i].unclear ||
            (e.request.language == NULL) != (rows[i].language == NULL) ||
            (rows[i].language != NULL && strcmp(e.request.language, rows[i].language) != 0) ||
            (!e.request.unclear && e.request.minute != rows[i].minute)) {
            fail_msg("%s: effect %d, verb %d, unclear %d, minute %d", rows[i].text, (int)e.effect,
                     (int)e.request.verb, e.request.unclear, e.request.minute);
        }
        assert_true(str_is(e.request.team, "T1"));
        assert_true(str_is(e.request.user, "U1"));
        assert_true(str_is(e.request.response_url, "https://hooks.slack.com/c/1"));
        assert_true(str_is(e.identity, "command:13345224609.738474920.8088930838d8"));
        event_clear(&e);
        free(body);
    }
}

static void times_that_are_none(void **state)
{
    static const char *const rows[] = {"",      "24%3A00",   "8",        "8%3A60",  "-1%3A00",
                                       "830",   "08%3A3",    "008%3A30", "8%3A3x",  "x%3A30",
                                       "%3A30", "12%3A%3A5", "08-30",    "8%3A300", "default1"};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[64];
        struct event e;

        snprintf(text, sizeof(text), "time+%s", rows[i]);
        char *body = command(text);
        read_body(&e, ENVELOPE_COMMAND, body, &strict);
        if (e.request.verb != REQUEST_TIME || !e.request.unclear) {
            fail_msg("%s was taken for a time", rows[i]);
        }
        event_clear(&e);
        free(body);
    }
}

static void long_words(void **state)
{
    char text[5000];
    struct event e;

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    char *body = command(text);
    read_body(&e, ENVELOPE_COMMAND, body, &strict);
    assert_int_equal(e.effect, EVENT_REQUEST);
    assert_int_equal(e.request.verb, REQUEST_HELP);
    event_clear(&e);
    free(body);
}

static void where_to_answer(void **state)
{
    static const char *const bad[] = {"",
                                      "ftp%3A%2F%2Fx",
                                      "javascript%3A1",
                                      "https%3A%2F%2Fa%0Ab",
                                      "https%3A%2F%2F%EC%98%A4",
                                      "https%3A%2F%2Fx%00"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char body[300];
        struct event e;

        snprintf(body, sizeof(body),
                 "command=%%2Fstudy&trigger_id=1&team_id=T1&user_id=U1&response_url=%s", bad[i]);
        read_body(&e, ENVELOPE_COMMAND, body, &strict);
        assert_int_equal(e.effect, EVENT_REQUEST);
        assert_null(e.request.response_url.data);
        event_clear(&e);
    }
}

/* As a form, with nothing escaped but what has to be. */
static char *press(const char *team, const char *home, const char *action, const char *value)
{
    char *body;

    assert_true(asprintf(&body,
                         "payload={\"type\":\"block_actions\",\"trigger_id\":\"7."
                         "8.9\",\"team\":%s,"
                         "\"user\":{\"id\":\"U1\",\"team_id\":\"%s\"},"
                         "\"enterprise\":{\"id\":\"E1\"},"
                         "\"response_url\":\"https://hooks.slack.com/a/1\","
                         "\"actions\":[{\"action_id\":\"%s\",\"value\":\"%s\"}]}",
                         team, home, action, value) > 0);
    return body;
}

static void presses(void **state)
{
    static const struct {
        const char *team, *home, *action, *value;
        enum event_effect effect;
        enum request_verb verb;
    } rows[] = {
        {"{\"id\":\"T1\"}", "T1", "study_helped", "12", EVENT_REQUEST, REQUEST_FEEDBACK},
        {"{\"id\":\"T1\"}", "T1", "study_wrong", "12", EVENT_REQUEST, REQUEST_FEEDBACK},
        {"{\"id\":\"T1\"}", "T1", "study_wrong", "0", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_wrong", "-12", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_wrong", "9223372036854775808", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_wrong", "x", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_consent", "U1", EVENT_REQUEST, REQUEST_CONSENT},
        {"{\"id\":\"T1\"}", "T1", "study_consent", "U2", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_forget", "U1", EVENT_REQUEST, REQUEST_FORGET_YES},
        {"{\"id\":\"T1\"}", "T1", "study_forget", "U2", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_forget_ever", "U1", EVENT_REQUEST, REQUEST_FORGET_EVER},
        {"{\"id\":\"T1\"}", "T1", "study_forget_ever", "", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "T1", "study_forget_keep", "U1", EVENT_REQUEST, REQUEST_FORGET_NO},
        {"{\"id\":\"T1\"}", "T1", "another_button", "U1", EVENT_IGNORED, 0},
        {"{\"id\":\"T1\"}", "TOTHER", "study_consent", "U1", EVENT_REQUEST, REQUEST_REFUSED},
        {"{\"id\":\"T1\"}", "E1", "study_consent", "U1", EVENT_REQUEST, REQUEST_CONSENT},
        {"null", "T1", "study_consent", "U1", EVENT_REQUEST, REQUEST_CONSENT},
        {"{\"id\":5}", "T1", "study_consent", "U1", EVENT_DEAD, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *body = press(rows[i].team, rows[i].home, rows[i].action, rows[i].value);
        struct event e;

        read_body(&e, ENVELOPE_INTERACTION, body, &strict);
        if (e.effect != rows[i].effect ||
            (e.effect == EVENT_REQUEST && e.request.verb != rows[i].verb)) {
            fail_msg("%s: effect %d (%s), verb %d", body, (int)e.effect, e.reason,
                     (int)e.request.verb);
        }
        if (e.effect == EVENT_REQUEST) {
            assert_true(str_is(e.identity, "interaction:7.8.9"));
            assert_true(str_is(e.request.team, "T1"));
            assert_true(str_is(e.request.response_url, "https://hooks.slack.com/a/1"));
        }
        if (e.effect == EVENT_REQUEST && e.request.verb == REQUEST_FEEDBACK) {
            assert_int_equal(e.request.digest_id, 12);
            assert_int_equal(e.request.helped, strcmp(rows[i].action, "study_helped") == 0);
        }
        event_clear(&e);
        free(body);
    }
}

static void others_where_they_are_let_in(void **state)
{
    char *body = press("{\"id\":\"T1\"}", "TOTHER", "study_consent", "U1");
    struct event e;

    (void)state;
    read_body(&e, ENVELOPE_INTERACTION, body, &wide);
    assert_int_equal(e.request.verb, REQUEST_CONSENT);
    event_clear(&e);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),      cmocka_unit_test(times_that_are_none),
        cmocka_unit_test(long_words), cmocka_unit_test(where_to_answer),
        cmocka_unit_test(presses),    cmocka_unit_test(others_where_they_are_let_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
