-- What people ask of us in Slack, commands and buttons, and what a channel is told when we come.

-- Somebody came into a channel: us, or, where the event did not tell who we are, perhaps us. A row
-- is settled, and gone, once the channel has been told or it was somebody else.
CREATE TABLE study.channel_join (
    team_id    study.slack_id NOT NULL REFERENCES study.team,
    channel_id study.slack_id NOT NULL,
    user_id    study.slack_id NOT NULL,
    ours       boolean NOT NULL,                        -- false: the team's bot_user_id will tell
    private    boolean NOT NULL,
    joined_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, channel_id, user_id)
);

ALTER TABLE study.channel
    ADD COLUMN notices    integer NOT NULL DEFAULT 0,   -- how often it was told what is kept
    ADD COLUMN noticed_at timestamptz;                  -- when it was last

-- What a member said of a digest, with the buttons under it; the last word counts.
CREATE TABLE study.feedback (
    digest_id   bigint PRIMARY KEY REFERENCES study.digest ON DELETE CASCADE,
    answer      text NOT NULL CHECK (answer IN ('helped', 'wrong')),
    answered_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_by_time ON study.feedback (answered_at);

-- Members who asked for their data. An operator hands it out; nothing is sent by itself.
CREATE TABLE study.export_request (
    request_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    team_id      study.slack_id NOT NULL,
    user_id      study.slack_id NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    done_at      timestamptz,
    FOREIGN KEY (team_id, user_id) REFERENCES study.member ON DELETE CASCADE
);
CREATE UNIQUE INDEX export_request_open ON study.export_request (team_id, user_id)
    WHERE done_at IS NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON study.channel_join, study.feedback, study.export_request
    TO study_worker, study_ctl;
-- Dashboards get sums (the view digest_feedback): who said what is the member's.
GRANT SELECT ON study.channel_join TO study_read;
GRANT SELECT (request_id, team_id, requested_at, done_at) ON study.export_request TO study_read;
