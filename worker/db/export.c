/*
 * Column names are what the member reads, so they are part of the interface. Of what others wrote
 * nothing is here: a thread's parent is named by its time stamp only.
 */
#include "db/export.h"

const struct export_part export_parts[] = {
    {"member", "SELECT * FROM study.member WHERE team_id = $1 AND user_id = $2"},
    {"messages",
     "SELECT m.channel_id, c.name AS channel, m.ts, m.thread_ts, m.posted_at, m.subtype, m.text,"
     " to_jsonb(m.files) AS files, m.edited_ts, m.deleted, m.accepted_at, m.stored_at"
     " FROM study.message m LEFT JOIN study.channel c USING (team_id, channel_id)"
     " WHERE m.team_id = $1 AND m.user_id = $2"
     " ORDER BY m.posted_at, m.channel_id, m.ts"},
    {"digests",
     "SELECT d.digest_id, s.name AS schedule, f.fire_at, d.state, d.origin, d.language, d.model,"
     " d.result, d.parts, d.prompt_tokens, d.completion_tokens, d.attempts, d.error, d.created_at,"
     " d.made_at, b.answer AS feedback, b.answered_at AS feedback_at"
     " FROM study.digest d LEFT JOIN study.firing f USING (firing_id)"
     " LEFT JOIN study.schedule s ON s.schedule_id = d.schedule_id"
     " LEFT JOIN study.feedback b USING (digest_id)"
     " WHERE d.team_id = $1 AND d.user_id = $2 ORDER BY d.digest_id"},
    {"digest_records",
     "SELECT i.digest_id, i.channel_id, i.ts, i.gone FROM study.digest_item i"
     " JOIN study.digest d USING (digest_id) WHERE d.team_id = $1 AND d.user_id = $2"
     " ORDER BY i.digest_id, i.channel_id, i.ts"},
    {"replies",
     "SELECT o.outbox_id, o.kind, o.digest_id, o.state, o.body, o.channel_id, o.sent_ts, o.error,"
     " o.told_host, o.created_at, o.done_at FROM study.outbox o WHERE o.team_id = $1"
     " AND ((o.digest_id IS NULL AND o.target IN ($2, 'response-' || $2))"
     "  OR o.digest_id IN (SELECT d.digest_id FROM study.digest d"
     "   WHERE d.team_id = $1 AND d.user_id = $2)"
     "  OR (o.kind = 'delete' AND o.target IN (SELECT 'delete-' || m.dm_channel_id"
     "   FROM study.member m WHERE m.team_id = $1 AND m.user_id = $2))"
     "  OR (o.kind = 'reaction' AND o.identity IN ("
     "   SELECT concat_ws(':', 'reaction', m.team_id, m.channel_id, m.ts)"
     "   FROM study.message m WHERE m.team_id = $1 AND m.user_id = $2)))"
     " ORDER BY o.outbox_id"},
    {"lanes", "SELECT target, next_at, stopped_reason, retry_at FROM study.lane"
              " WHERE team_id = $1 AND (target IN ($2, 'response-' || $2)"
              "  OR target IN (SELECT 'delete-' || m.dm_channel_id FROM study.member m"
              "   WHERE m.team_id = $1 AND m.user_id = $2)) ORDER BY target"},
    {"streak", "SELECT * FROM study.streak WHERE team_id = $1 AND user_id = $2"},
    {"days", "SELECT day, records FROM study.member_day WHERE team_id = $1 AND user_id = $2"
             " ORDER BY day"},
    {"past_days", "SELECT day, records FROM study.past_day WHERE team_id = $1 AND user_id = $2"
                  " ORDER BY day"},
    {"requests", "SELECT requested_at, done_at FROM study.export_request"
                 " WHERE team_id = $1 AND user_id = $2 ORDER BY request_id"},
    {"joins", "SELECT channel_id, joined_at FROM study.channel_join"
              " WHERE team_id = $1 AND user_id = $2 ORDER BY channel_id"},
    {"forgotten", "SELECT NULLIF(before, 'infinity') AS before, before = 'infinity' AS for_good,"
                  " asked_at, done_at FROM study.forgotten WHERE team_id = $1 AND user_id = $2"},
    /* bytes that are no ASCII as \ooo */
    {"dead_events",
     "SELECT d.dead_id, d.reason, d.created_at, encode(d.element, 'escape') AS element"
     " FROM study.dead_event d WHERE position(convert_to($2, 'UTF8') IN d.element) > 0"
     "  AND position(convert_to($1, 'UTF8') IN d.element) > 0"
     "  AND $2 IN (SELECT study.element_authors(encode(d.element, 'escape')))"
     " ORDER BY d.dead_id"},
};
const size_t export_parts_count = sizeof(export_parts) / sizeof(export_parts[0]);

bool export_begin(struct pg *pg, struct error *err)
{
    return pg_begin(pg, err) &&
           pg_exec(pg, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, NULL,
                   err);
}

void export_end(struct pg *pg)
{
    pg_rollback(pg);
}

bool export_read(struct pg *pg, const struct export_part *part, const char *team_id,
                 const char *user_id, struct pg_result **res, struct error *err)
{
    return pg_exec_take(pg, part->sql, pg_args_pair(team_id, user_id), res, err) ||
           error_wrap(err, "%s", part->name);
}

bool export_handed_out(struct pg *pg, const char *team_id, const char *user_id, struct error *err)
{
    return pg_exec_take(pg,
                        "UPDATE study.export_request SET done_at = now()"
                        " WHERE team_id = $1 AND user_id = $2 AND done_at IS NULL",
                        pg_args_pair(team_id, user_id), NULL, err);
}
