#!/usr/bin/perl

# What is older than [privacy] retention goes, whatever is younger or unfinished stays, and
# an event about something older is not recorded again.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use JSON::PP qw(encode_json);

use StudyTest::Event ();
use StudyTest::Postgres ();
use StudyTest::Proc qw(scratch_dir wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my $dir = scratch_dir('retention');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", redis => $redis, postgres => $pg,
    slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
    config => { privacy => { retention => '30d' }, map { $_ => { processes => 0 } } qw(digest deliver) },
);
$worker->migrate;
my $db = $pg->dbh;

sub value { return ($db->selectrow_array(shift, undef, @_))[0] }

$db->do(q{DELETE FROM study.schedule});
$db->do(q{INSERT INTO study.team (team_id) VALUES ('T1')});
$db->do(q{INSERT INTO study.member (team_id, user_id, noticed_at) VALUES ('T1', 'U1', now())});
my $schedule = value(q{INSERT INTO study.schedule (name, kind, cron, time_zone, paused)
    VALUES ('never', 'daily', '0 0 1 1 *', 'UTC', true) RETURNING schedule_id});

# More than one sweep takes: 2,500 old messages, half of them tombstones, and some young ones.
$db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at, deleted)
    SELECT 'T1', 'C1', (1700000000 + n)::text || '.000100', 'U1',
        CASE WHEN n % 2 = 0 THEN '' ELSE 'Old note ' || n END,
        now() - interval '31 days', now() - interval '31 days', n % 2 = 0
    FROM generate_series(1, 2500) AS n});
$db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
    SELECT 'T1', 'C1', (1750000000 + n)::text || '.000100', 'U1', 'Young note ' || n,
        now() - interval '29 days', now() FROM generate_series(1, 10) AS n});

# Days of study, for streaks: a run of sixty that ends today, by three clocks, and one that ended with
# the month before last. About the limit a day has a record on either side of it; a reply of "ok" is none.
for my $row ([ U7 => 'Asia/Seoul', 0 ], [ U8 => 'America/New_York', 0 ], [ U9 => 'Mars/Olympus_Mons', 40 ], [ U10 => undef, 0 ]) {
    my ($user, $zone, $until) = @$row;
    $db->do(q{INSERT INTO study.member (team_id, user_id, time_zone) VALUES ('T1', ?, ?)}, undef, $user, $zone);
    $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, thread_ts, posted_at, accepted_at)
        SELECT 'T1', ?, (1760000000 + row_number() OVER ())::text || '.000100', ?, text, CASE text WHEN 'ok' THEN '1700000000.000100' END, at, at
        FROM generate_series(?::int * 24, 60 * 24, 8) AS h, (VALUES ('A day of study.'), ('ok')) AS t (text),
            LATERAL (SELECT now() - make_interval(hours => h)) AS a (at)}, undef, "C$user", $user, $until);
}
# One who was forgotten: what is left of them is not counted.
$db->do(q{INSERT INTO study.forgotten (team_id, user_id, before, sealed_at, rows_at, done_at) VALUES ('T1', 'U10', now(), now(), now(), now())});
my $days = q{SELECT user_id, day, records FROM study.member_day WHERE user_id IN ('U1', 'U7', 'U8', 'U9') ORDER BY user_id, day};
my $streaks = q{SELECT user_id, current_streak, longest_streak, days, records, last_day FROM study.streak WHERE user_id IN ('U1', 'U7', 'U8', 'U9') ORDER BY user_id};
my $todays = q{SELECT string_agg(today::text, ' ' ORDER BY user_id) FROM study.streak};
my ($today, @before) = (value($todays), map { $db->selectall_arrayref($_) } $days, $streaks);
is(join(' ', map { $_->[0] } grep { $_->[2] >= 60 } @{ $before[1] }), 'U7 U8', 'two streaks that are longer than retention');

