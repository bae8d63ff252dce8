#!/usr/bin/perl

# The accept path while everything around it breaks: signed events come in at a steady
# rate while nginx is reloaded every second, its workers are killed with -9, and Redis is
# stopped and woken, killed and restarted in turn. Whatever happens, an event that was
# answered 200 is in the list, none is there more often than it was sent, no request waits
# for ever and no worker stays behind.
#
# The sender takes no answer for an answer and sends nothing twice by itself, but one
# event in twelve is a repeat of an earlier one, answered or not, as Slack's are.
#
#   perl -It/lib t/e2e/accept_faults.t --events 100000 [--rate N] [--seed N]
#
# is the long run (./build.sh chaos accept); a seed gives the same order of faults again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use Getopt::Long qw(GetOptions);
use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Nginx;
use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew wait_for);
use StudyTest::Redis;

my %option = (events => 8000, rate => 600, seed => time ^ $$, processes => 2);
GetOptions(\%option, 'events=i', 'rate=i', 'seed=i', 'processes=i') or die "see the head of $0\n";

my $SECRET = 'faults-secret';
my $LIST = 'study:{ingest}:pending';

diag "seed $option{seed}";
srand $option{seed};

my ($built, $said) = run_limited([ 'make', '-s', '-C', root_dir() . '/t/bench' ], limit => 120);
is($built, 0, 'the sender is built') or BAIL_OUT($said);

my $dir = scratch_dir('accept-faults');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $nginx = StudyTest::Nginx->start(
    dir => "$dir/nginx", redis => [ $redis->address ], user => 'study-nginx',
    password_file => $redis->password_file('study-nginx'), secret => $SECRET, token => 'unused',
    processes => $option{processes}, http => 'keepalive_requests 1000000;',
);
spew("$dir/secret", $SECRET, 0600);

sub between { my ($low, $high) = @_; return $low + rand($high - $low) }

# --- what happens to nginx, in a process of its own ---------------------------------

# Until the file "stop" is there. Leaves its counts, and the ids of all workers it saw.
sub disturb_nginx {
    my ($master) = @_;

    srand $option{seed} + 1;
    my ($reload, $kill) = (time + 1, time + between(0.3, 1.5));
    my (%seen, %done);
    while (!-e "$dir/stop" && getppid != 1 && kill 0, $master) {
        my @workers = split ' ', slurp("/proc/$master/task/$master/children");
        @seen{@workers} = ();
        if (@workers && time >= $kill) {
            $done{kills} += kill KILL => $workers[ int rand @workers ];
            $kill = time + between(0.3, 1.5);
        }
        if (time >= $reload) {
            $done{reloads} += kill HUP => $master;
            $reload = time + 1;
        }
        sleep 0.02;
    }
    spew("$dir/disturbed", JSON::PP->new->encode({ %done, seen => [ sort keys %seen ] }));
    return;
}

my $master = $nginx->pid;
my $disturber = fork // die "fork: $!";
if (!$disturber) {
    disturb_nginx($master);
    POSIX::_exit(0);
}

# --- what happens to Redis, while the sender runs -----------------------------------

sub stop_for {
    my ($seconds) = @_;

    kill STOP => $redis->pid;
    sleep $seconds;
    kill CONT => $redis->pid;
    return;
}

# A long stop ends after nginx has given up and connects anew: what it had sent is still
# there to be read.
my %redis_fault = (
    stopped            => sub { stop_for(between(0.2, 1.4)) },
    'stopped for long' => sub { stop_for(between(1.5, 2.1)) },
    killed             => sub { $redis->crash; sleep between(0, 0.8); $redis->restart },
    restarted          => sub { $redis->stop; sleep between(0, 0.8); $redis->restart },
);

my $sender = StudyTest::Proc->start(
    name => 'sender', log => "$dir/report", limit => 60, cmd => [
        root_dir() . '/build/bench/sender', '--url', $nginx->url . '/slack/events', '--secret-file', "$dir/secret",
        '--requests', $option{events}, '--rate', $option{rate}, '--connections', 64, '--timeout', 10,
        '--mix', '9:1:1:1', '--seed', $option{seed}, '--duration', 60 + 10 * $option{events} / $option{rate},
        '--ids-file', "$dir/ids",
    ],
);
my %faults;
my @turn;
# On a slow machine the sender may end before each has had its turn.
while ($sender->alive || keys %faults < keys %redis_fault) {
    sleep between(0.3, 1.3);
    @turn = shuffle(sort keys %redis_fault) if !@turn;
    my $fault = shift @turn;
    $redis_fault{$fault}->();
    $faults{$fault}++;
}

spew("$dir/stop", '');
waitpid $disturber, 0;
my $done = decode_json(slurp("$dir/disturbed"));
my $got = decode_json(slurp("$dir/report"));

