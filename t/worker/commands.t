#!/usr/bin/perl

# /study in Slack: each command is done once, in the transaction that stores its answer,
# and answered to its asker alone, in their language.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use JSON::PP ();
use Test::More;

use StudyTest::Event qw(deleted message);
use StudyTest::Proc qw(scratch_dir wait_for);
use StudyTest::StandIn;
use StudyTest::Store;

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $dir = scratch_dir('commands');
my $slack = StudyTest::StandIn->slack(dir => $dir);
my $store = StudyTest::Store->start(
    dir => $dir, slack_url => $slack->url, config => { deliver => { processes => 1, quiet_from => '22:00', quiet_until => '08:00' } },
);
my ($asked, $answered) = (0, 0);
# It is noon for everybody, so that no study day begins meanwhile.
my $noon = sprintf 'Etc/GMT%+d', (gmtime)[2] - 12;
$slack->set(default_tz => $noon);
$store->dbh->do('UPDATE study.setting SET time_zone = ?', undef, $noon);

sub url { return $slack->origin . '/response/' . ++$asked }

# Asks, and gives the answer's words and the whole answer.
sub ask {
    my ($user, $text, %more) = @_;

    $store->command(user_id => $user, text => $text, response_url => url(), %more);
    return answer();
}

sub answer {
    my ($path) = "/response/$asked";
    my $got;
    wait_for { ($got) = grep { $_->{path} eq $path } $slack->received('response_url'); $got } 20, "an answer at $path";
    my $message = JSON::PP->new->utf8->decode(do { my $b = $got->{body}; utf8::encode($b) if utf8::is_utf8($b); $b });
    $answered++;
    return (words($message), $message);
}

sub words {
    my ($message) = @_;
    return join "\n", map { $_->{text}{text} } grep { $_->{type} eq 'section' } @{ $message->{blocks} };
}

sub buttons { my ($message) = @_; return map { @{ $_->{elements} } } grep { $_->{type} eq 'actions' } @{ $message->{blocks} } }

sub member {
    my ($user) = @_;
    return $store->dbh->selectrow_hashref('SELECT *, digest_time::text AS at FROM study.member WHERE user_id = ?', undef, $user);
}

subtest 'a person never seen' => sub {
    my ($words, $message) = ask('U000001', 'help');
    is($message->{response_type}, 'ephemeral', 'only they see it');
    ok(!$message->{replace_original}, 'and nothing is replaced');
    like($words, qr/`\/study today`/, 'the commands');
    like($words, qr/내보내기/, 'in the language where none is told');
    is(member('U000001')->{consent}, 'none', 'is a member now, as a message would make one');
    is($store->value('SELECT count(*) FROM study.team'), 1, 'of a workspace');

    ($words) = ask('U000001', 'sing <!channel> for me');
    like($words, qr/알아듣지 못했어요/, 'what is not understood is said to be');
    like($words, qr/`\/study forget`/, 'with the help');
    unlike($words, qr/sing|<!channel/, 'and not repeated');
};

