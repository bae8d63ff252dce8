#!/usr/bin/perl

# studyctl backfill: everything that Slack has of a channel and we have not, by the rules that
# events go by; through 429s, 500s and cuts, after kill -9 and twice over, with the same rows as
# one run in peace.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use JSON::PP qw(decode_json);
use POSIX ();
use Time::HiRes ();

use StudyTest::Event qw(message);
use StudyTest::Proc qw(root_dir slurp wait_for);
use StudyTest::Redis ();
use StudyTest::StandIn ();
use StudyTest::Store ();

my $dir = StudyTest::Proc::scratch_dir('backfill');
my $slack = StudyTest::StandIn->slack(dir => $dir);
my $store = StudyTest::Store->start(dir => $dir, worker => 0, config => { slack => { history_interval => 0, history_page => 15, timeout => '3s' } });
my $worker = $store->worker;
$worker->{slack_url} = $slack->url;
$worker->write_config;
$worker->start(wait => 0);
$slack->set(limits => 0);

my $TEAM = 'T0STUDY';
my $now = time;
my $micro = 0;
sub ts { my ($ago) = @_; return sprintf '%d.%06d', $now - $ago, 100 + ++$micro }

# A past of some days: messages, threads, edits, bots, subtypes, files; ours among them.
my $channel = 'C0PAST';
sub past {
    my ($where) = @_;
    for my $i (1 .. 120) {
        my $user = sprintf 'U0P%03d', $i % 7;
        my $ago = 86400 * 3 - $i * 600;
        my $first = $slack->say(team => $TEAM, channel => $where, user => $user, text => "note $i of the past", ts => ts($ago));
        if ($i % 10 == 0) {
            $slack->say(team => $TEAM, channel => $where, user => 'U0P000', text => "reply $_ to $i", ts => ts($ago - $_), thread_ts => $first->{ts})
                for 1 .. ($i == 50 ? 40 : 3);
        }
    }
    $slack->say(team => $TEAM, channel => $where, user => 'U0P001', text => 'edited later', ts => ts(5000), edited => { user => 'U0P001', ts => ts(4000) });
    $slack->say(team => $TEAM, channel => $where, user => 'U0P001', text => 'has joined', subtype => 'channel_join', ts => ts(4900));
    $slack->say(team => $TEAM, channel => $where, bot_id => 'B0OTHER', subtype => 'bot_message', text => 'beep', ts => ts(4800));
    $slack->say(team => $TEAM, channel => $where, user => 'U0STUDYBOT', text => 'a digest', ts => ts(4700));
    $slack->say(team => $TEAM, channel => $where, user => 'U0P002', text => '', subtype => 'file_share', files => [ { name => 'notes.pdf' } ], ts => ts(4600));
    $slack->say(team => $TEAM, channel => $where, user => 'USLACKBOT', text => 'This message was deleted.', subtype => 'tombstone', ts => ts(4500));
    $slack->say(team => $TEAM, channel => $where, user => 'U0P003', text => 'from long ago', ts => ts(86400 * 20));
    return;
}
my $OWED = 120 + 11 * 3 + 40 + 2 + 1;   # of the last days; a tombstone among them

sub fill { my ($where, @more) = @_; return $worker->ctl('backfill', '--channel', $where, '--since', '7d', @more) }

sub rows {
    my ($where) = @_;
    return $store->rows(q{SELECT ts, thread_ts, user_id, subtype, text, files::text, edited_ts, deleted, extract(epoch FROM posted_at)::text
        FROM study.message WHERE channel_id = ? ORDER BY ts}, $where);
}

