#!/usr/bin/perl

# Rows are locked in one order, lanes, digests, their items and replies, so that two who take
# several never wait for each other. Somebody holds the first row; whoever waits for it must not
# hold one of those that come later.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use DBI ();
use Test::More;

use StudyTest::Event qw(deleted message);
use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);
use StudyTest::Store;

# A session beside the worker's, which waits for nothing.
sub session {
    my ($pg) = @_;
    my $dbh = DBI->connect('dbi:Pg:' . $pg->dsn =~ s/ /;/gr, undef, undef, { RaiseError => 1, PrintError => 0 });
    $dbh->do("SET lock_timeout = '1ms'");
    return $dbh;
}

# Locks the row as the owner of the first would go on to do.
sub free {
    my ($dbh, $sql, @args) = @_;
    $dbh->do('SAVEPOINT look');
    my $rows = eval { $dbh->selectall_arrayref("$sql FOR UPDATE NOWAIT", undef, @args) };
    $dbh->do('ROLLBACK TO look');
    return $rows && @$rows;
}

sub held_up {
    my ($pg, $role) = @_;
    return wait_for {
        $pg->psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '%$role%'")
    } 20, "the $role to wait for the row";
}

subtest 'a deletion, and who deletes the digest' => sub {
    my $store = StudyTest::Store->start;
    my $first = message(text => 'read chapter one', user => 'U000001');
    $store->event($first);
    $store->drained;
    my $dbh = $store->dbh;
    my ($schedule) = $dbh->selectrow_array('SELECT schedule_id FROM study.schedule');
    my ($firing) = $dbh->selectrow_array('INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, trigger_key)'
        . " VALUES (?, 'Asia/Seoul', now(), 'done', 't') RETURNING firing_id", undef, $schedule);
    my ($id) = $dbh->selectrow_array("INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, deadline)"
        . " SELECT ?, ?, team_id, user_id, now() + interval '1 h' FROM study.message RETURNING digest_id", undef, $firing, $schedule);
    $dbh->do('INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id)'
        . ' SELECT ?, team_id, channel_id, ts, ? FROM study.message', undef, $schedule, $id);

    my $other = session($store->pg);
    $other->begin_work;
    ok(free($other, 'SELECT 1 FROM study.digest_item'), 'the item is there and free');
    $other->do('SELECT 1 FROM study.digest FOR UPDATE');
    $store->event(deleted($first));
    ok(held_up($store->pg, 'store'), 'the store waits for the digest');
    ok(free($other, 'SELECT 1 FROM study.digest_item'), 'and holds no item of it');
    $other->rollback;
    $other->disconnect;
    $store->drained;
    is($store->value('SELECT source_version FROM study.digest'), 2, 'then the digest is told');
    is($store->value('SELECT count(*) FROM study.digest_item WHERE gone'), 1, 'once');
};

subtest 'a digest that is stored, and who sends another of the member' => sub {
    my $out = StudyTest::Outgoing->start(deliver => 0);
    $out->dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    $out->member('U000002');
    $out->dbh->do("INSERT INTO study.lane (team_id, target) VALUES ('T0STUDY', 'U000002')");
    my $other = session($out->pg);
    $other->begin_work;
    $other->do("SELECT 1 FROM study.lane WHERE target = 'U000002' FOR UPDATE");
    my $id = $out->digest(user => 'U000002');
    ok(held_up($out->pg, 'digest'), 'the digest role waits for the lane');
    ok(free($other, 'SELECT 1 FROM study.digest WHERE digest_id = ?', $id), 'and holds no digest');
    $other->rollback;
    $other->disconnect;
    ok($out->wait_row('digest', $id, 'made'), 'then the digest is stored');
    is($out->value("SELECT count(*) FROM study.outbox WHERE kind = 'digest'"), 1, 'with its reply');
    $out->stop;
};

# The second is asked for first, and both answers are there when the process looks.
subtest 'digests that are stored together' => sub {
    my $out = StudyTest::Outgoing->start(deliver => 0, config => { digest => { lease => '2m' }, openai => { timeout => '60s' } });
    $out->dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    my $asked = sub { my ($text) = @_; return wait_for { grep { index($_->{body}, $text) >= 0 } $out->openai->received('chat/completions') } 20, "$text to be asked for" };
    $out->openai->set(delay => 3);
    $out->dbh->do("INSERT INTO study.lane (team_id, target, stopped_reason, retry_at) VALUES ('T0STUDY', 'U000001', 'user_disabled', now() + interval '1 h')");
    my $first = $out->digest(user => 'U000001', texts => ['notes of the elder']);
    my $second = $out->digest(user => 'U000002', texts => ['notes of the younger']);
    $asked->('notes of the younger');
    $out->dbh->do("UPDATE study.lane SET stopped_reason = NULL, retry_at = NULL");
    $out->dbh->do('UPDATE study.digest SET next_at = now() WHERE digest_id = ?', undef, $first);
    $out->dbh->do('NOTIFY study_digest');
    $asked->('notes of the elder');
    my ($pid) = $out->pids('digest');
    kill STOP => $pid;
    is($out->value("SELECT count(*) FROM study.digest WHERE state = 'running'"), 2, 'both are in hand');
    sleep 4;    # until both are answered
    my $other = session($out->pg);
    $other->begin_work;
    $other->do('SELECT 1 FROM study.digest WHERE digest_id = ? FOR UPDATE', undef, $first);
    kill CONT => $pid;
    ok(held_up($out->pg, 'digest'), 'they wait for the elder');
    ok(free($other, 'SELECT 1 FROM study.digest WHERE digest_id = ?', $second), 'and hold nothing of the younger');
    $other->rollback;
    $other->disconnect;
    ok($out->wait_row('digest', $_, 'made'), 'then it is stored') for $first, $second;
    $out->stop;
};

done_testing;
