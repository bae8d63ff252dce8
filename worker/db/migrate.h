/*
 * Bringing the schema up to date with the migrations that travel in the program. Each runs in a
 * transaction of its own and is recorded in study.migration with its SHA-256; a session lock makes
 * two runs at once follow one another. The cluster's roles come first, since migrations grant to
 * them; views are made anew after the last.
 */
#ifndef STUDY_DB_MIGRATE_H
#define STUDY_DB_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/embedded.h"
#include "base/error.h"
#include "io/pg.h"

enum migration_state {
    MIGRATION_APPLIED, /* before */
    MIGRATION_PENDING,
    MIGRATION_DONE, /* by this run */
};

struct migration {
    const struct embedded_file *file;
    enum migration_state state;
};

struct migrations {
    struct migration *list; /* in order; views.sql and roles.sql are not among them */
    size_t count;
    int unknown;     /* recorded in the database, not in this program: it is the older of the two */
    bool roles_made; /* by this run */
};

void migrations_free(struct migrations *m);

/*
 * What is recorded and what is not; changes nothing. A recorded file whose content is now another
 * is ERROR_CONFIG. A database without the schema has everything pending.
 */
bool migrate_look(struct pg *pg, struct migrations *m, struct error *err);

/*
 * Applies what is pending. Roles that are missing and may not be made by us are ERROR_CONFIG with
 * what to run. limit_ms: of a statement, waiting for another run included.
 */
bool migrate_run(struct pg *pg, int64_t limit_ms, struct migrations *m, struct error *err);

#endif
