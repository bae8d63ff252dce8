/* What the member reads. */
#include "rendering.h"

#include <stdio.h>
#include <stdlib.h>

#include "digest/blocks.h"
#include "digest/links.h"
#include "digest/words.h"

static void reads_well(void **state)
{
    const char *texts[] = {"TCP <https://example.com/tcp?a=1&amp;b=2|글>", "문제 3번", "둘째 채널",
                           "답글"};
    struct digest_work *work = work_of("ko", texts, 4);
    struct source *source = source_create(work);
    struct text out;

    (void)state;
    text_init(&out, 65536);
    render(&out, work, source,
           "{\"studied\":[{\"text\":\"혼잡 제어를 공부하셨어요 & "
           "https://example.com/tcp?a=1&b=2\","
           "\"records\":[1,2,1]},{\"text\":\"답글도 쓰셨어요\",\"records\":[4]}],"
           "\"went_well\":[{\"text\":\"꾸준히 쓰셨어요\",\"records\":[3]}],"
           "\"try_next\":\"그림으로 그려 보세요\"}");
    assert_non_null(strstr(text_cstr(&out), "11월 21일 – 11월 22일"));
    assert_non_null(strstr(text_cstr(&out), "<@U0MEMBER1>님, 안녕하세요"));
    assert_non_null(strstr(text_cstr(&out), "*공부한 내용*\n• 혼잡 제어를 공부하셨어요 &amp; "
                                            "<https://example.com/tcp?a=1&amp;b=2> "
                                            "<https://group.slack.com/archives/C0FIRST01/"
                                            "p1795300000000001|기록 보기 1> "
                                            "<https://group.slack.com/archives/C0FIRST01/"
                                            "p1795300000000002|기록 보기 2>"));
    assert_non_null(strstr(text_cstr(&out),
                           "C0FIRST01/p1795300000000004?thread_ts=1795200000.000100&amp;"
                           "cid=C0FIRST01|기록 보기>"));
    assert_non_null(strstr(text_cstr(&out), "*잘하신 점*\n• 꾸준히"));
    assert_non_null(strstr(text_cstr(&out), "그림으로 그려 보세요"));
    assert_non_null(strstr(text_cstr(&out), "AI 모델이 쓴 글이라"));
    only_our_markup(text_cstr(&out), source);
    text_free(&out);
    source_destroy(&source);
    digest_work_destroy(&work);
}

static void statements_without_a_record(void **state)
{
    const char *texts[] = {"one", "two"};
    struct digest_work *work = work_of("en", texts, 2);
    struct source *source = source_create(work);
    struct answer *a = parse("{\"studied\":[{\"text\":\"none\",\"records\":[]},"
                             "{\"text\":\"unknown\",\"records\":[3,0,-1,99999999999]},"
                             "{\"text\":\"words\",\"records\":[\"1\"]},"
                             "{\"text\":\"kept\",\"records\":[2,7]},{\"records\":[1]},7],"
                             "\"went_well\":[{\"text\":\"gone\",\"records\":[5]}],\"try_next\":7}",
                             source, "en");
    struct text problem, json;

    (void)state;
    assert_int_equal(a->studied_count, 1);
    assert_string_equal(a->studied[0].text, "kept");
    assert_int_equal(a->studied[0].records_count, 1);
    assert_int_equal(a->studied[0].records[0], 1);
    assert_int_equal(a->went_well_count, 0);
    assert_null(a->try_next);
    text_init(&json, 4096);
    assert_true(answer_write(&json, a, 0));
    assert_string_equal(text_cstr(&json), "{\"studied\":[{\"text\":\"kept\",\"records\":[2]}],"
                                          "\"went_well\":[],\"try_next\":\"\"}");
    answer_destroy(&a);

    text_init(&problem, 400);
    assert_false(answer_parse(&a, STR("{\"studied\":[{\"text\":\"x\",\"records\":[9]}]}"), source,
                              0, source_count(source), STR_NULL, &problem));
    assert_non_null(strstr(text_cstr(&problem), "numbers of records"));
    text_reset(&problem);
    assert_false(answer_parse(&a, STR("You studied one."), source, 0, source_count(source),
                              STR_NULL, &problem));
    assert_non_null(strstr(text_cstr(&problem), "not one JSON object"));
    text_reset(&problem);
    assert_false(answer_parse(&a, STR("{\"studied\":{}}"), source, 0, source_count(source),
                              STR_NULL, &problem));
    assert_false(answer_parse(&a, STR_NULL, source, 0, source_count(source), STR_NULL, &problem));
    text_free(&problem);
    text_free(&json);
    source_destroy(&source);
    digest_work_destroy(&work);
}

