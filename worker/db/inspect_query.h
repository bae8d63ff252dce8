/* Shared by the inspect files: run a statement and free its parameters. */
#ifndef STUDY_DB_INSPECT_QUERY_H
#define STUDY_DB_INSPECT_QUERY_H

#include "io/pg.h"

bool inspect_query(struct pg *pg, const char *sql, struct pg_args *args, struct pg_result **res,
                   struct error *err);

#endif
