/* The tables, and printing them for a terminal or for man. */
#include "ctl/help.h"

#include <string.h>

#include "base/text.h"

/* clang-format off */
const struct ctl_command *const ctl_families[] = {
    cmd_status_commands,
    cmd_trace_commands,
    cmd_doctor_commands,
    cmd_pause_commands,
    cmd_schedule_commands,
    cmd_schedule_edit_commands,
    cmd_backfill_commands,
    cmd_work_commands,
    cmd_retry_commands,
    cmd_member_commands,
    cmd_export_commands,
    cmd_people_commands,
    cmd_team_commands,
    cmd_migrate_commands,
    cmd_config_commands,
};
/* clang-format on */
const size_t ctl_families_count = sizeof(ctl_families) / sizeof(ctl_families[0]);

const struct ctl_option ctl_options[] = {
    {'t', "team", "ID", "of one workspace only"},
    {'s', "state", "STATE", "in one state only"},
    {'n', "limit", "N", "rows at most (50)"},
    {'x', "show-text", NULL, "show what members wrote and what was written to them"},
    {'a', "all", NULL, "all of them, instead of one by its number"},
    {'r', "reason", "WORD", "why, for whoever looks later; of dead events: those of one reason"},
    {'u', "until", "TIME",
     "ends by itself then, e.g. 2026-11-23T09:00+09:00; of a backfill: up to then"},
    {'f', "for", "DURATION", "ends by itself after 30m, 12h, 2d, ..."},
    {'b', "before", "TIME", "older ones only"},
    {'g', "again", NULL, "even when that sends a second message"},
    {'L', "language", "ko|en", "language of digests and notices"},
    {'d', "digests", "on|off", "whether the member gets digests"},
    {'k', "consent", "yes|no|none", "whether the member's words may reach a model"},
    {'U', "url", "URL", "where nginx answers, e.g. https://study.example.com"},
    {'S', "signing-secret-file", "FILE", "the signing secret, for a signed probe"},
    {'F', "future", NULL, "and record nothing of them from now on"},
    {'D', "delete-dms", NULL, "and delete our messages to them in Slack"},
    {'C', "channel", "ID", "the channel"},
    {'i', "since", "TIME", "from then on: 2026-11-01, 2026-11-01T09:00Z, or 36h, 14d ago"},
    {'T', "format", "json|csv", "one JSON object, or a CSV file a table"},
    {'O', "output", "PATH", "file, or of CSV the directory; - is standard output"},
    {'y', "yes", NULL, "do not ask"},
    {'l', "list", NULL, "say what is applied and what is pending; change nothing"},
    {'p', "print", "NAME", "print an SQL file of this program, roles.sql for example"},
    {'m', "sample", NULL, "print a sample file with every key at its default"},
};
const size_t ctl_options_count = sizeof(ctl_options) / sizeof(ctl_options[0]);

_Static_assert(sizeof(ctl_options) / sizeof(ctl_options[0]) <= CTL_OPTIONS_MAX, "room in main.c");

/* ---- for a terminal ---- */

/* The first sentence, or what comes before its first semicolon. */
static int summary_length(const char *help)
{
    size_t len = 0;

    while (help[len] != '\0' && help[len] != ';' &&
           !(help[len] == '.' && (help[len + 1] == '\0' || strchr(" \n", help[len + 1]) != NULL))) {
        len++;
    }
    return (int)len;
}

void help_all(FILE *to)
{
    fputs("usage: studyctl [-c FILE] COMMAND [--json] ...\n\n"
          "  -c FILE  the configuration; STUDY_CONFIG, or " CTL_DEFAULT_PATH "\n\n",
          to);
    for (size_t f = 0; f < ctl_families_count; f++) {
        for (const struct ctl_command *c = ctl_families[f]; c->words != NULL; c++) {
            char left[64];
            snprintf(left, sizeof(left), "%s%s%s", c->words, c->args[0] != '\0' ? " " : "",
                     c->args);
            fprintf(to, "  %-29s %.*s\n", left, summary_length(c->help), c->help);
        }
    }
    fputs("\nstudyctl COMMAND --help says more, and so does man studyctl.\n"
          "Exit status: 0 done, 1 failed, 2 wrong command line.\n",
          to);
}

/* Wrapped to 78 columns; paragraphs part at empty lines. */
static void print_wrapped(const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t word = strcspn(text, " \n");

        if (column > 0 && column + 1 + word > 78) {
            putchar('\n');
            column = 0;
        }
        if (column > 0 && word > 0) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)word, text);
        column += word;
        text += word;
        if (text[0] == '\n') {
            fputs(column > 0 ? "\n\n" : "", stdout);
            column = 0;
        }
        text += strspn(text, " \n");
    }
    puts("\n");
}

