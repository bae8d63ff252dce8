-- What the model may cost in a month, and what the parts of a long day have already told.

-- One row a month, by UTC. Spent is what the model's host counted; what is under way is reserved in
-- the digests' rows. Whoever reserves locks the month's row first, so that processes cannot together
-- spend what is there once.
CREATE TABLE study.budget (
    month             date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    calls             bigint NOT NULL DEFAULT 0,
    prompt_tokens     bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    cost              bigint NOT NULL DEFAULT 0,  -- in thousand millionths of the prices' currency
    -- The first call that no longer fitted, and the limits of that time: until the month ends or the
    -- limits are others, no further call is made.
    gone_at           timestamptz,
    gone_tokens       bigint,
    gone_cost         bigint
) WITH (fillfactor = 50);

ALTER TABLE study.digest
    ADD COLUMN reserved_tokens bigint,            -- of the call under way, at most
    ADD COLUMN reserved_cost   bigint,
    ADD COLUMN parts           jsonb;             -- answers for parts of a long day, by SHA-256 of the request

-- A claim takes the oldest; with thousands due at one time the order must come from the index.
CREATE INDEX digest_due ON study.digest (next_at, digest_id) WHERE state IN ('pending', 'running');
DROP INDEX study.digest_open;
CREATE INDEX digest_reserved ON study.digest (digest_id) WHERE reserved_tokens IS NOT NULL;

-- A reservation belongs to a claim and ends with it, however that ends; what was written from
-- messages that have changed, or was blanked, is not kept in parts either.
CREATE FUNCTION study.digest_let_go() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.claim_token IS DISTINCT FROM OLD.claim_token THEN
        NEW.reserved_tokens := NULL;
        NEW.reserved_cost := NULL;
    END IF;
    IF NEW.source_version <> OLD.source_version OR NEW.state = 'cancelled'
       OR (NEW.result IS NULL AND OLD.result IS NOT NULL) THEN
        NEW.parts := NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER digest_let_go BEFORE UPDATE ON study.digest FOR EACH ROW
    WHEN (OLD.reserved_tokens IS NOT NULL OR OLD.parts IS NOT NULL)
    EXECUTE FUNCTION study.digest_let_go();

GRANT SELECT, INSERT, UPDATE, DELETE ON study.budget TO study_worker, study_ctl;
GRANT SELECT ON study.budget TO study_read;