subtest 'what was missed' => sub {
    past($channel);
    my ($status, $said) = fill($channel, '--json');
    is($status, 0, 'it runs') or diag $said;
    my ($json) = $said =~ /^(\{.*\})$/m;
    my $told = decode_json($json);
    is($told->{missing}, $OWED, 'all that was missing is counted');
    is($told->{threads}, 12, '... threads too');
    ok($told->{stored}, '... and stored');
    like($said, qr/^$channel: \d+ messages, \d+ threads, back to \d{4}-/m, 'it tells how far it is');
    is(scalar @{ rows($channel) }, $OWED, 'the rows are there');
    is($store->value(q{SELECT count(*) FROM study.message WHERE text ~ 'beep|digest|joined|long ago'}), 0, 'by the rules that events go by');
    is($store->value(q{SELECT count(*) FROM study.message WHERE thread_ts IS NOT NULL AND channel_id = ?}, $channel), 73, 'replies are replies');
    is($store->value(q{SELECT count(*) FROM study.message WHERE deleted}), 1, 'a deleted parent is a tombstone');
    is($store->value(q{SELECT edited_ts IS NOT NULL FROM study.message WHERE text = 'edited later'}), 1, 'an edit is one');
    is($store->value(q{SELECT count(*) FROM study.dead_event}), 0, 'nothing is dead');
    my $before = rows($channel);
    ($status, $said) = fill($channel);
    like($said, qr/0 were missing/, 'again: nothing is missing') or diag $said;
    is_deeply(rows($channel), $before, '... and nothing changed');
    unlike(slurp($store->pg->log), qr/message_pkey/, '... nor was any of it taken for new');
};

my $whole = [ map { [ @$_ ] } @{ rows($channel) } ];

subtest 'what we knew better stays' => sub {
    my ($first) = grep { $_->[4] =~ /^note 3 / } @$whole;
    $store->dbh->do(q{UPDATE study.message SET text = '', files = '{}', deleted = true WHERE ts = ?}, undef, $first->[0]);
    fill($channel);
    is($store->value('SELECT deleted FROM study.message WHERE ts = ?', $first->[0]), 1, 'a message whose deletion came first does not come back');
    $store->dbh->do(q{INSERT INTO study.forgotten (team_id, user_id, before, sealed_at, rows_at, done_at) VALUES (?, 'U0P004', now(), now(), now(), now())}, undef, $TEAM);
    $store->dbh->do(q{DELETE FROM study.message WHERE user_id = 'U0P004'});
    fill($channel);
    is($store->value(q{SELECT count(*) FROM study.message WHERE user_id = 'U0P004'}), 0, 'nor what was forgotten');
    $store->dbh->do('DELETE FROM study.forgotten');
    $store->dbh->do('DELETE FROM study.message');
};

subtest 'a Slack that makes trouble' => sub {
    $slack->fault(
        { kind => 'status', status => 429, retry_after => 1, count => 1, match => { method => 'conversations.history' } },
        { kind => 'status', status => 500, count => 1, skip => 2, match => { method => 'conversations.history' } },
        { kind => 'cut_after', count => 1, skip => 4, match => { method => 'conversations.replies' } },
        { kind => 'error', error => 'service_unavailable', count => 1, skip => 6, match => { method => 'conversations.replies' } },
    );
    my ($status, $said) = fill($channel);
    is($status, 0, 'it gets through') or diag $said;
    is_deeply(rows($channel), $whole, 'with the same rows');
    is($store->value(q{SELECT until > now() - interval '1 min' FROM study.slack_wait WHERE method = 'conversations.history'}), 1,
        'the limit was written down for all');
    $slack->clear_faults;
    $store->dbh->do('DELETE FROM study.message');
};

