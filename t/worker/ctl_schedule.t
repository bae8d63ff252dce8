#!/usr/bin/perl

# studyctl schedule add, set and rm, next by members' clocks, setting, and a member's streak.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use DateTime;
use JSON::PP qw(decode_json);
use StudyTest::Postgres;
use StudyTest::Proc qw(scratch_dir);
use StudyTest::Redis;
use StudyTest::Worker;

my $dir = scratch_dir('ctl-schedule');
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", redis => $redis, postgres => $pg,
    slack_url => 'http://127.0.0.1:9/', openai_url => 'http://127.0.0.1:9/v1',
);
$worker->migrate;
my $db = $pg->dbh;
$db->do(q{INSERT INTO study.team (team_id) VALUES ('T1')});

sub ctl {
    my (@words) = @_;
    my ($status, $said) = $worker->ctl(@words);
    return wantarray ? ($status >> 8, $said) : $said;
}

sub row { return join ' ', map { $_ // '-' } $db->selectrow_array(q{SELECT kind, scope, cron, time_zone, missed, missed_window, team_id, channel_id, next_at FROM study.schedule WHERE name = ?}, undef, shift) }

# --- add, set, rm ---

is((ctl(qw(schedule add morning), 'cron=0 7 * * MON-FRI', 'scope=member', 'time_zone=Europe/Berlin', 'missed_window=2 hours'))[0], 0, 'a schedule is added');
is(row('morning'), 'daily member 0 7 * * MON-FRI Europe/Berlin last 02:00:00 - - -', '... as asked for');
is((ctl(qw(schedule add plain), 'cron=0 9 * * *'))[0], 0, 'one with defaults');
is(row('plain'), 'daily workspace 0 9 * * * Asia/Seoul last - - - -', '... which are these');
is((ctl(qw(schedule add place team=T1 channel=C1), 'cron=0 9 * * *'))[0], 0, 'one of a channel');
is(row('place'), 'daily channel 0 9 * * * Asia/Seoul last - T1 C1 -', '... has that scope');

for my $bad (
    [ 1, qr/already/, 'add', 'plain', 'cron=0 9 * * *' ],
    [ 2, qr/hour "25": 0 to 23/, 'add', 'x', 'cron=0 25 * * *' ],
    [ 2, qr/has no time/, 'add', 'x', 'cron=0 0 31 2 *' ],
    [ 2, qr/wants cron/, 'add', 'x', 'kind=daily' ],
    [ 2, qr/no time zone "Asia\/Nowhere"/, 'add', 'x', 'cron=0 9 * * *', 'time_zone=Asia/Nowhere' ],
    [ 2, qr/kind is one of daily\|weekly/, 'add', 'x', 'cron=0 9 * * *', 'kind=dail' ],
    [ 2, qr/KEY=VALUE/, 'add', 'x', 'cron=0 9 * * *', 'colour=red' ],
    [ 1, qr/scope channel has a team and a channel/, 'add', 'x', 'cron=0 9 * * *', 'scope=channel' ],
    [ 1, qr/a team is one of team ls/, 'add', 'x', 'cron=0 9 * * *', 'team=T9' ],
    [ 1, qr/30 days/, 'set', 'plain', 'missed_window=31 days' ],
    [ 1, qr/no schedule x/, 'set', 'x', 'kind=weekly' ],
    [ 1, qr/no schedule x/, 'rm', 'x', '--yes' ],
    [ 2, qr/goes with its 0 firings.*--yes/, 'rm', 'plain' ],
) {
    my ($want, $like, @words) = @$bad;
    my ($status, $said) = ctl('schedule', @words);
    is($status, $want, "schedule @words: refused");
    like($said, $like, '... with the reason');
}
is($db->selectrow_array(q{SELECT count(*) FROM study.schedule WHERE name = 'x'}), 0, 'and nothing was added');

$db->do(q{UPDATE study.schedule SET next_at = 'infinity'});
is((ctl(qw(schedule set morning missed=all missed_window=)))[0], 0, 'a schedule is changed');
is(row('morning'), 'daily member 0 7 * * MON-FRI Europe/Berlin all - - - infinity', '... and keeps its next time');
is((ctl(qw(schedule set morning), 'cron=15 7 * * *'))[0], 0, 'its times are changed');
is(row('morning'), 'daily member 15 7 * * * Europe/Berlin all - - - -', '... and it is to be reckoned anew');
is((ctl(qw(schedule rm plain --yes)))[0], 0, 'a schedule is removed');
is(row('plain'), '', '... it is gone');

# --- next, by clocks ---

$db->do(q{INSERT INTO study.schedule_clock (schedule_id, zone, digest_time, time_zone)
    SELECT schedule_id, z, t::time, z FROM study.schedule, (VALUES ('Asia/Seoul', NULL), ('Asia/Seoul', '21:30'), ('America/New_York', NULL)) v (z, t) WHERE name = 'morning'});
my $next = decode_json(scalar ctl(qw(schedule next morning --limit 6 --json)));
is_deeply([ sort { $a cmp $b } map { "$_->{time_zone} " . substr $_->{local}, -5 } @$next ],
    [ ('America/New_York 07:15') x 2, ('Asia/Seoul 07:15') x 2, ('Asia/Seoul 21:30') x 2 ], 'the next times are those of all clocks');
is_deeply([ map { $_->{at} } @$next ], [ sort map { $_->{at} } @$next ], '... in order');
my ($listed) = grep { $_->{name} eq 'morning' } @{ decode_json(scalar ctl(qw(schedule ls --json))) };
is("$listed->{scope} $listed->{clocks}", 'member 3', 'schedule ls tells the scope and how many clocks');
$db->do(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, digest_time) SELECT schedule_id, 'Asia/Seoul', now(), '21:30' FROM study.schedule WHERE name = 'morning'});
my ($firing) = @{ decode_json(scalar ctl(qw(schedule firings --json))) };
is("$firing->{time_zone} $firing->{digest_time}", 'Asia/Seoul 21:30:00', 'schedule firings tells which clock fired');

