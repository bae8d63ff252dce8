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
#include "ctl/help.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100000

/* The command whose words begin argv; *used: how many. */
static const struct ctl_command *find(char *const *argv, int argc, int *used)
{
    for (size_t f = 0; f < ctl_families_count; f++) {
        for (const struct ctl_command *c = ctl_families[f]; c->words != NULL; c++) {
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

/* Words that are kept as they are. */
static const char **word_of(struct ctl *ctl, char letter)
{
    switch (letter) {
    case 't':
        return &ctl->team;
    case 's':
        return &ctl->state;
    case 'p':
        return &ctl->print;
    case 'u':
        return &ctl->until;
    case 'f':
        return &ctl->duration;
    case 'b':
        return &ctl->before;
    case 'r':
        return &ctl->reason;
    case 'L':
        return &ctl->language;
    case 'd':
        return &ctl->digests;
    case 'k':
        return &ctl->consent;
    case 'U':
        return &ctl->url;
    case 'S':
        return &ctl->secret_file;
    case 'T':
        return &ctl->format;
    case 'O':
        return &ctl->output;
    case 'C':
        return &ctl->channel;
    case 'i':
        return &ctl->since;
    default:
        return NULL;
    }
}

static bool *switch_of(struct ctl *ctl, char letter)
{
    switch (letter) {
    case 'x':
        return &ctl->show_text;
    case 'l':
        return &ctl->list;
    case 'm':
        return &ctl->sample;
    case 'a':
        return &ctl->all;
    case 'g':
        return &ctl->again;
    case 'y':
        return &ctl->yes;
    case 'F':
        return &ctl->future;
    case 'D':
        return &ctl->delete_dms;
    default:
        return NULL;
    }
}

static bool set_option(struct ctl *ctl, char letter, const char *argument)
{
    const char **word = word_of(ctl, letter);
    bool *on = switch_of(ctl, letter);
    uint64_t n;

    if (word != NULL) {
        *word = argument;
        return true;
    }
    if (on != NULL) {
        *on = true;
        return true;
    }
    if (!str_to_u64(str_of(argument), &n) || n < 1 || n > LIMIT_MAX) {
        return usage_error("--limit %s: expected 1 to %d", argument, LIMIT_MAX);
    }
    ctl->limit = (int)n;
    ctl->limit_given = true;
    return true;
}

struct line { /* the command line, read */
    const char *path;
    bool help, version, manual;
    char letters[CTL_OPTIONS_MAX + 1]; /* options that were given */
};

/* Options anywhere, words in between: getopt moves the words to the end. */
static bool read_line(int argc, char **argv, struct ctl *ctl, struct line *line)
{
    struct option longs[CTL_OPTIONS_MAX + 5] = {{"json", no_argument, NULL, 'j'},
                                                {"help", no_argument, NULL, 'h'},
                                                {"version", no_argument, NULL, 'V'},
                                                {"manual", no_argument, NULL, 'M'}};
    size_t given = 0;
    int c;

    for (size_t i = 0; i < ctl_options_count; i++) {
        longs[i + 4] = (struct option){
            ctl_options[i].name, ctl_options[i].argument != NULL ? required_argument : no_argument,
            NULL, ctl_options[i].letter};
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
        case 'M':
            line->manual = true;
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
    if (access(CTL_DEFAULT_PATH, R_OK) == 0) {
        return CTL_DEFAULT_PATH;
    }
    if (errno != ENOENT) {
        fprintf(stderr, "studyctl: %s: %s; going by the environment and the defaults\n",
                CTL_DEFAULT_PATH, strerror(errno));
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
    if (line.manual) {
        help_manual(stdout);
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
