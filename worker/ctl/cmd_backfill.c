/*
 * studyctl backfill: what Slack kept of a channel while nobody listened. Pages are read from the
 * newest back to the oldest, each thread with the page that its first message is on, and every
 * message is handed to the store through the accept log. A page counts as done once all of it is
 * there; so a run that ends anyhow, even by kill -9, repeats a page at most, and repeating is
 * harmless.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/version.h"
#include "ctl/elements.h"
#include "ctl/feed.h"
#include "ctl/output.h"
#include "db/backfill.h"
#include "slack/history.h"
#include "slack/web.h"

#define STORE_WAIT_MS 60000
#define SAY_MS        1000

static volatile sig_atomic_t told_to_stop;

struct filler {
    struct ctl *ctl;
    struct history history;
    struct element_place place;
    char bot_user_id[65], enterprise_id[65];
    struct feed *feed;
    struct text element;
    struct backfill state;
    char known[20]; /* up to here an earlier run has read what is being read; "" nothing */
    int64_t said_ms;
};

static void on_signal(int signal)
{
    (void)signal;
    told_to_stop = 1;
}

/* ---- who we are, and where ---- */

static bool identify(struct filler *f, struct error *err)
{
    struct slack_answer answer;

    if (!history_call(&f->history, SLACK_AUTH_TEST, "", &answer, err)) {
        return false;
    }
    struct str team = json_get_string(answer.root, "team_id");
    struct str bot = json_get_string(answer.root, "user_id");
    struct str org = json_get_string(answer.root, "enterprise_id");
    bool ok = slack_is_id(team) && slack_is_id(bot);

    if (!ok) {
        error_set(err, ERROR_REMOTE, "auth.test did not say who we are");
    } else if (f->ctl->team != NULL && !str_is(team, f->ctl->team)) {
        ok = error_set(err, ERROR_CONFIG, "the token is of workspace %.*s, not of %s",
                       STR_ARG(team), f->ctl->team);
    } else {
        snprintf(f->history.team_id, sizeof(f->history.team_id), "%.*s", STR_ARG(team));
        snprintf(f->bot_user_id, sizeof(f->bot_user_id), "%.*s", STR_ARG(bot));
        if (slack_is_id(org)) {
            snprintf(f->enterprise_id, sizeof(f->enterprise_id), "%.*s", STR_ARG(org));
        }
    }
    slack_answer_free(&answer);
    return ok;
}

static bool look_at_channel(struct filler *f, struct error *err)
{
    const char *id = f->ctl->channel;
    struct slack_answer answer;
    struct text form;

    text_init(&form, 256);
    text_addf(&form, "channel=%s", id);
    bool ok = history_call(&f->history, SLACK_INFO, text_cstr(&form), &answer, err);
    text_free(&form);
    if (!ok) {
        return strcmp(err->code, "channel_not_found") != 0
                   ? false
                   : error_set(err, ERROR_CONFIG, "there is no channel %s that we can see", id);
    }
    const struct json *channel = json_get(answer.root, "channel");
    f->place = (struct element_place){
        .team_id = f->history.team_id,
        .channel_id = id,
        .bot_user_id = f->bot_user_id,
        .enterprise_id = f->enterprise_id,
        .is_private = json_bool(json_get(channel, "is_private")),
        .is_shared = json_bool(json_get(channel, "is_ext_shared")),
    };
    if (json_bool(json_get(channel, "is_im")) || json_bool(json_get(channel, "is_mpim"))) {
        ok = error_set(err, ERROR_CONFIG, "%s is a direct message: such are never recorded", id);
    } else if (!json_bool(json_get(channel, "is_member"))) {
        ok = error_set(err, ERROR_CONFIG, "we are not in channel %s: invite the app there", id);
    } else if (f->place.is_private && !config_bool(f->ctl->config, "privacy", "private_channels")) {
        ok =
            error_set(err, ERROR_CONFIG, "%s is private, and [privacy] private_channels is no", id);
    }
    slack_answer_free(&answer);
    return ok;
}

/* ---- into the accept log ---- */

/* In a transaction that forgetting waits for: what its author has had forgotten meanwhile is not
 * handed over behind its back, not even to be refused by the store. */
