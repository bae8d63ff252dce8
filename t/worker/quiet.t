#!/usr/bin/perl

# What does not leave, or not yet: replies held for a member's morning, a rehearsal
# (mode = log), a pilot (only); and sent digests that are taken back.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

my $out = StudyTest::Outgoing->start(digest => 0, worker => 0);
my $slack = $out->slack;
my $serial = 0;

sub user { return sprintf 'U%06dQ', ++$serial }

sub restart {
    my (%deliver) = @_;
    $out->worker->stop;
    $out->worker->write_config({ deliver => {%deliver} });
    $out->worker->start(wait => 0);
    return;
}

# Zones in which it is some hours away from this hour now, so that a test needs no clock of its own.
sub zone_at { return sprintf 'Etc/GMT%+d', -$_[0] }
my $hour = (gmtime)[2];
my ($from, $until) = map { sprintf '%02d:00', $_ % 24 } $hour + 23, $hour + 2;    # quiet now, in UTC
my ($night, $day) = ('UTC', zone_at($hour < 12 ? 8 : -8));

subtest 'the end of quiet hours' => sub {
    my @cases = (
        [ '2026-03-02 23:30+09', 'Asia/Seoul',       '22:00', '08:00', '2026-03-03 08:00+09' ],
        [ '2026-03-02 22:00+09', 'Asia/Seoul',       '22:00', '08:00', '2026-03-03 08:00+09' ],
        [ '2026-03-03 07:59+09', 'Asia/Seoul',       '22:00', '08:00', '2026-03-03 08:00+09' ],
        [ '2026-03-03 08:00+09', 'Asia/Seoul',       '22:00', '08:00', undef ],
        [ '2026-03-03 21:59+09', 'Asia/Seoul',       '22:00', '08:00', undef ],
        [ '2026-03-03 13:00+09', 'Asia/Seoul',       '12:00', '14:30', '2026-03-03 14:30+09' ],
        [ '2026-03-03 14:30+09', 'Asia/Seoul',       '12:00', '14:30', undef ],
        [ '2026-03-03 03:00+09', 'Asia/Seoul',       '08:00', '08:00', undef ],
        [ '2026-03-08 01:30-05', 'America/New_York', '22:00', '02:30', '2026-03-08 03:30-04' ],    # 02:30 does not exist
        [ '2026-10-25 02:40+02', 'Europe/Berlin',    '22:00', '03:00', '2026-10-25 03:00+01' ],    # 02:40 comes twice
    );
    for my $case (@cases) {
        my ($at, $zone, $begin, $end, $want) = @$case;
        is($out->value('SELECT extract(epoch FROM study.quiet_end(?::timestamptz, ?, ?::time, ?::time))::bigint', $at, $zone, $begin, $end),
            defined $want ? $out->value('SELECT extract(epoch FROM ?::timestamptz)::bigint', $want) : undef, "$at, $begin to $end");
    }
};

subtest 'a scheduled reply waits for the morning, a triggered one does not' => sub {
    my ($owl, $lark) = (user(), user());
    $out->member($owl, time_zone => $night);
    $out->member($lark, time_zone => $day);
    restart(quiet_from => $from, quiet_until => $until);
    my $held = $out->reply(target => $owl, text => 'of the schedule', hold => 1);
    my $awake = $out->reply(target => $lark, text => 'of the schedule', hold => 1);
    ok($out->wait_row('outbox', $awake, 'sent'), 'where it is day it is sent');
    my $by_hand = $out->reply(target => $owl, text => 'by hand');
    ok($out->wait_row('outbox', $by_hand, 'sent'), 'by hand: sent, past the one that waits');
    sleep 2;
    my $row = $out->row('outbox', $held);
    is($row->{state}, 'pending', 'the scheduled one waits');
    is($row->{attempts}, 0, 'untried');
    is_deeply([ map { $_->{text} } $out->dm($owl) ], ['by hand'], 'Slack holds the other');
    is($out->value('SELECT due_at = study.quiet_end(now(), ?, ?, ?) FROM study.lane WHERE target = ?', $night, $from, $until, $owl), 1,
        'its lane is due at the end of the quiet hours');

    restart(quiet_from => '08:00', quiet_until => '08:00');
    $out->dbh->do('UPDATE study.lane SET due_at = now() WHERE target = ?', undef, $owl);    # the morning has come
    ok($out->wait_row('outbox', $held, 'sent'), 'in the morning it is sent');
    is_deeply([ map { $_->{text} } $out->dm($owl) ], [ 'by hand', 'of the schedule' ], 'once');
};

subtest 'a night does not make a reply too old' => sub {
    my ($begin, $end) = map { my @t = gmtime(time - $_ * 60); sprintf '%02d:%02d', @t[ 2, 1 ] } 300, 10;
    $out->worker->stop;
    my ($owl, $other, $late) = map { my $user = user(); $out->member($user, time_zone => 'UTC'); $user } 1 .. 3;
    my $held = $out->reply(target => $owl, hold => 1);       # from dusk to now: a quarter of an hour of day
    my $by_hand = $out->reply(target => $other);
    my $waited = $out->reply(target => $late, hold => 1);    # a day and a night more
    $out->dbh->do("UPDATE study.outbox SET created_at = now() - interval '305 min' WHERE outbox_id IN (?, ?)", undef, $held, $by_hand);
    $out->dbh->do("UPDATE study.outbox SET created_at = now() - interval '1830 min' WHERE outbox_id = ?", undef, $waited);
    restart(quiet_from => $begin, quiet_until => $end, give_up => '30m');
    ok($out->wait_row('outbox', $held, 'sent'), 'sent in the morning') or diag explain $out->row('outbox', $held);
    ok($out->wait_row('outbox', $by_hand, 'parked'), 'what was not held is too old');
    ok($out->wait_row('outbox', $waited, 'parked'), 'and so is what had a day to go');
    is($out->row('outbox', $waited)->{error}, 'too old to be sent', 'with the reason');
    restart(give_up => '24h', quiet_from => '08:00', quiet_until => '08:00');
};

