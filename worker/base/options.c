/*
 * The table. One row a line, so that it reads, greps and merges as a table; conf/study-worker.conf
 * and README.md are checked against it by t/tree/options.t.
 */
#include "base/options.h"

#define MS     1
#define SECOND 1000
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * (int64_t)HOUR)
#define KB     1024
#define MB     (1024 * KB)

#define PREFIX_CHARS "A-Za-z0-9_.:-"
#define NAME_CHARS   "A-Za-z0-9_./:-"

/* clang-format off */
const struct option options[] = {
    {"redis", "servers", OPTION_LIST, "unix:/run/redis-study/redis.sock", 1, 16, NULL, NULL, "Queue servers: host[:port], [v6]:port or unix:/path."},
    {"redis", "user", OPTION_STRING, "", 0, 128, NULL, NULL, "ACL user; empty: Redis' default user."},
    {"redis", "password", OPTION_SECRET, "", 0, 512, NULL, NULL, "Password of the user."},
    {"redis", "db", OPTION_INT, "0", 0, 65535, NULL, NULL, "Database number."},
    {"redis", "key_prefix", OPTION_STRING, "study", 1, 64, PREFIX_CHARS, NULL, "First part of every key; nginx' study_key_prefix says the same."},
    {"redis", "tls", OPTION_BOOL, "no", 0, 0, NULL, NULL, "TLS to every server given by host; needs hiredis 1.0 or newer."},
    {"redis", "tls_ca_file", OPTION_PATH, "", 0, 4096, NULL, NULL, "Certificates that servers are checked against; empty: the system's."},
    {"redis", "tls_cert_file", OPTION_PATH, "", 0, 4096, NULL, NULL, "Our certificate; Redis asks for one by default."},
    {"redis", "tls_key_file", OPTION_PATH, "", 0, 4096, NULL, NULL, "Its key."},
    {"redis", "tls_name", OPTION_STRING, "", 0, 253, NULL, NULL, "Name that the certificate must hold; empty: the server's host."},
    {"redis", "connect_timeout", OPTION_DURATION, "2s", 10 * MS, 60 * SECOND, NULL, NULL, "Limit of connecting."},
    {"redis", "timeout", OPTION_DURATION, "5s", 10 * MS, 60 * SECOND, NULL, NULL, "Limit of a command and its reply."},
    {"redis", "allow_unsafe", OPTION_BOOL, "no", 0, 0, NULL, NULL, "Work with a Redis that can lose what it acknowledged (no append-only file, or evicting)."},

    {"postgres", "conninfo", OPTION_STRING, "dbname=study", 1, 4096, NULL, NULL, "libpq's connection string, without a password."},
    {"postgres", "password", OPTION_SECRET, "", 0, 512, NULL, NULL, "Password of the role."},
    {"postgres", "connect_timeout", OPTION_DURATION, "5s", 100 * MS, 60 * SECOND, NULL, NULL, "Limit of connecting and logging in."},
    {"postgres", "timeout", OPTION_DURATION, "30s", 100 * MS, 10 * MINUTE, NULL, NULL, "Limit of a statement; past it the connection is dropped."},

    {"slack", "bot_token", OPTION_SECRET, "", 0, 512, NULL, "SLACK_BOT_TOKEN", "Bot token (xoxb-...) of the workspaces that token_dir has no file for."},
    {"slack", "token_dir", OPTION_PATH, "", 0, 4096, NULL, NULL, "Directory with one token file for each workspace, named by its team id."},
    {"slack", "api_url", OPTION_URL, "https://slack.com/api/", 8, 1024, NULL, "SLACK_API_URL", "Base of Slack's Web API."},
    {"slack", "connect_timeout", OPTION_DURATION, "3s", 100 * MS, 60 * SECOND, NULL, NULL, "Limit of connecting."},
    {"slack", "timeout", OPTION_DURATION, "15s", 100 * MS, 2 * MINUTE, NULL, NULL, "Limit of a whole request."},
    {"slack", "history_page", OPTION_INT, "200", 1, 999, NULL, NULL, "Messages of a call that reads a channel's history (backfill); 15 where Slack limits apps that are sold outside its marketplace."},
    {"slack", "history_interval", OPTION_DURATION, "1500ms", 0, 10 * MINUTE, NULL, NULL, "Least time between two such calls of one method; 60s where Slack limits them so."},
    {"slack", "ca_file", OPTION_PATH, "", 0, 4096, NULL, NULL, "Certificates that Slack is checked against; empty: the system's."},

    {"openai", "enabled", OPTION_BOOL, "yes", 0, 0, NULL, NULL, "no: nothing leaves for a model, members get the factual digest."},
    {"openai", "api_key", OPTION_SECRET, "", 0, 512, NULL, "OPENAI_API_KEY", "Key of the model's host; empty: none is sent."},
    {"openai", "base_url", OPTION_URL, "https://api.openai.com/v1", 8, 1024, NULL, "OPENAI_BASE_URL", "Base of an API that speaks OpenAI's chat completions."},
    {"openai", "model", OPTION_STRING, "gpt-4.1-mini", 1, 128, NAME_CHARS, NULL, "Model to ask for."},
    {"openai", "max_tokens_field", OPTION_CHOICE, "max_completion_tokens", 0, 0, "max_completion_tokens|max_tokens", NULL, "How the host spells the limit of an answer."},
    {"openai", "max_tokens", OPTION_INT, "2000", 64, 100000, NULL, NULL, "Limit of an answer."},
    {"openai", "temperature", OPTION_DECIMAL, "", 0, 2000, NULL, NULL, "Sampling temperature; empty: not sent."},
    {"openai", "structured", OPTION_CHOICE, "json_schema", 0, 0, "json_schema|json_object|none", NULL, "How a structured answer is asked for."},
    {"openai", "connect_timeout", OPTION_DURATION, "5s", 100 * MS, 60 * SECOND, NULL, NULL, "Limit of connecting."},
    {"openai", "timeout", OPTION_DURATION, "60s", 100 * MS, 10 * MINUTE, NULL, NULL, "Limit of a whole request."},
    {"openai", "concurrency", OPTION_INT, "64", 1, 1024, NULL, NULL, "Requests under way at once, for each digest process."},
    {"openai", "max_connections", OPTION_INT, "64", 1, 1024, NULL, NULL, "Connections open at once, for each digest process."},
    {"openai", "prompt_price", OPTION_DECIMAL, "0", 0, 10000000, NULL, NULL, "Price of a million tokens sent."},
    {"openai", "completion_price", OPTION_DECIMAL, "0", 0, 10000000, NULL, NULL, "Price of a million tokens answered."},
    {"openai", "monthly_tokens", OPTION_INT, "0", 0, 1000000000000, NULL, NULL, "Tokens of a month at most, by UTC, over all processes; then digests are made without a model. 0: no limit."},
    {"openai", "monthly_cost", OPTION_DECIMAL, "0", 0, 999999000, NULL, NULL, "The same in money, by the two prices. 0: no limit."},
    {"openai", "ca_file", OPTION_PATH, "", 0, 4096, NULL, NULL, "Certificates that the host is checked against; empty: the system's."},

    {"store", "processes", OPTION_INT, "1", 0, 64, NULL, NULL, "Processes that move events from Redis to PostgreSQL."},
    {"store", "batch_events", OPTION_INT, "512", 1, 512, NULL, NULL, "Elements of a batch at most."},
    {"store", "batch_bytes", OPTION_SIZE, "1m", 1 * KB, 1 * MB, NULL, NULL, "Bytes of a batch at most; at least one element is taken."},
    {"store", "lease", OPTION_DURATION, "15s", 3 * SECOND, 20 * SECOND, NULL, NULL, "How long a batch is ours; renewed at a third of it."},
    {"store", "poll", OPTION_DURATION, "1s", 10 * MS, 60 * SECOND, NULL, NULL, "How often an idle process looks where it cannot wait."},
    {"store", "acknowledge", OPTION_STRING, "", 0, 100, "A-Za-z0-9_+-", NULL, "Emoji to react with to a message that was recorded just now (white_check_mark, say); empty: none."},

    {"schedule", "processes", OPTION_INT, "1", 0, 16, NULL, NULL, "Processes that fire schedules."},
    {"schedule", "max_wait", OPTION_DURATION, "60s", 0, 10 * MINUTE, NULL, NULL, "How long a firing waits for the queues to catch up with it."},
    {"schedule", "missed_window", OPTION_DURATION, "6h", 0, 7 * DAY, NULL, NULL, "How old a missed firing may be to be made up."},

    {"digest", "processes", OPTION_INT, "1", 0, 16, NULL, NULL, "Processes that have digests written."},
    {"digest", "language", OPTION_CHOICE, "ko", 0, 0, "ko|en", NULL, "Language of digests where the workspace says none."},
    {"digest", "prompt_dir", OPTION_PATH, "/usr/share/study-tracker/prompts", 1, 4096, NULL, NULL, "Directory of the prompts, one file a language."},
    {"digest", "deadline", OPTION_DURATION, "30m", 1 * MINUTE, 24 * HOUR, NULL, NULL, "Age of a digest at which the member gets the factual one."},
    {"digest", "max_input", OPTION_INT, "48000", 1000, 1000000, NULL, NULL, "Code points of a member's records sent in one call."},
    {"digest", "max_parts", OPTION_INT, "4", 1, 8, NULL, NULL, "Calls for the records of one digest at most, where one does not hold them; older ones are left out."},
    {"digest", "max_attempts", OPTION_INT, "20", 1, 1000, NULL, NULL, "Calls for one digest at most; then the factual one."},
    {"digest", "lease", OPTION_DURATION, "120s", 10 * SECOND, 1 * HOUR, NULL, NULL, "How long a claimed digest is ours."},

    {"deliver", "processes", OPTION_INT, "1", 0, 16, NULL, NULL, "Processes that send to Slack."},
    {"deliver", "concurrency", OPTION_INT, "32", 1, 256, NULL, NULL, "Requests under way at once, for each process."},
    {"deliver", "lease", OPTION_DURATION, "60s", 10 * SECOND, 1 * HOUR, NULL, NULL, "How long a claimed reply is ours."},
    {"deliver", "poll", OPTION_DURATION, "1s", 10 * MS, 60 * SECOND, NULL, NULL, "How often it looks for what nobody tells it of: a limit of Slack's that is over, new workspaces, members to ask about."},
    {"deliver", "max_attempts", OPTION_INT, "100", 1, 1000, NULL, NULL, "Attempts to send one reply at most."},
    {"deliver", "give_up", OPTION_DURATION, "24h", 1 * MINUTE, 7 * DAY, NULL, NULL, "Age at which an unsent reply is given up; a night that it was held for does not count."},
    {"deliver", "doubtful", OPTION_CHOICE, "settle", 0, 0, "settle|park", NULL, "A reply that may have been sent: look it up in the channel, or leave it to an operator."},
    {"deliver", "settle_after", OPTION_DURATION, "30s", 100 * MS, 1 * HOUR, NULL, NULL, "How long after its end a doubtful request is looked up in the channel."},
    {"deliver", "mode", OPTION_CHOICE, "live", 0, 0, "live|log", NULL, "log: nothing is sent; what would have been is logged, without its words."},
    {"deliver", "only", OPTION_LIST, "", 0, 200, "A-Z0-9", NULL, "A pilot: ids of the members and channels that replies are sent to, all others' are logged; empty: everybody."},
    {"deliver", "quiet_from", OPTION_CLOCK, "22:00", 0, 0, NULL, NULL, "Scheduled direct messages wait from this time of the member ..."},
    {"deliver", "quiet_until", OPTION_CLOCK, "08:00", 0, 0, NULL, NULL, "... until this one; the same as quiet_from: they never wait."},
    {"deliver", "retract_sent", OPTION_BOOL, "no", 0, 0, NULL, NULL, "Delete a sent digest in Slack when a message that it was made from is deleted."},

    {"privacy", "consent", OPTION_CHOICE, "notice", 0, 0, "notice|opt_in", NULL, "What precedes a member's first digest: a delivered notice, or their yes."},
    {"privacy", "private_channels", OPTION_BOOL, "no", 0, 0, NULL, NULL, "Record private channels that the bot was invited to."},
    {"privacy", "external_members", OPTION_BOOL, "no", 0, 0, NULL, NULL, "Record people of other organisations in shared channels."},
    {"privacy", "retention", OPTION_DURATION, "90d", 1 * DAY, 3650 * DAY, NULL, NULL, "How long messages, digests and dead events are kept; older ones are not recorded. Streaks and totals go on counting them."},

    {"status", "listen", OPTION_STRING, "127.0.0.1:9310", 0, 256, NULL, NULL, "Address of /metrics, /healthz and /status.json; empty: none."},
    {"status", "interval", OPTION_DURATION, "5s", 100 * MS, 5 * MINUTE, NULL, NULL, "How often gauges are measured."},

    {"log", "file", OPTION_PATH, "", 0, 4096, NULL, NULL, "Log file; empty: standard error."},
    {"log", "level", OPTION_CHOICE, "info", 0, 0, "debug|info|warn|error", NULL, "Least level that is logged."},

    {"worker", "stop_timeout", OPTION_DURATION, "30s", 1 * SECOND, 10 * MINUTE, NULL, NULL, "How long QUIT and HUP let old processes finish what is in hand."},
    {"worker", "user", OPTION_STRING, "", 0, 64, NAME_CHARS, NULL, "User to become when started as root."},
};
/* clang-format on */

const size_t options_count = sizeof(options) / sizeof(options[0]);
