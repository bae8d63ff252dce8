/* ingest/event: every row of what Slack may send, and every way in which it may be malformed. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/event.h"

static const struct event_rules strict = {.private_channels = false, .external_members = false};
static const struct event_rules open_rules = {.private_channels = true, .external_members = true};

static void read_body(struct event *event, enum envelope_kind kind, struct str body,
                      const struct event_rules *rules)
{
    struct envelope envelope = {
        .kind = kind,
        .received_at_ms = 1795372952123,
        .body = body,
        .request_id = STR("req-1"),
        .idempotency_key = STR(""),
    };

    event_read(event, &envelope, rules);
}

/* An event_callback around an inner event, with members of its own. */
static char *callback(const char *outer, const char *inner)
{
    char *body;

    assert_true(asprintf(&body,
                         "{\"type\":\"event_callback\",\"event_id\":\"Ev1\",\"team_id\":\"T1\","
                         "\"authorizations\":[{\"team_id\":\"T1\",\"user_id\":\"UBOT\","
                         "\"is_bot\":true}],%s\"event\":%s}",
                         outer, inner) > 0);
    return body;
}

struct row {
    const char *outer; /* "" or members with a trailing comma */
    const char *inner;
    enum event_effect effect;
    const char *reason; /* of the ignored and the dead */
};

