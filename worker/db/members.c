/* Few people type commands: statements are plain, one a question. */
#include "db/members.h"

#include <stdio.h>
#include <stdlib.h>

static struct pg_args *member_args(struct str team, struct str user)
{
    struct pg_args *args = pg_args_create();

    pg_arg_str(args, team);
    pg_arg_str(args, user);
    return args;
}

bool member_read(struct pg *pg, struct str team, struct str user, const char *fallback,
                 struct member *out, struct error *err)
{
    static const char sql[] =
        "SELECT study.language_of(m.team_id, m.user_id, $3), m.digests, m.consent = 'yes',"
        "       m.noticed_at IS NOT NULL, COALESCE(to_char(m.digest_time, 'HH24:MI'), ''),"
        "       (SELECT count(*) FROM study.message n WHERE n.team_id = m.team_id"
        "           AND n.user_id = m.user_id AND NOT n.deleted),"
        "       (SELECT count(*) FROM study.digest d WHERE d.team_id = m.team_id"
        "           AND d.user_id = m.user_id AND d.result IS NOT NULL),"
        "       m.standing IS NOT DISTINCT FROM 'external'"
        "  FROM study.member m JOIN study.team t USING (team_id)"
        " WHERE m.team_id = $1 AND m.user_id = $2";
    struct pg_args *args = member_args(team, user);
    struct pg_result *res = NULL;

    pg_arg_cstr(args, fallback);
    if (!pg_exec_take(pg, sql, args, &res, err)) {
        return false;
    }
    *out = (struct member){.known = pg_rows(res) > 0, .english = str_is(str_of(fallback), "en")};
    if (out->known) {
        out->english = str_is(pg_str(res, 0, 0), "en");
        out->digests = pg_bool(res, 0, 1);
        out->agreed = pg_bool(res, 0, 2);
        out->noticed = pg_bool(res, 0, 3);
        snprintf(out->time, sizeof(out->time), "%.*s", STR_ARG(pg_str(res, 0, 4)));
        out->messages = pg_int(res, 0, 5);
        out->digests_got = pg_int(res, 0, 6);
        out->external = pg_bool(res, 0, 7);
    }
    pg_result_destroy(&res);
    return true;
}

/* What digests_rest has put off, or a notice that was answered: looked at anew, now. */
#define CALL_DIGESTS                                                                               \
    ", called AS ("                                                                                \
    "    UPDATE study.digest d SET next_at = now() FROM m"                                         \
    "     WHERE d.team_id = m.team_id AND d.user_id = m.user_id AND d.state = 'pending'"           \
    "       AND d.next_at > now() AND d.attempts = 0"                                              \
    ") SELECT pg_notify('study_digest', '') FROM m"

/* Lane before reply and member, as in deliver. What is in a process' hands by then is left to
 * deliver, which asks again before it sends. */
static const char hold_back_sql[] =
    "WITH l AS MATERIALIZED ("
    "    SELECT team_id, target FROM study.lane WHERE team_id = $1 AND target = $2 FOR UPDATE"
    "), gone AS ("
    "    UPDATE study.outbox o SET state = 'cancelled', body = NULL, done_at = now(),"
    "           error = 'the member has turned digests off'"
    "      FROM l WHERE o.team_id = l.team_id AND o.target = l.target AND o.kind = 'digest'"
    "       AND o.state = 'pending'"
    "    RETURNING o.team_id, o.target"
    ")"
    "UPDATE study.lane l SET due_at = GREATEST(now(), l.next_at) FROM gone g"
    " WHERE l.team_id = g.team_id AND l.target = g.target";

bool member_switch(struct pg *pg, struct str team, struct str user, bool on, bool opt_in,
                   struct error *err)
{
    static const char sql[] = "WITH m AS ("
                              "    UPDATE study.member SET digests = $3, consent ="
                              "           CASE WHEN $3 AND ($4 OR consent = 'no') THEN 'yes'"
                              "                WHEN NOT $3 AND $4 THEN 'no' ELSE consent END"
                              "     WHERE team_id = $1 AND user_id = $2 RETURNING team_id, user_id"
                              ")" CALL_DIGESTS;
    struct pg_args *args = member_args(team, user);

    pg_arg_bool(args, on);
    pg_arg_bool(args, opt_in);
    if (!on && !pg_exec_take(pg, hold_back_sql, member_args(team, user), NULL, err)) {
        pg_args_destroy(&args);
        return false;
    }
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool member_consents(struct pg *pg, struct str team, struct str user, struct error *err)
{
    static const char sql[] = "WITH m AS ("
                              "    UPDATE study.member SET consent = 'yes', digests = true"
                              "     WHERE team_id = $1 AND user_id = $2 RETURNING team_id, user_id"
                              ")" CALL_DIGESTS;

    return pg_exec_take(pg, sql, member_args(team, user), NULL, err);
}

bool member_set_language(struct pg *pg, struct str team, struct str user, const char *language,
                         struct error *err)
{
    struct pg_args *args = member_args(team, user);

