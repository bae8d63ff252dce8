#!/usr/bin/perl

# Schedules by each member's own clock: which clocks there are, when each fires, whose digests that
# makes and of which study days; who moves to another zone, and a week beside its days.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use StudyTest::Postgres ();
use StudyTest::Proc qw(scratch_dir slurp wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my $dir = scratch_dir('clocks');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", name => 'worker', redis => $redis, postgres => $pg,
    slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
    config => {
        store    => { processes => 0 },
        digest   => { processes => 0 },
        deliver  => { processes => 0 },
        privacy  => { retention => '3650d' },
    },
);
$worker->migrate;
my $db = $pg->dbh;

sub value { return ($db->selectrow_array(shift, undef, @_))[0] }
sub rows { return join ' ', @{ $db->selectcol_arrayref(shift, undef, @_) } }

is(rows(q{SELECT name || ':' || scope || ':' || kind || ':' || cron FROM study.schedule ORDER BY name}),
    'daily:member:daily:30 8 * * 2-7 weekly:member:weekly:30 8 * * 1', 'the days, and on Mondays the week instead');
$db->do(q{DELETE FROM study.schedule});
$db->do(q{INSERT INTO study.team (team_id) VALUES ('T1')});

sub schedule {
    my ($name, %set) = @_;

    my %row = (kind => 'daily', cron => '30 8 * * *', time_zone => 'Asia/Seoul', scope => 'member', %set, name => $name);
    my @columns = sort keys %row;
    return value('INSERT INTO study.schedule (' . join(', ', @columns) . ') VALUES ('
        . join(', ', ('?') x @columns) . ') RETURNING schedule_id', @row{@columns});
}

sub member {
    my ($user, $zone, $time) = @_;

    $db->do(q{INSERT INTO study.member (team_id, user_id, time_zone, digest_time) VALUES ('T1', ?, ?, ?)
        ON CONFLICT (team_id, user_id) DO UPDATE SET time_zone = excluded.time_zone, digest_time = excluded.digest_time},
        undef, $user, $zone, $time);
    return;
}

my $serial = 0;

# A record at a local time of ZONE.
sub record {
    my ($user, $local, $zone) = @_;

    $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
        SELECT 'T1', 'C1', ?, ?, 'Read two chapters on queues.', t.at, t.at FROM (SELECT ?::timestamp AT TIME ZONE ? AS at) t},
        undef, sprintf('%010d.%06d', 1700000000 + ++$serial, 100), $user, $local, $zone);
    return $serial;
}

sub fire {
    my ($schedule, $at, $zone, $time, $key) = @_;

    my $id = value(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, digest_time, trigger_key)
        VALUES (?, ?, ?::timestamp AT TIME ZONE ?, ?, ?) RETURNING firing_id}, $schedule, $zone, $at, $zone, $time, $key);
    $db->do('NOTIFY study_firing');
    wait_for { value('SELECT state FROM study.firing WHERE firing_id = ?', $id) eq 'done' } 30, "firing $id to be done";
    return rows(q{SELECT user_id || ':' || (SELECT string_agg((split_part(ts, '.', 1)::bigint - 1700000000)::text, ',' ORDER BY ts)
        FROM study.digest_item i WHERE i.digest_id = d.digest_id) FROM study.digest d WHERE firing_id = ? ORDER BY user_id}, $id);
}

# --- which clocks there are -----------------------------------------------------------------

