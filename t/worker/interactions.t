#!/usr/bin/perl

# Presses of our buttons: consent, a word on a digest, and forgetting; only by the one whom
# they are for, and once for each press.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use JSON::PP ();
use Test::More;

use StudyTest::Event qw(message);
use StudyTest::Proc qw(scratch_dir wait_for);
use StudyTest::StandIn;
use StudyTest::Store;

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $dir = scratch_dir('interactions');
my $slack = StudyTest::StandIn->slack(dir => $dir);
my $store = StudyTest::Store->start(
    dir => $dir, slack_url => $slack->url,
    config => { deliver => { processes => 1 }, schedule => { processes => 1 }, privacy => { consent => 'opt_in' } },
);
my $asked = 0;

sub url { return $slack->origin . '/response/p' . ++$asked }

sub answer {
    my $path = "/response/p$asked";
    my $got;
    wait_for { ($got) = grep { $_->{path} eq $path } $slack->received('response_url'); $got } 20, "an answer at $path";
    my $message = JSON::PP->new->utf8->decode(do { my $b = $got->{body}; utf8::encode($b) if utf8::is_utf8($b); $b });
    return (join("\n", map { $_->{text}{text} } grep { $_->{type} eq 'section' } @{ $message->{blocks} }), $message);
}

sub press { my (@in) = @_; $store->press(@in, response_url => url()); return answer() }

sub ask {
    my ($user, $text) = @_;
    $store->command(user_id => $user, text => $text, response_url => url());
    return answer();
}

sub member { return $store->dbh->selectrow_hashref('SELECT * FROM study.member WHERE user_id = ?', undef, $_[0]) }

# A digest of the member's, as the other roles would have made it.
my $firing;
sub digest {
    my ($user, %in) = @_;

    $firing //= $store->value(
        "INSERT INTO study.firing (schedule_id, time_zone, fire_at, state) SELECT schedule_id, time_zone, now(), 'done'"
        . ' FROM study.schedule ORDER BY 1 LIMIT 1 RETURNING firing_id');
    $store->dbh->do("INSERT INTO study.member (team_id, user_id) VALUES ('T0STUDY', ?) ON CONFLICT DO NOTHING", undef, $user);
    return $store->value(
        'INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, origin, language, deadline, next_at, result)'
        . " SELECT firing_id, schedule_id, 'T0STUDY', ?, ?, 'model', 'ko', now() + interval '1 h', now() + ?::interval, '{}'"
        . ' FROM study.firing WHERE firing_id = ? RETURNING digest_id', $user, $in{state} // 'made', $in{after} // '0 s', $firing);
}

$store->event(message(user => $_, text => 'Something that was learned, at some length.')) for qw(U000001 U000002);
$store->drained;

subtest 'consent' => sub {
    my $waiting = digest('U000001', state => 'pending', after => '10 min');
    my ($words, $message) = press('U000001', 'study_consent', 'U000001');
    like($words, qr/동의하신 것으로/, 'thanked');
    is($message->{response_type}, 'ephemeral', 'alone');
    ok(!$message->{replace_original}, 'the notice stays to be read');
    is(member('U000001')->{consent}, 'yes', 'yes');
    ok($store->value('SELECT next_at <= now() FROM study.digest WHERE digest_id = ?', $waiting), 'what waited for it is due');

    $store->press('U000002', 'study_consent', 'U000001', response_url => url());
    $store->drained;
    is(member('U000002')->{consent}, 'none', "another's button is no yes");

    ask('U000001', 'off');
    is(member('U000001')->{consent}, 'no', 'off is a no here');
    my ($on) = ask('U000001', 'on');
    like($on, qr/동의하신 것으로/, 'and on a yes, which is said');
    is(member('U000001')->{consent}, 'yes', 'kept');
};

subtest 'off holds back what was not sent' => sub {
    my $id = digest('U000004');
    $store->dbh->do("UPDATE study.team SET state = 'stopped', stopped_reason = 'test'");
    my $reply = $store->value(
        'INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body)'
        . " VALUES ('digest:off', 'digest', 'T0STUDY', 'U000004', ?, 1, '{}') RETURNING outbox_id", $id);
    $store->dbh->do("INSERT INTO study.lane (team_id, target, due_at) VALUES ('T0STUDY', 'U000004', now())");
    $store->command(user_id => 'U000004', text => 'off');
    $store->drained;
    my ($state, $body) = $store->dbh->selectrow_array('SELECT state, body FROM study.outbox WHERE outbox_id = ?', undef, $reply);
    is($state, 'cancelled', 'the digest is not sent any more');
    is($body, undef, 'and its text is gone');
    $store->dbh->do("UPDATE study.team SET state = 'active', stopped_reason = NULL");
};

