/*
 * Presses of our own buttons. A payload of any other kind (a shortcut, a view) is none that our app
 * asked for: it is left alone and counted.
 */
#include "base/action.h"
#include "ingest/event_read.h"

/* As with messages: a person whose workspace is neither ours nor our organisation's. */
static bool is_external(const struct json *payload, struct str team)
{
    struct str home = json_string(json_path(payload, "user.team_id"));

    return home.len != 0 && !str_eq(home, team) &&
           !str_eq(home, json_string(json_path(payload, "enterprise.id")));
}

/* False: no button of ours. */
static bool read_action(struct request *request, const struct json *action)
{
    struct str id = json_get_string(action, "action_id");
    struct str value = json_get_string(action, "value");
    uint64_t digest_id;

    if (str_is(id, ACTION_HELPED) || str_is(id, ACTION_WRONG)) {
        request->verb = REQUEST_FEEDBACK;
        request->helped = str_is(id, ACTION_HELPED);
        if (!str_to_u64(value, &digest_id) || digest_id == 0 || digest_id > INT64_MAX) {
            return false;
        }
        request->digest_id = (int64_t)digest_id;
        return true;
    }
    if (str_is(id, ACTION_CONSENT)) {
        request->verb = REQUEST_CONSENT;
    } else if (str_is(id, ACTION_FORGET)) {
        request->verb = REQUEST_FORGET_YES;
    } else if (str_is(id, ACTION_FORGET_EVER)) {
        request->verb = REQUEST_FORGET_EVER;
    } else if (str_is(id, ACTION_FORGET_KEEP)) {
        request->verb = REQUEST_FORGET_NO;
    } else {
        return false;
    }
    return str_eq(value, request->user); /* the question was put to somebody else */
}

void event_read_interaction(struct event *out, struct str body, const struct event_rules *rules)
{
    const struct json *payload, *team;
    struct request request = {0};
    struct str field;

    if (!event_take_field(out, body, "payload", EVENT_REQUIRED, &field)) {
        return;
    }
    payload = event_parse(out, field);
    if (payload == NULL) {
        return;
    }
    if (!str_is(json_get_string(payload, "type"), "block_actions")) {
        event_ignore(out, "unsupported");
        return;
    }
    team = json_path(payload, "team.id"); /* null where the app is a whole organisation's */
    if (json_type(team) == JSON_NULL) {
        team = json_path(payload, "user.team_id");
    }
    if (!event_take_id(out, team, EVENT_REQUIRED, "team.id", &request.team) ||
        !event_take_id(out, json_path(payload, "user.id"), EVENT_REQUIRED, "user.id",
                       &request.user)) {
        return;
    }
    if (!read_action(&request, json_at(json_get(payload, "actions"), 0))) {
        event_ignore(out, "no_use");
        return;
    }
    if (!event_take_identity_of(out, "interaction:", json_get_string(payload, "trigger_id"))) {
        return;
    }
    if (!rules->external_members && is_external(payload, request.team)) {
        request.verb = REQUEST_REFUSED;
        request.digest_id = 0;
    }
    request.response_url = event_response_url(json_get_string(payload, "response_url"));
    out->request = request;
    out->effect = EVENT_REQUEST;
}