subtest 'a member whose zone is not known' => sub {
    my $user = user();
    $out->member($user);
    $out->dbh->do('UPDATE study.member SET time_zone = NULL WHERE user_id = ?', undef, $user);
    $out->dbh->do('UPDATE study.setting SET time_zone = ?', undef, $day);
    restart(quiet_from => $from, quiet_until => $until);
    my $notice = $out->reply(target => $user, hold => 1);
    ok($out->wait_row('outbox', $notice, 'sent'), 'goes by the setting\'s');
    $out->dbh->do('UPDATE study.setting SET time_zone = DEFAULT');
};

subtest 'mode = log sends nothing' => sub {
    my $user = user();
    $out->member($user, noticed => 0);
    restart(mode => 'log');
    my $posts = $slack->count('chat.postMessage');
    my $opens = $slack->count('conversations.open');
    my @ids = map { $out->reply(target => $user, text => "비밀 $_") } 1 .. 3;
    push @ids, $out->reply(kind => 'response', target => "response-$user", body => { url => 'https://127.0.0.1:9/x', message => { text => '비밀' } });
    push @ids, $out->reply(kind => 'delete', target => 'delete-D1', body => { channel => 'D1', ts => '1700000000.000100' });
    ok($out->wait_row('outbox', $_, 'logged'), 'logged') for @ids;
    is($slack->count('chat.postMessage'), $posts, 'no post');
    is($slack->count('conversations.open'), $opens, 'and no DM is opened');
    like($out->log, qr/reply $ids[0] to $user in T0STUDY is not sent, as \[deliver\] mode and only say: \d+ bytes/, 'the log says so');
    unlike($out->log, qr/비밀/, 'without the words');
    is($out->value('SELECT noticed_at IS NULL FROM study.member WHERE user_id = ?', $user), 1, 'a notice that was not sent has not arrived');
    restart(mode => 'live');
    my $next = $out->reply(target => $user);
    ok($out->wait_row('outbox', $next, 'sent'), 'live again: the next is sent');
    is(scalar($out->dm($user)), 1, 'and nothing of the rehearsal');
};

subtest 'only = a pilot' => sub {
    my ($in, $off) = (user(), user());
    restart(only => "$in C0PILOT");
    my $sent = $out->reply(target => $in);
    my $kept = $out->reply(target => $off);
    my $channel = $out->reply(kind => 'channel_notice', target => 'C0PILOT', text => 'what is kept here');
    my $other = $out->reply(kind => 'channel_notice', target => 'C0OTHER');
    ok($out->wait_row('outbox', $_, 'sent'), 'sent to the pilot') for $sent, $channel;
    ok($out->wait_row('outbox', $_, 'logged'), 'logged for others') for $kept, $other;
    my ($notice) = $slack->messages(channel => 'C0PILOT', team => 'T0STUDY');
    is($notice->{metadata}{event_type}, 'study_channel_notice', 'a channel notice says what it is');
};

subtest 'a sent digest is taken back' => sub {
    my $user = user();
    restart(only => '', retract_sent => 'no');
    my $digest = $out->digest(user => $user);
    $out->dbh->do("UPDATE study.digest SET state = 'made' WHERE digest_id = ?", undef, $digest);
    my $id = $out->reply(target => $user, text => 'of deleted words', digest => [ $digest, 1 ]);
    ok($out->wait_row('outbox', $id, 'sent'), 'sent');
    # as the store does it
    $out->dbh->do('UPDATE study.digest SET source_version = 2, result = NULL WHERE digest_id = ?', undef, $digest);
    $out->dbh->do('UPDATE study.outbox SET body = NULL WHERE outbox_id = ?', undef, $id);
    sleep 2.5;
    is(scalar($out->dm($user)), 1, 'retract_sent = no leaves it');
    restart(retract_sent => 'yes');
    ok(wait_for(sub { !$out->dm($user) }, 20), 'retract_sent = yes deletes it');
    ok(wait_for(sub { $out->value("SELECT state = 'sent' FROM study.outbox WHERE identity = ?", "delete:$id") }, 10), 'which is a row');
    sleep 2.5;
    is($slack->count('chat.delete'), 1, 'asked for once');
};

$out->stop;

subtest 'what is held' => sub {
    my $made = StudyTest::Outgoing->start(deliver => 0, config => { openai => { enabled => 'no' } });
    $made->dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    my $hold = sub {
        my ($kind, $user) = @_;
        my $sql = 'SELECT hold::int FROM study.outbox WHERE kind = ? AND target = ?';
        wait_for(sub { defined $made->value($sql, $kind, $user) }, 20);
        return $made->value($sql, $kind, $user);
    };
    $made->digest(user => 'U0SCHED', scheduled => 1);
    $made->digest(user => 'U0HAND');
    is($hold->(digest => 'U0SCHED'), 1, 'a digest of a schedule');
    is($hold->(digest => 'U0HAND'), 0, 'not one of a trigger');
    my @new = (member => { noticed => 0 });
    $made->digest(user => 'U0NEWSCHED', scheduled => 1, @new);
    $made->digest(user => 'U0NEWHAND', @new);
    is($hold->(notice => 'U0NEWSCHED'), 1, 'the notice before a scheduled digest');
    is($hold->(notice => 'U0NEWHAND'), 0, 'not the one before a triggered digest');
    $made->stop;
};

done_testing;
