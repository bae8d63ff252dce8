/*
 * Digests and replies taken up again by hand. What was, or may have been, sent is never sent again
 * by mistake: the state is read under the locks that sending takes, and judged there.
 */
#include <stdio.h>

#include "db/operate.h"

static bool judge(struct operate_said *said, enum operate_verdict verdict, const char *why)
{
    said->verdict = verdict;
    snprintf(said->why, sizeof(said->why), "%s", why);
    return true;
}

#define NO_DEADLINE (-1)

static bool change(struct pg *pg, const char *sql, int64_t id, int64_t deadline_ms,
                   struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, id);
    if (deadline_ms != NO_DEADLINE) {
        pg_arg_int(args, deadline_ms);
    }
    return pg_exec_take(pg, sql, args, NULL, err);
}

static bool read(struct pg *pg, const char *sql, int64_t id, struct pg_result **res,
                 struct error *err)
{
    struct pg_args *args = pg_args_create();

    pg_arg_int(args, id);
    return pg_exec_take(pg, sql, args, res, err);
}

/* ---- digests ---- */

static const char digest_lane_sql[] =
    "SELECT FROM study.lane l JOIN study.digest d ON d.team_id = l.team_id AND d.user_id = l.target"
    " WHERE d.digest_id = $1 FOR UPDATE OF l";

static const char digest_sql[] =
    "SELECT d.state,"
    "       EXISTS (SELECT FROM study.digest_item i JOIN study.message m"
    "                 USING (team_id, channel_id, ts)"
    "                WHERE i.digest_id = d.digest_id AND NOT i.gone AND NOT m.deleted),"
    "       COALESCE(d.origin, ''), m.digests AND m.consent <> 'no',"
    "       m.noticed_at IS NOT NULL, t.state = 'active'"
    "  FROM study.digest d JOIN study.member m USING (team_id, user_id)"
    "  JOIN study.team t USING (team_id)"
    " WHERE d.digest_id = $1 FOR UPDATE OF d";

/* Of all replies that were made from it. */
static const char digest_replies_sql[] =
    "SELECT COALESCE(bool_or(state IN ('sending', 'doubtful')"
    "                        OR (state = 'pending' AND lease_until > now())), false),"
    "       COALESCE(bool_or(state IN ('sent', 'parked')), false),"
    "       COALESCE(bool_or(state IN ('failed', 'cancelled')), false)"
    "  FROM (SELECT state, lease_until FROM study.outbox WHERE digest_id = $1 FOR UPDATE) o";

static const char digest_anew_sql[] =
    "WITH dropped AS ("
    "    UPDATE study.outbox SET state = 'cancelled', body = NULL, done_at = now(),"
    "           claim_token = NULL, lease_until = NULL, error = 'made anew by an operator'"
    "     WHERE digest_id = $1 AND state = 'pending')"
    "UPDATE study.digest SET state = 'pending', source_version = source_version + 1,"
    "       result = NULL, origin = NULL, attempts = 0, error = NULL, next_at = now(),"
    "       made_at = NULL, prompt_hash = NULL,"
    "       deadline = now() + $2 * interval '1 ms'"
    " WHERE digest_id = $1";

static const char digest_due_sql[] = "UPDATE study.digest SET next_at = now(), attempts = 0,"
                                     "       deadline = now() + $2 * interval '1 ms'"
                                     " WHERE digest_id = $1 AND state = 'pending'";

static void what_it_waits_for(const struct pg_result *digest, struct operate_said *said)
{
    judge(said, OPERATE_DONE,
          !pg_bool(digest, 0, 5)   ? "it waits: the workspace is stopped"
          : !pg_bool(digest, 0, 4) ? "it waits: the privacy notice has not reached the member"
                                   : "");
}

/* Under its locks; true with said->verdict other than DONE: nothing is to be done. */
static bool judge_digest(const struct pg_result *digest, const struct pg_result *replies,
                         bool again, struct operate_said *said)
{
    struct str state = pg_str(digest, 0, 0);

    if (str_is(state, "running")) {
        return judge(said, OPERATE_REFUSED, "it is being made just now");
    }
    if (!pg_bool(digest, 0, 1)) {
        return judge(said, OPERATE_REFUSED, "nothing is left of the messages it was made from");
    }
    if (!pg_bool(digest, 0, 3)) {
        return judge(said, OPERATE_REFUSED, "the member wants no digests");
    }
    if (pg_bool(replies, 0, 0)) {
        return judge(said, OPERATE_REFUSED, "its reply is on its way, or is being looked up");
    }
    if (pg_bool(replies, 0, 1) && !again) {
        return judge(said, OPERATE_ASK,
                     "its reply was sent, or may have been: the member would "
                     "get a second one");
    }
    if (str_is(state, "made") && str_is(pg_str(digest, 0, 2), "model") && !pg_bool(replies, 0, 1) &&
        !pg_bool(replies, 0, 2)) {
        return judge(said, OPERATE_REFUSED, "the model made it, and its reply waits to be sent");
    }
    what_it_waits_for(digest, said);
    return true;
}

bool operate_digest_retry(struct pg *pg, int64_t digest_id, bool again, int64_t deadline_ms,
                          struct operate_said *said, struct error *err)
{
    struct pg_result *digest = NULL, *replies = NULL;
    bool ok = pg_begin(pg, err) && read(pg, digest_lane_sql, digest_id, NULL, err) &&
              read(pg, digest_sql, digest_id, &digest, err) &&
              read(pg, digest_replies_sql, digest_id, &replies, err);

