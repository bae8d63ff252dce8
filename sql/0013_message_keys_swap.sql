-- The indexes that 0012 built take the place, and the names, of those before them.

ALTER TABLE study.message
    DROP CONSTRAINT message_pkey,
    ADD CONSTRAINT message_pkey PRIMARY KEY USING INDEX message_key;

DROP INDEX study.message_by_member;
ALTER INDEX study.message_of_member RENAME TO message_by_member;