/* The part [first, end) of the records says `json`. */
static struct answer *said(const char *json, const struct source *source, size_t first, size_t end)
{
    struct answer *a = NULL;
    struct text problem;

    text_init(&problem, 400);
    if (!answer_parse(&a, str_of(json), source, first, end, STR_NULL, &problem)) {
        fail_msg("%s", text_cstr(&problem));
    }
    text_free(&problem);
    return a;
}

static void parts_of_a_long_day(void **state)
{
    const char *texts[] = {"one", "two", "three", "four", "five"};
    struct digest_work *work = work_of("en", texts, 5);
    struct source *source = source_create(work);
    struct prompt_part parts[PROMPT_PARTS_MAX];
    struct answer *answers[2], *all;
    struct text many;

    (void)state;
    assert_int_equal(prompt_parts(work, source, 170, 8, parts), 3); /* 84 of each, 4 of the first */
    assert_int_equal(parts[0].first, 0);
    assert_int_equal(parts[0].end, 1);
    assert_int_equal(parts[2].first, 3);
    assert_int_equal(parts[2].end, 5);
    assert_int_equal(prompt_parts(work, source, 170, 2, parts), 2); /* the newest */
    assert_int_equal(parts[0].first, 1);

    text_init(&many, 65536);
    text_adds(&many, "{\"studied\":[");
    for (int i = 0; i < ANSWER_STUDIED_MAX; i++) {
        text_addf(&many, "%s{\"text\":\"first part %d\",\"records\":[1,2,3]}", i > 0 ? "," : "", i);
    }
    text_adds(&many, "],\"went_well\":[],\"try_next\":\"old advice\"}");
    answers[0] = said(text_cstr(&many), source, 1, 3);
    answers[1] = said("{\"studied\":[{\"text\":\"a\",\"records\":[1]},{\"text\":"
                      "\"b\",\"records\":[2]}],"
                      "\"went_well\":[{\"text\":\"c\",\"records\":[2]}],\"try_"
                      "next\":\"new advice\"}",
                      source, 3, 5);
    assert_int_equal(answers[0]->studied[0].records_count, 2); /* 3 was not in this part */
    all = answer_merge(answers, 2);
    assert_int_equal(all->studied_count, ANSWER_STUDIED_MAX);
    assert_string_equal(all->studied[0].text, "first part 0");
    assert_int_equal(all->studied[0].records[0], 1);
    assert_string_equal(all->studied[ANSWER_STUDIED_MAX - 1].text, "b"); /* none is pushed out */
    assert_int_equal(all->studied[ANSWER_STUDIED_MAX - 1].records[0], 4);
    assert_int_equal(all->went_well_count, 1);
    assert_string_equal(all->try_next, "new advice");

    answer_destroy(&all);
    answer_destroy(&answers[0]);
    answer_destroy(&answers[1]);
    text_free(&many);
    source_destroy(&source);
    digest_work_destroy(&work);
}

