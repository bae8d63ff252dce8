/* doctor: the worker's own page, Slack, and the model's server. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "ctl/doctor.h"
#include "ctl/fetch.h"
#include "db/inspect.h"
#include "io/address.h"

#define TEAMS_MAX 100

/* ---- the worker ---- */

/* Where its status page can be reached from here: it may listen on every address. */
static bool status_url(const struct config *config, char url[400])
{
    const char *listen = config_string(config, "status", "listen");
    struct address a;
    struct error err;

    if (listen[0] == '\0' || !address_parse(&a, listen, NULL, &err) || a.local) {
        return false;
    }
    const char *host = strcmp(a.host, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(a.host, "::") == 0    ? "::1"
                                                      : a.host;
    snprintf(url, 400, strchr(host, ':') != NULL ? "http://[%s]:%s" : "http://%s:%s", host, a.port);
    return true;
}

static void check_health(struct doctor *d, struct http *http, const char *base)
{
    struct http_response response;
    char url[420];
    struct error err;

    snprintf(url, sizeof(url), "%s/healthz", base);
    if (!fetch_get(http, url, NULL, &response, &err)) {
        doctor_find(d, FINDING_FAIL, "worker", "healthz",
                    "systemctl status study-worker; where it runs on another machine, ask there",
                    "%s: %s", url, err.text);
        return;
    }
    if (response.status == 200) {
        doctor_find(d, FINDING_OK, "worker", "healthz", "", "every process works");
        return;
    }
    /* A line for each reason. */
    for (const char *p = response.body.data, *end = p + response.body.len; p < end;) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        int len = (int)((line != NULL ? line : end) - p);

        doctor_find(d, FINDING_FAIL, "worker", "healthz", "the worker's log", "%.*s", len, p);
        p += len + 1;
    }
}

static void check_roles(struct doctor *d, struct http *http, const char *base)
{
    struct http_response response;
    struct json_doc *doc = NULL;
    char url[420];
    struct error err;

    snprintf(url, sizeof(url), "%s/status.json", base);
    if (!fetch_get(http, url, NULL, &response, &err) || response.status != 200 ||
        !json_parse(&doc, response.body, &err)) {
        return; /* the health page has told */
    }
    const struct json *roles = json_get(json_root(doc), "roles");
    for (size_t i = 0; i < json_size(roles); i++) {
        const struct json *role = json_at(roles, i);
        bool ok = json_bool(json_get(role, "ok"));

        doctor_find(d, ok ? FINDING_OK : FINDING_FAIL, "worker", "process",
                    ok ? "" : "the worker's log", "%.*s is %.*s",
                    STR_ARG(json_get_string(role, "role")),
                    STR_ARG(json_get_string(role, "state")));
    }
    json_destroy(&doc);
}

void doctor_worker(struct doctor *d)
{
    struct http *http = NULL;
    char base[400];
    struct error err;

    if (!status_url(doctor_ctl(d)->config, base)) {
        doctor_find(d, FINDING_UNKNOWN, "worker", "healthz", "[status] listen = 127.0.0.1:9310",
                    "[status] listen names no address to ask at");
        return;
    }
    http = fetch_open("worker", NULL, &err);
    if (http == NULL) {
        doctor_find(d, FINDING_UNKNOWN, "worker", "healthz", "", "%s", err.text);
        return;
    }
    check_health(d, http, base);
    check_roles(d, http, base);
    http_destroy(&http);
}

/* ---- Slack ---- */

static void check_team(struct doctor *d, struct http *http, const char *team_id, bool stopped,
                       bool first)
{
    struct team_check check;

    team_check(doctor_ctl(d)->config, team_id, http, &check);
    if (!check.has_token) {
        doctor_find(d, FINDING_FAIL, "slack", "token",
                    "[slack] token_dir, a file named by the workspace's id; or bot_token_file",
                    "%s: the settings name none", team_id);
    } else if (!check.ok) {
        doctor_find(d, FINDING_FAIL, "slack", "auth.test",
                    "install the app again, put its token into the file, systemctl reload "
                    "study-worker; or, if Slack was not reached, the network and [slack] api_url",
                    "%s: %s", team_id, check.code);
    } else if (check.missing[0] != '\0') {
        doctor_find(d, FINDING_FAIL, "slack", "rights",
                    "conf/slack-manifest.yaml into the app's manifest, then install it again",
                    "%s lacks %s", team_id, check.missing);
    } else if (strcmp(check.team_id, team_id) != 0) {
        doctor_find(d, FINDING_FAIL, "slack", "token", "the file's name is the workspace's id",
                    "that of %s is of %s", team_id, check.team_id);
    } else {
        doctor_find(d, stopped ? FINDING_WARN : FINDING_OK, "slack", "auth.test",
                    stopped ? "studyctl team check lets it go on" : "", "%s (%s) in %.0f ms%s",
                    team_id, check.name, check.seconds * 1000,
                    stopped ? ", and yet it is stopped here" : ", all rights granted");
    }
    if (first && check.ok) {
        doctor_date(d, "Slack", check.date, check.seconds);
    }
}

