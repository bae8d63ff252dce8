/*
 * Sorting what Slack sends. The rule for what is not ours to store: known and of no use, or unknown
 * altogether, is ignored with a reason and counted; what should have been storable but is malformed
 * is buried, since it was answered 200 and may be the only copy.
 */
#include "ingest/event.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/event_read.h"
#include "ingest/form.h"

#define IDENTITY_MAX  280 /* bytes after the prefix; the table holds 300 code points */
#define NAME_MAX_CP   200
#define URL_MAX_CP    300
#define ZONE_MAX_CP   64
#define URL_BYTES_MAX 1000 /* of a response_url */

void event_ignore(struct event *out, const char *reason)
{
    out->effect = EVENT_IGNORED;
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
}

void event_bury(struct event *out, const char *reason, const char *fmt, ...)
{
    va_list ap;

    out->effect = EVENT_DEAD;
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
    va_start(ap, fmt);
    vsnprintf(out->detail, sizeof(out->detail), fmt, ap);
    va_end(ap);
}

void event_bury_envelope(struct event *event, const struct error *err)
{
    event_bury(event, err->code, "%s", err->text);
}

void event_bury_refused(struct event *event, const char *sqlstate)
{
    char reason[sizeof(event->reason)];

    snprintf(reason, sizeof(reason), "sqlstate_%s", sqlstate[0] != '\0' ? sqlstate : "none");
    event_bury(event, reason, "PostgreSQL refused the row");
}

void event_bury_unread(struct event *event)
{
    event_bury(event, "crashed_worker", "its worker ended twice before it was stored");
}

/* True when there is a string to check; else *ok is the caller's answer. */
static bool take_string(struct event *out, const struct json *node, enum event_need need,
                        const char *what, struct str *s, bool *ok)
{
    *s = STR_NULL;
    *ok = need == EVENT_OPTIONAL && json_type(node) == JSON_NULL;
    if (*ok) {
        return false;
    }
    if (json_type(node) != JSON_STRING) {
        event_bury(out, "bad_field", "%s is %s", what,
                   json_type(node) == JSON_NULL ? "missing" : "not a string");
        return false;
    }
    *s = json_string(node);
    return true;
}

bool event_take_id(struct event *out, const struct json *node, enum event_need need,
                   const char *what, struct str *id)
{
    bool ok;

    if (!take_string(out, node, need, what, id, &ok)) {
        return ok;
    }
    if (!slack_is_id(*id)) {
        event_bury(out, "bad_id", "%s is not shaped like an id", what);
        return false;
    }
    return true;
}

bool event_take_ts(struct event *out, const struct json *node, enum event_need need,
                   const char *what, struct str *ts)
{
    bool ok;

    if (!take_string(out, node, need, what, ts, &ok)) {
        return ok;
    }
    if (!slack_is_ts(*ts)) {
        event_bury(out, "bad_ts", "%s is not shaped like a time stamp", what);
        return false;
    }
    return true;
}

bool event_take_text(struct event *out, const struct json *node, size_t most, const char *what,
                     struct str *text)
{
    bool ok;

    if (!take_string(out, node, EVENT_OPTIONAL, what, text, &ok)) {
        return ok;
    }
    if (memchr(text->data, '\0', text->len) != NULL) {
        event_bury(out, "nul_byte", "%s holds a NUL", what);
        return false;
    }
    if (text->len > most && utf8_length(*text) > most) {
        event_bury(out, "too_long", "%s is longer than %zu code points", what, most);
        return false;
    }
    return true;
}

static void keep(struct event *out, char *memory)
{
    if (out->nmemory == EVENT_MEMORY_MAX) {
        abort();
    }
    out->memory[out->nmemory++] = memory;
}

static struct str join(struct event *out, const char *prefix, struct str s)
{
    size_t n = strlen(prefix);
    char *joined = malloc(n + s.len + 1);

    if (joined == NULL) {
        abort();
    }
    memcpy(joined, prefix, n);
    memcpy(joined + n, s.data, s.len);
    joined[n + s.len] = '\0';
    keep(out, joined);
    return (struct str){joined, n + s.len};
}