void help_one(const struct ctl_command *c)
{
    printf("usage: studyctl [-c FILE] %s%s%s [options]\n\n", c->words,
           c->args[0] != '\0' ? " " : "", c->args);
    print_wrapped(c->help);
    printf("  %-28s %s\n", "--json", "for programs");
    for (size_t i = 0; i < ctl_options_count; i++) {
        const struct ctl_option *o = &ctl_options[i];

        if (strchr(c->options, o->letter) != NULL) {
            char left[48];
            snprintf(left, sizeof(left), "--%s%s%s", o->name, o->argument != NULL ? " " : "",
                     o->argument != NULL ? o->argument : "");
            printf("  %-28s %s\n", left, o->help);
        }
    }
}

/* ---- the manual page ---- */

/* A word that roff would take for its own is told not to be. */
static void put_roff(FILE *to, const char *text)
{
    bool line_start = true;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\n') {
            if (p[1] == '\n') {
                fputs("\n.Pp\n", to);
                p++;
            } else {
                fputc('\n', to);
            }
            line_start = true;
            continue;
        }
        if (line_start && (*p == '.' || *p == '\'')) {
            fputs("\\&", to);
        }
        if (*p == '\\') {
            fputs("\\e", to);
        } else if (*p == '-') {
            fputs("\\-", to);
        } else {
            fputc(*p, to);
        }
        line_start = false;
    }
    fputc('\n', to);
}

static void put_command(FILE *to, const struct ctl_command *c)
{
    bool any = false;

    fprintf(to, ".It Xo\n.Cm %s\n", c->words);
    if (c->args[0] != '\0') {
        fputs(".Ar ", to);
        put_roff(to, c->args);
    }
    fputs(".Xc\n", to);
    put_roff(to, c->help);
    for (size_t i = 0; i < ctl_options_count; i++) {
        if (strchr(c->options, ctl_options[i].letter) != NULL) {
            fprintf(to, "%s.Fl \\-%s", any ? " ,\n" : ".Pp\nTakes\n", ctl_options[i].name);
            any = true;
        }
    }
    fputs(any ? " .\n" : "", to);
}

void help_manual(FILE *to)
{
    fputs(".\\\" Printed by studyctl --manual; kept in worker/man.\n"
          ".Dd November 22, 2026\n.Dt STUDYCTL 8\n.Os\n"
          ".Sh NAME\n.Nm studyctl\n.Nd look at Study Tracker, and change what it does\n"
          ".Sh SYNOPSIS\n.Nm\n.Op Fl c Ar file\n.Ar command\n.Op Fl \\-json\n.Op Ar options\n"
          ".Nm\n.Ar command\n.Fl \\-help\n.Nm\n.Fl \\-version | Fl \\-manual\n"
          ".Sh DESCRIPTION\n"
          "Every command reads the configuration of\n.Xr study-worker 8 :\n.Ar file ,\n"
          "or else\n.Ev STUDY_CONFIG ,\nor else\n.Pa " CTL_DEFAULT_PATH " .\n"
          "It logs in to PostgreSQL as whoever runs it, with the rights of the role\n"
          ".Li study_ctl .\n"
          "What members wrote, and what was written to them, is shown only when asked for;\n"
          "secrets never.\n.Pp\nThe commands:\n.Bl -tag -width Ds\n",
          to);
    for (size_t f = 0; f < ctl_families_count; f++) {
        for (const struct ctl_command *c = ctl_families[f]; c->words != NULL; c++) {
            put_command(to, c);
        }
    }
    fputs(".El\n.Pp\nThe options:\n.Bl -tag -width Ds\n"
          ".It Fl \\-json\nFor programs: one JSON value.\n"
          ".It Fl \\-help\nSays what a command does, and what it takes.\n"
          ".It Fl \\-version\nPrints the version.\n"
          ".It Fl \\-manual\nPrints this page, in mdoc.\n",
          to);
    for (size_t i = 0; i < ctl_options_count; i++) {
        fprintf(to, ".It Fl \\-%s", ctl_options[i].name);
        if (ctl_options[i].argument != NULL) {
            fprintf(to, " Ar %s", ctl_options[i].argument);
        }
        fputc('\n', to);
        put_roff(to, ctl_options[i].help);
    }
    fputs(".El\n.Sh EXIT STATUS\n"
          "0 done, 1 failed (of\n.Cm doctor :\nsomething must be repaired), 2 wrong command line.\n"
          ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n"
          ".It Ev STUDY_CONFIG\nThe configuration, where\n.Fl c\nis not given.\n"
          ".It Ev STUDY_<SECTION>_<KEY>\nA setting; goes before the file's.\n.El\n"
          ".Sh FILES\n.Pa " CTL_DEFAULT_PATH "\n"
          ".Sh SEE ALSO\n.Xr study-worker 8\n",
          to);
}
