#!/usr/bin/perl

# studyctl's listings over rows of every kind: columns, filters, JSON, exit statuses; and
# that what members wrote shows only when asked for.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use Digest::SHA qw(sha1_hex);
use JSON::PP qw(decode_json);
use StudyTest::Postgres;
use StudyTest::Proc qw(scratch_dir);
use StudyTest::Redis;
use StudyTest::Worker;

binmode Test::More->builder->$_, ':encoding(UTF-8)' for qw(output failure_output todo_output);

my $dir = scratch_dir('ctl-show');
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", redis => $redis, postgres => $pg,
    slack_url => 'http://127.0.0.1:9/', openai_url => 'http://127.0.0.1:9/v1',
);
$worker->migrate;

my $SECRET = 'members text 오늘';
my $db = $pg->dbh;
$db->do($_) for split /;\n/, <<"END";
INSERT INTO study.team (team_id, name, bot_user_id) VALUES ('T1', '공부 모임', 'UB'), ('T2', 'Other', NULL);
UPDATE study.team SET state = 'stopped', stopped_reason = 'token_revoked' WHERE team_id = 'T2';
INSERT INTO study.channel (team_id, channel_id) VALUES ('T1', 'C1');
INSERT INTO study.member (team_id, user_id, noticed_at) VALUES ('T1', 'U1', now()), ('T1', 'U2', NULL), ('T2', 'U3', NULL);
INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
    VALUES ('T1', 'C1', '1795372952.000100', 'U1', '$SECRET', '2026-11-22 18:42:32+00', now()),
           ('T1', 'C1', '1795372953.000100', 'U1', '$SECRET', '2026-11-22 18:42:33+00', now());
DELETE FROM study.schedule WHERE name = 'weekly';
INSERT INTO study.firing (schedule_id, time_zone, fire_at, state) SELECT schedule_id, time_zone, '2026-11-22 23:30+00', 'done' FROM study.schedule;
INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, origin, result, deadline, made_at)
    SELECT firing_id, schedule_id, 'T1', 'U1', 'made', 'model', '{"studied":"$SECRET"}', now(), now() FROM study.firing;
INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, deadline) SELECT firing_id, schedule_id, 'T2', 'U3', now() FROM study.firing;
INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id) SELECT schedule_id, 'T1', 'C1', '1795372952.000100', 1 FROM study.schedule;
INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body) VALUES ('digest:1:1', 'digest', 'T1', 'U1', 1, 1, '{"text":"$SECRET"}');
INSERT INTO study.outbox (identity, kind, team_id, target, body, state, sent_ts, done_at) VALUES ('notice:T2:U3', 'notice', 'T2', 'U3', NULL, 'sent', '1795372954.000100', now());
INSERT INTO study.lane (team_id, target, stopped_reason, retry_at) VALUES ('T1', 'U1', 'channel_not_found', now() + interval '1 day');
INSERT INTO study.dead_event (reason, detail, element, element_sha) VALUES ('bad_json', 'near byte 3', convert_to('{"v":1}' || chr(10) || '$SECRET', 'UTF8'), sha256('x'));
INSERT INTO study.pause (role, reason) VALUES ('deliver', 'by hand');
END

sub ctl { return $worker->ctl(@_) }

sub json {
    my ($status, $said) = ctl(@_, '--json');
    is($status, 0, "@_ --json") or diag $said;
    return decode_json($said);
}

# --- listings ---------------------------------------------------------------------------

is_deeply([ map { $_->{digest_id} } @{ json('digest', 'ls') } ], [ 2, 1 ], 'digests, the newest first');
is_deeply([ map { $_->{digest_id} } @{ json('digest', 'ls', '--limit', 1) } ], [2], '... as many as asked for');
is_deeply([ map { $_->{digest_id} } @{ json('digest', 'ls', '--team', 'T1') } ], [1], '... of one workspace');
is_deeply([ map { $_->{digest_id} } @{ json('digest', 'ls', '--state', 'pending') } ], [2], '... in one state');
is_deeply(json('digest', 'ls', '--team', 'T9'), [], '... or none');

my $digest = json('digest', 'ls', '--team', 'T1')->[0];
is_deeply([ @$digest{qw(schedule fire_at user_id state origin records reply attempts error)} ],
    [ 'daily', '2026-11-22T23:30:00Z', 'U1', 'made', 'model', 1, 'pending', 0, undef ], 'columns have their types');

