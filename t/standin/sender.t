# The load generator: what it sends is signed and distinct, and its figures are
# those of the server.

use strict;
use warnings;

use Encode ();
use JSON::PP qw(decode_json);
use Test::More;

use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew);
use StudyTest::Slack qw(signature);
use StudyTest::StandIn;

my $dir    = scratch_dir('sender');
my $secret = 'a-signing-secret';
my $sender = root_dir() . '/build/bench/sender';
my ($built, $said) = run_limited(['make', '-s', '-C', root_dir() . '/t/bench'], limit => 120);
is($built, 0, 'builds') or BAIL_OUT($said);
spew("$dir/secret", "$secret\n");
my $server = StudyTest::StandIn->slack(dir => $dir, no_limits => 1);

sub load {
    my ($requests, @options) = @_;
    $server->clear_faults;
    $server->reset(qw(received counters));
    $server->fault(@{pop @options}) if ref $options[-1];
    my ($status, $out) = run_limited([$sender, '--url', $server->origin . '/slack/events', '--secret-file', "$dir/secret",
        '--requests', $requests, '--duration', 30, '--ids-file', "$dir/ids", @options], limit => 60);
    my $result = eval { decode_json($out) } // {};
    diag $out if $status != 0 || !$result->{sent};
    return $result;
}

my $r = load(300, '--connections', 7, '--mix', '5:2:1:2', '--users', 10, '--channels', 3);
is($r->{status}{200}, 300, 'all answered');
is($server->counters->{requests}, 300, 'as the server saw it');
is($r->{connections}, 7, 'kept alive');
my @got = $server->received;
my ($unsigned, %kinds, %ids, %first) = (0);
for my $req (@got) {
    my $h = $req->{headers};
    $unsigned++ if $h->{'x-slack-signature'} ne signature($secret, $h->{'x-slack-request-timestamp'}, Encode::encode('UTF-8', $req->{body}));
    my $event = $req->{args}{event};
    my $kind  = $h->{'x-slack-retry-num'} ? 'repeat' : {message_changed => 'edit', message_deleted => 'delete'}->{$event->{subtype} // ''} // 'new';
    $kinds{$kind}++;
    next if $kind eq 'repeat';
    ok(0, "event_id $req->{args}{event_id} twice") if $ids{$req->{args}{event_id}}++;
    $first{"$event->{channel} $event->{ts}"}++ if $kind eq 'new';
}
is($unsigned, 0, 'every signature is right');
is_deeply(\%kinds, $r->{kinds}, 'the mix');
is(keys %first, $kinds{new}, 'every message has its own ts');
my @lines = split /\n/, slurp("$dir/ids");
is(@lines, 300, 'a line for each');
is(scalar(grep { /^\d+ new C00000[123] \d+\.\d{6} 200 Ev\w{16} U0000(?:0[1-9]|10)$/ } @lines), $kinds{new}, 'which names it');

$r = load(50, '--keepalive', 'off', '--connections', 5);
is("$r->{answered} $r->{connections}", '50 50', 'a connection each');
$r = load(50, '--requests-per-connection', 10, '--connections', 1);
is($r->{connections}, 5, 'requests per connection');
$r = load(200, '--pipeline', 8, '--connections', 2);
is($r->{answered}, 200, 'pipelined');
$r = load(100, '--rate', 200, '--connections', 4);
cmp_ok($r->{wall_s}, '>=', 0.45, 'paced') and cmp_ok($r->{answered}, '==', 100, 'and all sent');
$r = load(3, '--body-bytes', 100_000);
is((sort map { length Encode::encode('UTF-8', $_->{body}) } $server->received)[0] >= 99_900, 1, 'long bodies');

# Failures, by cause.
$r = load(50, '--connections', 2, [{kind => 'status', status => 503, count => 5}]);
is_deeply($r->{status}, {200 => 45, 503 => 5}, 'answers by status');
my $cut = {kind => 'cut_before', skip => 10, count => 3};
$r = load(50, '--connections', 2, [$cut]);
is_deeply([$r->{answered}, $r->{errors}], [47, {closed => 3}], 'a closed connection is a failure');
my $spaced = {skip => 10, sequence => [map { $_ % 10 ? 'ok' : {kind => 'cut_before'} } 0 .. 20]};
$r = load(50, '--connections', 2, '--retry-unsent', [$spaced]);
is_deeply([@$r{qw(answered retried errors)}], [50, 3, {}], 'unless what was not answered is sent again');
is(scalar($server->received), 50, 'once');
$r = load(50, '--connections', 2, '--pipeline', 4, '--retry-unsent', [$spaced]);
is($r->{answered}, 50, 'pipelined ones too');
$r = load(20, '--connections', 1, '--retry-unsent', [{kind => 'cut_body', skip => 5, count => 1}]);
is_deeply([@$r{qw(answered retried errors)}], [19, 0, {closed => 1}], 'never after a byte of the answer');
$r = load(20, '--connections', 2, '--timeout', 0.3, [{kind => 'stall', seconds => 20, count => 1}]);
is_deeply([$r->{answered}, $r->{errors}], [19, {timeout => 1}], 'a time-out');
$r = load(5, '--connections', 1, [{kind => 'drip', bytes => 7, interval => 0.005}]);
is($r->{answered}, 5, 'answers in small pieces');
$server->stop;
my ($status, $out) = run_limited([$sender, '--url', $server->origin . '/x', '--secret-file', "$dir/secret", '--requests', 5], limit => 30);
is_deeply(decode_json($out)->{errors}, {connect => 5}, 'nobody there');
isnt((run_limited([$sender, '--url', 'ftp://x', '--secret-file', "$dir/secret"]))[0], 0, 'a bad URL');

done_testing;
