/* One place for what every role that claims rows has to do about its connection. */
#include "proc/db_turn.h"

#include "base/clock.h"

enum { REST_MS = 500, BROKEN_MS = 10000 };

bool db_turn_begin(struct db_turn *turn)
{
    struct error err = {0};

    if (clock_boot_ms() < turn->not_before_ms) {
        return false;
    }
    if (!pg_is_connected(turn->pg)) {
        turn->listening = false;
    }
    if (!pg_connect(turn->pg, &err) ||
        (!turn->listening && !pg_exec(turn->pg, turn->listen, NULL, NULL, &err))) {
        db_turn_failed(turn, "connecting", &err);
        return false;
    }
    turn->listening = true;
    return true;
}

void db_turn_failed(struct db_turn *turn, const char *what, const struct error *err)
{
    struct error why = {0};

    if (err->kind != ERROR_INTERRUPTED) {
        error_set(&why, err->kind, "%s: %s", what, err->text);
        outage_begin(&turn->outage, &why);
    }
    turn->not_before_ms = clock_boot_ms() + (pg_verdict(err) == PG_BROKEN ? BROKEN_MS : REST_MS);
}

void db_turn_worked(struct db_turn *turn)
{
    outage_end(&turn->outage);
}

bool db_turn_notified(struct db_turn *turn)
{
    struct error err = {0}; /* a lost connection is the next turn's */

    return pg_is_connected(turn->pg) && pg_notified(turn->pg, &err);
}