static void streak_and_week(void **state)
{
    const char *texts[] = {"read chapter three of the book"};
    struct digest_work *work = work_of("ko", texts, 1);
    struct source *source = source_create(work);
    struct text body, result, out;
    struct error err = {0};

    (void)state;
    work->weekly = true;
    work->streak = (struct streak){.current = 3, .longest = 5, .days = 12, .records = 40};
    text_init(&body, 65536);
    text_init(&result, 4096);
    text_init(&out, 65536);
    assert_true(render_factual(&body, &result, work, source, &err));
    shown(&out, text_str(&body));
    assert_non_null(strstr(text_cstr(&out), "3일째 이어서 기록하고 계세요!"));
    assert_non_null(
        strstr(text_cstr(&out), "12일 동안 기록 40개를 남기셨어요(가장 길게는 5일 연속)."));
    assert_non_null(strstr(text_cstr(&out), "한 주 동안"));
    assert_null(strstr(text_cstr(&out), "이번 주")); /* on a Monday that week is over */
    text_reset(&out);
    words_streak(&out, "en", &(struct streak){.current = 1, .longest = 1, .days = 1, .records = 1});
    assert_string_equal(text_cstr(&out), "So far: 1 note on 1 day.");
    text_reset(&out);
    words_streak(&out, "en", &(struct streak){.current = 0, .longest = 3, .days = 4, .records = 9});
    assert_string_equal(text_cstr(&out), "So far: 9 notes on 4 days; your longest run was 3 days.");
    text_reset(&out);
    words_streak(&out, "en", &(struct streak){0});
    assert_int_equal(out.len, 0);
    text_free(&body);
    text_free(&result);
    text_free(&out);
    source_destroy(&source);
    digest_work_destroy(&work);
}

static void numbers_run_over_what_was_sent(void **state)
{
    const char *texts[] = {"old", "new", "newest"};
    struct digest_work *work = work_of("en", texts, 3);
    struct source *source = source_create(work);
    struct answer *a = NULL;
    struct text problem, json;

    (void)state;
    text_init(&problem, 400);
    text_init(&json, 4096);
    assert_true(answer_parse(&a, STR("{\"studied\":[{\"text\":\"x\",\"records\":[1,2,3]}]}"),
                             source, 1, source_count(source), STR_NULL, &problem));
    assert_int_equal(a->studied[0].records_count, 2);
    assert_int_equal(a->studied[0].records[0], 1);
    assert_int_equal(a->studied[0].records[1], 2);
    assert_true(answer_write(&json, a, 1));
    assert_non_null(strstr(text_cstr(&json), "\"records\":[1,2]"));
    answer_destroy(&a);
    text_free(&json);
    text_free(&problem);
    source_destroy(&source);
    digest_work_destroy(&work);
}

static void wrapped_answers(void **state)
{
    static const char *const wrapped[] = {
        "```json\n{\"studied\":[{\"text\":\"x\",\"records\":[1]}]}\n```",
        "Here you are: {\"studied\":[{\"text\":\"x\",\"records\":[1]}]} I hope "
        "it helps!",
        "<think>{\"studied\":[]} hm "
        "{</think>{\"studied\":[{\"text\":\"x\",\"records\":[1]}]}",
    };
    const char *texts[] = {"one"};
    struct digest_work *work = work_of("en", texts, 1);
    struct source *source = source_create(work);

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct answer *a = parse(wrapped[i], source, "en");
        assert_string_equal(a->studied[0].text, "x");
        answer_destroy(&a);
    }
    source_destroy(&source);
    digest_work_destroy(&work);
}

/* ---- limits ---- */

