/* slack/outcome and slack/web: what an answer means, and what is asked. */
#include "unit.h"

#include <string.h>

#include "slack/outcome.h"
#include "slack/web.h"

static struct slack_answer read_answer(enum http_fate fate, long status,
                                       const char *body,
                                       const char *retry_after) {
  struct http_response response = {
      .fate = fate, .status = status, .body = str_of(body)};
  struct slack_answer answer;

  slack_read(&answer, &response, retry_after);
  return answer;
}

#define NO(error) "{\"ok\":false,\"error\":\"" error "\"}"

static void outcomes(void **state) {
  static const struct {
    enum http_fate fate;
    long status;
    const char *body;
    enum slack_outcome outcome;
    const char *code;
  } cases[] = {
      {HTTP_ANSWERED, 200, "{\"ok\":true,\"ts\":\"1.2\"}", SLACK_OK, ""},
      {HTTP_NOT_SENT, 0, "", SLACK_NOT_SENT, "not_reached"},
      {HTTP_DOUBTFUL, 0, "", SLACK_DOUBTFUL, "no_answer"},
      {HTTP_ANSWERED, 429, NO("ratelimited"), SLACK_NOT_SENT, "http_429"},
      {HTTP_ANSWERED, 429, "", SLACK_NOT_SENT, "http_429"},
      {HTTP_ANSWERED, 200, NO("ratelimited"), SLACK_NOT_SENT, "ratelimited"},
      {HTTP_ANSWERED, 200, NO("service_unavailable"), SLACK_RETRY,
       "service_unavailable"},
      {HTTP_ANSWERED, 200, NO("request_timeout"), SLACK_RETRY,
       "request_timeout"},
      {HTTP_ANSWERED, 200, NO("team_added_to_org"), SLACK_RETRY,
       "team_added_to_org"},
      {HTTP_ANSWERED, 200, NO("something_new"), SLACK_RETRY, "something_new"},
      {HTTP_ANSWERED, 200, NO("fatal_error"), SLACK_DOUBTFUL, "fatal_error"},
      {HTTP_ANSWERED, 200, NO("internal_error"), SLACK_DOUBTFUL,
       "internal_error"},
      {HTTP_ANSWERED, 500, "", SLACK_DOUBTFUL, "http_500"},
      {HTTP_ANSWERED, 503, NO("service_unavailable"), SLACK_DOUBTFUL,
       "http_503"},
      {HTTP_ANSWERED, 200, "<html>", SLACK_DOUBTFUL, "http_200"},
      {HTTP_ANSWERED, 200, "{}", SLACK_DOUBTFUL, "http_200"},
      {HTTP_ANSWERED, 200, "{\"ok\":1}", SLACK_DOUBTFUL, "http_200"},
      {HTTP_ANSWERED, 404, "", SLACK_RETRY, "http_404"},
      {HTTP_ANSWERED, 302, "", SLACK_RETRY, "http_302"},
      {HTTP_ANSWERED, 200, NO("msg_too_long"), SLACK_MESSAGE_NEVER,
       "msg_too_long"},
      {HTTP_ANSWERED, 200, NO("msg_blocks_too_long"), SLACK_MESSAGE_NEVER,
       "msg_blocks_too_long"},
      {HTTP_ANSWERED, 200, NO("invalid_blocks"), SLACK_MESSAGE_NEVER,
       "invalid_blocks"},
      {HTTP_ANSWERED, 200, NO("no_text"), SLACK_MESSAGE_NEVER, "no_text"},
      {HTTP_ANSWERED, 200, NO("metadata_too_large"), SLACK_MESSAGE_NEVER,
       "metadata_too_large"},
      {HTTP_ANSWERED, 200, NO("channel_not_found"), SLACK_CHANNEL_NEVER,
       "channel_not_found"},
      {HTTP_ANSWERED, 200, NO("is_archived"), SLACK_CHANNEL_NEVER,
       "is_archived"},
      {HTTP_ANSWERED, 200, NO("not_in_channel"), SLACK_CHANNEL_NEVER,
       "not_in_channel"},
      {HTTP_ANSWERED, 200, NO("restricted_action"), SLACK_CHANNEL_NEVER,
       "restricted_action"},
      {HTTP_ANSWERED, 200, NO("messages_tab_disabled"), SLACK_CHANNEL_NEVER,
       "messages_tab_disabled"},
      {HTTP_ANSWERED, 200, NO("user_disabled"), SLACK_CHANNEL_NEVER,
       "user_disabled"},
      {HTTP_ANSWERED, 200, NO("invalid_auth"), SLACK_TEAM_STOPS,
       "invalid_auth"},
      {HTTP_ANSWERED, 200, NO("not_authed"), SLACK_TEAM_STOPS, "not_authed"},
      {HTTP_ANSWERED, 200, NO("account_inactive"), SLACK_TEAM_STOPS,
       "account_inactive"},
      {HTTP_ANSWERED, 200, NO("token_revoked"), SLACK_TEAM_STOPS,
       "token_revoked"},
      {HTTP_ANSWERED, 200, NO("token_expired"), SLACK_TEAM_STOPS,
       "token_expired"},
      {HTTP_ANSWERED, 200, NO("missing_scope"), SLACK_TEAM_STOPS,
       "missing_scope"},
      {HTTP_ANSWERED, 200, NO("Bad Words: hello"), SLACK_RETRY,
       "unknown_error"},
      {HTTP_ANSWERED, 200, "{\"ok\":false}", SLACK_RETRY, "unknown_error"},
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct slack_answer a =
        read_answer(cases[i].fate, cases[i].status, cases[i].body, "2");

    if (a.outcome != cases[i].outcome || strcmp(a.code, cases[i].code) != 0) {
      fail_msg("%ld %s: %d %s", cases[i].status, cases[i].body, a.outcome,
               a.code);
    }
    slack_answer_free(&a);
  }
}

