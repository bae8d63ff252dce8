/* Both languages side by side, so that a change to one is seen beside the other. */
#include "digest/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct words korean = {
    .header_daily = "하루 공부 돌아보기",
    .header_weekly = "한 주 공부 돌아보기",
    .hello = "",
    .hello_end = "님, 안녕하세요! 남겨 주신 기록을 함께 돌아볼게요.",
    .hello_end_weekly = "님, 안녕하세요! 한 주 동안 남겨 주신 기록을 함께 돌아볼게요.",
    .studied = "*공부한 내용*",
    .went_well = "*잘하신 점*",
    .try_next = "*다음에 하나 해 본다면*",
    .view = "기록 보기",
    .longest = "*자세히 적어 주신 기록*",
    .links = "*함께 남긴 링크*",
    .records = "*모든 기록*",
    .more = "이 밖에도 기록이 더 있어요.",
    .made_by_model = "AI 모델이 쓴 글이라 틀린 내용이 있을 수 있어요.",
    .made_without_model = "이번에는 AI 모델 없이 기록만 모아 드렸어요.",
    .turn_off = "그만 받고 싶으시면 `/study off` 라고 써 주세요.",
    .helped = "도움이 됐어요",
    .wrong = "틀린 내용이 있어요",
    .agree = "동의해요",
    .fallback = "공부 기록을 돌아보는 글이 도착했어요.",
};

static const struct words english = {
    .header_daily = "Your study day",
    .header_weekly = "Your study week",
    .hello = "Hello ",
    .hello_end = "! Here is a look back at the notes you left.",
    .hello_end_weekly = "! Here is a look back at the notes of your week.",
    .studied = "*What you studied*",
    .went_well = "*What went well*",
    .try_next = "*One thing to try next*",
    .view = "note",
    .longest = "*Your longest notes*",
    .links = "*Links you kept*",
    .records = "*All notes*",
    .more = "There are more notes than these.",
    .made_by_model = "An AI model wrote this; it may be wrong.",
    .made_without_model = "This one was put together from your notes without an AI model.",
    .turn_off = "To stop these messages, write `/study off`.",
    .helped = "This helped",
    .wrong = "Something is wrong",
    .agree = "I agree",
    .fallback = "A look back at your study notes has arrived.",
};

static bool is_english(const char *language)
{
    return strcmp(language, "en") == 0;
}

const struct words *words_of(const char *language)
{
    return is_english(language) ? &english : &korean;
}

void words_date(struct text *out, const char *language, const char *day)
{
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    int year, month, date;

    if (sscanf(day, "%4d-%2d-%2d", &year, &month, &date) != 3 || month < 1 || month > 12) {
        text_adds(out, day);
    } else if (is_english(language)) {
        text_addf(out, "%d %s", date, months[month - 1]);
    } else {
        text_addf(out, "%d월 %d일", month, date);
    }
}

void words_totals(struct text *out, const char *language, size_t notes, size_t days,
                  size_t channels)
{
    if (is_english(language)) {
        text_addf(out, "You left %zu note%s on %zu day%s in %zu channel%s.", notes,
                  notes == 1 ? "" : "s", days, days == 1 ? "" : "s", channels,
                  channels == 1 ? "" : "s");
    } else {
        text_addf(out, "%zu일 동안 채널 %zu곳에 기록 %zu개를 남기셨어요.", days, channels, notes);
    }
}

void words_streak(struct text *out, const char *language, const struct streak *s)
{
    const char *days = s->days == 1 ? "" : "s";
    const char *notes = s->records == 1 ? "" : "s";

    if (s->days == 0) {
        return;
    }
    if (is_english(language)) {
        if (s->current > 1) {
            text_addf(out, "%" PRId64 " days in a row! ", s->current);
        }
        text_addf(out, "So far: %" PRId64 " note%s on %" PRId64 " day%s", s->records, notes,
                  s->days, days);
        if (s->longest > 1 && s->longest > s->current) {
            text_addf(out, "; your longest run was %" PRId64 " days", s->longest);
        }
        text_adds(out, ".");
        return;
    }
    if (s->current > 1) {
        text_addf(out, "%" PRId64 "일째 이어서 기록하고 계세요! ", s->current);
    }
    text_addf(out, "지금까지 %" PRId64 "일 동안 기록 %" PRId64 "개를 남기셨어요", s->days,
              s->records);
    if (s->longest > 1 && s->longest > s->current) {
        text_addf(out, "(가장 길게는 %" PRId64 "일 연속)", s->longest);
    }
    text_adds(out, ".");
}

void words_left_out(struct text *out, const char *language, size_t taken)
{
    if (is_english(language)) {
        text_addf(out, "There were many notes; only the newest %zu went into this summary.", taken);
    } else {
        text_addf(out, "기록이 많아서 최근 %zu개만 살펴봤어요.", taken);
    }
}
