/*
 * Message events, https://docs.slack.dev/reference/events/message and its subtypes. Three shapes
 * matter: a message itself, message_changed (which carries the message as it is now, and as it
 * was), and message_deleted.
 */
#include <stdlib.h>

#include "ingest/event_read.h"

/* Written by a person, though they bear a subtype. */
static bool is_recorded_subtype(struct str subtype)
{
    return subtype.data == NULL || str_is(subtype, "thread_broadcast") ||
           str_is(subtype, "file_share") || str_is(subtype, "me_message");
}

static struct str subtype_of(const struct json *message)
{
    struct str subtype = json_get_string(message, "subtype");

    return subtype.len == 0 ? STR_NULL : subtype;
}

static bool is_bot(const struct json *message)
{
    return json_get_string(message, "bot_id").len != 0 ||
           json_type(json_get(message, "bot_profile")) == JSON_OBJECT ||
           str_is(json_get_string(message, "subtype"), "bot_message") ||
           str_is(json_get_string(message, "user"), "USLACKBOT");
}

/*
 * A person of another organisation: in a channel that is shared with one, whoever's team is neither
 * ours nor our organisation. Slack adds user_team and source_team where they differ from team.
 */
static bool is_external(const struct reading *r, const struct json *message)
{
    static const char *const sources[] = {"user_team", "source_team", "team"};
    const struct json *authorization = json_at(json_get(r->callback, "authorizations"), 0);
    const struct json *shared = json_get(r->callback, "is_ext_shared_channel");
    struct str home = STR_NULL;

    if (json_type(shared) == JSON_BOOL && !json_bool(shared)) {
        return false;
    }
    for (size_t i = 0; i < 3 && home.len == 0; i++) {
        home = json_get_string(message, sources[i]);
    }
    if (home.len == 0) {
        home = json_get_string(json_get(message, "user_profile"), "team");
    }
    if (home.len == 0 || str_eq(home, r->team)) {
        return false;
    }
    return !str_eq(home, json_get_string(authorization, "enterprise_id")) &&
           !str_eq(home, json_get_string(r->callback, "context_enterprise_id"));
}

/*
 * Slack tells channel_type with every message; where an older shape lacks it, the id's first letter
 * has to do: D direct, G a group or an old private channel, C anything else.
 */
static bool is_direct(struct str type, struct str channel)
{
    if (type.len != 0) {
        return !str_is(type, "channel") && !str_is(type, "group");
    }
    return channel.data[0] == 'D' || channel.data[0] == 'G';
}

static int64_t ts_us(struct str ts)
{
    int64_t us = 0;

    for (size_t i = 0; i < ts.len; i++) {
        if (ts.data[i] != '.') {
            us = us * 10 + (ts.data[i] - '0');
        }
    }
    return us;
}

static bool take_files(struct event *out, const struct json *files)
{
    size_t n = json_size(files);

    if (json_type(files) != JSON_ARRAY || n == 0) {
        return true;
    }
    if (n > EVENT_FILES_MAX) {
        event_bury(out, "too_many_files", "%zu files in a message", n);
        return false;
    }
    out->files = calloc(n, sizeof(*out->files));
    if (out->files == NULL) {
        abort();
    }
    out->message.files = out->files;
    for (size_t i = 0; i < n; i++) {
        struct str name;

        if (!event_take_text(out, json_get(json_at(files, i), "name"), EVENT_TEXT_MAX,
                             "a file's name", &name)) {
            return false;
        }
        if (name.len != 0) {
            out->files[out->message.nfiles++] = name;
        }
    }
    return true;
}

/* The message itself, new or as an edit left it, into out->message; false: ignored or buried. */
static bool take_message(const struct reading *r, const struct json *message)
{
    struct event *out = r->out;
    struct message_change *m = &out->message;

    if (is_bot(message) ||
        (r->own_user.data != NULL && str_eq(json_get_string(message, "user"), r->own_user))) {
        event_ignore(out, "bot");
        return false;
    }
    m->subtype = subtype_of(message);
    if (!is_recorded_subtype(m->subtype)) {
        event_ignore(out, "subtype");
        return false;
    }
    if (!r->rules->external_members && is_external(r, message)) {
        event_ignore(out, "external_member");
        return false;
    }
    if (!event_take_ts(out, json_get(message, "ts"), EVENT_REQUIRED, "ts", &m->ts) ||
        !event_take_ts(out, json_get(message, "thread_ts"), EVENT_OPTIONAL, "thread_ts",
                       &m->thread_ts) ||
        !event_take_id(out, json_get(message, "user"), EVENT_REQUIRED, "user", &m->user) ||
        !event_take_text(out, json_get(message, "text"), EVENT_TEXT_MAX, "text", &m->text) ||
        !take_files(out, json_get(message, "files"))) {
        return false;
    }
    if (m->text.data == NULL) {
        m->text = STR("");
    }
    if (str_eq(m->thread_ts, m->ts)) {
        m->thread_ts = STR_NULL; /* a thread's first message is no reply */
    }
    m->posted_at_us = ts_us(m->ts);
    /* What retention has taken away must not come back by a repeat or an edit. */
    if (r->rules->retention_us > 0 &&
        m->posted_at_us < out->received_at_us - r->rules->retention_us) {
        event_ignore(out, "too_old");
        return false;
    }
    return true;
}

