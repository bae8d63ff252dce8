/* doctor: the database, and work in it that stands still. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/doctor.h"
#include "db/checkup.h"
#include "db/inspect.h"
#include "db/migrate.h"

#define AREA            "postgres"
#define WORK            "work"
#define ROW_LIMIT       100
#define OLDEST_WARN_S   600
#define CONNECTIONS_MAX 80 /* per cent */

static void check_durable(struct doctor *d, const struct pg_result *r)
{
    struct str synchronous = pg_str(r, 0, CS_SYNCHRONOUS);
    bool durable =
        !str_one_of(synchronous, "off|local|false") && str_is(pg_str(r, 0, CS_FSYNC), "on");

    doctor_find(d, durable ? FINDING_OK : FINDING_WARN, AREA, "durability",
                durable ? ""
                        : "synchronous_commit = on, fsync = on: an event leaves Redis when it is "
                          "committed here",
                "synchronous_commit %.*s, fsync %.*s", STR_ARG(synchronous),
                STR_ARG(pg_str(r, 0, CS_FSYNC)));
    if (pg_bool(r, 0, CS_STANDBY) || pg_bool(r, 0, CS_READ_ONLY)) {
        doctor_find(d, FINDING_FAIL, AREA, "writable",
                    "[postgres] conninfo with target_session_attrs=read-write, or promote it",
                    "it takes no writes: %s",
                    pg_bool(r, 0, CS_STANDBY) ? "a standby" : "read-only");
    } else {
        doctor_find(d, FINDING_OK, AREA, "writable", "", "a primary");
    }
}

/* Nobody whose words are there can have them erased. */
static void check_quoting(struct doctor *d, const struct pg_result *r)
{
    char *login = pg_dup(r, 0, CS_QUOTING);

    if (login == NULL) {
        doctor_find(d, FINDING_OK, AREA, "log", "", "refused rows are not quoted in it");
    } else {
        doctor_find(d, FINDING_WARN, AREA, "log",
                    "ALTER ROLE \"study-worker\" SET log_error_verbosity = terse, as a superuser; "
                    "then start the worker anew",
                    "of a row that it refuses %s, PostgreSQL's log quotes what a member wrote",
                    login);
    }
    free(login);
}

static void check_server(struct doctor *d, struct pg *pg)
{
    struct pg_result *r = NULL;
    int64_t before = clock_wall_ms();
    struct error err;

    if (!checkup_server(pg, &r, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "server", "", "%s", err.text);
        return;
    }
    int64_t after = clock_wall_ms();
    bool old = pg_int(r, 0, CS_OLDEST_S) > OLDEST_WARN_S;
    bool full = pg_int(r, 0, CS_CONNECTIONS) > CONNECTIONS_MAX;

    doctor_find(d, FINDING_OK, AREA, "server", "", "version %.*s, %" PRId64 " MiB, %.*s",
                STR_ARG(pg_str(r, 0, CS_VERSION)), pg_int(r, 0, CS_BYTES) >> 20,
                STR_ARG(pg_str(r, 0, CS_ENCODING)));
    check_durable(d, r);
    doctor_find(d, old ? FINDING_WARN : FINDING_OK, AREA, "transactions",
                old ? "pg_stat_activity: who? Such a one keeps vacuum from its work" : "",
                "the oldest that we may see is open for %" PRId64 " s", pg_int(r, 0, CS_OLDEST_S));
    doctor_find(d, full ? FINDING_WARN : FINDING_OK, AREA, "connections",
                full ? "raise max_connections, or find who holds them" : "",
                "%" PRId64 " %% of max_connections in use", pg_int(r, 0, CS_CONNECTIONS));
    check_quoting(d, r);
    doctor_clock(d, "PostgreSQL", pg_int(r, 0, CS_CLOCK_US) / 1000 - (before + after) / 2,
                 (after - before) / 2);
    pg_result_destroy(&r);
}

/* False: there is no schema to look at. */
static bool check_schema(struct doctor *d, struct pg *pg)
{
    struct migrations m;
    struct error err;
    size_t pending = 0;

    if (!migrate_look(pg, &m, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "migrations",
                    err.kind == ERROR_CONFIG
                        ? "the database was made by another build; nothing but a "
                          "new migration changes what is applied"
                        : "",
                    "%s", err.text);
        return false;
    }
    for (size_t i = 0; i < m.count; i++) {
        pending += m.list[i].state == MIGRATION_PENDING;
    }
    bool none = pending == m.count;
    if (pending > 0) {
        doctor_find(d, FINDING_FAIL, AREA, "migrations",
                    "studyctl migrate, as the database's owner", "%zu of %zu are pending", pending,
                    m.count);
    } else if (m.unknown > 0) {
        doctor_find(d, FINDING_WARN, AREA, "migrations", "install this version everywhere",
                    "the database has %d newer than this program", m.unknown);
    } else {
        doctor_find(d, FINDING_OK, AREA, "migrations", "", "all %zu are applied", m.count);
    }
    migrations_free(&m);
    return !none;
}

