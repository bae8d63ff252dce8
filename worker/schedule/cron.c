/*
 * Cron lines: the parser, and the search for the next firing. The search walks local days, which
 * know nothing of clock changes; what makes a local time an instant is zone.c's.
 */
#include "schedule/cron.h"

#include <string.h>
#include <strings.h>

#include "schedule/zone.h"

#define MINUTE 60
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* 29 February comes after eight years at most (1896 to 1904, 2096 to 2104). */
#define SEARCH_DAYS (9 * 366)

struct field {
    const char *name;
    unsigned min, max;
    const char *names; /* three letters each, the first for the number names_from */
    unsigned names_from;
};

enum { MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS, FIELDS };

static const struct field fields[FIELDS] = {
    [MINUTES] = {"minute", 0, 59, NULL, 0},
    [HOURS] = {"hour", 0, 23, NULL, 0},
    [DAYS] = {"day of month", 1, 31, NULL, 0},
    [MONTHS] = {"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", 1},
    [WEEKDAYS] = {"day of week", 0, 7, "SUNMONTUEWEDTHUFRISAT", 0},
};

/* --- parsing --- */

static bool refuse(const struct field *field, struct str what, struct error *err)
{
    return error_set(err, ERROR_INPUT, "cron: %s \"%.*s\": %u to %u%s, *, ranges, lists and /steps",
                     field->name, what.len > 40 ? 40 : (int)what.len, what.data, field->min,
                     field->max, field->names != NULL ? ", names of three letters" : "");
}

static bool take(struct str *s, char c)
{
    if (s->len == 0 || s->data[0] != c) {
        return false;
    }
    s->data++;
    s->len--;
    return true;
}

static bool take_number(struct str *s, unsigned *out)
{
    size_t n = 0;
    uint64_t value;

    while (n < s->len && s->data[n] >= '0' && s->data[n] <= '9') {
        n++;
    }
    if (n == 0 || n > 4 || !str_to_u64((struct str){s->data, n}, &value)) {
        return false;
    }
    *out = (unsigned)value;
    s->data += n;
    s->len -= n;
    return true;
}

static bool take_value(struct str *s, const struct field *field, unsigned *out)
{
    if (take_number(s, out)) {
        return *out >= field->min && *out <= field->max;
    }
    for (size_t i = 0; field->names != NULL && field->names[i] != '\0' && s->len >= 3; i += 3) {
        if (strncasecmp(s->data, field->names + i, 3) == 0) {
            *out = field->names_from + (unsigned)(i / 3);
            s->data += 3;
            s->len -= 3;
            return true;
        }
    }
    return false;
}

/* One of a list's parts: *, a, a-b, each perhaps with /n. */
static bool take_part(struct str *s, const struct field *field, uint64_t *bits)
{
    unsigned first = field->min, last = field->max, step = 1;
    bool ranged = true;

    if (!take(s, '*')) {
        if (!take_value(s, field, &first)) {
            return false;
        }
        last = first;
        ranged = take(s, '-');
        if (ranged && (!take_value(s, field, &last) || last < first)) {
            return false;
        }
    }
    /* As in cron(8), a step needs something to step through. */
    if (take(s, '/') && (!ranged || !take_number(s, &step) || step == 0 || step > field->max)) {
        return false;
    }
    for (unsigned v = first; v <= last; v += step) {
        *bits |= UINT64_C(1) << v;
    }
    return true;
}

static bool parse_field(struct str text, const struct field *field, uint64_t *bits,
                        struct error *err)
{
    struct str rest = text;