subtest 'kill -9, and again' => sub {
    my $killed = 0;
    for my $pages (2, 1, 1) {    # the next is never answered
        my $asked = $slack->count('conversations.history');
        $slack->fault({ kind => 'hold', match => { method => 'conversations.history' }, skip => $pages });
        my $pid = fork // die;
        if (!$pid) {
            open STDERR, '>', "$dir/killed.log";
            $ENV{STUDY_POSTGRES_CONNINFO} = $store->pg->dsn('study-ctl');
            exec root_dir() . '/build/studyctl', '-c', $worker->file, 'backfill', '--channel', $channel, '--since', '7d';
        }
        wait_for { $slack->count('conversations.history') > $asked + $pages } 20, 'another page to be asked for';
        $killed += kill KILL => $pid;
        waitpid $pid, 0;
        $slack->clear_faults;
    }
    is($killed, 3, 'killed three times');
    ok($store->value(q{SELECT done_at IS NULL AND reached < latest FROM study.backfill WHERE channel_id = ?}, $channel), 'it had come some way');
    my $threads = $slack->count('conversations.replies');
    my ($status, $said) = fill($channel);
    is($status, 0, 'once more') or diag $said;
    like($said, qr/Going on where the last run stopped/, 'it goes on');
    cmp_ok($slack->count('conversations.replies') - $threads, '<', 12, 'and does not read all threads again');
    is_deeply(rows($channel), $whole, 'exactly the rows of one run');
};

subtest 'Ctrl-C' => sub {
    $store->dbh->do('DELETE FROM study.message');
    $slack->set(delays => { 'conversations.history' => 0.5 });
    my $pid = fork // die;
    if (!$pid) {
        open STDERR, '>', "$dir/interrupted.log";
        $ENV{STUDY_POSTGRES_CONNINFO} = $store->pg->dsn('study-ctl');
        exec root_dir() . '/build/studyctl', '-c', $worker->file, 'backfill', '--channel', $channel, '--since', '7d';
    }
    wait_for { $store->value(q{SELECT done_at IS NULL FROM study.backfill WHERE channel_id = ?}, $channel) } 20, 'it to begin';
    kill INT => $pid;
    waitpid $pid, 0;
    is($? >> 8, 1, 'it ends by itself');
    like(slurp("$dir/interrupted.log"), qr/interrupted\nThe same command goes on/, 'and says how to go on');
    $slack->set(delays => { 'conversations.history' => 0 });
    fill($channel);
    is_deeply(rows($channel), $whole, 'which is so');
};

# What somebody had forgotten is not even put into Redis, whose file would hold it.
sub in_redis { my ($word) = @_; return scalar grep { index(slurp($_), $word) >= 0 } glob "$dir/redis/appendonlydir-study/*" }

subtest 'who was forgotten' => sub {
    my $where = 'C0LETHE';
    my $parent = $slack->say(team => $TEAM, channel => $where, user => 'U0LETHE', text => 'lethe, a beginning', ts => ts(7000));
    $slack->say(team => $TEAM, channel => $where, user => 'U0STAYS', text => 'stays, a reply', ts => ts(6990), thread_ts => $parent->{ts});
    $slack->say(team => $TEAM, channel => $where, user => 'U0LETHE', text => 'lethe, a reply', ts => ts(6980), thread_ts => $parent->{ts});
    $slack->say(team => $TEAM, channel => $where, user => 'U0STAYS', text => 'stays, a broadcast', ts => ts(6970), thread_ts => $parent->{ts}, subtype => 'thread_broadcast',
        root => { user => 'U0LETHE', text => 'lethe, a beginning', ts => $parent->{ts} });
    $slack->say(team => $TEAM, channel => $where, user => 'U0LETHE', text => 'lethe, again', ts => ts(6950));
    $store->dbh->do(q{INSERT INTO study.forgotten (team_id, user_id, before, sealed_at, rows_at, done_at) VALUES (?, 'U0LETHE', to_timestamp(?), now(), now(), now())}, undef, $TEAM, $now - 6960);
    my ($status, $said) = fill($where);
    is($status, 0, 'it runs') or diag $said;
    is_deeply($store->rows('SELECT text FROM study.message WHERE channel_id = ? ORDER BY ts', $where), [ ['stays, a reply'], ['stays, a broadcast'], ['lethe, again'] ],
        "others' are stored, and what they wrote since");
    ok(in_redis('stays, a reply'), 'the file that is looked at has what was pushed');
    is(in_redis($_), 0, "$_: was not pushed") for 'lethe, a beginning', 'lethe, a reply';

    # A mark that is set while a message is on its way into Redis is not done before that is there.
    my $admin = $store->redis->client;
    $slack->say(team => $TEAM, channel => $where, user => 'U0LATE', text => 'late, a note', ts => ts(6900));
    $admin->acl('SETUSER', 'study-worker', '-rpush');
    my $pid = fork // die;
    if (!$pid) { fill($where); POSIX::_exit(0) }
    wait_for { $store->value(q{SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND xact_start < now() - interval '0.2 s' AND query ~ 'study.forgotten'}) } 20, 'a push';
    is($store->value(q{SELECT cardinality(study.writers_left(NULL, ARRAY['study.backfill']::regclass[]))}), 1, 'forgetting sees who pushes');
    $admin->acl('SETUSER', 'study-worker', '+rpush');
    waitpid $pid, 0;
    is($store->value(q{SELECT count(*) FROM study.message WHERE text = 'late, a note'}), 1, '... which goes through');
    $store->dbh->do('DELETE FROM study.forgotten');
};

