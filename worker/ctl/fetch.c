/* See fetch.h. A token goes into its header and nowhere else. */
#include "ctl/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/version.h"
#include "slack/outcome.h"
#include "slack/scopes.h"
#include "slack/web.h"

struct http *fetch_open(const char *service, const char *ca_file, struct error *err)
{
    struct http_limits limits = {
        .service = service,
        .user_agent = "studyctl/" STUDY_VERSION,
        .ca_file = ca_file,
        .max_connections = 1,
        .max_response = 4 << 20,
        .connect_timeout_ms = FETCH_MS / 2,
        .timeout_ms = FETCH_MS,
    };

    return http_create(&limits, err);
}

bool fetch_wait(struct http *http, struct http_response *response, struct error *err)
{
    int64_t until = clock_boot_ms() + FETCH_MS + 1000;

    while (clock_boot_ms() < until) {
        if (http_next(http, response)) {
            if (response->fate != HTTP_ANSWERED) {
                *err = response->error;
                return false;
            }
            return true;
        }
        if (!http_wait(http, NULL, 0, 500, err)) {
            return false;
        }
    }
    return error_set(err, ERROR_TIMEOUT, "no answer in time");
}

bool fetch_get(struct http *http, const char *url, const char *bearer,
               struct http_response *response, struct error *err)
{
    char *authorization = NULL;
    struct http_header header = {"Authorization", NULL};

    if (bearer != NULL && bearer[0] != '\0') {
        if (asprintf(&authorization, "Bearer %s", bearer) < 0) {
            abort();
        }
        header.value = authorization;
    }
    struct http_request request = {
        .method = "GET",
        .url = url,
        .headers = &header,
        .headers_count = authorization != NULL ? 1 : 0,
    };
    bool ok = http_start(http, &request, err) && fetch_wait(http, response, err);
    if (authorization != NULL) {
        explicit_bzero(authorization, strlen(authorization));
        free(authorization);
    }
    return ok;
}

/* ---- Slack ---- */

static void keep(char *out, size_t size, struct str s)
{
    snprintf(out, size, "%.*s", STR_ARG(s));
}

/* Its switch may be one that this version does not have. */
static bool needed(const struct config *config, const struct slack_scope *scope)
{
    const struct option *o = scope->key != NULL ? option_find(scope->section, scope->key) : NULL;

    return scope->key == NULL ||
           (o != NULL && o->type == OPTION_BOOL && config_bool(config, o->section, o->key));
}

static void hold_against(const struct config *config, struct team_check *check)
{
    for (size_t i = 0; i < slack_scopes_count; i++) {
        const struct slack_scope *scope = &slack_scopes[i];
        size_t used = strlen(check->missing);

        if (needed(config, scope) && !slack_scope_granted(check->scopes, scope->name)) {
            snprintf(check->missing + used, sizeof(check->missing) - used, "%s%s",
                     used > 0 ? ", " : "", scope->name);
        }
    }
}

static void read_answer(const struct config *config, struct http *http,
                        const struct http_response *response, struct team_check *check)
{
    struct slack_answer answer;

    slack_read(&answer, response, http_header(http, "retry-after"));
    keep(check->code, sizeof(check->code), str_of(answer.code));
    keep(check->date, sizeof(check->date), str_of(http_header(http, "date")));
    check->seconds = response->seconds;
    if (answer.outcome == SLACK_OK) {
        check->ok = true;
        keep(check->url, sizeof(check->url), json_get_string(answer.root, "url"));
        keep(check->name, sizeof(check->name), json_get_string(answer.root, "team"));
        keep(check->team_id, sizeof(check->team_id), json_get_string(answer.root, "team_id"));
        keep(check->bot_user_id, sizeof(check->bot_user_id),
             json_get_string(answer.root, "user_id"));
        keep(check->scopes, sizeof(check->scopes), str_of(http_header(http, "x-oauth-scopes")));
        hold_against(config, check);
    }
    slack_answer_free(&answer);
}

void team_check(const struct config *config, const char *team_id, struct http *http,
                struct team_check *check)
{
    const char *token = config_slack_token(config, team_id);
    struct http_response response;
    struct error err;

    *check = (struct team_check){.has_token = token != NULL};
    if (token == NULL) {
        keep(check->code, sizeof(check->code), STR("no_token"));
        return;
    }
    if (!slack_start(http, config_string(config, "slack", "api_url"), SLACK_AUTH_TEST, "", token,
                     STR_NULL, false, NULL, &err) ||
        !fetch_wait(http, &response, &err)) {
        keep(check->code, sizeof(check->code), str_of(err.code[0] != '\0' ? err.code : err.text));
        return;
    }
    read_answer(config, http, &response, check);
}
