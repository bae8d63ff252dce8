#!/usr/bin/env perl

# bench accept: what it costs to take a signed event and have Redis acknowledge it.
#
#   echo    the limit: nginx that reads the same body and answers "ok" (no signature, no Redis)
#   module  ngx_study_module
#   lua     the same job in Lua inside nginx (accept/study_accept.lua)
#   bolt    Slack's own SDK with BullMQ, in Node (accept/bolt/)
#
# The candidates run in turn, several rounds, each in front of one redis-server with the
# given appendfsync; every event has its own event_id and a signature made while the load
# runs. nginx has one worker process. CPU is what the kernel accounted to that process and
# to redis-server between the first and the last event.
#
# Options: --rounds 5 --requests 40000 --bolt-requests 4000 --connections 64,1000
#          --fsync everysec,always --candidates echo,module,lua,bolt --body-bytes 800

use strict;
use warnings;

use Carp qw(croak);
use File::Path qw(make_path);
use List::Util qw(first);

use StudyTest::Bench qw(cpu_seconds machine median npm_program options save send_events spread table);
use StudyTest::Proc qw(free_port root_dir scratch_dir spew wait_for);
use StudyTest::Redis ();

my $SECRET = 'bench-signing-secret';
my $KEY = 'study:{ingest}:pending';
my $HERE = root_dir() . '/t/bench/accept';
my $MODULES = '/usr/lib/nginx/modules';

my %option = options({
    rounds => 5, requests => 40_000, 'bolt-requests' => 4_000, connections => '64,1000',
    fsync => 'everysec,always', candidates => 'echo,module,lua,bolt', 'body-bytes' => 800,
}, @ARGV);

$| = 1;

my $dir = scratch_dir('bench-accept');
my $secret_file = spew("$dir/secret", $SECRET, 0600);

# --- the candidates ---

my %LOCATION = (
    echo   => sub { 'echo_read_request_body; echo ok;' },
    module => sub { "study_redis unix:$_[0]; study_signing_secret_file $secret_file;"
                    . ' study_queue_limit 0; study_events;' },
    lua    => sub { "content_by_lua_block { require('study_accept').event() }" },
);

my %MODULES = (
    echo   => [ "$MODULES/ngx_http_echo_module.so" ],
    module => [ root_dir() . '/build/ngx_http_study_module.so' ],
    lua    => [ "$MODULES/ndk_http_module.so", "$MODULES/ngx_http_lua_module.so" ],
);

my %HTTP = (
    lua => sub { qq(lua_package_path "$HERE/?.lua;;";
    init_worker_by_lua_block {
        require("study_accept").configure {
            secret_file = "$secret_file", socket = "unix:$_[0]",
            key = "$KEY", tolerance = 300,
        }
    }) },
);

sub nginx_config {
    my ($name, $port, $socket, $home) = @_;

    my $load = join "\n", map { "load_module $_;" } @{ $MODULES{$name} };
    my $http = $HTTP{$name} ? $HTTP{$name}->($socket) : '';
    my $location = $LOCATION{$name}->($socket);
    my $user = $> == 0 ? 'user root;' : '';
    my $temp = join "\n    ", map { "${_}_temp_path $home/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    return <<"END";
$load
$user
daemon off;
worker_processes 1;
pid $home/nginx.pid;
error_log $home/error.log warn;
events { worker_connections 8192; }
http {
    access_log off;
    keepalive_requests 1000000000;
    $temp
    $http
    server {
        listen 127.0.0.1:$port backlog=4096;
        location = /slack/events { $location }
    }
}
END
}

# A running candidate: { url, pids => [ what accepts ], proc }.
sub start_nginx {
    my ($name, $redis, $home) = @_;

    my $port = free_port();
    make_path($home);
    spew("$home/nginx.conf", nginx_config($name, $port, $redis->socket, $home));
    my $proc = StudyTest::Proc->start(
        name => "nginx-$name",
        cmd  => [ '/usr/sbin/nginx', '-p', $home, '-c', "$home/nginx.conf", '-e', "$home/error.log" ],
        log  => "$home/nginx.log",
        deathsig => 'TERM',
    );
    $proc->ready(sub { answers($port) }, 20);
    my $pid = $proc->pid;
    my $children = wait_for { StudyTest::Proc::slurp("/proc/$pid/task/$pid/children") } 10, 'an nginx worker';
    return { url => "http://127.0.0.1:$port/slack/events", pids => [ split ' ', $children ], proc => $proc };
}

sub start_bolt {
    my ($redis) = @_;

    my $home = npm_program('bolt', "$HERE/bolt");
    my $port = free_port();
    my $proc = StudyTest::Proc->start(
        name => 'bolt', cmd => [ 'node', 'server.mjs', $port, $redis->socket, $secret_file ],
        dir => $home, log => "$dir/bolt.log",
    );
    $proc->ready(sub { answers($port) }, 60);
    return { url => "http://127.0.0.1:$port/slack/events", pids => [ $proc->pid ], proc => $proc };
}

sub answers {
    my ($port) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1);
}

# --- one measurement ---

# What the round before left.  In operation the workers take elements out one batch at a time and
# Redis uses their memory again.  So not FLUSHALL, which gives it back to the system, and not
# long before the next round, for the allocator gives back what lay unused for seconds.
sub empty {
    my ($client) = @_;

    my @keys = $client->keys('*') or return;
    $client->del(@keys);
    wait_for { !$client->info('memory')->{lazyfree_pending_objects} } 30, 'Redis to free the round before';
    return;
}

