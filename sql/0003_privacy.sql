-- Forgetting members, and filling gaps from Slack's history.

-- A member who is to be forgotten. The row stands before anything is erased, and it is what keeps
-- what was erased from coming back: the store writes no message of theirs that was posted before
-- `before`, whoever brings it, and no row of the member for one. It stays for good (Slack's history
-- does, too), and holds nothing but the id, which it needs to know them by.
CREATE TABLE study.forgotten (
    team_id       study.slack_id NOT NULL,
    user_id       study.slack_id NOT NULL,
    before        timestamptz NOT NULL,                 -- infinity: nothing, ever again
    delete_dms    boolean NOT NULL DEFAULT false,       -- what was sent to them is deleted in Slack
    asked_at      timestamptz NOT NULL DEFAULT now(),
    sealed_at     timestamptz,                          -- all who had not seen the mark have ended
    dm_channels   text[] NOT NULL DEFAULT '{}',         -- where messages are being deleted
    dead_from     bigint NOT NULL DEFAULT 0,            -- dead events up to here were looked at
    rows_at       timestamptz,                          -- the rows are gone
    done_at       timestamptz,                          -- and so is what the accept logs held
    error         text CHECK (length(error) <= 300),    -- why it is not done yet
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX forgotten_open ON study.forgotten (asked_at) WHERE done_at IS NULL;
-- Notices, answers to commands and the like of one target, whatever their state.
CREATE INDEX outbox_of_target ON study.outbox (team_id, target) WHERE digest_id IS NULL;

-- Tombstones that still tell whose message it was; message_by_member has the others.
CREATE INDEX message_gone_by_member ON study.message (team_id, user_id)
    WHERE deleted AND user_id IS NOT NULL;

-- Who wrote an element (a header line and a body, well formed or not: this is for those that could
-- not be stored; bytes that are no ASCII escaped). An author is looked for where Slack's events,
-- commands and interactions name one, not in mentions by others.
CREATE FUNCTION study.element_authors(words text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT u.m[1] FROM regexp_matches(words,
        '(?:(?:"|%22)user(?:"|%22)(?:\s|\+)*(?::|%3[Aa])(?:\s|\+)*'
        '(?:(?:\{|%7[Bb])(?:\s|\+)*(?:"|%22)id(?:"|%22)(?:\s|\+)*(?::|%3[Aa])(?:\s|\+)*)?(?:"|%22)'
        '|(?:^|[\n&])user_id=)([A-Za-z0-9_-]{1,64})', 'g') AS u (m)
$$;

-- Whether an element is of a forgotten member and from before their mark. Its time is the oldest
-- message time in it, else that of its arrival.
CREATE FUNCTION study.is_forgotten(element bytea) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    words text;
    at    timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM study.forgotten) THEN
        RETURN false;
    END IF;
    words := encode(element, 'escape');
    SELECT to_timestamp(min(t.m[1])::double precision) INTO at
    FROM regexp_matches(words, '"(?:deleted_)?ts"\s*:\s*"(\d{10}\.\d{6})"', 'g') AS t (m);
    IF at IS NULL THEN
        at := to_timestamp((regexp_match(words, '"received_at"\s*:\s*(\d{13})(?!\d)'))[1]::numeric / 1000);
    END IF;
    RETURN EXISTS (
        SELECT FROM study.element_authors(words) AS u (author)
        JOIN study.forgotten AS f ON f.user_id = u.author
        WHERE COALESCE(at, now()) < f.before AND position(f.team_id::text IN words) > 0);
END
$$;

-- Waits until every transaction that was writing to one of the tables when this began has ended:
-- from then on all writers have seen what was committed before the call. Nobody is held up by it,
-- as a lock on the table would do. False after `most`.
CREATE FUNCTION study.await_writers(tables regclass[], most interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    writers text[];
    until   timestamptz := clock_timestamp() + most;
BEGIN
    SELECT array_agg(virtualtransaction) INTO writers FROM pg_catalog.pg_locks
    WHERE locktype = 'relation' AND relation = ANY (tables) AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND pid <> pg_backend_pid();
    WHILE EXISTS (SELECT FROM pg_catalog.pg_locks
                  WHERE locktype = 'relation' AND relation = ANY (tables) AND mode = 'RowExclusiveLock'
                    AND virtualtransaction = ANY (writers)) LOOP
        IF clock_timestamp() >= until THEN
            RETURN false;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN true;
END
$$;

-- One row a channel whose history is being read: from `latest` back to `oldest`, of which all from
-- `reached` on has been handed to the store.
CREATE TABLE study.backfill (
    team_id    study.slack_id NOT NULL,
    channel_id study.slack_id NOT NULL,
    oldest     study.slack_ts NOT NULL,
    latest     study.slack_ts NOT NULL,
    reached    study.slack_ts NOT NULL,
    messages   bigint NOT NULL DEFAULT 0,               -- read so far, replies among them
    threads    bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    PRIMARY KEY (team_id, channel_id)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON study.forgotten, study.backfill TO study_worker, study_ctl;
GRANT SELECT ON study.backfill TO study_read;
