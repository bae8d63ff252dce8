/*
 * All that is held of one member, table by table, for the member: texts too. The parts are read in
 * one transaction that sees one moment.
 */
#ifndef STUDY_DB_EXPORT_H
#define STUDY_DB_EXPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "io/pg.h"

struct export_part {
    const char *name; /* of the object's member in JSON, of the file in CSV */
    const char *sql;
};
extern const struct export_part export_parts[]; /* the first is the member's row: one, or none */
extern const size_t export_parts_count;

bool export_begin(struct pg *pg, struct error *err);
bool export_read(struct pg *pg, const struct export_part *part, const char *team_id,
                 const char *user_id, struct pg_result **res, struct error *err);
void export_end(struct pg *pg);

/* The member's request, if there is one, is answered: the data was handed out. */
bool export_handed_out(struct pg *pg, const char *team_id, const char *user_id, struct error *err);

#endif