static bool push(struct filler *f, const struct json *message, struct error *err)
{
    struct pg *pg = f->ctl->pg;
    bool allowed;

    if (!pg_begin(pg, err) ||
        !backfill_allows(pg, f->history.team_id, json_get_string(message, "user"),
                         json_get_string(message, "ts"), &allowed, err) ||
        (allowed && (!element_of(&f->element, &f->place, message, clock_wall_ms(), err) ||
                     !feed_push(f->feed, text_str(&f->element), err))) ||
        !pg_commit(pg, err)) {
        pg_rollback(pg);
        return false;
    }
    f->state.messages += allowed;
    return true;
}

/* ---- reading ---- */

static void say(struct filler *f, const char *reached)
{
    char at[32];
    time_t seconds = strtoll(reached, NULL, 10);
    struct tm tm;

    if (clock_boot_ms() - f->said_ms < SAY_MS) {
        return;
    }
    f->said_ms = clock_boot_ms();
    strftime(at, sizeof(at), "%Y-%m-%d %H:%M", gmtime_r(&seconds, &tm));
    fprintf(stderr, "%s: %" PRId64 " messages, %" PRId64 " threads, back to %s UTC\n",
            f->ctl->channel, f->state.messages, f->state.threads, at);
}

/* The replies after `oldest`; the first message itself came with the channel. */
static bool read_thread(struct filler *f, const char *thread_ts, const char *oldest,
                        struct error *err)
{
    char *cursor = NULL;
    bool more = true, ok = true;

    while (ok && more) {
        struct slack_answer answer;

        if (!history_page(&f->history, f->ctl->channel, thread_ts, oldest, f->state.latest,
                          str_of(cursor), &answer, err)) {
            ok = strcmp(err->code, "thread_not_found") == 0; /* deleted meanwhile */
            break;
        }
        const struct json *messages = json_get(answer.root, "messages");
        for (size_t i = 0; ok && i < json_size(messages); i++) {
            const struct json *message = json_at(messages, i);
            struct str ts = json_get_string(message, "ts");

            if (slack_is_ts(ts) && !str_is(ts, thread_ts)) {
                ok = push(f, message, err);
            }
        }
        free(cursor);
        struct str next = slack_next_cursor(answer.root);
        cursor = next.data != NULL ? str_dup(next) : NULL;
        more = cursor != NULL;
        slack_answer_free(&answer);
    }
    free(cursor);
    f->state.threads += ok;
    return ok;
}

static bool has_replies(const struct json *message)
{
    int64_t count;

    return json_int64(json_get(message, "reply_count"), &count) && count > 0 &&
           str_eq(json_get_string(message, "thread_ts"), json_get_string(message, "ts"));
}

/* A message, and its thread; of one that an earlier run has read, the replies since. */
static bool take_message(struct filler *f, const struct json *message, const char *ts,
                         struct error *err)
{
    struct str last = json_get_string(message, "latest_reply");

    if (f->known[0] == '\0' || strcmp(ts, f->known) > 0) {
        return push(f, message, err) &&
               (!has_replies(message) || read_thread(f, ts, f->state.oldest, err));
    }
    return !has_replies(message) || (last.data != NULL && str_cmp(last, str_of(f->known)) <= 0) ||
           read_thread(f, ts, f->known, err);
}

/* *oldest: of the page; unchanged when it is empty. */
static bool take_page(struct filler *f, const struct json *messages, char oldest[20],
                      struct error *err)
{
    if (!feed_await_room(f->feed, err)) {
        return false;
    }
    for (size_t i = 0; i < json_size(messages); i++) {
        const struct json *message = json_at(messages, i);
        struct str ts = json_get_string(message, "ts");
        char name[20];

        if (!slack_is_ts(ts)) {
            continue; /* nothing that could be stored */
        }
        snprintf(name, sizeof(name), "%.*s", STR_ARG(ts));
        if (!take_message(f, message, name, err)) {
            return false;
        }
        if (strcmp(name, oldest) < 0) {
            snprintf(oldest, 20, "%s", name);
        }
    }
    return true;
}

/* From `latest` back to `oldest`; `keep`: each page that is done is noted. */
static bool walk(struct filler *f, const char *oldest, const char *latest, bool keep,
                 struct error *err)
{
    char *cursor = NULL, reached[20];
    bool more = true, ok = true;

