/*
 * Collecting: from a firing to digest rows, at most a thousand members a transaction. Members are
 * walked in the order of their key, whether or not they have records, so a slice's cost has a bound
 * in quiet workspaces too. Two firings of one schedule (a trigger beside the clock) must not take
 * one message both: an advisory lock of the transaction keeps them apart, and the unique key of
 * digest_item is what would fail if it did not.
 */
#include <stdio.h>

#include "db/firings.h"

struct scope {
    struct str team, channel; /* absent: all */
    struct str cursor_team, cursor_user;
    int64_t fire_at_us, from_us;
    struct str claiming; /* schedules in whose digests a message must not be yet */
    /* Of a firing by members' clocks; absent otherwise. */
    struct str zones; /* theirs, as in their rows */
    struct str digest_time;
    struct str time_zone, day_starts, first_day, end_day; /* the study days, end_day not included */
};

static bool lock_schedule(struct pg *pg, int64_t schedule_id, bool *locked, struct error *err)
{
    static const char sql[] =
        "SELECT pg_try_advisory_xact_lock(hashtextextended('study.collect', $1))";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_int(args, schedule_id);
    bool ok = pg_exec_prepared(pg, sql, args, &res, err);
    *locked = ok && pg_bool(res, 0, 0);
    pg_args_destroy(&args);
    pg_result_destroy(&res);
    return ok;
}

/* Locks the firing's row, if it is still ours, and reads where it stands; *res keeps the strings.
 */
static bool read_scope(struct pg *pg, const struct firing_claim *claim, struct scope *scope,
                       struct pg_result **res, struct error *err)
{
    static const char sql[] =
        /* The schedule may have been given another workspace since the slice before. */
        "SELECT s.team_id, s.channel_id,"
        "  COALESCE(GREATEST(f.cursor_team::text COLLATE \"C\", s.team_id::text), ''),"
        "  CASE WHEN f.cursor_team < s.team_id THEN '' ELSE COALESCE(f.cursor_user::text, '') END,"
        "  (extract(epoch FROM f.fire_at) * 1000000)::bigint,"
        "  (extract(epoch FROM f.fire_at - make_interval(hours => 24 *"
        "    (w.days + CASE WHEN z.name IS NULL THEN 0 ELSE 2 END))) * 1000000)::bigint,"
        "  (SELECT array_agg(o.schedule_id) FROM study.schedule o WHERE o.schedule_id = "
        "s.schedule_id"
        "    OR (s.scope = 'member' AND o.scope = 'member'"
        "     AND s.kind = 'daily' AND o.kind = 'weekly')),"
        "  CASE WHEN z.name IS NOT NULL THEN f.time_zone || ARRAY("
        "    SELECT c.zone FROM study.schedule_clock c WHERE c.schedule_id = s.schedule_id"
        "     AND c.time_zone = f.time_zone AND c.zone <> c.time_zone"
        "     AND c.digest_time IS NOT DISTINCT FROM f.digest_time) END,"
        "  f.digest_time, z.name, g.day_starts, t.today - w.days, t.today"
        " FROM study.firing f JOIN study.schedule s USING (schedule_id) CROSS JOIN study.setting g"
        " CROSS JOIN LATERAL (SELECT CASE WHEN s.scope = 'member' AND f.trigger_key IS NULL"
        "   THEN study.valid_zone(f.time_zone, 'UTC') END AS name OFFSET 0) z"
        " CROSS JOIN LATERAL (SELECT CASE s.kind WHEN 'weekly' THEN 8 ELSE 2 END AS days) w"
        " CROSS JOIN LATERAL (SELECT study.study_day(f.fire_at, z.name, g.day_starts) AS today) t"
        " WHERE f.firing_id = $1 AND f.claim_token = $2::text::uuid"
        " FOR NO KEY UPDATE OF f";
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, claim->firing_id);
    pg_arg_cstr(args, claim->token);
    bool ok = pg_exec_prepared(pg, sql, args, res, err);
    pg_args_destroy(&args);
    if (ok && pg_rows(*res) == 1) {
        scope->team = pg_str(*res, 0, 0);
        scope->channel = pg_str(*res, 0, 1);
        scope->cursor_team = pg_str(*res, 0, 2);
        scope->cursor_user = pg_str(*res, 0, 3);
        scope->fire_at_us = pg_int(*res, 0, 4);
        scope->from_us = pg_int(*res, 0, 5);
        scope->claiming = pg_str(*res, 0, 6);
        scope->zones = pg_str(*res, 0, 7);
        scope->digest_time = pg_str(*res, 0, 8);
        scope->time_zone = pg_str(*res, 0, 9);
        scope->day_starts = pg_str(*res, 0, 10);
        scope->first_day = pg_str(*res, 0, 11);
        scope->end_day = pg_str(*res, 0, 12);
    }
    return ok;
}