bool event_take_identity_of(struct event *out, const char *prefix, struct str s)
{
    if (s.len == 0) {
        event_bury(out, "no_identity", "nothing in it tells it from another");
        return false;
    }
    if (s.len > IDENTITY_MAX || memchr(s.data, '\0', s.len) != NULL || !utf8_valid(s)) {
        event_bury(out, "bad_identity", "what tells it from another is too long or no text");
        return false;
    }
    out->identity = join(out, prefix, s);
    return true;
}

bool event_take_identity(const struct reading *r)
{
    return event_take_identity_of(r->out, "event:", json_get_string(r->callback, "event_id"));
}

/* --- news ----------------------------------------------------------------------------------- */

static void read_channel_rename(const struct reading *r)
{
    const struct json *channel = json_get(r->event, "channel");
    struct channel_news news = {.team = r->team};

    if (!event_take_id(r->out, json_get(channel, "id"), EVENT_REQUIRED, "channel.id",
                       &news.channel) ||
        !event_take_text(r->out, json_get(channel, "name"), NAME_MAX_CP, "channel.name",
                         &news.name) ||
        !event_take_identity(r)) {
        return;
    }
    r->out->channel = news;
    r->out->effect = EVENT_CHANNEL;
}

/*
 * Our own coming is what makes a channel recorded; anybody else's is of no use. An event that does
 * not tell who we are is settled later, by the workspace's row.
 */
static void read_member_joined(const struct reading *r)
{
    struct channel_news news = {.team = r->team, .privacy = EVENT_PUBLIC};

    if (!event_take_id(r->out, json_get(r->event, "user"), EVENT_REQUIRED, "user", &news.joined)) {
        return;
    }
    news.joined_is_us = r->own_user.data != NULL;
    if (news.joined_is_us && !str_eq(news.joined, r->own_user)) {
        event_ignore(r->out, "no_use");
        return;
    }
    if (!event_take_id(r->out, json_get(r->event, "channel"), EVENT_REQUIRED, "channel",
                       &news.channel) ||
        !event_take_identity(r)) {
        return;
    }
    if (str_is(json_get_string(r->event, "channel_type"), "G")) {
        if (!r->rules->private_channels) {
            event_ignore(r->out, "private_channel");
            return;
        }
        news.privacy = EVENT_PRIVATE;
    }
    r->out->channel = news;
    r->out->effect = EVENT_CHANNEL;
}

static void read_user(const struct reading *r)
{
    const struct json *user = json_get(r->event, "user");
    struct member_news news = {.team = r->team};

    if (!event_take_id(r->out, json_get(user, "id"), EVENT_REQUIRED, "user.id", &news.user) ||
        !event_take_text(r->out, json_get(user, "tz"), ZONE_MAX_CP, "user.tz", &news.time_zone)) {
        return;
    }
    if (news.time_zone.len == 0) {
        event_ignore(r->out, "no_use");
        return;
    }
    if (event_take_identity(r)) {
        r->out->member = news;
        r->out->effect = EVENT_MEMBER;
    }
}

static void read_team_change(const struct reading *r)
{
    struct team_news news = {.team = r->team};

    if (event_take_text(r->out, json_get(r->event, "name"), NAME_MAX_CP, "name", &news.name) &&
        event_take_text(r->out, json_get(r->event, "url"), URL_MAX_CP, "url", &news.url) &&
        event_take_identity(r)) {
        r->out->team = news;
        r->out->effect = EVENT_TEAM;
    }
}

/* The bot's token or the whole app is gone; a person's own token is none of ours. */
static void read_team_stop(const struct reading *r)
{
    struct team_news news = {.team = r->team, .stopped_by = "app_uninstalled"};

    if (str_is(r->type, "tokens_revoked")) {
        if (json_size(json_path(r->event, "tokens.bot")) == 0) {
            event_ignore(r->out, "no_use");
            return;
        }
        news.stopped_by = "tokens_revoked";
    }
    if (event_take_identity(r)) {
        r->out->team = news;
        r->out->effect = EVENT_TEAM;
    }
}

