-- What leaves for Slack beside digests and notices, replies that wait for a member's morning, and
-- what Slack says about a member.

-- Kinds and where they stand in line (target):
--   digest, notice   a member (by DM): body {"text","blocks"}
--   channel_notice   a channel: body {"text","blocks"}
--   response         "response-" and the member: body {"url","message"}, an answer to a command,
--                    posted to its response_url; NULL once over, for the url lets anybody answer
--   reaction         "reaction-" and the channel: body {"channel","ts","name"}
--   delete           "delete-" and the channel: body {"channel","ts"}, a message of ours to go
-- `logged`: [deliver] mode or only said that it is not to be sent.
ALTER TABLE study.outbox
    DROP CONSTRAINT outbox_kind_check,
    DROP CONSTRAINT outbox_state_check,
    DROP CONSTRAINT outbox_check1, -- sent_ts with `sent`
    DROP CONSTRAINT outbox_check2, -- states that may be without a body
    ADD COLUMN hold boolean NOT NULL DEFAULT false, -- not in the member's quiet hours
    ADD COLUMN retracted boolean NOT NULL DEFAULT false, -- sent, and a row to delete it was made
    ADD CONSTRAINT outbox_kind CHECK (kind IN ('digest', 'notice', 'channel_notice', 'response',
                                               'reaction', 'delete')),
    ADD CONSTRAINT outbox_state CHECK (state IN ('pending', 'sending', 'doubtful', 'sent', 'logged',
                                                 'parked', 'failed', 'cancelled')),
    -- only a message has a ts
    ADD CONSTRAINT outbox_sent_ts CHECK (CASE WHEN kind IN ('response', 'reaction', 'delete')
                                              THEN sent_ts IS NULL
                                              ELSE (state = 'sent') = (sent_ts IS NOT NULL) END),
    ADD CONSTRAINT outbox_body CHECK (body IS NOT NULL OR state IN ('sent', 'logged', 'cancelled',
                                                                    'failed', 'parked'));

-- Answers to commands are awaited by somebody: they are claimed first, and beside a backlog.
CREATE INDEX lane_urgent ON study.lane (due_at)
    WHERE due_at IS NOT NULL AND stopped_reason IS NULL AND target LIKE 'response-%';
-- Finished reactions and the like are many, and soon of no use.
CREATE INDEX outbox_brief ON study.outbox (done_at)
    WHERE kind IN ('response', 'reaction', 'delete') AND done_at IS NOT NULL;

-- Sent digests that lost their text since, as a message of theirs was deleted: for [deliver]
-- retract_sent.
CREATE INDEX outbox_withdrawn ON study.outbox (outbox_id)
    WHERE kind = 'digest' AND state = 'sent' AND body IS NULL AND NOT retracted;

ALTER TABLE study.member
    ADD COLUMN locale text CHECK (length(locale) <= 32),     -- Slack's: "ko-KR"
    -- What users.info says: external is of another organisation, gone has left.
    ADD COLUMN standing text CHECK (standing IN ('person', 'bot', 'external', 'gone')),
    ADD COLUMN profile_at timestamptz,                       -- when it said so; NULL: never
    ADD COLUMN profile_due timestamptz NOT NULL DEFAULT '-infinity'; -- it is asked then
CREATE INDEX member_profile ON study.member (team_id, profile_due);

-- The end of the quiet hours that `at` falls into, NULL when it falls into none. The hours are the
-- zone's; from = until: there are none.
CREATE FUNCTION study.quiet_end(at timestamptz, zone text, quiet_from time, quiet_until time)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN CASE WHEN quiet_from <= quiet_until
              THEN (at AT TIME ZONE zone)::time >= quiet_from
                   AND (at AT TIME ZONE zone)::time < quiet_until
              ELSE (at AT TIME ZONE zone)::time >= quiet_from
                   OR (at AT TIME ZONE zone)::time < quiet_until END
    -- where clocks are put back, the end may already have been once: never in the past
    THEN GREATEST(((at AT TIME ZONE zone)::date
                   + CASE WHEN (at AT TIME ZONE zone)::time >= quiet_until THEN 1 ELSE 0 END
                   + quiet_until) AT TIME ZONE zone, at + interval '1 min') END;

-- A member's language: their own word, else Slack's, else the workspace's, else the fallback.
CREATE FUNCTION study.language_of(team text, "user" text, fallback text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN COALESCE(
    (SELECT COALESCE(m.language, CASE WHEN m.locale ~* '^ko' THEN 'ko'
                                      WHEN m.locale <> '' THEN 'en' END)
       FROM study.member AS m WHERE m.team_id = team AND m.user_id = "user"),
    (SELECT t.language FROM study.team AS t WHERE t.team_id = team), fallback);

GRANT SELECT (locale, standing, profile_at) ON study.member TO study_read;
GRANT SELECT (hold) ON study.outbox TO study_read;
