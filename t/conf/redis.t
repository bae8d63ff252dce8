#!/usr/bin/perl

# conf/redis-study.conf: Redis starts with it, keeps what it must keep, and its two
# users can do what nginx and the worker do, on our keys, and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use Redis ();
use Test::More;

use StudyTest::Proc qw(root_dir scratch_dir slurp spew socket_dir);
use StudyTest::Redis;

my $dir = scratch_dir('redis-conf');
my $redis = StudyTest::Redis->start(dir => $dir);
my $admin = $redis->client;

my %want = (
    'appendonly'       => 'yes',
    'appendfsync'      => 'always',
    'maxmemory'        => 1024 * 1024 * 1024,
    'maxmemory-policy' => 'noeviction',
    'port'             => 0,
    'save'             => '',
    'unixsocketperm'   => '777',
);
for my $key (sort keys %want) {
    my %got = $admin->config_get($key);
    is($got{$key}, $want{$key}, "$key is '$want{$key}'");
}

# Whether a command is refused by the ACL; its other errors do not matter here.
sub refused {
    my ($client, $command, @args) = @_;

    my @words = split /\|/, $command;
    my $name = lc shift @words;
    eval { $client->__std_cmd($name, @words, @args); 1 } and return 0;
    return $@ =~ /NOPERM|no permissions|can't run this command|can't access at least one/ ? 1 : 0;
}

my $pending = 'study:{ingest}:pending';

{
    my $nginx = $redis->client('study-nginx');
    is($nginx->rpush($pending, 'a', 'b'), 2, 'nginx: RPUSH to pending');
    is($nginx->rpush('study:{ingest}:control', 'c'), 1, '... and to control');
    is($nginx->llen($pending), 2, '... LLEN');
    is($nginx->ping, 'PONG', '... PING');
    is($nginx->select(0), 'OK', '... SELECT');

    my @no = (
        [ 'RPUSH', 'other', 'x' ], [ 'RPUSH', 'study:{ingest}:leases', 'x' ], [ 'LLEN', 'study:{ingest}:suspect' ],
        [ 'LPOP', $pending ], [ 'LRANGE', $pending, 0, -1 ], [ 'DEL', $pending ], [ 'FLUSHALL' ],
        [ 'CONFIG|GET', 'dir' ], [ 'EVAL', 'return 1', 0 ], [ 'KEYS', '*' ], [ 'SHUTDOWN' ], [ 'INFO' ],
        [ 'ACL|LIST' ], [ 'PUBLISH', 'c', 'm' ], [ 'MONITOR' ],
    );
    ok(refused($nginx, @$_), "nginx may not: @$_") for @no;
}

{
    my $worker = $redis->client('study-worker');
    my @yes = (
        [ 'SCRIPT|LOAD', 'return 1' ],
        [ 'BLMOVE', $pending, $pending, 'LEFT', 'LEFT', 1 ],
        [ 'ZADD', 'study:{ingest}:leases', 1, 'study:{ingest}:batch:w:1' ],
        [ 'HINCRBY', 'study:{ingest}:crashes', 'f', 1 ],
        [ 'INCRBY', 'study:{ingest}:popped', 1 ],
        [ 'UNLINK', 'study:{ingest}:batch:w:1' ],
        [ 'INFO' ], [ 'TIME' ], [ 'PING' ], [ 'BGREWRITEAOF' ],
    );
    ok(!refused($worker, @$_), "worker may: @$_") for @yes;

    my $run = sub { my ($script, @key) = @_; return ('EVALSHA', $worker->script_load($script), scalar @key, @key) };
    ok(!refused($worker, $run->('return redis.call("SORT", KEYS[1], "BY", "nosort", "STORE", KEYS[1])', $pending)), 'worker may: SORT in a script');

    my @no = (
        [ 'LPOP', 'other' ], [ 'SET', 'other', 1 ], [ 'FLUSHALL' ], [ 'FLUSHDB' ], [ 'KEYS', '*' ],
        [ 'CONFIG|SET', 'appendonly', 'no' ], [ 'SHUTDOWN' ], [ 'ACL|LIST' ], [ 'SCRIPT|FLUSH' ],
        [ 'REPLICAOF', 'NO', 'ONE' ], [ 'PUBLISH', 'c', 'm' ], [ 'MONITOR' ],
        [ 'EVAL', 'return 1', 0 ], [ 'CONFIG|GET', 'dir' ],
        [ $run->('return redis.call("GET", KEYS[1])', 'other') ],
        [ $run->('return redis.call("FLUSHALL")') ],
    );
    ok(refused($worker, @$_), "worker may not: @$_") for @no;
}