static void check_rows(const struct row *rows, size_t n, const struct event_rules *rules)
{
    for (size_t i = 0; i < n; i++) {
        struct event e;
        char *body = callback(rows[i].outer, rows[i].inner);

        read_body(&e, ENVELOPE_EVENT, str_of(body), rules);
        if (e.effect != rows[i].effect ||
            (rows[i].reason != NULL && strcmp(e.reason, rows[i].reason) != 0)) {
            fail_msg("%s: effect %d, reason %s", rows[i].inner, (int)e.effect, e.reason);
        }
        event_clear(&e);
        free(body);
    }
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define MSG(more)                                                                                  \
    "{\"type\":\"message\",\"channel\":\"C1\",\"channel_type\":\"channel\",\"user\":\"U1\","       \
    "\"ts\":\"1700000000.000100\",\"event_ts\":\"1700000000.000100\",\"text\":\"hi\"" more "}"
#define IN(channel, type)                                                                          \
    "{\"type\":\"message\",\"channel\":\"" channel "\"," type "\"user\":\"U1\","                   \
    "\"ts\":\"1700000000.000100\",\"text\":\"hi\"}"
#define CHANGED(message, before)                                                                   \
    "{\"type\":\"message\",\"subtype\":\"message_changed\",\"channel\":\"C1\","                    \
    "\"channel_type\":\"channel\",\"ts\":\"1700000009.000100\","                                   \
    "\"event_ts\":\"1700000009.000100\",\"message\":" message ",\"previous_message\":" before "}"
#define INNER(text, more)                                                                          \
    "{\"type\":\"message\",\"user\":\"U1\",\"ts\":\"1700000000.000100\",\"text\":\"" text          \
    "\"" more "}"
#define EDITED ",\"edited\":{\"user\":\"U1\",\"ts\":\"1700000009.000000\"}"
#define DELETED(more)                                                                              \
    "{\"type\":\"message\",\"subtype\":\"message_deleted\",\"channel\":\"C1\","                    \
    "\"channel_type\":\"channel\",\"deleted_ts\":\"1700000000.000100\"" more "}"

static void messages(void **state)
{
    static const struct row rows[] = {
        {"", MSG(""), EVENT_MESSAGE, NULL},
        {"", MSG(",\"subtype\":\"thread_broadcast\",\"thread_ts\":\"1600000000.000100\""),
         EVENT_MESSAGE, NULL},
        {"", MSG(",\"subtype\":\"file_share\""), EVENT_MESSAGE, NULL},
        {"", MSG(",\"subtype\":\"me_message\""), EVENT_MESSAGE, NULL},
        {"", MSG(",\"subtype\":\"channel_join\""), EVENT_IGNORED, "subtype"},
        {"", MSG(",\"subtype\":\"channel_leave\""), EVENT_IGNORED, "subtype"},
        {"", MSG(",\"subtype\":\"channel_topic\""), EVENT_IGNORED, "subtype"},
        {"", MSG(",\"subtype\":\"never_heard_of\""), EVENT_IGNORED, "subtype"},
        {"", MSG(",\"subtype\":\"message_replied\""), EVENT_IGNORED, "subtype"},
        {"", MSG(",\"subtype\":\"bot_message\""), EVENT_IGNORED, "bot"},
        {"", MSG(",\"bot_id\":\"B1\""), EVENT_IGNORED, "bot"},
        {"", MSG(",\"bot_id\":\"B1\",\"subtype\":\"file_share\""), EVENT_IGNORED, "bot"},
        {"", MSG(",\"bot_id\":null"), EVENT_MESSAGE, NULL},
        /* ourselves, even where Slack left bot_id out */
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"channel_type\":\"channel\",\"user\":\"UBOT\","
         "\"ts\":\"1700000000.000100\",\"text\":\"our digest\"}",
         EVENT_IGNORED, "bot"},
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"channel_type\":\"channel\","
         "\"user\":\"USLACKBOT\",\"ts\":\"1700000000.000100\",\"text\":\"x\"}",
         EVENT_IGNORED, "bot"},
        /* message_replied without its subtype */
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"channel_type\":\"channel\","
         "\"ts\":\"1700000009.000100\",\"message\":" INNER("hi", ",\"reply_count\":1") "}",
         EVENT_IGNORED, "subtype"},
        /* where it was written */
        {"", IN("D1", "\"channel_type\":\"im\","), EVENT_IGNORED, "direct"},
        {"", IN("C1", "\"channel_type\":\"mpim\","), EVENT_IGNORED, "direct"},
        {"", IN("D1", "\"channel_type\":\"app_home\","), EVENT_IGNORED, "direct"},
        {"", IN("D1", ""), EVENT_IGNORED, "direct"},
        {"", IN("G1", ""), EVENT_IGNORED, "direct"},
        {"", IN("C1", ""), EVENT_MESSAGE, NULL},
        {"", IN("C1", "\"channel_type\":\"group\","), EVENT_IGNORED, "private_channel"},
        {"", IN("G1", "\"channel_type\":\"group\","), EVENT_IGNORED, "private_channel"},
        /* malformed */
        {"", "{\"type\":\"message\"}", EVENT_DEAD, "bad_field"},
        {"", "{\"type\":\"message\",\"channel\":5}", EVENT_DEAD, "bad_field"},
        {"", "{\"type\":\"message\",\"channel\":\"\"}", EVENT_DEAD, "bad_id"},
        {"", "{\"type\":\"message\",\"channel\":\"C 1\"}", EVENT_DEAD, "bad_id"},
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\",\"ts\":\"17\",\"text\":\"x\"}",
         EVENT_DEAD, "bad_ts"},
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\",\"ts\":1700000000.0001,"
         "\"text\":\"x\"}",
         EVENT_DEAD, "bad_field"},
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"ts\":\"1700000000.000100\",\"text\":\"x\"}",
         EVENT_DEAD, "bad_field"},
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\",\"ts\":\"1700000000.000100\","
         "\"text\":[]}",
         EVENT_DEAD, "bad_field"},
        {"", MSG(",\"thread_ts\":\"yesterday\""), EVENT_DEAD, "bad_ts"},
        {"", MSG(",\"files\":[{\"name\":\"a\\u0000b\"}]"), EVENT_DEAD, "nul_byte"},
        {"",
         "{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\",\"ts\":\"1700000000.000100\","
         "\"text\":\"a\\u0000b\"}",
         EVENT_DEAD, "nul_byte"},
    };

    (void)state;
    check_rows(rows, COUNT(rows), &strict);
}

