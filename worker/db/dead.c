/* The hash is taken by the database, so that a row put there by hand is found as well. */
#include "db/dead.h"

bool db_dead_add(struct pg *pg, const struct db_dead *dead, size_t n, struct error *err)
{
    struct pg_array *reasons = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *details = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *elements = pg_array_create(PG_BYTEA_ARRAY);
    struct pg_args *args = pg_args_create();
    bool ok;

    for (size_t i = 0; i < n; i++) {
        pg_array_str(reasons, str_of(dead[i].reason));
        pg_array_str(details, str_of(dead[i].detail));
        pg_array_str(elements, dead[i].element);
    }
    pg_arg_array(args, reasons);
    pg_arg_array(args, details);
    pg_arg_array(args, elements);
    ok = pg_exec(pg,
                 "INSERT INTO study.dead_event (reason, detail, element, element_sha)"
                 " SELECT n.reason, n.detail, n.element, sha256(n.element)"
                 " FROM unnest($1::text[], $2::text[], $3::bytea[]) AS n(reason, detail, element)"
                 " WHERE NOT study.is_forgotten(n.element)"
                 " ORDER BY 4 ON CONFLICT DO NOTHING",
                 args, NULL, err);
    pg_args_destroy(&args);
    pg_array_destroy(&reasons);
    pg_array_destroy(&details);
    pg_array_destroy(&elements);
    return ok;
}
