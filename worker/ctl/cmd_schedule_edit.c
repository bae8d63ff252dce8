/*
 * studyctl schedule add|set|rm and setting: what an operator would otherwise need SQL for. Words
 * are KEY=VALUE; cron lines and time zones are looked at by what the scheduler itself uses, so that
 * what goes in also fires.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/rows.h"
#include "db/schedules_edit.h"
#include "schedule/cron.h"
#include "schedule/zone.h"

struct key {
    const char *name;
    const char **value;
    const char *words; /* "daily|weekly"; NULL: any */
};

static bool is_word(const char *value, const char *words)
{
    size_t len = strlen(value);

    for (const char *at = words; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, value, len) == 0 && (at[len] == '|' || at[len] == '\0')) {
            return len > 0;
        }
    }
    return false;
}

/* The arguments from `first` on into their places; false with the reason said. */
static bool take_keys(const struct ctl *ctl, int first, const struct key *keys, size_t count)
{
    for (int i = first; i < ctl->args_count; i++) {
        const char *value = strchr(ctl->args[i], '=');
        const struct key *key = NULL;

        for (size_t k = 0; value != NULL && k < count; k++) {
            size_t len = strlen(keys[k].name);
            if (len == (size_t)(value - ctl->args[i]) &&
                memcmp(keys[k].name, ctl->args[i], len) == 0) {
                key = &keys[k];
            }
        }
        if (key == NULL) {
            ctl_say("\"%s\": KEY=VALUE is wanted, see studyctl help", ctl->args[i]);
            return false;
        }
        if (key->words != NULL && !is_word(value + 1, key->words)) {
            ctl_say("%s is one of %s", key->name, key->words);
            return false;
        }
        *key->value = value + 1;
    }
    return true;
}

static bool zone_is_good(const char *zone)
{
    if (zone == NULL || zone_exists(zone)) {
        return true;
    }
    ctl_say("there is no time zone \"%s\"", zone);
    return false;
}

static bool take_edit(const struct ctl *ctl, struct schedule_edit *edit)
{
    const struct key keys[] = {
        {"cron", &edit->cron, NULL},
        {"kind", &edit->kind, "daily|weekly"},
        {"scope", &edit->scope, "workspace|channel|member"},
        {"time_zone", &edit->time_zone, NULL},
        {"missed", &edit->missed, "last|all|skip"},
        {"missed_window", &edit->missed_window, NULL},
        {"team", &edit->team_id, NULL},
        {"channel", &edit->channel_id, NULL},
    };
    struct cron cron;
    struct error err;
    int64_t next;

    *edit = (struct schedule_edit){.name = ctl->args[0]};
    if (!take_keys(ctl, 1, keys, sizeof(keys) / sizeof(keys[0])) ||
        !zone_is_good(edit->time_zone)) {
        return false;
    }
    if (edit->cron == NULL) {
        return true;
    }
    if (!cron_parse(&cron, str_of(edit->cron), &err)) {
        ctl_fail(&err);
        return false;
    }
    if (!cron_next(&cron, "UTC", 0, &next)) {
        ctl_say("cron: \"%s\" has no time", edit->cron);
        return false;
    }
    return true;
}

/* A constraint's own message names columns; what they ask for is said here. */
static enum ctl_status refused(const struct error *err)
{
    if (err->kind == ERROR_REMOTE && pg_verdict(err) == PG_BAD_INPUT) {
        ctl_say(
            "a name has letters, digits, \"_\", \".\" and \"-\"; scope channel has a team and a "
            "channel, scope workspace no channel; a team is one of team ls; missed_window is at "
            "most 30 days, such as \"6 hours\"");
    }
    return ctl_fail(err);
}

static enum ctl_status schedule_add(struct ctl *ctl)
{
    struct schedule_edit edit;
    struct error err;
    bool added;

    if (!take_edit(ctl, &edit)) {
        return CTL_USAGE;
    }
    if (edit.cron == NULL) {
        return ctl_misused("a schedule wants cron=\"MINUTE HOUR DAY MONTH WEEKDAY\"");
    }
    if (!db_schedule_add(ctl->pg, &edit, &added, &err)) {
        return refused(&err);
    }
    return added ? CTL_OK : ctl_say("there is a schedule %s already", edit.name);
}

static enum ctl_status schedule_set(struct ctl *ctl)
{
    struct schedule_edit edit;
    struct error err;
    bool found;

    if (!take_edit(ctl, &edit)) {
        return CTL_USAGE;
    }
    if (!db_schedule_set(ctl->pg, &edit, &found, &err)) {
        return refused(&err);
    }
    return found ? CTL_OK : rows_none("schedule", edit.name);
}

static enum ctl_status schedule_rm(struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct schedule_holds holds;
    enum ctl_status status;
    struct error err;

    if (!db_schedule_holds(ctl->pg, name, &holds, &err)) {
        return ctl_fail(&err);
    }
    if (!holds.known) {
        return rows_none("schedule", name);
    }
    if (!ctl_sure(ctl, &status,
                  "schedule %s goes with its %lld firings and %lld digests; %lld replies are not "
                  "sent yet",
                  name, (long long)holds.firings, (long long)holds.digests,
                  (long long)holds.unsent)) {
        return status;
    }
    return db_schedule_remove(ctl->pg, name, &err) ? CTL_OK : ctl_fail(&err);
}

static enum ctl_status setting(struct ctl *ctl)
{
    const char *day_starts = NULL, *time_zone = NULL;
    const struct key keys[] = {
        {"day_starts", &day_starts, NULL},
        {"time_zone", &time_zone, NULL},
    };
    struct pg_result *res = NULL;
    struct error err;

    if (!take_keys(ctl, 0, keys, sizeof(keys) / sizeof(keys[0])) || !zone_is_good(time_zone)) {
        return CTL_USAGE;
    }
    bool ok = db_setting(ctl->pg, day_starts, time_zone, &res, &err);
    if (!ok && err.kind == ERROR_REMOTE && pg_verdict(&err) == PG_BAD_INPUT) {
        ctl_say("day_starts is a time before noon, such as 02:00");
    }
    return rows_print(ctl, ok, res, &err);
}

const struct ctl_command cmd_schedule_edit_commands[] = {
    {"schedule add", "NAME KEY=VALUE...", 2, 9, "",
     "Adds a schedule. Keys are cron (needed: minute, hour, day, month, weekday), kind (daily, "
     "weekly), scope (workspace, channel, member), time_zone, missed (last, all, skip), "
     "missed_window, team and channel. With scope member it fires at that time of each member, and "
     "time_zone is for those whose own is not known.",
     true, schedule_add},
    {"schedule set", "NAME KEY=VALUE...", 2, 9, "",
     "Changes a schedule. Keys are those of schedule add; an empty value takes a missed_window, "
     "team or channel away. It goes on with its next time.",
     true, schedule_set},
    {"schedule rm", "NAME", 1, 1, "y",
     "Removes a schedule with its firings and digests. schedule pause keeps them.", true,
     schedule_rm},
    {"setting", "[KEY=VALUE...]", 0, 2, "",
     "Tells, or sets, what counts as a day. day_starts is the local time at which a study day "
     "begins, time_zone that of members whose own is not known.",
     true, setting},
    {0},
};
