#!/usr/bin/perl

# Any order and repetition of a message's events ends in the same row. Events of many
# messages are dealt at random over batches, processes and repeats, seed after seed, and
# what PostgreSQL then holds is compared with a reckoning made here from the rule alone.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use List::Util qw(min shuffle);
use Test::More;

use StudyTest::Event qw(deleted edited message tombstone);
use StudyTest::Store;

my $MESSAGES = 150;
my @SEEDS = @ARGV ? @ARGV : map { int rand 1e9 } 1 .. 4;

my $store = StudyTest::Store->start(config => { store => { processes => 3, batch_events => 40 } });

for my $seed (@SEEDS) {
    srand $seed;
    $store->dbh->do('TRUNCATE study.message');

    my (@elements, %want);
    for my $n (1 .. $MESSAGES) {
        my $first = message(text => "new $n", user => sprintf('U%06d', $n % 7), int rand 3 ? () : (thread_ts => '1700000000.000001'));
        my $ts = $first->{event}{ts};
        my @versions = ({ text => "new $n" });
        my @events = ($first);

        # Up to four edits; some share the second in which they were made.
        my $second = 1_700_000_000;
        for my $edit (1 .. int rand 5) {
            $second += int rand 2;
            my $when = "$second.000000";
            my $event = edited($first, text => "edit $edit of $n", edited_ts => $when);
            push @versions, { text => "edit $edit of $n", edited => $when };
            push @events, $event;
        }
        push @events, (rand) < 0.5 ? deleted($first) : tombstone($first) if rand() < 0.3;
        my $gone = $events[-1]{event}{subtype} && ($events[-1]{event}{subtype} eq 'message_deleted'
            || $events[-1]{event}{message}{subtype} && $events[-1]{event}{message}{subtype} eq 'tombstone');

        # Slack repeats; sometimes the first event never comes.
        push @events, map { $events[ rand @events ] } 1 .. int rand 4;
        my $lost = @events > 2 && rand() < 0.1 && !$gone;
        @events = grep { $_ != $first } @events if $lost && @versions > 1;

        my @accepted;
        for my $event (@events) {
            my $at = 1_700_000_000_000 + int rand 1e9;
            push @accepted, $at;
            push @elements, $store->element($event, received_at => $at);
        }
        $want{$ts} = {
            text => $gone ? '' : $versions[-1]{text}, edited => $gone ? undef : $versions[-1]{edited}, deleted => $gone ? 1 : 0,
            user => $first->{event}{user}, thread => $first->{event}{thread_ts}, accepted => min(@accepted),
        };
    }

    @elements = shuffle @elements;
    while (@elements) {
        $store->push_raw('pending', splice @elements, 0, 1 + int rand 200);
    }
    $store->drained(120);

    my $rows = $store->rows('SELECT ts, text, edited_ts, deleted::int, user_id, thread_ts,'
        . ' (extract(epoch FROM accepted_at) * 1000)::bigint FROM study.message');
    my %got = map { $_->[0] => { text => $_->[1], edited => $_->[2], deleted => $_->[3], user => $_->[4], thread => $_->[5],
        accepted => $_->[6] } } @$rows;
    is_deeply(\%got, \%want, "seed $seed: $MESSAGES messages, each as the rule has it");
}

is($store->value('SELECT count(*) FROM study.dead_event'), 0, 'nothing was dead');
$store->stop;

done_testing;
