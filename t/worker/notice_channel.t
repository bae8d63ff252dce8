#!/usr/bin/perl

# What a channel is told when the bot is invited: once, in the workspace's language, what is
# kept, for how long, who sees it and how to stop.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;

use StudyTest::Event qw(member_joined);
use StudyTest::Proc qw(scratch_dir wait_for);
use StudyTest::StandIn;
use StudyTest::Store;

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $dir = scratch_dir('notice_channel');
my $slack = StudyTest::StandIn->slack(dir => $dir);
my $store = StudyTest::Store->start(
    dir => $dir, slack_url => $slack->url,
    config => { deliver => { processes => 1 }, digest => { processes => 1 }, privacy => { retention => '45d' } },
);
$slack->seed({ id => 'T0STUDY', channels => [ map { { id => $_, name => lc $_, members => ['U000001'], is_member => JSON::PP::true } } qw(C0STUDY C0LATER C0ENGLISH C0ODD) ] });

sub told {
    my ($channel) = @_;
    return map { join "\n", map { $_->{text}{text} } grep { $_->{type} eq 'section' } @{ $_->{blocks} } }
        grep { ($_->{metadata}{event_type} // '') =~ /notice/ } $slack->messages(team => 'T0STUDY', channel => $channel);
}

# Without the part of the event that says who we are.
sub unsure { my (@in) = @_; my $e = member_joined(@in); $e->{authorizations} = []; return $e }

sub settled { wait_for { !$store->value('SELECT count(*) FROM study.channel_join') } 20, 'every coming to be settled'; return 1 }

subtest 'invited' => sub {
    my $joined = member_joined(channel => 'C0STUDY');
    $store->event($joined, $joined, member_joined(channel => 'C0STUDY', user => 'U000001'));
    ok(wait_for(sub { told('C0STUDY') }, 20), 'the channel is told');
    my ($words) = told('C0STUDY');
    like($words, qr/45일 동안/, 'for how long');
    like($words, qr/127\.0\.0\.1:9/, "whose model");
    like($words, qr/`\/study off`/, 'how to stop');
    unlike($words, qr/<\@/, 'nobody is pinged');
    unlike($words, qr/동의/, 'and nothing asked where nothing is');
    ok(settled(), 'settled');
    is($store->value("SELECT notices FROM study.channel WHERE channel_id = 'C0STUDY'"), 1, 'noted');

    $store->event(member_joined(channel => 'C0STUDY'));
    $store->drained;
    settled();
    is($store->value("SELECT count(*) FROM study.outbox WHERE kind = 'channel_notice'"), 1, 'whoever comes back soon says nothing');
    $store->dbh->do("UPDATE study.channel SET noticed_at = now() - interval '31 days'");
    $store->event(member_joined(channel => 'C0STUDY'));
    ok(wait_for(sub { told('C0STUDY') == 2 }, 20), 'after a month it is said again');
};

subtest 'in English' => sub {
    $store->dbh->do("UPDATE study.team SET language = 'en'");
    $store->event(member_joined(channel => 'C0ENGLISH'));
    ok(wait_for(sub { told('C0ENGLISH') }, 20), 'the channel is told');
    like((told('C0ENGLISH'))[0], qr/Text is kept for 45 days/, 'in the language of the workspace');
};

subtest 'when the event does not tell who we are' => sub {
    is($store->value('SELECT bot_user_id FROM study.team'), 'U0STUDYBOT', 'known by now');
    $store->event(unsure(channel => 'C0ODD', user => 'U000002'));
    $store->drained;
    settled();
    is(scalar told('C0ODD'), 0, 'somebody else');
    is($store->value("SELECT count(*) FROM study.channel WHERE channel_id = 'C0ODD'"), 0, 'makes no channel');
    is($store->value('SELECT count(*) FROM study.member'), 0, 'and no member');
    $store->event(unsure(channel => 'C0ODD'));
    ok(wait_for(sub { told('C0ODD') }, 20), 'us');

    $store->dbh->do("UPDATE study.team SET bot_user_id = NULL");
    $store->event(unsure(channel => 'C0LATER', user => 'U000002'), unsure(channel => 'C0LATER'));
    $store->drained;
    is($store->value('SELECT count(*) FROM study.channel_join'), 2, 'while nobody knows it waits');
    $store->dbh->do("UPDATE study.team SET bot_user_id = 'U0STUDYBOT'");
    ok(wait_for(sub { told('C0LATER') }, 20), 'until it is known');
    ok(settled(), 'and somebody else who came is forgotten');
    is($store->value("SELECT count(*) FROM study.outbox WHERE target = 'C0LATER'"), 1, 'one notice');
};

subtest 'a private channel' => sub {
    $store->event(member_joined(channel => 'C0SECRET', channel_type => 'G'));
    $store->drained;
    is($store->value("SELECT count(*) FROM study.channel WHERE channel_id = 'C0SECRET'"), 0, 'is not recorded, and not told so');
};

$store->stop;
$slack->stop;
done_testing;
