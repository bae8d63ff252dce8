/*
 * studyctl: the operator's view of the pipeline, and the switches on it. This file reads the
 * command line; the commands are in cmd_*.c, a table a family.
 *
 * Secrets and member text are never arguments and never printed unless asked for (--show-text).
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/version.h"
#include "ctl/ctl.h"

#define DEFAULT_PATH  "/etc/study-tracker/study-worker.conf"
#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100000

static const struct ctl_command *const families[] = {
    cmd_status_commands, cmd_schedule_commands, cmd_work_commands,
    cmd_people_commands, cmd_migrate_commands,  cmd_config_commands,
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

/* The letters of ctl_command.options. */
static const struct {
    char letter;
    const char *name;
    const char *argument; /* NULL: none */
    const char *help;
} option_table[] = {
    {'t', "team", "ID", "of one workspace only"},
    {'s', "state", "STATE", "in one state only"},
    {'n', "limit", "N", "rows at most (50)"},
    {'x', "show-text", NULL, "show what members wrote and what was written to them"},
    {'l', "list", NULL, "say what is applied and what is pending; change nothing"},
    {'p', "print", "NAME", "print an SQL file of this program, roles.sql for example"},
    {'m', "sample", NULL, "print a sample file with every key at its default"},
};
#define OPTIONS (sizeof(option_table) / sizeof(option_table[0]))

enum ctl_status ctl_fail(const struct error *err)
{
    fflush(stdout);
    fprintf(stderr, "studyctl: %s\n", err->text);
    return CTL_FAILED;
}

static void help_all(FILE *to)
{
    fputs("usage: studyctl [-c FILE] COMMAND [--json] ...\n\n"
          "  -c FILE  the configuration; STUDY_CONFIG, or " DEFAULT_PATH "\n\n",
          to);
    for (size_t f = 0; f < FAMILIES; f++) {
        for (const struct ctl_command *c = families[f]; c->words != NULL; c++) {
            char left[64];
            snprintf(left, sizeof(left), "%s%s%s", c->words, c->args[0] != '\0' ? " " : "",
                     c->args);
            fprintf(to, "  %-24s %.*s\n", left, (int)strcspn(c->help, ".;"), c->help);
        }
    }
    fputs("\nstudyctl COMMAND --help says more.\n"
          "Exit status: 0 done, 1 failed, 2 wrong command line.\n",
          to);
}

static void help_one(const struct ctl_command *c)
{
    printf("usage: studyctl [-c FILE] %s%s%s [options]\n\n%s\n\n", c->words,
           c->args[0] != '\0' ? " " : "", c->args, c->help);
    printf("  %-16s %s\n", "--json", "for programs");
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strchr(c->options, option_table[i].letter) != NULL) {
            char left[32];
            snprintf(left, sizeof(left), "--%s%s%s", option_table[i].name,
                     option_table[i].argument != NULL ? " " : "",
                     option_table[i].argument != NULL ? option_table[i].argument : "");
            printf("  %-16s %s\n", left, option_table[i].help);
        }
    }
}

/* The command whose words begin argv; *used: how many. */
static const struct ctl_command *find(char *const *argv, int argc, int *used)
{
    for (size_t f = 0; f < FAMILIES; f++) {
        for (const struct ctl_command *c = families[f]; c->words != NULL; c++) {
            size_t first = strcspn(c->words, " ");
            const char *second = c->words[first] != '\0' ? c->words + first + 1 : NULL;
            if (argc < 1 || strlen(argv[0]) != first || memcmp(argv[0], c->words, first) != 0) {
                continue;
            }
            if (second == NULL || (argc > 1 && strcmp(argv[1], second) == 0)) {
                *used = second == NULL ? 1 : 2;
                return c;
            }
        }
    }
    return NULL;
}