static void changes_and_deletions(void **state)
{
    static const struct row rows[] = {
        {"", CHANGED(INNER("new", EDITED), INNER("old", "")), EVENT_MESSAGE, NULL},
        {"", CHANGED(INNER("new", EDITED), "null"), EVENT_MESSAGE, NULL},
        /* a link was unfurled; a reply was counted */
        {"", CHANGED(INNER("same", ""), INNER("same", "")), EVENT_IGNORED, "unchanged"},
        {"", CHANGED(INNER("same", EDITED), INNER("same", EDITED)), EVENT_IGNORED, "unchanged"},
        {"", CHANGED(INNER("other", ""), INNER("same", "")), EVENT_IGNORED, "unchanged"},
        /* the same words, another file */
        {"",
         CHANGED(INNER("same", EDITED ",\"files\":[{\"name\":\"b\"}]"),
                 INNER("same", ",\"files\":[{\"name\":\"a\"}]")),
         EVENT_MESSAGE, NULL},
        {"", CHANGED(INNER("new", EDITED ",\"bot_id\":\"B1\""), INNER("old", "")), EVENT_IGNORED,
         "bot"},
        {"", CHANGED(INNER("new", EDITED ",\"subtype\":\"channel_name\""), "null"), EVENT_IGNORED,
         "subtype"},
        {"", CHANGED(INNER("new", ",\"edited\":{\"ts\":\"soon\"}"), "null"), EVENT_DEAD, "bad_ts"},
        {"", CHANGED("null", "null"), EVENT_DEAD, "bad_field"},
        {"", CHANGED("[]", "{}"), EVENT_DEAD, "bad_field"},
        /* deletions */
        {"", DELETED(""), EVENT_MESSAGE, NULL},
        {"", DELETED(",\"previous_message\":" INNER("hi", "")), EVENT_MESSAGE, NULL},
        {"", DELETED(",\"previous_message\":" INNER("hi", ",\"bot_id\":\"B1\"")), EVENT_IGNORED,
         "bot"},
        {"",
         CHANGED("{\"type\":\"message\",\"subtype\":\"tombstone\",\"user\":\"USLACKBOT\","
                 "\"ts\":\"1700000000.000100\",\"text\":\"This message was deleted.\"}",
                 INNER("hi", "")),
         EVENT_MESSAGE, NULL},
        {"", "{\"type\":\"message\",\"subtype\":\"message_deleted\",\"channel\":\"C1\"}",
         EVENT_DEAD, "bad_field"},
        {"",
         "{\"type\":\"message\",\"subtype\":\"message_deleted\",\"channel\":\"D1\","
         "\"channel_type\":\"im\",\"deleted_ts\":\"1700000000.000100\"}",
         EVENT_IGNORED, "direct"},
        /* what was recorded under another setting is blanked all the same */
        {"",
         "{\"type\":\"message\",\"subtype\":\"message_deleted\",\"channel\":\"C1\","
         "\"channel_type\":\"group\",\"deleted_ts\":\"1700000000.000100\"}",
         EVENT_MESSAGE, NULL},
    };

    (void)state;
    check_rows(rows, COUNT(rows), &strict);
}

static void people_of_others(void **state)
{
    static const struct row shut[] = {
        {"\"is_ext_shared_channel\":true,", MSG(",\"team\":\"T1\""), EVENT_MESSAGE, NULL},
        {"\"is_ext_shared_channel\":true,", MSG(",\"team\":\"T9\""), EVENT_IGNORED,
         "external_member"},
        {"\"is_ext_shared_channel\":true,", MSG(",\"user_team\":\"T9\",\"team\":\"T1\""),
         EVENT_IGNORED, "external_member"},
        {"\"is_ext_shared_channel\":true,", MSG(",\"source_team\":\"T9\""), EVENT_IGNORED,
         "external_member"},
        {"\"is_ext_shared_channel\":true,", MSG(",\"user_profile\":{\"team\":\"T9\"}"),
         EVENT_IGNORED, "external_member"},
        {"", MSG(",\"user_team\":\"T9\""), EVENT_IGNORED, "external_member"},
        /* a channel shared among the workspaces of one organisation */
        {"\"is_ext_shared_channel\":false,", MSG(",\"team\":\"T2\""), EVENT_MESSAGE, NULL},
        {"\"is_ext_shared_channel\":true,\"context_enterprise_id\":\"E1\",",
         MSG(",\"user_team\":\"E1\""), EVENT_MESSAGE, NULL},
        {"\"is_ext_shared_channel\":true,",
         CHANGED(INNER("new", EDITED ",\"user_team\":\"T9\""), "null"), EVENT_IGNORED,
         "external_member"},
    };
    static const struct row wide[] = {
        {"\"is_ext_shared_channel\":true,", MSG(",\"user_team\":\"T9\""), EVENT_MESSAGE, NULL},
        {"", IN("C1", "\"channel_type\":\"group\","), EVENT_MESSAGE, NULL},
        {"", IN("D1", "\"channel_type\":\"im\","), EVENT_IGNORED, "direct"},
        {"", IN("C1", "\"channel_type\":\"mpim\","), EVENT_IGNORED, "direct"},
        {"", MSG(",\"bot_id\":\"B1\""), EVENT_IGNORED, "bot"},
    };

    (void)state;
    check_rows(shut, COUNT(shut), &strict);
    check_rows(wide, COUNT(wide), &open_rules);
}

