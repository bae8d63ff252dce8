/*
 * Migrations. The lock is a session's and not a transaction's, for each migration has a transaction
 * of its own; it ends with the connection, whatever happens to us.
 */
#include "db/migrate.h"

#include <stdlib.h>
#include <string.h>

/* "study" in ASCII: one number for everybody who migrates. */
#define LOCK_KEY "500135260281"

static bool is_migration(const struct embedded_file *file)
{
    return file->name[0] >= '0' && file->name[0] <= '9';
}

static const struct embedded_file *extra_file(const char *name)
{
    for (size_t i = 0; i < embedded_sql_count; i++) {
        if (strcmp(embedded_sql[i].name, name) == 0) {
            return &embedded_sql[i];
        }
    }
    return NULL;
}

void migrations_free(struct migrations *m)
{
    free(m->list);
    *m = (struct migrations){.list = NULL};
}

static void list_all(struct migrations *m)
{
    *m = (struct migrations){.list = calloc(embedded_sql_count + 1, sizeof(*m->list))};
    if (m->list == NULL) {
        abort();
    }
    for (size_t i = 0; i < embedded_sql_count; i++) {
        if (is_migration(&embedded_sql[i])) {
            m->list[m->count++] = (struct migration){&embedded_sql[i], MIGRATION_PENDING};
        }
    }
}

static bool is_true(struct pg *pg, const char *sql, bool *yes, struct error *err)
{
    struct pg_result *res;

    if (!pg_exec(pg, sql, NULL, &res, err)) {
        return false;
    }
    *yes = pg_rows(res) == 1 && pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    return true;
}

