-- Which zones of members a clock stands for: one look for each of a few thousand firings at one time,
-- where each read all clocks of the schedule.
CREATE INDEX schedule_clock_alias ON study.schedule_clock (schedule_id, time_zone)
    WHERE zone <> time_zone;
