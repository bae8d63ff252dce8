/*
 * The one table of settings. It drives reading (config.c), `studyctl config`, the sample file's and
 * the documentation's test. A key has a section, a type, a default, a range and a help line.
 */
#ifndef STUDY_BASE_OPTIONS_H
#define STUDY_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_STRING,
    OPTION_PATH,
    OPTION_LIST,     /* blank-separated strings */
    OPTION_BOOL,     /* yes | no */
    OPTION_INT,
    OPTION_SIZE,     /* bytes; k, m, g */
    OPTION_DURATION, /* milliseconds inside; ms, s, m, h, d in the file, s when bare */
    OPTION_DECIMAL,
    OPTION_CHOICE,
    OPTION_SECRET,   /* read from the file that `<key>_file` names, or the environment */
};

struct option {
    const char *section;
    const char *key;
    enum option_type type;
    const char *value;     /* the default, as it would stand in the file */
    int64_t min, max;      /* of INT, SIZE, DURATION (ms), DECIMAL (thousandths), string length */
    const char *choices;   /* "a|b|c" */
    const char *vendor_env; /* e.g. SLACK_BOT_TOKEN, or NULL */
    const char *help;
};

extern const struct option options[];
extern const size_t options_count;

const struct option *option_find(const char *section, const char *key);

#endif
