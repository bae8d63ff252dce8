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
    OPTION_PATH, /* from the file: relative to the file's directory */
    OPTION_URL,  /* http or https, without a user or password in it */
    OPTION_LIST, /* blank-separated strings */
    OPTION_BOOL, /* yes | no */
    OPTION_INT,
    OPTION_SIZE,     /* bytes; k, m, g */
    OPTION_DURATION, /* milliseconds inside; ms, s, m, h, d in the file, s when bare */
    OPTION_DECIMAL,  /* thousandths inside; may be empty */
    OPTION_CLOCK,    /* "08:30", a time of day; minutes inside */
    OPTION_CHOICE,
    OPTION_SECRET, /* read from the file that `<key>_file` names, or the environment */
};

struct option {
    const char *section;
    const char *key;
    enum option_type type;
    const char *value;      /* the default, as it would stand in the file */
    int64_t min, max;       /* of INT, SIZE, DURATION (ms), DECIMAL (thousandths), string length */
    const char *choices;    /* CHOICE: "a|b|c"; STRING, LIST: the characters allowed, "A-Z0-9" */
    const char *vendor_env; /* e.g. SLACK_BOT_TOKEN, or NULL */
    const char *help;
};

extern const struct option options[]; /* a section's rows stand together */
extern const size_t options_count;

const struct option *option_find(const char *section, const char *key); /* NULL: no such key */
bool option_section_exists(const char *section);

/*
 * Is `text` a value of this option? *number is then what config_int and config_bool give (0 for
 * strings, INT64_MIN for an empty DECIMAL).
 */
bool option_parse(const struct option *o, const char *text, int64_t *number);

/* What option_parse takes, for people: "3s to 20s", "yes or no", "at most 64 bytes". */
#define OPTION_RANGE_BYTES 160
void option_range(const struct option *o, char out[OPTION_RANGE_BYTES]);

#endif