# A digest: its age in days, its state, and the state of its reply (none: '').
my $minute = 0;
my %digest;
for my $row ([ old_sent => 31, 'made', 'sent' ], [ old_doubtful => 31, 'made', 'doubtful' ],
    [ old_pending => 31, 'pending', '' ], [ old_cancelled => 31, 'cancelled', '' ], [ young => 29, 'made', 'sent' ])
{
    my ($name, $days, $state, $reply) = @$row;
    my $firing = value(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, created_at, done_at)
        VALUES (?, 'UTC', now() - make_interval(days => ?, mins => ?), 'done', now() - make_interval(days => ?), now())
        RETURNING firing_id}, $schedule, $days, ++$minute, $days);
    my $id = $digest{$name} = value(q{INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, deadline, created_at)
        VALUES (?, ?, 'T1', 'U1', ?, now(), now() - make_interval(days => ?)) RETURNING digest_id},
        $firing, $schedule, $state, $days);
    next if $reply eq '';
    $db->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body, state, sent_ts, created_at)
        VALUES (?, 'digest', 'T1', 'U1', ?, 1, '{"text":"words"}', ?, ?, now() - make_interval(days => ?))},
        undef, "digest:$id:1", $id, $reply, $reply eq 'sent' ? '1700000000.000100' : undef, $days);
}
$db->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, body, state, sent_ts, created_at)
    VALUES ('notice:T1:U1', 'notice', 'T1', 'U1', '{"text":"words"}', 'sent', '1700000000.000100', now() - interval '31 days')});
# Answers to commands that were parked hold words, too; one whose end is not known is never taken away.
for my $row ([ 31, 'parked' ], [ 29, 'parked' ], [ 31, 'doubtful' ], [ 31, 'sending' ]) {
    $db->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, body, state, created_at, lease_until)
        VALUES (?, 'response', 'T1', 'response-U1', '{"url":"x","message":{"text":"words"}}', ?, now() - make_interval(days => ?), now() + interval '1 h')},
        undef, "response:@$row", $row->[1], $row->[0]);
}
for my $days (29, 31) {
    $db->do(q{INSERT INTO study.dead_event (reason, detail, element, element_sha, created_at)
        VALUES ('bad_json', 'here', 'x', sha256(?::text::bytea), now() - make_interval(days => ?))}, undef, $days, $days);
    $db->do(q{INSERT INTO study.applied (identity, applied_at) VALUES (?, now() - make_interval(days => ?))}, undef, "event:$days", $days);
}

# Where nothing can be sent: a workspace, a lane, and a member whom no notice has reached. Each has a
# reply and a digest of two days and of an hour; a fourth member is well.
$db->do(q{INSERT INTO study.team (team_id, state, stopped_reason) VALUES ('T2', 'stopped', 'token_revoked')});
my %nowhere;
for my $row ([ team => 'T2', 'U2' ], [ lane => 'T1', 'U3' ], [ untold => 'T1', 'U4' ], [ well => 'T1', 'U5' ]) {
    my ($name, $team, $user) = @$row;
    $db->do(q{INSERT INTO study.member (team_id, user_id, noticed_at) VALUES (?, ?, CASE WHEN ? <> 'U4' THEN now() END)}, undef, $team, $user, $user);
    $db->do(q{INSERT INTO study.lane (team_id, target, due_at, stopped_reason, retry_at)
        VALUES (?, ?, now() + interval '1 h', ?::text, CASE WHEN ?::text IS NOT NULL THEN now() + interval '1 h' END)},
        undef, $team, $user, ($name eq 'lane' ? 'user_disabled' : undef) x 2);
    for my $hours (48, 1) {
        for my $state ('pending', 'made') {
            my $firing = value(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, done_at)
                VALUES (?, 'UTC', now() - make_interval(mins => ?), 'done', now()) RETURNING firing_id}, $schedule, ++$minute);
            my $id = $nowhere{"$name $state $hours"} = value(q{INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, deadline, created_at)
                VALUES (?, ?, ?, ?, ?, now(), now() - make_interval(hours => ?)) RETURNING digest_id}, $firing, $schedule, $team, $user, $state, $hours);
            $db->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body, created_at)
                VALUES (?, 'digest', ?, ?, ?, 1, '{"text":"words"}', now() - make_interval(hours => ?))},
                undef, "digest:$id:1", $team, $user, $id, $hours) if $state eq 'made';
        }
    }
}
$db->do(q{INSERT INTO study.lane (team_id, target, stopped_reason, retry_at) VALUES ('T1', 'U6', 'user_disabled', now())});

