/*
 * The hosts of a connection string that names several. libpq goes from one to the next only when it
 * is refused: a host that says nothing would take up the whole of every attempt. So one that ends
 * in a time-out is followed by one that begins with the next host, and so is the next connection.
 */
#ifndef STUDY_IO_PG_HOSTS_H
#define STUDY_IO_PG_HOSTS_H

#include <stdbool.h>

#include "base/error.h"

#define PG_HOSTS_MAX 3

struct pg_hosts {
    const char *names[PG_HOSTS_MAX]; /* libpq's keywords, which go behind the connection string */
    char *values[PG_HOSTS_MAX];      /* each a comma-separated list */
    int count;
    unsigned hosts; /* that there are */
};

/* Its lists, beginning with item `first`, which may be past their end. False (ERROR_CONFIG): the
 * string cannot be read; there are no lists then. */
bool pg_hosts_read(struct pg_hosts *hosts, const char *conninfo, unsigned first, struct error *err);
void pg_hosts_free(struct pg_hosts *hosts);

#endif
