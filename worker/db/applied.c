/* One statement; what it returns comes back in no promised order, so it is looked up. */
#include "db/applied.h"

#include <stdlib.h>
#include <string.h>

static int by_bytes(const void *a, const void *b)
{
    const struct str *x = a, *y = b;

    return str_cmp(*x, *y);
}

static void mark_fresh(const struct pg_result *res, const struct str *identities, size_t n,
                       bool *fresh)
{
    for (int i = 0; i < pg_rows(res); i++) {
        struct str identity = pg_str(res, i, 0);
        const struct str *found = bsearch(&identity, identities, n, sizeof(*identities), by_bytes);

        if (found != NULL) {
            while (found > identities && str_eq(found[-1], identity)) {
                found--;
            }
            fresh[found - identities] = true;
        }
    }
}

bool db_applied_claim(struct pg *pg, const struct str *identities, size_t n, bool *fresh,
                      struct error *err)
{
    struct pg_array *array = pg_array_create(PG_TEXT_ARRAY);
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    memset(fresh, 0, n * sizeof(*fresh));
    for (size_t i = 0; i < n; i++) {
        pg_array_str(array, identities[i]);
    }
    pg_arg_array(args, array);
    ok = pg_exec(pg,
                 "INSERT INTO study.applied (identity) SELECT unnest($1::text[])"
                 " ON CONFLICT DO NOTHING RETURNING identity",
                 args, &res, err);
    if (ok) {
        mark_fresh(res, identities, n, fresh);
        pg_result_destroy(&res);
    }
    pg_args_destroy(&args);
    pg_array_destroy(&array);
    return ok;
}
