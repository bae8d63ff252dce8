/* One statement over study.member_day, whose aggregates keep it to the members asked for. */
#include "db/streaks.h"

#include <string.h>

bool db_streaks(struct pg *pg, const int64_t *digest_ids, size_t count, struct streak *out,
                struct error *err)
{
    static const char sql[] =
        "SELECT a.place, c.current_streak, c.longest_streak, cardinality(d.days), d.records"
        " FROM unnest($1::bigint[]) WITH ORDINALITY AS a (digest_id, place)"
        " CROSS JOIN study.setting s"
        " CROSS JOIN LATERAL ("
        "  SELECT g.team_id, g.user_id, study.study_day(f.fire_at,"
        "   study.valid_zone(m.time_zone, s.time_zone), s.day_starts) AS today"
        "  FROM study.digest g JOIN study.firing f USING (firing_id)"
        "  JOIN study.member m ON m.team_id = g.team_id AND m.user_id = g.user_id"
        "  WHERE g.digest_id = a.digest_id OFFSET 0) g"
        " CROSS JOIN LATERAL ("
        "  SELECT array_agg(e.day) AS days, sum(e.records)::bigint AS records"
        "  FROM study.member_day e"
        "  WHERE e.team_id = g.team_id AND e.user_id = g.user_id AND e.day <= g.today) d"
        " CROSS JOIN LATERAL study.streaks(d.days, g.today) c";
    struct pg_args *args = pg_args_create();
    struct pg_array *ids = pg_array_create(PG_INT8_ARRAY);
    struct pg_result *res = NULL;

    memset(out, 0, count * sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        pg_array_int(ids, digest_ids[i]);
    }
    pg_arg_array(args, ids);
    bool ok = pg_exec_prepared(pg, sql, args, &res, err);
    for (int row = 0; ok && row < pg_rows(res); row++) {
        struct streak *streak = &out[pg_int(res, row, 0) - 1];

        streak->current = pg_int(res, row, 1);
        streak->longest = pg_int(res, row, 2);
        streak->days = pg_int(res, row, 3);
        streak->records = pg_int(res, row, 4);
    }
    pg_result_destroy(&res);
    pg_array_destroy(&ids);
    pg_args_destroy(&args);
    return ok;
}
