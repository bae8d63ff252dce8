/* Saying that something is away, and that it is back. */
#include "proc/outage.h"

#include "base/log.h"

void outage_begin(struct outage *outage, const struct error *why)
{
    if (outage->on) {
        log_debug("%s: still: %s", outage->what, why->text);
        return;
    }
    outage->on = true;
    log_error("%s: %s; trying again until it works", outage->what, why->text);
}

void outage_end(struct outage *outage)
{
    if (outage->on) {
        outage->on = false;
        log_info("%s: works again", outage->what);
    }
}
