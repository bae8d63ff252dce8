#!/usr/bin/perl

# From a signed event to a digest in Slack, through every real part: what is stored,
# who gets a digest, what a repeat, an edit and a deletion come to, that an outage of
# one part loses nothing, and that no log holds a secret or a member's words.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::PP ();
use Test::More;

use StudyTest::Chain;
use StudyTest::Day;
use StudyTest::Event qw(deleted message);
use StudyTest::Proc qw(slurp wait_for);

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $day = StudyTest::Day->new;
my $chain = StudyTest::Chain->start(durable => 1, teams => $day->teams);
my $sender = $chain->sender;

sub stored {
    my $rows = $chain->dbh->selectall_arrayref(
        'SELECT channel_id, ts, user_id, text, deleted FROM study.message', { Slice => {} });
    return { map { ("$_->{channel_id} $_->{ts}" => { user => $_->{user_id}, text => $_->{text}, deleted => $_->{deleted} ? 1 : 0 }) } @$rows };
}

# --- a day comes in ----------------------------------------------------------------

my %answer;
$answer{ $sender->event($_->{event}, $_->{retry} ? (retry => $_->{retry}) : ())->{status} }++ for $day->events;
is_deeply(\%answer, { 200 => scalar(my @all = $day->events) }, 'every event is answered 200');

$chain->wait_drained(30);
is_deeply(stored(), $day->rows, 'the rows are what the day came to: once each, the last text, tombstones');
is($chain->value('SELECT count(*) FROM study.dead_event'), 0, 'nothing lies dead');

# The same day again, backwards: nothing may change.
$sender->event($_->{event}, retry => [ 2, 'http_error' ]) for reverse $day->events;
$chain->wait_drained(30);
is_deeply(stored(), $day->rows, 'the same day sent again, backwards, changes nothing');

# --- the schedule fires --------------------------------------------------------------

is($sender->trigger(schedule => 'daily', key => 'k1')->{status}, 202, 'the trigger is taken');
is($sender->trigger(schedule => 'daily', key => 'k1')->{status}, 202, '... and taken again');
is($sender->trigger(schedule => 'daily', token => 'wrong')->{status}, 401, '... and refused without its token');

$chain->wait_value("SELECT count(*) FROM study.outbox WHERE kind = 'digest' AND state = 'sent'", scalar $day->members, 90);
is($chain->value('SELECT count(*) FROM study.firing'), 1, 'one firing of two triggers with one key');