static bool usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static bool usage_error(const char *fmt, ...)
{
    va_list ap;

    fputs("studyctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("; see studyctl --help\n", stderr);
    return false;
}

static bool set_option(struct ctl *ctl, char letter, const char *argument)
{
    uint64_t n;

    switch (letter) {
    case 't':
        ctl->team = argument;
        return true;
    case 's':
        ctl->state = argument;
        return true;
    case 'p':
        ctl->print = argument;
        return true;
    case 'x':
        ctl->show_text = true;
        return true;
    case 'l':
        ctl->list = true;
        return true;
    case 'm':
        ctl->sample = true;
        return true;
    case 'n':
        if (!str_to_u64(str_of(argument), &n) || n < 1 || n > LIMIT_MAX) {
            return usage_error("--limit %s: expected 1 to %d", argument, LIMIT_MAX);
        }
        ctl->limit = (int)n;
        ctl->limit_given = true;
        return true;
    default:
        return false;
    }
}

struct line { /* the command line, read */
    const char *path;
    bool help, version;
    char letters[OPTIONS + 1]; /* options that were given */
};

/* Options anywhere, words in between: getopt moves the words to the end. */
static bool read_line(int argc, char **argv, struct ctl *ctl, struct line *line)
{
    struct option longs[OPTIONS + 4] = {{"json", no_argument, NULL, 'j'},
                                        {"help", no_argument, NULL, 'h'},
                                        {"version", no_argument, NULL, 'V'}};
    size_t given = 0;
    int c;

    for (size_t i = 0; i < OPTIONS; i++) {
        longs[i + 3] =
            (struct option){option_table[i].name,
                            option_table[i].argument != NULL ? required_argument : no_argument,
                            NULL, option_table[i].letter};
    }
    opterr = 0;
    while ((c = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            line->path = optarg;
            break;
        case 'h':
            line->help = true;
            break;
        case 'V':
            line->version = true;
            break;
        case 'j':
            ctl->json = true;
            break;
        case '?':
            return usage_error("%s: no such option, or its argument is missing", argv[optind - 1]);
        default:
            if (!set_option(ctl, (char)c, optarg)) {
                return false;
            }
            if (strchr(line->letters, c) == NULL) {
                line->letters[given++] = (char)c;
            }
        }
    }
    return true;
}

static bool fits(const struct ctl_command *command, const struct ctl *ctl, const struct line *line)
{
    size_t wrong = strspn(line->letters, command->options);

    if (line->letters[wrong] != '\0') {
        return usage_error("%s does not take all of these options", command->words);
    }
    if (ctl->args_count < command->args_min || ctl->args_count > command->args_max) {
        return usage_error("%s: expected %s", command->words,
                           command->args[0] != '\0' ? command->args : "no argument");
    }
    return true;
}

/* It may be missing where the environment says all; the database's owner, who migrates, has no
 * business reading it. */
static const char *default_path(void)
{
    if (access(DEFAULT_PATH, R_OK) == 0) {
        return DEFAULT_PATH;
    }
    if (errno != ENOENT) {
        fprintf(stderr, "studyctl: %s: %s; going by the environment and the defaults\n",
                DEFAULT_PATH, strerror(errno));
    }
    return NULL;
}

static enum ctl_status run(const struct ctl_command *command, struct ctl *ctl, const char *path)
{
    struct config *config = NULL;
    struct error err;

    if (path == NULL) {
        path = default_path();
    }
    /* What only prints files of this program works without a configuration. */
    if (command->needs_config && !ctl->sample && ctl->print == NULL) {
        if (!config_load(&config, path, &err)) {
            return ctl_fail(&err);
        }
        ctl->config = config;
        ctl->pg = pg_create(config, "studyctl");
    }
    enum ctl_status status = command->run(ctl);
    pg_destroy(&ctl->pg);
    config_destroy(&config);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        error_set_errno(&err, "standard output");
        return ctl_fail(&err);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.limit = LIMIT_DEFAULT};
    struct line line = {.path = getenv("STUDY_CONFIG")};
    int used = 0;

    setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    if (!read_line(argc, argv, &ctl, &line)) {
        return CTL_USAGE;
    }
    if (line.version) {
        puts("studyctl " STUDY_VERSION);
        return CTL_OK;
    }
    const struct ctl_command *command = find(argv + optind, argc - optind, &used);
    if (command == NULL) {
        if (line.help) {
            help_all(stdout);
            return CTL_OK;
        }
        if (optind < argc) {
            usage_error("no command \"%s\"", argv[optind]);
        } else {
            help_all(stderr);
        }
        return CTL_USAGE;
    }
    if (line.help) {
        help_one(command);
        return CTL_OK;
    }
    ctl.args = (const char *const *)argv + optind + used;
    ctl.args_count = argc - optind - used;
    if (!fits(command, &ctl, &line)) {
        return CTL_USAGE;
    }
    return (int)run(command, &ctl, line.path);
}
