-- The keys of messages with what differs first. Both indexes began with the workspace, which is
-- nearly always the same: each of some twenty comparisons that an insertion makes in each of them
-- went through it before it came to anything that tells rows apart. All questions name the workspace
-- beside the channel or the member, so to them the order is the same.
--
-- Built beside the old ones, in a migration of their own: the store waits for that (five seconds a
-- million messages), readers do not. The next one puts them in place, which takes a lock that
-- readers are in the way of, but no time.

CREATE UNIQUE INDEX message_key ON study.message (channel_id, ts, team_id);
CREATE INDEX message_of_member ON study.message (user_id, posted_at, team_id) WHERE NOT deleted;
