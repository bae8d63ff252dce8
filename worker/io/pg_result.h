/* Inside io: pg.c hands libpq's result over to pg_result.c. */
#ifndef STUDY_IO_PG_RESULT_H
#define STUDY_IO_PG_RESULT_H

#include <libpq-fe.h>

#include "io/pg.h"

struct pg_result *pg_result_wrap(PGresult *raw); /* takes it over */

#endif
