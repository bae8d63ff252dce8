#!/usr/bin/perl

# What an operator takes up again: dead events, digests, replies. Never twice what was
# sent, unless told to; and what destroys does not go without a yes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use JSON::PP qw(decode_json);
use Time::HiRes qw(sleep);

use StudyTest::Event qw(message);
use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);
use StudyTest::Store;

my $worker;
sub ctl { my ($status, $said) = $worker->ctl(@_); return ($status >> 8, $said) }

sub fails {
    my ($want, $like, @args) = @_;
    my ($got, $text) = ctl(@args);
    is($got, $want, "studyctl @args: $want");
    like($text, $like, '... with the reason');
    return;
}

# --- dead events ---------------------------------------------------------------------------

{
    my $store = StudyTest::Store->start;
    $worker = $store->worker;
    $store->trigger('weekend') for 1 .. 2;
    $store->push_raw('pending', 'no element of ours', 'nor this');
    ok($store->drained, 'drained');
    my @dead = map { $_->[0] } @{ $store->rows("SELECT dead_id FROM study.dead_event WHERE reason = 'unknown_schedule' ORDER BY 1") };
    is(scalar @dead, 2, 'two triggers of a schedule that there is not');
    my ($row) = grep { $_->{reason} eq 'unknown_schedule' } @{ decode_json((ctl('dead', 'ls', '--json'))[1]) };
    is($row->{schedule}, 'weekend', 'dead ls names the schedule');
    like($row->{detail}, qr/no schedule of that name/, '... and says what is wrong');

    is((ctl('dead', 'retry', $dead[0]))[0], 0, 'put back too early');
    ok($store->drained, '... taken');
    ok((wait_for { $store->value('SELECT count(*) FROM study.dead_event WHERE dead_id > ?', $dead[1] + 2) } 10), 'it dies again, as a row again')
        or diag explain $store->rows('SELECT dead_id, reason FROM study.dead_event');
    is($store->value("SELECT count(*) FROM study.dead_event WHERE reason = 'unknown_schedule'"), 2, '... once');

    $store->dbh->do("INSERT INTO study.schedule (name, kind, cron, time_zone) VALUES ('weekend', 'weekly', '0 9 * * 6', 'Asia/Seoul')");
    my ($status, $said) = ctl('dead', 'retry', '--all', '--reason', 'unknown_schedule', '--json');
    is($status, 0, 'all of one reason') or diag $said;
    is(decode_json($said)->{retried}, 2, '... both');
    ok($store->drained, '... are taken');
    is($store->value("SELECT count(*) FROM study.firing f JOIN study.schedule s USING (schedule_id) WHERE name = 'weekend'"), 2, '... and fire');
    is($store->value('SELECT count(*) FROM study.dead_event'), 2, '... the others stay');

    # Redis refuses: the row stays.
    $store->redis->stop;
    my ($left) = map { $_->[0] } @{ $store->rows('SELECT min(dead_id) FROM study.dead_event') };
    fails(1, qr/Redis unix:/, 'dead', 'retry', $left);
    is($store->value('SELECT count(*) FROM study.dead_event'), 2, '... and nothing is lost');

    fails(2, qr/1 element will be gone for good.*say --yes/s, 'dead', 'purge', $left);
    is($store->value('SELECT count(*) FROM study.dead_event'), 2, '... not without a yes');
    is((ctl('dead', 'purge', $left, '--yes'))[0], 0, 'purged');
    is($store->value('SELECT count(*) FROM study.dead_event'), 1, '... one');
    is(decode_json((ctl('dead', 'purge', '--all', '--before', '2020-01-01', '--yes', '--json'))[1])->{purged}, 0, 'none is older');
    is(decode_json((ctl('dead', 'purge', '--all', '--before', '2099-01-01', '--yes', '--json'))[1])->{purged}, 1, '... all are');
    fails(1, qr/no dead_event 1\b/, qw(dead purge 1 --yes));
    fails(2, qr/expected a row's number, or --all/, qw(dead retry));
    fails(2, qr/expected a row's number, or --all/, qw(dead retry 1 --all));
    fails(2, qr/choose among --all/, qw(dead retry 1 --reason bad_json));
    fails(1, qr/soon is no time/, qw(dead purge --all --before soon --yes));
    $store->stop;
}

# --- digests -----------------------------------------------------------------------------------

my $out = StudyTest::Outgoing->start;
$worker = $out->worker;
my $dbh = $out->dbh;
my $serial = 0;

sub user { return sprintf 'U%06dR', ++$serial }
sub reply_of { return $out->value('SELECT outbox_id FROM study.outbox WHERE digest_id = ? ORDER BY outbox_id DESC LIMIT 1', $_[0]) }

subtest 'a digest made without a model' => sub {
    $out->openai->fault({ kind => 'status', status => 500, match => { contains => 'words for later' } });
    my $user = user();
    ctl('pause', 'deliver');
    sleep 1.2;
    my $id = $out->digest(user => $user, texts => ['words for later today'], deadline => '1 s');
    ok($out->wait_row('digest', $id, 'made', 30), 'made');
    is($out->row('digest', $id)->{origin}, 'factual', '... of facts alone');
    my $first = reply_of($id);
    $out->openai->clear_faults;
    my ($status, $said) = ctl('digest', 'retry', $id);
    is($status, 0, 'retried') or diag $said;
    is($out->row('outbox', $first)->{state}, 'cancelled', 'the reply that waited is cancelled');
    ok($out->wait_row('digest', $id, 'made', 40), '... and it is made anew');
    is($out->row('digest', $id)->{source_version}, 2, '... as a newer version');
    ctl('resume', 'deliver');
    ok($out->wait_row('outbox', reply_of($id), 'sent', 20), '... which is sent');
    is(scalar(@{[ $out->dm($user) ]}), 1, '... once');

    fails(1, qr/the member would get a second one; say --again/, 'digest', 'retry', $id);
    is(scalar(@{[ $out->dm($user) ]}), 1, 'and nothing more was sent');
    is((ctl('digest', 'retry', $id, '--again'))[0], 0, 'told to, it is made again');
    ok((wait_for { @{[ $out->dm($user) ]} == 2 } 30), '... and sent');
};

subtest 'digests that cannot be' => sub {
    my $user = user();
    my $id = $out->digest(user => $user, texts => ['words that will go']);
    ok($out->wait_row('digest', $id, 'made'), 'made');
    ok($out->wait_row('outbox', reply_of($id), 'sent'), '... and sent');
    $dbh->do("UPDATE study.message SET deleted = true, text = '' WHERE user_id = ?", undef, $user);
    fails(1, qr/nothing is left of the messages/, 'digest', 'retry', $id, '--again');
    my $other = $out->digest(user => user(), texts => ['words of one who left'], member => { consent => 'no' });
    ok($out->wait_row('digest', $other, 'cancelled'), 'cancelled');
    fails(1, qr/wants no digests/, 'digest', 'retry', $other);
    $dbh->do("UPDATE study.member SET consent = 'none' WHERE consent = 'no'");
    is((ctl('digest', 'retry', $other))[0], 0, 'one that was cancelled');
    ok($out->wait_row('digest', $other, 'made'), '... is made');
    fails(1, qr/no digest 9999/, qw(digest retry 9999));
};

# --- replies ---------------------------------------------------------------------------------------

subtest replies => sub {
    ctl('pause', 'deliver');
    sleep 1.2;
    my $id = $out->reply(target => user(), text => 'is parked');
    is((ctl('outbox', 'park', $id))[0], 0, 'parked');
    is($out->row('outbox', $id)->{state}, 'parked', '... in its row');
    fails(1, qr/finished already/, 'outbox', 'park', $id);
    fails(2, qr/the member may get it twice; say --yes/, 'outbox', 'retry', $id);
    is($out->row('outbox', $id)->{state}, 'parked', '... not without a yes');
    my ($status, $said) = ctl('outbox', 'retry', $id, '--yes', '--json');
    is($status, 0, 'retried');
    is_deeply([ @{ decode_json($said) }{qw(id done waits)} ], [ $id, 'is sent again', '' ], '... says so');
    ctl('resume', 'deliver');
    ok($out->wait_row('outbox', $id, 'sent'), '... and it is sent');
    fails(1, qr/it was sent/, 'outbox', 'retry', $id, '--yes');

    $out->slack->fault({ kind => 'error', error => 'invalid_blocks', match => { contains => 'fails once' }, count => 1 });
    my $failed = $out->reply(target => user(), text => 'fails once');
    ok($out->wait_row('outbox', $failed, 'failed'), 'one that failed');
    $dbh->do("UPDATE study.outbox SET created_at = now() - interval '3 days' WHERE outbox_id = ?", undef, $failed);
    is((ctl('outbox', 'retry', $failed))[0], 0, '... days ago');
    ok($out->wait_row('outbox', $failed, 'sent'), '... is sent, and not given up for its age');
    fails(1, qr/no reply 9999/, qw(outbox retry 9999));
    fails(1, qr/no reply 9999/, qw(outbox park 9999));
};

subtest 'a lane that was stopped' => sub {
    my $user = user();
    $out->member($user);
    $dbh->do("INSERT INTO study.lane (team_id, target, stopped_reason, retry_at) VALUES ('T0STUDY', ?, 'user_disabled', now() + interval '1 day')", undef, $user);
    my $id = $out->reply(target => $user, text => 'into a stopped lane');
    sleep 1.5;
    is($out->row('outbox', $id)->{state}, 'pending', 'waits');
    is((ctl('outbox', 'retry', $id))[0], 0, 'retried');
    ok($out->wait_row('outbox', $id, 'sent'), '... the lane is tried');
};

$out->stop;
done_testing;
