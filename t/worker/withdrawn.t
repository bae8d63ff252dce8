#!/usr/bin/perl

# What a member takes back while their digest waits for its turn at the model: a message that
# is deleted, consent, a channel that is private now. The model sees none of it.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

# One call at a time, so that the second digest stands ready while the first is asked.
my $out = StudyTest::Outgoing->start(deliver => 0, config => { openai => { concurrency => 1, timeout => '2m' } });
my $openai = $out->openai;
my $dbh = $out->dbh;
my $serial = 0;

$dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");

sub user { return sprintf 'U%06dW', ++$serial }

sub seen { my ($text) = @_; return scalar grep { index($_->{body}, $text) >= 0 } $openai->received('chat/completions') }

# Holds the model's one place until release, and gives a digest that was claimed and stands ready behind it.
sub ready_behind {
    my ($user, @texts) = @_;
    my $word = 'placeholder' . ++$serial;
    $openai->fault({ kind => 'hold', match => { contains => $word }, count => 1 });
    my $first = $out->digest(user => user(), texts => ["$word was read today"]);
    ok(wait_for(sub { seen($word) }, 15), 'the place is taken');
    my $id = $out->digest(user => $user, texts => \@texts);
    ok(wait_for(sub { $out->row('digest', $id)->{state} eq 'running' }, 20), 'the next one is claimed');
    return $id;
}

subtest 'a message that is deleted' => sub {
    my $id = ready_behind(user(), 'kept words of chapter one', 'taken back words of chapter two');
    $dbh->begin_work;
    $dbh->do("UPDATE study.message SET deleted = true, text = '', files = '{}' WHERE text LIKE 'taken back%'");
    $dbh->do('UPDATE study.digest SET source_version = source_version + 1, result = NULL WHERE digest_id = ?', undef, $id);
    $dbh->commit;
    is(seen('kept words'), 0, 'it was not asked yet');
    is($openai->release, 1, 'the place is free');
    ok($out->wait_row('digest', $id, 'made', 30), 'it is made');
    is(seen('taken back words'), 0, 'without what was deleted');
    is(seen('kept words'), 1, 'asked once, with the rest');
    is($out->row('digest', $id)->{attempts}, 1, 'and what was not asked is no attempt');
};

subtest 'a no' => sub {
    my $user = user();
    my $id = ready_behind($user, 'words before the no');
    $dbh->do("UPDATE study.member SET consent = 'no' WHERE user_id = ?", undef, $user);
    is($openai->release, 1, 'the place is free');
    ok($out->wait_row('digest', $id, 'cancelled', 30), 'the digest is cancelled');
    is(seen('words before the no'), 0, 'and the model has seen nothing');
};

subtest 'a channel that is private now' => sub {
    $dbh->do("INSERT INTO study.channel (team_id, channel_id, private) VALUES ('T0STUDY', 'C0SECRET', true)");
    my $id = $out->digest(user => user(), texts => [ 'words for everybody', [ 'words behind a door', channel => 'C0SECRET' ] ]);
    ok($out->wait_row('digest', $id, 'made', 30), 'made');
    is(seen('words for everybody'), 1, 'from what is public');
    is(seen('words behind a door'), 0, 'and nothing else');
};

subtest 'a member whom nothing can be sent to' => sub {
    my $user = user();
    $dbh->do("INSERT INTO study.lane (team_id, target, stopped_reason, retry_at) VALUES ('T0STUDY', ?, 'user_disabled', now() + interval '1 day')", undef, $user);
    my $id = $out->digest(user => $user, texts => ['words for nobody']);
    ok(wait_for(sub { $out->value("SELECT next_at > now() + interval '5 min' FROM study.digest WHERE digest_id = ?", $id) }, 15), 'the digest waits');
    is($out->row('digest', $id)->{state}, 'pending', 'and is not made');
    is(seen('words for nobody'), 0, 'the model has seen nothing');
    $dbh->do('UPDATE study.lane SET stopped_reason = NULL, retry_at = NULL WHERE target = ?', undef, $user);
    $dbh->do('UPDATE study.digest SET next_at = now() WHERE digest_id = ?', undef, $id);
    ok($out->wait_row('digest', $id, 'made', 30), 'until the lane is tried again');
};

$out->stop;
done_testing;
