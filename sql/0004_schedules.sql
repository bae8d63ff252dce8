-- Schedules by each member's own clock, the study day, and what streaks are counted from.

-- What the views and the worker must agree on, and an operator may change (studyctl setting): one
-- row.
CREATE TABLE study.setting (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- When a study day begins: what is written at 01:30 belongs to the evening before.
    day_starts time NOT NULL DEFAULT '02:00' CHECK (day_starts < '12:00'),
    -- Of members whose own is not known.
    time_zone  text NOT NULL DEFAULT 'Asia/Seoul'
               CHECK (length(time_zone) <= 64 AND study.valid_zone(time_zone, '') <> '')
);
INSERT INTO study.setting DEFAULT VALUES;

-- The member's own time for what a schedule of scope `member` sends; NULL: the schedule's.
ALTER TABLE study.member ADD COLUMN digest_time time
    CHECK (digest_time < '24:00' AND extract(second FROM digest_time) = 0);

-- By their clocks: which clocks there are (one look at the index for each), and who goes by one.
-- 24:00 stands for no time of their own.
CREATE INDEX member_by_clock ON study.member
    (COALESCE(time_zone, ''), COALESCE(digest_time, '24:00'::time), team_id, user_id);

-- workspace, channel: fires at the schedule's time in the schedule's zone, for what was written in
-- all channels or in one. member: at that time of each member's own zone, or at the member's own
-- time on the days that the cron line names; for the study days that have ended.
ALTER TABLE study.schedule
    ADD COLUMN scope text NOT NULL DEFAULT 'workspace'
        CHECK (scope IN ('workspace', 'channel', 'member')),
    ADD COLUMN missed_window interval       -- NULL: the worker's [schedule] missed_window
        CHECK (missed_window BETWEEN interval '0' AND interval '30 days');
UPDATE study.schedule SET scope = 'channel' WHERE channel_id IS NOT NULL;
ALTER TABLE study.schedule
    ADD CHECK (scope = 'member' OR (scope = 'channel') = (channel_id IS NOT NULL));

-- The clocks that a schedule of scope `member` goes by. The schedule's own next_at is the first of
-- theirs; NULL there asks to reckon them all anew.
CREATE TABLE study.schedule_clock (
    schedule_id bigint NOT NULL REFERENCES study.schedule ON DELETE CASCADE,
    zone        text NOT NULL,              -- the members', as Slack told it; '': not known
    digest_time time,                       -- NULL: the schedule's own
    time_zone   text,                       -- what it fires in; the schedule's for an unknown zone
    next_at     timestamptz,                -- NULL: not yet reckoned
    UNIQUE NULLS NOT DISTINCT (schedule_id, zone, digest_time)
);
CREATE INDEX schedule_clock_due ON study.schedule_clock (schedule_id, next_at NULLS FIRST);

-- A firing of one clock: an hour that does not exist can bring two of a zone to one instant.
ALTER TABLE study.firing ADD COLUMN digest_time time;
DROP INDEX study.firing_once;
CREATE UNIQUE INDEX firing_once ON study.firing (schedule_id, time_zone, fire_at, digest_time)
    NULLS NOT DISTINCT WHERE trigger_key IS NULL;

-- Days of study whose messages retention has let go: the count outlives the text.
CREATE TABLE study.past_day (
    team_id study.slack_id NOT NULL,
    user_id study.slack_id NOT NULL,
    day     date NOT NULL,
    records bigint NOT NULL CHECK (records > 0),
    PRIMARY KEY (team_id, user_id, day),
    FOREIGN KEY (team_id, user_id) REFERENCES study.member ON DELETE CASCADE
);

-- The study day of an instant. By the local clock, so a day that the clock's change makes an hour
-- longer or shorter is a day like any other.
CREATE FUNCTION study.study_day(at timestamptz, zone text, day_starts time) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((at AT TIME ZONE zone) - (day_starts - time '00:00'))::date;

CREATE FUNCTION study.study_day(at timestamptz, zone text) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN study.study_day(at, zone, (SELECT day_starts FROM study.setting));

-- Runs of days without a gap, of days that each come once: the longest, and the one that has not
-- ended yet. A day on which nothing was written so far ends none before it is over.
CREATE FUNCTION study.streaks(days date[], today date, OUT current_streak bigint,
                              OUT longest_streak bigint)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT COALESCE(max(length) FILTER (WHERE last_day IN (today, today - 1)), 0),
           COALESCE(max(length), 0)
    FROM (SELECT count(*) AS length, max(day) AS last_day
          FROM (SELECT day, day - row_number() OVER (ORDER BY day)::integer AS run
                FROM unnest(days) AS day WHERE day <= today) AS numbered
          GROUP BY run) AS runs
$$;

GRANT SELECT ON study.setting TO study_worker, study_ctl, study_read;
GRANT UPDATE ON study.setting TO study_ctl;
GRANT SELECT, INSERT, UPDATE, DELETE ON study.schedule_clock, study.past_day
    TO study_worker, study_ctl;
GRANT SELECT ON study.schedule_clock, study.past_day TO study_read;
GRANT SELECT (digest_time) ON study.member TO study_read;

-- At 08:30 of each member: what the day before held; on Mondays the week instead. A schedule that
-- an operator has changed stays as it is.
WITH changed AS (
    UPDATE study.schedule SET scope = 'member', cron = '30 8 * * 2-7', next_at = NULL
    WHERE name = 'daily' AND kind = 'daily' AND cron = '30 8 * * *' AND time_zone = 'Asia/Seoul'
      AND missed = 'last' AND NOT paused AND team_id IS NULL
    RETURNING time_zone)
INSERT INTO study.schedule (name, kind, cron, time_zone, scope)
SELECT 'weekly', 'weekly', '30 8 * * 1', time_zone, 'member' FROM changed
ON CONFLICT (name) DO NOTHING;
