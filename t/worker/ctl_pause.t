#!/usr/bin/perl

# studyctl pause and resume over the running roles: for all workspaces and for one, until
# a time, and over restarts; and the same of schedules.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use JSON::PP qw(decode_json);
use Time::HiRes qw(sleep);

use StudyTest::Event qw(message);
use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);
use StudyTest::Store;

sub ctl_of {
    my ($worker) = @_;
    return sub { my ($status, $said) = $worker->ctl(@_); return ($status >> 8, $said) };
}

# --- the store ----------------------------------------------------------------------------

subtest store => sub {
    my $store = StudyTest::Store->start;
    my $ctl = ctl_of($store->worker);
    my ($status, $said) = $ctl->('pause', 'store', '--reason', 'moving the disk', '--json');
    is($status, 0, 'pause store') or diag $said;
    my $pause = decode_json($said)->{pause};
    is_deeply([ @$pause{qw(role team_id reason until)} ], [ 'store', '', 'moving the disk', undef ], '... says what it did');
    sleep 2;
    $store->event(message(text => 'written in the pause, long enough'));
    sleep 1.5;
    is($store->length_of('pending'), 1, 'nothing is taken two seconds later');

    $store->worker->stop;
    $store->worker->start(wait => 0);
    sleep 2;
    is($store->length_of('pending'), 1, '... nor after a restart');
    my ($pauses) = map { decode_json($_)->{pauses} } ($ctl->('status', '--json'))[1];
    is_deeply([ map {"$_->{role} $_->{reason}"} @$pauses ], ['store moving the disk'], 'status shows it');

    ($status, $said) = $ctl->('resume', 'store');
    is($status, 0, 'resume');
    like($said, qr/^store goes on$/, '... says so');
    ok($store->drained(10), '... and it goes on');
    is($store->value('SELECT count(*) FROM study.message'), 1, '... with what had waited');
    is(decode_json(($ctl->('resume', 'store', '--json'))[1])->{changed}, JSON::PP::false, 'a second time changes nothing');

    is(($ctl->('pause', 'store', '--for', '2s'))[0], 0, 'for two seconds');
    sleep 1.2;
    $store->event(message(text => 'written in the short pause, long enough'));
    ok($store->drained(10), '... it ends by itself');
    $store->stop;
};

# --- digest and deliver, each for one workspace ---------------------------------------------

my $out = StudyTest::Outgoing->start(slack => { team => [ 'T0STUDY:xoxb-standin:U0BOT', 'T0OTHER:xoxb-other:U0BOT2' ] },
    tokens => { T0STUDY => 'xoxb-standin', T0OTHER => 'xoxb-other' }, config => { slack => { timeout => '2m' } });
my $ctl = ctl_of($out->worker);
$out->team('T0OTHER');
$out->dbh->do("UPDATE study.team SET url = 'https://x.slack.com/', bot_user_id = 'U0BOT'");

subtest deliver => sub {
    is(($ctl->('pause', 'deliver', '--team', 'T0STUDY'))[0], 0, 'one workspace is paused');
    sleep 1.2;
    my $held = $out->reply(target => 'U000001P', text => 'waits');
    my $other = $out->reply(team => 'T0OTHER', target => 'U000002P', text => 'goes');
    ok($out->wait_row('outbox', $other, 'sent'), 'the other one is served');
    sleep 1;
    is($out->row('outbox', $held)->{state}, 'pending', '... this one waits');
    is(($ctl->('resume', 'deliver'))[0], 0, 'resuming all is no resuming of one');
    sleep 1.2;
    is($out->row('outbox', $held)->{state}, 'pending', '... and it waits on');
    is(($ctl->('resume', 'deliver', '--team', 'T0STUDY'))[0], 0, 'resumed');
    ok($out->wait_row('outbox', $held, 'sent'), '... it is sent');
};

# Claimed before the pause, ready to be sent after it: it does not leave.
subtest 'what deliver has in hand' => sub {
    $out->slack->fault({ kind => 'hold', match => { method => 'conversations.open', contains => 'U000007P' }, count => 1 });
    my $held = $out->reply(target => 'U000007P', text => 'stopped on its way');
    ok(wait_for(sub { grep { index($_->{body}, 'U000007P') >= 0 } $out->slack->received('conversations.open') }, 10), 'its DM is being opened');
    is(($ctl->('pause', 'deliver'))[0], 0, 'deliver is paused');
    is($out->slack->release, 1, 'it is open now');
    ok(wait_for(sub { !defined $out->row('outbox', $held)->{claim_token} }, 20), 'the reply has left its hands');
    my $row = $out->row('outbox', $held);
    is_deeply([ @$row{qw(state claim_token attempts)} ], [ 'pending', undef, 0 ], 'it was given back, untried');
    is(scalar(() = $out->dm('U000007P')), 0, '... and not sent');
    is(($ctl->('resume', 'deliver'))[0], 0, 'resumed');
    ok($out->wait_row('outbox', $held, 'sent'), '... it is sent at once, not when its lease would have ended');
};

