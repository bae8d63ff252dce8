/* Saying that something is away, and that it is back. */
#include "proc/outage.h"

#include <string.h>

#include "base/log.h"

void outage_begin(struct outage *outage, const struct error *why)
{
    /* Most errors name their server themselves. */
    bool named = strstr(why->text, outage->what) != NULL;
    const char *what = named ? "" : outage->what, *colon = named ? "" : ": ";

    if (outage->on) {
        log_debug("still: %s%s%s", what, colon, why->text);
        return;
    }
    outage->on = true;
    log_error("%s%s%s; trying again until it works", what, colon, why->text);
}

void outage_end(struct outage *outage)
{
    if (outage->on) {
        outage->on = false;
        log_info("%s: works again", outage->what);
    }
}