static void other_events(void **state)
{
    static const struct row rows[] = {
        {"", "{\"type\":\"channel_rename\",\"channel\":{\"id\":\"C1\",\"name\":\"x\"}}",
         EVENT_CHANNEL, NULL},
        {"", "{\"type\":\"group_rename\",\"channel\":{\"id\":\"C1\",\"name\":\"x\"}}",
         EVENT_CHANNEL, NULL},
        {"", "{\"type\":\"channel_rename\",\"channel\":\"C1\"}", EVENT_DEAD, "bad_field"},
        {"", "{\"type\":\"channel_rename\",\"channel\":{\"id\":\"C1\",\"name\":\"\\u0000\"}}",
         EVENT_DEAD, "nul_byte"},
        {"", "{\"type\":\"member_joined_channel\",\"user\":\"UBOT\",\"channel\":\"C1\"}",
         EVENT_CHANNEL, NULL},
        {"",
         "{\"type\":\"member_joined_channel\",\"user\":\"UBOT\",\"channel\":\"G1\","
         "\"channel_type\":\"G\"}",
         EVENT_IGNORED, "private_channel"},
        {"", "{\"type\":\"member_joined_channel\",\"user\":\"U1\",\"channel\":\"C1\"}",
         EVENT_IGNORED, "no_use"},
        {"", "{\"type\":\"user_change\",\"user\":{\"id\":\"U1\",\"tz\":\"Asia/Seoul\"}}",
         EVENT_MEMBER, NULL},
        {"", "{\"type\":\"user_profile_changed\",\"user\":{\"id\":\"U1\",\"tz\":\"Asia/Seoul\"}}",
         EVENT_MEMBER, NULL},
        {"", "{\"type\":\"user_change\",\"user\":{\"id\":\"U1\"}}", EVENT_IGNORED, "no_use"},
        {"", "{\"type\":\"user_change\",\"user\":\"U1\"}", EVENT_DEAD, "bad_field"},
        {"", "{\"type\":\"team_rename\",\"name\":\"New\"}", EVENT_TEAM, NULL},
        {"", "{\"type\":\"team_domain_change\",\"url\":\"https://x.slack.com\"}", EVENT_TEAM, NULL},
        {"", "{\"type\":\"tokens_revoked\",\"tokens\":{\"bot\":[\"UBOT\"]}}", EVENT_TEAM, NULL},
        {"", "{\"type\":\"tokens_revoked\",\"tokens\":{\"oauth\":[\"U1\"],\"bot\":[]}}",
         EVENT_IGNORED, "no_use"},
        {"", "{\"type\":\"app_uninstalled\"}", EVENT_TEAM, NULL},
        {"", "{\"type\":\"app_home_opened\",\"user\":\"U1\"}", EVENT_IGNORED, "no_use"},
        {"", "{\"type\":\"app_mention\",\"text\":\"hi\"}", EVENT_IGNORED, "no_use"},
        {"", "{\"type\":\"from_the_future\"}", EVENT_IGNORED, "unsupported"},
        {"", "{}", EVENT_DEAD, "no_event"},
        {"", "[]", EVENT_DEAD, "no_event"},
        {"", "\"message\"", EVENT_DEAD, "no_event"},
    };

    (void)state;
    check_rows(rows, COUNT(rows), &strict);
}