static void retry_after(void **state) {
  static const char *const unknown[] = {"", "0", "soon", "-3", "1.5", " 2"};
  struct slack_answer a = read_answer(HTTP_ANSWERED, 429, "", "7");

  (void)state;
  assert_int_equal(a.wait_ms, 7000);
  slack_answer_free(&a);
  a = read_answer(HTTP_ANSWERED, 200, NO("ratelimited"), "3");
  assert_int_equal(a.wait_ms, 3000);
  slack_answer_free(&a);
  a = read_answer(HTTP_ANSWERED, 200, NO("invalid_auth"), "3");
  assert_int_equal(a.wait_ms, -1);
  slack_answer_free(&a);
  assert_int_equal(slack_retry_after_ms("99999999999"), SLACK_WAIT_MAX_MS);
  for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
    int64_t wait = slack_retry_after_ms(unknown[i]);
    assert_in_range(wait, SLACK_WAIT_DEFAULT_MS, SLACK_WAIT_DEFAULT_MS * 5 / 4);
  }
}

static void response_answers(void **state) {
  static const struct {
    enum http_fate fate;
    long status;
    const char *body;
    enum slack_outcome outcome;
  } cases[] = {
      {HTTP_ANSWERED, 200, "ok", SLACK_OK},
      {HTTP_ANSWERED, 200, "", SLACK_OK},
      {HTTP_ANSWERED, 204, "", SLACK_OK},
      {HTTP_ANSWERED, 404, NO("used_url"), SLACK_MESSAGE_NEVER},
      {HTTP_ANSWERED, 400, "invalid_payload", SLACK_MESSAGE_NEVER},
      {HTTP_ANSWERED, 302, "", SLACK_MESSAGE_NEVER},
      {HTTP_ANSWERED, 408, "", SLACK_RETRY},
      {HTTP_ANSWERED, 429, "", SLACK_NOT_SENT},
      {HTTP_ANSWERED, 500, "", SLACK_DOUBTFUL},
      {HTTP_NOT_SENT, 0, "", SLACK_NOT_SENT},
      {HTTP_DOUBTFUL, 0, "", SLACK_DOUBTFUL},
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct http_response response = {.fate = cases[i].fate,
                                     .status = cases[i].status,
                                     .body = str_of(cases[i].body)};
    struct slack_answer a;

    slack_read_response(&a, &response, "3");
    if (a.outcome != cases[i].outcome ||
        (cases[i].status == 429) != (a.wait_ms == 3000)) {
      fail_msg("%ld %s: %d %s", cases[i].status, cases[i].body, a.outcome,
               a.code);
    }
    slack_answer_free(&a);
  }
}

static bool taken_apart(const char *url, const char *api_url) {
  struct error err = {0};
  struct text body, to, message;
  bool ok;

  text_init(&body, 4096);
  text_init(&to, 4096);
  text_init(&message, 4096);
  text_addf(&body, "{\"url\":\"%s\",\"message\":{\"text\":\"hi\"}}", url);
  ok = slack_response_body(&to, &message, api_url, text_str(&body), &err);
  if (ok) {
    assert_string_equal(text_cstr(&to), url);
    assert_string_equal(text_cstr(&message), "{\"text\":\"hi\"}");
  } else {
    assert_int_equal(err.kind, ERROR_INPUT);
  }
  text_free(&message);
  text_free(&to);
  text_free(&body);
  return ok;
}

static void response_urls(void **state) {
  static const char slack[] = "https://slack.com/api/";

  (void)state;
  assert_true(taken_apart("https://hooks.slack.com/commands/T1/1/x", slack));
  assert_false(taken_apart("http://hooks.slack.com/commands/T1/1/x", slack));
  assert_false(taken_apart("http://slack.com/x", slack));
  assert_true(taken_apart("http://127.0.0.1:8080/response/1",
                          "http://127.0.0.1:8080/api/"));
  assert_false(taken_apart("http://127.0.0.1:80801/response/1",
                           "http://127.0.0.1:8080/api/"));
  assert_false(taken_apart("https://a@hooks.slack.com/x", slack));
  assert_false(taken_apart("https://hooks.slack.com/a b", slack));
  assert_false(taken_apart("https:///x", slack));
  assert_false(taken_apart("file:///etc/passwd", slack));
  assert_false(taken_apart("", slack));
}