/*
 * The tables fill while this runs, and the planner, who believes them empty and a slice to be one
 * row, must not be given a choice. So there is no join in it: each member's messages come from one
 * index scan (an aggregate is not flattened), whether one is in a digest from one look at the key
 * (a value, where NOT EXISTS would be a join), and each digest has its number before its row.
 *
 * A firing by members' clocks walks those who go by its own: the index has them together, so that a
 * thousand clocks cost no more than one. Both bounds are rows that begin with the clock, and so is
 * the order: an equality beside the cursor would have each slice begin with the clock's first
 * member again, and the index of all members by key must be of no use to begin with: the planner
 * takes what is behind a cursor for nothing, when there is one workspace. It takes whole study
 * days, those that had ended; and of a daily schedule none that a weekly one has had: Sunday's are
 * told on Monday, and not once more on Tuesday.
 */
#define MEMBER                                                                                     \
    "team_id, user_id, digests AND consent <> 'no' AND (COALESCE(standing, 'person') = 'person'"   \
    " OR (standing = 'external' AND $22)) AS wanted"
#define CLOCK       "COALESCE(time_zone, ''), COALESCE(digest_time, '24:00'::time)"
#define THEIR_CLOCK "z.name, COALESCE($16::text::time, '24:00'::time)"
#define WALK(theirs, asked, column, bound)                                                         \
    "(SELECT " MEMBER " FROM study.member WHERE $15 IS NULL"                                       \
    "  AND (team_id, user_id) > ($6, $7) AND " theirs " ORDER BY team_id, user_id LIMIT $8)"       \
    " UNION ALL"                                                                                   \
    " (SELECT m.* FROM unnest($15::text::text[]) AS z (name) CROSS JOIN LATERAL ("                 \
    "   SELECT " MEMBER " FROM study.member"                                                       \
    "   WHERE (" CLOCK ", team_id, user_id) > (" THEIR_CLOCK ", $6, $7)"                           \
    "    AND (" CLOCK column ") <= (" THEIR_CLOCK bound ") AND " asked                             \
    "   ORDER BY " CLOCK ", team_id, user_id LIMIT $8) m"                                          \
    "  ORDER BY team_id, user_id LIMIT $8)"

static const char slice_sql[] =
    "WITH slice AS MATERIALIZED ("
    /* one plan for both: with OR the members of one workspace would be looked for among all */
    WALK("$4 IS NULL", "$4 IS NULL", "", "")
    " UNION ALL " WALK("team_id = $4", "$4 IS NOT NULL", ", team_id", ", $4") "),"
    " records AS MATERIALIZED ("
    "  SELECT nextval('study.digest_digest_id_seq') AS digest_id, s.team_id, s.user_id,"
    "   r.channels, r.stamps"
    "  FROM slice s CROSS JOIN LATERAL ("
    "   SELECT array_agg(m.channel_id) AS channels, array_agg(m.ts) AS stamps"
    "   FROM study.message m"
    "   WHERE m.team_id = s.team_id AND m.user_id = s.user_id AND NOT m.deleted"
    "    AND m.posted_at >= $9 AND m.accepted_at < $10 AND ($5 IS NULL OR m.channel_id = $5)"
    "    AND ($18 IS NULL OR (study.study_day(m.posted_at, $18, $19::text::time) >= $20::text::date"
    "     AND study.study_day(m.posted_at, $18, $19::text::time) < $21::text::date))"
    "    AND study.is_record(m.text, m.files, m.thread_ts)"
    "    AND ($14 OR (SELECT c.private FROM study.channel c WHERE c.team_id = m.team_id"
    "     AND c.channel_id = m.channel_id) IS NOT TRUE)"
    "    AND (SELECT i.digest_id FROM study.digest_item i WHERE i.team_id = m.team_id"
    "     AND i.channel_id = m.channel_id AND i.ts = m.ts AND i.schedule_id = ANY "
    "($17::text::bigint[])"
    "     LIMIT 1) IS NULL) r"
    "  WHERE s.wanted AND r.stamps IS NOT NULL),"
    " owed AS ("
    "  INSERT INTO study.digest (digest_id, firing_id, schedule_id, team_id, user_id, deadline)"
    "  OVERRIDING SYSTEM VALUE"
    "  SELECT digest_id, $1, $3, team_id, user_id, now() + $11 * interval '1 millisecond'"
    "  FROM records),"
    " items AS ("
    "  INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id)"
    "  SELECT $3, r.team_id, u.channel_id, u.ts, r.digest_id"
    "  FROM records r, unnest(r.channels, r.stamps) AS u (channel_id, ts)),"
    " walked AS (SELECT count(*) < $8 AS done FROM slice),"
    " last AS (SELECT team_id, user_id FROM slice ORDER BY team_id DESC, user_id DESC LIMIT 1)"
    " UPDATE study.firing f SET"
    "  state = CASE WHEN w.done THEN 'done' ELSE 'collecting' END,"
    "  done_at = CASE WHEN w.done THEN now() END,"
    "  claim_token = CASE WHEN NOT w.done THEN f.claim_token END,"
    "  lease_until = CASE WHEN NOT w.done THEN now() + $12 * interval '1 millisecond' END,"
    "  cursor_team = COALESCE((SELECT team_id FROM last), f.cursor_team),"
    "  cursor_user = COALESCE((SELECT user_id FROM last), f.cursor_user),"
    "  overdue = f.overdue OR $13,"
    "  digests = f.digests + (SELECT count(*) FROM records)"
    " FROM walked w WHERE f.firing_id = $1 AND f.claim_token = $2::text::uuid"
    " RETURNING w.done, (SELECT count(*) FROM records)";

