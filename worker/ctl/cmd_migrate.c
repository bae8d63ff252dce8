/* studyctl migrate. */
#include <stdio.h>
#include <string.h>

#include "base/embedded.h"
#include "ctl/ctl.h"
#include "ctl/output.h"
#include "db/migrate.h"

#define STATEMENT_LIMIT_MS (60 * 60 * 1000)

static const char *state_word(enum migration_state state)
{
    switch (state) {
    case MIGRATION_APPLIED:
        return "applied before";
    case MIGRATION_DONE:
        return "applied now";
    case MIGRATION_PENDING:
        return "pending";
    }
    return "";
}

static enum ctl_status report(const struct ctl *ctl, const struct migrations *m)
{
    if (!ctl->json) {
        if (m->roles_made) {
            puts("roles.sql         applied now");
        }
        for (size_t i = 0; i < m->count; i++) {
            printf("%-17s %s\n", m->list[i].file->name, state_word(m->list[i].state));
        }
        if (m->unknown > 0) {
            printf("The database has %d newer migration%s than this program.\n", m->unknown,
                   m->unknown == 1 ? "" : "s");
        }
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kbool(w, "roles_made", m->roles_made);
    json_put_kint(w, "newer", m->unknown);
    json_put_key(w, "migrations");
    json_array_begin(w);
    for (size_t i = 0; i < m->count; i++) {
        json_object_begin(w);
        json_put_kcstr(w, "name", m->list[i].file->name);
        json_put_kcstr(w, "state", state_word(m->list[i].state));
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static enum ctl_status print_file(const char *name)
{
    for (size_t i = 0; i < embedded_sql_count; i++) {
        if (strcmp(embedded_sql[i].name, name) == 0) {
            fwrite(embedded_sql[i].data, 1, embedded_sql[i].len, stdout);
            return CTL_OK;
        }
    }
    fprintf(stderr, "studyctl: there is no %s; there are:", name);
    for (size_t i = 0; i < embedded_sql_count; i++) {
        fprintf(stderr, " %s", embedded_sql[i].name);
    }
    fputc('\n', stderr);
    return CTL_FAILED;
}

static enum ctl_status run_migrate(struct ctl *ctl)
{
    struct migrations m;
    struct error err;

    if (ctl->print != NULL) {
        return print_file(ctl->print);
    }
    if (ctl->list ? !migrate_look(ctl->pg, &m, &err)
                  : !migrate_run(ctl->pg, STATEMENT_LIMIT_MS, &m, &err)) {
        return ctl_fail(&err);
    }
    enum ctl_status status = report(ctl, &m);
    migrations_free(&m);
    return status;
}

const struct ctl_command cmd_migrate_commands[] = {
    {"migrate", "", 0, 0, "lp",
     "Brings the database's schema up to date. Run it as the database's owner; running it again, "
     "or twice at once, is harmless.",
     true, run_migrate},
    {0},
};