# --- setting ---

is_deeply(decode_json(scalar ctl(qw(setting --json))), [ { day_starts => '02:00', time_zone => 'Asia/Seoul' } ], 'what counts as a day');
is_deeply(decode_json(scalar ctl(qw(setting day_starts=03:30 time_zone=Europe/Berlin --json))), [ { day_starts => '03:30', time_zone => 'Europe/Berlin' } ], '... is set');
for my $bad ([ 1, 'day_starts=12:00' ], [ 1, 'day_starts=early' ], [ 2, 'time_zone=Asia/Nowhere' ]) {
    is((ctl('setting', $bad->[1]))[0], $bad->[0], "$bad->[1] is refused");
}
is_deeply(decode_json(scalar ctl(qw(setting --json))), [ { day_starts => '03:30', time_zone => 'Europe/Berlin' } ], '... and changes nothing');

# --- streaks, against a reckoning of their own ---

# Records at random about midnight, the day's start and clock changes; what counts a day there and
# how long the runs are comes from DateTime.
my $seed = $ENV{STUDY_SEED} // 20261122;
srand $seed;
my @zones = qw(Asia/Seoul America/New_York Europe/Berlin Australia/Lord_Howe Asia/Kathmandu America/Santiago);
my %want;
my $serial = 0;
$db->begin_work;    # one now() for all of it: no day begins meanwhile
for my $n (0 .. 23) {
    my ($zone, $user) = ($zones[ $n % @zones ], "U$n");
    $db->do(q{INSERT INTO study.member (team_id, user_id, time_zone) VALUES ('T1', ?, ?)}, undef, $user, $zone);
    my (%days, $records);
    my $now = DateTime->from_epoch(epoch => $db->selectrow_array('SELECT extract(epoch FROM now())::bigint'), time_zone => $zone);
    my $at = $now->epoch - 86400 * (380 + rand 20);
    while ($at < $now->epoch - 60) {
        my $local = DateTime->from_epoch(epoch => int $at, time_zone => $zone);
        # The local clock's own reading, put back by the day's start: no instant is reckoned with.
        my $day = DateTime->new(year => $local->year, month => $local->month, day => $local->day);
        $day->subtract(days => 1) if $local->hour * 60 + $local->minute < 210;
        my $short = rand() < 0.1;
        if (!$short) {
            $days{ $day->epoch / 86400 } = 1;
            $records++;
        }
        $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, thread_ts, posted_at, accepted_at)
            VALUES ('T1', 'C1', ?, ?, ?, ?, to_timestamp(?), now())}, undef, sprintf('17%08d.000100', ++$serial), $user,
            $short ? ('thank you', '1600000000.000100') : ('a record of study', undef), int $at);
        $at += rand() < 0.1 ? 3600 * rand 100 : 3600 * (2 + rand 26);
    }
    my $today = DateTime->new(year => $now->year, month => $now->month, day => $now->day);
    $today->subtract(days => 1) if $now->hour * 60 + $now->minute < 210;
    my ($run, $longest, $current, $before) = (0, 0, 0);
    for my $day (sort { $a <=> $b } keys %days) {
        $run = defined $before && $day == $before + 1 ? $run + 1 : 1;
        $longest = $run if $run > $longest;
        $current = $run if $today->epoch / 86400 - $day <= 1;
        $before = $day;
    }
    $want{$user} = join ' ', $current, $longest, scalar(keys %days), $records;
}
my %got = map { $_->[0] => join ' ', @$_[ 1 .. 4 ] } @{ $db->selectall_arrayref(q{SELECT user_id, current_streak, longest_streak, days, records FROM study.streak}) };
$db->commit;
is_deeply(\%got, \%want, "streaks and totals are what DateTime makes of $serial messages (seed $seed)");
cmp_ok((grep { !/^0 / } values %want), '>', 3, '... some of them unbroken');
my $shown = decode_json(scalar ctl(qw(member show T1 U3 --json)));
$shown = $shown->{member} // $shown if ref $shown eq 'HASH';
$shown = $shown->[0] if ref $shown eq 'ARRAY';
is(join(' ', @$shown{qw(current_streak longest_streak days_of_study records)}), $want{U3}, 'member show tells them');

# What retention lets go of is counted before it goes.
$db->do(q{INSERT INTO study.past_day (team_id, user_id, day, records) SELECT 'T1', 'U3', day - 1, 5 FROM (SELECT min(day) AS day FROM study.member_day WHERE user_id = 'U3') d});
my @then = split / /, $want{U3};
is(join(' ', $db->selectrow_array(q{SELECT days, records FROM study.streak WHERE user_id = 'U3'})), join(' ', $then[2] + 1, $then[3] + 5), 'days whose messages are gone still count');

$db->disconnect;
done_testing;