    snprintf(reached, sizeof(reached), "%s", latest);
    while (ok && more) {
        struct slack_answer answer;
        char before[20];

        memcpy(before, reached, sizeof(before));
        if (!history_page(&f->history, f->ctl->channel, NULL, oldest, reached, str_of(cursor),
                          &answer, err)) {
            ok = false;
            break;
        }
        ok = take_page(f, json_get(answer.root, "messages"), reached, err);
        free(cursor);
        cursor = NULL;
        more = json_bool(json_get(answer.root, "has_more"));
        /* A page without messages has only its cursor to go on by. */
        if (more && strcmp(before, reached) == 0) {
            struct str next = slack_next_cursor(answer.root);

            cursor = next.data != NULL ? str_dup(next) : NULL;
            more = cursor != NULL;
        }
        slack_answer_free(&answer);
        if (ok && keep) {
            ok = backfill_advance(f->ctl->pg, f->history.team_id, f->ctl->channel,
                                  more ? reached : NULL, f->state.messages, f->state.threads, err);
        }
        if (ok) {
            say(f, reached);
        }
    }
    free(cursor);
    return ok;
}

/* ---- the whole ---- */

/* What was posted since an earlier run read its part, there and in the threads of that part; its
 * own part goes on afterwards. The bound is excluded, and the last message of the part has a
 * thread, too: so that begins a little before. */
static bool catch_up(struct filler *f, const char *latest, struct error *err)
{
    const struct backfill *s = &f->state;
    char from[32];
    bool ok;

    snprintf(f->known, sizeof(f->known), "%s",
             strcmp(s->begun, s->latest) < 0 ? s->begun : s->latest);
    snprintf(from, sizeof(from), "%010" PRId64 ".999999",
             (int64_t)strtoll(s->reached, NULL, 10) - 1);
    if (strcmp(f->state.latest, latest) < 0) {
        memcpy(f->state.latest, latest, sizeof(f->state.latest));
    }
    ok = walk(f, from, f->state.latest, false, err);
    f->known[0] = '\0';
    return ok;
}

static bool bounds(struct filler *f, char oldest[20], char latest[20], struct error *err)
{
    int64_t now = clock_wall_ms() / 1000, since, until = now + 60;
    int64_t kept = now - config_int(f->ctl->config, "privacy", "retention") / 1000;

    if (!backfill_time(f->ctl->pg, f->ctl->since, &since, err) ||
        (f->ctl->until != NULL && !backfill_time(f->ctl->pg, f->ctl->until, &until, err))) {
        return false;
    }
    if (since < kept) {
        fprintf(stderr, "Nothing older than [privacy] retention is stored: reading from there.\n");
        since = kept;
    }
    if (since < 1000000000 || until > 9999999999 || since >= until) {
        return error_set(err, ERROR_INPUT, "--since is not before --until");
    }
    /* both are excluded at Slack, and since itself is asked for */
    snprintf(oldest, 20, "%010" PRId64 ".999999", since - 1);
    snprintf(latest, 20, "%010" PRId64 ".000000", until);
    return true;
}

static bool fill(struct filler *f, int64_t *before, struct error *err)
{
    char oldest[20], latest[20];
    bool taken;

    if (!bounds(f, oldest, latest, err) || !identify(f, err) || !look_at_channel(f, err) ||
        !feed_open(&f->feed, f->ctl->config, &told_to_stop, err) ||
        !backfill_lock(f->ctl->pg, f->history.team_id, f->ctl->channel, &taken, err)) {
        return false;
    }
    if (!taken) {
        return error_set(err, ERROR_CONFIG, "another backfill of %s is at work", f->ctl->channel);
    }
    if (!backfill_begin(f->ctl->pg, f->history.team_id, f->ctl->channel, oldest, latest,
                        f->ctl->until != NULL, &f->state, err) ||
        !backfill_stored(f->ctl->pg, f->history.team_id, f->ctl->channel, f->state.oldest, latest,
                         before, err)) {
        return false;
    }
    if (f->state.resumed) {
        fprintf(stderr, "Going on where the last run stopped.\n");
    }
    if (f->state.resumed && !catch_up(f, latest, err)) {
        return false;
    }
    return walk(f, f->state.oldest, f->state.reached, true, err);
}