static void read_no_use(const struct reading *r)
{
    event_ignore(r->out, "no_use");
}

static const struct {
    const char *type;
    void (*read)(const struct reading *r);
} readers[] = {
    {"message", event_read_message},
    {"channel_rename", read_channel_rename},
    {"group_rename", read_channel_rename},
    {"member_joined_channel", read_member_joined},
    {"user_change", read_user},
    {"user_profile_changed", read_user},
    {"team_rename", read_team_change},
    {"team_domain_change", read_team_change},
    {"tokens_revoked", read_team_stop},
    {"app_uninstalled", read_team_stop},
    /* Known, and nothing to store: a mention comes as a message too. */
    {"app_mention", read_no_use},
    {"app_home_opened", read_no_use},
    {"member_left_channel", read_no_use},
    {"channel_left", read_no_use},
    {"group_left", read_no_use},
    {"channel_created", read_no_use},
    {"channel_archive", read_no_use},
    {"channel_unarchive", read_no_use},
    {"team_join", read_no_use},
    {"reaction_added", read_no_use},
    {"reaction_removed", read_no_use},
};

/* --- the callback --------------------------------------------------------------------------- */

static struct str string_or_empty(const struct json *object, const char *key)
{
    struct str s = json_get_string(object, key);

    return s.len == 0 ? STR_NULL : s;
}

static bool take_team(struct reading *r)
{
    const struct json *authorization = json_at(json_get(r->callback, "authorizations"), 0);
    struct str team = string_or_empty(r->callback, "context_team_id");

    if (team.data == NULL) {
        team = string_or_empty(authorization, "team_id");
    }
    if (team.data == NULL) {
        team = string_or_empty(r->callback, "team_id");
    }
    if (team.data == NULL || !slack_is_id(team)) {
        event_bury(r->out, "no_team", "no team id in the event");
        return false;
    }
    r->team = team;
    if (json_bool(json_get(authorization, "is_bot"))) {
        r->own_user = string_or_empty(authorization, "user_id");
    }
    return true;
}

static void read_callback(struct reading *r)
{
    r->event = json_get(r->callback, "event");
    r->type = json_get_string(r->event, "type");
    if (r->type.len == 0) {
        event_bury(r->out, "no_event", "an event_callback without an event that has a type");
        return;
    }
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        if (str_is(r->type, readers[i].type)) {
            if (take_team(r)) {
                readers[i].read(r);
            }
            return;
        }
    }
    event_ignore(r->out, "unsupported");
}

const struct json *event_parse(struct event *out, struct str body)
{
    struct error err = {0};

    if (body.len == 0) {
        event_bury(out, "empty_body", "the request had no body");
        return NULL;
    }
    if (!utf8_valid(body)) {
        event_bury(out, "bad_utf8", "the body is no UTF-8");
        return NULL;
    }
    if (!json_parse(&out->doc, body, &err)) {
        event_bury(out, "bad_json", "%s", err.text);
        return NULL;
    }
    if (json_type(json_root(out->doc)) != JSON_OBJECT) {
        event_bury(out, "bad_json", "the body is no JSON object");
        return NULL;
    }
    return json_root(out->doc);
}

static void read_event(struct event *out, const struct envelope *envelope,
                       const struct event_rules *rules)
{
    struct reading r = {.out = out, .rules = rules, .callback = event_parse(out, envelope->body)};
    struct str type;

    if (r.callback == NULL) {
        return;
    }
    type = json_get_string(r.callback, "type");
    if (str_is(type, "event_callback")) {
        read_callback(&r);
    } else if (str_is(type, "app_rate_limited")) {
        event_ignore(out, "app_rate_limited");
    } else if (str_is(type, "url_verification")) {
        event_ignore(out, "no_use");
    } else if (type.len == 0) {
        event_bury(out, "no_type", "the body has no type");
    } else {
        event_ignore(out, "unsupported");
    }
}