# In the lane that is stopped, where every night has thirteen hours and a half, and the last has just ended.
$db->do(q{UPDATE study.member SET time_zone = 'UTC' WHERE user_id = 'U3'});
my ($dusk, $dawn) = map { my @t = gmtime(time - $_ * 60); sprintf '%02d:%02d', @t[ 2, 1 ] } 14 * 60, 30;
for my $row ([ 'by hand' => 30, 'false' ], [ 'held' => 30, 'true' ], [ 'long held' => 72, 'true' ]) {
    my ($name, $hours, $hold) = @$row;
    $db->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, body, hold, created_at)
        VALUES (?, 'notice', 'T1', 'U3', '{"text":"words"}', ?, now() - make_interval(hours => ?))}, undef, "night:$name", $hold, $hours);
}

# Deletions of two days ago that failed, and of a month ago that nobody looked at: one of each is of a
# forgetting that is still held up, by the reply that Slack has yet to take away.
$db->do(q{INSERT INTO study.forgotten (team_id, user_id, before, delete_dms, dm_channels) VALUES ('T1', 'U11', now(), true, '{D11}')});
for my $row ([ D11 => 'failed', 2 ], [ D11 => 'parked', 31 ], [ D11 => 'doubtful', 2 ], [ D12 => 'failed', 2 ], [ D12 => 'parked', 31 ]) {
    $db->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, body, state, created_at, done_at)
        SELECT 'forget:' || $1 || ':' || $2, 'delete', 'T1', 'delete-' || $1, '{}', $2, at, CASE WHEN $2 <> 'doubtful' THEN at END
        FROM (SELECT now() - make_interval(days => $3)) AS t (at)}, undef, @$row);
}

$worker->write_config({ deliver => { processes => 0, quiet_from => $dusk, quiet_until => $dawn } });
my $taken = value(q{SELECT count(*) FROM study.message WHERE posted_at < now() - interval '30 days'});
$worker->start;
wait_for { !value(q{SELECT count(*) FROM study.message WHERE posted_at < now() - interval '30 days'}) } 60, 'old messages to go';
wait_for { value(q{SELECT count(*) FROM study.firing}) == 19 } 60, 'old firings to go';
wait_for { !value(q{SELECT count(*) FROM study.outbox WHERE target = 'delete-D12'}) } 60, 'old deletions to go';
$db->do(q{UPDATE study.outbox SET state = 'sent', done_at = now() WHERE target = 'delete-D11' AND state = 'doubtful'});
wait_for { value(q{SELECT rows_at IS NOT NULL FROM study.forgotten WHERE user_id = 'U11'}) } 60, 'the forgetting to end';
is(value(q{SELECT stays FROM study.forgotten WHERE user_id = 'U11'}), 2, 'a forgetting that was held up for long tells of all that stays in Slack');