subtest 'a word on a digest' => sub {
    my $id = digest('U000005');
    my ($words) = press('U000005', 'study_helped', $id);
    like($words, qr/도움이 되었다니/, 'thanked');
    my $said = sub { $store->value("SELECT string_agg(answer, ' ') FROM study.feedback WHERE digest_id = ?", $id) // '' };
    is($said->(), 'helped', 'counted');
    press('U000005', 'study_helped', $id);
    is($said->(), 'helped', 'once');
    like((press('U000005', 'study_wrong', $id))[0], qr/죄송해요/, 'and changed');
    is($said->(), 'wrong', 'the last one counts');
    like((press('U000001', 'study_helped', $id))[0], qr/이제 여기에 없어요/, "another's is none of theirs");
    is($said->(), 'wrong', 'and not counted');
    press('U000005', 'study_helped', 999_999);
    is($store->value('SELECT count(*) FROM study.feedback'), 1, 'nor is one that there is not');
    is($store->value("SELECT string_agg(helped || ' ' || wrong, ',') FROM study.digest_feedback"), '0 1', 'the view counts them');
    my (undef, $shown) = $store->worker->ctl('digest', 'show', $id);
    like($shown, qr/feedback:\s+wrong/, 'studyctl tells of it');
    wait_for { ($store->worker->metrics->{'study_worker_feedback{answer="wrong"}'} // 0) == 1 } 20, 'the metric';
    pass('and so do the metrics');
};

subtest 'forget' => sub {
    my (undef, $question) = ask('U000002', 'forget');
    my ($words, $message) = press('U000002', 'study_forget_keep', 'U000002');
    ok($message->{replace_original}, 'the question is replaced');
    like($words, qr/그대로 두었어요/, 'by the answer');
    ok(!grep({ $_->{type} eq 'actions' } @{ $message->{blocks} }), 'without buttons');
    is($store->value("SELECT count(*) FROM study.message WHERE user_id = 'U000002'"), 1, 'all is there');

    $store->press('U000003', 'study_forget', 'U000002', response_url => url());
    $store->drained;
    is($store->value('SELECT count(*) FROM study.forgotten'), 0, "another's button does nothing");

    ($words, $message) = press('U000002', 'study_forget', 'U000002');
    like($words, qr/지우고 있어요/, 'told');
    ok($message->{replace_original}, 'in place of the question');
    wait_for { !$store->value("SELECT count(*) FROM study.message WHERE user_id = 'U000002'") } 30, 'the messages to go';
    wait_for { !$store->value("SELECT count(*) FROM study.member WHERE user_id = 'U000002'") } 30, 'the member to go';
    pass('messages and member are gone');
    $store->event(message(user => 'U000002', text => 'And something new that was written since.'));
    $store->drained;
    is($store->value("SELECT count(*) FROM study.message WHERE user_id = 'U000002'"), 1, 'what is written since is stored');

    press('U000002', 'study_forget_ever', 'U000002');
    wait_for { !$store->value("SELECT count(*) FROM study.member WHERE user_id = 'U000002'") } 30, 'the member to go again';
    $store->event(message(user => 'U000002', text => 'And this is not to be stored at all.'));
    $store->drained;
    is($store->value("SELECT count(*) FROM study.message WHERE user_id = 'U000002'"), 0, 'for ever: nothing is');
    like((ask('U000002', 'export'))[0], qr/아무것도 저장하지 않고/, 'which a command says');
    is($store->value("SELECT count(*) FROM study.member WHERE user_id = 'U000002'"), 0, 'and makes no member');
    like((ask('U000002', 'on'))[0], qr/켰어요/, 'on begins again');
    $store->event(message(user => 'U000002', text => 'Here I am again, with something to tell.'));
    $store->drained;
    is($store->value("SELECT count(*) FROM study.message WHERE user_id = 'U000002'"), 1, 'stored');
};

subtest 'what is none of ours' => sub {
    my $before = $slack->count('response_url');
    $store->press('U000001', 'some_other_button', 'x', response_url => url());
    $store->press('U000001', 'study_helped', 'x', response_url => url());
    $store->press('U000001', 'study_consent', 'U000001', type => 'view_submission', response_url => url());
    $store->press('U000001', 'study_consent', 'U000001', type => 'shortcut', response_url => url());
    $store->press('U000001', 'study_consent', 'U000001', trigger_id => '', response_url => url());
    $store->drained;
    is($slack->count('response_url'), $before, 'is not answered');
    is_deeply([ map { $_->[0] } @{ $store->rows('SELECT reason FROM study.dead_event') } ], ['no_identity'], 'only the malformed is kept');

    my ($words) = press('U0OTHER', 'study_consent', 'U0OTHER', user => { id => 'U0OTHER', team_id => 'T0OTHER' });
    like($words, qr/이 워크스페이스의 멤버만/, 'a person of another organisation is told so');
    is($store->value("SELECT count(*) FROM study.member WHERE user_id = 'U0OTHER'"), 0, 'and leaves no member');
};

$store->stop;
$slack->stop;
done_testing;
