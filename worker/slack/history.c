/* No burst is taken: deliver, which looks into histories for a doubtful reply, has it to itself. */
#include "slack/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "db/lanes.h"
#include "slack/web.h"

#define ATTEMPTS_MAX  10
#define LIMITED_MAX   200 /* 429s of one call */
#define RETRY_BASE_MS 1000
#define RETRY_MAX_MS  60000
#define REST_MS       100

static bool interrupted(const struct history *h, struct error *err)
{
    return *h->stop != 0 && !error_set(err, ERROR_INTERRUPTED, "interrupted");
}

/* False when told to stop. */
static bool rest(const struct history *h, int64_t ms, struct error *err)
{
    int64_t until = clock_boot_ms() + ms;

    while (clock_boot_ms() < until) {
        int64_t left = until - clock_boot_ms();

        left = left < REST_MS ? left : REST_MS;
        nanosleep(&(struct timespec){.tv_nsec = left * 1000000L}, NULL);
        if (interrupted(h, err)) {
            return false;
        }
    }
    return !interrupted(h, err);
}

static bool book(struct history *h, const char *method, struct error *err)
{
    int64_t wait_ms;

    if (h->team_id[0] == '\0') {
        return true;
    }
    do {
        if (!slack_wait_take(h->pg, h->team_id, method, h->interval_ms, 0, 1, &wait_ms, err)) {
            return false;
        }
        /* The book may be written to meanwhile: looked at again each second. */
        if (wait_ms > 0 && !rest(h, wait_ms < 1000 ? wait_ms : 1000, err)) {
            return false;
        }
    } while (wait_ms > 0);
    return true;
}

/* One request to its end, which io/http bounds. */
static bool ask(struct history *h, const char *method, const char *form,
                struct slack_answer *answer, struct error *err)
{
    struct http_response response;

    if (!slack_start(h->http, config_string(h->config, "slack", "api_url"), method, form, h->token,
                     STR_NULL, false, NULL, err)) {
        return false;
    }
    while (!http_next(h->http, &response)) {
        if (interrupted(h, err)) {
            http_cancel(h->http, NULL);
            return false;
        }
        if (!http_wait(h->http, NULL, 0, REST_MS, err)) {
            return false;
        }
    }
    slack_read(answer, &response, http_header(h->http, "retry-after"));
    return true;
}

/* What will be the same however often it is asked. */
static bool is_final(const struct slack_answer *answer)
{
    return answer->outcome == SLACK_TEAM_STOPS || answer->outcome == SLACK_CHANNEL_NEVER ||
           answer->outcome == SLACK_MESSAGE_NEVER;
}

bool history_call(struct history *history, const char *method, const char *form,
                  struct slack_answer *answer, struct error *err)
{
    unsigned attempts = 0, limited = 0;
    char code[sizeof(answer->code)];
    int64_t wait_ms;
    bool final;

    for (;;) {
        if (!book(history, method, err) || !ask(history, method, form, answer, err)) {
            return false;
        }
        if (answer->outcome == SLACK_OK) {
            return true;
        }
        final = is_final(answer);
        wait_ms = answer->wait_ms;
        snprintf(code, sizeof(code), "%s", answer->code);
        slack_answer_free(answer);
        if (final || (wait_ms >= 0 ? ++limited > LIMITED_MAX : ++attempts >= ATTEMPTS_MAX)) {
            return error_set_code(err, ERROR_REMOTE, code, "Slack's %s: %s", method, code);
        }
        if (wait_ms >= 0 && history->team_id[0] != '\0') {
            if (!slack_wait_set(history->pg, history->team_id, method, wait_ms, err)) {
                return false;
            }
        } else if (!rest(history,
                         wait_ms >= 0 ? wait_ms
                                      : clock_backoff_ms(attempts, RETRY_BASE_MS, RETRY_MAX_MS),
                         err)) {
            return false;
        }
    }
}

bool history_page(struct history *history, const char *channel, const char *thread_ts,
                  const char *oldest, const char *latest, struct str cursor,
                  struct slack_answer *answer, struct error *err)
{
    struct text form;
    bool ok;

    text_init(&form, 8192);
    text_addf(&form, "channel=%s&oldest=%s&latest=%s&limit=%" PRId64, channel, oldest, latest,
              history->page);
    if (thread_ts != NULL) {
        text_addf(&form, "&ts=%s", thread_ts);
    }
    if (cursor.len > 0) {
        text_adds(&form, "&cursor=");
        slack_form_value(&form, cursor);
    }
    ok = history_call(history, thread_ts != NULL ? SLACK_REPLIES : SLACK_HISTORY, text_cstr(&form),
                      answer, err);
    text_free(&form);
    if (ok && json_type(json_get(answer->root, "messages")) != JSON_ARRAY) {
        slack_answer_free(answer);
        return error_set(err, ERROR_REMOTE, "Slack's history came without messages");
    }
    return ok;
}