static void post_body(void **state) {
  struct error err = {0};
  struct json_doc *doc = NULL;
  const struct json *root;
  struct text out;
  int64_t id;

  (void)state;
  text_init(&out, 65536);
  assert_true(
      slack_post_body(&out, "D1", "1700000000.000100", "study_digest", 42,
                      STR("{\"text\":\"t\",\"blocks\":[{\"type\":\"divider\"}],"
                          "\"channel\":\"C0EVIL\"}"),
                      &err));
  assert_true(json_parse(&doc, text_str(&out), &err));
  root = json_root(doc);
  assert_true(str_is(json_get_string(root, "channel"), "D1"));
  assert_true(str_is(json_get_string(root, "thread_ts"), "1700000000.000100"));
  assert_true(str_is(json_get_string(root, "text"), "t"));
  assert_true(str_is(json_get_string(root, "parse"), "none"));
  assert_false(json_bool(json_get(root, "link_names")));
  assert_int_equal(json_size(json_get(root, "blocks")), 1);
  assert_true(str_is(json_string(json_path(root, "metadata.event_type")),
                     "study_digest"));
  assert_true(
      json_int64(json_path(root, "metadata.event_payload.outbox_id"), &id) &&
      id == 42);
  json_destroy(&doc);
  text_reset(&out);
  assert_false(
      slack_post_body(&out, "D1", NULL, "study_digest", 42, STR("{"), &err));
  assert_int_equal(err.kind, ERROR_INPUT);
  text_free(&out);
}

static void history(void **state) {
  struct error err = {0};
  struct json_doc *doc = NULL;
  struct text q;

  (void)state;
  text_init(&q, 4096);
  slack_history_query(&q, "D1", NULL, 1700000000, STR("bmV4dDox=&x"));
  assert_string_equal(text_cstr(&q),
                      "channel=D1&oldest=1700000000.000000&limit=200"
                      "&include_all_metadata=true&cursor=bmV4dDox%3D%26x");
  text_reset(&q);
  slack_history_query(&q, "C1", "1700000000.000100", 5, STR_NULL);
  assert_string_equal(
      text_cstr(&q), "channel=C1&ts=1700000000.000100&oldest=5.000000&limit=200"
                     "&include_all_metadata=true");
  text_free(&q);

#define POST(ts, more, id)                                                     \
  "{\"ts\":\"" ts "\"" more ",\"metadata\":{\"event_type\":\"study_digest\","  \
                            "\"event_payload\":{\"outbox_id\":" id "}}}"
  assert_true(json_parse(
      &doc,
      STR("{\"ok\":true,\"messages\":[{\"ts\":\"1.1\"}," POST(
          "2.2", "",
          "7") "," POST("3.3", "",
                        "\"8\"") "," POST("5.5", ",\"user\":\"UOTHER\"",
                                          "9") "," POST("6.6",
                                                        ",\"user\":\"UBOT\"",
                                                        "10") ",{\"ts\":\"4."
                                                              "4\","
                                                              "\"metadata\":"
                                                              "null},"
                                                              "{\"ts\":\"7.7\","
                                                              "\"metadata\":{"
                                                              "\"event_"
                                                              "payload\":{"
                                                              "\"outbox_id\":"
                                                              "11}}}],"
                                                              "\"response_"
                                                              "metadata\":{"
                                                              "\"next_cursor\":"
                                                              "\"abc\"}}"),
      &err));
#undef POST
#define FIND(id)                                                               \
  slack_find_post(json_root(doc), "study_digest", STR("UBOT"), id)
  assert_true(str_is(FIND(7), "2.2"));
  assert_true(str_is(FIND(8), "3.3"));
  assert_true(str_is(FIND(10), "6.6"));
  assert_null(FIND(9).data);  /* another app's */
  assert_null(FIND(11).data); /* another kind of message */
  assert_null(FIND(12).data);
#undef FIND
  assert_null(
      slack_find_post(json_root(doc), "study_notice", STR("UBOT"), 10).data);
  assert_true(str_is(
      slack_find_post(json_root(doc), "study_digest", STR_NULL, 10), "6.6"));
  assert_true(str_is(slack_next_cursor(json_root(doc)), "abc"));
  json_destroy(&doc);
  assert_null(slack_find_post(NULL, "study_digest", STR("UBOT"), 9).data);
  assert_null(slack_next_cursor(NULL).data);
}

static void shapes(void **state) {
  (void)state;
  assert_true(slack_is_ts(STR("1700000000.000100")));
  assert_false(slack_is_ts(STR("1700000000.0001")));
  assert_false(slack_is_ts(STR("1700000000,000100")));
  assert_false(slack_is_ts(STR_NULL));
  assert_true(slack_is_id(STR("D024BE91L")));
  assert_false(slack_is_id(STR("D0 x")));
  assert_false(slack_is_id(STR("")));
  assert_false(slack_is_id(STR_NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(response_answers), cmocka_unit_test(response_urls),
      cmocka_unit_test(outcomes),         cmocka_unit_test(retry_after),
      cmocka_unit_test(post_body),        cmocka_unit_test(history),
      cmocka_unit_test(shapes),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
