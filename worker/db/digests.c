/*
 * A claim and the messages it reads belong to one transaction: a deletion either comes first and is
 * seen, or waits for the digest's row and then raises its source_version, which digests_store
 * compares.
 */
#include "db/digests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/pauses.h"

/*
 * Right after a firing nobody has counted the rows that are due, and all of them would be joined
 * and sorted for each claim, where the index has them in order. As each table has one index to be
 * looked up in, a plan serves for all claims of a connection.
 */
static const char in_order_sql[] =
    "SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off;"
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
    "SET LOCAL plan_cache_mode = force_generic_plan";

static const char claim_sql[] =
    "WITH quota AS ("
    "    SELECT EXISTS (SELECT FROM study.pause"
    "                    WHERE role = 'digest' AND reason = '" PAUSE_QUOTA "'"
    "                      AND (until IS NULL OR until > now())) AS gone"
    "), due AS ("
    "    SELECT d.digest_id"
    "      FROM study.digest d"
    "      JOIN study.member m USING (team_id, user_id)"
    "      JOIN study.team t USING (team_id)"
    "     CROSS JOIN quota"
    "     WHERE d.state IN ('pending', 'running') AND d.next_at <= now()"
    "       AND (d.state = 'pending' OR d.lease_until <= now())"
    "       AND t.state = 'active'"
    /* nothing is made that could not be sent */
    "       AND NOT EXISTS (SELECT FROM study.lane l WHERE l.team_id = d.team_id"
    "                          AND l.target = d.user_id AND l.stopped_reason IS NOT NULL)"
    /* permalinks want the workspace's address, for which deliver asks at once */
    "       AND (t.url IS NOT NULL OR d.created_at < now() - interval '1 min')"
    "       AND NOT EXISTS (SELECT FROM study.pause p"
    "                        WHERE p.role = 'digest' AND p.team_id IN ('', d.team_id)"
    "                          AND p.reason <> '" PAUSE_QUOTA "'"
    "                          AND (p.until IS NULL OR p.until > now()))"
    /* whoever was not told gets nothing, not even a digest without a model */
    "       AND (NOT m.digests OR m.consent = 'no'"
    "            OR (m.noticed_at IS NOT NULL"
    "                AND (d.deadline <= now() OR NOT $4"
    "                     OR ($3 AND NOT quota.gone AND (NOT $5 OR m.consent = 'yes')))))"
    "     ORDER BY d.next_at, d.digest_id"
    "     LIMIT $1"
    "       FOR UPDATE OF d SKIP LOCKED"
    "), claimed AS ("
    "    UPDATE study.digest d"
    "       SET state = 'running', claim_token = gen_random_uuid(), attempts = d.attempts + 1,"
    "           lease_until = now() + $2 * interval '1 ms'"
    "      FROM due WHERE d.digest_id = due.digest_id"
    "    RETURNING d.*"
    ")"
    "SELECT c.digest_id, c.claim_token, c.team_id, c.user_id, c.source_version, c.attempts,"
    "       c.deadline <= now(), m.noticed_at IS NOT NULL AND (NOT $5 OR m.consent = 'yes')"
    "           AND COALESCE(m.told_host, $7) = $7,"
    "       m.digests AND m.consent <> 'no', s.kind = 'weekly',"
    "       study.language_of(c.team_id, c.user_id, $6), COALESCE(t.url, ''),"
    "       to_char(f.fire_at AT TIME ZONE z.zone, 'YYYY-MM-DD'),"
    "       c.result, COALESCE(encode(c.prompt_hash, 'hex'), ''), z.zone,"
    "       f.trigger_key IS NULL, c.parts"
    "  FROM claimed c"
    "  JOIN study.member m USING (team_id, user_id)"
    "  JOIN study.team t USING (team_id)"
    "  JOIN study.schedule s USING (schedule_id)"
    "  JOIN study.firing f USING (firing_id)"
    " CROSS JOIN LATERAL (SELECT study.valid_zone(m.time_zone,"
    "                                             study.valid_zone(s.time_zone, 'UTC')) AS zone) z"
    " ORDER BY c.digest_id";

/* FOR SHARE waits for a deletion that is under way and did not yet see this digest. The newest are
 * those with the greatest ts, which is a time; `older` tells how many there are besides. */
static const char records_sql[] =
    "SELECT w.digest_id, m.channel_id, m.ts, m.thread_ts, left(m.text, 12000),"
    "       array_to_string(m.files, E'\\n'),"
    "       to_char(study.study_day(m.posted_at, w.zone, e.day_starts)::timestamp, 'YYYY-MM-DD'),"
    "       to_char(m.posted_at AT TIME ZONE w.zone, 'HH24:MI'), r.older"
    "  FROM unnest($1::bigint[], $2::text[]) AS w (digest_id, zone)"
    " CROSS JOIN study.setting e"
    " CROSS JOIN LATERAL ("
    "     SELECT i.team_id, i.channel_id, i.ts, GREATEST(count(*) OVER () - $3, 0) AS older"
    "       FROM study.digest_item i WHERE i.digest_id = w.digest_id AND NOT i.gone"
    "      ORDER BY i.ts DESC, i.channel_id DESC LIMIT $3) r"
    "  JOIN study.message m USING (team_id, channel_id, ts)"
    " WHERE NOT m.deleted"
    "   AND ($4 OR (SELECT c.private FROM study.channel c WHERE c.team_id = m.team_id"
    "                  AND c.channel_id = m.channel_id) IS NOT TRUE)"
    " ORDER BY w.digest_id, m.posted_at, m.channel_id, m.ts"
    "   FOR SHARE OF m";

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

