/*
 * The fixed words of what members read, in each language: polite, warm 해요체 in Korean. Texts that
 * an operator may want to change (prompts, the notice) are files instead: prompt.h.
 */
#ifndef STUDY_DIGEST_WORDS_H
#define STUDY_DIGEST_WORDS_H

#include <stddef.h>

#include "base/text.h"
#include "db/streaks.h"

struct words {
    const char *header_daily, *header_weekly; /* before the date */
    const char *hello;                        /* around the mention */
    const char *hello_end, *hello_end_weekly;
    const char *studied, *went_well, *try_next;
    const char *view; /* of a link to a record */
    const char *longest, *links, *records, *more;
    const char *made_by_model, *made_without_model, *turn_off;
    const char *helped, *wrong; /* buttons */
    const char *agree;          /* a button of the notice */
    const char *fallback;
};

const struct words *words_of(const char *language); /* anything but "en" is Korean */

/* "2026-11-21" as "11월 21일" or "21 November"; as it stands when it is not a date. */
void words_date(struct text *out, const char *language, const char *day);
/* "이틀 동안 기록 3개를 채널 2곳에 남겼어요." in numbers */
void words_totals(struct text *out, const char *language, size_t notes, size_t days,
                  size_t channels);
/* Days in a row, and all there is: "3일째 이어서 ..."; nothing where nothing is known. */
void words_streak(struct text *out, const char *language, const struct streak *streak);
void words_left_out(struct text *out, const char *language, size_t taken);

#endif
