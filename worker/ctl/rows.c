/* The common part of the listing commands. */
#include "ctl/rows.h"

#include <stdio.h>

struct grid *rows_take(bool ok, struct pg_result **res)
{
    struct grid *grid = ok ? grid_of(*res) : NULL;

    pg_result_destroy(res);
    return grid;
}

enum ctl_status rows_print(const struct ctl *ctl, bool ok, struct pg_result *res,
                           const struct error *err)
{
    struct grid *grid = rows_take(ok, &res);

    if (grid == NULL) {
        return ctl_fail(err);
    }
    enum ctl_status status = out_rows(ctl, grid);
    grid_destroy(&grid);
    return status;
}

bool rows_filter(const struct ctl *ctl, const char *states, struct inspect_filter *filter)
{
    *filter = (struct inspect_filter){ctl->team, ctl->state, ctl->limit, ctl->show_text};
    if (ctl->state != NULL && !str_one_of(str_of(ctl->state), states)) {
        fprintf(stderr, "studyctl: --state %s: expected one of %s\n", ctl->state, states);
        return false;
    }
    return true;
}

bool rows_id(const struct ctl *ctl, int64_t *id)
{
    uint64_t n;

    if (!str_to_u64(str_of(ctl->args[0]), &n) || n > INT64_MAX) {
        fprintf(stderr, "studyctl: %s is not a row's number\n", ctl->args[0]);
        return false;
    }
    *id = (int64_t)n;
    return true;
}

enum ctl_status rows_none(const char *what, const char *which)
{
    fprintf(stderr, "studyctl: there is no %s %s\n", what, which);
    return CTL_FAILED;
}
