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
UPDATE study.member SET dm_channel_id = 'D' || substr(user_id, 2);
INSERT INTO study.outbox (identity, kind, team_id, target, state, body)
    SELECT 'delete:' || user_id, 'delete', team_id, 'delete-' || dm_channel_id, 'sent', jsonb_build_object('channel', dm_channel_id) FROM study.member;
INSERT INTO study.lane (team_id, target) SELECT team_id, 'delete-' || dm_channel_id FROM study.member;
INSERT INTO study.outbox (identity, kind, team_id, target, state, body)
    SELECT 'reaction:' || team_id || ':' || channel_id || ':' || ts, 'reaction', team_id, 'reaction-' || channel_id, 'sent',
        jsonb_build_object('ts', ts, 'reacted', user_id) FROM study.message WHERE NOT deleted;
UPDATE study.digest SET parts = jsonb_build_object('hash', jsonb_build_object('studied', 'a part of ' || user_id));
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
is($all->{digests}[0]{parts}{hash}{studied}, "a part of $user", '... and what is kept of a long day');
is($all->{digests}[0]{feedback}, 'helped', '... and what they said of it');
is(scalar @{ $all->{digest_records} }, 3, '... and what they were made from');
is($all->{replies}[0]{body}{text}, 'well done', 'replies');
is_deeply([ sort map { $_->{kind} } @{ $all->{replies} } ], [qw(delete digest reaction reaction)], '... also what we did to our messages and theirs');
is_deeply([ grep { ($_->{body}{reacted} // $user) ne $user || ($_->{body}{channel} // 'D0MINE') ne 'D0MINE' } @{ $all->{replies} } ], [], '... and to no other');
is_deeply([ map { $_->{target} } @{ $all->{lanes} } ], ['delete-D0MINE'], 'lanes');
is(scalar @{ $all->{requests} }, 1, 'the request');
like(join('', map { $_->{element} } @{ $all->{dead_events} }), qr/my broken words/, 'dead events');
is(scalar @{ $all->{dead_events} }, 1, '... their own');
unlike($text, qr/somebody else|of $other|hello/, 'nothing of another');

# Whatever is added to the schema and may hold something of a member is handed out, and erased, or
# stands here with the reason. A member is named by a user_id, by other columns of Slack's ids, and
# by reference to such a row.
my $root = "$Bin/../..";
my %source = map { $_ => slurp("$root/worker/db/$_") } qw(export.c forget_rows.c);
my %not_a_member = map { $_ => 1 } qw(team_id channel_id dm_channel_id bot_user_id);    # the last is us
my %of_members = map { $_->[0] => 1 } @{ $db->selectall_arrayref(q{
    WITH RECURSIVE named AS (
        SELECT table_name::text FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
        WHERE table_schema = 'study' AND table_type = 'BASE TABLE' AND domain_name = 'slack_id' AND column_name <> ALL ($1)
        UNION
        SELECT c.conrelid::regclass::text FROM named JOIN pg_constraint c ON c.contype = 'f'
            AND c.confrelid = ('study.' || replace(table_name, 'study.', ''))::regclass)
    SELECT DISTINCT replace(table_name, 'study.', '') FROM named}, undef, [ keys %not_a_member ]) };
cmp_ok(scalar keys %of_members, '>=', 10, 'tables that know members: ' . join ' ', sort keys %of_members);

# firing has the member that it came to last, and no more once it is done.
my %not_exported = (firing => 1);
for my $table (sort grep { !$not_exported{$_} } keys %of_members) {
    like($source{'export.c'}, qr/\bstudy\.$table\b/, "export reads study.$table");
}
# The mark itself stays: it is what keeps the rest away.
my %cascades = map { $_->[0] =~ s/study\.//r => 1 } @{ $db->selectall_arrayref(q{SELECT conrelid::regclass::text FROM pg_constraint
    WHERE contype = 'f' AND confdeltype = 'c' AND confrelid IN ('study.member'::regclass, 'study.digest'::regclass)}) };
for my $table (sort grep { $_ ne 'forgotten' } keys %of_members) {
    ok($cascades{$table} || $source{'forget_rows.c'} =~ /(?:DELETE FROM|UPDATE) study\.$table\b/, "forgetting reaches study.$table");
}

# Columns: all that these tables have, but for what is ours alone.
my %ours = (
    digest => [qw(firing_id schedule_id team_id user_id source_version next_at deadline claim_token lease_until prompt_hash reserved_tokens reserved_cost)],
    digest_item => [qw(schedule_id team_id)], feedback => [qw(digest_id)],
    message => [qw(team_id user_id edited_event_ts)], past_day => [qw(team_id user_id)],
    outbox => [qw(identity team_id target thread_ts source_version attempts next_at claim_token lease_until sent_from hold retracted)],
    lane => [qw(team_id due_at)], export_request => [qw(request_id team_id user_id)], channel_join => [qw(team_id user_id ours private)],
    forgotten => [qw(team_id user_id delete_dms sealed_at dm_channels dead_from rows_at error writers makers stays)],
);
for my $table (sort grep { !$not_exported{$_} } keys %of_members) {
    my ($sql) = grep { /\bFROM study\.$table\b|JOIN study\.$table\b/ } $source{'export.c'} =~ /\{"\w+",\s*((?:"[^"]*"\s*)+)\}/g;
    next if $sql =~ /SELECT \* FROM study\.$table\b/;
    my %ours_of = map { $_ => 1 } @{ $ours{$table} // [] };
    my @missing = grep { !$ours_of{$_} && $sql !~ /\b$_\b/ } @{ $db->selectcol_arrayref(q{SELECT column_name FROM information_schema.columns
        WHERE table_schema = 'study' AND table_name = ? ORDER BY 1}, undef, $table) };
    is("@missing", '', "... with all that study.$table has");
}

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
