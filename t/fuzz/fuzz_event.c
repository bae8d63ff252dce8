/*
 * A body of each kind. What is said to be storable must be: PostgreSQL takes no
 * NUL, no invalid UTF-8 and nothing longer than its columns.
 */
#include <stdlib.h>
#include <string.h>

#include "ingest/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct str s, size_t most)
{
    if (s.data != NULL &&
        (memchr(s.data, '\0', s.len) != NULL || !utf8_valid(s) || utf8_length(s) > most)) {
        abort();
    }
}

static void check_id(struct str s)
{
    if (s.data == NULL || s.len < 1 || s.len > 64) {
        abort();
    }
    check_text(s, 64);
}

static void check_message(const struct message_change *m)
{
    check_id(m->team);
    check_id(m->channel);
    check_text(m->text, EVENT_TEXT_MAX);
    if (m->ts.len != 17 || m->posted_at_us < 0 || m->text.data == NULL ||
        m->deleted != (m->user.data == NULL) || (m->deleted && m->text.len != 0) ||
        m->nfiles > EVENT_FILES_MAX) {
        abort();
    }
    for (size_t i = 0; i < m->nfiles; i++) {
        check_text(m->files[i], EVENT_TEXT_MAX);
    }
}

static void check_request(const struct request *r)
{
    check_id(r->team);
    check_id(r->user);
    check_text(r->response_url, 1000);
    if (r->verb > REQUEST_REFUSED || r->minute < -1 || (!r->unclear && r->minute >= 24 * 60) ||
        (r->verb == REQUEST_LANGUAGE && r->unclear != (r->language == NULL)) ||
        (r->verb == REQUEST_FEEDBACK) != (r->digest_id > 0)) {
        abort();
    }
}

static void check(const struct event *event)
{
    check_text(event->identity, 300);
    switch (event->effect) {
    case EVENT_MESSAGE:
        check_message(&event->message);
        break;
    case EVENT_CHANNEL:
        check_id(event->channel.team);
        check_id(event->channel.channel);
        check_text(event->channel.name, 200);
        if (event->channel.joined.data != NULL) {
            check_id(event->channel.joined);
        }
        break;
    case EVENT_MEMBER:
        check_id(event->member.team);
        check_id(event->member.user);
        check_text(event->member.time_zone, 64);
        break;
    case EVENT_TEAM:
        check_id(event->team.team);
        check_text(event->team.name, 200);
        check_text(event->team.url, 300);
        break;
    case EVENT_REQUEST:
        check_request(&event->request);
        break;
    case EVENT_TRIGGER:
        check_text(event->schedule, SIZE_MAX);
        break;
    case EVENT_IGNORED:
    case EVENT_DEAD:
        if (event->reason[0] == '\0') {
            abort();
        }
        break;
    }
    if (event->effect > EVENT_MESSAGE && event->identity.len == 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_EVENT, ENVELOPE_COMMAND,
                                               ENVELOPE_INTERACTION, ENVELOPE_TRIGGER};

    if (size == 0) {
        return 0;
    }
    for (int wide = 0; wide < 2; wide++) {
        const struct event_rules rules = {
            .private_channels = wide, .external_members = wide, .retention_us = wide ? 1 : 0};
        struct envelope envelope = {
            .kind = kinds[data[0] % 4],
            .received_at_ms = 1795372952123,
            .request_id = STR("r"),
            .idempotency_key = STR(""),
            .body = {(const char *)data + 1, size - 1},
        };
        struct event event;

        event_read(&event, &envelope, &rules);
        check(&event);
        event_clear(&event);
    }
    return 0;
}
