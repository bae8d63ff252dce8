/* Lists of equal length are turned alike; a port alone is everybody's and stays. */
#include "io/pg_hosts.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static unsigned count_items(const char *list)
{
    unsigned items = 1;

    for (const char *p = list; (p = strchr(p, ',')) != NULL; p++) {
        items++;
    }
    return items;
}

static char *turn(const char *list, unsigned items, unsigned first)
{
    size_t len = strlen(list);
    const char *at = list;
    char *turned = str_dup(str_of(list));

    for (size_t i = first % items; i > 0; i--) {
        at = strchr(at, ',') + 1;
    }
    if (at > list) {
        size_t tail = len - (size_t)(at - list);

        memcpy(turned, at, tail);
        turned[tail] = ',';
        memcpy(turned + tail + 1, list, len - tail - 1);
    }
    return turned;
}

static void turn_lists(struct pg_hosts *hosts, const PQconninfoOption *options, unsigned first)
{
    static const char *const lists[PG_HOSTS_MAX] = {"host", "hostaddr", "port"};

    *hosts = (struct pg_hosts){.hosts = 1};
    for (; options != NULL && options->keyword != NULL; options++) {
        for (int i = 0; i < PG_HOSTS_MAX; i++) {
            if (strcmp(options->keyword, lists[i]) == 0 && options->val != NULL &&
                strchr(options->val, ',') != NULL) {
                hosts->hosts = count_items(options->val);
                hosts->names[hosts->count] = lists[i];
                hosts->values[hosts->count++] = turn(options->val, hosts->hosts, first);
            }
        }
    }
}

bool pg_hosts_read(struct pg_hosts *hosts, const char *conninfo, unsigned first, struct error *err)
{
    char *why = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &why);
    bool ok = parsed != NULL;

    if (!ok) {
        size_t len = why != NULL ? strcspn(why, "\n") : 0;
        error_set(err, ERROR_CONFIG, "[postgres] conninfo: %.*s", (int)len, why != NULL ? why : "");
    }
    turn_lists(hosts, parsed, first);
    PQfreemem(why);
    PQconninfoFree(parsed);
    return ok;
}

void pg_hosts_free(struct pg_hosts *hosts)
{
    for (int i = 0; i < hosts->count; i++) {
        free(hosts->values[i]);
    }
    hosts->count = 0;
}
