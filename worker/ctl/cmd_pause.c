/* studyctl pause, resume: roles told to stop, for one workspace or for all; and schedules. */
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "ctl/rows.h"
#include "db/operate.h"

#define FOR_MAX_MS (366LL * 86400 * 1000)

/* The store takes what Redis gives, whosesoever it is: there is no waiting for one workspace's. */
static enum ctl_status check_role(const struct ctl *ctl, const char *role)
{
    if (!str_one_of(str_of(role), "store|digest|deliver")) {
        return ctl_misused("%s: expected store, digest or deliver", role);
    }
    if (ctl->team != NULL && strcmp(role, "store") == 0) {
        return ctl_misused("the store serves all workspaces from one list and cannot leave one "
                           "out; pause digest or deliver for %s",
                           ctl->team);
    }
    if (ctl->team != NULL && !slack_is_id(str_of(ctl->team))) {
        return ctl_misused("--team %s is no id of a workspace", ctl->team);
    }
    return CTL_OK;
}

static enum ctl_status pause_role(struct ctl *ctl)
{
    struct operate_pause pause = {
        .role = ctl->args[0],
        .team_id = ctl->team != NULL ? ctl->team : "",
        .reason = ctl->reason != NULL ? ctl->reason : "by an operator",
        .until = ctl->until,
        .for_ms = -1,
    };
    /* the settings' own way of writing durations */
    const struct option duration = {.type = OPTION_DURATION, .min = 1000, .max = FOR_MAX_MS};
    enum ctl_status status = check_role(ctl, pause.role);
    struct pg_result *res = NULL;
    struct error err;

    if (status != CTL_OK) {
        return status;
    }
    if (ctl->until != NULL && ctl->duration != NULL) {
        return ctl_misused("--until or --for, not both");
    }
    if (ctl->duration != NULL && !option_parse(&duration, ctl->duration, &pause.for_ms)) {
        return ctl_misused("--for %s: expected 1s to 366d, such as 30m, 12h or 2d", ctl->duration);
    }
    if (!operate_pause(ctl->pg, &pause, &res, &err)) {
        return ctl_fail(&err);
    }
    struct grid *grid = rows_take(true, &res);
    status = out_parts(ctl, &(struct out_part){"pause", grid, true}, 1);
    grid_destroy(&grid);
    return status;
}

/* {"KEY": name, ..., "changed": bool} or a sentence. */
static enum ctl_status say_change(struct ctl *ctl, const char *key, const char *name, bool changed,
                                  const char *sentence)
{
    if (!ctl->json) {
        printf("%s %s\n", name, sentence);
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kcstr(w, key, name);
    json_put_kcstr(w, "team_id", ctl->team != NULL ? ctl->team : "");
    json_put_kbool(w, "changed", changed);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static enum ctl_status resume_role(struct ctl *ctl)
{
    const char *role = ctl->args[0];
    enum ctl_status status = check_role(ctl, role);
    struct error err;
    bool found;

    if (status != CTL_OK) {
        return status;
    }
    if (!operate_resume(ctl->pg, role, ctl->team != NULL ? ctl->team : "", &found, &err)) {
        return ctl_fail(&err);
    }
    return say_change(ctl, "role", role, found, found ? "goes on" : "was not paused");
}

static enum ctl_status switch_schedule(struct ctl *ctl, bool paused)
{
    struct error err;
    bool found, changed;

    if (!operate_schedule_pause(ctl->pg, ctl->args[0], paused, &found, &changed, &err)) {
        return ctl_fail(&err);
    }
    if (!found) {
        return rows_none("schedule", ctl->args[0]);
    }
    return say_change(ctl, "schedule", ctl->args[0], changed,
                      paused    ? changed ? "fires no more" : "was paused already"
                      : changed ? "goes on with its next time"
                                : "was not paused");
}

static enum ctl_status schedule_pause(struct ctl *ctl)
{
    return switch_schedule(ctl, true);
}

static enum ctl_status schedule_resume(struct ctl *ctl)
{
    return switch_schedule(ctl, false);
}

const struct ctl_command cmd_pause_commands[] = {
    {"pause", "ROLE", 1, 1, "tufr",
     "Stops store, digest or deliver, within two seconds and until it is resumed.\n\n"
     "A pause is a row in the database: it holds for every process and machine, and over restarts; "
     "status shows it. What is in hand is finished; what comes meanwhile waits, and nothing is "
     "lost. With --team digest and deliver stop for one workspace; the store serves all from one "
     "list and cannot. With --until or --for the pause ends by itself. A second pause of the same "
     "role takes the place of the first. While store is paused the list in Redis grows, up to "
     "nginx' study_queue_limit; firings wait for it at most [schedule] max_wait. Digests that "
     "wait past their deadline are made without a model once digest goes on.",
     true, pause_role},
    {"resume", "ROLE", 1, 1, "t",
     "Ends a pause of exactly this role and workspace, also one that the role began itself "
     "(insufficient_quota).",
     true, resume_role},
    {"schedule pause", "NAME", 1, 1, "", "Stops a schedule; it can still be fired by hand.", true,
     schedule_pause},
    {"schedule resume", "NAME", 1, 1, "",
     "Lets a schedule go on with its next time; what fell into the pause is not made up.", true,
     schedule_resume},
    {0},
};