subtest 'language' => sub {
    my ($words) = ask('U000001', 'lang en');
    like($words, qr/English to you/, 'answered in the new language');
    is(member('U000001')->{language}, 'en', 'kept');
    like((ask('U000001', ''))[0], qr/Study Tracker's commands/, 'and so is the next');
    like((ask('U000001', 'lang fr'))[0], qr/`\/study lang ko`/, 'one that we do not speak');
    is(member('U000001')->{language}, 'en', 'changes nothing');
    like((ask('U000001', '언어 한국어'))[0], qr/한국어로 말씀드릴게요/, 'in Korean');
    $store->dbh->do("UPDATE study.member SET language = NULL, locale = 'en-GB' WHERE user_id = 'U000001'");
    like((ask('U000001', 'help'))[0], qr/commands/, 'by what Slack says of the member');
    $store->dbh->do("UPDATE study.member SET locale = NULL WHERE user_id = 'U000001'");
    $store->dbh->do("UPDATE study.team SET language = 'en'");
    like((ask('U000001', 'help'))[0], qr/commands/, 'by the workspace');
    $store->dbh->do('UPDATE study.team SET language = NULL');
};

subtest 'time' => sub {
    like((ask('U000001', 'time 7:05'))[0], qr/07:05/, 'is told');
    is(member('U000001')->{at}, '07:05:00', 'kept');
    like((ask('U000001', 'help'))[0], qr/받는 시각: 07:05/, 'and shown');
    like($_, qr/22:00부터 08:00까지는 메시지를 보내지 않아서, 08:00에/, 'with when it arrives, for then it is quiet')
        for map { (ask('U000001', $_))[0] } 'time 7:59', 'time 22:00', 'time 0:10', 'help';
    unlike((ask('U000001', $_))[0], qr/보내지 않아서/, "$_ is not in quiet hours") for 'time 8:00', 'time 21:59';
    ask('U000001', 'time 7:05');
    like((ask('U000001', 'time 25:00'))[0], qr/`\/study time 08:30`/, 'one that is none');
    is(member('U000001')->{at}, '07:05:00', 'changes nothing');
    like((ask('U000001', '시간 기본'))[0], qr/원래 정해진 시각/, 'back to the usual');
    is(member('U000001')->{at}, undef, 'is none of their own');
};

subtest 'on and off' => sub {
    like((ask('U000001', 'off'))[0], qr/껐어요/, 'off');
    ok(!member('U000001')->{digests}, 'no digests');
    is(member('U000001')->{consent}, 'none', 'consent is not asked for here, and not touched');
    my ($words) = ask('U000001', '켜기');
    like($words, qr/켰어요/, 'on');
    like($words, qr/먼저 개인 메시지로/, 'with what comes first');
    unlike($words, qr/동의/, 'and no word of consent');
    ok(member('U000001')->{digests}, 'digests again');
    $store->dbh->do("UPDATE study.member SET consent = 'no', noticed_at = now() WHERE user_id = 'U000001'");
    ($words) = ask('U000001', 'on');
    unlike($words, qr/먼저 개인 메시지로/, 'whoever was told is not told of it again');
    is(member('U000001')->{consent}, 'yes', 'a no that was said is taken back');
};

# Deliver holds the lane when it notes with the member that their notice has arrived.
subtest 'off takes no lock that deliver comes to while it holds the lane' => sub {
    my $dbh = $store->dbh;
    my $blocked = q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'study-worker store' AND wait_event_type = 'Lock'};
    $dbh->do("INSERT INTO study.lane (team_id, target) VALUES ('T0STUDY', 'U000001')");
    $dbh->begin_work;
    $dbh->do("SET LOCAL lock_timeout = '300ms'");
    $dbh->selectall_arrayref("SELECT FROM study.lane WHERE target = 'U000001' FOR UPDATE");
    $store->command(user_id => 'U000001', text => 'off', response_url => url());
    ok(wait_for(sub { ($dbh->selectrow_array($blocked))[0] }, 20), 'it waits for the lane');
    ok(eval { $dbh->do("UPDATE study.member SET noticed_at = now() WHERE user_id = 'U000001'") }, 'and not with the member\'s row in hand')
        or $dbh->rollback;
    $dbh->commit if !$dbh->{AutoCommit};
    like((answer())[0], qr/껐어요/, 'off');
    like((ask('U000001', 'on'))[0], qr/켰어요/, 'and on');
};

