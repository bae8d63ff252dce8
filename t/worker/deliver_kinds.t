#!/usr/bin/perl

# What leaves for Slack beside messages: answers to commands, reactions and deletions; each
# with what may go wrong on the way. Answers go once, and soon; the others may be repeated.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

my $out = StudyTest::Outgoing->start(digest => 0, durable => 1, config => { deliver => { concurrency => 8, give_up => '24h' } });
my $slack = $out->slack;
my $serial = 0;
(my $origin = $slack->url) =~ s{^(\w+://[^/]+).*}{$1};

ok(wait_for(sub { $out->value("SELECT url IS NOT NULL FROM study.team WHERE team_id = 'T0STUDY'") }, 20), 'the workspace is known');

# Nothing happens by itself then: what is not told of waits for a minute, and no request is given up.
sub unpolled { settings('1m', '2m'); return }
sub polled   { settings('1s', '3s'); return }

sub settings {
    my ($poll, $timeout) = @_;
    $out->worker->stop;
    $out->worker->write_config({ deliver => { poll => $poll }, slack => { timeout => $timeout } });
    $out->worker->start(wait => 0);
    return;
}

sub user { return sprintf 'U%06dK', ++$serial }

# An answer to a command of a member; the path is what the stand-in sees of it.
sub response {
    my ($user, %opt) = @_;
    my $path = sprintf '/response/%d', ++$serial;
    my $id = $out->reply(
        kind => 'response', target => "response-$user",
        body => { url => $opt{url} // "$origin$path", message => { response_type => 'ephemeral', text => $opt{text} // '오늘 2개' } },
    );
    return ($id, $path);
}

sub posted_to {
    my ($path) = @_;
    return grep { $_->{path} eq $path } $slack->received('response_url');
}

sub message {
    my ($channel) = @_;
    return $slack->say(team => 'T0STUDY', channel => $channel, user => 'U000001', text => 'a note');
}

sub reaction {
    my ($channel, $ts, $name) = @_;
    return $out->reply(kind => 'reaction', target => "reaction-$channel", body => { channel => $channel, ts => $ts, name => $name // 'seedling' });
}

sub reactions {
    my ($channel, $ts) = @_;
    my ($message) = grep { $_->{ts} eq $ts } $slack->messages(channel => $channel, team => 'T0STUDY');
    return map { $_->{name} } @{ $message->{reactions} // [] };
}

subtest 'an answer to a command' => sub {
    my $user = user();
    my ($id, $path) = response($user);
    ok($out->wait_row('outbox', $id, 'sent', 5), 'sent');
    my ($request) = posted_to($path);
    is($request->{args}{text}, '오늘 2개', 'the message');
    is($request->{args}{response_type}, 'ephemeral', 'as it was given');
    ok(!exists $request->{headers}{authorization}, 'no token goes with it');
    like($request->{headers}{'content-type'}, qr{^application/json}, 'JSON');
    is($out->row('outbox', $id)->{body}, undef, 'its address is not kept');
    is($out->row('outbox', $id)->{sent_ts}, undef, 'it has no ts');
};

subtest 'no answer waits for a poll' => sub {
    unpolled();
    my $user = user();
    my @ids = map { (response($user))[0] } 1 .. 6;
    ok($out->wait_row('outbox', $_, 'sent'), 'one of half a dozen for one member') for @ids;

    # A claim that comes to nothing waits in its COMMIT while an answer is committed, whose notification then comes with that COMMIT's.
    my $empty = 'response-' . user();
    my $lock = $out->pg->dbh;
    $lock->do('SELECT pg_advisory_lock(7)');
    $out->dbh->do('CREATE FUNCTION public.wait_for_test() RETURNS trigger LANGUAGE plpgsql AS'
        . ' $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$');
    $out->dbh->do('CREATE CONSTRAINT TRIGGER wait_for_test AFTER UPDATE ON study.lane DEFERRABLE INITIALLY DEFERRED FOR EACH ROW'
        . " WHEN (NEW.target = '$empty') EXECUTE FUNCTION public.wait_for_test()");
    $out->dbh->do("INSERT INTO study.lane (team_id, target, due_at) VALUES ('T0STUDY', ?, now())", undef, $empty);
    $out->dbh->do('NOTIFY study_outbox');
    ok(wait_for(sub {
        $out->value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'study-worker deliver' AND wait_event = 'advisory'") > 0;
    }, 20, 'deliver to wait in its COMMIT'), 'deliver is claiming');
    my ($id) = response(user());
    $lock->do('SELECT pg_advisory_unlock(7)');
    ok($out->wait_row('outbox', $id, 'sent'), 'what was committed meanwhile is sent');
    $out->dbh->do('DROP FUNCTION public.wait_for_test() CASCADE');
    polled();
};

subtest 'an answer does not wait behind posts that hang' => sub {
    my @users = map { user() } 1 .. 12;
    settings('1s', '2m');
    $slack->fault({ kind => 'hold', match => { method => 'chat.postMessage' } });
    my @posts = map { $out->reply(target => $_) } @users;
    ok(wait_for(sub { $out->value("SELECT count(*) >= 6 FROM study.outbox WHERE state = 'sending'") }, 20), 'every place but one is taken');
    my ($id, $path) = response(user());
    ok($out->wait_row('outbox', $id, 'sent'), 'sent');
    is($out->value("SELECT count(*) FROM study.outbox WHERE outbox_id = ANY (?) AND state = 'sent'", \@posts), 0, 'before the posts');
    $slack->clear_faults;
    cmp_ok($slack->release, '>=', 6, 'Slack answers');
    ok($out->wait_row('outbox', $_, 'sent', 60), 'a post is sent') for @posts;
    polled();
};

for my $case (
    [ '429',             { kind => 'status', status => 429, retry_after => 1 }, 'sent',   2 ],
    [ '500',             { kind => 'status', status => 500 },                   'parked', 1 ],
    [ 'used up',         { kind => 'status', status => 404 },                   'failed', 1 ],
    [ 'cut before',      { kind => 'cut_before' },                              'parked', 0 ],
    [ 'cut after',       { kind => 'cut_after' },                               'parked', 1 ],
    [ 'a stall',         { kind => 'stall', seconds => 20 },                    'parked', 1 ],
    )
{
    my ($name, $fault, $end, $requests) = @$case;
    subtest "an answer: $name" => sub {
        $slack->clear_faults;
        $slack->fault({ %$fault, match => { method => 'response_url' }, count => 1 });
        my ($id, $path) = response(user());
        ok($out->wait_row('outbox', $id, 'sent|parked|failed', 20), 'it has an end');
        is($out->row('outbox', $id)->{state}, $end, $end);
        sleep 1.5;
        is(scalar(posted_to($path)), $requests, "Slack has taken it up $requests times");
        is($out->row('outbox', $id)->{body}, undef, 'its address is not kept');
        is($out->value("SELECT count(*) FROM study.team WHERE state = 'stopped'"), 0, 'it says nothing about the workspace');
    };
}

subtest 'an answer that came too late, or that would go elsewhere' => sub {
    $slack->clear_faults;
    $out->worker->stop;
    my ($late, $path) = response(user());
    $out->dbh->do("UPDATE study.outbox SET created_at = now() - interval '31 min' WHERE outbox_id = ?", undef, $late);
    my ($plain) = response(user(), url => 'http://127.0.0.1:9/response/1');
    my ($none) = response(user(), url => 'gopher://x/');
    $out->worker->start(wait => 0);
    ok($out->wait_row('outbox', $_, 'failed'), 'is not sent') for $late, $plain, $none;
    is(scalar(posted_to($path)), 0, 'Slack saw nothing of it');
    like($out->row('outbox', $plain)->{error}, qr/https/, 'and why');
};

subtest 'a reaction' => sub {
    my $said = message('C0REACT');
    my $id = reaction('C0REACT', $said->{ts});
    ok($out->wait_row('outbox', $id, 'sent'), 'sent');
    is_deeply([ reactions('C0REACT', $said->{ts}) ], ['seedling'], 'the message has it');
    my $again = reaction('C0REACT', $said->{ts});
    ok($out->wait_row('outbox', $again, 'sent'), 'already_reacted is as good');
    my $gone = reaction('C0REACT', '1700000000.000001');
    ok($out->wait_row('outbox', $gone, 'failed'), 'to a message that is gone: an end');
    is($out->row('outbox', $gone)->{error}, 'message_not_found', 'with the reason');
    my $next = reaction('C0REACT', $said->{ts}, 'eyes');
    ok($out->wait_row('outbox', $next, 'sent'), 'the line goes on');
};

subtest 'a deletion' => sub {
    my $user = user();
    my $sent = $out->reply(target => $user);
    ok($out->wait_row('outbox', $sent, 'sent'), 'a message is there');
    my $row = $out->row('outbox', $sent);
    my @delete = (kind => 'delete', target => "delete-$row->{channel_id}", body => { channel => $row->{channel_id}, ts => $row->{sent_ts} });
    my $id = $out->reply(@delete);
    ok($out->wait_row('outbox', $id, 'sent'), 'deleted');
    is(scalar(grep { $_->{ts} eq $row->{sent_ts} } $out->dm($user)), 0, 'Slack does not hold it any more');
    my $again = $out->reply(@delete);
    ok($out->wait_row('outbox', $again, 'sent'), 'message_not_found is as good');
    my $not_ours = message('C0REACT');
    my $other = $out->reply(kind => 'delete', target => 'delete-C0REACT', body => { channel => 'C0REACT', ts => $not_ours->{ts} });
    ok($out->wait_row('outbox', $other, 'failed'), 'a message of somebody else stays');
};

for my $case (
    [ '429',             { kind => 'status', status => 429, retry_after => 2 } ],
    [ '500, not taken',  { kind => 'status', status => 500 } ],
    [ '500, but taken',  { kind => 'status', status => 500, accept => 1 } ],
    [ 'cut before',      { kind => 'cut_before' } ],
    [ 'cut after',       { kind => 'cut_after' } ],
    [ 'internal_error',  { kind => 'error', error => 'internal_error' } ],
    [ 'a stall',         { kind => 'stall', seconds => 20 } ],
    )
{
    my ($name, $fault) = @$case;
    subtest "a reaction and a deletion: $name" => sub {
        $slack->clear_faults;
        my $looked = $slack->count('conversations.history');
        my $user = user();
        my $said = message('C0FAULT');
        my $sent = $out->reply(target => $user);
        ok($out->wait_row('outbox', $sent, 'sent', 30), 'a message is there');
        my $row = $out->row('outbox', $sent);
        $slack->fault(
            { %$fault, match => { method => 'reactions.add' }, count => 1 },
            { %$fault, match => { method => 'chat.delete' },   count => 1 },
        );
        my $reaction = reaction('C0FAULT', $said->{ts});
        my $delete = $out->reply(kind => 'delete', target => "delete-$row->{channel_id}", body => { channel => $row->{channel_id}, ts => $row->{sent_ts} });
        ok($out->wait_row('outbox', $_, 'sent', 40), 'done in the end') for $reaction, $delete;
        is_deeply([ reactions('C0FAULT', $said->{ts}) ], ['seedling'], 'one reaction');
        is(scalar(grep { $_->{ts} eq $row->{sent_ts} } $out->dm($user)), 0, 'the message is gone');
        is($slack->count('conversations.history'), $looked, 'nothing was looked up');
    };
}

subtest 'killed with each of them under way' => sub {
    $slack->clear_faults;
    my $said = message('C0KILL');
    $slack->fault({ kind => 'stall', seconds => 30, match => { method => 'response_url' }, count => 1 },
        { kind => 'stall', seconds => 30, match => { method => 'reactions.add' }, count => 1 });
    my ($answer, $path) = response(user());
    my $reaction = reaction('C0KILL', $said->{ts});
    ok($out->wait_row('outbox', $_, 'sending'), 'under way') for $answer, $reaction;
    kill KILL => $out->pids('deliver');
    ok($out->wait_row('outbox', $answer, 'parked', 40), 'nobody knows about the answer: parked');
    is(scalar(posted_to($path)), 1, 'and it is not repeated');
    ok($out->wait_row('outbox', $reaction, 'sent', 40), 'the reaction is asked for again');
    is_deeply([ reactions('C0KILL', $said->{ts}) ], ['seedling'], 'one reaction');
};

subtest 'without the scope for reactions everything else goes on' => sub {
    $slack->clear_faults;
    $slack->fault({ kind => 'error', error => 'missing_scope', match => { method => 'reactions.add' }, count => 1 });
    my $said = message('C0SCOPE');
    my $id = reaction('C0SCOPE', $said->{ts});
    ok($out->wait_row('outbox', $id, 'failed'), 'the reaction has an end');
    is($out->value("SELECT state FROM study.team WHERE team_id = 'T0STUDY'"), 'active', 'the workspace is not stopped');
    ok($out->value("SELECT until > now() + interval '30 min' FROM study.slack_wait WHERE method = 'reactions.add'"), 'no other is tried for a while');
    my $reply = $out->reply(target => user());
    ok($out->wait_row('outbox', $reply, 'sent'), 'messages are sent');
    unlike($out->log, qr/ALERT reply $id/, 'no alert for a reaction');
    $out->dbh->do("DELETE FROM study.slack_wait WHERE method = 'reactions.add'");
};

subtest 'two processes at once double nothing' => sub {
    $slack->clear_faults;
    $out->worker->stop;
    $out->worker->write_config({ deliver => { processes => 2 } });
    my %said = map { ("C0TWO$_" => message("C0TWO$_")) } 1 .. 6;
    my @answers = map { [ response(user()) ] } 1 .. 30;
    my @reactions = map { reaction($_, $said{$_}{ts}) } sort keys %said;
    my @users = map { user() } 1 .. 10;
    my @posts = map { $out->reply(target => $_) } @users;
    $out->worker->start(wait => 0);
    ok($out->wait_row('outbox', $_->[0], 'sent', 30), 'an answer') for @answers;
    is(scalar(grep { posted_to($_->[1]) != 1 } @answers), 0, 'each answer once');
    ok($out->wait_row('outbox', $_, 'sent', 60), 'a reaction') for @reactions;
    my %times;
    $times{ $_->{args}{timestamp} }++ for $slack->received('reactions.add');
    is(scalar(grep { $times{ $_->{ts} } != 1 } values %said), 0, 'each reaction asked for once');
    ok($out->wait_row('outbox', $_, 'sent', 60), 'a message') for @posts;
    is(scalar(grep { $out->dm($_) != 1 } @users), 0, 'each message once');
};

unlike($out->log, qr/오늘|xoxb-|response\/\d/, 'no text, token or response_url in the log');
$out->stop;
done_testing;