# A run that was cut off, as its row tells; meanwhile people went on.
subtest 'what came after the first run' => sub {
    my $where = 'C0LATER';
    my @first = map { $slack->say(team => $TEAM, channel => $where, user => 'U0P001', text => "topic $_", ts => ts(9000 - $_ * 10)) } 1 .. 40;
    for my $i (0, 20, 39) {
        $slack->say(team => $TEAM, channel => $where, user => 'U0P002', text => "soon to $i", ts => ts(8500), thread_ts => $first[$i]{ts});
    }
    fill($where);
    my $cut = $first[20]{ts};
    $store->dbh->do(q{UPDATE study.backfill SET done_at = NULL, reached = ?, latest = ?, started_at = to_timestamp(?) WHERE channel_id = ?}, undef,
        $cut, sprintf('%d.000000', $now - 8340), $now - 8400, $where);
    $store->dbh->do(q{DELETE FROM study.message WHERE channel_id = ? AND ts < ?}, undef, $where, $cut);
    for my $i (0, 20, 39) {
        $slack->say(team => $TEAM, channel => $where, user => 'U0P002', text => "late to $i", ts => ts(8000 - $i), thread_ts => $first[$i]{ts});
    }
    $slack->say(team => $TEAM, channel => $where, user => 'U0P003', text => 'a late topic', ts => ts(7900));
    $slack->say(team => $TEAM, channel => $where, user => 'U0P003', text => 'within the minute', ts => ts(8390));
    my ($status, $said) = fill($where);
    is($status, 0, 'it goes on') or diag $said;
    is($store->value('SELECT count(*) FROM study.message WHERE channel_id = ?', $where), 40 + 3 + 3 + 2, 'all is there');
    is_deeply($store->rows(q{SELECT text FROM study.message WHERE channel_id = ? AND text ~ 'late|minute' ORDER BY 1}, $where),
        [ map { [$_] } 'a late topic', 'late to 0', 'late to 20', 'late to 39', 'within the minute' ], 'late replies, wherever the thread began');
    is($store->value(q{SELECT done_at IS NOT NULL FROM study.backfill WHERE channel_id = ?}, $where), 1, 'it is done');
};

