-- The tables of Study Tracker. PostgreSQL is the only source of truth: once an event is committed
-- here, every later step is a row with a state, created in the transaction that caused it.
--
-- Conventions: Slack's ids and time stamps ("ts") are text, exactly as Slack spells them; times are
-- timestamptz; a closed set of words is a CHECK, so that a bad state cannot be written; rows that
-- are claimed carry claim_token and lease_until, and every later UPDATE names the token.

CREATE DOMAIN study.slack_id AS text COLLATE "C" CHECK (VALUE ~ '^[A-Za-z0-9_-]{1,64}$');

-- "1531420618.000200": seconds and a counter that Slack pads to six digits; so equal lengths compare
-- as text. Older than 2001 is not Slack's.
CREATE DOMAIN study.slack_ts AS text COLLATE "C" CHECK (VALUE ~ '^[0-9]{10}\.[0-9]{6}$');

CREATE TABLE study.team (
    team_id        study.slack_id PRIMARY KEY,
    name           text CHECK (length(name) <= 200),
    url            text CHECK (length(url) <= 300),     -- auth.test's, for permalinks
    bot_user_id    study.slack_id,                      -- auth.test's, to know our own messages
    language       text CHECK (language IN ('ko', 'en')),
    state          text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'stopped')),
    stopped_reason text CHECK (length(stopped_reason) <= 200),
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'stopped') = (stopped_reason IS NOT NULL))
);

CREATE TABLE study.channel (
    team_id    study.slack_id NOT NULL REFERENCES study.team,
    channel_id study.slack_id NOT NULL,
    name       text CHECK (length(name) <= 200),
    private    boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, channel_id)
);

CREATE TABLE study.member (
    team_id       study.slack_id NOT NULL REFERENCES study.team,
    user_id       study.slack_id NOT NULL,
    language      text CHECK (language IN ('ko', 'en')),
    time_zone     text CHECK (length(time_zone) <= 64),
    dm_channel_id study.slack_id,                       -- conversations.open's, kept once opened
    digests       boolean NOT NULL DEFAULT true,        -- the member's own switch
    noticed_at    timestamptz,                          -- the privacy notice reached the member
    consent       text NOT NULL DEFAULT 'none' CHECK (consent IN ('none', 'yes', 'no')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, user_id)
);

-- One row a Slack message, keyed as Slack keys it: one message has been seen under several event
-- ids. A deletion leaves a tombstone, even when it comes before the message itself.
CREATE TABLE study.message (
    team_id     study.slack_id NOT NULL,
    channel_id  study.slack_id NOT NULL,
    ts          study.slack_ts NOT NULL,
    thread_ts   study.slack_ts,                         -- set on replies only
    user_id     study.slack_id,                         -- unknown in a tombstone that came first
    subtype     text CHECK (length(subtype) <= 64),
    text        text NOT NULL CHECK (length(text) <= 200000),
    files       text[] NOT NULL DEFAULT '{}' CHECK (cardinality(files) <= 100), -- names only
    posted_at   timestamptz NOT NULL,                   -- ts as a time
    accepted_at timestamptz NOT NULL,                   -- the earliest received_at of its events
    edited_ts   study.slack_ts,
    -- The edit event's own ts: edited_ts has whole seconds, and a second may hold two edits.
    edited_event_ts study.slack_ts,
    deleted     boolean NOT NULL DEFAULT false,
    stored_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, channel_id, ts),
    CHECK (NOT deleted OR (text = '' AND files = '{}')),
    CHECK (deleted OR user_id IS NOT NULL)
) WITH (fillfactor = 90);

-- A member's messages by time: collecting a firing, export, streaks.
CREATE INDEX message_by_member ON study.message (team_id, user_id, posted_at) WHERE NOT deleted;
-- Retention walks by time; rows arrive nearly in that order.
CREATE INDEX message_by_time ON study.message USING brin (posted_at);

