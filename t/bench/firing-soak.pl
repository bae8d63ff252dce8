#!/usr/bin/env perl

# bench firing-soak: two schedulers on one database, each killed at random, and a schedule every
# minute; once by its own zone and once by each member's clock, in three zones. At the end each
# minute must have exactly one firing a zone, all of them collected, and each record must be in one
# digest of each schedule.
#
# Options: --minutes 10  --seed N  --pause 4 (seconds between two kills, on average)

use strict;
use warnings;

use Carp qw(croak);
use Time::HiRes qw(sleep time);

use StudyTest::Bench qw(machine options save table);
use StudyTest::Postgres ();
use StudyTest::Proc qw(scratch_dir slurp wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my %option = options({ minutes => 10, seed => time ^ $$, pause => 4 }, @ARGV);
my @zones = qw(Asia/Seoul America/New_York Asia/Kathmandu);

$| = 1;
srand $option{seed};

my $dir = scratch_dir('bench-firing-soak');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $postgres = StudyTest::Postgres->start(dir => "$dir/postgres");
my @workers = map {
    StudyTest::Worker->new(
        dir => "$dir/$_", name => $_, redis => $redis, postgres => $postgres,
        slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
        config => { map { $_ => { processes => 0 } } qw(store digest deliver) },
    );
} qw(one two);
$workers[0]->migrate;
my $db = $postgres->dbh;

sub value { return ($db->selectrow_array(shift, undef, @_))[0] }

$db->do('DELETE FROM study.schedule');
$db->do(q{INSERT INTO study.team (team_id) VALUES ('T1')});
$db->do(q{INSERT INTO study.member (team_id, user_id, time_zone) SELECT 'T1', 'U' || lpad(i::text, 4, '0'), (?::text[])[1 + i % 3]
    FROM generate_series(1, 300) i}, undef, \@zones);
$db->do(q{INSERT INTO study.schedule (name, kind, scope, cron, time_zone, missed) VALUES
    ('place', 'daily', 'workspace', '* * * * *', 'UTC', 'all'), ('member', 'daily', 'member', '* * * * *', 'UTC', 'all')});
$_->start for @workers;
wait_for { value('SELECT count(*) = ? FROM study.schedule_clock WHERE next_at IS NOT NULL', scalar @zones) } 60, 'the clocks';

# Of the study day before in every zone, so that both schedules owe it at the next minute.
my $records = 0;

sub record {
    $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
        VALUES ('T1', 'C1', ?, ?, 'one more record of study', now() - interval '30 hours', now())},
        undef, sprintf('17%08d.000100', ++$records), sprintf('U%04d', 1 + int rand 300));
    return;
}

# --- killing ---

my %kills = (scheduler => 0, worker => 0);
my $from = time;
my $end = $from + 60 * $option{minutes};
my $next_kill = 0;
while (time < $end) {
    record();
    if (time >= $next_kill) {
        my $worker = $workers[ rand @workers ];
        my @schedulers = grep { (eval { slurp("/proc/$_/cmdline") } // '') =~ /schedule/ } $worker->children;
        if (rand() < 0.15) {
            $worker->proc->stop('KILL');
            $worker->start(wait => 0);
            $kills{worker}++;
        } elsif (@schedulers) {
            kill KILL => $schedulers[ rand @schedulers ];
            $kills{scheduler}++;
        }
        $next_kill = time + rand 2 * $option{pause};
    }
    sleep 0.1;
}

# Two whole minutes more, so that nothing is on its way any longer.
my $last = value(q{SELECT date_trunc('minute', now()) + interval '1 minute'});
wait_for { value(q{SELECT count(*) = ? + 1 AND bool_and(state = 'done') FROM study.firing WHERE fire_at = ?}, scalar @zones, $last) } 150, 'the last minute';
wait_for { !value(q{SELECT count(*) FROM study.firing WHERE state IN ('waiting', 'collecting') AND fire_at <= ?}, $last) } 60, 'all to be collected';
$_->stop for @workers;

# --- counting ---

my $firings = $db->selectall_arrayref(q{
    SELECT s.name, f.time_zone, count(*), count(DISTINCT fire_at), (extract(epoch FROM max(fire_at) - min(fire_at)) / 60)::int + 1,
        count(*) FILTER (WHERE state <> 'done'), count(*) FILTER (WHERE f.created_at > fire_at + interval '60 seconds'),
        round(max(extract(epoch FROM done_at - fire_at)), 1)
    FROM study.firing f JOIN study.schedule s USING (schedule_id) WHERE fire_at <= ? GROUP BY 1, 2 ORDER BY 1, 2}, undef, $last);
my @wrong = map { "$_->[0] $_->[1]" } grep { $_->[2] != $_->[3] || $_->[2] != $_->[4] || $_->[5] } @$firings;
push @wrong, 'not every zone has fired' if @$firings != @zones + 1;
push @wrong, 'no minute' if grep { $_->[2] < $option{minutes} } @$firings;
my ($messages, $missing) = $db->selectrow_array(q{
    SELECT count(*), count(*) FILTER (WHERE n <> 2) FROM (SELECT (SELECT count(*) FROM study.digest_item i WHERE i.ts = m.ts) AS n
    FROM study.message m WHERE accepted_at < ?) c}, undef, $last);
push @wrong, "$missing of $messages records are not in one digest of each schedule" if $missing;

print machine(), sprintf("\n%s minutes, seed %s: %d schedulers and %d whole workers killed, %d records\n\n", @option{qw(minutes seed)}, @kills{qw(scheduler worker)}, $messages);
print table([ 'schedule', 'zone', 'firings', 'minutes', 'not done', 'made up', 'longest until done, s' ], map { [ @$_[ 0, 1, 2, 4, 5, 6, 7 ] ] } @$firings);
save('firing-soak', { settings => \%option, kills => \%kills, firings => $firings, records => $messages, wrong => \@wrong });
croak join "\n", 'WRONG:', @wrong if @wrong;
print "exactly one firing a minute and zone, each record in one digest of each schedule\n";
