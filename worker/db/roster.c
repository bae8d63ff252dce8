/*
 * In a steady state every batch asks after rows that are there, so each statement looks before it
 * inserts: a failed insertion would cost a dead tuple.
 */
#include "db/roster.h"

/* A statement of every batch, whose parameters are arrays, destroyed here. */
static bool exec_arrays(struct pg *pg, const char *sql, struct pg_array **arrays, int n,
                        struct error *err)
{
    struct pg_args *args = pg_args_create();
    bool ok;

    for (int i = 0; i < n; i++) {
        pg_arg_array(args, arrays[i]);
    }
    ok = pg_exec_prepared(pg, sql, args, NULL, err);
    pg_args_destroy(&args);
    for (int i = 0; i < n; i++) {
        pg_array_destroy(&arrays[i]);
    }
    return ok;
}

/* See db/messages.c for the form of these: unnest in a list, a test of the few forgotten. */
static const char teams_sql[] =
    "INSERT INTO study.team (team_id)"
    " SELECT n.team_id FROM (SELECT unnest($1::text[]) AS team_id) AS n"
    " WHERE NOT EXISTS (SELECT FROM study.team AS t WHERE t.team_id = n.team_id)"
    " ON CONFLICT DO NOTHING";

static const char channels_sql[] =
    "INSERT INTO study.channel AS c (team_id, channel_id, private)"
    " SELECT n.team_id, n.channel_id, COALESCE(n.private, false)"
    " FROM (SELECT unnest($1::text[]) AS team_id, unnest($2::text[]) AS channel_id,"
    "  unnest($3::boolean[]) AS private) AS n"
    " WHERE NOT EXISTS (SELECT FROM study.channel AS o"
    " WHERE o.team_id = n.team_id AND o.channel_id = n.channel_id"
    " AND o.private = COALESCE(n.private, o.private))"
    " ON CONFLICT (team_id, channel_id)"
    " DO UPDATE SET private = excluded.private";

static const char members_sql[] =
    "INSERT INTO study.member (team_id, user_id)"
    " SELECT n.team_id, n.user_id"
    " FROM (SELECT unnest($1::text[]) AS team_id, unnest($2::text[]) AS user_id,"
    "  unnest($3::timestamptz[]) AS posted_at) AS n"
    " WHERE NOT EXISTS (SELECT FROM study.member AS m"
    " WHERE m.team_id = n.team_id AND m.user_id = n.user_id)"
    " AND NOT ((SELECT EXISTS (SELECT FROM study.forgotten))"
    "  AND EXISTS (SELECT FROM study.forgotten AS f"
    "   WHERE f.team_id = n.team_id AND f.user_id = n.user_id"
    "   AND COALESCE(n.posted_at, now()) < f.before))"
    " ON CONFLICT DO NOTHING";

bool db_teams_seen(struct pg *pg, const struct str *teams, size_t n, struct error *err)
{
    struct pg_array *arrays[] = {pg_array_create(PG_TEXT_ARRAY)};

    for (size_t i = 0; i < n; i++) {
        pg_array_str(arrays[0], teams[i]);
    }
    return exec_arrays(pg, teams_sql, arrays, 1, err);
}

bool db_channels_seen(struct pg *pg, const struct db_channel *channels, size_t n, struct error *err)
{
    struct pg_array *arrays[] = {pg_array_create(PG_TEXT_ARRAY), pg_array_create(PG_TEXT_ARRAY),
                                 pg_array_create(PG_BOOL_ARRAY)};

    for (size_t i = 0; i < n; i++) {
        pg_array_str(arrays[0], channels[i].team);
        pg_array_str(arrays[1], channels[i].channel);
        if (channels[i].privacy == DB_PRIVACY_UNKNOWN) {
            pg_array_null(arrays[2]);
        } else {
            pg_array_bool(arrays[2], channels[i].privacy == DB_PRIVATE);
        }
    }
    return exec_arrays(pg, channels_sql, arrays, 3, err);
}

bool db_members_seen(struct pg *pg, const struct db_member *members, size_t n, struct error *err)
{
    struct pg_array *arrays[] = {pg_array_create(PG_TEXT_ARRAY), pg_array_create(PG_TEXT_ARRAY),
                                 pg_array_create(PG_TIMESTAMPTZ_ARRAY)};

    for (size_t i = 0; i < n; i++) {
        pg_array_str(arrays[0], members[i].team);
        pg_array_str(arrays[1], members[i].user);
        pg_array_time(arrays[2],
                      members[i].posted_at_us != 0 ? members[i].posted_at_us : INT64_MIN);
    }
    return exec_arrays(pg, members_sql, arrays, 3, err);
}

static bool exec_strs(struct pg *pg, const char *sql, const struct str *values, int n,
                      struct error *err)
{
    struct pg_args *args = pg_args_create();

    for (int i = 0; i < n; i++) {
        pg_arg_str(args, values[i]);
    }
    return pg_exec_take(pg, sql, args, NULL, err);
}

bool db_channel_renamed(struct pg *pg, struct str team, struct str channel, struct str name,
                        struct error *err)
{
    return exec_strs(pg,
                     "UPDATE study.channel SET name = $3"
                     " WHERE team_id = $1 AND channel_id = $2 AND name IS DISTINCT FROM $3",
                     (struct str[]){team, channel, name}, 3, err);
}

bool db_member_zone(struct pg *pg, struct str team, struct str user, struct str time_zone,
                    struct error *err)
{
    return exec_strs(pg,
                     "UPDATE study.member SET time_zone = $3"
                     " WHERE team_id = $1 AND user_id = $2 AND time_zone IS DISTINCT FROM $3",
                     (struct str[]){team, user, time_zone}, 3, err);
}

bool db_team_changed(struct pg *pg, struct str team, struct str name, struct str url,
                     struct error *err)
{
    return exec_strs(pg,
                     "UPDATE study.team SET name = COALESCE($2, name), url = COALESCE($3, url)"
                     " WHERE team_id = $1",
                     (struct str[]){team, name, url}, 3, err);
}

bool db_team_stopped(struct pg *pg, struct str team, const char *reason, struct error *err)
{
    return exec_strs(pg,
                     "UPDATE study.team SET state = 'stopped', stopped_reason = $2"
                     " WHERE team_id = $1 AND state <> 'stopped'",
                     (struct str[]){team, str_of(reason)}, 2, err);
}
