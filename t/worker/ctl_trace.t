#!/usr/bin/perl

# studyctl trace: one message wherever it can be, from Redis to the member's digest, and
# why it goes no further. The rows are put there by hand, as the roles leave them.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use JSON::PP qw(decode_json);

use StudyTest::Event qw(message);
use StudyTest::Redis ();
use StudyTest::Store;

my $store = StudyTest::Store->start(worker => 0);
my $dbh = $store->dbh;
my $serial = 100;

sub ctl { my ($status, $said) = $store->worker->ctl(@_); return ($status >> 8, $said) }

sub stories {
    my ($status, $said) = ctl('trace', @_, '--json');
    my $got = eval { decode_json($said) } or die "trace @_: $said";
    return @{ $got->{stories} };
}

# The last step of the only story: its state and what it says.
sub ends {
    my ($args, $state, $like, $name) = @_;
    my ($story) = stories(@$args);
    is($story->{state}, $state, "$name: $state") or diag explain $story;
    like($story->{steps}[-1]{said}, $like, '... and says why');
    return $story;
}

sub sql { $dbh->do($_) for split /;\n/, $_[0]; return }

sql(<<'END');
INSERT INTO study.team (team_id, url) VALUES ('T1', 'https://t1.slack.com/'), ('T2', NULL);
INSERT INTO study.channel (team_id, channel_id) VALUES ('T1', 'C1'), ('T2', 'C2');
INSERT INTO study.member (team_id, user_id, noticed_at) VALUES ('T1', 'U0000001', now()), ('T1', 'U0000002', NULL), ('T2', 'U0000001', now());
DELETE FROM study.schedule WHERE name <> 'daily';
UPDATE study.schedule SET next_at = '2099-01-01'
END

# All of one second, and so of one day.
my $then = time - 600;