static void long_answers(void **state)
{
    const char *texts[200];
    struct digest_work *work;
    struct source *source;
    struct text json, out;

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        texts[i] = "a record that is long enough to be quoted in full somewhere "
                   "<https://good.example/"
                   "a/very/long/path/that/goes/on/and/on> 😀😀😀😀";
    }
    work = work_of("ko", texts, 200);
    source = source_create(work);
    text_init(&json, 4 * 1024 * 1024);
    text_init(&out, 512 * 1024);
    text_adds(&json, "{\"studied\":[");
    for (int i = 0; i < 60; i++) {
        text_addf(&json, "%s{\"text\":\"", i > 0 ? "," : "");
        for (int k = 0; k < 400; k++) {
            text_adds(&json, k % 3 == 0 ? "&" : k % 3 == 1 ? "😀" : "가");
        }
        text_addf(&json, "\",\"records\":[%d,%d,%d,%d,%d,%d,%d]}", 3 * i % 200 + 1, 4, 8, 12, 16,
                  20, 24);
    }
    text_adds(&json, "],\"went_well\":[],\"try_next\":\"x\"}");
    render(&out, work, source, text_cstr(&json));              /* checks the limits */
    assert_non_null(strstr(text_cstr(&out), "AI 모델이"));     /* the small print has its room */
    assert_non_null(strstr(text_cstr(&out), "(study_wrong ")); /* and so have the buttons */
    text_free(&json);
    text_free(&out);

    struct error err = {0};
    struct text body, result;
    text_init(&body, 512 * 1024);
    text_init(&result, 4096);
    text_init(&out, 512 * 1024);
    assert_true(render_factual(&body, &result, work, source, &err));
    shown(&out, text_str(&body));
    assert_non_null(strstr(text_cstr(&out), "기록 200개"));
    assert_non_null(strstr(text_cstr(&out), "이 밖에도"));
    assert_non_null(strstr(text_cstr(&out), "(study_helped "));
    assert_non_null(strstr(text_cstr(&out), "(study_wrong "));
    assert_string_equal(text_cstr(&result),
                        "{\"notes\":200,\"days\":2,\"channels\":2,\"links\":1}");
    text_free(&out);
    text_free(&result);
    text_free(&body);
    source_destroy(&source);
    digest_work_destroy(&work);
}

static void factual(void **state)
{
    const char *texts[] = {"short",
                           ("the longest note of all, about paging &amp; segmentation, with "
                            "<https://good.example/p|page> and <https://namu.wiki/w/가_(책)>"),
                           "a middling note that is just long enough to be quoted"};
    struct digest_work *work = work_of("en", texts, 3);
    struct source *source = source_create(work);
    struct error err = {0};
    struct text body, result, out;
    const char *longest, *second;

    (void)state;
    text_init(&body, 512 * 1024);
    text_init(&result, 4096);
    text_init(&out, 512 * 1024);
    assert_true(render_factual(&body, &result, work, source, &err));
    shown(&out, text_str(&body));
    assert_non_null(strstr(text_cstr(&out), "You left 3 notes on 2 days in 2 channels."));
    longest = strstr(text_cstr(&out), "• the longest note of all, about paging &amp; segmentation");
    second = strstr(text_cstr(&out), "• a middling note");
    assert_non_null(longest);
    assert_non_null(second);
    assert_true(longest < second);
    assert_null(strstr(text_cstr(&out), "• short"));
    assert_non_null(strstr(text_cstr(&out), "• <https://good.example/p>"));
    assert_non_null(strstr(text_cstr(&out), "• <https://namu.wiki/w/%EA%B0%80_%28%EC%B1%85%29>"));
    for (int i = 1; i <= 3; i++) {
        char link[64];
        snprintf(link, sizeof(link), "/p179530000000000%d|09:12>", i);
        assert_non_null(strstr(text_cstr(&out), link));
    }
    assert_non_null(strstr(text_cstr(&out), "without an AI model"));
    only_our_markup(text_cstr(&out), source);
    text_free(&out);
    text_free(&result);
    text_free(&body);
    source_destroy(&source);
    digest_work_destroy(&work);
}

static void block_limits(void **state)
{
    struct blocks *b = blocks_create();
    struct error err = {0};
    struct text line, out, all;
    int taken = 0;

    (void)state;
    text_init(&line, 8192);
    text_init(&out, 512 * 1024);
    text_init(&all, 512 * 1024);
    for (int i = 0; i < 400; i++) {
        text_adds(&line, "\xF0\x9F\x98\x80");
    }
    blocks_header(b, text_str(&line));
    while (blocks_line(b, STR("one \"line\" / with \\ escapes")) && taken < 100000) {
        blocks_gap(b);
        taken++;
    }
    assert_in_range(taken, 20, 49);
    for (int i = 0; i < 3000; i++) {
        text_adds(&line, "x");
    }
    assert_false(blocks_line(b, text_str(&line)));
    blocks_context(b, STR("small print"));
    assert_true(blocks_done(b, STR("<fallback>"), &out, &err));
    shown(&all, text_str(&out));
    assert_true(str_starts(text_str(&all), "&lt;fallback&gt;"));
    assert_non_null(strstr(text_cstr(&all), "small print"));
    text_free(&all);
    text_free(&out);
    text_free(&line);
    blocks_destroy(&b);
}

