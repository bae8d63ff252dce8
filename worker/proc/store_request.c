/*
 * Answers are written line by line while the request is done, in one transaction with it: whoever
 * reads "done" can rely on it, and a request that is stored twice is answered once.
 */
#include "proc/store_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/action.h"
#include "base/json.h"
#include "db/forget.h"
#include "db/members.h"
#include "db/outbox.h"
#include "db/roster.h"
#include "digest/blocks.h"
#include "digest/render.h"
#include "digest/words.h"
#include "proc/request_words.h"

#define TODAY_LINKS_MAX  20
#define ANSWER_BYTES_MAX (128 * 1024)

/* One request being answered. */
struct asked {
    struct pg *pg;
    const struct request_terms *terms;
    const struct request *request;
    struct member member; /* as it was */
    const struct request_words *words;
    struct blocks *answer;
    struct text line; /* being written */
};

struct request_terms request_terms_of(const struct config *config)
{
    return (struct request_terms){
        .language = config_string(config, "digest", "language"),
        .quiet_from = config_string(config, "deliver", "quiet_from"),
        .quiet_until = config_string(config, "deliver", "quiet_until"),
        .opt_in = strcmp(config_string(config, "privacy", "consent"), "opt_in") == 0,
        .private_channels = config_bool(config, "privacy", "private_channels"),
        .external_members = config_bool(config, "privacy", "external_members"),
    };
}

/* --- writing -------------------------------------------------------------------------------- */

/* The line with its {} filled in order; values are ours, or escaped already. */
static void say(struct asked *a, const char *line, const char *const *values)
{
    const char *hole;

    text_reset(&a->line);
    while ((hole = strstr(line, "{}")) != NULL) {
        text_add(&a->line, (struct str){line, (size_t)(hole - line)});
        text_adds(&a->line, *values++);
        line = hole + 2;
    }
    text_adds(&a->line, line);
    blocks_line(a->answer, text_str(&a->line));
}

static void say_plain(struct asked *a, const char *line)
{
    say(a, line, NULL);
}

/* The line with the two numbers of what is held. */
static void say_held(struct asked *a, const char *line)
{
    char messages[24], digests[24];

    snprintf(messages, sizeof(messages), "%" PRId64, a->member.messages);
    snprintf(digests, sizeof(digests), "%" PRId64, a->member.digests_got);
    say(a, line, (const char *const[]){messages, digests});
}

static int minute_of(const char *clock)
{
    return atoi(clock) * 60 + atoi(strchr(clock, ':') + 1);
}

/* What a schedule sends in quiet hours waits until they end: study.quiet_end. */
static void say_quiet(struct asked *a, const char *clock)
{
    const char *from = a->terms->quiet_from;
    const char *until = a->terms->quiet_until;
    int begin = minute_of(from);
    int end = minute_of(until);
    int at = minute_of(clock);

    if (begin <= end ? at >= begin && at < end : at >= begin || at < end) {
        say(a, a->words->time_quiet, (const char *const[]){from, until, until});
    }
}

/* --- what is asked for ---------------------------------------------------------------------- */

static bool do_help(struct asked *a, struct error *err)
{
    (void)err;
    if (a->request->unclear) {
        say_plain(a, a->words->not_understood);
        blocks_gap(a->answer);
    }
    say_plain(a, a->words->help);
    blocks_gap(a->answer);
    say_plain(a, a->member.digests ? a->words->settings_on : a->words->settings_off);
    if (a->member.time[0] != '\0') {
        say(a, a->words->settings_time, (const char *const[]){a->member.time});
        say_quiet(a, a->member.time);
    } else {
        say_plain(a, a->words->settings_any_time);
    }
    return true;
}

static void say_record(struct asked *a, const struct today *today, const struct today_record *r)
{
    struct text url;

    text_init(&url, 1024);
    permalink(&url, today->team_url, r->channel_id, r->ts, r->thread_ts);
    text_reset(&a->line);
    text_addf(&a->line, "• %s <#%s> ", r->time, r->channel_id);
    if (r->thread_ts != NULL) {
        text_addf(&a->line, "%s ", a->words->reply);
    }
    text_adds(&a->line, "<");
    mrkdwn_escape(&a->line, text_str(&url));
    text_addf(&a->line, "|%s>", a->words->view);
    blocks_line(a->answer, text_str(&a->line));
    text_free(&url);
}

static void say_number(struct asked *a, const char *line, int64_t number)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%" PRId64, number);
    say(a, line, (const char *const[]){digits});
}