my %ids = map { $_ => 1 } @{ $chain->dbh->selectcol_arrayref("SELECT outbox_id::text FROM study.outbox WHERE kind = 'digest'") };
for my $id ($day->members) {
    my $team = $chain->value('SELECT team_id FROM study.member WHERE user_id = ?', $id);
    my @messages = $chain->slack->messages(team => $team, user => $id);
    my @digests = grep { $ids{ $_->{metadata}{event_payload}{outbox_id} // '' } } @messages;
    is(scalar @digests, 1, "$id has one digest");
    cmp_ok(scalar @messages, '>', 1, '... after the notice that says what is kept');
    my $text = JSON::PP->new->encode(\@digests);
    unlike($text, qr/PRIVATE|shopping list|회사 회의/, '... without what was deleted or said in private');
    my $hangul = () = $text =~ /[가-힣]/g;
    if ($day->language_of($id) eq 'ko') { cmp_ok($hangul, '>', 20, '... in Korean') }
    else                                { cmp_ok($hangul, '<', 5, '... in English') }
}

my @asked = $chain->openai->received('chat/completions');
is(scalar @asked, scalar $day->members, 'one call of the model a member');
my $sent = join ' ', map { JSON::PP->new->canonical->encode($_->{args} // $_) } @asked;
unlike($sent, qr/U0(?:JIYOON|MINJUN|SARAH|DAVID)|김지윤|Lindqvist|C0STUDY|T0STUDY/, 'no name and no Slack id reaches the model');

# --- a second firing has nothing to tell ----------------------------------------------

$sender->trigger(schedule => 'daily', key => 'k2');
$chain->wait_value("SELECT count(*) FROM study.firing WHERE state = 'done'", 2, 90);
is($chain->value('SELECT count(*) FROM study.digest'), scalar $day->members, 'a second firing makes no digest of messages that have one');

# --- PostgreSQL goes away, and comes back -----------------------------------------------

my $before = $chain->value('SELECT count(*) FROM study.message');
delete $chain->{dbh};
$chain->pg->crash;
my @late = map { message(team => 'T0STUDYEN', channel => 'C0STUDYEN', user => 'U0SARAH', text => "Wrote down what I learned while the database was away, part $_.") } 1 .. 40;
my %late;
$late{ $sender->event($_)->{status} }++ for @late;
is_deeply(\%late, { 200 => 40 }, 'without PostgreSQL events are still accepted');
$chain->pg->restart;
$chain->wait_stored($before + 40, 60);
is($chain->value('SELECT count(*) FROM study.message'), $before + 40, '... and stored once it is back');

# --- the worker is killed in the middle --------------------------------------------------

$chain->worker->stop('KILL');
my @more = map { message(team => 'T0STUDYEN', channel => 'C0STUDYEN', user => 'U0DAVID', text => "More about futures and executors, note $_.") } 1 .. 40;
$sender->event($_) for @more;
$chain->worker->start;
$chain->wait_stored($before + 80, 60);
is($chain->value('SELECT count(*) FROM study.message'), $before + 80, 'a killed worker loses nothing');

# --- Redis goes away, and comes back ------------------------------------------------------

$chain->redis->crash;
is($sender->event(message(text => 'Nobody can take this one now.'))->{status}, 503, 'without Redis: 503');
is($sender->event({ type => 'url_verification', challenge => 'abc' })->{content}, 'abc', '... but a challenge is answered');
$chain->redis->restart;
my $again = message(team => 'T0STUDYEN', channel => 'C0STUDYEN', user => 'U0DAVID', text => 'Slack sends this one again, and now it is taken.');
wait_for { $sender->event($again, retry => [ 1, 'http_error' ])->{status} == 200 } 30, 'nginx to find Redis again';
$chain->wait_stored($before + 81, 60);
pass('and stored when Redis is back');

# --- what cannot be stored is kept ----------------------------------------------------------

is($sender->event('{"type":"event_callback", broken')->{status}, 200, 'malformed JSON with a good signature: 200');
$chain->wait_value('SELECT count(*) FROM study.dead_event', 1, 30);
my ($reason, $element) = $chain->dbh->selectrow_array("SELECT reason, convert_from(element, 'UTF8') FROM study.dead_event");
like($reason, qr/^\w+$/, "... and it lies in dead_event ($reason)");
like($element, qr/broken\z/, '... whole');

# --- what the logs do not say ----------------------------------------------------------------

my $metrics = $chain->worker->metrics;
cmp_ok(scalar keys %$metrics, '>', 10, 'the worker has metrics');
cmp_ok(scalar keys %{ $chain->nginx->metrics }, '>', 5, 'nginx has counters');

is($chain->nginx->stop, 0, 'nginx ends well');
is($chain->worker->stop, 0, 'the worker ends well');
ok(!$chain->worker->proc->was_killed, '... when it is asked to');

my @secrets = ($chain->secret, $chain->token, 'xoxb-standin', 'sk-standin', map { $chain->redis->password($_) } qw(study-nginx study-worker));
my @words = ('shopping list', 'Rethinking', '가상 메모리', 'database was away', 'futures and executors', 'PRIVATE');
for my $log ($chain->logs) {
    my $text = slurp($log);
    utf8::decode($text);
    my ($name) = $log =~ m{([^/]+/[^/]+)$};
    is(join(', ', grep { index($text, $_) >= 0 } @secrets), '', "$name holds no secret");
    next if $log =~ /stand-ins/;
    is(join(', ', grep { index($text, $_) >= 0 } @words), '', "$name holds no member's words");
}
unlike(slurp($chain->nginx->log), qr/\[(?:alert|emerg|crit)\]|open socket/, 'nginx had nothing alarming to say');

$chain->stop;
done_testing;
