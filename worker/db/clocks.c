/* Clocks of schedules; a NULL digest_time is the schedule's own, 24:00 in the index of members. */
#include "db/clocks.h"

#include <stdio.h>

#include "base/text.h"

#define ZONE "COALESCE(time_zone, '')"
#define TIME "COALESCE(digest_time, '24:00'::time)"

/*
 * Locks are taken on schedules first, as by whoever advances one, and never waited for. The walk
 * goes from each clock to the next one in the index, however many members share it.
 */
static const char follow_sql[] =
    "WITH RECURSIVE walk AS ("
    "  (SELECT " ZONE " AS zone, " TIME " AS at FROM study.member ORDER BY 1, 2 LIMIT 1)"
    "  UNION ALL"
    "  SELECT n.zone, n.at FROM walk w CROSS JOIN LATERAL ("
    "   SELECT " ZONE " AS zone, " TIME " AS at FROM study.member"
    "   WHERE (" ZONE ", " TIME ") > (w.zone, w.at) ORDER BY 1, 2 LIMIT 1) n),"
    " used AS MATERIALIZED (SELECT zone, NULLIF(at, '24:00'::time) AS digest_time FROM walk),"
    " schedules AS MATERIALIZED ("
    "  SELECT schedule_id FROM study.schedule WHERE scope = 'member' AND NOT paused"
    "  ORDER BY schedule_id FOR NO KEY UPDATE SKIP LOCKED),"
    " gone AS ("
    "  DELETE FROM study.schedule_clock c USING schedules s WHERE c.schedule_id = s.schedule_id"
    "  AND NOT EXISTS (SELECT FROM used u WHERE u.zone = c.zone"
    "   AND COALESCE(u.digest_time, '24:00'::time) = COALESCE(c.digest_time, '24:00'::time))),"
    " added AS ("
    "  INSERT INTO study.schedule_clock (schedule_id, zone, digest_time)"
    "  SELECT s.schedule_id, u.zone, u.digest_time FROM schedules s CROSS JOIN used u"
    "  ORDER BY 1, 2, 3 ON CONFLICT (schedule_id, zone, digest_time) DO NOTHING"
    "  RETURNING schedule_id)"
    " UPDATE study.schedule s SET next_at = now()"
    " WHERE s.next_at > now() AND s.schedule_id IN (SELECT schedule_id FROM added)";

bool db_clocks_follow(struct pg *pg, struct error *err)
{
    return pg_exec(pg, follow_sql, NULL, NULL, err);
}

static void copy(char *out, size_t size, struct str s)
{
    snprintf(out, size, "%.*s", STR_ARG(s));
}

bool db_clocks_due(struct pg *pg, const struct schedule_due *schedule,
                   struct member_clock out[CLOCKS_MAX], size_t *count, struct error *err)
{
    static const char anew_sql[] =
        "UPDATE study.schedule_clock SET next_at = NULL, time_zone = NULL WHERE schedule_id = $1";
    static const char due_sql[] =
        "SELECT zone, COALESCE(to_char(digest_time, 'HH24:MI'), ''), COALESCE(time_zone, ''),"
        "  floor(extract(epoch FROM next_at))::bigint"
        " FROM study.schedule_clock"
        " WHERE schedule_id = $1 AND (next_at IS NULL OR next_at <= now())"
        " ORDER BY next_at NULLS FIRST LIMIT $2";
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok = true;

    *count = 0;
    pg_arg_int(args, schedule->schedule_id);
    if (!schedule->reckoned) {
        ok = pg_exec(pg, anew_sql, args, NULL, err);
    }
    pg_arg_int(args, CLOCKS_MAX);
    ok = ok && pg_exec(pg, due_sql, args, &res, err);
    pg_args_destroy(&args);
    for (int row = 0; ok && row < pg_rows(res) && *count < CLOCKS_MAX; row++) {
        struct member_clock *clock = &out[(*count)++];

        copy(clock->zone, sizeof(clock->zone), pg_str(res, row, 0));
        copy(clock->digest_time, sizeof(clock->digest_time), pg_str(res, row, 1));
        copy(clock->time_zone, sizeof(clock->time_zone), pg_str(res, row, 2));
        clock->reckoned = !pg_is_null(res, row, 3);
        clock->next_at = pg_int(res, row, 3);
    }
    pg_result_destroy(&res);
    return ok;
}

bool db_clocks_advance(struct pg *pg, int64_t schedule_id, const struct member_clock *clocks,
                       size_t count, struct error *err)
{
    static const char clocks_sql[] =
        "UPDATE study.schedule_clock c SET time_zone = n.time_zone,"
        "  next_at = COALESCE(n.next_at, 'infinity')"
        " FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[])"
        "  AS n (zone, digest_time, time_zone, next_at)"
        " WHERE c.schedule_id = $1 AND c.zone = n.zone"
        "  AND COALESCE(c.digest_time, '24:00'::time) ="
        "   COALESCE(NULLIF(n.digest_time, '')::time, '24:00'::time)";
    static const char schedule_sql[] =
        "UPDATE study.schedule SET next_at = COALESCE((SELECT min(COALESCE(next_at, now()))"
        "  FROM study.schedule_clock WHERE schedule_id = $1), 'infinity') WHERE schedule_id = $1";
    struct pg_args *args = pg_args_create();
    struct pg_array *zones = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *times = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *in = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *next = pg_array_create(PG_TIMESTAMPTZ_ARRAY);

    for (size_t i = 0; i < count; i++) {
        pg_array_str(zones, str_of(clocks[i].zone));
        pg_array_str(times, str_of(clocks[i].digest_time));
        pg_array_str(in, str_of(clocks[i].time_zone));
        pg_array_time(next, clocks[i].next_at == SCHEDULE_NEVER ? INT64_MIN
                                                                : clocks[i].next_at * 1000000);
    }
    pg_arg_int(args, schedule_id);
    pg_arg_array(args, zones);
    pg_arg_array(args, times);
    pg_arg_array(args, in);
    pg_arg_array(args, next);
    bool ok = pg_exec(pg, clocks_sql, args, NULL, err);
    pg_args_reset(args);
    pg_arg_int(args, schedule_id);
    ok = ok && pg_exec(pg, schedule_sql, args, NULL, err);
    pg_array_destroy(&zones);
    pg_array_destroy(&times);
    pg_array_destroy(&in);
    pg_array_destroy(&next);
    pg_args_destroy(&args);
    return ok;
}