/* --- forms ---------------------------------------------------------------------------------- */

bool event_take_field(struct event *out, struct str body, const char *name, enum event_need need,
                      struct str *value)
{
    char *field = form_get(body, name, value);

    if (field != NULL && value->len != 0) {
        keep(out, field);
        return true;
    }
    free(field);
    *value = STR_NULL;
    if (need == EVENT_REQUIRED && body.len == 0) {
        event_bury(out, "empty_body", "the request had no body");
    } else if (need == EVENT_REQUIRED) {
        event_bury(out, "bad_form", "the form has no %s", name);
    }
    return false;
}

struct str event_response_url(struct str url)
{
    if (url.len > URL_BYTES_MAX || !(str_starts(url, "https://") || str_starts(url, "http://"))) {
        return STR_NULL;
    }
    for (size_t i = 0; i < url.len; i++) {
        if (url.data[i] <= ' ' || url.data[i] >= 0x7F) {
            return STR_NULL;
        }
    }
    return url;
}

static void read_trigger(struct event *out, const struct envelope *envelope)
{
    struct str name;
    struct str identity =
        envelope->idempotency_key.len != 0 ? envelope->idempotency_key : envelope->request_id;

    if (!event_take_field(out, envelope->body, "schedule", EVENT_REQUIRED, &name) ||
        !event_take_identity_of(out, "trigger:", identity)) {
        return;
    }
    if (!utf8_valid(name) || memchr(name.data, '\0', name.len) != NULL) {
        event_bury(out, "bad_form", "the schedule's name is no text");
        return;
    }
    out->schedule = name;
    out->effect = EVENT_TRIGGER;
}

static struct str pack(char **at, struct str s)
{
    if (s.data == NULL) {
        return s;
    }
    char *copy = *at;

    if (s.len > 0) {
        memcpy(copy, s.data, s.len);
    }
    *at += s.len;
    return (struct str){copy, s.len};
}

/*
 * A tree takes several times its text, and a batch is hundreds of events, of most of which a row
 * needs a fifth: it is packed, and the tree goes before the next event is read.
 */
static void pack_message(struct event *out)
{
    struct message_change *m = &out->message;
    struct str *parts[] = {&m->team,    &m->channel, &m->ts,        &m->thread_ts,      &m->user,
                           &m->subtype, &m->text,    &m->edited_ts, &m->edited_event_ts};
    const size_t nparts = sizeof(parts) / sizeof(parts[0]);
    size_t bytes = 1;

    for (size_t i = 0; i < nparts; i++) {
        bytes += parts[i]->len;
    }
    for (size_t i = 0; i < m->nfiles; i++) {
        bytes += out->files[i].len;
    }
    char *at = malloc(bytes);
    if (at == NULL) {
        abort();
    }
    keep(out, at);
    for (size_t i = 0; i < nparts; i++) {
        *parts[i] = pack(&at, *parts[i]);
    }
    for (size_t i = 0; i < m->nfiles; i++) {
        out->files[i] = pack(&at, out->files[i]);
    }
    json_destroy(&out->doc);
}

void event_read(struct event *out, const struct envelope *envelope, const struct event_rules *rules)
{
    *out = (struct event){.received_at_us = envelope->received_at_ms * 1000};

    switch (envelope->kind) {
    case ENVELOPE_EVENT:
        read_event(out, envelope, rules);
        break;
    case ENVELOPE_COMMAND:
        event_read_command(out, envelope->body);
        break;
    case ENVELOPE_INTERACTION:
        event_read_interaction(out, envelope->body, rules);
        break;
    case ENVELOPE_TRIGGER:
        read_trigger(out, envelope);
        break;
    }
    if (out->effect == EVENT_MESSAGE) {
        out->message.repeated = envelope->retry_num > 0;
        pack_message(out);
    }
}

void event_clear(struct event *event)
{
    json_destroy(&event->doc);
    free(event->files);
    for (size_t i = 0; i < event->nmemory; i++) {
        free(event->memory[i]);
    }
    *event = (struct event){0};
}