static bool do_today(struct asked *a, struct error *err)
{
    struct today today = {0};
    struct text day;
    char total[24];

    if (!member_today(a->pg, a->request->team, a->request->user, a->terms->private_channels,
                      TODAY_LINKS_MAX, &today, err)) {
        return false;
    }
    text_init(&day, 64);
    words_date(&day, a->member.english ? "en" : "ko", today.day);
    snprintf(total, sizeof(total), "%" PRId64, today.total);
    say(a, today.total > 0 ? a->words->today_head : a->words->today_none,
        (const char *const[]){text_cstr(&day), total});
    for (size_t i = 0; i < today.count; i++) {
        say_record(a, &today, &today.records[i]);
    }
    if (today.total > (int64_t)today.count) {
        say_number(a, a->words->today_more, today.total - (int64_t)today.count);
    }
    if (today.streak > 1) {
        say_number(a, a->words->today_streak, today.streak);
    }
    text_free(&day);
    today_clear(&today);
    return true;
}

static bool do_on(struct asked *a, struct error *err)
{
    say_plain(a, a->words->on);
    if (a->terms->opt_in) {
        say_plain(a, a->words->on_agreed);
    }
    if (!a->member.noticed) {
        say_plain(a, a->words->on_first);
    }
    return member_switch(a->pg, a->request->team, a->request->user, true, a->terms->opt_in, err);
}

static bool do_off(struct asked *a, struct error *err)
{
    say_plain(a, a->words->off);
    return member_switch(a->pg, a->request->team, a->request->user, false, a->terms->opt_in, err);
}

static bool do_language(struct asked *a, struct error *err)
{
    if (a->request->unclear) {
        say_plain(a, a->words->language_usage);
        return true;
    }
    a->words = request_words_of(strcmp(a->request->language, "en") == 0);
    say_plain(a, a->words->language_set);
    return member_set_language(a->pg, a->request->team, a->request->user, a->request->language,
                               err);
}

static bool do_time(struct asked *a, struct error *err)
{
    int minute = a->request->minute;
    char clock[16];

    if (a->request->unclear) {
        say_plain(a, a->words->time_usage);
        return true;
    }
    snprintf(clock, sizeof(clock), "%02d:%02d", minute / 60, minute % 60);
    if (minute < 0) {
        say_plain(a, a->words->time_reset);
    } else {
        say(a, a->words->time_set, (const char *const[]){clock});
        say_quiet(a, clock);
    }
    return member_set_time(a->pg, a->request->team, a->request->user, minute, err);
}

static bool do_export(struct asked *a, struct error *err)
{
    bool fresh;

    if (!member_asks_export(a->pg, a->request->team, a->request->user, &fresh, err)) {
        return false;
    }
    say_held(a, fresh ? a->words->export_asked : a->words->export_again);
    return true;
}

/* Only the one who is asked sees the question; that it is them is checked with the press. */
static bool do_forget(struct asked *a, struct error *err)
{
    char *user = str_dup(a->request->user);
    const struct blocks_button buttons[] = {
        {ACTION_FORGET, user, a->words->forget_yes, "danger"},
        {ACTION_FORGET_EVER, user, a->words->forget_ever, "danger"},
        {ACTION_FORGET_KEEP, user, a->words->forget_no, NULL},
    };

    (void)err;
    say_held(a, a->words->forget_ask);
    say_plain(a, a->words->forget_warn);
    blocks_buttons(a->answer, buttons, 3);
    free(user);
    return true;
}

/* The rows go within seconds, by the schedule role: there may be many. */
static bool do_forget_yes(struct asked *a, struct error *err)
{
    bool ever = a->request->verb == REQUEST_FORGET_EVER;
    char *team = str_dup(a->request->team);
    char *user = str_dup(a->request->user);
    bool ok = forget_member(a->pg, team, user, ever, false, err);

    blocks_ephemeral(a->answer, true);
    say_plain(a, ever ? a->words->forgotten_ever : a->words->forgotten);
    free(user);
    free(team);
    return ok;
}

static bool do_forget_no(struct asked *a, struct error *err)
{
    (void)err;
    blocks_ephemeral(a->answer, true);
    say_plain(a, a->words->kept);
    return true;
}

static bool do_consent(struct asked *a, struct error *err)
{
    say_plain(a, a->words->agreed);
    return member_consents(a->pg, a->request->team, a->request->user, err);
}

static bool do_feedback(struct asked *a, struct error *err)
{
    bool theirs;

    if (!member_says(a->pg, a->request->team, a->request->user, a->request->digest_id,
                     a->request->helped, &theirs, err)) {
        return false;
    }
    say_plain(a, !theirs              ? a->words->feedback_gone
                 : a->request->helped ? a->words->helped
                                      : a->words->wrong);
    return true;
}

