#!/usr/bin/perl

# nginx is reloaded every second while signed events come in over kept-alive
# connections: each is answered 200 and lies in the list once, no worker stays behind
# and none leaves a socket open. A request whose connection was closed before a byte of
# its answer came is sent again by the client, as any HTTP client does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Bench qw(send_events);
use StudyTest::Nginx;
use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew wait_for);
use StudyTest::Redis;

my $EVENTS = 10_000;
my $SECRET = 'reload-secret';

my ($built, $said) = run_limited([ 'make', '-s', '-C', root_dir() . '/t/bench' ], limit => 120);
is($built, 0, 'the sender is built') or BAIL_OUT($said);

my $dir = scratch_dir('reload');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $nginx = StudyTest::Nginx->start(
    dir => "$dir/nginx", redis => [ $redis->address ], user => 'study-nginx',
    password_file => $redis->password_file('study-nginx'), secret => $SECRET, token => 'unused', processes => 2,
);
spew("$dir/secret", $SECRET, 0600);

# The reloads come from a child, since the sender is waited for.
my $master = $nginx->pid;
my $reloader = fork // die "fork: $!";
if (!$reloader) {
    my $done = 0;
    for (1 .. 60) {
        sleep 1;
        last if getppid == 1 || -e "$dir/stop" || !kill(HUP => $master);
        $done++;
    }
    spew("$dir/reloads", $done);
    POSIX::_exit(0);
}

my $got = send_events(
    120, '--url', $nginx->url . '/slack/events', '--secret-file', "$dir/secret", '--requests', $EVENTS, '--rate', 1000,
    '--connections', 64, '--retry-unsent', '--mix', '20:2:1:1', '--ids-file', "$dir/ids",
);
spew("$dir/stop", '');
waitpid $reloader, 0;
my $reloads = slurp("$dir/reloads");

cmp_ok($reloads, '>=', 5, "reloaded $reloads times meanwhile");
cmp_ok($got->{connections}, '>', 64, 'the reloads closed connections');
is_deeply($got->{status}, { 200 => $EVENTS }, 'every event is answered 200');
is_deeply($got->{errors}, {}, 'no connection error');
diag "reloads $reloads, connections $got->{connections}, sent again $got->{retried}, "
    . "latency ms median $got->{latency_ms}{median}, p99 $got->{latency_ms}{p99}, max $got->{latency_ms}{max}";

my $client = $redis->client;
my (%held, %sent);
for my $element ($client->lrange('study:{ingest}:pending', 0, -1)) {
    my ($header, $body) = split /\n/, $element, 2;
    my $num = decode_json($header)->{retry_num};
    $held{ decode_json($body)->{event_id} . ($num ? " again" : '') }++;
}
for (split /\n/, slurp("$dir/ids")) {
    my (undef, $kind, undef, undef, undef, $id) = split / /;
    $sent{ $id . ($kind eq 'repeat' ? ' again' : '') }++;
}
is($client->llen('study:{ingest}:pending'), $EVENTS, 'as many elements');
is_deeply(\%held, \%sent, 'each event is there as often as it was sent');

wait_for {
    my ($status, $out) = run_limited([ 'ps', '-o', 'args=', '--ppid', $master ]);
    (() = $out =~ /worker process/g) == 2 && $out !~ /shutting down/;
} 30, 'the old workers to end';
pass('the old workers have ended');

my $log = slurp("$dir/nginx/error.log");
my @bad = grep { /\[(?:alert|emerg|crit)\]|open socket/ } split /\n/, $log;
is(scalar @bad, 0, 'no alert, no open socket') or diag join "\n", @bad[ 0 .. ($#bad > 9 ? 9 : $#bad) ];

done_testing;