static struct digest_work *read_work(const struct pg_result *res, int row)
{
    struct digest_work *w = allocate(1, sizeof(*w));

    w->digest_id = pg_int(res, row, 0);
    w->claim_token = pg_dup(res, row, 1);
    w->team_id = pg_dup(res, row, 2);
    w->user_id = pg_dup(res, row, 3);
    w->source_version = pg_int(res, row, 4);
    w->attempts = pg_int(res, row, 5);
    w->overdue = pg_bool(res, row, 6);
    w->model_allowed = pg_bool(res, row, 7);
    w->wanted = pg_bool(res, row, 8);
    w->weekly = pg_bool(res, row, 9);
    w->language = pg_dup(res, row, 10);
    w->team_url = pg_dup(res, row, 11);
    w->day = pg_dup(res, row, 12);
    w->stored_result = pg_dup(res, row, 13);
    w->stored_hash = pg_dup(res, row, 14);
    w->stored_parts = pg_dup(res, row, 17);
    w->scheduled = pg_bool(res, row, 16);
    return w;
}

static void read_record(struct digest_record *r, const struct pg_result *res, int row)
{
    r->channel_id = pg_dup(res, row, 1);
    r->ts = pg_dup(res, row, 2);
    r->thread_ts = pg_dup(res, row, 3);
    r->text = pg_dup(res, row, 4);
    r->files = pg_dup(res, row, 5);
    r->day = pg_dup(res, row, 6);
    r->time = pg_dup(res, row, 7);
}

/* Rows come by digest_id, as the works stand. */
static void read_records(struct digest_work **works, size_t count, const struct pg_result *res)
{
    int row = 0;

    for (size_t i = 0; i < count; i++) {
        int end = row;

        while (end < pg_rows(res) && pg_int(res, end, 0) == works[i]->digest_id) {
            end++;
        }
        works[i]->records_count = (size_t)(end - row);
        works[i]->records = allocate(works[i]->records_count + 1, sizeof(struct digest_record));
        works[i]->records_total =
            (int64_t)works[i]->records_count + (end > row ? pg_int(res, row, 8) : 0);
        for (size_t k = 0; k < works[i]->records_count; k++) {
            read_record(&works[i]->records[k], res, row + (int)k);
        }
        row = end;
    }
}

static bool load_records(struct pg *pg, struct digest_work **works, size_t count,
                         bool private_channels, const struct pg_result *claimed, struct error *err)
{
    struct pg_array *ids = pg_array_create(PG_INT8_ARRAY);
    struct pg_array *zones = pg_array_create(PG_TEXT_ARRAY);
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    for (size_t i = 0; i < count; i++) {
        pg_array_int(ids, works[i]->digest_id);
        pg_array_str(zones, pg_str(claimed, (int)i, 15));
    }
    pg_arg_array(args, ids);
    pg_arg_array(args, zones);
    pg_arg_int(args, DIGEST_RECORDS_MAX);
    pg_arg_bool(args, private_channels);
    ok = pg_exec_prepared(pg, records_sql, args, &res, err);
    if (ok) {
        read_records(works, count, res);
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    pg_array_destroy(&zones);
    pg_array_destroy(&ids);
    return ok;
}

static bool load_streaks(struct pg *pg, struct digest_work **works, size_t count, struct error *err)
{
    int64_t *ids = allocate(count, sizeof(*ids));
    struct streak *streaks = allocate(count, sizeof(*streaks));
    bool ok;

    for (size_t i = 0; i < count; i++) {
        ids[i] = works[i]->digest_id;
    }
    ok = db_streaks(pg, ids, count, streaks, err);
    for (size_t i = 0; i < count && ok; i++) {
        works[i]->streak = streaks[i];
    }
    free(streaks);
    free(ids);
    return ok;
}

bool digests_claim(struct pg *pg, const struct digest_terms *terms, struct digest_work ***works,
                   size_t *count, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    *works = NULL;
    *count = 0;
    pg_arg_int(args, terms->limit);
    pg_arg_int(args, terms->lease_ms);
    pg_arg_bool(args, terms->model_open);
    pg_arg_bool(args, terms->model_enabled);
    pg_arg_bool(args, terms->opt_in);
    pg_arg_cstr(args, terms->language);
    pg_arg_cstr(args, terms->host);
    ok = pg_begin(pg, err) && pg_script(pg, in_order_sql, err) &&
         pg_exec_prepared(pg, claim_sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *works = allocate(*count, sizeof(**works));
        for (size_t i = 0; i < *count; i++) {
            (*works)[i] = read_work(res, (int)i);
        }
        ok = load_records(pg, *works, *count, terms->private_channels, res, err) &&
             load_streaks(pg, *works, *count, err);
    }
    ok = ok && pg_commit(pg, err);
    if (!ok) {
        pg_rollback(pg);
        for (size_t i = 0; i < *count; i++) {
            digest_work_destroy(&(*works)[i]);
        }
        free(*works);
        *works = NULL;
        *count = 0;
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

void digest_work_destroy(struct digest_work **work)
{
    struct digest_work *w = *work;

    if (w == NULL) {
        return;
    }
    for (size_t i = 0; i < w->records_count; i++) {
        struct digest_record *r = &w->records[i];

        free(r->channel_id);
        free(r->ts);
        free(r->thread_ts);
        free(r->text);
        free(r->files);
        free(r->day);
        free(r->time);
    }
    free(w->records);
    free(w->claim_token);
    free(w->team_id);
    free(w->user_id);
    free(w->language);
    free(w->team_url);
    free(w->day);
    free(w->stored_result);
    free(w->stored_hash);
    free(w->stored_parts);
    free(w);
    *work = NULL;
}
