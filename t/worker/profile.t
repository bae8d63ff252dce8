#!/usr/bin/perl

# What Slack says about members: asked once in a while, at its pace, and without making
# anything else wait for it.

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

sub member { return $out->dbh->selectrow_hashref('SELECT * FROM study.member WHERE user_id = ?', undef, $_[0]) }
sub asked  { return scalar grep { ($_->{args}{user} // '') eq $_[0] } $slack->received('users.info') }
sub language { return $out->value('SELECT study.language_of(?, ?, ?)', 'T0STUDY', @_) }

$slack->seed({
    id => 'T0STUDY', token => 'xoxb-standin', bot_user_id => 'U0STUDYBOT', users => [
        { id => 'U0SEOUL',  tz => 'Asia/Seoul',       locale => 'ko-KR' },
        { id => 'U0BERLIN', tz => 'Europe/Berlin',    locale => 'de-DE' },
        { id => 'U0BOT',    tz => 'America/New_York', locale => 'en-US', is_bot => JSON::PP::true() },
        { id => 'U0LEFT',   deleted => JSON::PP::true() },
        { id => 'U0GUEST',  is_stranger => JSON::PP::true() },
        { id => 'U0NOZONE', tz => 'Mars/Olympus',     locale => 'ko-KR' },
    ],
});
$out->member($_, time_zone => 'UTC', profile => 1) for qw(U0SEOUL U0BERLIN U0BOT U0LEFT U0GUEST U0NOZONE);
$out->worker->start(wait => 0);

subtest 'profiles are read' => sub {
    ok(wait_for(sub { $out->value('SELECT count(*) = 6 FROM study.member WHERE profile_at IS NOT NULL') }, 30), 'all of them');
    is(member('U0SEOUL')->{time_zone}, 'Asia/Seoul', 'a time zone');
    is(member('U0SEOUL')->{locale}, 'ko-KR', 'a locale');
    is(member('U0NOZONE')->{time_zone}, 'UTC', 'a zone that nobody knows changes nothing');
    is_deeply([ map { member($_)->{standing} } qw(U0SEOUL U0BOT U0LEFT U0GUEST) ], [qw(person bot gone external)], 'who they are');
    sleep 2;
    is(asked('U0SEOUL'), 1, 'asked once');
    $out->dbh->do("UPDATE study.member SET profile_due = now() - interval '1 s' WHERE user_id = 'U0SEOUL'");
    ok(wait_for(sub { asked('U0SEOUL') == 2 }, 20), 'and again when it is old');
};

subtest 'languages' => sub {
    is(language('U0SEOUL', 'en'), 'ko', 'by the locale');
    is(language('U0BERLIN', 'ko'), 'en', 'whoever does not read Korean reads English');
    is(language('U0LEFT', 'en'), 'ko', 'the stand-in gives everybody a locale');
    $out->dbh->do("UPDATE study.member SET locale = NULL WHERE user_id = 'U0LEFT'");
    is(language('U0LEFT', 'en'), 'en', 'without one the fallback');
    $out->dbh->do("UPDATE study.team SET language = 'ko' WHERE team_id = 'T0STUDY'");
    is(language('U0LEFT', 'en'), 'ko', 'or the workspace\'s');
    is(language('U0BERLIN', 'ko'), 'en', 'which comes after the locale');
    $out->dbh->do("UPDATE study.member SET language = 'ko' WHERE user_id = 'U0BERLIN'");
    is(language('U0BERLIN', 'en'), 'ko', 'and the member\'s own word before all');
    is(language('U0NOBODY', 'en'), 'ko', 'somebody unknown: the workspace\'s');
};

subtest 'somebody whom Slack does not know' => sub {
    $slack->set(strict => 1);
    $out->member('U0UNKNOWN', profile => 1);
    ok(wait_for(sub { (member('U0UNKNOWN')->{standing} // '') eq 'gone' }, 20), 'is gone');
    is(member('U0UNKNOWN')->{time_zone}, 'Asia/Seoul', 'and keeps what is known');
    $slack->set(strict => 0);
};

subtest 'refused for a while' => sub {
    $slack->fault({ kind => 'status', status => 429, retry_after => 3, match => { method => 'users.info' }, count => 1 });
    $out->member('U0LATER', profile => 1);
    ok(wait_for(sub { asked('U0LATER') == 1 }, 20), 'asked');
    $out->dbh->do("UPDATE study.member SET profile_due = '-infinity' WHERE user_id = 'U0LATER'");
    ok(wait_for(sub { asked('U0LATER') == 2 }, 20), 'asked again');
    my @at = map { $_->{time} } grep { $_->{args}{user} eq 'U0LATER' } $slack->received('users.info');
    cmp_ok($at[1] - $at[0], '>=', 3, 'not before Retry-After');
};

subtest 'without the scope everything else goes on' => sub {
    ok(wait_for(sub { member('U0LATER')->{profile_at} }, 20), 'all is quiet');
    $slack->fault({ kind => 'error', error => 'missing_scope', match => { method => 'users.info' } });
    $out->member("U0SCOPE$_", profile => 1) for 1 .. 5;
    ok(wait_for(sub { $out->value("SELECT until > now() + interval '30 min' FROM study.slack_wait WHERE method = 'users.info'") }, 20), 'it rests');
    my $asked = $slack->count('users.info');
    my $id = $out->reply(target => 'U0SCOPE1');
    ok($out->wait_row('outbox', $id, 'sent'), 'messages are sent');
    is($out->value("SELECT state FROM study.team WHERE team_id = 'T0STUDY'"), 'active', 'the workspace is not stopped');
    sleep 2;
    cmp_ok($slack->count('users.info') - $asked, '<=', 5, 'and it is not asked on and on');
    like($out->log, qr/users\.info in T0STUDY: missing_scope/, 'the log says so');
    $slack->clear_faults;
};

subtest 'many members, at the pace of the method' => sub {
    $out->dbh->do("DELETE FROM study.slack_wait WHERE method = 'users.info'");
    my $refused = $slack->counters->{by_status}{429} // 0;
    $out->dbh->do("INSERT INTO study.member (team_id, user_id) SELECT 'T0STUDY', 'U0MANY' || g FROM generate_series(1, 300) g");
    my $id = $out->reply(target => 'U0MANY1');
    ok($out->wait_row('outbox', $id, 'sent', 10), 'a message does not wait for them');
    ok(wait_for(sub { $out->value("SELECT count(*) >= 15 FROM study.member WHERE user_id LIKE 'U0MANY%' AND profile_at IS NOT NULL") }, 40), 'they come');
    is(($slack->counters->{by_status}{429} // 0) - $refused, 0, 'and Slack has to refuse nothing');
};

$out->stop;

subtest 'a stopped workspace whose question came to nothing is asked again' => sub {
    $out->dbh->do("UPDATE study.team SET state = 'stopped', stopped_reason = 'a test'");
    $slack->fault({ kind => 'cut_before', match => { method => 'auth.test' }, count => 1 });
    $out->worker->start(wait => 0);
    ok(wait_for(sub { $out->value("SELECT state = 'active' FROM study.team WHERE team_id = 'T0STUDY'") }, 40), 'it is back without another start');
};

$out->stop;
done_testing;
