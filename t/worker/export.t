#!/usr/bin/perl

# studyctl member export: all of one member and nothing of another, as JSON and as CSV, in files
# that only their owner may read.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use JSON::PP qw(decode_json);

use StudyTest::Event qw(deleted message reply);
use StudyTest::Proc qw(scratch_dir slurp);
use StudyTest::Store ();

binmode Test::More->builder->$_, ':encoding(UTF-8)' for qw(output failure_output todo_output);
my $dir = scratch_dir('export');
my $store = StudyTest::Store->start(dir => $dir);
my ($TEAM, $user, $other) = ('T0STUDY', 'U0MINE', 'U0OTHER');

my @mine = (
    message(user => $user, text => "오늘 3장을 읽었다, \"정말로\".\r\nAnd more."),
    message(user => $user, text => 'to be deleted'),
    message(user => $user, text => "my broken words\0"),
);
my $theirs = message(user => $other, text => 'somebody else, about something');
$store->event(@mine, $theirs, message(user => $other, text => "hello <\@$user>\0"), reply($theirs, user => $user, text => 'I agree'));
$store->drained;
$store->event(deleted($mine[1]));
$store->drained;
my $db = $store->dbh;
$db->do($_) for split /;\n/, <<"END";
INSERT INTO study.firing (schedule_id, time_zone, fire_at, state) SELECT schedule_id, time_zone, now(), 'done' FROM study.schedule LIMIT 1;
INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, origin, result, deadline, made_at)
    SELECT firing_id, schedule_id, '$TEAM', u, 'made', 'model', jsonb_build_object('studied', 'chapter 3 of ' || u), now(), now()
    FROM study.firing, unnest(ARRAY['$user', '$other']) AS u;
INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id)
    SELECT d.schedule_id, m.team_id, m.channel_id, m.ts, d.digest_id FROM study.digest d JOIN study.message m USING (team_id, user_id);
INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body)
    SELECT 'digest:' || digest_id, 'digest', team_id, user_id, digest_id, 1, '{"text":"well done"}' FROM study.digest;
INSERT INTO study.export_request (team_id, user_id) VALUES ('$TEAM', '$user'), ('$TEAM', '$other');
INSERT INTO study.feedback (digest_id, answer) SELECT digest_id, 'helped' FROM study.digest WHERE user_id = '$user'
END

sub export { return $store->worker->ctl('member', 'export', $TEAM, @_) }

my ($status, $said) = export($user, '--output', "$dir/mine.json");
is($status, 0, 'to a file') or diag $said;
like($said, qr/for them only/, 'it is said what that is');
is(sprintf('%o', (stat "$dir/mine.json")[2] & 07777), '600', 'which only its owner may read');
my $text = slurp("$dir/mine.json");
my $all = decode_json($text);
is($all->{member}{user_id}, $user, 'the member');
is(scalar @{ $all->{messages} }, 3, 'messages, a tombstone among them');
is_deeply([ map { $_->{text} } grep { !$_->{deleted} } @{ $all->{messages} } ],
    [ "오늘 3장을 읽었다, \"정말로\".\r\nAnd more.", 'I agree' ], '... word for word');
is($all->{digests}[0]{result}{studied}, "chapter 3 of $user", 'digests with what came of them');
is($all->{digests}[0]{feedback}, 'helped', '... and what they said of it');
is(scalar @{ $all->{digest_records} }, 3, '... and what they were made from');
is($all->{replies}[0]{body}{text}, 'well done', 'replies');
is(scalar @{ $all->{requests} }, 1, 'the request');
like(join('', map { $_->{element} } @{ $all->{dead_events} }), qr/my broken words/, 'dead events');
is(scalar @{ $all->{dead_events} }, 1, '... their own');
unlike($text, qr/somebody else|of $other|hello/, 'nothing of another');

# Every table that knows members is in it.
my @tables = @{ $db->selectcol_arrayref(q{SELECT DISTINCT table_name FROM information_schema.columns
    WHERE table_schema = 'study' AND column_name = 'user_id' ORDER BY 1}) };
my $source = slurp("$Bin/../../worker/db/export.c");
like($source, qr/\bstudy\.\Q$_\E\b/, "it reads study.$_") for @tables;

is_deeply($db->selectall_arrayref('SELECT user_id, done_at IS NOT NULL FROM study.export_request ORDER BY 1'),
    [ [ $user, 1 ], [ $other, 0 ] ], 'their request is answered');

($status, $said) = export($user, '--output', "$dir/mine.json");
isnt($status, 0, 'nothing is written over');
is(slurp("$dir/mine.json"), $text, '... indeed');

($status, $said) = export($user, '--format', 'csv', '--output', "$dir/csv");
is($status, 0, 'as CSV') or diag $said;
is(sprintf('%o', (stat "$dir/csv")[2] & 07777), '700', 'in a directory of its own');
is(scalar(grep { ((stat)[2] & 0777) != 0600 } glob "$dir/csv/*"), 0, 'files for their owner');
is(scalar(() = glob "$dir/csv/*.csv"), scalar keys %$all, 'one a table');
my $csv = slurp("$dir/csv/messages.csv");
utf8::decode($csv);
like($csv, qr/"오늘 3장을 읽었다, ""정말로""\.\r\nAnd more\."/, 'quoted as RFC 4180 has it');
like($csv, qr/\A"channel_id","channel","ts",/, 'with a head');
unlike(join('', map { slurp($_) } glob "$dir/csv/*"), qr/somebody else|of $other|hello/, 'nothing of another there');

($status, $said) = export($user, '--format', 'csv');
is($status >> 8, 2, 'CSV wants a directory');
($status, $said) = export($user, '--format', 'xml');
is($status >> 8, 2, 'another format there is not');
($status, $said) = export('U0NOBODY');
is($status, 0, 'nobody');
is_deeply(decode_json($said =~ s/^This is all.*\n//mr)->{member}, [], '... is nothing');

$store->stop;
done_testing;
