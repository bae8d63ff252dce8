/* studyctl config: the effective settings and where each came from; the sample file. */
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "ctl/ctl.h"
#include "ctl/output.h"

static const char *const section_help[][2] = {
    {"redis", "The queue servers: where nginx puts events, and the store takes them."},
    {"postgres", "The database: the only source of truth."},
    {"slack", "Sending to Slack."},
    {"openai", "The language model, OpenAI or any server that speaks its protocol."},
    {"store", "The role that moves events from Redis to PostgreSQL."},
    {"schedule", "The role that fires schedules."},
    {"digest", "The role that has digests written."},
    {"deliver", "The role that sends replies."},
    {"privacy", "Whom it records, and what may leave."},
    {"status", "The role that answers for the others."},
    {"log", "The log."},
    {"worker", "The supervisor."},
};

static const char head[] =
    "# Study Tracker: settings of study-worker and studyctl.\n"
    "#\n"
    "# Every key stands here with its default, commented out. Precedence: the environment\n"
    "# (STUDY_<SECTION>_<KEY>, STUDY_STORE_LEASE for example), this file, the vendors' variables\n"
    "# (SLACK_BOT_TOKEN, SLACK_API_URL, OPENAI_API_KEY, OPENAI_BASE_URL), the default.\n"
    "#\n"
    "# Sections and keys start in the first column, comments stand on lines of their own, lines "
    "have\n"
    "# at most 190 bytes; a longer list or string goes on in indented lines. Durations take ms, s, "
    "m,\n"
    "# h, d (a bare number is seconds), sizes k, m, g. A secret is never in this file: its key "
    "names\n"
    "# the file that holds it. Paths are relative to this file.\n"
    "#\n"
    "# study-worker -t -c FILE checks it; studyctl -c FILE config shows what is in force.\n";

static void print_sample(void)
{
    const char *section = "";

    fputs(head, stdout);
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        char range[OPTION_RANGE_BYTES];

        if (strcmp(section, o->section) != 0) {
            section = o->section;
            for (size_t s = 0; s < sizeof(section_help) / sizeof(section_help[0]); s++) {
                if (strcmp(section_help[s][0], section) == 0) {
                    printf("\n# %s\n", section_help[s][1]);
                }
            }
            printf("[%s]\n", section);
        }
        option_range(o, range);
        printf("\n# %s\n# %s\n", o->help, range);
        printf(o->type == OPTION_SECRET ? "#%s_file =%s%s\n" : "#%s =%s%s\n", o->key,
               o->value[0] != '\0' ? " " : "", o->value);
    }
}

static enum ctl_status run_config(struct ctl *ctl)
{
    struct json_writer *w = out_json_writer();
    enum ctl_status status = CTL_OK;

    json_array_begin(w);
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        const char *origin = config_origin(ctl->config, o->section, o->key);
        const char *value = config_string(ctl->config, o->section, o->key);
        char range[OPTION_RANGE_BYTES];

        if (o->type == OPTION_SECRET) {
            value = value[0] != '\0' ? "(hidden)" : "";
        }
        if (!ctl->json) {
            printf("[%s] %s = %s  (%s)\n", o->section, o->key, value, origin);
            continue;
        }
        option_range(o, range);
        json_object_begin(w);
        json_put_kcstr(w, "section", o->section);
        json_put_kcstr(w, "key", o->key);
        json_put_kcstr(w, "value", value);
        json_put_kcstr(w, "origin", origin);
        json_put_kcstr(w, "default", o->value);
        json_put_kcstr(w, "range", range);
        json_put_kbool(w, "secret", o->type == OPTION_SECRET);
        json_put_kcstr(w, "help", o->help);
        json_object_end(w);
    }
    json_array_end(w);
    if (ctl->json) {
        status = out_json(w);
    }
    json_writer_destroy(&w);
    return status;
}

static enum ctl_status run_config_sample(struct ctl *ctl)
{
    if (ctl->sample) {
        print_sample();
        return CTL_OK;
    }
    return run_config(ctl);
}

const struct ctl_command cmd_config_commands[] = {
    {"config", "", 0, 0, "m",
     "Shows the effective settings and where each came from; secrets are hidden.", true,
     run_config_sample},
    {0},
};
