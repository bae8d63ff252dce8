/* studyctl member, team. */
#include "ctl/rows.h"

static enum ctl_status member_ls(struct ctl *ctl)
{
    struct inspect_filter filter = {.team = ctl->team, .limit = ctl->limit};
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_members(ctl->pg, &filter, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

static enum ctl_status member_show(struct ctl *ctl)
{
    struct pg_result *res = NULL;
    struct error err;

    struct grid *grid =
        rows_take(inspect_member(ctl->pg, ctl->args[0], ctl->args[1], &res, &err), &res);
    if (grid == NULL) {
        return ctl_fail(&err);
    }
    enum ctl_status status = grid_rows(grid) == 0
                                 ? rows_none("member", ctl->args[1])
                                 : out_parts(ctl, &(struct out_part){"member", grid, true}, 1);
    grid_destroy(&grid);
    return status;
}

static enum ctl_status team_ls(struct ctl *ctl)
{
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_teams(ctl->pg, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

const struct ctl_command cmd_people_commands[] = {
    {"member ls", "", 0, 0, "tn", "Lists members, the newest first.", true, member_ls},
    {"member show", "TEAM USER", 2, 2, "", "Shows a member and how much is kept of them.", true,
     member_show},
    {"team ls", "", 0, 0, "", "Lists workspaces.", true, team_ls},
    {0},
};
