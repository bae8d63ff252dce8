/* studyctl member: who is recorded, what is held of them, and forgetting them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "ctl/rows.h"
#include "db/forget.h"

#define ERASE_MS  1000
#define WAIT_MS   15000 /* for the schedule role to see it to its end */
#define LOOK_MS   250
#define SAID_EACH 4

static const char not_reached[] =
    "Not reached from here: backups of the database and its write-ahead log, replicas of Redis,\n"
    "log files, what the model's host keeps of requests, and whatever is in Slack itself%s.\n";

static enum ctl_status member_ls(struct ctl *ctl)
{
    struct inspect_filter filter = {.team = ctl->team, .limit = ctl->limit};
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_members(ctl->pg, &filter, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

/* Their row, and their mark; either may be missing. */
static enum ctl_status show(struct ctl *ctl, bool quiet)
{
    struct pg_result *res = NULL;
    struct grid *member = NULL, *mark = NULL;
    struct out_part parts[2];
    size_t count = 0;
    enum ctl_status status;
    struct error err;

    member = rows_take(inspect_member(ctl->pg, ctl->args[0], ctl->args[1], &res, &err), &res);
    if (member != NULL) {
        res = NULL;
        mark = rows_take(forget_show(ctl->pg, ctl->args[0], ctl->args[1], &res, &err), &res);
    }
    if (mark == NULL) {
        status = ctl_fail(&err);
        goto done;
    }
    if (grid_rows(member) > 0 && !quiet) {
        parts[count++] = (struct out_part){"member", member, true};
    }
    if (grid_rows(mark) > 0) {
        parts[count++] = (struct out_part){"forgotten", mark, true};
    }
    status = count == 0 ? rows_none("member", ctl->args[1]) : out_parts(ctl, parts, count);

done:
    grid_destroy(&member);
    grid_destroy(&mark);
    return status;
}

static enum ctl_status member_show(struct ctl *ctl)
{
    return show(ctl, false);
}

/* ---- forgetting ---- */

static bool check_ids(const struct ctl *ctl)
{
    for (int i = 0; i < 2; i++) {
        if (!slack_is_id(str_of(ctl->args[i]))) {
            ctl_misused("\"%s\" is not shaped like an id of Slack's", ctl->args[i]);
            return false;
        }
    }
    return true;
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
}

/* Rows here, the accept logs by the schedule role; what takes longer is left to that altogether. */
static bool see_to_it(struct ctl *ctl, int64_t *stays, struct error *err)
{
    int64_t until = clock_boot_ms() + WAIT_MS;
    enum forget_state state = FORGET_ERASING;
    bool gone = false;

    for (int turn = 0; clock_boot_ms() < until; turn++) {
        if (!gone && !forget_erase(ctl->pg, ctl->args[0], ctl->args[1], ERASE_MS, &gone, err)) {
            return false;
        }
        if (!forget_state(ctl->pg, ctl->args[0], ctl->args[1], &state, stays, err)) {
            return false;
        }
        if (state == FORGET_DONE) {
            break;
        }
        if (turn % SAID_EACH == 0) {
            fprintf(stderr, "%s\n",
                    gone ? "waiting for the accept logs (the schedule role sees to them) ..."
                         : "erasing ...");
        }
        rest();
    }
    if (state != FORGET_DONE) {
        fprintf(stderr,
                "Not done yet; the schedule role goes on. studyctl member show %s %s tells "
                "how far it is.\n",
                ctl->args[0], ctl->args[1]);
    }
    return true;
}

/* A mark for an id that was misspelt looks like any other, and the member believes it done. */
static bool warn_of_stranger(struct ctl *ctl, struct error *err)
{
    struct pg_result *res = NULL;
    bool ok = inspect_member(ctl->pg, ctl->args[0], ctl->args[1], &res, err);

    if (ok && pg_rows(res) == 0) {
        fprintf(stderr, "No member %s of %s is known: are both ids spelt as member ls has them?\n",
                ctl->args[1], ctl->args[0]);
    }
    pg_result_destroy(&res);
    return ok;
}

static enum ctl_status member_forget(struct ctl *ctl)
{
    enum ctl_status status;
    struct error err;
    int64_t stays = 0;

    if (!check_ids(ctl)) {
        return CTL_USAGE;
    }
    if (!warn_of_stranger(ctl, &err)) {
        return ctl_fail(&err);
    }
    if (!ctl_sure(ctl, &status,
                  "everything held of %s in %s is erased, for good: messages, digests, replies, "
                  "dead events%s%s",
                  ctl->args[1], ctl->args[0],
                  ctl->delete_dms ? ", and our messages to them in Slack" : "",
                  ctl->future ? "; nothing more is recorded of them from now on" : "")) {
        return status;
    }
    if (!forget_member(ctl->pg, ctl->args[0], ctl->args[1], ctl->future, ctl->delete_dms, &err) ||
        !see_to_it(ctl, &stays, &err)) {
        return ctl_fail(&err);
    }
    status = show(ctl, true);
    if (stays > 0) {
        fprintf(stderr,
                "%" PRId64 " of our messages to them stay in Slack, which would not delete "
                "them.\n",
                stays);
    }
    fprintf(stderr, not_reached,
            ctl->delete_dms ? "" : " (our own messages to them there: --delete-dms)");
    return status;
}

static enum ctl_status member_unforget(struct ctl *ctl)
{
    struct error err;
    bool known;

    if (!check_ids(ctl)) {
        return CTL_USAGE;
    }
    if (!forget_lift(ctl->pg, ctl->args[0], ctl->args[1], &known, &err)) {
        return ctl_fail(&err);
    }
    if (!known) {
        return ctl_say("%s in %s was not forgotten for good", ctl->args[1], ctl->args[0]);
    }
    return show(ctl, true);
}

const struct ctl_command cmd_member_commands[] = {
    {"member ls", "", 0, 0, "tn", "Lists members, the newest first.", true, member_ls},
    {"member show", "TEAM USER", 2, 2, "",
     "Shows a member and how much is kept of them, and how far forgetting them has come.", true,
     member_show},
    {"member forget", "TEAM USER", 2, 2, "FDy",
     "Erases all that is held of a member; nothing that they posted before now is stored again, "
     "whoever repeats it. Not reached: backups, PostgreSQL's write-ahead log, log files, what was "
     "sent to Slack (--delete-dms for our messages to them) or to the model's host.",
     true, member_forget},
    {"member unforget", "TEAM USER", 2, 2, "",
     "Lets a member who was forgotten with --future be recorded again, from now on.", true,
     member_unforget},
    {0},
};