is_deeply([ map {"$_->{kind} $_->{state}"} @{ json('outbox', 'ls') } ], [ 'notice sent', 'digest pending' ], 'replies');
is(json('outbox', 'ls', '--state', 'sent')->[0]{target}, 'U3', '... in one state');
is_deeply([ map {"$_->{reason} $_->{detail}"} @{ json('dead', 'ls') } ], ['bad_json near byte 3'], 'dead events');
is_deeply([ sort map { $_->{user_id} } @{ json('member', 'ls', '--team', 'T1') } ], [ 'U1', 'U2' ], 'members');
is_deeply([ map {"$_->{team_id} $_->{state} $_->{members} $_->{channels}"} @{ json('team', 'ls') } ], [ 'T1 active 2 1', 'T2 stopped 1 0' ], 'workspaces');
is(json('team', 'ls')->[0]{name}, '공부 모임', '... with their names');
my $member = json('member', 'show', 'T1', 'U1')->{member};
is_deeply([ @$member{qw(messages digests_made_for digests consent)} ], [ 2, 1, JSON::PP::true, 'none' ], 'a member');
is($member->{last_message_at}, '2026-11-22T18:42:33Z', '... and the last message');

# --- what is hidden -------------------------------------------------------------------------

for my $what ([qw(digest show 1)], [qw(outbox show 1)], [qw(dead show 1)], [qw(digest ls)], [qw(outbox ls)], [qw(status)]) {
    for my $how ([], ['--json']) {
        my ($status, $said) = ctl(@$what, @$how);
        is($status, 0, "@$what @$how") or diag $said;
        unlike($said, qr/members text/, '... tells nothing that members wrote');
    }
}
utf8::encode(my $bytes = $SECRET);
for my $what ([qw(digest show 1)], [qw(outbox show 1)]) {
    my ($status, $said) = ctl(@$what, '--show-text');
    like($said, qr/\Q$bytes\E/, "@$what --show-text shows it");
}
my $shown = json(qw(digest show 1 --show-text));
is($shown->{records}[0]{text}, $SECRET, 'records');
is($shown->{digest}{result}{studied}, $SECRET, '... the result');
is($shown->{replies}[0]{outbox_id}, 1, '... and the replies');
is(json(qw(digest show 1))->{digest}{result}, '(hidden)', '... or a word in its place');
like(json(qw(dead show 1 --show-text))->{dead_event}{element}, qr/\A\{"v":1\}\nmembers text /, 'an element');
is(json(qw(outbox show 1))->{reply}{lane_stopped}, 'channel_not_found', 'a reply tells of its lane');

# --- schedules --------------------------------------------------------------------------------

my ($schedule) = @{ json('schedule', 'ls') };
is_deeply([ @$schedule{qw(name cron time_zone paused last_state)} ], [ 'daily', '30 8 * * 2-7', 'Asia/Seoul', JSON::PP::false, 'done' ], 'schedules');
my $next = json('schedule', 'next', 'daily', '--limit', 3);
is(scalar @$next, 3, 'the next three times');
is_deeply([ grep { $_->{local} !~ / 08:30$/ || $_->{at} !~ /T23:30:00Z$/ } @$next ], [], '... by its own clock');
is(scalar @{ json('schedule', 'next') }, 5, 'five by default');
my $run = json('schedule', 'run', 'daily');
like($run->{trigger_key}, qr/^trigger:studyctl-[0-9a-f]{24}$/, 'a schedule is fired');
is($db->selectrow_array('SELECT count(*) FROM study.firing WHERE trigger_key = ?', undef, $run->{trigger_key}), 1, '... once, as a row');
my ($fired, $first) = @{ json('schedule', 'firings') };
is($fired->{triggered}, JSON::PP::true, '... and is listed');
is_deeply([ @$first{qw(schedule state digests open by_model factual cancelled sent failed)} ], [ 'daily', 'done', 2, 1, 1, 0, 0, 0, 0 ], '... beside the one before, with its digests');

# --- status -------------------------------------------------------------------------------------

