/* studyctl team check, team set, member set: workspaces and people, held against Slack or changed.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/fetch.h"
#include "ctl/rows.h"
#include "db/operate.h"
#include "db/teams.h"

static const struct grid_column check_columns[] = {
    {"team_id", PG_TYPE_TEXT}, {"token", PG_TYPE_TEXT},   {"ok", PG_TYPE_BOOL},
    {"state", PG_TYPE_TEXT},   {"url", PG_TYPE_TEXT},     {"bot_user_id", PG_TYPE_TEXT},
    {"missing", PG_TYPE_TEXT}, {"changed", PG_TYPE_TEXT}, {"problem", PG_TYPE_TEXT},
};
#define CHECK_COLUMNS (int)(sizeof(check_columns) / sizeof(check_columns[0]))

/* The columns of inspect_teams. */
enum { TEAM_ID, TEAM_NAME, TEAM_URL, TEAM_BOT, TEAM_LANGUAGE, TEAM_STATE };

static struct str or_null(const char *text)
{
    return text[0] != '\0' ? str_of(text) : STR_NULL;
}

static const char *problem_of(const struct team_check *check, const char *team_id)
{
    if (!check->has_token) {
        return "the settings name no token for it";
    }
    if (!check->ok) {
        return check->code;
    }
    if (strcmp(check->team_id, team_id) != 0) {
        return "the token is another workspace's";
    }
    return check->missing[0] != '\0' ? "rights are missing: install the app again" : "";
}

/* What was stored and is otherwise now; the right token lets a stopped workspace go on. */
static const char *changed_of(const struct pg_result *teams, int row,
                              const struct team_check *check)
{
    if (str_is(pg_str(teams, row, TEAM_STATE), "stopped")) {
        return "active again";
    }
    if (pg_is_null(teams, row, TEAM_URL)) {
        return "now known";
    }
    if (!str_is(pg_str(teams, row, TEAM_URL), check->url)) {
        return "address";
    }
    return str_is(pg_str(teams, row, TEAM_BOT), check->bot_user_id) ? "" : "bot";
}

static bool check_one(struct ctl *ctl, struct http *http, const struct pg_result *teams, int row,
                      struct grid *grid, bool *good, struct error *err)
{
    const char *team_id = pg_str(teams, row, TEAM_ID).data, *changed = "";
    struct team_check check;

    team_check(ctl->config, team_id, http, &check);
    bool ours = check.ok && strcmp(check.team_id, team_id) == 0;
    if (ours) {
        changed = changed_of(teams, row, &check);
        if (!team_identify(ctl->pg, team_id, str_of(check.name), str_of(check.url),
                           str_of(check.bot_user_id), err)) {
            return false;
        }
    }
    const char *problem = problem_of(&check, team_id);
    bool own_file = check.has_token &&
                    config_slack_token(ctl->config, team_id) != config_slack_token(ctl->config, "");
    *good = *good && problem[0] == '\0';
    grid_add(grid, str_of(team_id));
    grid_add(grid, str_of(!check.has_token ? "none" : own_file ? "its own" : "shared"));
    grid_add(grid, str_of(ours ? "t" : "f"));
    grid_add(grid, ours ? STR("active") : pg_str(teams, row, TEAM_STATE));
    grid_add(grid, or_null(check.url));
    grid_add(grid, or_null(check.bot_user_id));
    grid_add(grid, or_null(check.missing));
    grid_add(grid, or_null(changed));
    grid_add(grid, or_null(problem));
    return true;
}

static enum ctl_status team_check_all(struct ctl *ctl)
{
    const char *only = ctl->args_count > 0 ? ctl->args[0] : NULL;
    struct grid *grid = grid_create(check_columns, CHECK_COLUMNS);
    struct pg_result *teams = NULL;
    struct http *http = NULL;
    enum ctl_status status = CTL_OK;
    struct error err;
    bool good = true;