is(value(q{SELECT count(*) FROM study.message WHERE text LIKE 'Young%'}), 10, 'young messages stay');
is_deeply($db->selectall_arrayref($days), $before[0], 'each study day has as many records as before');
my $after = $db->selectall_arrayref($streaks);
is_deeply($after, $before[1], 'streaks and totals outlive the text') if value($todays) eq $today;    # else a day has begun
is(value(q{SELECT count(*) FROM study.past_day WHERE user_id = 'U1'}), 1, 'what several sweeps took of one day is one row');
is(value(q{SELECT count(*) FROM study.past_day WHERE user_id = 'U10'}), 0, 'of a forgotten member nothing is counted');
for my $name (qw(team lane untold well)) {
    my @states = map { value(q{SELECT state FROM study.digest WHERE digest_id = ?}, $nowhere{"$name pending $_"}) } 48, 1;
    my @replies = map { value(q{SELECT state || CASE WHEN body IS NULL THEN ', blank' ELSE '' END FROM study.outbox WHERE digest_id = ?}, $nowhere{"$name made $_"}) } 48, 1;
    is_deeply(\@states, [ $name eq 'well' ? 'pending' : 'cancelled', 'pending' ], "$name: an old digest that cannot be sent is given up");
    is_deeply(\@replies, [ $name =~ /team|lane/ ? 'cancelled, blank' : 'pending', 'pending' ], "$name: and an old reply, with its text");
}
is_deeply($db->selectcol_arrayref(q{SELECT identity FROM study.outbox WHERE identity LIKE 'night:%' AND state = 'pending'}), ['night:held'],
    'a night that a reply was held for does not make it old');
$db->do(q{DELETE FROM study.outbox WHERE identity LIKE 'night:%'});
is_deeply($db->selectcol_arrayref(q{SELECT target FROM study.lane WHERE stopped_reason IS NOT NULL}), ['U3'], 'a lane is tried again in its time');
$db->do(q{DELETE FROM study.digest WHERE digest_id = ANY (?)}, undef, [ values %nowhere ]);

is_deeply($db->selectcol_arrayref(q{SELECT digest_id FROM study.digest ORDER BY digest_id}),
    [ sort { $a <=> $b } @digest{qw(old_doubtful old_pending young)} ], 'finished digests go, others stay');
is_deeply($db->selectcol_arrayref(q{SELECT identity FROM study.outbox ORDER BY outbox_id}),
    [ "digest:$digest{old_doubtful}:1", "digest:$digest{young}:1", 'notice:T1:U1', 'response:29 parked', 'response:31 doubtful', 'response:31 sending' ],
    'replies go with their digests, and never before their end is known');
is(value(q{SELECT count(*) FROM study.outbox WHERE kind = 'notice' AND body IS NULL}), 1,
    'a notice keeps its row and loses its text');
is_deeply($db->selectcol_arrayref(q{SELECT identity FROM study.applied}), ['event:29'], 'old identities go');
is(value(q{SELECT count(*) FROM study.dead_event}), 1, 'old dead events go');

# Slack repeats an old message, and somebody edits one: neither comes back.
my $old = StudyTest::Event::message(team => 'T1', user => 'U1', channel => 'C1', text => 'From long ago.',
    ts => (time - 31 * 86400) . '.000100');
my $new = StudyTest::Event::message(team => 'T1', user => 'U1', channel => 'C1', text => 'From yesterday.',
    ts => (time - 86400) . '.000100');
my $head = sprintf '{"v":1,"kind":"event","received_at":%d,"retry_num":0,"retry_reason":"",'
    . '"content_type":"application/json","request_id":"r","idempotency_key":""}' . "\n", time * 1000;
$redis->client->rpush('study:{ingest}:pending', map { $head . encode_json($_) }
    $old, StudyTest::Event::edited($old, text => 'From long ago, edited.'), $new);
wait_for { value(q{SELECT count(*) FROM study.message WHERE text = 'From yesterday.'}) } 30, 'the young one';
is(value(q{SELECT count(*) FROM study.message WHERE text LIKE 'From long ago%'}), 0, 'what is too old is not recorded');
wait_for { ($worker->metrics->{'study_worker_events_total{outcome="ignored"}'} // 0) == 2 } 10, 'the counter';

my $metrics = $worker->metrics;
is($metrics->{'study_worker_retention_rows_total{kind="message"}'}, $taken, 'counted');
$worker->stop;
done_testing;
