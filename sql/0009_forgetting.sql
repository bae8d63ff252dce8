-- What forgetting waits for without holding up whoever waits, and what it could not reach.

ALTER TABLE study.forgotten
    -- Transactions that were writing when the mark was first looked at, and may not have seen it: to
    -- messages and the like, to digests and replies. NULL: not yet asked; '{}': all have ended.
    ADD COLUMN writers text[],
    ADD COLUMN makers  text[],
    -- Messages of ours to the member that Slack would not delete (delete_dms).
    ADD COLUMN stays   integer NOT NULL DEFAULT 0;

-- Those of the transactions that still write to one of the tables; of NULL, all that do now. Once
-- those of one moment have ended, all writers have seen what was committed before it. Nobody is held
-- up by that, as a lock on the table would do. (study.await_writers, which sat and waited, is no
-- longer called.)
CREATE FUNCTION study.writers_left(writers text[], tables regclass[]) RETURNS text[]
LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE(array_agg(DISTINCT virtualtransaction), '{}') FROM pg_catalog.pg_locks
    WHERE locktype = 'relation' AND relation = ANY (tables) AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND pid <> pg_backend_pid() AND (writers IS NULL OR virtualtransaction = ANY (writers))
$$;