/* A few thousand items that nobody has counted yet look cheaper to read whole than to look up, once
 * for each message. And as all ways but one are closed, planning anew for each of a few thousand
 * clocks finds nothing that the first time did not. */
static const char by_index_sql[] =
    "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan";

static bool collect(struct pg *pg, const struct firing_claim *claim, const struct scope *scope,
                    const struct firing_slice_limits *limits, bool *done, int64_t *digests,
                    struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;

    pg_arg_int(args, claim->firing_id);
    pg_arg_cstr(args, claim->token);
    pg_arg_int(args, claim->schedule_id);
    pg_arg_str(args, scope->team);
    pg_arg_str(args, scope->channel);
    pg_arg_str(args, scope->cursor_team);
    pg_arg_str(args, scope->cursor_user);
    pg_arg_int(args, limits->members);
    pg_arg_time(args, scope->from_us);
    pg_arg_time(args, scope->fire_at_us);
    pg_arg_int(args, limits->deadline_ms);
    pg_arg_int(args, limits->lease_ms);
    pg_arg_bool(args, limits->overdue);
    pg_arg_bool(args, limits->private_channels);
    pg_arg_str(args, scope->zones);
    pg_arg_str(args, scope->digest_time);
    pg_arg_str(args, scope->claiming);
    pg_arg_str(args, scope->time_zone);
    pg_arg_str(args, scope->day_starts);
    pg_arg_str(args, scope->first_day);
    pg_arg_str(args, scope->end_day);
    pg_arg_bool(args, limits->external_members);
    bool ok = pg_exec_prepared(pg, slice_sql, args, &res, err);
    if (ok && pg_rows(res) != 1) {
        ok = error_set(err, ERROR_LOST, "firing %lld is no longer ours",
                       (long long)claim->firing_id);
    }
    if (ok) {
        *done = pg_bool(res, 0, 0);
        *digests = pg_int(res, 0, 1);
    }
    pg_args_destroy(&args);
    pg_result_destroy(&res);
    return ok;
}

bool db_firing_collect(struct pg *pg, const struct firing_claim *claim,
                       const struct firing_slice_limits *limits, enum firing_slice *result,
                       int64_t *digests, struct error *err)
{
    struct pg_result *row = NULL;
    struct scope scope = {.fire_at_us = 0};
    bool locked, done;

    *digests = 0;
    if (!pg_begin(pg, err) || !lock_schedule(pg, claim->schedule_id, &locked, err)) {
        goto fail;
    }
    if (!locked) {
        *result = FIRING_BUSY;
        pg_rollback(pg);
        return true;
    }
    if (!pg_script(pg, by_index_sql, err) || !read_scope(pg, claim, &scope, &row, err)) {
        goto fail;
    }
    if (pg_rows(row) == 0) {
        *result = FIRING_LOST;
        pg_result_destroy(&row);
        pg_rollback(pg);
        return true;
    }
    if (!collect(pg, claim, &scope, limits, &done, digests, err) ||
        (*digests > 0 && !pg_exec(pg, "SELECT pg_notify('study_digest', '')", NULL, NULL, err)) ||
        !pg_commit(pg, err)) {
        goto fail;
    }
    *result = done ? FIRING_DONE : FIRING_MORE;
    pg_result_destroy(&row);
    return true;

fail:
    pg_result_destroy(&row);
    pg_rollback(pg);
    *digests = 0;
    return false;
}
