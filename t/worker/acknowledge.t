#!/usr/bin/perl

# [store] acknowledge: a recorded message gets a reaction at once; nothing else does.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use JSON::PP ();
use Test::More;

use StudyTest::Event qw(bot_message deleted direct_message edited external_message file_share message);
use StudyTest::Proc qw(scratch_dir wait_for);
use StudyTest::StandIn;
use StudyTest::Store;

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $dir = scratch_dir('acknowledge');
my $slack = StudyTest::StandIn->slack(dir => $dir);
my $store = StudyTest::Store->start(
    dir => $dir, slack_url => $slack->url,
    config => { store => { acknowledge => 'white_check_mark' }, deliver => { processes => 1 } },
);
$slack->seed({ id => 'T0STUDY', channels => [ { id => 'C0STUDY', name => 'study', members => ['U000001'], is_member => JSON::PP::true } ] });

sub rows { return map { $_->[0] } @{ $store->rows("SELECT identity FROM study.outbox WHERE kind = 'reaction' ORDER BY outbox_id") } }

sub identity { my ($e) = @_; return "reaction:T0STUDY:$e->{event}{channel}:$e->{event}{ts}" }

subtest 'what gets one' => sub {
    my $said = $slack->say(team => 'T0STUDY', channel => 'C0STUDY', user => 'U000001', text => 'Read chapter 3 and solved the exercises.');
    my $note = message(ts => $said->{ts});
    $store->event($note);
    ok(wait_for(sub { $slack->count('reactions.add') }, 20), 'a reaction is added');
    my ($seen) = grep { $_->{ts} eq $said->{ts} } $slack->messages(team => 'T0STUDY', channel => 'C0STUDY');
    is_deeply([ map { $_->{name} } @{ $seen->{reactions} } ], ['white_check_mark'], 'the emoji, to the message');
    $store->event($note, edited($note, text => 'Read chapters 3 and 4, and more.'));
    $store->drained;
    is_deeply([ rows() ], [ identity($note) ], 'a repeat and an edit get no second one');
};

subtest 'what gets none' => sub {
    my $before = () = rows();
    my $gone = message(text => 'Written, and deleted at once, before it was stored.');
    $store->event(
        message(text => 'ok', thread_ts => $gone->{event}{ts}), bot_message(), direct_message(), external_message(), $gone, deleted($gone),
        message(ts => sprintf('%d.000100', time - 3600), text => 'Posted an hour ago and delivered only now.'),
        message(user => 'U0STUDYBOT'),
    );
    $store->drained;
    is(scalar(my @now = rows()), $before, 'too short, bots, direct messages, others, deleted, old ones');
    my $file = file_share(text => '');
    $store->event($file);
    $store->drained;
    is((rows())[-1], identity($file), 'a file is a record');
};

subtest 'what waited too long' => sub {
    $store->dbh->do("UPDATE study.team SET state = 'stopped', stopped_reason = 'test'");
    my ($late, $new) = map { message(text => "While nothing can be sent, note number $_.") } 1, 2;
    $store->event($late);
    $store->drained;
    $store->dbh->do("UPDATE study.outbox SET created_at = now() - interval '6 min' WHERE identity = ?", undef, identity($late));
    $store->event($new);
    $store->drained;
    is($store->value('SELECT state FROM study.outbox WHERE identity = ?', identity($late)), 'cancelled', 'is dropped');
    is($store->value('SELECT state FROM study.outbox WHERE identity = ?', identity($new)), 'pending', 'what is new waits');
};

$store->stop;

subtest 'off by default' => sub {
    $store->worker->write_config({ store => { acknowledge => undef } });
    $store->worker->start(wait => 0);
    my $before = () = rows();
    $store->event(message(text => 'Another note while nobody asked for reactions.'));
    $store->drained;
    is(scalar(my @now = rows()), $before, 'none');
    $store->stop;
};

$slack->stop;
done_testing;