static enum ctl_status report(struct filler *f, int64_t before)
{
    struct error err = {0};
    int64_t after;
    char why[256];
    bool all = feed_settle(f->feed, STORE_WAIT_MS, why);

    if (!backfill_stored(f->ctl->pg, f->history.team_id, f->ctl->channel, f->state.oldest,
                         f->state.latest, &after, &err)) {
        return ctl_fail(&err);
    }
    if (!all) {
        fprintf(stderr, "The store has not come to all of it yet%s%s.\n",
                why[0] != '\0' ? ": " : "", why);
    }
    if (!f->ctl->json) {
        printf("%s: %" PRId64 " messages read, %" PRId64 " threads; %" PRId64 " were missing\n",
               f->ctl->channel, f->state.messages, f->state.threads, after - before);
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kcstr(w, "team_id", f->history.team_id);
    json_put_kcstr(w, "channel_id", f->ctl->channel);
    json_put_kcstr(w, "oldest", f->state.oldest);
    json_put_kcstr(w, "latest", f->state.latest);
    json_put_kint(w, "messages", f->state.messages);
    json_put_kint(w, "threads", f->state.threads);
    json_put_kint(w, "missing", after - before);
    json_put_kbool(w, "resumed", f->state.resumed);
    json_put_kbool(w, "stored", all);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static struct http *open_http(const struct config *config, struct error *err)
{
    const struct http_limits limits = {
        .service = "slack",
        .user_agent = "studyctl/" STUDY_VERSION,
        .ca_file = config_string(config, "slack", "ca_file"),
        .max_connections = 1,
        .max_response = (size_t)64 << 20,
        .connect_timeout_ms = config_int(config, "slack", "connect_timeout"),
        .timeout_ms = config_int(config, "slack", "timeout"),
    };

    return http_create(&limits, err);
}

static enum ctl_status run_backfill(struct ctl *ctl)
{
    struct filler f = {
        .ctl = ctl,
        .history =
            {
                .config = ctl->config,
                .pg = ctl->pg,
                .token = config_slack_token(ctl->config, ctl->team != NULL ? ctl->team : ""),
                .page = config_int(ctl->config, "slack", "history_page"),
                .interval_ms = config_int(ctl->config, "slack", "history_interval"),
                .stop = &told_to_stop,
            },
    };
    const struct sigaction action = {.sa_handler = on_signal};
    enum ctl_status status;
    struct error err = {0};
    int64_t before = 0;

    if (ctl->channel == NULL || ctl->since == NULL) {
        return ctl_misused("backfill: --channel and --since are needed");
    }
    if (!slack_is_id(str_of(ctl->channel))) {
        return ctl_misused("\"%s\" is not shaped like a channel's id", ctl->channel);
    }
    if (f.history.token == NULL) {
        return ctl_say("the settings name no token for %s",
                       ctl->team != NULL ? ctl->team : "it: say which --team");
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    text_init(&f.element, (size_t)8 << 20);
    f.history.http = open_http(ctl->config, &err);
    if (f.history.http != NULL && fill(&f, &before, &err)) {
        status = report(&f, before);
    } else {
        status = ctl_fail(&err);
        if (f.state.oldest[0] != '\0') {
            fprintf(stderr, "The same command goes on from here.\n");
        }
    }
    http_destroy(&f.history.http);
    feed_close(&f.feed);
    text_free(&f.element);
    return status;
}

const struct ctl_command cmd_backfill_commands[] = {
    {"backfill", "", 0, 0, "Citu",
     "Reads a channel's history at Slack and stores what is missing.\n\n"
     "For after an outage on our side, or for a channel's past. Every message goes through the "
     "accept log as if Slack had sent it, so the same rules hold: bots, retention, forgotten "
     "members, edits; what is older than a schedule's window is stored and not digested. Replies "
     "are read with the message that they answer, so one in a thread that began before --since is "
     "not found. Slack's limits are kept ([slack] history_page, history_interval). May be "
     "interrupted: the same command goes on where it stopped.",
     true, run_backfill},
    {0},
};
