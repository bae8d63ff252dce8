/*
 * Which lanes are due, and which reply of each stands at its head. A lane is locked before its
 * replies are looked at, as everywhere. A reply that is held for its member's morning is not in
 * line before it: what does not wait passes it.
 */
#include "db/outbox.h"

#include <stdlib.h>

#include "db/lanes.h"
#include "db/pauses.h"

#define RESPONSES "l.target LIKE 'response-%'"

#define NOT_PAUSED " AND NOT " PAUSED_SQL("deliver", "l.team_id")

/* They need no token, and no method's limit holds them. */
static const char lock_responses_sql[] =
    "SELECT l.team_id, l.target FROM study.lane l JOIN study.team t USING (team_id)"
    " WHERE l.due_at <= now() AND l.stopped_reason IS NULL AND " RESPONSES
    "   AND t.state = 'active'" NOT_PAUSED " ORDER BY l.due_at LIMIT $1"
    "   FOR UPDATE OF l SKIP LOCKED";

/* A workspace that may not be asked to open DMs just now holds up nobody whose DM is open. */
static const char lock_due_sql[] =
    "WITH closed AS MATERIALIZED ("
    "    SELECT team_id FROM study.slack_wait WHERE method = 'conversations.open'"
    "       AND (until > now() OR slot_at > now() + $3 * interval '1 ms'))"
    "SELECT l.team_id, l.target"
    "  FROM study.lane l JOIN study.team t USING (team_id)"
    " WHERE l.due_at <= now() AND l.stopped_reason IS NULL AND NOT " RESPONSES
    "   AND t.state = 'active' AND t.url IS NOT NULL" NOT_PAUSED
    "   AND NOT EXISTS (SELECT FROM study.slack_wait w"
    "                    WHERE w.team_id = l.team_id"
    "                      AND w.method = CASE WHEN l.target LIKE 'reaction-%' THEN 'reactions.add'"
    "                                          WHEN l.target LIKE 'delete-%' THEN 'chat.delete'"
    "                                          ELSE 'chat.postMessage' END"
    "                      AND (w.until > now() OR w.slot_at > now() + interval '1 ms' *"
    "                           CASE w.method WHEN 'chat.postMessage' THEN $2 ELSE $3 END))"
    "   AND NOT (l.team_id IN (SELECT team_id FROM closed)"
    "            AND (SELECT m.dm_channel_id IS NULL FROM study.member m"
    "                  WHERE m.team_id = l.team_id AND m.user_id = l.target) IS TRUE)"
    " ORDER BY l.due_at LIMIT $1"
    "   FOR UPDATE OF l SKIP LOCKED";

/* Held, and nobody has it in hand. */
#define HELD "(o.hold AND o.state = 'pending' AND COALESCE(o.lease_until, now()) <= now())"

/* A row that somebody else has changed since it was looked at fails the second look at its state
 * and token, and is left to the next claim. */
