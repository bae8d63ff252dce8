/* A member's day, by hand: for the tests of digest/. */
#ifndef STUDY_UNIT_DIGEST_WORK_H
#define STUDY_UNIT_DIGEST_WORK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/digests.h"

static inline struct digest_work *work_of(const char *language, const char *const *texts,
                                          size_t count)
{
    struct digest_work *w = calloc(1, sizeof(*w));

    w->digest_id = 7;
    w->claim_token = strdup("token");
    w->team_id = strdup("T0TEAM01");
    w->user_id = strdup("U0MEMBER1");
    w->language = strdup(language);
    w->team_url = strdup("https://group.slack.com/");
    w->day = strdup("2026-11-22");
    w->stored_hash = strdup("");
    w->wanted = true;
    w->records = calloc(count + 1, sizeof(*w->records));
    w->records_count = count;
    w->records_total = (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        char ts[32];

        snprintf(ts, sizeof(ts), "1795300000.%06zu", i + 1);
        w->records[i].channel_id = strdup(i % 3 == 2 ? "C0SECOND1" : "C0FIRST01");
        w->records[i].ts = strdup(ts);
        w->records[i].thread_ts = i % 4 == 3 ? strdup("1795200000.000100") : NULL;
        w->records[i].text = strdup(texts[i]);
        w->records[i].files = strdup(i == 0 ? "notes \"1\".pdf\nplan_U0FRIEND01.md" : "");
        w->records[i].day = strdup(i < count / 2 ? "2026-11-21" : "2026-11-22");
        w->records[i].time = strdup("09:12");
    }
    return w;
}

#endif