-- Whether a message is a record of study: long enough to say something, or with a link or a file.
-- What is not neither counts nor makes a digest.
CREATE FUNCTION study.is_record(text text, files text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN char_length(text) >= 10 OR text ~* 'https?://' OR cardinality(files) > 0;

-- What was applied once and must not be again: events other than messages by event_id, triggers by
-- idempotency key or request id, commands and interactions by trigger_id. Messages are their own key.
CREATE TABLE study.applied (
    identity   text PRIMARY KEY CHECK (length(identity) <= 300), -- "event:Ev...", "trigger:...", ...
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX applied_by_time ON study.applied USING brin (applied_at);

-- Elements that could not be stored, whole, with the reason. Nothing answered 200 is dropped.
CREATE TABLE study.dead_event (
    dead_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason      text NOT NULL CHECK (length(reason) <= 64),   -- a word: bad_json, crashed_worker, ...
    detail      text NOT NULL CHECK (length(detail) <= 1000), -- never member text
    element     bytea NOT NULL,
    element_sha bytea NOT NULL CHECK (octet_length(element_sha) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (element_sha) -- a batch that is stored twice leaves its dead once
);

CREATE TABLE study.schedule (
    schedule_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    team_id     study.slack_id REFERENCES study.team,   -- NULL: every workspace
    channel_id  study.slack_id,                         -- NULL: every channel
    kind        text NOT NULL CHECK (kind IN ('daily', 'weekly')),
    cron        text NOT NULL CHECK (length(cron) <= 200),
    time_zone   text NOT NULL CHECK (length(time_zone) <= 64), -- IANA
    missed      text NOT NULL DEFAULT 'last' CHECK (missed IN ('last', 'all', 'skip')),
    paused      boolean NOT NULL DEFAULT false,
    next_at     timestamptz,                            -- NULL: not yet reckoned from cron
    created_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (channel_id IS NULL OR team_id IS NOT NULL)
);

-- One row a firing. The schedule's next_at is advanced and the row inserted in one transaction.
CREATE TABLE study.firing (
    firing_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id bigint NOT NULL REFERENCES study.schedule ON DELETE CASCADE,
    time_zone   text NOT NULL,
    fire_at     timestamptz NOT NULL,
    trigger_key text CHECK (length(trigger_key) <= 300), -- of a trigger: its identity
    -- waiting: the accept logs may still hold messages from before fire_at; collecting: digests are
    -- being made, slice by slice, up to (cursor_team, cursor_user).
    state       text NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'collecting', 'done', 'skipped')),
    cursor_team study.slack_id,
    cursor_user study.slack_id,
    digests     bigint NOT NULL DEFAULT 0,
    overdue     boolean NOT NULL DEFAULT false,         -- collected at max_wait, not caught up
    claim_token uuid,
    lease_until timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    done_at     timestamptz
);
CREATE UNIQUE INDEX firing_once ON study.firing (schedule_id, time_zone, fire_at)
    WHERE trigger_key IS NULL;
CREATE UNIQUE INDEX firing_trigger_once ON study.firing (schedule_id, trigger_key)
    WHERE trigger_key IS NOT NULL;
CREATE INDEX firing_open ON study.firing (fire_at) WHERE state IN ('waiting', 'collecting');

CREATE TABLE study.digest (
    digest_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firing_id         bigint NOT NULL REFERENCES study.firing ON DELETE CASCADE,
    schedule_id       bigint NOT NULL,                  -- the firing's
    team_id           study.slack_id NOT NULL,
    user_id           study.slack_id NOT NULL,
    state             text NOT NULL DEFAULT 'pending'
                      CHECK (state IN ('pending', 'running', 'made', 'cancelled')),
    -- Raised when a message it was made from is deleted; a model's answer and a reply made from an
    -- older version are not used.
    source_version    integer NOT NULL DEFAULT 1,
    origin            text CHECK (origin IN ('model', 'factual')),
    language          text CHECK (language IN ('ko', 'en')),
    result            jsonb,                            -- the validated answer; NULL after blanking
    attempts          integer NOT NULL DEFAULT 0,
    next_at           timestamptz NOT NULL DEFAULT now(),
    deadline          timestamptz NOT NULL,             -- past it: a factual digest
    claim_token       uuid,
    lease_until       timestamptz,
    model             text CHECK (length(model) <= 200),
    prompt_hash       bytea,
    prompt_tokens     bigint,
    completion_tokens bigint,
    error             text CHECK (length(error) <= 500),
    created_at        timestamptz NOT NULL DEFAULT now(),
    made_at           timestamptz,
    UNIQUE (firing_id, team_id, user_id),
    FOREIGN KEY (team_id, user_id) REFERENCES study.member,
    CHECK ((state = 'running') = (claim_token IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX digest_open ON study.digest (next_at) WHERE state IN ('pending', 'running');
-- The status page and retention walk by time.
CREATE INDEX digest_by_time ON study.digest USING brin (created_at);
CREATE INDEX digest_by_member ON study.digest (team_id, user_id);

-- Which messages a digest is made from; the key is what keeps a message in one digest of a schedule,
-- and finds a message's digests. A firing of 100,000 members makes some 300,000 of these at once, so
-- there is no index and no reference here that another one implies.
CREATE TABLE study.digest_item (
    schedule_id bigint NOT NULL,                        -- the digest's
    team_id     study.slack_id NOT NULL,
    channel_id  study.slack_id NOT NULL,
    ts          study.slack_ts NOT NULL,
    digest_id   bigint NOT NULL REFERENCES study.digest ON DELETE CASCADE,
    gone        boolean NOT NULL DEFAULT false, -- the message was deleted, and the digest told
    PRIMARY KEY (team_id, channel_id, ts, schedule_id)
);
CREATE INDEX digest_item_of ON study.digest_item (digest_id);

-- Replies. `sending` is committed before the request leaves, so a row found in that state after its
-- lease may have been sent: it is looked up in the channel's history by outbox_id.
CREATE TABLE study.outbox (
    outbox_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity       text NOT NULL UNIQUE CHECK (length(identity) <= 300), -- "digest:7:1", "notice:T1:U1:1"
    kind           text NOT NULL CHECK (kind IN ('digest', 'notice')),
    team_id        study.slack_id NOT NULL REFERENCES study.team,
    target         study.slack_id NOT NULL,             -- a user (by DM) or a channel
    thread_ts      study.slack_ts,
    digest_id      bigint REFERENCES study.digest ON DELETE CASCADE,
    source_version integer,                             -- the digest's when this was made from it
    body           jsonb,                               -- text and blocks; NULL once blanked
    state          text NOT NULL DEFAULT 'pending'
                   CHECK (state IN ('pending', 'sending', 'doubtful', 'sent', 'parked', 'failed',
                                    'cancelled')),
    attempts       integer NOT NULL DEFAULT 0,
    next_at        timestamptz NOT NULL DEFAULT now(),
    claim_token    uuid,
    lease_until    timestamptz,
    channel_id     study.slack_id,                      -- where it was (or may have been) posted
    sent_from      timestamptz,                         -- when the first doubtful request left
    sent_ts        study.slack_ts,
    error          text CHECK (length(error) <= 500),
    created_at     timestamptz NOT NULL DEFAULT now(),
    done_at        timestamptz,
    CHECK ((kind = 'digest') = (digest_id IS NOT NULL)),
    CHECK ((state = 'sent') = (sent_ts IS NOT NULL)),
    CHECK (body IS NOT NULL OR state IN ('sent', 'cancelled', 'failed', 'parked'))
) WITH (fillfactor = 80);
-- Head of line: the oldest unfinished reply of a target.
CREATE INDEX outbox_head ON study.outbox (team_id, target, outbox_id)
    WHERE state IN ('pending', 'sending', 'doubtful');
-- What an operator has to look at.
CREATE INDEX outbox_parked ON study.outbox (outbox_id) WHERE state = 'parked';
CREATE INDEX outbox_by_time ON study.outbox USING brin (created_at);
CREATE INDEX outbox_of_digest ON study.outbox (digest_id);
-- Whether a member has been told, or is about to be.
CREATE INDEX outbox_notice ON study.outbox (team_id, target) WHERE kind = 'notice';

-- Where replies go, one row a target: its next free second, when there is something to do, and why
-- it is stopped. A claim locks this row, so two processes never post into one channel at once, and
-- so does whoever adds a reply, so that due_at is never cleared beside a new one.
CREATE TABLE study.lane (
    team_id        study.slack_id NOT NULL REFERENCES study.team,
    target         study.slack_id NOT NULL,
    next_at        timestamptz NOT NULL DEFAULT now(), -- no post before
    due_at         timestamptz,                        -- look then; NULL: nothing unfinished
    stopped_reason text CHECK (length(stopped_reason) <= 200),
    retry_at       timestamptz,                        -- of a stopped one: it is tried again then
    PRIMARY KEY (team_id, target),
    CHECK ((stopped_reason IS NULL) = (retry_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX lane_due ON study.lane (due_at) WHERE due_at IS NOT NULL AND stopped_reason IS NULL;
CREATE INDEX lane_stopped ON study.lane (retry_at) WHERE stopped_reason IS NOT NULL;

-- Slack's limits, a team and a method, shared by every process and machine: `until` is its
-- Retry-After, `slot_at` our own pace (calls are booked one interval apart).
CREATE TABLE study.slack_wait (
    team_id study.slack_id NOT NULL,
    method  text NOT NULL CHECK (length(method) <= 64),
    until   timestamptz NOT NULL DEFAULT '-infinity',
    slot_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (team_id, method)
) WITH (fillfactor = 70);

-- A role that was told to stop working, by an operator or by itself (the model's quota is gone).
CREATE TABLE study.pause (
    role    text NOT NULL CHECK (role IN ('store', 'digest', 'deliver')),
    team_id text NOT NULL DEFAULT '',                   -- '': all
    -- 'insufficient_quota' is the model's: it stops the asking, not the digests made without it.
    reason  text NOT NULL CHECK (length(reason) <= 200),
    since   timestamptz NOT NULL DEFAULT now(),
    until   timestamptz,                                -- NULL: until resumed
    PRIMARY KEY (role, team_id)
);

-- A time zone that PostgreSQL knows, whatever a profile said: an unknown one must not fail a query.
CREATE FUNCTION study.valid_zone(zone text, fallback text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    PERFORM now() AT TIME ZONE zone;
    RETURN COALESCE(zone, fallback);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN fallback;
END
$$;

-- What each role may do. The roles themselves are the cluster's and made in roles.sql.
GRANT USAGE ON SCHEMA study TO study_worker, study_ctl, study_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    study.team, study.channel, study.member, study.message, study.applied, study.dead_event,
    study.firing, study.digest, study.digest_item, study.outbox, study.lane, study.slack_wait,
    study.pause TO study_worker, study_ctl;
-- Collecting numbers the digests before it writes them.
GRANT USAGE ON SEQUENCE study.digest_digest_id_seq TO study_worker;
GRANT SELECT, UPDATE ON study.schedule TO study_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON study.schedule TO study_ctl;
-- For dashboards: no column that may hold what a member wrote or what was written to one.
GRANT SELECT ON study.team, study.channel, study.schedule, study.firing, study.lane,
    study.slack_wait, study.pause TO study_read;
GRANT SELECT (team_id, channel_id, ts, thread_ts, user_id, subtype, posted_at, accepted_at,
    edited_ts, deleted, stored_at) ON study.message TO study_read;
GRANT SELECT (team_id, user_id, language, time_zone, digests, noticed_at, consent, created_at)
    ON study.member TO study_read;
GRANT SELECT (dead_id, reason, created_at) ON study.dead_event TO study_read;
GRANT SELECT (digest_id, firing_id, schedule_id, team_id, user_id, state, source_version, origin,
    language, attempts, next_at, deadline, model, prompt_tokens, completion_tokens, created_at,
    made_at) ON study.digest TO study_read;
GRANT SELECT (outbox_id, kind, team_id, digest_id, state, attempts, next_at, created_at, done_at)
    ON study.outbox TO study_read;

INSERT INTO study.schedule (name, kind, cron, time_zone)
VALUES ('daily', 'daily', '30 8 * * *', 'Asia/Seoul');