# Not a minute that comes while they are watched; the zones differ in whole hours.
my $minute = (gmtime time - 300)[1];
my ($usual, $early, $late) = map { sprintf '%02d:%02d', $_, $minute } 8, 7, 23;
my $daily = schedule('daily', cron => "$minute 8 * * *");
{
    my $weekdays = schedule('weekdays', cron => "$minute 8 * * 1-5");
    my $paused = schedule('paused', paused => 1);
    my $place = schedule('place', scope => 'workspace');
    member('U1', 'Asia/Seoul');
    member('U2', 'America/New_York');
    member('U3', 'Mars/Olympus_Mons');
    member('U4', undef);
    member('U5', 'Asia/Seoul', $early);
    member('U6', 'Asia/Seoul', $late);
    member('U7', 'America/New_York');
    $worker->start;

    my @want = ('-', 'America/New_York-', 'Asia/Seoul-', "Asia/Seoul-$early:00", "Asia/Seoul-$late:00", 'Mars/Olympus_Mons-');
    my $clocks = q{SELECT zone || '-' || COALESCE(digest_time::text, '') FROM study.schedule_clock WHERE schedule_id = ? AND next_at > now() ORDER BY zone COLLATE "C", digest_time NULLS FIRST};
    wait_for { rows($clocks, $weekdays) eq "@want" && rows($clocks, $daily) eq "@want" } 20, 'a clock for each zone and each own time';
    pass('a clock for each zone and each own time');
    is(value('SELECT count(*) FROM study.schedule_clock WHERE schedule_id IN (?, ?)', $paused, $place), 0, 'none for a paused schedule, or one by its own zone');
    is(rows('SELECT DISTINCT time_zone FROM study.schedule_clock WHERE zone NOT LIKE ? ORDER BY 1', 'A%/%'), 'Asia/Seoul', "who has none, or an unknown one, goes by the schedule's");
    is(value(q{SELECT count(*) FROM study.schedule_clock WHERE to_char(next_at AT TIME ZONE time_zone, 'HH24:MI') <> to_char(COALESCE(digest_time, ?), 'HH24:MI')}, $usual), 0, 'each is due at its own time');
    is(value(q{SELECT count(*) FROM study.schedule_clock WHERE next_at > now() + interval '25 hours' AND schedule_id = ?}, $daily), 0, '... within a day');
    is(value(q{SELECT count(*) FROM study.schedule_clock WHERE schedule_id = ? AND extract(isodow FROM next_at AT TIME ZONE time_zone) > 5}, $weekdays), 0, '... on a day of the cron line');
    is(value(q{SELECT count(*) FROM study.schedule s WHERE scope = 'member' AND NOT paused AND next_at IS DISTINCT FROM (SELECT min(next_at) FROM study.schedule_clock WHERE schedule_id = s.schedule_id)}), 0, 'a schedule is due with the first of its clocks');
    like(slurp($worker->log), qr/schedule daily: there is no time zone "Mars\/Olympus_Mons": its members go by Asia\/Seoul/, 'the log says which zone is unknown');

    member('U6', 'Europe/Berlin');
    @want = ('-', 'America/New_York-', 'Asia/Seoul-', "Asia/Seoul-$early:00", 'Europe/Berlin-', 'Mars/Olympus_Mons-');
    wait_for { rows($clocks, $daily) eq "@want" } 30, 'clocks to follow the members';
    pass('clocks follow the members');

    # All of them due at one time: one firing a zone, and one for the time of their own.
    $db->do(q{UPDATE study.schedule_clock SET next_at = date_trunc('second', now()) WHERE schedule_id = ?}, undef, $daily);
    $db->do(q{UPDATE study.schedule SET next_at = now() WHERE schedule_id = ?}, undef, $daily);
    $db->do(q{NOTIFY study_firing});
    wait_for { value(q{SELECT count(*) FROM study.firing WHERE state = 'done' AND schedule_id = ?}, $daily) == 4 } 20, 'the clocks to fire';
    is(rows(q{SELECT time_zone || COALESCE('@' || digest_time, '') FROM study.firing ORDER BY time_zone, digest_time NULLS FIRST}),
        "America/New_York Asia/Seoul Asia/Seoul\@$early:00 Europe/Berlin", 'one firing a zone, and one for a time of their own');
    is(value(q{SELECT count(DISTINCT fire_at) FROM study.firing}), 1, '... all of one time');
    is(value(q{SELECT count(*) FROM study.schedule_clock WHERE schedule_id = ? AND next_at < now()}, $daily), 0, '... and then due again');
    wait_for { $worker->metrics->{'study_worker_firings_total{outcome="unknown_zone"}'} } 10, 'the counter of unknown zones';
    is($worker->metrics->{'study_worker_firings_total{outcome="fired"}'}, 4, 'they are counted');

    # Missed for two hours: made up within the schedule's own window only. Of two zones, one where it
    # has not been that time since.
    my $zone = value(q{SELECT CASE WHEN extract(hour FROM now() AT TIME ZONE 'UTC') BETWEEN 5 AND 12 THEN 'Asia/Seoul' ELSE 'Europe/Berlin' END});
    for my $window ([ '1 hour', 'skipped' ], [ '3 hours', 'done' ]) {
        $db->do(q{DELETE FROM study.firing});
        $db->do(q{UPDATE study.schedule SET missed_window = ?, next_at = now() WHERE schedule_id = ?}, undef, $window->[0], $daily);
        $db->do(q{UPDATE study.schedule_clock SET next_at = date_trunc('minute', now() - interval '2 hours') WHERE schedule_id = ? AND zone = ? AND digest_time IS NULL}, undef, $daily, $zone);
        $db->do(q{NOTIFY study_firing});
        wait_for { rows('SELECT state FROM study.firing') eq $window->[1] } 20, "a firing that is $window->[1]";
        pass("two hours late, with a window of $window->[0]: $window->[1]");
    }
    $db->do('DELETE FROM study.schedule WHERE schedule_id <> ?', undef, $daily);
    $db->do('UPDATE study.schedule SET paused = true');
    $db->do('DELETE FROM study.firing');
}