static bool (*const doings[])(struct asked *a, struct error *err) = {
    [REQUEST_HELP] = do_help,
    [REQUEST_TODAY] = do_today,
    [REQUEST_ON] = do_on,
    [REQUEST_OFF] = do_off,
    [REQUEST_LANGUAGE] = do_language,
    [REQUEST_TIME] = do_time,
    [REQUEST_EXPORT] = do_export,
    [REQUEST_FORGET] = do_forget,
    [REQUEST_FORGET_YES] = do_forget_yes,
    [REQUEST_FORGET_EVER] = do_forget_yes,
    [REQUEST_FORGET_NO] = do_forget_no,
    [REQUEST_CONSENT] = do_consent,
    [REQUEST_FEEDBACK] = do_feedback,
};

/* --- answering ------------------------------------------------------------------------------ */

/* {"url","message"}: what deliver POSTs, and where to. */
static bool add_answer(struct asked *a, struct str identity, struct error *err)
{
    struct json_writer *w = json_writer_create(ANSWER_BYTES_MAX);
    char *team = str_dup(a->request->team);
    char *key = NULL, *target = NULL;
    struct text message;
    struct str body;
    bool ok;

    if (asprintf(&key, "response:%.*s", STR_ARG(identity)) < 0 ||
        asprintf(&target, "response-%.*s", STR_ARG(a->request->user)) < 0) {
        abort();
    }
    text_init(&message, ANSWER_BYTES_MAX);
    json_object_begin(w);
    json_put_kstr(w, "url", a->request->response_url);
    ok = blocks_done(a->answer, str_of(a->words->fallback), &message, err);
    if (ok) {
        json_put_key(w, "message");
        json_put_raw(w, text_str(&message));
    }
    json_object_end(w);
    ok = ok && json_writer_done(w, &body, err) &&
         outbox_add(a->pg,
                    &(struct outbox_new){.identity = key,
                                         .kind = "response",
                                         .team_id = team,
                                         .target = target,
                                         .body = body},
                    1, err);
    text_free(&message);
    json_writer_destroy(&w);
    free(target);
    free(key);
    free(team);
    return ok;
}

/* To switch it on is to be known again. */
static bool lift(struct asked *a, struct error *err)
{
    char *team = str_dup(a->request->team);
    char *user = str_dup(a->request->user);
    bool was_forgotten;
    bool ok = forget_lift(a->pg, team, user, &was_forgotten, err);

    free(user);
    free(team);
    return ok;
}

static bool is_turned_away(const struct asked *a)
{
    return a->request->verb == REQUEST_REFUSED ||
           (a->member.external && !a->terms->external_members);
}

/* Whoever is turned away leaves no row but the answer's, and stays forgotten. */
static bool know_member(struct asked *a, struct error *err)
{
    const struct request *r = a->request;

    a->member.english = strcmp(a->terms->language, "en") == 0;
    if (!db_teams_seen(a->pg, &r->team, 1, err)) {
        return false;
    }
    if (r->verb == REQUEST_ON &&
        (!member_read(a->pg, r->team, r->user, a->terms->language, &a->member, err) ||
         (!is_turned_away(a) && !lift(a, err)))) {
        return false;
    }
    return is_turned_away(a) ||
           (db_members_seen(a->pg, &(struct db_member){.team = r->team, .user = r->user}, 1, err) &&
            member_read(a->pg, r->team, r->user, a->terms->language, &a->member, err));
}

static bool answer(struct asked *a, struct error *err)
{
    a->words = request_words_of(a->member.english);
    if (is_turned_away(a)) {
        say_plain(a, a->words->refused);
        return true;
    }
    if (!a->member.known && a->request->verb != REQUEST_HELP) {
        say_plain(a, a->words->not_recorded);
        return true;
    }
    return doings[a->request->verb](a, err);
}

bool request_apply(struct pg *pg, const struct request_terms *terms, const struct request *request,
                   struct str identity, struct error *err)
{
    struct asked a = {.pg = pg, .terms = terms, .request = request, .answer = blocks_create()};
    bool ok;

    text_init(&a.line, ANSWER_BYTES_MAX);
    blocks_ephemeral(a.answer, false);
    ok = know_member(&a, err) && answer(&a, err) &&
         (request->response_url.data == NULL || add_answer(&a, identity, err));
    text_free(&a.line);
    blocks_destroy(&a.answer);
    return ok;
}
