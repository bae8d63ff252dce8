#!/usr/bin/env perl

# bench firing: from a schedule's time to the last digest row, for members with three new
# messages each.
#
#   place   a schedule by its own zone: one firing of all members
#   member  by each member's own clock, all of them due at once, as after an outage: a firing
#           for each of the zones and of the times that members chose
#   idle    the same clocks again at once, for which there is nothing new
#
# PostgreSQL is as it is shipped: fsync and synchronous_commit on. The CPU is what scheduler and
# its PostgreSQL backend used, for the machine is shared. In the meantime one client stores a
# message after another and notes the longest that it took.
#
# Options: --members 100000 --zones 40 --times 100 (that members chose, in each zone)

use strict;
use warnings;

use Carp qw(croak);
use POSIX ();
use Time::HiRes qw(sleep time);

use StudyTest::Bench qw(cpu_seconds machine options save table);
use StudyTest::Postgres ();
use StudyTest::Proc qw(scratch_dir slurp spew wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my %option = options({ members => 100_000, zones => 40, times => 100 }, @ARGV);

$| = 1;

my $dir = scratch_dir('bench-firing');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $postgres = StudyTest::Postgres->start(dir => "$dir/postgres", durable => 1, config => {
    synchronous_commit => 'on', shared_buffers => '512MB', max_wal_size => '8GB',
});
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", redis => $redis, postgres => $postgres,
    slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
    config => { map { $_ => { processes => 0 } } qw(store digest deliver) },
);
$worker->migrate;
my $db = $postgres->dbh;

sub value { return ($db->selectrow_array(shift, undef, @_))[0] }

# Half of the members go by the schedule's time, the others chose one.
sub fill {
    $db->do('DELETE FROM study.schedule');
    $db->do(q{INSERT INTO study.team (team_id) VALUES ('T1')});
    $db->do(q{WITH zones AS (SELECT name, row_number() OVER (ORDER BY name) - 1 AS n FROM pg_timezone_names
            WHERE name ~ '^(Asia|Europe|America)/[A-Z][A-Za-z_]+$' LIMIT ?)
        INSERT INTO study.member (team_id, user_id, time_zone, digest_time)
        SELECT 'T1', 'U' || lpad(i::text, 7, '0'), z.name,
            CASE WHEN i % 2 = 0 THEN time '00:00' + i / 2 % ? * interval '14 minutes' END
        FROM generate_series(1, ?) i JOIN zones z ON z.n = i / (2 * ?) % ?}, undef, @option{qw(zones times members times zones)});
    $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
        SELECT m.team_id, 'C' || n, (1700000000 + row_number() OVER ())::text || '.000100', m.user_id, repeat('studied ', 20),
            now() - interval '30 hours', now() - interval '30 hours'
        FROM study.member m, generate_series(1, 3) n});
    $db->do('VACUUM ANALYZE');
    return;
}

sub pids {
    my ($backend) = map { $_->[0] } @{ $db->selectall_arrayref(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'study-worker schedule'}) };
    return (grep { slurp("/proc/$_/cmdline") =~ /schedule/ } $worker->children), $backend;
}

# A client that stores; the longest that one message took, in a file.
sub storing {
    my $pid = fork // croak "fork: $!";
    return $pid if $pid;
    my $own = $postgres->dbh;
    my ($longest, $n, $stop) = (0, 0, 0);
    local $SIG{TERM} = sub { $stop = 1 };
    while (!$stop) {
        my $from = time;
        $own->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
            VALUES ('T1', 'CSTORE', ?, ?, 'one more record of study', now(), now())}, undef, sprintf('18%08d.%06d', $n, $$), sprintf('U%07d', 1 + $n++ % $option{members}));
        $longest = time - $from if time - $from > $longest;
        sleep 0.01;
    }
    spew("$dir/longest", $longest);
    POSIX::_exit(0);
}

sub run_case {
    my ($name, $firings, $due) = @_;

    my ($scheduler, $backend) = pids();
    my $before = value('SELECT COALESCE(max(firing_id), 0) FROM study.firing');
    my $client = storing();
    my @cpu = (cpu_seconds($scheduler), cpu_seconds($backend));
    my $from = time;
    $due->();
    $db->do('NOTIFY study_firing');
    wait_for { value(q{SELECT count(*) >= ? AND bool_and(state = 'done') FROM study.firing WHERE firing_id > ?}, $firings, $before) } 600, "$name to be done";
    my $took = time - $from;
    my @after = (cpu_seconds($scheduler), cpu_seconds($backend));
    kill TERM => $client;
    waitpid $client, 0;
    return {
        name => $name, seconds => $took, scheduler_cpu => $after[0] - $cpu[0], postgres_cpu => $after[1] - $cpu[1],
        longest_store => 0 + slurp("$dir/longest"),
        firings => value('SELECT count(*) FROM study.firing WHERE firing_id > ?', $before),
        digests => value('SELECT count(*) FROM study.digest WHERE firing_id > ?', $before),
    };
}

fill();
$db->do(q{INSERT INTO study.schedule (name, kind, scope, cron, time_zone) VALUES
    ('member', 'daily', 'member', '30 8 * * *', 'UTC'), ('place', 'daily', 'workspace', '30 8 1 1 *', 'UTC')});
$worker->start;
my $clocks = value(q{SELECT count(*) FROM (SELECT DISTINCT time_zone, digest_time FROM study.member) d});
wait_for { value(q{SELECT count(*) = ? FROM study.schedule_clock WHERE next_at > now()}, $clocks) } 60, 'the clocks to be reckoned';

my $all_due = sub {
    $db->do(q{UPDATE study.schedule_clock SET next_at = date_trunc('second', now())});
    $db->do(q{UPDATE study.schedule SET next_at = now() WHERE name = 'member'});
};
my @cases = (
    run_case('place', 1, sub { $db->do(q{UPDATE study.schedule SET next_at = now() WHERE name = 'place'}) }),
    run_case('member', $clocks, $all_due),
);
sleep 1.1;
push @cases, run_case('idle', $clocks, $all_due);
$worker->stop;

for my $case (@cases) {
    my $want = $case->{name} eq 'idle' ? 0 : $option{members};
    croak "$case->{name}: $case->{digests} digests, $want were owed" if $case->{digests} != $want;
}
print machine(), "\n$option{members} members with three messages each, $clocks clocks\n\n";
print table(
    [ '', 'firings', 'digests', 'seconds', 'scheduler CPU s', 'PostgreSQL CPU s', 'longest store, ms' ],
    map { [ @$_{qw(name firings digests)}, sprintf('%.1f', $_->{seconds}), sprintf('%.2f', $_->{scheduler_cpu}), sprintf('%.1f', $_->{postgres_cpu}), sprintf('%.0f', 1000 * $_->{longest_store}) ] } @cases,
);
save('firing', { settings => \%option, machine => machine(), cases => \@cases });