/* PostgreSQL reckons the digests: one implementation, on the side that keeps them. */
static bool compare(struct pg *pg, struct migration *migration, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_cstr(args, migration->file->name);
    pg_arg_bytes(args, (struct str){migration->file->data, migration->file->len});
    bool ok = pg_exec(pg, "SELECT checksum = sha256($2) FROM study.migration WHERE name = $1", args,
                      &res, err);
    if (ok && pg_rows(res) == 1) {
        migration->state = MIGRATION_APPLIED;
        if (!pg_bool(res, 0, 0)) {
            ok = error_set(err, ERROR_CONFIG,
                           "%s was applied with another content; an applied migration is never "
                           "changed, a new one follows it",
                           migration->file->name);
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

static bool count_recorded(struct pg *pg, struct migrations *m, struct error *err)
{
    struct pg_result *res;

    if (!pg_exec(pg, "SELECT count(*) FROM study.migration", NULL, &res, err)) {
        return false;
    }
    m->unknown = (int)pg_int(res, 0, 0);
    pg_result_destroy(&res);
    for (size_t i = 0; i < m->count; i++) {
        m->unknown -= m->list[i].state == MIGRATION_APPLIED;
    }
    return true;
}

bool migrate_look(struct pg *pg, struct migrations *m, struct error *err)
{
    bool recorded;

    list_all(m);
    if (!is_true(pg, "SELECT to_regclass('study.migration') IS NOT NULL", &recorded, err)) {
        goto fail;
    }
    if (!recorded) {
        return true;
    }
    for (size_t i = 0; i < m->count; i++) {
        if (!compare(pg, &m->list[i], err)) {
            goto fail;
        }
    }
    if (!count_recorded(pg, m, err)) {
        goto fail;
    }
    return true;

fail:
    migrations_free(m);
    return false;
}

/* ---- changing things ---- */

/* Whoever uses the table next stands in line behind a lock that is waited for: workers that are at
 * it do not wait for as long as a dump reads. */
static const char patience_sql[] = "SET LOCAL lock_timeout = '10s'";

static bool in_transaction(struct pg *pg, const struct embedded_file *file, bool record,
                           struct error *err)
{
    struct pg_args *args = pg_args_create();

    bool ok = pg_begin(pg, err) && pg_script(pg, patience_sql, err) &&
              pg_script(pg, file->data, err);
    if (ok && record) {
        pg_arg_cstr(args, file->name);
        pg_arg_bytes(args, (struct str){file->data, file->len});
        ok = pg_exec(pg, "INSERT INTO study.migration (name, checksum) VALUES ($1, sha256($2))",
                     args, NULL, err);
    }
    ok = ok && pg_commit(pg, err);
    pg_args_destroy(&args);
    if (!ok) {
        pg_rollback(pg);
        error_wrap(err, "%s", file->name);
    }
    return ok;
}

static bool make_roles(struct pg *pg, struct migrations *m, struct error *err)
{
    const struct embedded_file *roles = extra_file("roles.sql");
    bool there, may;

    if (!is_true(pg,
                 "SELECT count(*) = 3 FROM pg_catalog.pg_roles"
                 " WHERE rolname IN ('study_worker', 'study_ctl', 'study_read')",
                 &there, err) ||
        !is_true(pg,
                 "SELECT rolcreaterole OR rolsuper FROM pg_catalog.pg_roles"
                 " WHERE rolname = current_user",
                 &may, err)) {
        return false;
    }
    if (there || roles == NULL) {
        return true;
    }
    if (!may) {
        return error_set(err, ERROR_CONFIG,
                         "the roles study_worker, study_ctl and study_read are missing, and this "
                         "login may not create roles; let an administrator run once: "
                         "studyctl migrate --print roles.sql | psql");
    }
    m->roles_made = true;
    return in_transaction(pg, roles, false, err);
}

static bool make_record(struct pg *pg, struct error *err)
{
    static const char sql[] =
        "CREATE SCHEMA IF NOT EXISTS study;"
        "CREATE TABLE IF NOT EXISTS study.migration ("
        "    name       text PRIMARY KEY CHECK (length(name) <= 200),"
        "    checksum   bytea NOT NULL CHECK (octet_length(checksum) = 32),"
        "    applied_at timestamptz NOT NULL DEFAULT now());"
        "GRANT USAGE ON SCHEMA study TO study_worker, study_ctl, study_read;"
        "GRANT SELECT ON study.migration TO study_worker, study_ctl, study_read";
    bool there;

    /* A login that may only change the tables it owns has no need to create a schema again. */
    if (!is_true(pg, "SELECT to_regclass('study.migration') IS NOT NULL", &there, err)) {
        return false;
    }
    return there || pg_script(pg, sql, err);
}

static bool apply_pending(struct pg *pg, struct migrations *m, struct error *err)
{
    const struct embedded_file *views = extra_file("views.sql");

    for (size_t i = 0; i < m->count; i++) {
        struct migration *migration = &m->list[i];
        if (migration->state == MIGRATION_PENDING) {
            if (!in_transaction(pg, migration->file, true, err)) {
                return false;
            }
            migration->state = MIGRATION_DONE;
        }
    }
    /* The views of a newer program suit its schema; ours might not. */
    return views == NULL || m->unknown > 0 || in_transaction(pg, views, false, err);
}

bool migrate_run(struct pg *pg, int64_t limit_ms, struct migrations *m, struct error *err)
{
    *m = (struct migrations){.list = NULL};
    if (!pg_connect(pg, err)) {
        return false;
    }
    pg_set_deadline(pg, limit_ms);
    if (!pg_exec(pg, "SELECT pg_advisory_lock(" LOCK_KEY ")", NULL, NULL, err)) {
        return error_wrap(err, "waiting for another migration");
    }
    bool ok = make_roles(pg, m, err);
    bool roles_made = m->roles_made;

    ok = ok && make_record(pg, err) && migrate_look(pg, m, err) && apply_pending(pg, m, err);
    m->roles_made = roles_made;
    /* What failed may have taken the connection, and the lock with it. */
    if (pg_is_connected(pg)) {
        struct error ignored;
        pg_exec(pg, "SELECT pg_advisory_unlock(" LOCK_KEY ")", NULL, NULL, &ignored);
    }
    if (!ok) {
        migrations_free(m);
    }
    return ok;
}