sub stored {
    my (%row) = @_;
    my $ts = sprintf '%d.%06d', $then, ++$serial;
    $dbh->do('INSERT INTO study.message (team_id, channel_id, ts, user_id, text, thread_ts, posted_at, accepted_at, deleted) VALUES (?, ?, ?, ?, ?, ?, to_timestamp(?::float8), now(), ?)',
        undef, $row{team} // 'T1', $row{channel} // 'C1', $ts, $row{user} // 'U0000001', $row{text} // 'members text, long enough', $row{thread_ts}, $ts, $row{deleted} ? 1 : 0);
    return $ts;
}

sub digest {
    my ($ts, %row) = @_;
    my ($firing) = $dbh->selectrow_array("INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, trigger_key) SELECT schedule_id, time_zone, now(), 'done', ? FROM study.schedule LIMIT 1 RETURNING firing_id", undef, 'trigger:t' . ++$serial);
    my ($id) = $dbh->selectrow_array("INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, origin, error, deadline, made_at) SELECT firing_id, schedule_id, ?, ?, ?, ?, ?, now() + interval '30 min', CASE WHEN ?::text IS NOT NULL THEN now() END FROM study.firing WHERE firing_id = ? RETURNING digest_id",
        undef, $row{team} // 'T1', $row{user} // 'U0000001', $row{state} // 'pending', $row{origin}, $row{error}, $row{origin}, $firing);
    $dbh->do('INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id) SELECT schedule_id, ?, ?, ?, digest_id FROM study.digest WHERE digest_id = ?', undef, $row{team} // 'T1', $row{channel} // 'C1', $ts, $id);
    return $id;
}

sub reply {
    my ($digest, $state, %row) = @_;
    $dbh->do("INSERT INTO study.lane (team_id, target) SELECT team_id, user_id FROM study.digest WHERE digest_id = ? ON CONFLICT DO NOTHING", undef, $digest);
    return $dbh->selectrow_array("INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body, state, sent_ts, channel_id, error, done_at) SELECT ?, 'digest', team_id, user_id, digest_id, 1, '{\"text\":\"members text\"}', ?, ?, ?, ?, CASE WHEN ? IN ('sent', 'failed', 'parked') THEN now() END FROM study.digest WHERE digest_id = ? RETURNING outbox_id",
        undef, 'd' . ++$serial, $state, $row{sent_ts}, $row{channel}, $row{error}, $state, $digest);
}

sub link_to { my ($channel, $ts) = @_; return "https://t1.slack.com/archives/$channel/p" . ($ts =~ tr/.//dr) . '?thread_ts=1.2&cid=C1' }

# --- in Redis ---------------------------------------------------------------------------------

my $event = message(team => 'T1', channel => 'C1', text => 'members text that waits');
my $ts = $event->{event}{ts};
$store->event(message(text => 'another one')) for 1 .. 3;
$store->event($event);
my $story = ends([ link_to('C1', $ts) ], 'waits', qr/in the list pending of unix:.*, 3 before it/, 'a permalink of what waits');
is($story->{steps}[0]{step}, 'accepted', '... accepted it was');
ends([ $event->{event_id} ], 'waits', qr/in the list pending/, 'its event id');
my ($element) = grep { /\Q$ts\E/ } $store->client->lrange($store->key('pending'), 0, -1);
my ($request) = $element =~ /"request_id":"(.*?)"/;
ends([$request], 'waits', qr/in the list pending/, 'its request id');
$store->client->del($store->key('pending'));
my $batch = $store->key('batch:0123456789abcdef:5');
$store->client->rpush($batch, $element);
$store->client->zadd($store->key('leases'), (time + 15) * 1000, $batch);
ends(["T1/C1/$ts"], 'waits', qr/in a store's hands, taken from pending/, 'one in a batch');
$store->client->del($batch, $store->key('leases'));

my $second = StudyTest::Redis->start(dir => $store->{dir} . '/redis2');
push @{ $store->worker->{redis} }, $second;
$store->worker->write_config;
$second->client->rpush($store->key('pending'), $store->element(message(text => 'before it')), $element);
ends(["T1/C1/$ts"], 'waits', qr/in the list pending of \Q@{[ $second->address ]}\E, 1 before it/, 'one in the second server');
$second->client->del($store->key('pending'));
$store->client->rpush($store->key('control'), $element);
ends(["T1/C1/$ts"], 'waits', qr/in the list control of \Q@{[ $store->redis->address ]}\E/, '... in the first of two');
$store->client->del($store->key('control'));
$second->stop;
($story) = stories("T1/C1/$ts");
like(join(' | ', map { $_->{said} } @{ $story->{steps} }), qr/\Q@{[ $second->address ]}\E/, '... in one that is away: that it could not be asked');
pop @{ $store->worker->{redis} };
$store->worker->write_config;

$dbh->do("INSERT INTO study.dead_event (reason, detail, element, element_sha) SELECT 'bad_field', 'x', convert_to(?, 'UTF8'), sha256('1')", undef, $element);
ends(["C1/$ts"], 'stopped', qr/could not be stored: bad_field; studyctl dead show 1/, 'a dead one');
$dbh->do('DELETE FROM study.dead_event');
ends(["T1/C1/$ts"], 'stopped', qr/not here: never answered 200/, 'one that is nowhere');
ends(["T1/C9/$ts"], 'stopped', qr/nothing of C9 is recorded/, '... in a channel that is not known');
ends(['T1/C1/1400000000.000100'], 'stopped', qr/longer ago than \[privacy\] retention/, '... years ago');
my ($code, $said) = ctl('trace', 'Ev0NOSUCH');
is($code, 1, 'an event id of nothing fails');
like($said, qr/kept by channel and time, not by this id/, '... and says why it cannot know');

# --- stored -------------------------------------------------------------------------------------

$ts = stored();
$story = ends(["T1/C1/$ts"], 'waits', qr/in none yet; schedule daily fires then/, 'a record');
is_deeply([ map { $_->{step} } @{ $story->{steps} } ], [qw(accepted stored digest)], '... step by step');
is($story->{steps}[2]{at}, '2099-01-01T00:00:00Z', '... with its time');
ends(["T1/C1/@{[ stored(text => 'short', thread_ts => '1700000000.000100') ]}"], 'stopped', qr/no record of study/, 'a short one');
ends(["T1/C1/@{[ stored(text => '', deleted => 1) ]}"], 'stopped', qr/deleted in Slack/, 'a deleted one');
$dbh->do("UPDATE study.member SET digests = false WHERE team_id = 'T2'");
ends(["C2/@{[ stored(team => 'T2', channel => 'C2') ]}"], 'stopped', qr/wants no digests/, 'of one who wants none');
$dbh->do('UPDATE study.schedule SET paused = true');
ends(["T1/C1/$ts"], 'stopped', qr/every schedule for it is paused/, 'while the schedule is paused');
$dbh->do('UPDATE study.schedule SET paused = false');

# --- digests ---------------------------------------------------------------------------------------

my $unnoticed = stored(user => 'U0000002');
digest($unnoticed, user => 'U0000002');
ends(["T1/C1/$unnoticed"], 'waits', qr/the privacy notice has not reached the member/, 'before the notice');
my $id = digest($ts);
ends(["T1/C1/$ts"], 'waits', qr/to be made, next looked at then/, 'a pending digest');
$dbh->do("INSERT INTO study.pause (role, reason) VALUES ('digest', 'for lunch')");
ends(["T1/C1/$ts"], 'stopped', qr/digest is paused \(for lunch\)/, '... while paused');
$dbh->do('DELETE FROM study.pause');
$dbh->do("UPDATE study.team SET state = 'stopped', stopped_reason = 'token_revoked' WHERE team_id = 'T1'");
ends(["digest:$id"], 'stopped', qr/the workspace is stopped \(token_revoked\)/, '... in a stopped workspace');
$dbh->do("UPDATE study.team SET state = 'active', stopped_reason = NULL");
$dbh->do("UPDATE study.digest SET state = 'cancelled', error = 'no longer wanted' WHERE digest_id = ?", undef, $id);
ends(["T1/C1/$ts"], 'stopped', qr/was cancelled: no longer wanted; studyctl digest retry $id/, 'a cancelled one');

# --- replies ------------------------------------------------------------------------------------------

$dbh->do("UPDATE study.digest SET state = 'made', origin = 'model', error = NULL, made_at = now() WHERE digest_id = ?", undef, $id);
my $reply = reply($id, 'pending');
ends([ link_to('C1', $ts) ], 'waits', qr/reply $reply is sent then/, 'a reply');
$dbh->do("UPDATE study.outbox SET hold = true, next_at = now() + interval '5 h' WHERE outbox_id = ?", undef, $reply);
ends([$reply], 'waits', qr/reply $reply is sent then.*not in the member's quiet hours/, '... that waits for the morning');
$dbh->do("INSERT INTO study.pause (role, team_id, reason) VALUES ('deliver', 'T1', 'quiet')");
ends([$reply], 'stopped', qr/deliver is paused \(quiet\)/, '... while paused');
$dbh->do('DELETE FROM study.pause');
$dbh->do("UPDATE study.lane SET stopped_reason = 'user_disabled', retry_at = now() + interval '1 day'");
ends(["outbox:$reply"], 'stopped', qr/nothing can be sent there \(user_disabled\)/, '... in a stopped lane');
$dbh->do('UPDATE study.lane SET stopped_reason = NULL, retry_at = NULL');
for my $case ([ 'doubtful', 'waits', qr/may have been sent \(cut\)/ ], [ 'parked', 'stopped', qr/is parked: cut; studyctl outbox retry/ ],
    [ 'failed', 'stopped', qr/is failed: cut/ ], [ 'sending', 'waits', qr/is being sent/ ], [ 'cancelled', 'stopped', qr/was cancelled: cut/ ]) {
    $dbh->do('UPDATE study.outbox SET state = ?, error = ? WHERE outbox_id = ?', undef, $case->[0], 'cut', $reply);
    ends(["T1/C1/$ts"], $case->[1], $case->[2], "one that is $case->[0]");
}
$dbh->do("UPDATE study.outbox SET state = 'sent', sent_ts = '1795372999.000100', channel_id = 'D1', done_at = now() WHERE outbox_id = ?", undef, $reply);
$story = ends(["T1/C1/$ts"], 'done', qr/to U0000001, message 1795372999\.000100 in D1/, 'one that arrived');
is_deeply([ map { $_->{step} } @{ $story->{steps} } ], [qw(accepted stored digest digest sent)], '... from accept to sent');

# --- a member's day --------------------------------------------------------------------------------------

my ($member, @day) = stories('U0000001');
like($member->{what}, qr/U0000001 in T1/, 'a member');
ok(scalar(grep { $_->{what} eq "T1/C1/$ts" && $_->{state} eq 'done' } @day), '... with the day of the last message');
is(scalar(stories('U0000001', '2001-01-01')), 2, '... or another day, on which nothing was');

# --- text, and what cannot be ------------------------------------------------------------------------------

($code, $said) = ctl('trace', "T1/C1/$ts");
is($code, 0, 'for people');
unlike($said, qr/members text/, '... without what was written');
like($said, qr/^  20\S+Z  stored    T1\/C1\/\Q$ts\E of U0000001/m, '... in columns');
like((ctl('trace', "T1/C1/$ts", '--show-text'))[1], qr/members text/, '... or with it, when asked for');
for my $case ([ 2, qr/is no permalink/, 'https://example.com/nothing' ], [ 2, qr/is no permalink/, 'T1/C1/12' ], [ 1, qr/no trace of 99999/, '99999' ],
    [ 1, qr/no member U9999/, 'U9999' ], [ 2, qr/is no date/, 'U0000001', 'yesterday' ], [ 2, qr/is no date/, 'U0000001', '2001-13-41' ], [ 2, qr/a date goes with/, 'Ev0000001', '2001-01-01' ]) {
    my ($want, $like, @args) = @$case;
    my ($got, $text) = ctl('trace', @args);
    is($got, $want, "trace @args: $want");
    like($text, $like, '... with the reason');
}
$store->stop;
done_testing;
