/*
 * A message that was edited comes with the time of its reading as the event's own: of the versions
 * of one second that is the last. A thread's deleted parent comes as the change that made it a
 * tombstone. Each is called a repeated one, as it may well be: one that is there already and was
 * taken for new would cost its whole batch a second transaction.
 */
#include "ctl/elements.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define ELEMENT_MAX ((size_t)4 << 20)

static void put_members(struct json_writer *w, const struct json *message)
{
    for (size_t i = 0; i < json_size(message); i++) {
        struct str key = json_key(message, i);

        /* what the event has of its own; what is large, or others', and not looked at */
        if (str_one_of(key, "channel|channel_type|event_ts|blocks|attachments|reactions|root|"
                            "reply_users")) {
            continue;
        }
        char *name = str_dup(key);
        json_put_key(w, name);
        json_put_node(w, json_value(message, i));
        free(name);
    }
}

static void put_event(struct json_writer *w, const struct element_place *place,
                      const struct json *message, int64_t now_ms)
{
    char now[48];

    snprintf(now, sizeof(now), "%" PRId64 ".%06" PRId64, now_ms / 1000, now_ms % 1000 * 1000);
    json_object_begin(w);
    if (str_is(json_get_string(message, "subtype"), "tombstone")) {
        json_put_kcstr(w, "type", "message");
        json_put_kcstr(w, "subtype", "message_changed");
        json_put_kcstr(w, "ts", now);
        json_put_key(w, "message");
        json_object_begin(w);
        put_members(w, message);
        json_object_end(w);
    } else {
        put_members(w, message);
    }
    json_put_kcstr(w, "channel", place->channel_id);
    json_put_kcstr(w, "channel_type", place->is_private ? "group" : "channel");
    json_put_kcstr(w, "event_ts", now);
    json_object_end(w);
}

static void put_callback(struct json_writer *w, const struct element_place *place,
                         const struct json *message, int64_t now_ms)
{
    json_object_begin(w);
    json_put_kcstr(w, "type", "event_callback");
    json_put_kcstr(w, "team_id", place->team_id);
    json_put_kbool(w, "is_ext_shared_channel", place->is_shared);
    json_put_key(w, "authorizations");
    json_array_begin(w);
    json_object_begin(w);
    json_put_kcstr(w, "team_id", place->team_id);
    json_put_kcstr(w, "user_id", place->bot_user_id);
    json_put_kbool(w, "is_bot", true);
    if (place->enterprise_id[0] != '\0') {
        json_put_kcstr(w, "enterprise_id", place->enterprise_id);
    }
    json_object_end(w);
    json_array_end(w);
    json_put_key(w, "event");
    put_event(w, place, message, now_ms);
    json_object_end(w);
}

bool element_of(struct text *out, const struct element_place *place, const struct json *message,
                int64_t now_ms, struct error *err)
{
    struct json_writer *w = json_writer_create(ELEMENT_MAX);
    char id[33];
    struct str body;
    bool ok;

    clock_random_hex(id, 16);
    put_callback(w, place, message, now_ms);
    ok = json_writer_done(w, &body, err);
    if (ok) {
        text_reset(out);
        ok = text_addf(out,
                       "{\"v\":1,\"kind\":\"event\",\"received_at\":%" PRId64
                       ",\"retry_num\":1,\"retry_reason\":\"backfill\","
                       "\"content_type\":\"application/json\",\"request_id\":\"backfill-%s\","
                       "\"idempotency_key\":\"\"}\n",
                       now_ms, id) &&
             text_add(out, body);
        if (!ok) {
            error_set(err, ERROR_INPUT, "a message is too long");
        }
    }
    json_writer_destroy(&w);
    return ok;
}
