-- Which model's host a member's notice named: '' where it spoke of none, NULL of notices from before
-- this was noted. Whoever was told of another host, or of none, has not been told.
ALTER TABLE study.member ADD COLUMN told_host text;
ALTER TABLE study.outbox ADD COLUMN told_host text; -- of a notice
GRANT SELECT (told_host) ON study.member TO study_read;
