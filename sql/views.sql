-- Views, made anew after every migration; so they may be changed at will. They run with their
-- owner's rights: nothing that a member wrote may be in one.

DROP VIEW IF EXISTS study.firing_progress;

-- How far each firing has come: its digests by state and origin, and the replies made from them.
-- Counted firing by firing, so that asking for the last few does not read them all.
CREATE VIEW study.firing_progress AS
SELECT f.firing_id, s.name AS schedule, f.fire_at, f.trigger_key IS NOT NULL AS triggered, f.state,
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