    if (!inspect_teams(ctl->pg, &teams, &err) ||
        (http = fetch_open("slack", config_string(ctl->config, "slack", "ca_file"), &err)) ==
            NULL) {
        status = ctl_fail(&err);
        goto fail;
    }
    for (int row = 0; row < pg_rows(teams); row++) {
        if (only != NULL && !str_is(pg_str(teams, row, TEAM_ID), only)) {
            continue;
        }
        if (!check_one(ctl, http, teams, row, grid, &good, &err)) {
            status = ctl_fail(&err);
            goto fail;
        }
    }
    if (only != NULL && grid_rows(grid) == 0) {
        status = rows_none("workspace", only);
    } else {
        status = out_rows(ctl, grid);
        status = good ? status : CTL_FAILED;
    }
fail:
    http_destroy(&http);
    pg_result_destroy(&teams);
    grid_destroy(&grid);
    return status;
}

static bool is_language(const char *language)
{
    return language == NULL || str_one_of(str_of(language), "ko|en");
}

static enum ctl_status team_set(struct ctl *ctl)
{
    struct error err;
    bool found;

    if (ctl->language == NULL || !is_language(ctl->language)) {
        return ctl_misused("expected --language ko or --language en");
    }
    if (!operate_team_set(ctl->pg, ctl->args[0], ctl->language, &found, &err)) {
        return ctl_fail(&err);
    }
    if (!found) {
        return rows_none("workspace", ctl->args[0]);
    }
    struct pg_result *res = NULL;
    bool ok = inspect_teams(ctl->pg, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

static enum ctl_status member_set(struct ctl *ctl)
{
    struct operate_member change = {ctl->language, ctl->consent, -1};
    struct pg_result *res = NULL;
    struct error err;
    bool found;

    if (!is_language(ctl->language)) {
        return ctl_misused("--language %s: expected ko or en", ctl->language);
    }
    if (ctl->consent != NULL && !str_one_of(str_of(ctl->consent), "yes|no|none")) {
        return ctl_misused("--consent %s: expected yes, no or none", ctl->consent);
    }
    if (ctl->digests != NULL && !str_one_of(str_of(ctl->digests), "on|off")) {
        return ctl_misused("--digests %s: expected on or off", ctl->digests);
    }
    if (ctl->language == NULL && ctl->consent == NULL && ctl->digests == NULL) {
        return ctl_misused("nothing to set: --digests, --language or --consent");
    }
    if (ctl->digests != NULL) {
        change.digests = strcmp(ctl->digests, "on") == 0;
    }
    if (!operate_member_set(ctl->pg, ctl->args[0], ctl->args[1], &change, &found, &err)) {
        return ctl_fail(&err);
    }
    if (!found) {
        return rows_none("member", ctl->args[1]);
    }
    struct grid *grid =
        rows_take(inspect_member(ctl->pg, ctl->args[0], ctl->args[1], &res, &err), &res);
    if (grid == NULL) {
        return ctl_fail(&err);
    }
    enum ctl_status status = out_parts(ctl, &(struct out_part){"member", grid, true}, 1);
    grid_destroy(&grid);
    return status;
}

const struct ctl_command cmd_team_commands[] = {
    {"member set", "TEAM USER", 2, 2, "Ldk",
     "Changes what a member has chosen, on their behalf.\n\n"
     "--digests off: no more digests. --language: of digests and notices. --consent yes lets their "
     "words reach a model where [privacy] consent = opt_in; no keeps them from it, and makes no "
     "digests, everywhere. Waiting digests go by it at once.",
     true, member_set},
    {"team check", "[TEAM]", 0, 1, "",
     "Holds a workspace, or all, against Slack (auth.test).\n\n"
     "Tells where its token comes from, whether Slack lets us in, and which rights of the "
     "manifest it lacks. What Slack says of address and bot is stored; a stopped workspace that "
     "lets us in again goes on. Fails when anything is wrong.",
     true, team_check_all},
    {"team set", "TEAM", 1, 1, "L", "Sets a workspace's language.", true, team_set},
    {0},
};
