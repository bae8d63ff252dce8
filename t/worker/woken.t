#!/usr/bin/perl

# A process that was stopped past its lease, and woken: meanwhile its work is another's, so
# it must send nothing and write nothing. Each case stops it where only one guard stands
# between it and the harm: the lease looked at just before a send, and the claim's token in
# every UPDATE.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

# A request's limit is short, so that a woken process gives up its own at once; PostgreSQL's
# is long, so that it is not what keeps a woken process from going on.
my $out = StudyTest::Outgoing->start(config => {
    slack => { timeout => '2s' }, openai => { timeout => '4s' }, postgres => { timeout => '2m' }, digest => { lease => '10s' },
});
my ($slack, $openai) = ($out->slack, $out->openai);
my %PATIENT = (config => { slack => { timeout => '60s' }, openai => { timeout => '60s' }, digest => { lease => '2m' }, deliver => { lease => '2m' } });
my $serial = 0;

sub user { return sprintf 'U%06dW', ++$serial }

# A member who was told: their DM is open, so that nothing but the post is asked for.
sub member {
    my $user = user();
    my $id = $out->reply(target => $user, text => 'the notice');
    ok($out->wait_row('outbox', $id, 'sent', 30), "$user was told");
    return $user;
}

sub posts { my ($text) = @_; return grep { index($_->{body}, $text) >= 0 } $slack->received('chat.postMessage') }
sub calls_for { my ($text) = @_; return grep { index($_->{body}, $text) >= 0 } $openai->received('chat/completions') }

# A row as text, to be compared.
sub row {
    my ($table, $id) = @_;
    return $out->value("SELECT r::text FROM study.$table r WHERE ${table}_id = ?", $id);
}

sub stop_role {
    my ($role) = @_;
    my ($pid) = $out->pids($role);
    kill STOP => $pid or BAIL_OUT("no $role process");
    return $pid;
}

sub end_lease {
    my ($table, $id) = @_;
    $out->dbh->do("UPDATE study.$table SET lease_until = now() WHERE ${table}_id = ?", undef, $id);
    $out->dbh->do('UPDATE study.lane SET due_at = now() WHERE due_at IS NOT NULL');
    return;
}

# Until the session of a role waits for a lock that this test holds.
sub blocked {
    my ($role) = @_;
    return wait_for(sub {
        $out->value("SELECT count(*) FROM pg_stat_activity WHERE application_name = ? AND wait_event_type = 'Lock'", "study-worker $role") > 0;
    }, 20, "$role to wait for a lock");
}

# The woken process has gone through its loop when it has done something else.
sub does_something_else {
    my ($what) = @_;
    my $user = member();
    return if $what eq 'deliver';
    my $id = $out->digest(user => $user, texts => ['something else']);
    return ok($out->wait_row('digest', $id, 'made', 30), 'and a digest is made');
}

# Slack must know us first.
ok(wait_for(sub { $out->value("SELECT url FROM study.team WHERE team_id = 'T0STUDY'") }, 30, 'the workspace'), 'the workspace is known');

subtest 'deliver, between `sending` and the post' => sub {
    my $user = member();
    my $lock = $out->pg->dbh;
    $lock->do('SELECT pg_advisory_lock(7)');
    # COMMIT of `sending` waits for the lock, so the process can be stopped while it waits for the answer.
    $out->dbh->do('CREATE FUNCTION public.wait_for_test() RETURNS trigger LANGUAGE plpgsql AS'
        . ' $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$');
    $out->dbh->do('CREATE CONSTRAINT TRIGGER wait_for_test AFTER UPDATE ON study.outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW'
        . " WHEN (NEW.state = 'sending' AND NEW.target = '$user') EXECUTE FUNCTION public.wait_for_test()");
    my $id = $out->reply(target => $user, text => 'too late');
    blocked('deliver');
    my $pid = stop_role('deliver');
    $lock->do('SELECT pg_advisory_unlock(7)');
    ok($out->wait_row('outbox', $id, 'sending'), 'it is `sending`, and nothing has left');
    $out->dbh->do('DROP FUNCTION public.wait_for_test() CASCADE');
    sleep 10.5;    # its lease as it counts it: the process has no other clock
    end_lease(outbox => $id);
    my $second = $out->second(deliver => 1);
    ok($out->wait_row('outbox', $id, 'sent', 40), 'another process looks it up, and sends it');
    $second->stop;
    my $before = row(outbox => $id);
    kill CONT => $pid;
    does_something_else('deliver');
    like($out->log, qr/reply $id: too little of its lease is left to send it/, 'it has let go of the reply');
    is(scalar posts('too late'), 1, 'so Slack was asked once');
    is(row(outbox => $id), $before, 'nor does it change the row');
};

