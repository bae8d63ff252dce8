#!/usr/bin/perl

# The deliver role: what leaves for Slack, how often, and what becomes of it when Slack
# refuses, stalls, cuts off or throws us out, or when the process itself is killed.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

my $out = StudyTest::Outgoing->start(digest => 0, durable => 1);
my $slack = $out->slack;
my $serial = 0;

sub user { return sprintf 'U%06dD', ++$serial }

# How often Slack took a message into the channel of this row.
sub times_held {
    my ($id, $user) = @_;
    return scalar grep { ($_->{metadata}{event_payload}{outbox_id} // '') eq $id } $out->dm($user);
}

subtest 'a reply arrives' => sub {
    my $user = user();
    my $id = $out->reply(target => $user, text => '안녕하세요 😀');

    ok($out->wait_row('outbox', $id, 'sent'), 'sent');
    my ($message) = $out->dm($user);
    is($message->{text}, '안녕하세요 😀', 'the text');
    is($message->{metadata}{event_type}, 'study_notice', 'its kind in the metadata');
    is($message->{metadata}{event_payload}{outbox_id}, $id, 'the row\'s id in the metadata');
    my $row = $out->row('outbox', $id);
    is($row->{sent_ts}, $message->{ts}, 'its ts is kept');
    is($row->{claim_token}, undef, 'the claim is given up');
    is($out->value('SELECT dm_channel_id FROM study.member WHERE user_id = ?', $user), 'D' . substr($user, 1), 'the DM is kept');
    ok($out->value('SELECT noticed_at IS NOT NULL FROM study.member WHERE user_id = ?', $user), 'the notice is noted');

    my ($request) = grep { ($_->{args}{channel} // '') eq 'D' . substr $user, 1 } $slack->received('chat.postMessage');
    is($request->{args}{parse}, 'none', 'Slack is to parse nothing');
    ok(!$request->{args}{link_names}, 'nor to link names');
    like($request->{headers}{'content-type'}, qr{^application/json; charset=utf-8$}, 'content type');

    my $opened = $slack->count('conversations.open');
    my $second = $out->reply(target => $user);
    ok($out->wait_row('outbox', $second, 'sent'), 'another one');
    is($slack->count('conversations.open'), $opened, 'the DM is not opened again');
};

subtest 'the workspace is asked for once' => sub {
    my $team = $out->dbh->selectrow_hashref("SELECT * FROM study.team WHERE team_id = 'T0STUDY'");
    is($team->{url}, 'https://t0study.slack.com/', 'its address');
    is($team->{bot_user_id}, 'U0STUDYBOT', 'who we are there');
    ok(length $team->{name}, 'its name');
    is($slack->count('auth.test'), 1, 'one auth.test');
};

subtest 'one message a second into a channel, in order' => sub {
    my $user = user();
    my @ids = map { $out->reply(target => $user, text => "part $_") } 1 .. 4;
    ok($out->wait_row('outbox', $ids[-1], 'sent', 30), 'all of them');
    is_deeply([ map { $_->{text} } $out->dm($user) ], [ map {"part $_"} 1 .. 4 ], 'in their order');

    my @at = map { $_->{time} } grep { $_->{args}{channel} eq 'D' . substr $user, 1 } $slack->received('chat.postMessage');
    my @gaps = map { $at[$_] - $at[$_ - 1] } 1 .. $#at;
    is(scalar(grep { $_ < 0.99 } @gaps), 0, "never closer than a second (@gaps)");
    is($slack->counters->{by_status}{429} // 0, 0, 'Slack had to refuse nothing');
};

subtest 'many members at once' => sub {
    my @users = map { user() } 1 .. 15;
    my @ids = map { $out->reply(target => $_) } @users;
    ok($out->wait_row('outbox', $_, 'sent', 60), "reply $_") for @ids;
    is($slack->counters->{by_status}{429} // 0, 0, 'Slack had to refuse nothing');
    is(times_held($ids[$_], $users[$_]), 1, "once to $users[$_]") for 0 .. $#ids;
};

subtest 'into a channel and a thread' => sub {
    my $parent = $slack->say(team => 'T0STUDY', channel => 'C0STUDY', user => 'U000001', text => 'a question');
    my $id = $out->reply(target => 'C0STUDY', thread_ts => $parent->{ts}, text => 'an answer');
    ok($out->wait_row('outbox', $id, 'sent'), 'sent');
    my ($answer) = grep { $_->{text} eq 'an answer' } $slack->messages(channel => 'C0STUDY', team => 'T0STUDY');
    is($answer->{thread_ts}, $parent->{ts}, 'in the thread');
};

for my $case (
    [ '429 with Retry-After', { kind => 'status', status => 429, retry_after => 2 } ],
    [ 'ratelimited in a 200', { kind => 'error', error => 'ratelimited', status => 200 } ],
    [ 'service_unavailable', { kind => 'error', error => 'service_unavailable' } ],
    )
{
    my ($name, $fault) = @$case;
    subtest "a sure failure is tried again: $name" => sub {
        my $user = user();
        $out->member($user);
        $slack->clear_faults;
        $slack->fault({ %$fault, match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
        my $id = $out->reply(target => $user);
        if ($name =~ /200/) {    # without Retry-After the default is half a minute: not waited for here
            ok(wait_for(sub { $out->value("SELECT until > now() + interval '20 s' FROM study.slack_wait WHERE method = 'chat.postMessage'") }, 15),
                'the default is waited');
            is($out->row('outbox', $id)->{state}, 'pending', 'and the reply with it');
            $out->dbh->do('UPDATE study.slack_wait SET until = now()');
            $out->dbh->do('UPDATE study.outbox SET next_at = now() WHERE outbox_id = ?', undef, $id);
            $out->dbh->do('UPDATE study.lane SET due_at = now() WHERE target = ?', undef, $user);
        }
        ok($out->wait_row('outbox', $id, 'sent', 30), 'sent in the end');
        is(times_held($id, $user), 1, 'once');
        is($out->row('outbox', $id)->{attempts}, 2, 'in two attempts');
        my @at = map { $_->{time} } grep { $_->{args}{channel} eq 'D' . substr $user, 1 } $slack->received('chat.postMessage');
        cmp_ok($at[1] - $at[0], '>=', 2, 'not before Retry-After') if $name =~ /^429/;
    };
}

subtest 'a 429 holds back that workspace and method, and nothing else' => sub {
    $slack->clear_faults;
    $slack->seed({ id => 'T2OTHER', token => 'xoxb-standin-2' });
    my ($one, $two) = (user(), user());
    $slack->fault({ kind => 'status', status => 429, retry_after => 4, match => { method => 'chat.postMessage', team => 'T0STUDY' }, count => 1 });
    my $first = $out->reply(target => $one);
    ok(wait_for(sub { $out->value("SELECT until > now() FROM study.slack_wait WHERE team_id = 'T0STUDY' AND method = 'chat.postMessage'") }, 10), 'the wait is a row');
    my $second = $out->reply(target => $two);
    sleep 1.5;
    is($out->row('outbox', $second)->{state}, 'pending', 'another member of the workspace waits too');
    is($out->row('outbox', $second)->{attempts}, 0, 'and was not even tried');
    ok($out->wait_row('outbox', $_, 'sent', 20), 'sent afterwards') for $first, $second;
};

for my $case (
    [ 'cut before Slack took it', { kind => 'cut_before' } ],
    [ 'cut after Slack took it',  { kind => 'cut_after' } ],
    [ 'an answer cut in half',    { kind => 'cut_body' } ],
    [ '500, not taken',           { kind => 'status', status => 500 } ],
    [ '500, but taken',           { kind => 'status', status => 500, accept => 1 } ],
    [ 'internal_error',           { kind => 'error', error => 'internal_error' } ],
    [ 'fatal_error, but taken',   { kind => 'error', error => 'fatal_error', accept => 1 } ],
    [ 'a stall past the time-out', { kind => 'stall', seconds => 20 } ],
    [ 'nonsense',                 { kind => 'nonsense' } ],
    )
{
    my ($name, $fault) = @$case;
    subtest "a doubtful post is settled: $name" => sub {
        my $user = user();
        $slack->clear_faults;
        $slack->fault({ %$fault, match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
        my $looked = $slack->count('conversations.history');
        my $id = $out->reply(target => $user);
        ok($out->wait_row('outbox', $id, 'doubtful'), 'doubtful first');
        is($out->row('outbox', $id)->{channel_id}, 'D' . substr($user, 1), 'where it may be is kept');
        ok($out->wait_row('outbox', $id, 'sent', 30), 'sent in the end');
        is(times_held($id, $user), 1, 'Slack holds it once');
        cmp_ok($slack->count('conversations.history'), '>', $looked, 'it was looked up');
    };
}

subtest 'a doubtful reply in a thread is looked for in the thread' => sub {
    $slack->clear_faults;
    my $parent = $slack->say(team => 'T0STUDY', channel => 'C0THREAD', user => 'U000001', text => 'a question');
    $slack->fault({ kind => 'cut_after', match => { method => 'chat.postMessage', channel => 'C0THREAD' }, count => 1 });
    my $id = $out->reply(target => 'C0THREAD', thread_ts => $parent->{ts}, text => 'an answer');
    ok($out->wait_row('outbox', $id, 'sent', 30), 'settled');
    cmp_ok($slack->count('conversations.replies'), '>=', 1, 'by the thread\'s replies');
    is(scalar(grep { $_->{text} eq 'an answer' } $slack->messages(channel => 'C0THREAD', team => 'T0STUDY')), 1, 'once');
};

subtest 'the look into the history fails at first' => sub {
    $slack->clear_faults;
    my $user = user();
    $slack->fault(
        { kind => 'cut_after', match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 },
        { match => { method => 'conversations.history' }, sequence => [ { kind => 'status', status => 500 }, { kind => 'nonsense' } ] },
    );
    my $id = $out->reply(target => $user);
    ok($out->wait_row('outbox', $id, 'sent', 40), 'settled in the end');
    is(times_held($id, $user), 1, 'once');
};

subtest 'opening a DM is refused for a while' => sub {
    $slack->clear_faults;
    my $user = user();
    $slack->fault({ kind => 'status', status => 429, retry_after => 2, match => { method => 'conversations.open', contains => $user }, count => 1 });
    my $id = $out->reply(target => $user);
    ok($out->wait_row('outbox', $id, 'sent', 30), 'sent');
    my @at = map { $_->{time} } grep { index($_->{body}, $user) >= 0 } $slack->received('conversations.open');
    cmp_ok($at[1] - $at[0], '>=', 2, 'not asked again before Retry-After');
};

subtest 'a workspace that may open no DMs holds up no other' => sub {
    $slack->clear_faults;
    my $user = user();
    $out->dbh->do("INSERT INTO study.team (team_id, url, bot_user_id) VALUES ('T2OTHER', 'https://t2other.slack.com/', 'U0STUDYBOT')");
    $out->dbh->do("INSERT INTO study.slack_wait (team_id, method, until) VALUES ('T0STUDY', 'conversations.open', now() + interval '1 h')"
        . ' ON CONFLICT (team_id, method) DO UPDATE SET until = excluded.until');
    $out->dbh->do("INSERT INTO study.member (team_id, user_id) SELECT 'T0STUDY', 'U0CROWD' || g FROM generate_series(1, 500) g");
    $out->dbh->do("INSERT INTO study.outbox (identity, kind, team_id, target, body) SELECT 'crowd:' || g, 'notice', 'T0STUDY', 'U0CROWD' || g,"
        . ' \'{"text":"x","blocks":[]}\' FROM generate_series(1, 500) g');
    my $before = $out->value("SELECT max(next_at) FROM study.outbox WHERE identity LIKE 'crowd:%'");
    $out->dbh->do("INSERT INTO study.lane (team_id, target, due_at) SELECT 'T0STUDY', 'U0CROWD' || g, now() FROM generate_series(1, 500) g");
    my $id = $out->reply(team => 'T2OTHER', target => $user);
    ok($out->wait_row('outbox', $id, 'sent', 30), 'a reply of another workspace is sent');
    is($out->value("SELECT count(*) FROM study.outbox WHERE identity LIKE 'crowd:%' AND (claim_token IS NOT NULL OR next_at > ?)", $before), 0,
        'and not one of the crowd was taken in hand for nothing');
    $out->dbh->do("DELETE FROM study.lane WHERE target LIKE 'U0CROWD%'");
    $out->dbh->do("DELETE FROM study.outbox WHERE identity LIKE 'crowd:%'");
    $out->dbh->do("UPDATE study.slack_wait SET until = now()");
};

subtest 'nothing is posted into a lane while its head is in doubt' => sub {
    my $user = user();
    $slack->clear_faults;
    $slack->fault({ kind => 'cut_after', match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
    my @ids = map { $out->reply(target => $user, text => "part $_") } 1 .. 2;
    ok($out->wait_row('outbox', $ids[0], 'doubtful'), 'the first is in doubt');
    sleep 1;
    is($out->row('outbox', $ids[1])->{state}, 'pending', 'the second waits');
    ok($out->wait_row('outbox', $ids[1], 'sent', 30), 'until it is settled');
    is_deeply([ map { $_->{text} } $out->dm($user) ], [ 'part 1', 'part 2' ], 'in order, once each');
};

subtest 'what Slack will never take' => sub {
    $slack->clear_faults;
    my ($user, $gone) = (user(), user());
    my $bad = $out->reply(target => $user, body => { text => 'x', blocks => [ { type => 'nonsense' } ] });
    my $good = $out->reply(target => $user);
    ok($out->wait_row('outbox', $bad, 'failed'), 'a bad message fails');
    is($out->row('outbox', $bad)->{error}, 'invalid_blocks', 'with Slack\'s reason');
    ok($out->wait_row('outbox', $good, 'sent'), 'and the next one of its lane goes');

    $slack->fault({ kind => 'error', error => 'user_disabled', match => { method => 'conversations.open', contains => $gone } });
    my $lost = $out->reply(target => $gone);
    my $next = $out->reply(target => $gone);
    ok($out->wait_row('outbox', $lost, 'failed'), 'a member who is gone');
    is($out->value('SELECT stopped_reason FROM study.lane WHERE target = ?', $gone), 'user_disabled', 'stops the lane');
    ok($out->value("SELECT retry_at BETWEEN now() + interval '23 h' AND now() + interval '1 day' FROM study.lane WHERE target = ?", $gone), 'for a day');
    my $asked = $slack->count('conversations.open');
    sleep 2.5;
    is($out->row('outbox', $next)->{state}, 'pending', 'what else is for them waits');
    is($slack->count('conversations.open'), $asked, 'without a further call');
    like($out->log, qr/ALERT \Q$gone\E in T0STUDY: nothing is sent there any more: user_disabled/, 'with an alert');
};

subtest 'a channel that is not there' => sub {
    $slack->clear_faults;
    $slack->fault({ kind => 'error', error => 'channel_not_found', match => { method => 'chat.postMessage', channel => 'C0GONE' } });
    my $id = $out->reply(target => 'C0GONE');
    ok($out->wait_row('outbox', $id, 'failed'), 'failed');
    is($out->value("SELECT stopped_reason FROM study.lane WHERE target = 'C0GONE'"), 'channel_not_found', 'the lane is stopped');
};

subtest 'kill -9 between taking and noting' => sub {
    $slack->clear_faults;
    my $user = user();
    $slack->fault({ kind => 'stall', seconds => 20, match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
    my $id = $out->reply(target => $user);
    ok($out->wait_row('outbox', $id, 'sending'), 'it is being sent');
    ok(wait_for(sub { times_held($id, $user) == 1 }, 10), 'Slack has it already');
    my ($pid) = $out->pids('deliver');
    ok($pid, 'the deliver process') or return;
    kill KILL => $pid;
    # its lease is what others wait for: made shorter here than ten seconds
    ok(wait_for(sub { (($out->pids('deliver'))[0] // $pid) != $pid }, 15), 'another one is started');
    ok($out->wait_row('outbox', $id, 'sent', 40), 'settled as sent');
    is(times_held($id, $user), 1, 'and not sent again');
    cmp_ok($out->row('outbox', $id)->{attempts}, '>=', 2, 'by another claim');
};

subtest 'a reply whose source has changed' => sub {
    $slack->clear_faults;
    my $user = user();
    my $digest = $out->digest(user => $user);
    $out->dbh->do("UPDATE study.digest SET state = 'made', source_version = 2 WHERE digest_id = ?", undef, $digest);
    my $id = $out->reply(target => $user, text => 'of deleted words', digest => [ $digest, 1 ]);
    ok($out->wait_row('outbox', $id, 'cancelled'), 'is cancelled');
    is($out->row('outbox', $id)->{body}, undef, 'its text is gone');
    is(times_held($id, $user), 0, 'nothing was sent');
};

subtest 'deleted while a post is in doubt' => sub {
    $slack->clear_faults;
    my $user = user();
    my $digest = $out->digest(user => $user);
    $out->dbh->do("UPDATE study.digest SET state = 'made' WHERE digest_id = ?", undef, $digest);
    $slack->fault({ kind => 'cut_before', match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
    my $id = $out->reply(target => $user, text => 'of deleted words', digest => [ $digest, 1 ]);
    ok($out->wait_row('outbox', $id, 'doubtful'), 'in doubt');
    $out->dbh->do('UPDATE study.digest SET source_version = 2, result = NULL WHERE digest_id = ?', undef, $digest);
    ok($out->wait_row('outbox', $id, 'cancelled', 30), 'it had not arrived, and is not sent again');
    is($out->row('outbox', $id)->{body}, undef, 'its text is gone');
    is(times_held($id, $user), 0, 'Slack holds nothing');
    is($out->row('digest', $digest)->{state}, 'pending', 'the digest is made anew');
};

subtest 'turned off while a digest was in doubt, or being made' => sub {
    my $user = user();
    my $digest = $out->digest(user => $user);
    $slack->clear_faults;
    $slack->fault({ kind => 'cut_before', match => { method => 'chat.postMessage' }, count => 1 });
    my $id = $out->reply(target => $user, digest => [ $digest, 1 ]);
    ok($out->wait_row('outbox', $id, 'doubtful'), 'in doubt');
    $out->dbh->do('UPDATE study.member SET digests = false WHERE user_id = ?', undef, $user);
    ok($out->wait_row('outbox', $id, 'cancelled', 30), 'it had not arrived, and is not sent again');
    my $late = $out->reply(target => $user, digest => [ $out->digest(user => $user), 1 ]);
    ok($out->wait_row('outbox', $late, 'cancelled'), 'nor is one that was added since');
    is($out->row('outbox', $late)->{error}, 'the member has turned digests off', 'the row says why');
    is(scalar($out->dm($user)), 0, 'nothing arrived');
    my $notice = $out->reply(target => $user);
    ok($out->wait_row('outbox', $notice, 'sent'), 'a notice does');
};

subtest 'cancelled while its DM is opened' => sub {
    $slack->clear_faults;
    my $user = user();
    $slack->fault({ kind => 'status', status => 503, hold => 1, match => { method => 'conversations.open', contains => $user }, count => 1 });
    $slack->fault({ kind => 'hold', match => { method => 'conversations.open' }, count => 1 });
    $out->dbh->do('UPDATE study.slack_wait SET slot_at = now()');    # so that the claim is not put off
    my $id = $out->reply(target => $user);
    my $next = $out->reply(target => $user);
    my $other = $out->reply(target => user());
    ok(wait_for(sub { grep { index($_->{body}, $user) >= 0 } $slack->received('conversations.open') }, 10), 'claimed, and asked for');
    $out->dbh->do("UPDATE study.outbox SET state = 'cancelled', body = NULL WHERE outbox_id = ?", undef, $id);
    $slack->clear_faults;
    $slack->release;
    ok($out->wait_row('outbox', $other, 'sent'), 'the others of its turn are written down');
    sleep 1;
    is($out->row('outbox', $id)->{state}, 'cancelled', 'and it stays cancelled');
    ok($out->wait_row('outbox', $next, 'sent'), 'the next reply to the member is sent');
    ok($out->value('SELECT COALESCE(n.done_at < c.lease_until, true) FROM study.outbox n, study.outbox c WHERE n.outbox_id = ? AND c.outbox_id = ?', $next, $id),
        'without waiting for the end of the lease');
};

subtest 'a stop while posting' => sub {
    $slack->clear_faults;
    my $user = user();
    $out->worker->stop;
    $slack->fault({ kind => 'stall', seconds => 20, match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
    $out->worker->start(wait => 0);
    my $id = $out->reply(target => $user);
    ok($out->wait_row('outbox', $id, 'sending'), 'under way');
    ok(wait_for(sub { times_held($id, $user) == 1 }, 10), 'Slack has it');
    $out->worker->stop;
    is($out->row('outbox', $id)->{state}, 'doubtful', 'told to stop, it says that it does not know');
    $out->worker->start(wait => 0);
    ok($out->wait_row('outbox', $id, 'sent', 30), 'settled after the start');
    is(times_held($id, $user), 1, 'once');
};

subtest 'a revoked token stops the workspace, and a new start asks again' => sub {
    $slack->clear_faults;
    $slack->seed({ id => 'T0STUDY', token => 'xoxb-standin', token_error => 'token_revoked' });
    my $user = user();
    my $id = $out->reply(target => $user);
    ok(wait_for(sub { $out->value("SELECT state = 'stopped' FROM study.team WHERE team_id = 'T0STUDY'") }, 15), 'stopped');
    is($out->value("SELECT stopped_reason FROM study.team WHERE team_id = 'T0STUDY'"), 'token_revoked', 'with the reason');
    is($out->row('outbox', $id)->{state}, 'pending', 'its replies wait');
    my $calls = $slack->counters->{requests};
    sleep 2.5;
    is($slack->counters->{requests}, $calls, 'nothing more is asked');
    is(scalar(() = $out->log =~ /ALERT workspace T0STUDY: nothing is sent any more: token_revoked/g), 1, 'one alert');

    $slack->seed({ id => 'T0STUDY', token => 'xoxb-standin', token_error => undef });
    $out->worker->stop;
    $out->dbh->do("INSERT INTO study.team (team_id, state, stopped_reason) SELECT 'T8STOP' || g, 'stopped', 'a test' FROM generate_series(10, 54) g");
    my $asked = $slack->count('auth.test');
    $out->worker->start(wait => 0);
    ok(wait_for(sub { $slack->count('auth.test') >= $asked + 46 }, 30), 'every stopped workspace is asked');
    sleep 1.5;
    is($slack->count('auth.test'), $asked + 46, 'once');
    $out->dbh->do("DELETE FROM study.team WHERE team_id LIKE 'T8STOP%'");
    $out->dbh->do('UPDATE study.outbox SET next_at = now() WHERE outbox_id = ?', undef, $id);
    $out->dbh->do('UPDATE study.lane SET due_at = now() WHERE target = ?', undef, $user);
    ok($out->wait_row('outbox', $id, 'sent', 30), 'after the token works again and a start: sent');
};

subtest 'a token of another workspace' => sub {
    $slack->clear_faults;
    $out->team('T9OTHER');
    my $id = $out->reply(team => 'T9OTHER', target => user());
    ok(wait_for(sub { ($out->value("SELECT stopped_reason FROM study.team WHERE team_id = 'T9OTHER'") // '') eq 'token_of_another_workspace' }, 15),
        'the workspace is stopped');
    is($out->row('outbox', $id)->{state}, 'pending', 'and nothing of it is sent with that token');
};

subtest 'several processes share lanes and limits' => sub {
    $slack->clear_faults;
    $out->worker->stop;
    $out->worker->write_config({ deliver => { processes => 3 } });
    $out->worker->start(wait => 0);
    my $refused = $slack->counters->{by_status}{429} // 0;
    my @users = map { user() } 1 .. 8;
    my %ids = map { my $user = $_; $user => [ map { $out->reply(target => $user, text => "part $_") } 1 .. 3 ] } @users;
    for my $user (@users) {
        $out->wait_row('outbox', $_, 'sent', 60) or fail("reply $_") for @{ $ids{$user} };
        is_deeply([ map { $_->{text} } $out->dm($user) ], [ 'part 1', 'part 2', 'part 3' ], "$user: all, in order, once");
    }
    is(($slack->counters->{by_status}{429} // 0) - $refused, 0, 'Slack had to refuse nothing');
    $out->worker->stop;
    $out->worker->write_config({ deliver => { processes => 1, doubtful => 'park' } });
    $out->worker->start(wait => 0);
};

subtest 'doubtful = park leaves it to an operator' => sub {
    my $user = user();
    $slack->fault({ kind => 'cut_after', match => { method => 'chat.postMessage', channel => 'D' . substr $user, 1 }, count => 1 });
    my $looked = $slack->count('conversations.history');
    my $id = $out->reply(target => $user);
    ok($out->wait_row('outbox', $id, 'parked', 30), 'parked');
    is($slack->count('conversations.history'), $looked, 'without a look');
    is(times_held($id, $user), 1, 'and not sent again');
    like($out->log, qr/ALERT reply $id waits for an operator/, 'with an alert');
    my $next = $out->reply(target => $user);
    ok($out->wait_row('outbox', $next, 'sent'), 'the lane goes on');
};

subtest 'paused' => sub {
    $slack->clear_faults;
    my $user = user();
    $out->dbh->do("INSERT INTO study.pause (role, reason) VALUES ('deliver', 'a test')");
    my $id = $out->reply(target => $user);
    sleep 2.5;
    is($out->row('outbox', $id)->{state}, 'pending', 'nothing is sent');
    $out->dbh->do('DELETE FROM study.pause');
    ok($out->wait_row('outbox', $id, 'sent'), 'until it is resumed');
};

subtest 'PostgreSQL goes and comes' => sub {
    my ($one, $two) = (user(), user());
    $slack->set(delays => { 'chat.postMessage' => 2 });
    my $id = $out->reply(target => $one);
    ok($out->wait_row('outbox', $id, 'sending'), 'a post is under way');
    $out->pg->crash;
    sleep 3;
    $out->pg->restart;
    $slack->set(delays => { 'chat.postMessage' => 0 });
    ok($out->wait_row('outbox', $id, 'sent', 40), 'its end is written down afterwards');
    is(times_held($id, $one), 1, 'Slack holds it once');
    my $next = $out->reply(target => $two);
    ok($out->wait_row('outbox', $next, 'sent', 30), 'and life goes on');
};

unlike($out->log, qr/안녕하세요|xoxb-/, 'no text and no token in the log');
$out->stop;
done_testing;