# Neither more nor less than the scripts and the worker's own commands need.
{
    my %needed = map { $_ => 1 } qw(script|load evalsha blmove llen lindex lrange zcard info bgrewriteaof ping select);
    for my $script (glob root_dir() . '/worker/ingest/*.lua') {
        my $source = slurp($script);
        $needed{ lc($1) . ($1 eq 'MEMORY' ? "|\L$2" : '') } = 1 while $source =~ /redis\.p?call\('(\w+)'(?:, '(\w+)')?/g;
    }
    my ($line) = slurp(root_dir() . '/conf/redis-study.conf') =~ /^(user study-worker .*)$/m;
    my @granted = $line =~ /\+(\S+)/g;
    is(join(' ', sort @granted), join(' ', sort keys %needed), 'the worker is granted exactly what it sends');

    # The doctor's own script tries what the others send, and finds nothing amiss in this file.
    my ($rights, %sent) = slurp(root_dir() . '/worker/ingest/rights.lua');
    for my $script (grep { !/rights/ } glob root_dir() . '/worker/ingest/*.lua') {
        $sent{$_} = 1 for slurp($script) =~ /redis\.p?call\('(\w+)'/g;
    }
    my %tried = map { $_ => 1 } $rights =~ /^try\('(\w+)'/mg;
    is(join(' ', sort keys %tried), join(' ', sort keys %sent), 'the doctor tries exactly what the scripts send');

    my $worker = $redis->client('study-worker');
    my @refused = $worker->evalsha($worker->script_load($rights), 4, map { "study:{ingest}:doctor:$_" } 1 .. 4);
    is_deeply(\@refused, [], '... and the worker is refused none of it');
}

{
    my $anon = eval { Redis->new(sock => $redis->socket, reconnect => 0, no_auto_connect_on_new => 0) };
    ok(!eval { $anon->rpush($pending, 'x'); 1 }, 'nobody without a login');
    like($@, qr/NOAUTH|authentication/i, '... and is told so');
}

# What was acknowledged is there after kill -9.
my $before = $admin->llen($pending);
$redis->client('study-nginx')->rpush($pending, "kept $_") for 1 .. 50;
$redis->crash;
$redis->restart;
is($redis->client->llen($pending), $before + 50, 'kill -9 loses nothing that was acknowledged');

# What a script did is in the append-only file as a transaction, which Redis replays as
# the default user: rights that this one lacks would be missed only at the next start.
{
    my $worker = $redis->client('study-worker');
    my $moved = $worker->script_load(
        'redis.call("SORT", KEYS[1], "BY", "nosort", "LIMIT", 0, 1, "STORE", KEYS[2]) redis.call("LTRIM", KEYS[1], 1, -1) redis.call("INCRBY", KEYS[3], 7)'
    );
    $redis->client->rpush('study:{ingest}:pending', 'x', 'y');
    my $length = $redis->client->llen($pending);
    $worker->evalsha($moved, 3, 'study:{ingest}:pending', 'study:{ingest}:suspect', 'study:{ingest}:popped');
    my %was = map { $_ => $redis->client->get($_) } 'study:{ingest}:popped';
    $redis->crash;
    $redis->restart;
    is($redis->client->llen($pending), $length - 1, 'after a crash: what a script popped stays popped');
    is($redis->client->llen('study:{ingest}:suspect'), 1, '... and is where it was put');
    is($redis->client->get($_), $was{$_}, "... $_") for keys %was;
    unlike(slurp($redis->log), qr/CRITICAL/, '... and the log has no complaint');
}
$redis->stop;

# As shipped, with only the paths moved: it starts, and nobody gets in.
{
    my $own = scratch_dir('redis-shipped');
    my $sock = socket_dir($own) . '/redis.sock';
    my %moved = (unixsocket => $sock, dir => $own, pidfile => "$own/pid", logfile => '""');
    my $conf = slurp(root_dir() . '/conf/redis-study.conf');
    $conf =~ s/^$_ .*$/$_ $moved{$_}/m for keys %moved;
    my $proc = StudyTest::Proc->start(
        name => 'redis', log => "$own/log",
        cmd  => [ 'redis-server', spew("$own/redis.conf", $conf) ],
    );
    $proc->ready(sub { -S $sock }, 20);
    for my $user (qw(default study-nginx study-worker)) {
        my $in = eval { Redis->new(sock => $sock, username => $user, password => 'x')->ping };
        ok(!$in, "as shipped, $user cannot log in");
    }
    my $nobody = eval { Redis->new(sock => $sock)->set(k => 'v') };
    ok(!$nobody, 'as shipped, nobody gets in without logging in');
    $proc->stop;
}

done_testing;