static const char claim_sql[] =
    "WITH head AS MATERIALIZED ("
    "    SELECT l.team_id, l.target, l.next_at AS lane_at, h.outbox_id, h.state, h.next_at,"
    "           h.lease_until, h.claim_token, q.ends AS quiet_ends"
    "      FROM unnest($1::text[], $2::text[]) AS w (team_id, target)"
    "      JOIN study.lane l USING (team_id, target)"
    "      LEFT JOIN LATERAL ("
    "          SELECT study.quiet_end(now(), " OUTBOX_ZONE ", $5::text::time, $6::text::time) AS ends"
    "            FROM study.outbox o CROSS JOIN study.setting e"
    "            LEFT JOIN study.member m ON m.team_id = o.team_id AND m.user_id = o.target"
    "            LEFT JOIN study.digest d USING (digest_id)"
    "            LEFT JOIN study.schedule s USING (schedule_id)"
    "           WHERE o.team_id = l.team_id AND o.target = l.target AND " HELD
    "           ORDER BY o.outbox_id LIMIT 1) q ON true"
    "      LEFT JOIN LATERAL ("
    "          SELECT o.* FROM study.outbox o"
    "           WHERE o.team_id = l.team_id AND o.target = l.target"
    "             AND o.state IN ('pending', 'sending', 'doubtful')"
    "             AND NOT (q.ends IS NOT NULL AND " HELD ")"
    "           ORDER BY o.outbox_id LIMIT 1) h ON true"
    "), doubt AS ("
    "    UPDATE study.outbox o"
    "       SET state = 'doubtful', claim_token = NULL, lease_until = NULL,"
    "           next_at = COALESCE(h.lease_until, now()) + $4 * interval '1 ms',"
    "           error = 'its process ended while it was being sent'"
    "      FROM head h"
    "     WHERE o.outbox_id = h.outbox_id AND o.state = 'sending'"
    "       AND COALESCE(h.lease_until, now()) <= now()"
    "       AND o.claim_token IS NOT DISTINCT FROM h.claim_token"
    "       AND o.lease_until IS NOT DISTINCT FROM h.lease_until"
    "    RETURNING o.outbox_id, o.next_at"
    "), claimed AS ("
    "    UPDATE study.outbox o"
    "       SET claim_token = gen_random_uuid(), lease_until = now() + $3 * interval '1 ms',"
    "           attempts = o.attempts + 1"
    "      FROM head h"
    "     WHERE o.outbox_id = h.outbox_id AND o.state IN ('pending', 'doubtful')"
    "       AND o.state = h.state AND o.claim_token IS NOT DISTINCT FROM h.claim_token"
    "       AND h.next_at <= now() AND h.lane_at <= now()"
    "       AND (h.lease_until IS NULL OR h.lease_until <= now())"
    "    RETURNING o.*"
    "), lanes AS ("
    "    UPDATE study.lane l"
    "       SET due_at = LEAST(h.quiet_ends,"
    "               CASE WHEN h.outbox_id IS NULL THEN NULL"
    "                    WHEN c.outbox_id IS NOT NULL THEN c.lease_until"
    "                    WHEN d.outbox_id IS NOT NULL THEN GREATEST(d.next_at, l.next_at)"
    "                    ELSE GREATEST(l.next_at, h.next_at, h.lease_until) END)"
    "      FROM head h LEFT JOIN claimed c USING (outbox_id) LEFT JOIN doubt d USING (outbox_id)"
    "     WHERE l.team_id = h.team_id AND l.target = h.target"
    ")"
    "SELECT c.outbox_id, c.claim_token, c.kind, c.state = 'doubtful', c.team_id, c.target,"
    "       c.thread_ts, c.body,"
    "       CASE WHEN c.kind IN ('digest', 'notice') AND c.target ~ '^[UW]' THEN m.dm_channel_id"
    "            WHEN c.kind IN ('reaction', 'delete') THEN c.body ->> 'channel'"
    "            WHEN c.kind <> 'response' THEN c.target END,"
    "       c.attempts,"
    "       (1000 * extract(epoch FROM now() - c.created_at - " OUTBOX_HELD("c", "$5", "$6") "))::bigint,"
    "       (1000000 * extract(epoch FROM c.sent_from))::bigint, c.channel_id,"
    "       (SELECT t.bot_user_id FROM study.team t WHERE t.team_id = c.team_id)"
    "  FROM claimed c"
    "  LEFT JOIN study.member m ON m.team_id = c.team_id AND m.user_id = c.target";

static enum outbox_kind kind_of(struct str word)
{
    static const char *const words[] = {
        [OUTBOX_DIGEST] = "digest",
        [OUTBOX_NOTICE] = "notice",
        [OUTBOX_CHANNEL_NOTICE] = "channel_notice",
        [OUTBOX_RESPONSE] = "response",
        [OUTBOX_REACTION] = "reaction",
        [OUTBOX_DELETE] = "delete",
    };
    size_t i = 0;

    while (i < sizeof(words) / sizeof(words[0]) && !str_is(word, words[i])) {
        i++;
    }
    if (i == sizeof(words) / sizeof(words[0])) {
        abort(); /* the column's CHECK knows no other */
    }
    return (enum outbox_kind)i;
}

static struct outbox_work *read_work(const struct pg_result *res, int row)
{
    struct outbox_work *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        abort();
    }
    w->outbox_id = pg_int(res, row, 0);
    w->claim_token = pg_dup(res, row, 1);
    w->kind = kind_of(pg_str(res, row, 2));
    w->doubtful = pg_bool(res, row, 3);
    w->team_id = pg_dup(res, row, 4);
    w->target = pg_dup(res, row, 5);
    w->thread_ts = pg_dup(res, row, 6);
    w->body = pg_dup(res, row, 7);
    /* where it may have been posted is where it is looked for */
    w->channel_id = pg_dup(res, row, w->doubtful ? 12 : 8);
    w->attempts = pg_int(res, row, 9);
    w->age_ms = pg_int(res, row, 10);
    w->sent_from_us = pg_is_null(res, row, 11) ? INT64_MIN : pg_int(res, row, 11);
    w->bot_user_id = pg_dup(res, row, 13);
    return w;
}