static void bodies(void **state)
{
    static const struct {
        enum envelope_kind kind;
        struct str body;
        enum event_effect effect;
        const char *reason;
    } rows[] = {
        {ENVELOPE_EVENT, STR(""), EVENT_DEAD, "empty_body"},
        {ENVELOPE_EVENT, STR("{"), EVENT_DEAD, "bad_json"},
        {ENVELOPE_EVENT, STR("{} {}"), EVENT_DEAD, "bad_json"},
        {ENVELOPE_EVENT, STR("{\"type\":\"event_callback\"\0}"), EVENT_DEAD, "bad_json"},
        {ENVELOPE_EVENT, STR("[]"), EVENT_DEAD, "bad_json"},
        {ENVELOPE_EVENT, STR("null"), EVENT_DEAD, "bad_json"},
        {ENVELOPE_EVENT, STR("{\"type\":\"\xc0\xaf\"}"), EVENT_DEAD, "bad_utf8"},
        {ENVELOPE_EVENT, STR("\xed\xa0\x80"), EVENT_DEAD, "bad_utf8"},
        {ENVELOPE_EVENT, STR("{}"), EVENT_DEAD, "no_type"},
        {ENVELOPE_EVENT, STR("{\"type\":5}"), EVENT_DEAD, "no_type"},
        {ENVELOPE_EVENT, STR("{\"type\":\"event_callback\"}"), EVENT_DEAD, "no_event"},
        {ENVELOPE_EVENT, STR("{\"type\":\"event_callback\",\"event\":{\"type\":\"message\"}}"),
         EVENT_DEAD, "no_team"},
        {ENVELOPE_EVENT,
         STR("{\"type\":\"event_callback\",\"team_id\":\"T1\",\"event\":"
             "{\"type\":\"app_uninstalled\"}}"),
         EVENT_DEAD, "no_identity"},
        {ENVELOPE_EVENT, STR("{\"type\":\"app_rate_limited\",\"team_id\":\"T1\"}"), EVENT_IGNORED,
         "app_rate_limited"},
        {ENVELOPE_EVENT, STR("{\"type\":\"url_verification\",\"challenge\":\"x\"}"), EVENT_IGNORED,
         "no_use"},
        {ENVELOPE_EVENT, STR("{\"type\":\"from_the_future\"}"), EVENT_IGNORED, "unsupported"},
        {ENVELOPE_COMMAND, STR(""), EVENT_DEAD, "empty_body"},
        {ENVELOPE_COMMAND, STR("x=1"), EVENT_DEAD, "bad_form"},
        {ENVELOPE_COMMAND, STR("command=%2Fstudy&trigger_id=1"), EVENT_DEAD, "bad_form"},
        {ENVELOPE_COMMAND, STR("command=%2Fstudy&trigger_id=1&team_id=T1&user_id=U1"),
         EVENT_REQUEST, NULL},
        {ENVELOPE_COMMAND, STR("command=%2Fstudy&trigger_id=1&team_id=T%00&user_id=U1"),
         EVENT_DEAD, "bad_id"},
        {ENVELOPE_COMMAND, STR("command=%2Fstudy&trigger_id=%FF&team_id=T1&user_id=U1"),
         EVENT_DEAD, "bad_identity"},
        {ENVELOPE_COMMAND, STR("command=%2Fstudy&team_id=T1&user_id=U1"), EVENT_DEAD, "bad_form"},
        {ENVELOPE_INTERACTION, STR("payload=%7B%22type%22%3A%22block_actions%22%7D"), EVENT_DEAD,
         "bad_field"},
        {ENVELOPE_INTERACTION, STR("payload=%7B%22type%22%3A%22view_submission%22%7D"),
         EVENT_IGNORED, "unsupported"},
        {ENVELOPE_INTERACTION, STR("payload=%7B"), EVENT_DEAD, "bad_json"},
        {ENVELOPE_INTERACTION, STR("payload=%FF"), EVENT_DEAD, "bad_utf8"},
        {ENVELOPE_INTERACTION, STR("nothing"), EVENT_DEAD, "bad_form"},
        {ENVELOPE_TRIGGER, STR(""), EVENT_DEAD, "empty_body"},
        {ENVELOPE_TRIGGER, STR("schedule="), EVENT_DEAD, "bad_form"},
        {ENVELOPE_TRIGGER, STR("schedule=%00"), EVENT_DEAD, "bad_form"},
        {ENVELOPE_TRIGGER, STR("schedule=%FF"), EVENT_DEAD, "bad_form"},
        {ENVELOPE_TRIGGER, STR("schedule=daily"), EVENT_TRIGGER, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct event e;

        read_body(&e, rows[i].kind, rows[i].body, &strict);
        if (e.effect != rows[i].effect ||
            (rows[i].reason != NULL && strcmp(e.reason, rows[i].reason) != 0)) {
            fail_msg("%.*s: effect %d, reason %s", STR_ARG(rows[i].body), (int)e.effect, e.reason);
        }
        event_clear(&e);
    }
}

static void a_message_s_row(void **state)
{
    struct event e;
    char *body = callback(
        "", "{\"type\":\"message\",\"subtype\":\"file_share\",\"channel\":\"C1\","
            "\"channel_type\":\"channel\",\"user\":\"U1\",\"ts\":\"1700000000.000100\","
            "\"thread_ts\":\"1600000000.000200\",\"text\":\"\\uc2a4\\ud130\\ub514 \\ud83d\\ude00\","
            "\"files\":[{\"id\":\"F1\",\"name\":\"a.pdf\",\"url_private\":\"https://x\"},"
            "{\"id\":\"F2\",\"mode\":\"hidden_by_limit\"},{\"name\":\"b \\\"c\\\".txt\"}]}");

    (void)state;
    read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
    assert_int_equal(e.effect, EVENT_MESSAGE);
    assert_true(str_is(e.message.team, "T1"));
    assert_true(str_is(e.message.channel, "C1"));
    assert_true(str_is(e.message.ts, "1700000000.000100"));
    assert_true(str_is(e.message.thread_ts, "1600000000.000200"));
    assert_true(str_is(e.message.user, "U1"));
    assert_true(str_is(e.message.subtype, "file_share"));
    assert_true(str_is(e.message.text, "스터디 😀"));
    assert_int_equal(e.message.nfiles, 2);
    assert_true(str_is(e.message.files[0], "a.pdf"));
    assert_true(str_is(e.message.files[1], "b \"c\".txt"));
    assert_int_equal(e.message.posted_at_us, 1700000000000100);
    assert_int_equal(e.message.accepted_at_us, 1795372952123000);
    assert_int_equal(e.message.privacy, EVENT_PUBLIC);
    assert_null(e.message.edited_ts.data);
    assert_false(e.message.deleted);
    event_clear(&e);
    free(body);
}

static void a_thread_s_first_message_is_no_reply(void **state)
{
    struct event e;
    char *body = callback("", MSG(",\"thread_ts\":\"1700000000.000100\",\"reply_count\":2"));

    (void)state;
    read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
    assert_int_equal(e.effect, EVENT_MESSAGE);
    assert_null(e.message.thread_ts.data);
    event_clear(&e);
    free(body);
}

static void an_edit_s_row(void **state)
{
    struct event e;
    char *body = callback("", CHANGED(INNER("new", EDITED), INNER("old", "")));

    (void)state;
    read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
    assert_true(str_is(e.message.ts, "1700000000.000100"));
    assert_true(str_is(e.message.text, "new"));
    assert_true(str_is(e.message.edited_ts, "1700000009.000000"));
    assert_true(str_is(e.message.edited_event_ts, "1700000009.000100"));
    assert_int_equal(e.message.posted_at_us, 1700000000000100);
    event_clear(&e);
    free(body);
}

static void a_deletion_s_row(void **state)
{
    struct event e;
    char *body = callback("", DELETED(",\"previous_message\":" INNER("secret", "")));

    (void)state;
    read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
    assert_true(e.message.deleted);
    assert_true(str_is(e.message.ts, "1700000000.000100"));
    assert_int_equal(e.message.text.len, 0);
    assert_null(e.message.user.data);
    assert_null(e.message.edited_ts.data);
    event_clear(&e);
    free(body);
}

static void the_team_through_which_we_hear(void **state)
{
    static const struct {
        const char *outer;
        const char *team;
    } rows[] = {
        {"", "T1"},
        {"\"context_team_id\":\"T5\",", "T5"},
        {"\"context_team_id\":null,", "T1"},
        {"\"context_team_id\":\"\",", "T1"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct event e;
        char *body = callback(rows[i].outer, MSG(""));

        read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
        assert_true(str_is(e.message.team, rows[i].team));
        event_clear(&e);
        free(body);
    }
}

static void authorizations_before_the_outer_team(void **state)
{
    struct event e;

    (void)state;
    read_body(&e, ENVELOPE_EVENT,
              STR("{\"type\":\"event_callback\",\"team_id\":\"TOTHER\",\"event_id\":\"Ev7\","
                  "\"authorizations\":[{\"team_id\":\"TOURS\"}],"
                  "\"event\":{\"type\":\"app_uninstalled\"}}"),
              &strict);
    assert_int_equal(e.effect, EVENT_TEAM);
    assert_true(str_is(e.team.team, "TOURS"));
    assert_string_equal(e.team.stopped_by, "app_uninstalled");
    assert_true(str_is(e.identity, "event:Ev7"));
    event_clear(&e);
}

static void a_trigger_s_identity(void **state)
{
    struct envelope envelope = {
        .kind = ENVELOPE_TRIGGER,
        .received_at_ms = 7,
        .body = STR("schedule=daily"),
        .request_id = STR("req-1"),
        .idempotency_key = STR("key-1"),
    };
    struct event e;
    char long_key[400];

    (void)state;
    event_read(&e, &envelope, &strict);
    assert_true(str_is(e.identity, "trigger:key-1"));
    assert_true(str_is(e.schedule, "daily"));
    assert_int_equal(e.received_at_us, 7000);
    event_clear(&e);

    envelope.idempotency_key = STR("");
    event_read(&e, &envelope, &strict);
    assert_true(str_is(e.identity, "trigger:req-1"));
    event_clear(&e);

    envelope.request_id = STR("");
    event_read(&e, &envelope, &strict);
    assert_string_equal(e.reason, "no_identity");
    event_clear(&e);

    memset(long_key, 'k', sizeof(long_key));
    envelope.request_id = (struct str){long_key, sizeof(long_key)};
    event_read(&e, &envelope, &strict);
    assert_string_equal(e.reason, "bad_identity");
    event_clear(&e);
}

/* What PostgreSQL's columns could not hold is told before it is tried. */
static void too_long(void **state)
{
    char *text = malloc(4 * EVENT_TEXT_MAX + 8), *inner, *body;
    struct event e;

    (void)state;
    for (int over = 0; over < 2; over++) {
        size_t n = 0;

        for (int i = 0; i < EVENT_TEXT_MAX + over; i++) {
            memcpy(text + n, "\xed\x95\x9c", 3);
            n += 3;
        }
        text[n] = '\0';
        assert_true(asprintf(&inner,
                             "{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\","
                             "\"ts\":\"1700000000.000100\",\"text\":\"%s\"}",
                             text) > 0);
        body = callback("", inner);
        read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
        if (over == 0) {
            assert_int_equal(e.effect, EVENT_MESSAGE);
        } else {
            assert_int_equal(e.effect, EVENT_DEAD);
            assert_string_equal(e.reason, "too_long");
        }
        event_clear(&e);
        free(body);
        free(inner);
    }
    free(text);
}

static void too_many_files(void **state)
{
    char files[8192] = "";
    struct event e;

    (void)state;
    for (int i = 0; i <= EVENT_FILES_MAX; i++) {
        strcat(files, i == 0 ? "{\"name\":\"f\"}" : ",{\"name\":\"f\"}");
    }
    for (int over = 1; over >= 0; over--) {
        char *inner, *body;

        assert_true(asprintf(&inner,
                             "{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\","
                             "\"ts\":\"1700000000.000100\",\"text\":\"\",\"files\":[%s]}",
                             over ? files : files + strlen("{\"name\":\"f\"},")) > 0);
        body = callback("", inner);
        read_body(&e, ENVELOPE_EVENT, str_of(body), &strict);
        if (over) {
            assert_string_equal(e.reason, "too_many_files");
        } else {
            assert_int_equal(e.message.nfiles, EVENT_FILES_MAX);
        }
        event_clear(&e);
        free(body);
        free(inner);
    }
}

static void no_words_of_a_member_in_a_reason(void **state)
{
    struct event e;

    (void)state;
    read_body(&e, ENVELOPE_EVENT, STR("{\"text\":\"my secret\",}"), &strict);
    assert_int_equal(e.effect, EVENT_DEAD);
    assert_null(strstr(e.detail, "secret"));
    event_clear(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(changes_and_deletions),
        cmocka_unit_test(people_of_others),
        cmocka_unit_test(other_events),
        cmocka_unit_test(bodies),
        cmocka_unit_test(a_message_s_row),
        cmocka_unit_test(a_thread_s_first_message_is_no_reply),
        cmocka_unit_test(an_edit_s_row),
        cmocka_unit_test(a_deletion_s_row),
        cmocka_unit_test(the_team_through_which_we_hear),
        cmocka_unit_test(authorizations_before_the_outer_team),
        cmocka_unit_test(a_trigger_s_identity),
        cmocka_unit_test(too_long),
        cmocka_unit_test(too_many_files),
        cmocka_unit_test(no_words_of_a_member_in_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
