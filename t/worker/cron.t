#!/usr/bin/perl

# Every firing of ten years, against a reckoning that shares nothing with the worker's:
# its days and its clock changes come from DateTime, and instead of searching for the
# next firing it lays out all the days and sorts what it finds.

use strict;
use warnings;

use DateTime ();
use DateTime::TimeZone ();
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;

use StudyTest::Proc qw(build_dir);

my $program = build_dir() . '/unit/test_cron';
my @zones = qw(Asia/Seoul America/New_York Europe/Berlin Australia/Lord_Howe Asia/Kathmandu);

# Each field as the set that it means, written out by hand: minutes, hours, days of the
# month, months, days of the week (0 is Sunday), and whether a day needs only one of the
# two. No hours: each hour by the clock.
my @all = (days => [ 1 .. 31 ], months => [ 1 .. 12 ], week => [ 0 .. 6 ]);
my @lines = (
    [ '30 8 * * *',            minutes => [30], hours => [8], @all ],
    [ '0,30 0-3 * * *',        minutes => [ 0, 30 ], hours => [ 0 .. 3 ], @all ],
    [ '*/15 2 * * *',          minutes => [ 0, 15, 30, 45 ], hours => [2], @all ],
    [ '5-59/25 1,2 * * SUN',   minutes => [ 5, 30, 55 ], hours => [ 1, 2 ], @all, week => [0] ],
    [ '59 23 31 * *',          minutes => [59], hours => [23], @all, days => [31] ],
    [ '0 9 1,15 * MON',        minutes => [0], hours => [9], @all, days => [ 1, 15 ], week => [1], either => 1 ],
    [ '20 3 29 FEB *',         minutes => [20], hours => [3], @all, days => [29], months => [2] ],
    [ '10 2 8-14 3,10-NOV 7',  minutes => [10], hours => [2], @all, days => [ 8 .. 14 ], months => [ 3, 10, 11 ], week => [0], either => 1 ],
    [ '45 * * * *',            minutes => [45], @all ],
    [ '*/20 */5 */10 */4 6,0', minutes => [ 0, 20, 40 ], clock => [ 0, 5, 10, 15, 20 ], @all,
        days => [ 1, 11, 21, 31 ], months => [ 1, 5, 9 ], week => [ 0, 6 ] ],
);

my $from = DateTime->new(year => 2018, month => 6, day => 17, hour => 5, minute => 13)->epoch;
my $until = DateTime->new(year => 2028, month => 6, day => 17)->epoch;

# Every day, and a few around: [ epoch, day, month, day of the week ].
my @dates;
for (my $d = DateTime->from_epoch(epoch => $from - 2 * 86400)->truncate(to => 'day');
    $d->epoch < $until + 2 * 86400; $d->add(days => 1)) {
    push @dates, [ $d->epoch, $d->day, $d->month, $d->day_of_week % 7 ];
}

# The stretches of one offset: [ from, until, offset ].
sub spans_of {
    my ($name) = @_;

    my $zone = DateTime::TimeZone->new(name => $name);
    my $offset = sub { $zone->offset_for_datetime(DateTime->from_epoch(epoch => $_[0])) };
    my ($start, $end) = ($from - 4 * 86400, $until + 4 * 86400);
    my @spans = ([ $start, $end, $offset->($start) ]);

    for (my $t = $start; $t < $end; $t += 86400) {
        my ($low, $high) = ($t, $t + 86400);
        my $now = $offset->($high);
        next if $now == $spans[-1][2];
        while ($high - $low > 1) {
            my $middle = int(($low + $high) / 2);
            if ($offset->($middle) == $now) { $high = $middle } else { $low = $middle }
        }
        $spans[-1][1] = $high;
        push @spans, [ $high, $end, $now ];
    }
    return \@spans;
}

# The instants at which the local clock shows LOCAL: none, one or two.
sub instants {
    my ($spans, $local) = @_;
    return grep { defined } map { my $t = $local - $_->[2]; $t >= $_->[0] && $t < $_->[1] ? $t : undef } @$spans;
}

