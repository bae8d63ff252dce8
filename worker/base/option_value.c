/* What the types of the option table take, and how their ranges are told to people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "base/text.h"

struct unit {
    const char *name;
    int64_t factor;
};

/* Smallest first; the one without a name stands for a bare number. */
static const struct unit duration_units[] = {
    {"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {NULL, 0},
};

const struct option *option_find(const char *section, const char *key)
{
    for (size_t i = 0; i < options_count; i++) {
        if (strcmp(options[i].section, section) == 0 && strcmp(options[i].key, key) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

bool option_section_exists(const char *section)
{
    for (size_t i = 0; i < options_count; i++) {
        if (strcmp(options[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse_with_unit(const char *text, const struct unit *units, int64_t *number)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t value;

    if (!str_to_u64((struct str){text, digits}, &value) || value > INT64_MAX) {
        return false;
    }
    for (const struct unit *u = units; u->name != NULL; u++) {
        if (strcmp(u->name, text + digits) == 0) {
            return !__builtin_mul_overflow((int64_t)value, u->factor, number);
        }
    }
    return false;
}

/* "0.7" -> 700; at most three places. */
static bool parse_decimal(const char *text, int64_t *number)
{
    size_t whole = strspn(text, "0123456789");
    size_t places = 0;
    uint64_t value;

    if (!str_to_u64((struct str){text, whole}, &value) || value > 1000000) {
        return false;
    }
    if (text[whole] == '.') {
        const char *fraction = text + whole + 1;
        places = strspn(fraction, "0123456789");
        if (places == 0 || places > 3 || fraction[places] != '\0') {
            return false;
        }
        for (size_t i = 0; i < places; i++) {
            value = value * 10 + (uint64_t)(fraction[i] - '0');
        }
    } else if (text[whole] != '\0') {
        return false;
    }
    for (; places < 3; places++) {
        value *= 10;
    }
    *number = (int64_t)value;
    return true;
}

/* "08:30" */
static bool parse_clock(const char *text, int64_t *number)
{
    uint64_t hours, minutes;

    if (strlen(text) != 5 || text[2] != ':' || !str_to_u64((struct str){text, 2}, &hours) ||
        !str_to_u64((struct str){text + 3, 2}, &minutes)) {
        return false;
    }
    *number = (int64_t)(hours * 60 + minutes);
    return hours < 24 && minutes < 60;
}

/* Is c in a set written as "A-Za-z0-9_.-" (a '-' that ends it stands for itself)? */
static bool in_set(char c, const char *set)
{
    for (; *set != '\0'; set++) {
        if (set[1] == '-' && set[2] != '\0') {
            if (c >= set[0] && c <= set[2]) {
                return true;
            }
            set += 2;
        } else if (c == *set) {
            return true;
        }
    }
    return false;
}

static bool string_fits(const struct option *o, const char *text)
{
    size_t len = strlen(text);

    if (len < (size_t)o->min || len > (size_t)o->max) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7F) {
            return false;
        }
        if (o->type == OPTION_STRING && o->choices != NULL && !in_set(text[i], o->choices)) {
            return false;
        }
    }
    return true;
}

static bool url_fits(const struct option *o, const char *text)
{
    struct str s = str_of(text);
    size_t scheme = str_starts(s, "https://") ? 8 : str_starts(s, "http://") ? 7 : 0;
    size_t host = strcspn(text + scheme, "/?#");

    return scheme != 0 && host != 0 && string_fits(o, text) &&
           memchr(text + scheme, '@', host) == NULL && strpbrk(text, " ?#") == NULL;
}

static bool list_fits(const struct option *o, const char *text)
{
    int64_t items = 0;

    while (*(text += strspn(text, " \t")) != '\0') {
        for (size_t len = strcspn(text, " \t"); len > 0; len--, text++) {
            if (o->choices != NULL && !in_set(*text, o->choices)) {
                return false;
            }
        }
        items++;
    }
    return items >= o->min && items <= o->max;
}

bool option_parse(const struct option *o, const char *text, int64_t *number)
{
    bool ok = false;

    *number = 0;
    switch (o->type) {
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_SECRET:
        return string_fits(o, text);
    case OPTION_URL:
        return url_fits(o, text);
    case OPTION_LIST:
        return list_fits(o, text);
    case OPTION_CHOICE:
        return str_one_of(str_of(text), o->choices);
    case OPTION_BOOL:
        *number = strcmp(text, "yes") == 0;
        return *number != 0 || strcmp(text, "no") == 0;
    case OPTION_CLOCK:
        return parse_clock(text, number);
    case OPTION_DECIMAL:
        if (*text == '\0') {
            *number = INT64_MIN;
            return true;
        }
        ok = parse_decimal(text, number);
        break;
    case OPTION_INT:
        ok = parse_with_unit(text, (const struct unit[]){{"", 1}, {NULL, 0}}, number);
        break;
    case OPTION_SIZE:
        ok = parse_with_unit(text, size_units, number);
        break;
    case OPTION_DURATION:
        ok = parse_with_unit(text, duration_units, number);
        break;
    }
    return ok && *number >= o->min && *number <= o->max;
}

/* In the largest unit that divides it. */
static void put_with_unit(struct text *out, int64_t value, const struct unit *units)
{
    const struct unit *best = units;

    for (const struct unit *u = units; u->name != NULL; u++) {
        if (value % u->factor == 0 && (value != 0 || u->factor <= 1000) &&
            (u->name[0] != '\0' || u->factor == 1)) {
            best = u;
        }
    }
    text_addf(out, "%" PRId64 "%s", value / best->factor, best->name);
}

static void put_between(struct text *out, const struct option *o, const struct unit *units)
{
    put_with_unit(out, o->min, units);
    text_adds(out, " to ");
    put_with_unit(out, o->max, units);
}

static void put_choices(struct text *out, const char *choices)
{
    for (const char *p = choices; *p != '\0'; p++) {
        if (*p != '|') {
            text_add(out, (struct str){p, 1});
        } else {
            text_adds(out, strchr(p + 1, '|') != NULL ? ", " : " or ");
        }
    }
}

static void put_length(struct text *out, const struct option *o)
{
    if (o->min > 0) {
        text_addf(out, "%" PRId64 " to %" PRId64, o->min, o->max);
    } else {
        text_addf(out, "at most %" PRId64, o->max);
    }
}

void option_range(const struct option *o, char out[OPTION_RANGE_BYTES])
{
    struct text t;

    text_init(&t, OPTION_RANGE_BYTES - 1);
    switch (o->type) {
    case OPTION_STRING:
        put_length(&t, o);
        text_addf(&t, o->choices != NULL ? " of %s" : " bytes", o->choices);
        break;
    case OPTION_PATH:
        text_adds(&t, o->min > 0 ? "a path" : "a path or empty");
        break;
    case OPTION_SECRET:
        put_length(&t, o);
        text_adds(&t, " bytes, in a file");
        break;
    case OPTION_URL:
        text_adds(&t, "an http or https URL without user, query and fragment");
        break;
    case OPTION_LIST:
        put_length(&t, o);
        text_addf(&t,
                  o->choices != NULL ? " items of %s, blank-separated" : " items, blank-separated",
                  o->choices);
        break;
    case OPTION_BOOL:
        text_adds(&t, "yes or no");
        break;
    case OPTION_CHOICE:
        put_choices(&t, o->choices);
        break;
    case OPTION_CLOCK:
        text_adds(&t, "00:00 to 23:59");
        break;
    case OPTION_DECIMAL:
        text_addf(&t, "%g to %g, or empty", (double)o->min / 1000, (double)o->max / 1000);
        break;
    case OPTION_INT:
        put_between(&t, o, (const struct unit[]){{"", 1}, {NULL, 0}});
        break;
    case OPTION_SIZE:
        put_between(&t, o, size_units);
        break;
    case OPTION_DURATION:
        put_between(&t, o, duration_units);
        break;
    }
    snprintf(out, OPTION_RANGE_BYTES, "%s", text_cstr(&t));
    text_free(&t);
}
