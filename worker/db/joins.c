/* Invitations are few: the table is nearly always empty, and asked with every claim of digests. */
#include "db/joins.h"

#include <stdlib.h>

bool join_seen(struct pg *pg, struct str team, struct str channel, struct str user, bool ours,
               bool is_private, struct error *err)
{
    static const char sql[] =
        "WITH j AS ("
        "    INSERT INTO study.channel_join AS j (team_id, channel_id, user_id, ours, private)"
        "    SELECT $1, $2, $3, $4, $5"
        "     WHERE $4 OR NOT EXISTS (SELECT FROM study.forgotten f"
        "                              WHERE f.team_id = $1 AND f.user_id = $3)"
        "    ON CONFLICT (team_id, channel_id, user_id) DO UPDATE SET ours = j.ours OR "
        "excluded.ours"
        "    RETURNING 1"
        ") SELECT pg_notify('study_digest', '') FROM j";
    struct pg_args *args = pg_args_create();

    pg_arg_str(args, team);
    pg_arg_str(args, channel);
    pg_arg_str(args, user);
    pg_arg_bool(args, ours);
    pg_arg_bool(args, is_private);
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool joins_waiting(struct pg *pg, bool *any, struct error *err)
{
    struct pg_result *res = NULL;

    if (!pg_exec(pg, "SELECT EXISTS (SELECT FROM study.channel_join)", NULL, &res, err)) {
        return false;
    }
    *any = pg_bool(res, 0, 0);
    pg_result_destroy(&res);
    return true;
}

bool joins_settle(struct pg *pg, const char *language, struct channel_owed **owed, size_t *count,
                  struct error *err)
{
    static const char sql[] =
        "WITH settled AS ("
        "    DELETE FROM study.channel_join j USING study.team t"
        "     WHERE t.team_id = j.team_id AND t.state = 'active'"
        "       AND (j.ours OR t.bot_user_id IS NOT NULL OR j.joined_at < now() - interval '1 day')"
        "    RETURNING j.team_id, j.channel_id, j.private, COALESCE(t.language, $1) AS language,"
        "              (j.ours OR t.bot_user_id = j.user_id) IS TRUE AS us"
        "), told AS ("
        "    INSERT INTO study.channel AS c (team_id, channel_id, private, notices, noticed_at)"
        "    SELECT DISTINCT ON (team_id, channel_id) team_id, channel_id, private, 1, now()"
        "      FROM settled WHERE us ORDER BY team_id, channel_id"
        "    ON CONFLICT (team_id, channel_id) DO UPDATE"
        "       SET notices = c.notices + 1, noticed_at = now()"
        "     WHERE c.noticed_at IS NULL OR c.noticed_at < now() - interval '30 days'"
        "    RETURNING team_id, channel_id, notices"
        ")"
        "SELECT DISTINCT t.team_id, t.channel_id, s.language, t.notices"
        "  FROM told t JOIN settled s USING (team_id, channel_id) WHERE s.us ORDER BY 1, 2";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *owed = NULL;
    *count = 0;
    pg_arg_cstr(args, language);
    ok = pg_exec(pg, sql, args, &res, err);
    pg_args_destroy(&args);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *owed = calloc(*count, sizeof(**owed));
        if (*owed == NULL) {
            abort();
        }
        for (size_t i = 0; i < *count; i++) {
            (*owed)[i] = (struct channel_owed){pg_dup(res, (int)i, 0), pg_dup(res, (int)i, 1),
                                               pg_dup(res, (int)i, 2), pg_int(res, (int)i, 3)};
        }
    }
    pg_result_destroy(&res);
    return ok;
}

void joins_free(struct channel_owed **owed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((*owed)[i].team_id);
        free((*owed)[i].channel_id);
        free((*owed)[i].language);
    }
    free(*owed);
    *owed = NULL;
}