/*
 * An edit that came first has to count as one later, too: `edited` belongs to the message, whatever
 * event brought it.
 */
static bool take_edited(const struct reading *r, const struct json *message)
{
    struct message_change *m = &r->out->message;

    if (!event_take_ts(r->out, json_path(message, "edited.ts"), EVENT_OPTIONAL, "edited.ts",
                       &m->edited_ts)) {
        return false;
    }
    if (m->edited_ts.data != NULL) {
        const struct json *at = json_get(r->event, "event_ts");

        if (json_type(at) == JSON_NULL) {
            at = json_get(r->event, "ts");
        }
        return event_take_ts(r->out, at, EVENT_OPTIONAL, "event_ts", &m->edited_event_ts);
    }
    return true;
}

/*
 * Whatever the settings say: what was recorded under earlier ones is blanked all the same. But what
 * they do not let in must not leave a tombstone either.
 */
static void read_deleted(const struct reading *r, const struct json *ts)
{
    struct message_change *m = &r->out->message;
    const struct json *previous = json_get(r->event, "previous_message");

    m->only_known = (m->privacy == EVENT_PRIVATE && !r->rules->private_channels) ||
                    (!r->rules->external_members && is_external(r, previous));
    if (is_bot(previous)) {
        event_ignore(r->out, "bot");
        return;
    }
    if (event_take_ts(r->out, ts, EVENT_REQUIRED, "deleted_ts", &m->ts)) {
        m->posted_at_us = ts_us(m->ts);
        m->text = STR("");
        m->deleted = true;
        r->out->effect = EVENT_MESSAGE;
    }
}

/* A link that was unfurled, a reply that was counted: the same words, so no edit. */
static bool is_unchanged(const struct json *before, const struct json *now)
{
    const struct json *old_files = json_get(before, "files");
    const struct json *new_files = json_get(now, "files");

    if (json_type(json_get(before, "text")) != JSON_STRING ||
        !str_eq(json_get_string(before, "text"), json_get_string(now, "text")) ||
        json_size(old_files) != json_size(new_files)) {
        return false;
    }
    for (size_t i = 0; i < json_size(new_files); i++) {
        if (!str_eq(json_get_string(json_at(old_files, i), "name"),
                    json_get_string(json_at(new_files, i), "name"))) {
            return false;
        }
    }
    return true;
}

static void read_changed(const struct reading *r)
{
    const struct json *message = json_get(r->event, "message");

    if (json_type(message) != JSON_OBJECT) {
        event_bury(r->out, "bad_field", "message_changed without a message");
        return;
    }
    if (!take_message(r, message) || !take_edited(r, message)) {
        return;
    }
    if (r->out->message.edited_ts.data == NULL ||
        is_unchanged(json_get(r->event, "previous_message"), message)) {
        event_ignore(r->out, "unchanged");
        return;
    }
    r->out->effect = EVENT_MESSAGE;
}

static void read_new(const struct reading *r)
{
    const struct json *message = json_get(r->event, "message");

    /* message_replied, which has come without its subtype: news of the parent only. */
    if (json_type(message) == JSON_OBJECT && json_type(json_get(r->event, "user")) == JSON_NULL) {
        event_ignore(r->out, "subtype");
        return;
    }
    if (take_message(r, r->event) && take_edited(r, r->event)) {
        r->out->effect = EVENT_MESSAGE;
    }
}

void event_read_message(const struct reading *r)
{
    struct message_change *m = &r->out->message;
    struct str subtype = subtype_of(r->event);
    struct str type = json_get_string(r->event, "channel_type");
    const struct json *message = json_get(r->event, "message");

    *m = (struct message_change){.team = r->team, .accepted_at_us = r->out->received_at_us};
    if (!event_take_id(r->out, json_get(r->event, "channel"), EVENT_REQUIRED, "channel",
                       &m->channel)) {
        return;
    }
    if (is_direct(type, m->channel)) {
        event_ignore(r->out, "direct");
        return;
    }
    if (type.len != 0) {
        m->privacy = str_is(type, "group") ? EVENT_PRIVATE : EVENT_PUBLIC;
    }

    if (str_is(subtype, "message_deleted")) {
        read_deleted(r, json_get(r->event, "deleted_ts"));
    } else if (str_is(subtype, "message_changed") && str_is(subtype_of(message), "tombstone")) {
        read_deleted(r, json_get(message, "ts"));
    } else if (m->privacy == EVENT_PRIVATE && !r->rules->private_channels) {
        event_ignore(r->out, "private_channel");
    } else if (str_is(subtype, "message_changed")) {
        read_changed(r);
    } else {
        read_new(r);
    }
}