static void permalinks(void **state)
{
    struct text out;

    (void)state;
    text_init(&out, 1024);
    permalink(&out, "", "C1", "1700000000.000100", NULL);
    assert_string_equal(text_cstr(&out), "https://slack.com/archives/C1/p1700000000000100");
    text_reset(&out);
    permalink(&out, "https://g.slack.com/>x|/", "C1", "1700000000.000100", "1700000000.000100");
    assert_string_equal(text_cstr(&out), "https://slack.com/archives/C1/p1700000000000100");
    text_free(&out);
}

static void link_finding(void **state)
{
    static const struct {
        const char *text, *found;
    } cases[] = {
        {"read https://a.b/c?d=e, then", "https://a.b/c?d=e"},
        {"주소는 https://a.b/c입니다", "https://a.b/c"},
        {"(https://a.b/c).", "https://a.b/c"},
        {"www.example.org!", "www.example.org"},
        {"go to example.com now", "example.com"},
        {"at some.host/path", "some.host/path"},
        {"write to a@b.example", "a@b.example"},
        {"main.c and README.md", NULL},
        {"e.g. this, i.e. that", NULL},
        {"3.14 is pi, 1.2.3 a version", NULL},
        {"10.0.0.1", "10.0.0.1"},
        {"and/or 1/2 a:b", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str link = STR_NULL;
        size_t pos = 0;
        bool found = link_next(str_of(cases[i].text), &pos, &link);

        if (found != (cases[i].found != NULL) || (found && !str_is(link, cases[i].found))) {
            fail_msg("\"%s\": \"%.*s\"", cases[i].text, STR_ARG(link));
        }
    }
}

static void notice_fits(void **state)
{
    struct error err = {0};
    struct text body, words, out, big;

    (void)state;
    text_init(&body, 512 * 1024);
    text_init(&words, 65536);
    text_init(&out, 65536);
    assert_true(prompt_notice(prompts, false, "ko", 90, "api.openai.com", true, &words));
    assert_true(render_notice(&body, "U0MEMBER1", "ko", true, text_str(&words), &err));
    shown(&out, text_str(&body));
    assert_non_null(strstr(text_cstr(&out), "<@U0MEMBER1>"));
    assert_non_null(strstr(text_cstr(&out), "api.openai.com"));
    assert_non_null(strstr(text_cstr(&out), "[동의해요](study_consent U0MEMBER1)"));
    text_reset(&body);
    text_reset(&out);
    assert_true(render_notice(&body, "U0MEMBER1", "en", false, text_str(&words), &err));
    shown(&out, text_str(&body));
    assert_null(strstr(text_cstr(&out), "study_consent"));
    text_reset(&body);
    text_reset(&out);
    assert_true(render_notice(&body, NULL, "ko", true, text_str(&words), &err));
    shown(&out, text_str(&body));
    assert_null(strstr(text_cstr(&out), "<@"));
    assert_null(strstr(text_cstr(&out), "study_consent"));
    text_reset(&body);
    text_init(&big, 65536);
    for (int i = 0; i < 2000; i++) {
        text_adds(&big, "too long ");
    }
    assert_false(render_notice(&body, "U0MEMBER1", "ko", true, text_str(&big), &err));
    assert_int_equal(err.kind, ERROR_CONFIG);
    text_free(&big);
    text_free(&body);
    text_free(&words);
    text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_well),
        cmocka_unit_test(statements_without_a_record),
        cmocka_unit_test(numbers_run_over_what_was_sent),
        cmocka_unit_test(wrapped_answers),
        cmocka_unit_test(long_answers),
        cmocka_unit_test(factual),
        cmocka_unit_test(parts_of_a_long_day),
        cmocka_unit_test(streak_and_week),
        cmocka_unit_test(block_limits),
        cmocka_unit_test(permalinks),
        cmocka_unit_test(link_finding),
        cmocka_unit_test(notice_fits),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