subtest 'today' => sub {
    like((ask('U000002', 'today'))[0], qr/아직 기록이 없어요/, 'nothing yet');
    my $first = message(user => 'U000002', channel => 'C0STUDY', text => 'Read chapter three of the book on trees.');
    my $second = message(user => 'U000002', channel => 'C0OTHER', text => 'Solved the exercises to it, all of them.');
    my $gone = message(user => 'U000002', text => 'Taken back in a moment, and so not counted.');
    my $reply = message(user => 'U000002', text => 'And what I found out about the third one.', thread_ts => $first->{event}{ts});
    $store->event(
        $first, $second, $gone, deleted($gone), $reply, message(user => 'U000002', text => 'short', thread_ts => $first->{event}{ts}),
        message(user => 'U000003', text => 'Something that another member has written.'),
        message(user => 'U000002', ts => sprintf('%d.000100', time - 4 * 86400), text => 'What I wrote four days ago, long since.'),
    );
    $store->drained;
    $store->dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    my ($words) = ask('U000002', '오늘');
    like($words, qr/오늘 기록 3개/, 'how many');
    my @links = $words =~ m{<(https://t0study\.slack\.com/archives/\S+?)\|기록 보기>}g;
    my %want = map { (my $ts = $_->{event}{ts}) =~ tr/.//d; ("$_->{event}{channel}/p$ts" => 1) } $first, $second, $reply;
    my %got = map { m{archives/(\w+/p\d+)} ? ($1 => 1) : () } @links;
    is_deeply(\%got, \%want, 'with links to theirs, and to nobody else\'s');
    like($words, qr/\?thread_ts=\S+&amp;cid=C0STUDY/, 'a reply by its thread');
    like($words, qr/<#C0OTHER>/, 'in which channel');

    $store->event(map { message(user => 'U000002', text => "One more note, this is number $_ of many.") } 1 .. 30);
    $store->drained;
    ($words) = ask('U000002', 'today');
    like($words, qr/오늘 기록 33개/, 'of many');
    my $n = () = $words =~ /기록 보기/g;
    is($n, 20, 'twenty are linked');
    like($words, qr/이 밖에 13개/, 'and the others counted');
    $store->event(map { message(user => 'U000002', ts => sprintf('%d.000200', time - $_ * 86400), text => "Yesterday and the day before, day $_.") } 1, 2);
    $store->drained;
    like((ask('U000002', 'today'))[0], qr/3일째/, 'days in a row');
    $store->dbh->do("UPDATE study.channel SET private = true WHERE channel_id = 'C0OTHER'");
    unlike((ask('U000002', 'today'))[0], qr/C0OTHER/, 'a channel that is not recorded any more stays out');
};

subtest 'export' => sub {
    my ($words) = ask('U000002', 'export');
    like($words, qr/메시지 37개/, 'what is held');
    like($words, qr/관리하는 분께 알렸어요/, 'and who hands it out');
    is($store->value("SELECT count(*) FROM study.export_request WHERE user_id = 'U000002' AND done_at IS NULL"), 1, 'noted');
    my ($first) = @{ JSON::PP->new->utf8->decode(($store->worker->ctl('member', 'ls', '--json'))[1]) };
    is($first->{user_id}, 'U000002', 'the operator sees it first of all members');
    ok($first->{export_asked_at}, 'and since when');
    like((ask('U000002', '내보내기'))[0], qr/이미 요청하셨어요/, 'once');
    is($store->value('SELECT count(*) FROM study.export_request'), 1, 'one row');
    $store->dbh->do('UPDATE study.export_request SET done_at = now()');
    like((ask('U000002', 'export'))[0], qr/알렸어요/, 'and again after it was handed out');
};

subtest 'forget asks first' => sub {
    my ($words, $message) = ask('U000002', 'forget');
    like($words, qr/메시지 37개/, 'what there is');
    my @buttons = buttons($message);
    is_deeply([ map { $_->{action_id} } @buttons ], [qw(study_forget study_forget_ever study_forget_keep)], 'three ways');
    is_deeply([ map { $_->{value} } @buttons ], [ ('U000002') x 3 ], 'for them');
    is($store->value("SELECT count(*) FROM study.message WHERE user_id = 'U000002'"), 38, 'nothing is gone yet');
};

subtest 'repeats and forgeries' => sub {
    my $before = $slack->count('response_url');
    my $url = url();
    $store->command(user_id => 'U000001', text => 'help', trigger_id => '1.2.same', response_url => $url) for 1 .. 3;
    $store->drained;
    $store->command(user_id => 'U000001', text => 'lang en', trigger_id => '1.2.same', response_url => $url);
    answer();
    $store->drained;
    is($slack->count('response_url'), $before + 1, 'one trigger_id is answered once');
    is(member('U000001')->{language}, undef, 'and done once');

    $store->command(user_id => 'U000009', text => 'lang en', response_url => undef);
    $store->drained;
    is(member('U000009')->{language}, 'en', 'without a way to answer it is done all the same');
    $store->command(user_id => 'U000009', text => 'lang ko', response_url => 'http://10.0.0.1/steal');
    $store->drained;
    wait_for { $store->value("SELECT count(*) FROM study.outbox WHERE kind = 'response' AND state = 'failed'") } 20, 'no other address is written to';
    pass('no other address is written to');

    $store->command(team_id => undef);
    $store->command(user_id => 'U 1');
    $store->command(trigger_id => undef);
    $store->drained;
    is_deeply([ map { $_->[0] } @{ $store->rows('SELECT reason FROM study.dead_event ORDER BY 1') } ], [qw(bad_form bad_form bad_id)], 'what is malformed is kept');
};

subtest 'people of other organisations' => sub {
    $store->dbh->do("INSERT INTO study.member (team_id, user_id, standing, profile_due) VALUES ('T0STUDY', 'U0OTHER', 'external', 'infinity')");
    my ($words) = ask('U0OTHER', 'on');
    like($words, qr/이 워크스페이스의 멤버만/, 'are told so');
    is($store->value("SELECT count(*) FROM study.export_request WHERE user_id = 'U0OTHER'"), 0, 'nothing is done');
    $store->dbh->do("INSERT INTO study.forgotten (team_id, user_id, before, sealed_at, rows_at, done_at) VALUES ('T0STUDY', 'U0OTHER', 'infinity', now(), now(), now())");
    ($words) = ask('U0OTHER', 'on');
    like($words, qr/이 워크스페이스의 멤버만/, 'who was forgotten, too');
    is($store->value("SELECT before FROM study.forgotten WHERE user_id = 'U0OTHER'"), 'infinity', '... and stays so');
};

is($store->value("SELECT count(*) FROM study.outbox WHERE kind = 'response' AND state = 'sent'"), $answered, 'every answer is a row that was sent');
is($store->value("SELECT count(*) FROM study.outbox WHERE kind = 'response' AND state = 'sent' AND body IS NOT NULL"), 0, 'and its address is forgotten');
$store->stop;
$slack->stop;
done_testing;