my $client = $redis->client;
$client->rpush('study:{ingest}:pending', '{"v":1,"kind":"event","received_at":1795372952123}' . "\n{}") for 1 .. 3;
my ($queue) = @{ json('queue')->{lists} };
is_deeply([ @$queue{qw(server control pending suspect leased_batches error)} ], [ $redis->address, 0, 3, 0, 0, undef ], 'queue lengths');
my $batch = 'study:{ingest}:batch:0123456789abcdef:4';    # 4 mod 3: of the suspects
$client->rpush($batch, 'an element that took its worker down');
$client->zadd('study:{ingest}:leases', (time + 12) * 1000, $batch);
$client->hset('study:{ingest}:crashes', sha1_hex('an element that took its worker down'), 1);
$client->rpush('study:{ingest}:suspect', 'another', 'and one that is innocent');
$client->hset('study:{ingest}:crashes', sha1_hex('another'), 2);
my $hands = json('queue');
is_deeply([ map { [ @$_{qw(worker batch list elements crashes)} ] } @{ $hands->{batches} } ], [ [ '0123456789abcdef', 4, 'suspect', 1, 1 ] ], 'who holds which batch');
cmp_ok($hands->{batches}[0]{ends_in_seconds}, '<=', 12, '... and for how long');
is_deeply($hands->{crashes}, [ { server => $redis->address, suspects_crashed => 1, most_crashes => 2 } ], '... and what took workers down');
$client->del($batch, map {"study:{ingest}:$_"} qw(leases crashes suspect));
my $status = json('status');
is_deeply([ sort keys %$status ], [qw(attention counts pauses queues schedules stopped stored)], 'status has its parts');
is_deeply([ map {"$_->{what} $_->{state} $_->{count}"} grep { $_->{what} eq 'digest' } @{ $status->{counts} } ], [ 'digest made 1', 'digest pending 1' ], '... counts');
is($status->{pauses}[0]{role}, 'deliver', '... pauses');
is_deeply([ @{ $status->{stored} }{qw(messages estimated members workspaces)} ], [ 2, JSON::PP::false, 3, 2 ], '... what is stored');
is_deeply([ map {"$_->{what} $_->{count}"} @{ $status->{attention} } ], [ 'roles paused 1', 'workspaces stopped 1', 'dead events 1', 'lanes stopped 1' ], '... and first what wants a person');
is_deeply([ map { $_->{stopped_reason} } @{ $status->{stopped} } ], [ 'channel_not_found', 'token_revoked' ], '... what is stopped');

# --- tables, and what cannot be ----------------------------------------------------------------

my ($code, $said) = ctl('team', 'ls');
utf8::decode($said);
my @lines = split /\n/, $said;
like($lines[0], qr/^team_id\s+name\s+url/, 'a table has a heading');
like($lines[1], qr/^T1\s+공부 모임\s+-/, '... and a dash for nothing');
is(index($lines[0], 'url') - index($lines[0], 'name'), index($lines[2], '-') - index($lines[2], 'Other'), '... columns in line');

for my $case (
    [ 2, qr/no command "nosuch"/, 'nosuch' ],
    [ 2, qr/no command "digest"/, 'digest' ],
    [ 2, qr/usage: studyctl/ ],
    [ 2, qr/digest show: expected ID/, qw(digest show) ],
    [ 2, qr/expected ID/, qw(digest show 1 2) ],
    [ 2, qr/x is not a row's number/, qw(digest show x) ],
    [ 2, qr/no such option/, qw(digest ls --nosuch) ],
    [ 2, qr/no such option, or its argument is missing/, qw(digest ls --team) ],
    [ 2, qr/does not take/, qw(queue --show-text) ],
    [ 2, qr/--limit 0: expected 1 to/, qw(digest ls --limit 0) ],
    [ 2, qr/--state gone: expected one of pending\|running/, qw(digest ls --state gone) ],
    [ 1, qr/there is no digest 99/, qw(digest show 99) ],
    [ 1, qr/there is no reply 99/, qw(outbox show 99) ],
    [ 1, qr/there is no dead_event 99/, qw(dead show 99) ],
    [ 1, qr/there is no member U9/, qw(member show T1 U9) ],
    [ 1, qr/there is no schedule weekly/, qw(schedule run weekly) ],
    [ 1, qr/there is no schedule weekly/, qw(schedule next weekly) ],
) {
    my ($want, $like, @args) = @$case;
    my ($got, $text) = ctl(@args);
    is($got >> 8, $want, "studyctl @args: $want");
    like($text, $like, '... with the reason');
}
for my $args ([qw(--help)], [qw(digest show --help)], [qw(migrate --help)], [qw(--version)]) {
    my ($got, $text) = ctl(@$args);
    is($got, 0, "studyctl @$args");
    like($text, qr/studyctl/, '... says something');
}

# What is gone says so, and the rest is still shown.
$redis->stop;
($code, $said) = ctl('queue', '--json');
is($code >> 8, 1, 'a queue server that is gone fails queue');
like(decode_json($said)->{lists}[0]{error}, qr/Redis unix:|Redis 127/, '... with the reason in its row');
($code, $said) = ctl('status', '--json');
is($code >> 8, 1, '... and status');
is(scalar @{ decode_json($said)->{counts} } > 0, 1, '... which shows the rest');
unlike($said, qr/(Redis \S+|PostgreSQL): \1/, '... and names nobody twice');
$db->disconnect;
$pg->stop;
($code, $said) = ctl('digest', 'ls');
is($code >> 8, 1, 'a database that is gone fails');
like($said, qr/studyctl: PostgreSQL: connect: /, '... with the reason');

done_testing;
