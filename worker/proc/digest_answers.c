/*
 * What answers say about the model's server as a whole: whether it works, and when it may be asked
 * again. A row in the database stops every process when the quota is gone; a rest that the server
 * wants is this process's own.
 */
#include "base/clock.h"
#include "base/log.h"
#include "db/pauses.h"
#include "proc/digest_role.h"

#define QUOTA_PAUSE_MS (3600 * (int64_t)1000) /* then one call looks whether somebody paid */
#define QUOTA_POLL_MS  1000
#define HOLD_BASE_MS   500
#define HOLD_MAX_MS    30000
#define TAKEN_MAX      32

bool digest_model_open(const struct digest_role *d)
{
    return clock_boot_ms() >= d->hold_until_ms;
}

static void hold(struct digest_role *d, int64_t ms)
{
    int64_t until = clock_boot_ms() + ms;

    d->hold_until_ms = until > d->hold_until_ms ? until : d->hold_until_ms;
}

static void quota_gone(struct digest_role *d)
{
    struct error err = {0};
    bool begun = false;

    hold(d, QUOTA_POLL_MS);
    if (!db_pause_set(d->db.pg, "digest", "", PAUSE_QUOTA, QUOTA_PAUSE_MS, &begun, &err)) {
        db_turn_failed(&d->db, "pausing", &err);
    } else if (begun) {
        log_error("ALERT the model's quota is used up (insufficient_quota): no calls for an hour; "
                  "digests past their deadline are made without a model");
    }
}

static void take_news(struct digest_role *d, const struct call_news *news)
{
    if (news->quota_gone) {
        quota_gone(d);
    } else if (news->answered) {
        d->failures = 0;
        if (d->model_down) {
            log_info("the model answers again");
            d->model_down = false;
        }
    } else {
        d->failures++;
        if (!d->model_down) {
            log_error("%sthe model's server: %s", news->broken ? "ALERT " : "", news->said);
            d->model_down = true;
        }
        if (d->failures > 1 && news->hold_ms == 0) {
            hold(d, clock_backoff_ms(d->failures - 1, HOLD_BASE_MS, HOLD_MAX_MS));
        }
    }
    if (news->hold_ms > 0) {
        hold(d, news->hold_ms);
    }
}

bool digest_take_answers(struct digest_role *d)
{
    struct http_response response;

    for (int taken = 0; taken < TAKEN_MAX; taken++) {
        if (!http_next(d->http, &response)) {
            return false;
        }
        struct call *call = response.owner;
        struct call_news news;

        call_answered(&d->model, call, &response, &news);
        d->use.calls++;
        d->use.prompt_tokens += news.prompt_tokens;
        d->use.completion_tokens += news.completion_tokens;
        take_news(d, &news);
        d->answered_at_ms = clock_boot_ms();
        if (d->more && (call->state == CALL_MADE || call->state == CALL_BACK)) {
            d->claim_at_ms = 0;
        }
    }
    return true;
}
