-- Views, made anew after every migration; so they may be changed at will. They run with their
-- owner's rights: nothing that a member wrote may be in one.

DROP VIEW IF EXISTS study.digest_feedback;
DROP VIEW IF EXISTS study.firing_progress;
DROP VIEW IF EXISTS study.streak;
DROP VIEW IF EXISTS study.member_day;

-- How far each firing has come: its digests by state and origin, and the replies made from them.
-- Counted firing by firing, so that asking for the last few does not read them all.
CREATE VIEW study.firing_progress AS
SELECT f.firing_id, s.name AS schedule, f.time_zone, f.digest_time, f.fire_at,
       f.trigger_key IS NOT NULL AS triggered, f.state,
       f.overdue, f.created_at, f.done_at, n.*
FROM study.firing f
JOIN study.schedule s USING (schedule_id)
CROSS JOIN LATERAL (
    SELECT count(*) AS digests,
           count(*) FILTER (WHERE d.state IN ('pending', 'running')) AS open,
           count(*) FILTER (WHERE d.state = 'made' AND d.origin = 'model') AS by_model,
           count(*) FILTER (WHERE d.state = 'made' AND d.origin = 'factual') AS factual,
           count(*) FILTER (WHERE d.state = 'cancelled') AS cancelled,
           count(*) FILTER (WHERE o.sent) AS sent,
           count(*) FILTER (WHERE NOT o.sent AND o.failed) AS failed
    FROM study.digest d
    CROSS JOIN LATERAL (
        SELECT bool_or(r.state = 'sent') AS sent, bool_or(r.state IN ('failed', 'parked')) AS failed
        FROM study.outbox r WHERE r.digest_id = d.digest_id
    ) o
    WHERE d.firing_id = f.firing_id
) n;

GRANT SELECT ON study.firing_progress TO study_worker, study_ctl, study_read;

-- Streaks: consecutive study days with a record, by each member's own clock, over all that was ever
-- recorded. One member costs one index scan; each aggregate is fenced, so that "of all members"
-- walks them one by one as well.
CREATE VIEW study.member_day AS
SELECT m.team_id, m.user_id, d.day, d.records
FROM study.member m
CROSS JOIN study.setting s
CROSS JOIN LATERAL (SELECT study.valid_zone(m.time_zone, s.time_zone) AS name OFFSET 0) z
CROSS JOIN LATERAL (
    SELECT e.day, sum(e.records)::bigint AS records
    FROM (SELECT study.study_day(r.posted_at, z.name, s.day_starts) AS day, 1 AS records
          FROM study.message r
          WHERE r.team_id = m.team_id AND r.user_id = m.user_id AND NOT r.deleted
            AND study.is_record(r.text, r.files, r.thread_ts)
          UNION ALL
          SELECT p.day, p.records FROM study.past_day p
          WHERE p.team_id = m.team_id AND p.user_id = m.user_id) e
    GROUP BY e.day
) d;

CREATE VIEW study.streak AS
SELECT m.team_id, m.user_id, t.today, c.current_streak, c.longest_streak,
       COALESCE(cardinality(d.days), 0) AS days, COALESCE(d.records, 0) AS records, d.last_day
FROM study.member m
CROSS JOIN study.setting s
CROSS JOIN LATERAL (
    SELECT study.study_day(now(), study.valid_zone(m.time_zone, s.time_zone), s.day_starts) AS today
    OFFSET 0
) t
CROSS JOIN LATERAL (
    SELECT array_agg(e.day) AS days, sum(e.records)::bigint AS records, max(e.day) AS last_day
    FROM study.member_day e WHERE e.team_id = m.team_id AND e.user_id = m.user_id
) d
CROSS JOIN LATERAL study.streaks(d.days, t.today) c;

GRANT SELECT ON study.member_day, study.streak TO study_worker, study_ctl, study_read;

-- What members say of their digests, by how those came about; no member can be told from it.
CREATE VIEW study.digest_feedback AS
SELECT d.origin, d.language, d.model,
       count(*) FILTER (WHERE f.answer = 'helped') AS helped,
       count(*) FILTER (WHERE f.answer = 'wrong') AS wrong
FROM study.feedback f
JOIN study.digest d USING (digest_id)
GROUP BY d.origin, d.language, d.model;

GRANT SELECT ON study.digest_feedback TO study_worker, study_ctl, study_read;
