# What t/mutants/run breaks: each a name, the edits (a file, the text that is there, the text in
# its place: everywhere in the file), the test, and what in it has to go red.

use strict;
use warnings;

my $ABOUT_TOKEN = ' AND o.claim_token = w.token::uuid';

return [
    # ---- what is accepted ----
    {
        name => 'signature-always-true', test => 't/module/events.t', red => qr/signed with another secret/,
        edits => [ [ 'ngx_study_module/ngx_http_study_signature.c', 'if (CRYPTO_memcmp(hex, signature->data + 3, sizeof(hex)) == 0) {', 'if (CRYPTO_memcmp(hex, signature->data + 3, sizeof(hex)) != -1) {' ] ],
    },
    {
        name => 'window-unchecked', test => 't/module/window.t', red => qr/301 s ago/,
        edits => [ [ 'ngx_study_module/ngx_http_study_signature.c', 'if (ts > now + tolerance || ts < now - tolerance) {', 'if (ts > now + tolerance && ts < now - tolerance) {' ] ],
    },

    # ---- what is stored ----
    {
        name => 'ack-before-commit', test => 't/worker/queue.t', red => qr/in vain for a batch to be leased/,
        edits => [ [ 'worker/proc/role_store.c', '    done = store_range(s, s->items, s->nitems);', "    if (!queue_ack(server->queue, &held, &err)) {\n        held = true;\n    }\n    done = store_range(s, s->items, s->nitems);" ] ],
    },
    {
        name => 'lost-lease-uncounted', test => 't/worker/queue.t', red => qr/in vain for the counter/,
        edits => [ [ 'worker/proc/role_store.c', '    if (!held) {', '    if (!held && server == NULL) {' ] ],
    },
    {
        name => 'ack-takes-any-lease', test => 't/worker/queue.t', red => qr/in vain for the counter/,
        edits => [ [ 'worker/ingest/ack.lua', "if redis.call('ZREM', KEYS[2], KEYS[1]) == 0 then", "if redis.call('ZREM', KEYS[2], KEYS[1]) < 0 then" ] ],
    },

    # ---- what fires ----
    {
        name => 'firing-apart-from-next', test => 't/worker/schedule.t', red => qr/the next time fails: it has not fired/,
        edits => [ [ 'worker/schedule/due.c', '           due_batch_insert(&batch, pg, s->schedule_id, now, counts, err) &&', "           due_batch_insert(&batch, pg, s->schedule_id, now, counts, err) &&\n           pg_commit(pg, err) && pg_begin(pg, err) &&" ] ],
    },
    {
        name => 'next-before-firing', test => 't/worker/schedule.t', red => qr/and is due still/,
        edits => [ [ 'worker/schedule/due.c', '           due_batch_insert(&batch, pg, s->schedule_id, now, counts, err) &&', "           db_schedule_advance(pg, s->schedule_id, plan->next_at, err) && pg_commit(pg, err) && pg_begin(pg, err) &&\n           due_batch_insert(&batch, pg, s->schedule_id, now, counts, err) &&" ] ],
    },
    {
        name => 'trigger-key-ignored', test => 't/worker/store.t', red => qr/^triggers/,
        edits => [ [ 'worker/ingest/event.c', 'envelope->idempotency_key.len != 0 ? envelope->idempotency_key : envelope->request_id;', 'envelope->request_id;' ] ],
    },
    {
        name => 'trigger-key-ignored-member', test => 't/worker/schedule.t', red => qr/members' clocks too/,
        edits => [ [ 'worker/db/firings.c', '"  SELECT schedule_id, time_zone, LEAST($3, now() + interval \'1 minute\'), $2 FROM wanted"', '"  SELECT schedule_id, time_zone, LEAST($3, now() + interval \'1 minute\'), $2 || (SELECT CASE WHEN scope = \'member\' THEN gen_random_uuid()::text ELSE \'\' END FROM study.schedule s WHERE s.name = $1) FROM wanted"' ] ],
    },
    {
        name => 'firing-token-at-renew', test => 't/worker/schedule.t', red => qr/in vain for the scheduler to let go of what waits/,
        edits => [ [ 'worker/db/firings.c', ' AND f.claim_token = c.token::uuid', '' ] ],
    },
    {
        name => 'firing-token-at-collect', test => 't/worker/schedule.t', red => qr/in vain for the scheduler to let go of what it collects/,
        edits => [ [ 'worker/db/firings_collect.c', ' AND f.claim_token = $2::text::uuid', ' AND $2::text::uuid IS NOT NULL' ] ],
    },
    {
        name => 'firing-token-at-release', test => 't/worker/schedule.t', red => qr/nor given back at a stop/,
        edits => [ [ 'worker/db/firings.c', ' AND claim_token = $2::text::uuid', ' AND $2::text::uuid IS NOT NULL' ] ],
    },

    # ---- what is made ----
    {
        name => 'notice-not-awaited', test => 't/worker/notice.t', red => qr/^notice/,
        edits => [ [ 'worker/db/digests.c', '            OR (m.noticed_at IS NOT NULL"', '            OR (true"' ], [ 'worker/db/digests.c', 'm.noticed_at IS NOT NULL AND (NOT $5', '(NOT $5' ] ],
    },
    {
        name => 'digest-token-unchecked', test => 't/worker/woken.t', red => qr/digest|the woken one to let go/,
        edits => [
            [ 'worker/db/digests_end.c', ' AND d.claim_token = w.token::uuid', '' ],
            [ 'worker/db/digests_end.c', ' AND claim_token = $2::uuid', ' AND $2::uuid IS NOT NULL' ],
            [ 'worker/db/digests_held.c', ' AND d.claim_token = w.token::uuid', '' ],
        ],
    },
    {
        name => 'digest-token-at-store', test => 't/worker/woken.t', red => qr/digest, taken by another while its answer is stored/,
        edits => [ [ 'worker/db/digests_end.c', 'd.digest_id = w.digest_id AND d.claim_token = w.token::uuid', 'd.digest_id = w.digest_id' ] ],
    },
    {
        name => 'digest-token-at-put-back', test => 't/worker/woken.t', red => qr/digest, taken by another while it is put back/,
        edits => [ [ 'worker/db/digests_end.c', ' AND claim_token = $2::uuid', ' AND $2::uuid IS NOT NULL' ] ],
    },
    {
        name => 'digest-token-at-renew', test => 't/worker/woken.t', red => qr/in vain for the woken one to let go of it/,
        edits => [ [ 'worker/db/digests_held.c', '" WHERE d.digest_id = w.digest_id AND d.claim_token = w.token::uuid"', '" WHERE d.digest_id = w.digest_id"' ] ],
    },
    {
        name => 'rest-before-notice', test => 't/worker/notice.t', red => qr/in vain for the second notice/,
        edits => [ [ 'worker/db/digests_held.c', '(m.noticed_at IS NULL AND EXISTS ("', '(m.noticed_at IS NULL OR EXISTS ("' ] ],
    },
    {
        name => 'stop-keeps-digests', test => 't/worker/digest.t', red => qr/gives back what is in hand, while PostgreSQL/,
        edits => [ [ 'worker/proc/digest_store.c', '    d->db.not_before_ms = 0;', '' ] ],
    },
    {
        name => 'budget-not-reserved', test => 't/worker/budget.t', red => qr/more digests than there is money for/,
        edits => [ [ 'worker/db/budget.c', '            reserved.tokens += tokens;', '' ], [ 'worker/db/budget.c', '            reserved.cost += cost;', '' ], [ 'worker/db/budget.c', 'COALESCE(sum(reserved_tokens), 0)', '0' ] ],
    },
    {
        name => 'budget-reserved-for-ever', test => 't/worker/budget.t', red => qr/what a dead process had reserved/,
        edits => [ [ 'worker/db/budget.c', ' AND lease_until > now()"', '"' ] ],
    },
    {
        name => 'budget-token-unchecked', test => 't/worker/budget.t', red => qr/a claim that is another's by now/,
        edits => [ [ 'worker/db/budget.c', ' AND d.claim_token = w.token::uuid', '' ] ],
    },
    {
        name => 'text-may-ping', test => 'build/unit/test_render', red => qr/./,
        edits => [ [ 'worker/digest/clean.c', "if (s.data[i] == '\@' && is_broadcast(s, i)) {", "if (s.data[i] == '\@' && is_broadcast(s, i) && s.len == 0) {" ] ],
    },
    {
        name => 'mrkdwn-not-escaped', test => 'build/unit/test_render', red => qr/./,
        edits => [ [ 'worker/base/text.c', '&lt;', '<' ] ],
    },
    {
        name => 'permalink-unchecked', test => 'build/unit/test_render', red => qr/^permalinks/,
        edits => [ [ 'worker/digest/frame.c', "n > 0 && team_url[n - 1] == '/' && link_is_web((struct str){team_url, n});", 'n > 0 && link_is_web != NULL;' ] ],
    },
    {
        name => 'citations-unchecked', test => 'build/unit/test_render', red => qr/./,
        edits => [ [ 'worker/digest/answer.c', '(uint64_t)n > end - first) {', '(uint64_t)n > end - first + 1) {' ] ],
    },

    # ---- what is sent ----
    {
        name => 'no-sending-mark', test => 't/worker/deliver.t', red => qr/kill -9 between taking and noting/,
        edits => [ [ 'worker/db/outbox.c', "SET state = 'sending', channel_id", "SET channel_id" ] ],
    },
    {
        name => 'notified-after-the-wait-only', test => 't/worker/deliver_kinds.t', red => qr/what was committed meanwhile is sent/,
        edits => [ [ 'worker/proc/role_deliver.c', "    if (db_turn_notified(&d->db)) {\n        d->claim_at_ms = clock_boot_ms();\n    }\n    fds[0]", '    fds[0]' ] ],
    },
    {
        name => 'outbox-token-unchecked', test => 't/worker/woken.t', red => qr/deliver/,
        edits => [ [ 'worker/db/outbox.c', $ABOUT_TOKEN, '' ] ],
    },
    {
        name => 'outbox-token-at-sending', test => 't/worker/woken.t', red => qr/with a claim that is another's by now/,
        edits => [ [ 'worker/db/outbox.c', "$ABOUT_TOKEN\"\n    \"       AND o.lease_until > clock_timestamp()\"", "\"\n    \"       AND o.lease_until > clock_timestamp()\"" ] ],
    },
    {
        name => 'outbox-token-at-finish', test => 't/worker/woken.t', red => qr/while Slack does not answer/,
        edits => [ [ 'worker/db/outbox.c', "      FROM w WHERE o.outbox_id = w.id$ABOUT_TOKEN\"", '      FROM w WHERE o.outbox_id = w.id"' ] ],
    },
    {
        name => 'lease-unchecked', test => 't/worker/woken.t', red => qr/between `sending` and the post/,
        edits => [ [ 'worker/proc/deliver_job.c', 'if (job->asked_ms + slack->timeout_ms > job->lease_ends_ms) {', 'if (job->lease_ends_ms < 0) {' ] ],
    },
    {
        name => 'body-read-again', test => 'build/unit/test_http', red => qr/once_is_once/,
        edits => [ [ 'worker/io/http.c', "    (void)arg;\n    (void)offset;\n    (void)origin;\n    return CURL_SEEKFUNC_FAIL;", "    struct slot *slot = arg;\n\n    (void)origin;\n    slot->body_sent = (size_t)offset;\n    return CURL_SEEKFUNC_OK;" ], [ 'worker/io/http.c', 'CURLOPT_SEEKFUNCTION, refuse_seek);', "CURLOPT_SEEKFUNCTION, refuse_seek);\n        curl_easy_setopt(easy, CURLOPT_SEEKDATA, slot);" ] ],
    },
    {
        name => 'night-makes-old', test => 't/worker/quiet.t', red => qr/a night does not make a reply too old/,
        edits => [ [ 'worker/db/outbox_claim.c', 'now() - c.created_at - " OUTBOX_HELD("c", "$5", "$6") "', 'now() - c.created_at' ] ],
    },
    {
        name => 'quiet-hours-ignored', test => 't/worker/quiet.t', red => qr/waits for the morning/,
        edits => [ [ 'worker/db/outbox_claim.c', 'NOT (q.ends IS NOT NULL AND " HELD ")', 'NOT (q.ends IS NULL AND q.ends IS NOT NULL AND " HELD ")' ] ],
    },
];
