/*
 * What a group has reached is kept here only: a process that dies leaves it to the next one, which
 * begins that group anew.
 */
#include "proc/forgetting.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/forget.h"

#define LOOK_MS   1000  /* for new ones, while none is open */
#define STEP_MS   250   /* between two steps */
#define BUDGET_MS 200   /* of a turn, for rows */
#define RETRY_MS  15000 /* of what did not go */

struct forgetting {
    struct catchup *catchup;
    int64_t at_ms;
    bool open;                /* when looked at last */
    struct forget_open tried; /* the last one */
    int64_t group;            /* 0: none */
    struct catchup_progress *progress;
    bool passed, said;
};

struct forgetting *forgetting_create(struct catchup *catchup)
{
    struct forgetting *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        abort();
    }
    f->catchup = catchup;
    return f;
}

static void drop_group(struct forgetting *f)
{
    if (f->progress != NULL) {
        catchup_end(&f->progress);
    }
    f->group = 0;
    f->passed = f->said = false;
}

void forgetting_destroy(struct forgetting **forgetting)
{
    if (*forgetting == NULL) {
        return;
    }
    drop_group(*forgetting);
    free(*forgetting);
    *forgetting = NULL;
}

/* *busy: there is more that could be done at once. */
static bool erase(struct forgetting *f, struct pg *pg, bool *busy, struct error *err)
{
    struct forget_open list[FORGET_OPEN_MAX];
    int64_t ends = clock_boot_ms() + BUDGET_MS;
    size_t count;

    if (!forget_list_open(pg, &f->tried, list, &count, err)) {
        return false;
    }
    f->open = count > 0;
    for (size_t i = 0; i < count && !list[i].rows_gone; i++) {
        int64_t left = ends - clock_boot_ms();
        bool gone;

        if (left <= 0) {
            *busy = true;
            break;
        }
        f->tried = list[i];
        if (!forget_erase(pg, list[i].team_id, list[i].user_id, left, &gone, err)) {
            return false;
        }
        if (gone) {
            log_info("the rows of a forgotten member are gone");
        }
    }
    return true;
}

/* The accept logs of the group; *wait_ms: until the next step. */
static bool logs(struct forgetting *f, struct pg *pg, int64_t *wait_ms, struct error *err)
{
    char why[256] = "";
    int64_t count;
    bool yes;

    if (f->group == 0) {
        if (!forget_group(pg, &f->group, err)) {
            return false;
        }
        if (f->group == 0) {
            return true;
        }
        f->progress = catchup_begin(f->catchup, true);
    }
    if (!f->passed && !catchup_look(f->catchup, f->progress, &f->passed, err)) {
        return false;
    }
    if (!f->passed) {
        return true;
    }
    if (!catchup_rewrite(f->catchup, f->progress, &yes, why, err)) {
        return false;
    }
    if (why[0] != '\0') {
        if (!f->said) {
            log_warn("forgetting a member is not done yet: %s", why);
        }
        f->said = true;
        *wait_ms = RETRY_MS;
        return forget_group_waits(pg, f->group, why, err);
    }
    if (!yes) {
        return true;
    }
    if (!forget_group_done(pg, f->group, &count, err)) {
        return false;
    }
    log_info("forgotten: %" PRId64 " member%s, in the database and in the accept logs", count,
             count == 1 ? "" : "s");
    drop_group(f);
    return true;
}

bool forgetting_turn(struct forgetting *forgetting, struct pg *pg, struct error *err)
{
    int64_t wait_ms = STEP_MS;
    bool busy = false;

    if (clock_boot_ms() < forgetting->at_ms) {
        return true;
    }
    forgetting->at_ms = clock_boot_ms() + RETRY_MS; /* should one of these fail */
    if (!erase(forgetting, pg, &busy, err) ||
        (forgetting->open && !logs(forgetting, pg, &wait_ms, err))) {
        return false;
    }
    forgetting->at_ms = clock_boot_ms() + (!forgetting->open ? LOOK_MS : busy ? 0 : wait_ms);
    return true;
}

int forgetting_idle_ms(const struct forgetting *forgetting)
{
    int64_t left = forgetting->at_ms - clock_boot_ms();

    return left < 0 ? 0 : (int)left;
}