    if (ok && pg_rows(digest) == 0) {
        judge(said, OPERATE_NONE, "");
    } else if (ok) {
        judge_digest(digest, replies, again, said);
    }
    if (ok && said->verdict == OPERATE_DONE) {
        bool waiting = str_is(pg_str(digest, 0, 0), "pending");

        ok = change(pg, waiting ? digest_due_sql : digest_anew_sql, digest_id, deadline_ms, err) &&
             pg_exec(pg, "NOTIFY study_digest", NULL, NULL, err) && pg_commit(pg, err);
    }
    if (!ok || said->verdict != OPERATE_DONE) {
        pg_rollback(pg);
    }
    pg_result_destroy(&digest);
    pg_result_destroy(&replies);
    return ok;
}

/* ---- replies ---- */

static const char reply_lane_sql[] =
    "SELECT FROM study.lane l JOIN study.outbox o USING (team_id, target)"
    " WHERE o.outbox_id = $1 FOR UPDATE OF l";

static const char reply_sql[] =
    "SELECT o.state, o.body IS NULL, o.claim_token IS NOT NULL AND o.lease_until > now(),"
    "       t.state = 'active',"
    "       o.digest_id IS NULL OR EXISTS (SELECT FROM study.digest d"
    "         WHERE d.digest_id = o.digest_id AND d.source_version = o.source_version)"
    "  FROM study.outbox o JOIN study.team t USING (team_id)"
    " WHERE o.outbox_id = $1 FOR UPDATE OF o";

/* Its age counts anew, or deliver would give it up at once. */
static const char reply_again_sql[] =
    "WITH o AS (UPDATE study.outbox SET state = 'pending', attempts = 0, next_at = now(),"
    "                  created_at = now(), done_at = NULL, claim_token = NULL, lease_until = NULL,"
    "                  error = 'taken up again by an operator'"
    "            WHERE outbox_id = $1 RETURNING team_id, target)"
    "UPDATE study.lane l SET due_at = now(), stopped_reason = NULL, retry_at = NULL"
    "  FROM o WHERE l.team_id = o.team_id AND l.target = o.target";

static const char reply_park_sql[] =
    "WITH o AS (UPDATE study.outbox SET state = 'parked', done_at = now(), claim_token = NULL,"
    "                  lease_until = NULL, error = 'parked by an operator'"
    "            WHERE outbox_id = $1 RETURNING team_id, target)"
    "UPDATE study.lane l SET due_at = GREATEST(now(), l.next_at)"
    "  FROM o WHERE l.team_id = o.team_id AND l.target = o.target";

static void judge_retry(const struct pg_result *reply, bool sure, struct operate_said *said)
{
    struct str state = pg_str(reply, 0, 0);

    if (str_is(state, "sent")) {
        judge(said, OPERATE_REFUSED, "it was sent");
    } else if (str_is(state, "cancelled")) {
        judge(said, OPERATE_REFUSED, "it was cancelled, and its text is gone");
    } else if (str_is(state, "sending") || pg_bool(reply, 0, 2)) {
        judge(said, OPERATE_REFUSED, "it is in hand just now");
    } else if (pg_bool(reply, 0, 1) || !pg_bool(reply, 0, 4)) {
        judge(said, OPERATE_REFUSED,
              "what it was made from has changed; see studyctl digest retry");
    } else if ((str_is(state, "parked") || str_is(state, "doubtful")) && !sure) {
        judge(said, OPERATE_ASK, "it may have been sent: the member may get it twice");
    } else {
        judge(said, OPERATE_DONE, pg_bool(reply, 0, 3) ? "" : "it waits: the workspace is stopped");
    }
}

static void judge_park(const struct pg_result *reply, struct operate_said *said)
{
    struct str state = pg_str(reply, 0, 0);

    if (str_is(state, "sending")) {
        judge(said, OPERATE_REFUSED, "it is being sent just now");
    } else if (!str_one_of(state, "pending|doubtful")) {
        judge(said, OPERATE_REFUSED, "it is finished already");
    } else {
        judge(said, OPERATE_DONE, "");
    }
}

static bool move_reply(struct pg *pg, int64_t outbox_id, bool park, bool sure,
                       struct operate_said *said, struct error *err)
{
    struct pg_result *reply = NULL;
    bool ok = pg_begin(pg, err) && read(pg, reply_lane_sql, outbox_id, NULL, err) &&
              read(pg, reply_sql, outbox_id, &reply, err);

    if (ok && pg_rows(reply) == 0) {
        judge(said, OPERATE_NONE, "");
    } else if (ok && park) {
        judge_park(reply, said);
    } else if (ok) {
        judge_retry(reply, sure, said);
    }
    if (ok && said->verdict == OPERATE_DONE) {
        ok = change(pg, park ? reply_park_sql : reply_again_sql, outbox_id, NO_DEADLINE, err) &&
             pg_exec(pg, "NOTIFY study_outbox", NULL, NULL, err) && pg_commit(pg, err);
    }
    if (!ok || said->verdict != OPERATE_DONE) {
        pg_rollback(pg);
    }
    pg_result_destroy(&reply);
    return ok;
}

bool operate_outbox_retry(struct pg *pg, int64_t outbox_id, bool sure, struct operate_said *said,
                          struct error *err)
{
    return move_reply(pg, outbox_id, false, sure, said, err);
}

bool operate_outbox_park(struct pg *pg, int64_t outbox_id, struct operate_said *said,
                         struct error *err)
{
    return move_reply(pg, outbox_id, true, false, said, err);
}