void outbox_work_destroy(struct outbox_work **work)
{
    struct outbox_work *w = *work;

    if (w == NULL) {
        return;
    }
    free(w->claim_token);
    free(w->team_id);
    free(w->target);
    free(w->thread_ts);
    free(w->body);
    free(w->channel_id);
    free(w->bot_user_id);
    free(w);
    *work = NULL;
}

static bool claim_heads(struct pg *pg, const struct pg_array *teams, const struct pg_array *targets,
                        const struct outbox_terms *terms, struct outbox_work ***works,
                        size_t *count, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *res = NULL;
    bool ok;

    pg_arg_array(args, teams);
    pg_arg_array(args, targets);
    pg_arg_int(args, terms->lease_ms);
    pg_arg_int(args, terms->settle_ms);
    pg_arg_cstr(args, terms->quiet_from);
    pg_arg_cstr(args, terms->quiet_until);
    ok = pg_exec(pg, claim_sql, args, &res, err);
    if (ok && pg_rows(res) > 0) {
        *count = (size_t)pg_rows(res);
        *works = calloc(*count, sizeof(**works));
        if (*works == NULL) {
            abort();
        }
        for (size_t i = 0; i < *count; i++) {
            (*works)[i] = read_work(res, (int)i);
        }
    }
    pg_result_destroy(&res);
    pg_args_destroy(&args);
    return ok;
}

static bool next_due(struct pg *pg, int64_t *next_ms, struct error *err)
{
    static const char sql[] =
        "SELECT ceil(1000 * extract(epoch FROM min(due_at) - clock_timestamp()))::bigint"
        "  FROM study.lane WHERE due_at > now() AND stopped_reason IS NULL";
    struct pg_result *res = NULL;
    bool ok = pg_exec(pg, sql, NULL, &res, err);

    if (ok && !pg_is_null(res, 0, 0)) {
        *next_ms = pg_int(res, 0, 0) > 0 ? pg_int(res, 0, 0) : 0;
    }
    pg_result_destroy(&res);
    return ok;
}

/* Adds the lanes that the statement locks. */
static bool lock_lanes(struct pg *pg, const char *sql, int64_t limit, bool paced,
                       struct pg_array *teams, struct pg_array *targets, struct error *err)
{
    struct pg_args *args = pg_args_create();
    struct pg_result *due = NULL;
    bool ok;

    pg_arg_int(args, limit);
    if (paced) {
        pg_arg_int(args, SLACK_POST_BURST_MS);
        pg_arg_int(args, SLACK_TIER3_BURST_MS);
    }
    ok = pg_exec(pg, sql, args, &due, err);
    for (int i = 0; ok && i < pg_rows(due); i++) {
        pg_array_str(teams, pg_str(due, i, 0));
        pg_array_str(targets, pg_str(due, i, 1));
    }
    pg_result_destroy(&due);
    pg_args_destroy(&args);
    return ok;
}

static bool claim_due(struct pg *pg, const struct outbox_terms *terms, struct outbox_work ***works,
                      size_t *count, struct error *err)
{
    struct pg_array *teams = pg_array_create(PG_TEXT_ARRAY);
    struct pg_array *targets = pg_array_create(PG_TEXT_ARRAY);
    int64_t left;
    bool ok;

    ok = lock_lanes(pg, lock_responses_sql, terms->limit, false, teams, targets, err);
    left = terms->limit - (int64_t)pg_array_size(teams);
    if (ok && left > 0 && !terms->responses_only) {
        ok = lock_lanes(pg, lock_due_sql, left, true, teams, targets, err);
    }
    if (ok && pg_array_size(teams) > 0) {
        ok = claim_heads(pg, teams, targets, terms, works, count, err);
    }
    pg_array_destroy(&targets);
    pg_array_destroy(&teams);
    return ok;
}

bool outbox_claim(struct pg *pg, const struct outbox_terms *terms, struct outbox_work ***works,
                  size_t *count, int64_t *next_ms, struct error *err)
{
    *works = NULL;
    *count = 0;
    *next_ms = -1;
    if (pg_begin(pg, err) && claim_due(pg, terms, works, count, err) &&
        next_due(pg, next_ms, err) && pg_commit(pg, err)) {
        return true;
    }
    pg_rollback(pg);
    for (size_t i = 0; i < *count; i++) {
        outbox_work_destroy(&(*works)[i]);
    }
    free(*works);
    *works = NULL;
    *count = 0;
    return false;
}