subtest digest => sub {
    is(($ctl->('pause', 'digest', '--team', 'T0OTHER', '--until', '2099-01-01T00:00Z'))[0], 0, 'one workspace is paused until then');
    is($out->value('SELECT until FROM study.pause'), '2099-01-01 00:00:00+00', '... as told');
    my $held = $out->digest(team => 'T0OTHER', user => 'U000003P', texts => ['what the held one wrote']);
    my $other = $out->digest(user => 'U000004P', texts => ['what the other one wrote']);
    ok($out->wait_row('digest', $other, 'made'), 'the other one is served');
    sleep 1;
    is($out->row('digest', $held)->{state}, 'pending', '... this one waits');
    is(($ctl->('resume', 'digest', '--team', 'T0OTHER'))[0], 0, 'resumed');
    ok($out->wait_row('digest', $held, 'made'), '... it is made');
};

# A digest that was claimed and stands ready behind another is not asked when its workspace stops.
subtest 'what stands ready' => sub {
    $out->worker->stop;
    $out->worker->write_config({ openai => { concurrency => 1, timeout => '2m' } });
    $out->worker->start(wait => 0);
    $out->openai->fault({ kind => 'hold', match => { contains => 'slow words' }, count => 1 });
    my $first = $out->digest(user => 'U000005P', texts => ['slow words of the first one']);
    ok(wait_for(sub { grep { index($_->{body}, 'slow words') >= 0 } $out->openai->received('chat/completions') }, 15), 'the one place is taken');
    my $second = $out->digest(team => 'T0OTHER', user => 'U000006P', texts => ['words of a paused workspace']);
    ok(wait_for(sub { $out->row('digest', $second)->{state} eq 'running' }, 20), 'the next one is claimed');
    is(($ctl->('pause', 'digest', '--team', 'T0OTHER'))[0], 0, 'its workspace is paused');
    is($out->openai->release, 1, 'the one before it is answered');
    ok($out->wait_row('digest', $first, 'made', 30), 'the place is free');
    ok($out->wait_row('digest', $second, 'pending'), 'it was put back');
    is(scalar(grep { index($_->{body}, 'words of a paused workspace') >= 0 } $out->openai->received('chat/completions')), 0, '... and not asked');
    $ctl->('resume', 'digest', '--team', 'T0OTHER');
    ok($out->wait_row('digest', $second, 'made', 30), 'resumed, it is made');
};

# Nor is the second question about an answer that will not do.
subtest 'what would be repaired' => sub {
    $out->openai->fault({ kind => 'half_json', hold => 1, match => { contains => 'mended words' }, count => 1 });
    my $asked = sub { scalar grep { index($_->{body}, 'mended words') >= 0 } $out->openai->received('chat/completions') };
    my $id = $out->digest(user => 'U000008P', texts => ['these are mended words']);
    ok(wait_for(sub { $asked->() }, 15), 'it is asked');
    is(($ctl->('pause', 'digest'))[0], 0, 'digest is paused');
    is($out->openai->release, 1, 'the answer comes');
    ok($out->wait_row('digest', $id, 'pending'), 'it was put back');
    sleep 1.5;
    is($asked->(), 1, '... after the one call');
    $ctl->('resume', 'digest');
    ok($out->wait_row('digest', $id, 'made', 30), 'resumed, it is made');
};

# --- schedules ---------------------------------------------------------------------------------

subtest schedules => sub {
    $out->dbh->do("UPDATE study.schedule SET next_at = '2020-01-01' WHERE name = 'daily'");
    my ($status, $said) = $ctl->('schedule', 'pause', 'daily', '--json');
    is_deeply([ $status, decode_json($said)->{changed} ], [ 0, JSON::PP::true ], 'paused');
    ok($out->value('SELECT paused FROM study.schedule WHERE name = \'daily\''), '... in its row');
    is(decode_json(($ctl->('schedule', 'pause', 'daily', '--json'))[1])->{changed}, JSON::PP::false, '... once');
    is($out->value('SELECT next_at FROM study.schedule WHERE name = \'daily\''), '2020-01-01 00:00:00+00', '... its time stays');
    like(($ctl->('schedule', 'resume', 'daily'))[1], qr/goes on with its next time/, 'resumed');
    is($out->value('SELECT next_at FROM study.schedule WHERE name = \'daily\''), undef, '... and reckoned anew: the pause is not made up');
    my ($code, $text) = $ctl->('schedule', 'pause', 'nosuch');
    is($code, 1, 'one that there is not');
    like($text, qr/there is no schedule nosuch/, '... says so');
};

# --- what cannot be -------------------------------------------------------------------------------

for my $case (
    [ 2, qr/expected store, digest or deliver/, qw(pause nginx) ],
    [ 2, qr/serves all workspaces from one list/, qw(pause store --team T1) ],
    [ 2, qr/no id of a workspace/, 'pause', 'digest', '--team', 'T 1' ],
    [ 2, qr/--until or --for, not both/, qw(pause digest --until 2099-01-01 --for 1h) ],
    [ 2, qr/--for soon: expected 1s to/, qw(pause digest --for soon) ],
    [ 1, qr/^studyctl: tomorrowish is no time/m, qw(pause digest --until tomorrowish) ],
    [ 1, qr/2001-01-01 has passed/, qw(pause digest --until 2001-01-01) ],
    [ 2, qr/pause: expected ROLE/, qw(pause) ],
) {
    my ($want, $like, @args) = @$case;
    my ($got, $text) = $ctl->(@args);
    is($got, $want, "studyctl @args: $want");
    like($text, $like, '... with the reason');
}
is($out->value("SELECT count(*) FROM study.pause WHERE role = 'digest'"), 0, 'and nothing was paused by them');
$out->stop;
done_testing;