subtest 'deliver, with a claim that is another\'s by now' => sub {
    my $user = member();
    # It waits for the pace of the workspace, which is looked at after the claim and before `sending`.
    my $lock = $out->pg->dbh;
    $lock->begin_work;
    $lock->do("SELECT FROM study.slack_wait WHERE method = 'chat.postMessage' FOR UPDATE");
    my $id = $out->reply(target => $user, text => 'not ours');
    blocked('deliver');
    my $pid = stop_role('deliver');
    $out->dbh->do("UPDATE study.outbox SET claim_token = gen_random_uuid(), lease_until = now() + interval '1 h' WHERE outbox_id = ?", undef, $id);
    my $before = row(outbox => $id);
    $lock->rollback;
    kill CONT => $pid;
    does_something_else('deliver');
    is(scalar posts('not ours'), 0, 'it sends nothing');
    is(row(outbox => $id), $before, 'and marks nothing');
    $out->dbh->do("UPDATE study.outbox SET state = 'cancelled', claim_token = NULL, lease_until = NULL WHERE outbox_id = ?", undef, $id);
};

subtest 'deliver, while Slack does not answer' => sub {
    my $user = member();
    my %to = (match => { method => 'chat.postMessage', contains => 'in flight' }, count => 1);
    $slack->fault({ kind => 'stall', seconds => 60, %to, accept => 0 });
    $slack->fault({ kind => 'hold', %to });
    my $id = $out->reply(target => $user, text => 'in flight');
    ok($out->wait_row('outbox', $id, 'sending') && wait_for(sub { posts('in flight') == 1 }, 10), 'asked');
    my $pid = stop_role('deliver');
    end_lease(outbox => $id);
    my $second = $out->second(deliver => 1, %PATIENT);
    ok(wait_for(sub { posts('in flight') == 2 }, 40), 'another process looks it up, and sends it');
    my $before = row(outbox => $id);
    kill CONT => $pid;
    ok(wait_for(sub { $out->log =~ /reply $id may have been sent/ }, 20), 'the woken one writes down that it does not know');
    is(row(outbox => $id), $before, 'which changes nothing while the other waits for its answer');
    is($slack->release, 1, 'Slack answers the other');
    ok($out->wait_row('outbox', $id, 'sent', 30), 'which sees it sent');
    $second->stop;
    does_something_else('deliver');
    is(scalar posts('in flight'), 2, 'Slack was asked no third time');
    is(scalar(grep { $_->{text} eq 'in flight' } $out->dm($user)), 1, 'and holds it once');
    $slack->clear_faults;
};

subtest 'digest, while the model does not answer' => sub {
    my $user = member();
    $openai->fault({ kind => 'stall', seconds => 60, match => { contains => 'asleep at the model' }, count => 1 });
    my $id = $out->digest(user => $user, texts => ['asleep at the model']);
    ok(wait_for(sub { calls_for('asleep at the model') }, 20), 'asked');
    my $pid = stop_role('digest');
    end_lease(digest => $id);
    my $second = $out->second(digest => 1, %PATIENT);
    ok($out->wait_row('digest', $id, 'made', 30), 'another process makes it');
    ok(wait_for(sub { $out->dm($user) == 2 }, 20), 'it arrives');
    $second->stop;
    my $before = row(digest => $id);
    sleep 4;    # past a third of the lease: it renews first
    kill CONT => $pid;
    ok(wait_for(sub { $out->log =~ /digest $id is no longer ours/ }, 20, 'the woken one to let go of it'), 'the woken one sees that it is not its own');
    does_something_else('digest');
    is(row(digest => $id), $before, 'and writes nothing');
    is($out->value('SELECT count(*) FROM study.outbox WHERE digest_id = ?', $id), 1, 'one reply');
};

# Leases are renewed at a third of their time, by the token: long ones, so that this is not what
# finds out here.
$out->worker->stop;
$out->worker->write_config({ digest => { lease => '2m' }, openai => { timeout => '2m' } });
$out->worker->start(wait => 0);
for my $case (
    [ 'its answer is stored', 'hold' ],
    [ 'it is put back', 'cut_after' ],
    )
{
    my ($when, $kind) = @$case;
    subtest "digest, taken by another while $when" => sub {
        my $user = member();
        my $text = "taken while $when";
        $openai->clear_faults;
        $openai->fault({ kind => $kind, hold => 1, match => { contains => $text }, count => 1 });
        my $id = $out->digest(user => $user, texts => [$text]);
        ok(wait_for(sub { calls_for($text) }, 20), 'asked');
        # as another process claims it once its lease has ended
        my $lock = $out->pg->dbh;
        $lock->begin_work;
        $lock->do("UPDATE study.digest SET claim_token = gen_random_uuid(), lease_until = now() + interval '1 h' WHERE digest_id = ?", undef, $id);
        my $before = $lock->selectrow_array('SELECT r::text FROM study.digest r WHERE digest_id = ?', undef, $id);
        is($openai->release, 1, 'the call ends');
        blocked('digest');
        $lock->commit;
        does_something_else('digest');
        is(row(digest => $id), $before, 'it writes nothing');
        is($out->value('SELECT count(*) FROM study.outbox WHERE digest_id = ?', $id), 0, 'and adds no reply');
    };
}

$out->stop;
done_testing;