sub measure {
    my ($name, $candidate, $redis, $connections, $requests) = @_;

    empty($redis->client) if $name ne 'echo';
    my @before = (cpu_seconds(@{ $candidate->{pids} }), cpu_seconds($redis->pid));
    my $report = send_events(600,
        '--url', $candidate->{url}, '--secret-file', $secret_file, '--requests', $requests,
        '--connections', $connections, '--keepalive', 'on', '--body-bytes', $option{'body-bytes'});
    my @after = (cpu_seconds(@{ $candidate->{pids} }), cpu_seconds($redis->pid));

    my $good = $report->{status}{200} // 0;
    if ($name eq 'echo' || $name eq 'module') {
        croak "$name: $good of $requests answered 200" if $good != $requests;
    }
    if ($name eq 'module' || $name eq 'lua') {
        my $stored = $redis->client->llen($KEY);
        croak "$name: $stored elements, $good answered 200" if $stored < $good;
    }
    return {
        front => 1e6 * ($after[0] - $before[0]) / $requests,
        redis => 1e6 * ($after[1] - $before[1]) / $requests,
        rate  => $report->{per_second},
        p99   => $report->{latency_ms}{p99},
        failed => 100 * ($requests - $good) / $requests,
    };
}

# A Redis of its own for each appendfsync, and the candidates before it; a round asks all of
# them in turn, so that what is compared was measured within the same seconds.
sub run_case {
    my ($connections, $fsyncs, @names) = @_;

    my (%redis, %candidate, %result);
    for my $fsync (@$fsyncs) {
        my $redis = $redis{$fsync} = start_redis($fsync, $connections);
        $candidate{$fsync} = {
            map { $_ => $_ eq 'bolt' ? start_bolt($redis) : start_nginx($_, $redis, "$dir/$_-$fsync") } @names
        };
    }

    for my $round (0 .. $option{rounds}) {
        for my $fsync (@$fsyncs) {
            for my $name (@names) {
                my $requests = $name eq 'bolt' ? $option{'bolt-requests'} : $option{requests};
                # The first round warms up and is not counted.
                my $got = measure($name, $candidate{$fsync}{$name}, $redis{$fsync}, $connections,
                    $round ? $requests : int($requests / 10) || 1);
                push @{ $result{$fsync}{$name} }, $got if $round;
            }
        }
        print STDERR '.';
    }
    print STDERR "\n";
    $_->{proc}->stop for map { values %$_ } values %candidate;
    $_->stop for values %redis;
    return \%result;
}

sub start_redis {
    my ($fsync, $connections) = @_;

    my $redis = StudyTest::Redis->start(
        dir => "$dir/redis-$fsync-$connections",
        # Here nobody takes anything out, so a rewrite of the append-only file would be all of it: a
        # process that compresses for seconds and slows whichever candidate it happens to meet.
        config => [ "appendfsync $fsync", 'maxmemory 0', 'auto-aof-rewrite-percentage 0' ],
    );
    # Nobody logs in, so that no candidate has less to do than another.
    $redis->client->acl(qw(setuser default on nopass ~* &* +@all));
    return $redis;
}

# --- the table ---

sub both { return map { $_->{front} + $_->{redis} } @_ }

# Each round against its own: a shared machine is quick in one minute and slow in the next.
sub ratio {
    my ($mine, $other) = @_;

    my @mine = both(@$mine);
    my @other = both(@$other);
    return sprintf '%.2f', median(map { $mine[$_] / $other[$_] } 0 .. $#mine);
}

sub rows {
    my ($fsync, $connections, $result, @names) = @_;

    my $per = sub { my ($mine, $other) = @_; return $other ? ratio($mine, $other) : '' };

    return map {
        my @round = @{ $result->{$_} };
        [ $fsync, $connections, $_,
          spread('%.1f', map { $_->{front} } @round), spread('%.1f', map { $_->{redis} } @round),
          spread('%.1f', both(@round)), $per->(\@round, $result->{echo}), $per->(\@round, $result->{lua}),
          spread('%.0f', map { $_->{rate} } @round), sprintf('%.1f', median(map { $_->{p99} } @round)),
          sprintf('%.2f %%', median(map { $_->{failed} } @round)) ];
    } @names;
}

my @names = split /,/, $option{candidates};
if ((my $bolt = first { $names[$_] eq 'bolt' } 0 .. $#names) && system('node --version >/dev/null 2>&1') != 0) {
    print "No node here: the bolt candidate is left out.\n";
    splice @names, $bolt, 1;
}

print machine(), "\n",
    "rounds $option{rounds}, $option{requests} events a round (bolt: $option{'bolt-requests'}),",
    " body $option{'body-bytes'} bytes; CPU in microseconds an event, median (least-most);\n",
    "ratios: the median of the rounds' own\n\n";

my @table = ([ 'appendfsync', 'connections', 'candidate', 'nginx or node', 'redis', 'both', '/ echo', '/ lua',
    'events/s', 'p99 ms', 'failed' ]);
my @fsyncs = split /,/, $option{fsync};
my %all;
for my $connections (split /,/, $option{connections}) {
    my $result = run_case($connections, \@fsyncs, @names);
    for my $fsync (@fsyncs) {
        $all{"$fsync/$connections"} = $result->{$fsync};
        push @table, rows($fsync, $connections, $result->{$fsync}, @names);
    }
}
print "\n", table(@table);

if ($all{'everysec/64'} && $all{'always/64'} && $all{'always/64'}{module}) {
    my ($always, $everysec) = map { $all{"$_/64"}{module} } qw(always everysec);
    printf "\nmodule at 64 connections: appendfsync always reaches %.0f %% of everysec's rate\n",
        100 * median(map { $always->[$_]{rate} / $everysec->[$_]{rate} } 0 .. $#$always);
}

save('accept', { settings => \%option, machine => machine(), cases => \%all });