cmp_ok($done->{reloads}, '>=', 5, "nginx was reloaded $done->{reloads} times");
cmp_ok($done->{kills}, '>=', 5, "$done->{kills} workers were killed");
cmp_ok($faults{$_} // 0, '>=', 1, "Redis was $_ " . ($faults{$_} // 0) . ' times') for sort keys %redis_fault;

# --- the answers --------------------------------------------------------------------

my $good = $got->{status}{200} // 0;
is($got->{sent}, $option{events}, 'every event was sent');
cmp_ok($good, '>', $option{events} / 4, 'many were answered 200');
is_deeply([ grep { !/^(?:200|503)$/ } keys %{ $got->{status} } ], [], 'an answer is 200 or 503');
is_deeply([ grep { $_ ne 'closed' } keys %{ $got->{errors} } ], [], 'what has none lost its connection; nothing waits for ever');
diag sprintf '%d events in %.0f s: %d answered 200, %d answered 503, %d without an answer; latency ms median %.1f, p99 %.0f, max %.0f',
    $got->{sent}, $got->{wall_s}, $good, $got->{status}{503} // 0, $got->{errors}{closed} // 0,
    @{ $got->{latency_ms} }{qw(median p99 max)};
diag "reloads $done->{reloads}, workers killed $done->{kills}, Redis: " . join ', ', map { "$_ $faults{$_}" } sort keys %faults;

# --- the list -----------------------------------------------------------------------

my (%sent, %accepted);
for (split /\n/, slurp("$dir/ids")) {
    my ($status, $id) = (split / /)[ 4, 5 ];
    $sent{$id}++;
    $accepted{$id}++ if $status == 200;
}

my (%held, @torn);
my $client = $redis->client;
my $length = $client->llen($LIST);
for (my $from = 0; $from < $length; $from += 2000) {
    for my $element ($client->lrange($LIST, $from, $from + 1999)) {
        my ($head, $body) = split /\n/, $element, 2;
        my $id = eval { decode_json($head)->{v} == 1 && decode_json($body)->{event_id} };
        if (defined $id) {
            $held{$id}++;
        } else {
            push @torn, substr $element, 0, 200;
        }
    }
}

sub none {
    my ($name, @bad) = @_;
    is(scalar @bad, 0, $name) or diag join "\n", @bad[ 0 .. ($#bad > 9 ? 9 : $#bad) ];
    return;
}

none('every element is whole', @torn);
none('an event answered 200 is in the list, as often as it was',
    grep { ($held{$_} // 0) < $accepted{$_} } sort keys %accepted);
none('none is there more often than it was sent', grep { $held{$_} > ($sent{$_} // 0) } sort keys %held);
cmp_ok($length, '>=', $good, 'no 200 without its element');
diag sprintf '%d elements, %d of them without a 200', $length, $length - $good;

# --- what is left -------------------------------------------------------------------

ok(eval { wait_for { $nginx->workers == $option{processes} } 30, 'the old workers to end' }, 'the old workers have ended')
    or diag run_limited([ 'ps', '-o', 'pid,etimes,stat,args', '--ppid', $master ]);
ok(eval {
    wait_for {
        my $now = $nginx->metrics;
        $now->{'study_nginx_redis_connections{state="ready"}'} == $option{processes};
    } 30, 'connections';
}, 'each worker has found Redis again');

my ($status, $out) = run_limited([ root_dir() . '/build/bench/sender', '--url', $nginx->url . '/slack/events',
    '--secret-file', "$dir/secret", '--requests', 50, '--connections', 4 ], limit => 60);
is_deeply(eval { decode_json($out)->{status} }, { 200 => 50 }, 'and all is well') or diag $out;

my $now = $nginx->metrics;
is($now->{study_nginx_pending_bytes}, 0, 'nothing is pending');
is(join(' ', map { $now->{qq(study_nginx_redis_connections{state="$_"})} } qw(closed connecting ready down)),
    "0 0 $option{processes} 0", 'no connection is counted for a worker that has gone');

my @last = $nginx->workers;
$nginx->stop('QUIT');
ok(!$nginx->proc->was_killed, 'nginx ends when it is asked to');
none('no worker stays behind', grep { -e "/proc/$_" && slurp("/proc/$_/stat") !~ /\) Z / } @{ $done->{seen} }, @last);

my @log = split /\n/, slurp("$dir/nginx/error.log");
none('no socket is left open', grep { /open socket/ } @log);
none("no alert but the master's word on a worker that was killed",
    grep { /\[(?:alert|emerg)\]/ && !/\[alert\] $master#\d+: worker process \d+ exited on signal 9/ } @log);

done_testing;
