/*
 * member.profile_due says when to ask; a claim moves it on, so that processes share the asking and
 * one that dies costs five minutes.
 */
#include "db/profiles.h"

#include <stdlib.h>

#include "db/lanes.h"

#define OF_ONE_TEAM 8

bool profiles_claim(struct pg *pg, int limit, struct profile_wanted **wanted, size_t *count,
                    struct error *err)
{
    static const char sql[] =
        "WITH due AS MATERIALIZED ("
        "    SELECT n.team_id, n.user_id FROM study.team t CROSS JOIN LATERAL ("
        "        SELECT m.team_id, m.user_id FROM study.member m"
        "         WHERE m.team_id = t.team_id AND m.profile_due <= now()"
        "         ORDER BY m.profile_due LIMIT $2 FOR UPDATE SKIP LOCKED) n"
        "     WHERE t.state = 'active' AND t.url IS NOT NULL"
        "       AND NOT EXISTS (SELECT FROM study.pause p"
        "                        WHERE p.role = 'deliver' AND p.team_id IN ('', t.team_id)"
        "                          AND (p.until IS NULL OR p.until > now()))"
        "       AND NOT EXISTS (SELECT FROM study.slack_wait w"
        "                        WHERE w.team_id = t.team_id AND w.method = 'users.info'"
        "                          AND (w.until > now()"
        "                               OR w.slot_at > now() + $3 * interval '1 ms'))"
        "     LIMIT $1)"
        "UPDATE study.member m SET profile_due = now() + interval '5 min'"
        "  FROM due WHERE m.team_id = due.team_id AND m.user_id = due.user_id"
        " RETURNING m.team_id, m.user_id";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *wanted = NULL;
    *count = 0;
    pg_arg_int(args, limit);
    pg_arg_int(args, OF_ONE_TEAM);
    pg_arg_int(args, SLACK_TIER4_BURST_MS);
    ok = pg_exec(pg, sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *wanted = calloc(*count, sizeof(**wanted));
        if (*wanted == NULL) {
            abort();
        }
        for (size_t i = 0; i < *count; i++) {
            (*wanted)[i] = (struct profile_wanted){str_dup(pg_str(res, (int)i, 0)),
                                                   str_dup(pg_str(res, (int)i, 1))};
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

void profiles_free(struct profile_wanted **wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((*wanted)[i].team_id);
        free((*wanted)[i].user_id);
    }
    free(*wanted);
    *wanted = NULL;
}

struct profile *profile_create(struct str time_zone, struct str locale, const char *standing)
{
    struct profile *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        abort();
    }
    p->time_zone = str_dup(time_zone.data != NULL ? utf8_cut(time_zone, 64) : STR(""));
    p->locale = str_dup(locale.data != NULL ? utf8_cut(locale, 32) : STR(""));
    p->standing = standing;
    return p;
}

void profile_destroy(struct profile **profile)
{
    if (*profile != NULL) {
        free((*profile)->time_zone);
        free((*profile)->locale);
        free(*profile);
        *profile = NULL;
    }
}

/* A zone that PostgreSQL does not know is no better than the one that is there. Somebody who left
 * may come back, and gets no digest until then. */
bool profile_keep(struct pg *pg, const char *team_id, const char *user_id,
                  const struct profile *profile, struct error *err)
{
    static const char sql[] =
        "UPDATE study.member"
        "   SET time_zone = COALESCE(NULLIF(study.valid_zone(NULLIF($3, ''), ''), ''), time_zone),"
        "       locale = COALESCE(NULLIF($4, ''), locale), standing = $5,"
        "       profile_at = now(), profile_due = now() +"
        "           CASE WHEN $5 = 'gone' THEN interval '1 day' ELSE interval '7 days' END"
        " WHERE team_id = $1 AND user_id = $2";
    struct pg_args *args = pg_args_create();

    pg_arg_cstr(args, team_id);
    pg_arg_cstr(args, user_id);
    pg_arg_cstr(args, profile->time_zone);
    pg_arg_cstr(args, profile->locale);
    pg_arg_cstr(args, profile->standing);
    return pg_exec_take(pg, sql, args, NULL, err);
}
