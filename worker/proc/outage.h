/* Something that is away is said once, and once when it is back. */
#ifndef STUDY_PROC_OUTAGE_H
#define STUDY_PROC_OUTAGE_H

#include <stdbool.h>

#include "base/error.h"

struct outage {
    const char *what; /* "PostgreSQL", a server's name */
    bool on;
};

void outage_begin(struct outage *outage, const struct error *why);
void outage_end(struct outage *outage);

#endif