static void check_rights(struct doctor *d, struct pg *pg)
{
    struct pg_result *r = NULL;
    struct error err;

    if (!checkup_rights(pg, &r, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "rights", "", "%s", err.text);
        return;
    }
    for (int row = 0; row < pg_rows(r); row++) {
        doctor_find(d, FINDING_FAIL, AREA, "rights",
                    "studyctl migrate; CREATE ROLE \"study-worker\" LOGIN IN ROLE study_worker",
                    "%.*s", STR_ARG(pg_str(r, row, 1)));
    }
    if (pg_rows(r) == 0) {
        doctor_find(d, FINDING_OK, AREA, "rights", "",
                    "the worker's role and ours reach every table");
    }
    pg_result_destroy(&r);
}

void doctor_postgres(struct doctor *d)
{
    struct pg *pg = doctor_ctl(d)->pg;
    struct error err;

    if (!pg_connect(pg, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "server",
                    err.kind == ERROR_CONFIG
                        ? "PostgreSQL 15 or newer"
                        : "is it running? [postgres] conninfo; the role of whoever runs studyctl",
                    "%s", err.text);
        return;
    }
    check_server(d, pg);
    if (check_schema(d, pg)) {
        check_rights(d, pg);
    }
}

/* ---- work that stands still ---- */

static void check_paused(struct doctor *d, struct pg *pg)
{
    struct pg_result *r = NULL;
    struct error err;

    if (!inspect_pauses(pg, &r, &err)) {
        return; /* told of already */
    }
    for (int row = 0; row < pg_rows(r) && row < ROW_LIMIT; row++) {
        struct str team = pg_str(r, row, 1);

        doctor_find(d, FINDING_WARN, WORK, "pause", "studyctl resume, when it is no more wanted",
                    "%.*s is paused%s%.*s since %.16s: %.*s", STR_ARG(pg_str(r, row, 0)),
                    team.len > 0 ? " for " : "", STR_ARG(team), pg_str(r, row, 3).data,
                    STR_ARG(pg_str(r, row, 2)));
    }
    pg_result_destroy(&r);
}

static void count(struct doctor *d, const struct pg_result *r, enum checkup_work which,
                  enum finding bad, int64_t most, const char *what, const char *remedy,
                  const char *said)
{
    int64_t n = pg_int(r, 0, which);

    doctor_find(d, n > most ? bad : FINDING_OK, WORK, what, n > most ? remedy : "",
                "%" PRId64 " %s", n, said);
}

void doctor_work(struct doctor *d)
{
    struct pg *pg = doctor_ctl(d)->pg;
    struct pg_result *r = NULL;
    struct error err;

    if (!checkup_work(pg, &r, &err)) {
        doctor_find(d, FINDING_UNKNOWN, WORK, "rows", "", "%s", err.text);
        return;
    }
    check_paused(d, pg);
    if (strcmp(config_string(doctor_ctl(d)->config, "deliver", "mode"), "live") != 0) {
        doctor_find(d, FINDING_WARN, WORK, "rehearsal",
                    "[deliver] mode = live, once you are content",
                    "nothing is sent: [deliver] mode is not live");
    }
    count(d, r, CW_DEAD, FINDING_WARN, 0, "dead events", "studyctl dead ls: each has its reason",
          "elements could not be stored");
    count(d, r, CW_PARKED, FINDING_WARN, 0, "parked replies",
          "studyctl outbox ls --state parked; then retry, or leave them",
          "replies wait for somebody to decide");
    count(d, r, CW_FAILED, FINDING_WARN, 0, "failed replies",
          "studyctl outbox ls --state failed: each has its error", "replies failed within a day");
    count(d, r, CW_DOUBTFUL_OLD, FINDING_FAIL, 0, "doubtful replies",
          "studyctl outbox show ID; is deliver running, and im:history granted?",
          "replies are in doubt for longer than an hour");
    count(d, r, CW_UNSENT_OLD_S, FINDING_FAIL, OLDEST_WARN_S, "oldest due reply",
          "is deliver running? studyctl trace its number", "s behind its time");
    count(d, r, CW_LANES_STOPPED, FINDING_WARN, 0, "stopped lanes",
          "studyctl status tells which; they are tried again once a day",
          "members or channels that nothing can be sent to");
    count(d, r, CW_UNNOTICED, FINDING_WARN, 0, "notices",
          "studyctl outbox ls: did their notice fail? Without it there is no digest",
          "members wait for their privacy notice for longer than an hour");
    count(d, r, CW_DIGESTS_LATE, FINDING_FAIL, 0, "late digests",
          "is digest running, or paused? studyctl digest ls --state pending",
          "digests are past their deadline");
    count(d, r, CW_FIRINGS_LATE, FINDING_FAIL, 0, "late firings",
          "is schedule running? studyctl schedule firings",
          "firings wait for longer than 10 minutes");
    doctor_find(d, pg_int(r, 0, CW_SCHEDULES) > 0 ? FINDING_OK : FINDING_WARN, WORK, "schedules",
                pg_int(r, 0, CW_SCHEDULES) > 0 ? "" : "studyctl schedule ls", "%" PRId64 " fire",
                pg_int(r, 0, CW_SCHEDULES));
    pg_result_destroy(&r);
}
