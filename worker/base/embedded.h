/*
 * Files that travel inside the programs, put there by worker/embed.sh: an installed worker needs no
 * script directory, and cannot meet scripts of another version.
 *
 * Each worker/ingest/NAME.lua is `lua_NAME`, NUL-terminated; who runs it declares it:
 *     extern const char lua_fetch[];
 * The files of sql/ stand in one table: the migrations NNNN_*.sql in order of their names, then
 * views.sql, then roles.sql.
 */
#ifndef STUDY_BASE_EMBEDDED_H
#define STUDY_BASE_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name; /* "0001_tables.sql" */
    const char *data; /* NUL-terminated */
    size_t len;       /* without the NUL */
};

extern const struct embedded_file embedded_sql[];
extern const size_t embedded_sql_count;

#endif