subtest 'stored, and not digested' => sub {
    $store->dbh->do(q{UPDATE study.schedule SET paused = true});
    is($store->value(q{SELECT count(*) FROM study.message WHERE posted_at < now() - interval '48 hours'}) > 0, 1, 'some is older than a day\'s window');
    $store->dbh->do(q{UPDATE study.member SET noticed_at = now()});
    $worker->stop;
    $worker->write_config({ schedule => { processes => 1 } });
    $worker->start(wait => 0);
    $store->dbh->do(q{UPDATE study.schedule SET scope = 'workspace' WHERE kind = 'daily' AND channel_id IS NULL});
    my ($name) = $store->dbh->selectrow_array(q{SELECT name FROM study.schedule WHERE kind = 'daily' LIMIT 1});
    $worker->ctl('schedule', 'run', $name);
    wait_for { $store->value(q{SELECT count(*) FROM study.firing WHERE state = 'done'}) } 60, 'a firing';
    cmp_ok($store->value('SELECT count(*) FROM study.digest_item'), '>', 0, 'what is young is digested');
    is($store->value(q{SELECT count(*) FROM study.digest_item i JOIN study.message m USING (team_id, channel_id, ts)
        WHERE m.posted_at < now() - interval '49 hours'}), 0, 'what is older is not');
};

subtest 'where it cannot' => sub {
    $slack->seed({ id => $TEAM, channels => [ { id => 'C0OUTSIDE', is_member => JSON::PP::false }, { id => 'C0PRIVATE', is_private => JSON::PP::true } ] });
    my %case = (
        'we are not there' => [ [ 'C0OUTSIDE' ], qr/we are not in channel C0OUTSIDE: invite the app/ ],
        'it is private'    => [ [ 'C0PRIVATE' ], qr/private_channels is no/ ],
        'there is none'    => [ [ 'nothing' ], qr/there is no channel nothing/ ],
        'no time'          => [ [ $channel, '--since', 'whenever' ], qr/studyctl: / ],
        'no span'          => [ [ $channel, '--until', '8d' ], qr/--since is not before --until/ ],
        'another workspace' => [ [ $channel, '--team', 'T0OTHER' ], qr/the token is of workspace T0STUDY, not of T0OTHER/ ],
    );
    for my $name (sort keys %case) {
        my ($status, $said) = fill(@{ $case{$name}[0] });
        isnt($status, 0, $name);
        like($said, $case{$name}[1], '... which is said');
    }
    my ($status) = $worker->ctl('backfill', '--channel', $channel);
    is($status >> 8, 2, 'since when?');
};

# What an earlier run, or nginx, gave to another server counts as well.
subtest 'two servers' => sub {
    my $second = StudyTest::Redis->start(dir => "$dir/redis2");
    $worker->stop;
    push @{ $worker->{redis} }, $second;
    $worker->write_config;
    $worker->start(wait => 0);
    $slack->say(team => $TEAM, channel => 'C0TWO', user => 'U0P001', text => 'for two', ts => ts(600));
    wait_for { $second->client->zcard($store->key('leases')) == 0 } 30, 'the second';
    kill STOP => $second->pid;
    my $pid = fork // die;
    if (!$pid) {
        my ($status, $said) = fill('C0TWO', '--json');
        open my $out, '>', "$dir/two" or die;
        print $out $said;
        close $out;
        POSIX::_exit($status);
    }
    wait_for { $store->value(q{SELECT count(*) FROM study.message WHERE text = 'for two'}) } 60, 'it to be stored by way of the first';
    $store->drained;
    Time::HiRes::sleep(1);
    is(waitpid($pid, POSIX::WNOHANG()), 0, 'it still asks the second');
    kill CONT => $second->pid;
    waitpid $pid, 0;
    is($?, 0, 'which answers in the end');
    ok(decode_json(slurp("$dir/two") =~ /^(\{.*\})$/m)->{stored}, 'then all of it is stored');

    my $admin = $store->redis->client;
    my (undef, $most) = $admin->config_get('maxmemory');
    $admin->config_set(maxmemory => 1);
    $slack->say(team => $TEAM, channel => 'C0FULL', user => 'U0P001', text => 'for the second', ts => ts(500));
    my ($full) = fill('C0FULL');
    $admin->config_set(maxmemory => $most);
    is($full, 0, 'where the first is full the second is filled');
    is($store->value(q{SELECT count(*) FROM study.message WHERE text = 'for the second'}), 1, '... and it is stored');
    $worker->stop;
    $second->stop;
};

$store->stop;
done_testing;