    pg_arg_cstr(args, language);
    return pg_exec_take(pg,
                        "UPDATE study.member SET language = $3 WHERE team_id = $1 AND user_id = $2",
                        args, NULL, err);
}

bool member_set_time(struct pg *pg, struct str team, struct str user, int minute, struct error *err)
{
    struct pg_args *args = member_args(team, user);

    pg_arg_int(args, minute);
    return pg_exec_take(pg,
                        "UPDATE study.member SET digest_time ="
                        " CASE WHEN $3 >= 0 THEN time '00:00' + $3 * interval '1 min' END"
                        " WHERE team_id = $1 AND user_id = $2",
                        args, NULL, err);
}

/* --- today ---------------------------------------------------------------------------------- */

static void read_today(struct today *out, const struct pg_result *res)
{
    snprintf(out->day, sizeof(out->day), "%.*s", STR_ARG(pg_str(res, 0, 0)));
    out->team_url = pg_dup(res, 0, 1);
    out->streak = pg_int(res, 0, 2);
    out->total = pg_int(res, 0, 3);
    if (pg_is_null(res, 0, 5)) {
        return; /* none: the one row is there for the day's sake */
    }
    out->count = (size_t)pg_rows(res);
    out->records = calloc(out->count, sizeof(*out->records));
    if (out->records == NULL) {
        abort();
    }
    for (size_t i = 0; i < out->count; i++) {
        struct today_record *r = &out->records[i];

        r->channel_id = pg_dup(res, (int)i, 4);
        r->ts = pg_dup(res, (int)i, 5);
        r->thread_ts = pg_dup(res, (int)i, 6);
        r->time = pg_dup(res, (int)i, 7);
    }
}

/*
 * The study day that now is, in the member's own zone. A day ends at the grace hour, so what is
 * written after midnight still belongs to the evening before.
 */
static const char today_sql[] =
    "WITH who AS ("
    "    SELECT m.team_id, m.user_id, COALESCE(t.url, '') AS url, z.zone, k.today AS day,"
    "           k.current_streak"
    "      FROM study.member m JOIN study.team t USING (team_id)"
    "      JOIN study.streak k USING (team_id, user_id)"
    "     CROSS JOIN study.setting s"
    "     CROSS JOIN LATERAL (SELECT study.valid_zone(m.time_zone, s.time_zone) AS zone) z"
    "     WHERE m.team_id = $1 AND m.user_id = $2"
    "), notes AS ("
    "    SELECT n.channel_id, n.ts, n.thread_ts, n.posted_at, count(*) OVER () AS total"
    "      FROM who w JOIN study.message n USING (team_id, user_id)"
    "     WHERE NOT n.deleted AND n.posted_at > now() - interval '2 days'"
    "       AND study.study_day(n.posted_at, w.zone) = w.day"
    "       AND study.is_record(n.text, n.files, n.thread_ts)"
    "       AND ($3 OR (SELECT c.private FROM study.channel c WHERE c.team_id = n.team_id"
    "                      AND c.channel_id = n.channel_id) IS NOT TRUE)"
    "     ORDER BY n.posted_at DESC, n.channel_id, n.ts DESC LIMIT $4"
    ")"
    "SELECT to_char(w.day, 'YYYY-MM-DD'), w.url, w.current_streak, COALESCE(n.total, 0),"
    "       n.channel_id, n.ts, n.thread_ts, to_char(n.posted_at AT TIME ZONE w.zone, 'HH24:MI')"
    "  FROM who w LEFT JOIN notes n ON true ORDER BY n.posted_at DESC, n.channel_id, n.ts DESC";

bool member_today(struct pg *pg, struct str team, struct str user, bool private_channels, int limit,
                  struct today *out, struct error *err)
{
    struct pg_args *args = member_args(team, user);
    struct pg_result *res = NULL;

    pg_arg_bool(args, private_channels);
    pg_arg_int(args, limit);
    bool ok = pg_exec(pg, today_sql, args, &res, err);

    pg_args_destroy(&args);
    if (!ok) {
        return false;
    }
    *out = (struct today){0};
    if (pg_rows(res) > 0) {
        read_today(out, res);
    }
    pg_result_destroy(&res);
    return true;
}

void today_clear(struct today *today)
{
    for (size_t i = 0; i < today->count; i++) {
        free(today->records[i].channel_id);
        free(today->records[i].ts);
        free(today->records[i].thread_ts);
        free(today->records[i].time);
    }
    free(today->records);
    free(today->team_url);
    *today = (struct today){0};
}

/* --- export, feedback ----------------------------------------------------------------------- */

bool member_asks_export(struct pg *pg, struct str team, struct str user, bool *fresh,
                        struct error *err)
{
    struct pg_result *res = NULL;

    if (!pg_exec_take(
            pg,
            "INSERT INTO study.export_request (team_id, user_id)"
            " SELECT team_id, user_id FROM study.member WHERE team_id = $1 AND user_id = $2"
            " ON CONFLICT (team_id, user_id) WHERE done_at IS NULL DO NOTHING RETURNING 1",
            member_args(team, user), &res, err)) {
        return false;
    }
    *fresh = pg_rows(res) > 0;
    pg_result_destroy(&res);
    return true;
}

bool member_says(struct pg *pg, struct str team, struct str user, int64_t digest_id, bool helped,
                 bool *theirs, struct error *err)
{
    struct pg_args *args = member_args(team, user);
    struct pg_result *res = NULL;

    pg_arg_int(args, digest_id);
    pg_arg_cstr(args, helped ? "helped" : "wrong");
    if (!pg_exec_take(pg,
                      "INSERT INTO study.feedback AS f (digest_id, answer)"
                      " SELECT digest_id, $4 FROM study.digest"
                      "  WHERE digest_id = $3 AND team_id = $1 AND user_id = $2"
                      " ON CONFLICT (digest_id) DO UPDATE"
                      "    SET answer = excluded.answer, answered_at = now()"
                      " RETURNING 1",
                      args, &res, err)) {
        return false;
    }
    *theirs = pg_rows(res) > 0;
    pg_result_destroy(&res);
    return true;
}
