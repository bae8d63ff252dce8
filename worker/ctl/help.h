/*
 * The tables of commands and options, and what is said about them: the list of all commands, one
 * command's help, and the manual page, which is printed from the same tables (worker/man).
 */
#ifndef STUDY_CTL_HELP_H
#define STUDY_CTL_HELP_H

#include <stdio.h>

#include "ctl/ctl.h"

#define CTL_DEFAULT_PATH "/etc/study-tracker/study-worker.conf"
#define CTL_OPTIONS_MAX  48

/* The letters of ctl_command.options; users write the names. */
struct ctl_option {
    char letter;
    const char *name;
    const char *argument; /* NULL: none */
    const char *help;
};

extern const struct ctl_option ctl_options[];
extern const size_t ctl_options_count; /* at most CTL_OPTIONS_MAX */
extern const struct ctl_command *const ctl_families[];
extern const size_t ctl_families_count;

void help_all(FILE *to);
void help_one(const struct ctl_command *command);
void help_manual(FILE *to); /* mdoc(7) */

#endif