sub firings {
    my ($spans, %want) = @_;

    my %in;
    for my $part (qw(days months week)) {
        $in{$part}{$_} = 1 for @{ $want{$part} };
    }
    my %found;
    for my $date (@dates) {
        my ($epoch, $day, $month, $weekday) = @$date;
        my ($by_month, $by_week) = ($in{days}{$day}, $in{week}{$weekday});
        next if !$in{months}{$month};
        next if $want{either} ? !$by_month && !$by_week : !$by_month || !$by_week;

        my @near = grep { $_->[0] - 172800 < $epoch && $_->[1] + 172800 > $epoch } @$spans;
        for my $hour (@{ $want{hours} // $want{clock} // [ 0 .. 23 ] }) {
            for my $minute (@{ $want{minutes} }) {
                my $local = $epoch + 3600 * $hour + 60 * $minute;
                my @at = sort { $a <=> $b } instants(\@near, $local);
                if ($want{hours}) {
                    # Once if twice; if never, where the clock jumped over it.
                    @at = $at[0] // map { $_->[0] } grep {
                        my $span = $_;
                        my ($before) = grep { $_->[1] == $span->[0] } @near;
                        $before && $local >= $span->[0] + $before->[2] && $local < $span->[0] + $span->[2];
                    } @near;
                }
                $found{$_} = 1 for @at;
            }
        }
    }
    return [ sort { $a <=> $b } grep { $_ > $from && $_ <= $until } keys %found ];
}

# The first of the two that differ, if any do.
sub same_firings {
    my ($got, $want) = @_;

    return 1 if "@$got" eq "@$want";
    my ($i) = grep { ($got->[$_] // 0) != ($want->[$_] // 0) } 0 .. ($#$got > $#$want ? $#$got : $#$want);
    diag("firing $i: got ", map { defined $_ ? scalar gmtime $_ : 'none' } $got->[$i]);
    diag("firing $i: reckoned ", map { defined $_ ? scalar gmtime $_ : 'none' } $want->[$i]);
    diag('got ' . @$got . ', reckoned ' . @$want);
    return 0;
}

sub walk {
    open my $walk, '-|', $program, 'walk', @_ or die "$program: $!";
    chomp(my @got = <$walk>);
    close $walk or die "$program failed";
    return \@got;
}

# Times that members chose, in place of the line's: each quarter of the hours in which a clock
# changes, where times are missing or come twice, and the ends of the day. The lines' own hours, days
# that need one of two and a * for hours must not show through.
my @chosen = ((map { my $h = $_; map { [ $h, $_ ] } 0, 15, 30, 45 } 0 .. 3), [ 8, 30 ], [ 12, 1 ], [ 23, 59 ]);
my @member_lines = (
    [ '30 8 * * 2-7',  times => [ grep { $_->[0] == 2 } @chosen ], @all, week => [ 0, 2 .. 6 ] ],
    [ '*/5 * * * SUN', times => \@chosen, @all, week => [0] ],
    [ '0 9,21 1-7 * SUN', times => \@chosen, @all, days => [ 1 .. 7 ], week => [0], either => 1 ],
);

my %odd;    # zone: times that do not exist, and that come twice, among those reckoned
my %changes = map { $_ => 0 } @zones;
for my $zone (@zones) {
    my $spans = spans_of($zone);
    $changes{$zone} = @$spans - 1;
    for my $line (@lines) {
        my ($text, %want) = @$line;
        my ($got, $want) = (walk($zone, $from, $until, $text), firings($spans, %want));
        ok(same_firings($got, $want) && @$got, "$zone: $text: " . @$got . ' firings');
    }
    for my $line (@member_lines) {
        my ($text, %want) = @$line;
        my @wrong;
        for my $time (@{ $want{times} }) {
            my ($hour, $minute) = @$time;
            my $want = firings($spans, %want, hours => [$hour], minutes => [$minute]);
            push @wrong, sprintf '%02d:%02d', @$time if !same_firings(walk($zone, $from, $until, $text, @$time), $want);
            for my $at (@$want) {
                my ($in) = grep { $at >= $_->[0] && $at < $_->[1] } @$spans;
                my $local = $at + $in->[2];
                $odd{$zone}{missing}++ if $local % 86400 != 3600 * $hour + 60 * $minute;
                $odd{$zone}{twice}++ if instants($spans, $local) == 2;
            }
        }
        is("@wrong", '', "$zone: $text, at " . @{ $want{times} } . ' times of members');
    }
}

# That the years chosen hold what they were chosen for.
is_deeply(\%changes, { 'Asia/Seoul' => 0, 'Asia/Kathmandu' => 0,
    map { $_ => 20 } qw(America/New_York Europe/Berlin Australia/Lord_Howe) }, 'clock changes');
is_deeply([ sort keys %odd ], [ sort grep { $changes{$_} } @zones ], 'times of members met clock changes where there are any');
cmp_ok(($odd{$_}{missing} // 0), '>', 10, "$_: times that do not exist") for sort keys %odd;
cmp_ok(($odd{$_}{twice} // 0), '>', 10, "$_: times that come twice") for sort keys %odd;

done_testing;
