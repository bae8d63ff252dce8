/* Inside io: what pg.c reads out of the parameters that pg_args.c gathers. */
#ifndef STUDY_IO_PG_ARGS_H
#define STUDY_IO_PG_ARGS_H

#include <stdint.h>

#include "io/pg.h"

struct pg_args {
    int count;
    const char *problem; /* what makes them unusable: ERROR_INPUT at pg_exec */
    unsigned types[PG_ARGS_MAX];
    const char *values[PG_ARGS_MAX];
    int lengths[PG_ARGS_MAX];
    int formats[PG_ARGS_MAX];
    uint64_t words[PG_ARGS_MAX]; /* values of fixed width */
    char *copies[PG_ARGS_MAX];   /* values of ours */
};

#endif
