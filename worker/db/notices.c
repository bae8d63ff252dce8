/* Who is owed the privacy notice: members with a digest that waits for it. */
#include "db/notices.h"

#include <stdlib.h>

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* The lane's unfinished notice, or one of today that did not arrive: no other is made beside it. One
 * that arrived is none that counts, or noticed_at would say so: another host was named since. */
bool notices_owed(struct pg *pg, const char *language, const char *host,
                  const struct notice_owed *after, int limit, struct notice_owed **owed,
                  size_t *count, struct error *err)
{
    static const char sql[] =
        "SELECT w.team_id, w.user_id, study.language_of(w.team_id, w.user_id, $1),"
        "       1 + (SELECT count(*) FROM study.outbox o WHERE o.kind = 'notice'"
        "               AND o.team_id = w.team_id AND o.target = w.user_id),"
        "       w.scheduled"
        "  FROM (SELECT d.team_id, d.user_id, bool_and(f.trigger_key IS NULL) AS scheduled"
        "          FROM study.digest d"
        "          JOIN study.firing f USING (firing_id)"
        "          JOIN study.member m USING (team_id, user_id)"
        "          JOIN study.team t USING (team_id)"
        "         WHERE d.state = 'pending' AND d.next_at <= now() AND m.noticed_at IS NULL"
        "           AND m.digests AND m.consent <> 'no' AND t.state = 'active'"
        "           AND (d.team_id, d.user_id) > ($3, $4)"
        "           AND NOT EXISTS (SELECT FROM study.lane l WHERE l.team_id = d.team_id"
        "                              AND l.target = d.user_id AND l.stopped_reason IS NOT NULL)"
        "           AND NOT EXISTS ("
        "               SELECT FROM study.outbox o WHERE o.kind = 'notice'"
        "                  AND o.team_id = d.team_id AND o.target = d.user_id"
        "                  AND ($5 IS NULL OR COALESCE(o.told_host, $5) = $5)"
        "                  AND o.state <> 'sent'"
        "                  AND (o.state IN ('pending', 'sending', 'doubtful')"
        "                       OR COALESCE(o.done_at, o.created_at) > now() - interval '1 day'))"
        "         GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $2) w"
        " ORDER BY 1, 2";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *owed = NULL;
    *count = 0;
    pg_arg_cstr(args, language);
    pg_arg_int(args, limit);
    pg_arg_cstr(args, after != NULL ? after->team_id : "");
    pg_arg_cstr(args, after != NULL ? after->user_id : "");
    pg_arg_cstr(args, host);
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *owed = allocate(*count, sizeof(**owed));
        for (size_t i = 0; i < *count; i++) {
            (*owed)[i] = (struct notice_owed){pg_dup(res, (int)i, 0), pg_dup(res, (int)i, 1),
                                              pg_dup(res, (int)i, 2), pg_int(res, (int)i, 3),
                                              pg_bool(res, (int)i, 4)};
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

bool notices_told_of(struct pg *pg, const char *host, struct error *err)
{
    /* Without a model nothing is left to be told; a notice from before its host was noted is taken
     * to have named this one. */
    static const char sql[] =
        "UPDATE study.member"
        "   SET noticed_at = CASE WHEN $1 IN ('', COALESCE(told_host, $1))"
        "                         THEN COALESCE(noticed_at, now()) END,"
        "       told_host = COALESCE(told_host, $1)"
        " WHERE (told_host IS NULL AND noticed_at IS NOT NULL)"
        "    OR (told_host IS NOT NULL AND (noticed_at IS NOT NULL) <> ($1 IN ('', told_host)))";
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, host);
    return pg_exec_take(pg, sql, args, NULL, err);
}

void notices_free(struct notice_owed **owed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((*owed)[i].team_id);
        free((*owed)[i].user_id);
        free((*owed)[i].language);
    }
    free(*owed);
    *owed = NULL;
}

bool notices_let_go(struct pg *pg, struct error *err)
{
    /* Lanes before rows, in one order: what every writer does. */
    static const char sql[] =
        "WITH held AS MATERIALIZED ("
        "    SELECT o.outbox_id, o.team_id, o.target FROM study.outbox o"
        "     WHERE o.kind = 'notice' AND o.hold AND o.state = 'pending'"
        "       AND (o.team_id, o.target) IN ("
        "           SELECT d.team_id, d.user_id FROM study.digest d"
        "             JOIN study.firing f USING (firing_id)"
        "             JOIN study.member m USING (team_id, user_id)"
        "            WHERE d.state = 'pending' AND d.next_at <= now() AND m.noticed_at IS NULL"
        "              AND f.trigger_key IS NOT NULL)"
        "), lanes AS MATERIALIZED ("
        "    SELECT l.team_id, l.target FROM study.lane l JOIN held USING (team_id, target)"
        "     ORDER BY l.team_id, l.target FOR UPDATE OF l"
        "), let_go AS ("
        "    UPDATE study.outbox o SET hold = false FROM held JOIN lanes USING (team_id, target)"
        "     WHERE o.outbox_id = held.outbox_id RETURNING o.team_id, o.target"
        "), due AS ("
        "    UPDATE study.lane l SET due_at = GREATEST(l.next_at, now()) FROM let_go g"
        "     WHERE l.team_id = g.team_id AND l.target = g.target"
        ")"
        "SELECT count(pg_notify('study_outbox', '')) FROM let_go";

    return pg_exec(pg, sql, NULL, NULL, err);
}