    *bits = 0;
    do {
        if (!take_part(&rest, field, bits)) {
            return refuse(field, text, err);
        }
    } while (take(&rest, ','));
    return rest.len == 0 || refuse(field, text, err);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct str next_word(struct str *line)
{
    struct str word;

    while (line->len > 0 && is_blank(line->data[0])) {
        line->data++;
        line->len--;
    }
    word = (struct str){line->data, 0};
    while (line->len > 0 && !is_blank(line->data[0])) {
        line->data++;
        line->len--;
        word.len++;
    }
    return word;
}

bool cron_parse(struct cron *cron, struct str line, struct error *err)
{
    uint64_t bits[FIELDS];
    bool star[FIELDS];

    for (int i = 0; i < FIELDS; i++) {
        struct str word = next_word(&line);

        if (word.len == 0) {
            return error_set(err, ERROR_INPUT, "cron: five fields are needed, the %s is missing",
                             fields[i].name);
        }
        if (!parse_field(word, &fields[i], &bits[i], err)) {
            return false;
        }
        star[i] = word.data[0] == '*';
    }
    if (next_word(&line).len > 0) {
        return error_set(err, ERROR_INPUT, "cron: more than five fields");
    }

    cron->minutes = bits[MINUTES];
    cron->hours = (uint32_t)bits[HOURS];
    cron->days = (uint32_t)bits[DAYS];
    cron->months = (uint16_t)bits[MONTHS];
    cron->weekdays = (uint8_t)((bits[WEEKDAYS] | bits[WEEKDAYS] >> 7) & 0x7f);
    cron->any_hour = star[HOURS];
    cron->either_day = !star[DAYS] && !star[WEEKDAYS];
    return true;
}

void cron_set_time(struct cron *cron, unsigned hour, unsigned minute)
{
    cron->hours = UINT32_C(1) << hour;
    cron->minutes = UINT64_C(1) << minute;
    cron->any_hour = false;
}

/* --- the calendar --- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* Day 0 is 1 January 1970. The year is counted from March, so that a leap day comes last. */
static void civil_of(int64_t day, unsigned *month, unsigned *mday)
{
    int64_t shifted = day + 719468; /* from 1 March of the year 0 */
    int64_t in_era = shifted - floor_div(shifted, 146097) * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t from_march = (5 * in_year + 2) / 153;

    *mday = (unsigned)(in_year - (153 * from_march + 2) / 5 + 1);
    *month = (unsigned)(from_march < 10 ? from_march + 3 : from_march - 9);
}

static bool day_matches(const struct cron *cron, int64_t day)
{
    unsigned month, mday;
    unsigned weekday = (unsigned)(((day + 4) % 7 + 7) % 7); /* 1 January 1970 was a Thursday */

    civil_of(day, &month, &mday);
    if ((cron->months >> month & 1) == 0) {
        return false;
    }
    bool by_month = (cron->days >> mday & 1) != 0;
    bool by_week = (cron->weekdays >> weekday & 1) != 0;
    return cron->either_day ? by_month || by_week : by_month && by_week;
}

/* The first matching local minute at or after `local`. */
static bool next_local(const struct cron *cron, int64_t local, int64_t *out)
{
    int64_t minute = floor_div(local + MINUTE - 1, MINUTE);
    int64_t first_day = floor_div(minute, DAY / MINUTE);
    unsigned start = (unsigned)(minute - first_day * (DAY / MINUTE));

    for (int64_t day = first_day; day <= first_day + SEARCH_DAYS; day++, start = 0) {
        if (!day_matches(cron, day)) {
            continue;
        }
        for (unsigned m = start; m < DAY / MINUTE; m++) {
            if ((cron->hours >> m / 60 & 1) == 0) {
                m += 59 - m % 60;
            } else if ((cron->minutes >> m % 60 & 1) != 0) {
                *out = day * DAY + (int64_t)m * MINUTE;
                return true;
            }
        }
    }
    return false;
}

/* --- instants --- */

/* By the clock, interval by interval of one offset. */
static bool next_by_clock(const struct cron *cron, int64_t from, int64_t *next)
{
    int64_t local, change;

    for (;;) {
        int64_t offset = zone_offset(from);

        if (!next_local(cron, from + offset, &local)) {
            return false;
        }
        *next = local - offset;
        if (!zone_next_change(from, *next, &change)) {
            return true;
        }
        from = change;
    }
}

bool cron_next(const struct cron *cron, const char *name, int64_t after, int64_t *next)
{
    struct zone zone;
    bool found;

    zone_use(&zone, name);
    if (cron->any_hour) {
        found = next_by_clock(cron, after + 1, next);
    } else {
        int64_t local;
        found = next_local(cron, zone_reached(after) + 1, &local);
        if (found) {
            *next = zone_first(local);
        }
    }
    zone_restore(&zone);
    return found;
}