# --- which days, and whose ------------------------------------------------------------------

{
    $db->do('DELETE FROM study.member');
    my $zone = 'Asia/Seoul';
    member('U1', $zone);
    member('U2', 'America/New_York');
    member('U3', undef);
    member('U4', $zone, '07:15');
    member('U5', 'Mars/Olympus_Mons');
    $db->do(q{INSERT INTO study.schedule_clock (schedule_id, zone, time_zone) VALUES (?, 'Mars/Olympus_Mons', 'Asia/Seoul'), (?, '', 'Asia/Seoul')
        ON CONFLICT (schedule_id, zone, digest_time) DO UPDATE SET time_zone = excluded.time_zone}, undef, $daily, $daily);
    my %n;
    $n{too_old} = record('U1', '2025-11-18 01:59', $zone);
    $n{oldest} = record('U1', '2025-11-18 02:00', $zone);
    $n{late} = record('U1', '2025-11-20 01:59', $zone);
    $n{today} = record('U1', '2025-11-20 02:00', $zone);
    record($_, '2025-11-19 12:00', $zone) for qw(U2 U3 U4 U5);
    is(fire($daily, '2025-11-20 08:30', $zone, undef), "U1:$n{oldest},$n{late} U3:6 U5:8",
        'the two study days that ended, of those who go by the clock');
    is(fire($daily, '2025-11-20 07:15', $zone, '07:15'), 'U4:7', "... and of those who chose a time, at that time");
    is(fire($daily, '2025-11-20 08:30', 'America/New_York', undef), 'U2:5', '... and of another zone');
    is(fire($daily, '2025-11-20 23:00', $zone, undef), '', 'the same day again: nothing that has ended since');
    is(fire($daily, '2025-11-21 08:30', $zone, undef), "U1:$n{today}", '... which is for the next');

    # By hand: everybody, up to now.
    my @now = map { record($_, '2025-11-22 12:00', $zone) } qw(U1 U2 U4);
    is(fire($daily, '2025-11-22 12:30', $zone, undef, 'trigger:hand'), "U1:$now[0] U2:$now[1] U4:$now[2]", 'a trigger is for all at once, up to now');

    $db->do(q{UPDATE study.setting SET day_starts = '04:30'});
    my @night = (record('U1', '2025-11-23 04:29', $zone), record('U1', '2025-11-23 04:30', $zone));
    is(fire($daily, '2025-11-23 08:30', $zone, undef), "U1:$night[0]", 'a study day begins when the setting says');
    $db->do(q{UPDATE study.setting SET day_starts = '02:00'});

    # Whoever moves: each record once, and none too late, whichever way.
    my %all;
    my @zones = qw(Asia/Seoul America/Los_Angeles Pacific/Kiritimati Pacific/Pago_Pago);
    my %got;
    my $moved = 0;
    srand(my $seed = $ENV{STUDY_SEED} // 20261122);
    my $at = 1764547200;    # 1 December 2025
    member('U9', $zones[0]);
    for my $hour (0 .. 24 * 21) {
        my $now = value(q{SELECT (to_timestamp(?) AT TIME ZONE 'UTC')::text}, $at + 3600 * $hour);
        $all{ record('U9', $now, 'UTC') } = $hour if $hour < 24 * 18;
        # Moves come once in two days here; what holds for two within a day is below.
        member('U9', $zones[ rand @zones ]), $moved = $hour if $hour - $moved > 48 && rand() < 0.04;
        my $in = value(q{SELECT time_zone FROM study.member WHERE user_id = 'U9'});
        next if value(q{SELECT to_char(to_timestamp(?) AT TIME ZONE ?, 'HH24')}, $at + 3600 * $hour, $in) ne '08';
        my $local = value(q{SELECT (to_timestamp(?) AT TIME ZONE ?)::text}, $at + 3600 * $hour, $in);
        my ($found) = fire($daily, $local, $in, undef) =~ /U9:(\S+)/;
        $got{$_}++ for split /,/, $found // '';
    }
    is_deeply([ grep { ($got{$_} // 0) != 1 } sort { $a <=> $b } keys %all ], [], "who changes zones at random has each record in one digest (seed $seed)");
}

# --- there and back within two days ---------------------------------------------------------

# A record an hour from the 3rd, 00:00 UTC; the last morning was in Seoul, Monday the 5th.
sub hourly {
    my ($user) = @_;
    return map { record($user, value(q{SELECT (timestamp '2026-01-03' + make_interval(hours => ?))::text}, $_), 'UTC') } 0 .. 24 * 4 - 1;
}

sub told {
    my ($user, @said) = @_;
    return map { /\b$user:(\S+)/ ? split /,/, $1 : () } @said;
}

{
    # Away from before Seoul's Tuesday morning until before New York's: the longest without one.
    member('U10', 'Asia/Seoul');
    my @all = hourly('U10');
    my @got = fire($daily, '2026-01-05 08:30', 'Asia/Seoul', undef);
    member('U10', 'America/New_York');
    is(fire($daily, '2026-01-06 08:30', 'Asia/Seoul', undef), '', 'who is in New York has no morning in Seoul');
    member('U10', 'Asia/Seoul');
    is(fire($daily, '2026-01-06 08:30', 'America/New_York', undef), '', '... and none there, when back before it');
    push @got, fire($daily, '2026-01-07 08:30', 'Asia/Seoul', undef);
    # From Saturday's day, 17:00 UTC of the 2nd, to Tuesday's end, 17:00 UTC of the 6th.
    is_deeply([ sort { $a <=> $b } told('U10', @got) ], [ sort { $a <=> $b } @all[ 0 .. 88 ] ], 'there and back without a morning away: each record once');
}

{
    # On to a third zone, before a morning in the second: 57 hours without one.
    $db->do('DELETE FROM study.firing');
    my $weekly = schedule('week-of-moves', kind => 'weekly', cron => '30 8 * * 1', paused => 1);
    member('U11', 'Asia/Seoul');
    my @all = hourly('U11');
    my @got = fire($daily, '2026-01-05 08:30', 'Asia/Seoul', undef);
    member('U11', 'Europe/London');
    push @got, fire($daily, '2026-01-07 08:30', 'Europe/London', undef);
    my %told = map { $_ => 1 } told('U11', @got);
    my @missed = grep { !$told{$_} } @all;
    is_deeply(\@missed, [ @all[ 41 .. 49 ] ], 'what is older than the two study days before that morning is in no daily one');
    my %week = map { $_ => 1 } told('U11', fire($weekly, '2026-01-12 08:30', 'Europe/London', undef));
    is_deeply([ grep { !$week{$_} } @missed ], [], '... and the week tells it');
    $db->do('DELETE FROM study.schedule WHERE schedule_id = ?', undef, $weekly);
}

# --- clocks that change -----------------------------------------------------------------------

{
    my @cases = (
        # zone, the day's start, the last instant before it and the first of it (UTC), when it fires
        [ 'America/New_York', '2026-03-08 06:59:59', '2026-03-08 07:00:00', '2026-03-08 08:30' ],      # no 02:00
        [ 'America/New_York', '2026-11-01 06:59:59', '2026-11-01 07:00:00', '2026-11-01 08:30' ],
        [ 'Europe/Berlin', '2026-10-24 23:59:59', '2026-10-25 00:00:00', '2026-10-25 08:30' ],         # 02:00 twice
        [ 'Europe/Berlin', '2026-03-29 00:59:59', '2026-03-29 01:00:00', '2026-03-29 08:30' ],
        [ 'Australia/Lord_Howe', '2026-10-03 15:29:59', '2026-10-03 15:30:00', '2026-10-04 08:30' ],
    );
    for my $case (@cases) {
        my ($zone, $before, $first, $at) = @$case;
        $db->do(q{DELETE FROM study.digest});
        $db->do(q{DELETE FROM study.message});
        member('U1', $zone);
        my ($in, $out) = (record('U1', $before, 'UTC'), record('U1', $first, 'UTC'));
        is(fire($daily, $at, $zone, undef), "U1:$in", "$zone, $at: the study day ends where the clock says");
    }
}

# --- a week beside its days -------------------------------------------------------------------

{
    $db->do(q{DELETE FROM study.digest});
    $db->do(q{DELETE FROM study.message});
    $db->do(q{DELETE FROM study.firing});
    my $zone = 'Asia/Seoul';
    my $weekly = schedule('weekly', kind => 'weekly', cron => '30 8 * * 1', paused => 1);
    member('U1', $zone);
    my @day = map { record('U1', "2025-11-$_ 21:00", $zone) } 10 .. 17;     # Monday to Monday
    my $night = record('U1', '2025-11-17 01:00', $zone);                   # Sunday's
    is(fire($daily, "2025-11-$_ 08:30", $zone, undef), 'U1:' . $day[ $_ - 11 ], "the daily one of November $_") for 11 .. 16;
    is(fire($weekly, '2025-11-17 08:30', $zone, undef), 'U1:' . join(',', @day[ 0 .. 6 ], $night), "Monday's is the week, and Sunday is in it");
    is(fire($daily, '2025-11-18 08:30', $zone, undef), "U1:$day[7]", "... which Tuesday's does not tell again");
}

# --- many who go by one clock -----------------------------------------------------------------

# Each slice begins where the one before it ended, whoever of the clock came before.
{
    $db->do(q{INSERT INTO study.team (team_id) VALUES ('T2')});
    $db->do(q{INSERT INTO study.member (team_id, user_id, time_zone)
        SELECT 'T' || 1 + i % 2, 'Z' || lpad(i::text, 5, '0'), 'Pacific/Auckland' FROM generate_series(1, 30000) i});
    $db->do(q{DELETE FROM study.message});
    my $first = record('Z00002', '2025-12-01 21:00', 'Pacific/Auckland');
    my $last = record('Z29998', '2025-12-01 21:00', 'Pacific/Auckland');

    # An idle session may keep what it counted to itself; one that ends tells it, or is asked to.
    my $read = sub {
        $db->do('SELECT pg_stat_force_next_flush()');
        $db->do(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()});
        return value(q{SELECT idx_blks_hit + idx_blks_read FROM pg_statio_user_indexes WHERE indexrelname = ?}, shift);
    };
    for my $set ([ 'many', undef ], [ 'many-of-one', 'T1' ], [ 'counted', undef, 1 ], [ 'counted-of-one', 'T1', 1 ]) {
        my ($name, $team, $counted) = @$set;
        $db->do('ANALYZE study.member') if $counted;
        my $schedule = schedule($name, team_id => $team, paused => 1);
        my ($by_clock, $by_key) = map { $read->($_) } qw(member_by_clock member_pkey);
        is(fire($schedule, '2025-12-02 08:30', 'Pacific/Auckland', undef), "Z00002:$first Z29998:$last", "$name: thousands go by one clock");
        cmp_ok($read->('member_by_clock') - $by_clock, '<', 1000, '... the index is read once');
        cmp_ok($read->('member_pkey') - $by_key, '<', 1000, '... and no other beside it');
    }
}

# A firing under way, when its schedule is given another workspace: where it stands is before that.
{
    for my $team (qw(T3 T4 T5)) {
        $db->do(q{INSERT INTO study.team (team_id) VALUES (?)}, undef, $team);
        $db->do(q{INSERT INTO study.member (team_id, user_id, time_zone) VALUES (?, 'U9', 'Asia/Seoul')}, undef, $team);
        $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
            SELECT ?, 'C1', '1764590400.000100', 'U9', 'Two chapters on queues.', at, at
            FROM (SELECT '2025-12-01 21:00'::timestamp AT TIME ZONE 'Asia/Seoul' AS at) t}, undef, $team);
    }
    my $schedule = schedule('narrowed', team_id => 'T4', paused => 1);
    my $id = value(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, cursor_team, cursor_user)
        VALUES (?, 'Asia/Seoul', '2025-12-02 08:30'::timestamp AT TIME ZONE 'Asia/Seoul', 'collecting', 'T2', 'U99')
        RETURNING firing_id}, $schedule);
    $db->do('NOTIFY study_firing');
    wait_for { value('SELECT state FROM study.firing WHERE firing_id = ?', $id) eq 'done' } 30, 'the firing';
    is(rows('SELECT team_id FROM study.digest WHERE firing_id = ? ORDER BY 1', $id), 'T4', 'one workspace gets digests, whoever stands between');
}

$worker->stop;
is($worker->proc->status, 0, 'the worker stopped in order');
$db->disconnect;
done_testing;