void doctor_slack(struct doctor *d)
{
    struct pg_result *teams = NULL;
    struct http *http = NULL;
    struct error err;

    if (!inspect_teams(doctor_ctl(d)->pg, &teams, &err)) {
        doctor_find(d, FINDING_UNKNOWN, "slack", "workspaces", "", "%s", err.text);
        return;
    }
    http = fetch_open("slack", config_string(doctor_ctl(d)->config, "slack", "ca_file"), &err);
    for (int row = 0; http != NULL && row < pg_rows(teams) && row < TEAMS_MAX; row++) {
        check_team(d, http, pg_str(teams, row, 0).data, str_is(pg_str(teams, row, 5), "stopped"),
                   row == 0);
    }
    if (pg_rows(teams) == 0) {
        doctor_find(d, FINDING_WARN, "slack", "workspaces",
                    "invite the bot to a channel and write something there",
                    "none is known: no event has come yet");
    } else if (pg_rows(teams) > TEAMS_MAX) {
        doctor_find(d, FINDING_UNKNOWN, "slack", "workspaces", "studyctl team check asks for all",
                    "%d more were not asked for", pg_rows(teams) - TEAMS_MAX);
    }
    http_destroy(&http);
    pg_result_destroy(&teams);
}

/* ---- the model ---- */

static void tell_model(struct doctor *d, const char *url, const struct http_response *response)
{
    static const char remedy[] = "[openai] base_url, api_key_file";

    if (response->status == 200) {
        doctor_find(d, FINDING_OK, "model", "server", "", "%s answers in %.0f ms", url,
                    response->seconds * 1000);
    } else if (response->status == 401 || response->status == 403) {
        doctor_find(d, FINDING_FAIL, "model", "server", remedy,
                    "%s: status %ld: the key is refused", url, response->status);
    } else if (response->status >= 500) {
        doctor_find(d, FINDING_FAIL, "model", "server", "its own log, or its status page",
                    "%s: status %ld", url, response->status);
    } else {
        /* Some have no list of models; that it answers is what could be learned for nothing. */
        doctor_find(d, FINDING_WARN, "model", "server", remedy,
                    "%s: status %ld: it answers, and shows no models", url, response->status);
    }
}

/* Whether [openai] model is among those that it lists. */
static void tell_whether_listed(struct doctor *d, const struct http_response *response)
{
    const char *model = config_string(doctor_ctl(d)->config, "openai", "model");
    struct json_doc *doc = NULL;
    struct error err;
    bool listed = false;

    if (response->status != 200 || !json_parse(&doc, response->body, &err)) {
        return;
    }
    const struct json *list = json_get(json_root(doc), "data");
    for (size_t i = 0; i < json_size(list); i++) {
        listed = listed || str_is(json_get_string(json_at(list, i), "id"), model);
    }
    if (json_size(list) > 0) {
        doctor_find(d, listed ? FINDING_OK : FINDING_WARN, "model", "model",
                    listed ? "" : "[openai] model", "%s is %s", model,
                    listed ? "there" : "not among those that the server lists");
    }
    json_destroy(&doc);
}

void doctor_model(struct doctor *d)
{
    const struct config *c = doctor_ctl(d)->config;
    const char *base = config_string(c, "openai", "base_url");
    struct http_response response;
    struct http *http = NULL;
    char *url = NULL;
    struct error err;
    size_t n = strlen(base);

    if (!config_bool(c, "openai", "enabled")) {
        doctor_find(d, FINDING_OK, "model", "server", "", "none: [openai] enabled = no");
        return;
    }
    if (asprintf(&url, "%s%smodels", base, n > 0 && base[n - 1] == '/' ? "" : "/") < 0) {
        abort();
    }
    http = fetch_open("openai", config_string(c, "openai", "ca_file"), &err);
    if (http == NULL ||
        !fetch_get(http, url, config_secret(c, "openai", "api_key"), &response, &err)) {
        doctor_find(d, FINDING_FAIL, "model", "server",
                    "[openai] base_url, the network, the server; digests go out without a model",
                    "%s: %s", url, err.text);
    } else {
        tell_model(d, url, &response);
        tell_whether_listed(d, &response);
        doctor_date(d, "the model's server", http_header(http, "date"), response.seconds);
    }
    http_destroy(&http);
    free(url);
}
