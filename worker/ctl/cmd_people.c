/* studyctl team. */
#include "ctl/rows.h"

static enum ctl_status team_ls(struct ctl *ctl)
{
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_teams(ctl->pg, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

const struct ctl_command cmd_people_commands[] = {
    {"team ls", "", 0, 0, "", "Lists workspaces.", true, team_ls},
    {0},
};
