/* Gathering the findings, and the clocks among them; see doctor_*.c for the areas. */
#include "ctl/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "ctl/output.h"

#define FINDINGS_MAX  400
#define CLOCK_WARN_MS 2000
#define CLOCK_FAIL_MS 120000 /* nginx refuses what is signed five minutes off */

struct found {
    enum finding finding;
    const char *area, *what;
    char *said, *remedy;
};

struct doctor {
    struct ctl *ctl;
    size_t count;
    size_t of[4]; /* by finding */
    struct found found[FINDINGS_MAX];
};

static const char *const words[] = {
    [FINDING_OK] = "ok",
    [FINDING_UNKNOWN] = "unknown",
    [FINDING_WARN] = "warn",
    [FINDING_FAIL] = "fail",
};

struct ctl *doctor_ctl(struct doctor *d)
{
    return d->ctl;
}

void doctor_find(struct doctor *d, enum finding finding, const char *area, const char *what,
                 const char *remedy, const char *fmt, ...)
{
    struct found *f = &d->found[d->count];
    va_list ap;

    d->of[finding]++;
    if (d->count == FINDINGS_MAX) {
        return;
    }
    d->count++;
    *f = (struct found){finding, area, what, NULL, str_dup(str_of(remedy))};
    va_start(ap, fmt);
    if (vasprintf(&f->said, fmt, ap) < 0) {
        abort();
    }
    va_end(ap);
}

/* ---- clocks ---- */

void doctor_clock(struct doctor *d, const char *whose, int64_t ahead_ms, int64_t unsure_ms)
{
    int64_t off = ahead_ms < 0 ? -ahead_ms : ahead_ms;

    off = off > unsure_ms ? off - unsure_ms : 0;
    doctor_find(d,
                off >= CLOCK_FAIL_MS   ? FINDING_FAIL
                : off >= CLOCK_WARN_MS ? FINDING_WARN
                                       : FINDING_OK,
                "clocks", whose,
                off >= CLOCK_WARN_MS
                    ? "timedatectl on both machines: is NTP on? Slack's requests are "
                      "refused five minutes off, and firings go by PostgreSQL's clock"
                    : "",
                "%.1f s %s this machine's", (double)(ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000,
                ahead_ms < 0 ? "behind" : "ahead of");
}

/* RFC 9110: "Sun, 22 Nov 2026 18:42:32 GMT"; whole seconds, and as old as the answer's way. */
void doctor_date(struct doctor *d, const char *whose, const char *date, double seconds)
{
    struct tm tm = {0};
    const char *end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm);

    if (end == NULL || *end != '\0') {
        return;
    }
    doctor_clock(d, whose, timegm(&tm) * 1000 - clock_wall_ms(), 1000 + (int64_t)(seconds * 1000));
}

/* ---- telling ---- */

static void print_found(const struct found *f)
{
    static const char *const marks[] = {[FINDING_OK] = "ok  ",
                                        [FINDING_UNKNOWN] = "?   ",
                                        [FINDING_WARN] = "warn",
                                        [FINDING_FAIL] = "FAIL"};

    printf("%s  %s: %s: %s\n", marks[f->finding], f->area, f->what, f->said);
    if (f->remedy[0] != '\0') {
        printf("      -> %s\n", f->remedy);
    }
}

static enum ctl_status print_json(const struct doctor *d)
{
    struct json_writer *w = out_json_writer();

    json_object_begin(w);
    for (int i = 0; i < 4; i++) {
        json_put_kint(w, words[i], (int64_t)d->of[i]);
    }
    json_put_key(w, "checks");
    json_array_begin(w);
    for (size_t i = 0; i < d->count; i++) {
        const struct found *f = &d->found[i];

        json_object_begin(w);
        json_put_kcstr(w, "area", f->area);
        json_put_kcstr(w, "check", f->what);
        json_put_kcstr(w, "finding", words[f->finding]);
        json_put_kcstr(w, "said", f->said);
        json_put_kcstr(w, "remedy", f->remedy);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static enum ctl_status print_all(const struct doctor *d)
{
    if (d->ctl->json) {
        return print_json(d);
    }
    for (size_t i = 0; i < d->count; i++) {
        print_found(&d->found[i]);
    }
    printf("\n%zu ok, %zu unknown, %zu warning%s, %zu failure%s\n", d->of[FINDING_OK],
           d->of[FINDING_UNKNOWN], d->of[FINDING_WARN], d->of[FINDING_WARN] == 1 ? "" : "s",
           d->of[FINDING_FAIL], d->of[FINDING_FAIL] == 1 ? "" : "s");
    return CTL_OK;
}

static enum ctl_status run_doctor(struct ctl *ctl)
{
    static void (*const areas[])(struct doctor *) = {
        doctor_files,  doctor_redis, doctor_postgres, doctor_work,
        doctor_worker, doctor_slack, doctor_model,    doctor_nginx,
    };
    struct doctor *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        abort();
    }
    d->ctl = ctl;
    for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
        areas[i](d);
    }
    enum ctl_status status = print_all(d);
    if (d->of[FINDING_FAIL] > 0) {
        status = CTL_FAILED;
    }
    for (size_t i = 0; i < d->count; i++) {
        free(d->found[i].said);
        free(d->found[i].remedy);
    }
    free(d);
    return status;
}

const struct ctl_command cmd_doctor_commands[] = {
    {"doctor", "", 0, 0, "US",
     "Examines everything that the pipeline rests on, and says of each fault what to do.\n\n"
     "Settings and the permissions of secrets; Redis (version, append-only file, eviction, memory, "
     "rights); PostgreSQL (version, migrations, rights, durability); clocks; Slack (token and "
     "rights "
     "of each workspace); the model's server (its list of models, which costs nothing); the "
     "worker's "
     "processes; and work that stands still. Every wait is limited.\n\n"
     "With --url and --signing-secret-file it signs an event of its own, of a channel that there "
     "is "
     "not, sends it through nginx and waits until it is applied: it changes nothing, and leaves "
     "one "
     "row that retention takes. URL is where nginx answers, with or without the path "
     "/slack/events. "
     "Exit status 1 when a check failed; warnings do not count.",
     true, run_doctor},
    {0},
};
