/* States of a workspace change here and in the store (an uninstalled app), nowhere else. */
#include "db/teams.h"

#include <stdlib.h>

bool teams_to_test(struct pg *pg, const char *stopped_after, int limit, char ***team_ids,
                   size_t *count, struct error *err)
{
    static const char unknown[] =
        "SELECT team_id FROM study.team t"
        " WHERE state = 'active' AND (url IS NULL OR bot_user_id IS NULL) AND $1::text IS NULL"
        "   AND NOT EXISTS (SELECT FROM study.slack_wait w WHERE w.team_id = t.team_id"
        "                      AND w.method = 'auth.test' AND w.until > now())"
        " ORDER BY team_id LIMIT $2";
    static const char stopped[] = "SELECT team_id FROM study.team"
                                  " WHERE state = 'stopped' AND team_id > $1"
                                  " ORDER BY team_id LIMIT $2";
    const char *sql = stopped_after != NULL ? stopped : unknown;
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *team_ids = NULL;
    *count = 0;
    pg_arg_cstr(args, stopped_after);
    pg_arg_int(args, limit);
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *team_ids = calloc(*count, sizeof(**team_ids));
        if (*team_ids == NULL) {
            abort();
        }
        for (size_t i = 0; i < *count; i++) {
            (*team_ids)[i] = str_dup(pg_str(res, (int)i, 0));
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

void teams_free(char ***team_ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((*team_ids)[i]);
    }
    free(*team_ids);
    *team_ids = NULL;
}

bool team_identify(struct pg *pg, const char *team_id, struct str name, struct str url,
                   struct str bot_user_id, struct error *err)
{
    static const char sql[] =
        "UPDATE study.team SET name = left($2, 200), url = $3, bot_user_id = $4,"
        "       state = 'active', stopped_reason = NULL"
        " WHERE team_id = $1";
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, team_id);
    pg_arg_str(args, name);
    pg_arg_str(args, url);
    pg_arg_str(args, bot_user_id);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool team_stop(struct pg *pg, const char *team_id, const char *reason, bool *changed,
               struct error *err)
{
    static const char sql[] = "UPDATE study.team SET state = 'stopped', stopped_reason = $2"
                              " WHERE team_id = $1 AND state = 'active' RETURNING 1";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, reason);
    ok = pg_exec(pg, sql, args, &res, err);
    *changed = ok && pg_rows(res) > 0;
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

bool member_dm_opened(struct pg *pg, const char *team_id, const char *user_id,
                      const char *channel_id, struct error *err)
{
    static const char sql[] = "UPDATE study.member SET dm_channel_id = $3"
                              " WHERE team_id = $1 AND user_id = $2";
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, user_id);
    pg_arg_cstr(args, channel_id);
    return pg_exec_take(pg, sql, args, NULL, err);
}
