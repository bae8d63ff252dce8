/*
 * studyctl: what every command is given, and how commands are declared. A command is one function;
 * each file of cmd_*.c holds a family and its table of commands.
 */
#ifndef STUDY_CTL_CTL_H
#define STUDY_CTL_CTL_H

#include <stdbool.h>

#include "base/config.h"
#include "base/error.h"
#include "io/pg.h"

enum ctl_status {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
};

struct ctl {
    const struct config *config;
    struct pg *pg; /* connects on first use */
    bool json;
    bool show_text; /* member text and what was written to members */

    /* Options of single commands; unset ones are NULL, false or the command's default. */
    const char *team;
    const char *state;
    const char *print;
    const char *until, *before; /* times, as PostgreSQL reads them */
    const char *duration;
    const char *reason;
    const char *language, *digests, *consent;
    const char *url, *secret_file;
    const char *format, *output;
    const char *channel, *since;
    int limit;
    bool limit_given;
    bool list;
    bool sample;
    bool all, again, yes;
    bool future, delete_dms;

    const char *const *args; /* after the command's words */
    int args_count;
};

struct ctl_command {
    const char *words; /* "digest ls" */
    const char *args;  /* "ID", "" */
    int args_min, args_max;
    const char *options; /* letters of what it takes beside --json: see help.c's table */
    /* The first sentence stands in the list of all commands; paragraphs part at empty lines. */
    const char *help;
    bool needs_config;
    enum ctl_status (*run)(struct ctl *ctl);
};

/* Each ends with an entry whose words are NULL. */
extern const struct ctl_command cmd_config_commands[];
extern const struct ctl_command cmd_migrate_commands[];
extern const struct ctl_command cmd_status_commands[];
extern const struct ctl_command cmd_schedule_commands[];
extern const struct ctl_command cmd_schedule_edit_commands[];
extern const struct ctl_command cmd_work_commands[];
extern const struct ctl_command cmd_people_commands[];
extern const struct ctl_command cmd_pause_commands[];
extern const struct ctl_command cmd_retry_commands[];
extern const struct ctl_command cmd_team_commands[];
extern const struct ctl_command cmd_trace_commands[];
extern const struct ctl_command cmd_member_commands[];
extern const struct ctl_command cmd_export_commands[];
extern const struct ctl_command cmd_doctor_commands[];
extern const struct ctl_command cmd_backfill_commands[];

/* "studyctl: TEXT" on standard error; CTL_FAILED. */
enum ctl_status ctl_fail(const struct error *err);
enum ctl_status ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for a wrong command line; CTL_USAGE. */
enum ctl_status ctl_misused(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Before what destroys, or may send twice: true with --yes, or when somebody at a terminal says
 * yes. Otherwise *status is what the command ends with, and the reason has been printed. */
bool ctl_sure(const struct ctl *ctl, enum ctl_status *status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
