/* The member's own mention in the greeting is the one ping that a digest may hold. */
#include "digest/frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/action.h"
#include "digest/links.h"
#include "digest/render.h"
#include "digest/words.h"

#define LINE_MAX 16384

void permalink(struct text *out, const char *team_url, const char *channel_id, const char *ts,
               const char *thread_ts)
{
    size_t n = strlen(team_url);
    bool usable = n > 0 && team_url[n - 1] == '/' && link_is_web((struct str){team_url, n});

    text_addf(out, "%sarchives/%s/p", usable ? team_url : "https://slack.com/", channel_id);
    for (const char *p = ts; *p != '\0'; p++) {
        if (*p != '.') {
            text_add(out, (struct str){p, 1});
        }
    }
    if (thread_ts != NULL && strcmp(thread_ts, ts) != 0) {
        text_addf(out, "?thread_ts=%s&cid=%s", thread_ts, channel_id);
    }
}

void frame_link(struct text *line, const struct digest_work *work, size_t i, const char *label)
{
    const struct digest_record *r = &work->records[i];
    struct text url;

    text_init(&url, 1024);
    permalink(&url, work->team_url, r->channel_id, r->ts, r->thread_ts);
    text_adds(line, "<");
    mrkdwn_escape(line, text_str(&url));
    text_addf(line, "|%s>", label);
    text_free(&url);
}

static void add_header(struct blocks *b, const struct digest_work *work)
{
    const struct words *words = words_of(work->language);
    const char *first = work->records_count > 0 ? work->records[0].day : work->day;
    const char *last =
        work->records_count > 0 ? work->records[work->records_count - 1].day : work->day;
    struct text t;

    text_init(&t, LINE_MAX);
    text_adds(&t, work->weekly ? words->header_weekly : words->header_daily);
    text_adds(&t, " · ");
    words_date(&t, work->language, first);
    if (strcmp(first, last) != 0) {
        text_adds(&t, " – ");
        words_date(&t, work->language, last);
    }
    blocks_header(b, text_str(&t));
    text_free(&t);
}

/* The streak stands here, where there is always room for it. */
static void add_hello(struct blocks *b, const struct digest_work *work)
{
    const struct words *words = words_of(work->language);
    struct text t;

    text_init(&t, LINE_MAX);
    text_addf(&t, "%s<@%s>%s", words->hello, work->user_id,
              work->weekly ? words->hello_end_weekly : words->hello_end);
    blocks_line(b, text_str(&t));
    text_reset(&t);
    words_streak(&t, work->language, &work->streak);
    if (t.len > 0) {
        blocks_line(b, text_str(&t));
    }
    blocks_gap(b);
    text_free(&t);
}

static void add_buttons(struct blocks *b, const struct digest_work *work)
{
    const struct words *words = words_of(work->language);
    char id[24];
    const struct blocks_button buttons[] = {
        {ACTION_HELPED, id, words->helped, NULL},
        {ACTION_WRONG, id, words->wrong, NULL},
    };

    snprintf(id, sizeof(id), "%" PRId64, work->digest_id);
    blocks_buttons(b, buttons, 2);
}

void frame_close(struct blocks *b, const struct digest_work *work, bool by_model)
{
    const struct words *words = words_of(work->language);
    struct text t;

    add_buttons(b, work);
    text_init(&t, LINE_MAX);
    text_addf(&t, "%s %s", by_model ? words->made_by_model : words->made_without_model,
              words->turn_off);
    blocks_context(b, text_str(&t));
    text_free(&t);
}

void frame_open(struct blocks *b, const struct digest_work *work)
{
    add_header(b, work);
    add_hello(b, work);
}
