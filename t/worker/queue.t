#!/usr/bin/perl

# The accept log under the store: a full Redis, several servers, a cluster's slots, servers
# and processes that stop and come back, and what an idle store costs.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Redis ();
use Test::More;

use StudyTest::Event qw(message);
use StudyTest::Proc qw(free_port scratch_dir slurp wait_for);
use StudyTest::Redis;
use StudyTest::Store;
use StudyTest::Worker;

sub stored { my ($store, $like) = @_; return $store->value('SELECT count(*) FROM study.message WHERE text LIKE ?', $like) }
sub events { my ($store, $name, $n) = @_; $store->event(map { message(text => "$name $_") } 1 .. $n); return }

# Calls of all commands but those of the tests' own looking.
sub calls {
    my ($store) = @_;
    my $stats = $store->client->info('commandstats');
    my $n = 0;
    for my $name (keys %$stats) {
        $n += $1 if $name =~ /^cmdstat_(?:evalsha|blmove|script)/ && $stats->{$name} =~ /calls=(\d+)/;
    }
    return $n;
}

my $store = StudyTest::Store->start;

subtest 'an idle store waits' => sub {
    events($store, 'first', 1);
    $store->drained;
    my $before = calls($store);
    select undef, undef, undef, 3;
    my $calls = calls($store) - $before;
    cmp_ok($calls, '<=', 30, "$calls calls in three seconds of nothing to do");
    cmp_ok($calls, '>=', 2, 'though it looks for ended leases');
};

subtest 'a full Redis' => sub {
    my $client = $store->client;
    my $lock = $store->hold_messages;
    events($store, 'full', 300);
    $store->leased;
    $client->config_set('maxmemory', '512kb');      # less than an empty one takes
    ok(!eval { events($store, 'too many', 1); 1 }, 'it takes no more');
    like($@, qr/OOM/, 'and says why');
    $lock->rollback;
    $store->drained;
    is(stored($store, 'full%'), 300, 'but it can be drained');
    select undef, undef, undef, 1.5;     # the peeks are refused meanwhile
    my $before = calls($store);
    select undef, undef, undef, 2;
    my $calls = calls($store) - $before;
    cmp_ok($calls, '<=', 40, "and a store that cannot wait polls slowly ($calls calls in two seconds)");
    $client->config_set('maxmemory', '1gb');
    events($store, 'again', 5);
    $store->drained;
    is(stored($store, 'again%'), 5, 'and goes on');
};

subtest 'Redis killed with a batch in hand' => sub {
    my $lock = $store->hold_messages;
    events($store, 'in hand', 20);
    $store->leased;
    events($store, 'waiting', 20);
    $store->redis->crash;
    $store->redis->restart;
    is($store->leases, 1, 'the lease is in the append-only file');
    is($store->length_of('pending'), 20, 'so is what was acknowledged');
    $lock->rollback;
    $store->drained(60);
    is(stored($store, 'in hand%'), 20, 'stored');
    is(stored($store, 'waiting%'), 20, 'stored as well');
    is($store->length_of('suspect'), 0, 'nothing is suspected');
};

subtest 'a process stopped past its lease, and woken' => sub {
    $store->worker->stop;
    $store->worker->write_config({ store => { processes => 2 } });
    $store->worker->start(wait => 0);
    my $pids = wait_for { my @p = $store->pids; @p == 2 && \@p } 30, 'two processes';

    my $lock = $store->hold_messages;
    events($store, 'asleep', 6);
    $store->leased;
    my ($batch) = $store->client->zrange($store->key('leases'), 0, -1);
    # Whose it is: the one that waits for the lock.
    my $owner = wait_for {
        my ($pid) = map { $_->[0] } @{ $store->rows(q{SELECT a.pid FROM pg_stat_activity AS a
            WHERE a.application_name LIKE '%store%' AND a.wait_event_type = 'Lock'}) };
        $pid;
    } 30, 'a session that waits';
    kill STOP => @$pids;
    wait_for { !$store->client->eval('local t = redis.call("TIME") return tonumber(redis.call("ZSCORE", KEYS[1], ARGV[1])) > t[1] * 1000 and 1 or 0',
        1, $store->key('leases'), $batch) } 30, 'the lease to end';
    $lock->rollback;     # the sleeper's INSERT goes through, and its COMMIT waits for it to wake
    $store->redis->client->rename($batch, $store->key('suspect'));      # as another machine's store reaps it
    $store->client->zrem($store->key('leases'), $batch);
    kill CONT => @$pids;
    $store->drained(60);
    is(stored($store, 'asleep%'), 6, 'each row once');
    my $counted = sub {
        my $metrics = eval { $store->worker->metrics } // {};
        return ($metrics->{'study_worker_lease_lost_total{role="store"}'} // 0) >= 1;
    };
    ok(wait_for(\&$counted, 30, 'the counter'), 'the lost lease is counted');
};

# The same while it holds a batch that PostgreSQL does not take: it must let go of it unacked.
subtest 'a lease lost while PostgreSQL is away' => sub {
    $store->worker->stop;
    $store->worker->write_config({ store => { processes => 1 } });
    $store->worker->start(wait => 0);
    my $lost = sub { ((eval { $store->worker->metrics } // {})->{'study_worker_lease_lost_total{role="store"}'}) // 0 };
    my $lock = $store->hold_messages;
    events($store, 'let go', 8);
    $store->leased;
    wait_for { $store->value('SELECT count(*) FROM pg_locks WHERE NOT granted') } 30, 'it to wait';
    $store->pg->crash;
    eval { $_->disconnect } for $lock, $store->{dbh};
    my ($batch) = $store->client->zrange($store->key('leases'), 0, -1);
    $store->client->zrem($store->key('leases'), $batch);      # taken away by somebody slow: not yet put anywhere
    ok(wait_for(sub { $lost->() >= 1 }, 30, 'it to notice'), 'the lost lease is counted');
    is($store->client->llen($batch), 8, 'and the batch was not touched');
    $store->client->rename($batch, $store->key('suspect'));
    $store->pg->restart;
    $store->drained(60);
    is(stored($store, 'let go%'), 8, 'whoever has it then stores it, each row once');
};

$store->stop;

subtest 'several servers, another prefix' => sub {
    my $dir = scratch_dir('servers');
    my @redis = map { StudyTest::Redis->start(dir => "$dir/redis$_", name => "redis$_") } 0, 1;
    my $pg = $store->pg;
    my $dbh = $pg->dbh;
    $dbh->do('TRUNCATE study.message');
    my $allow = sub { $_[0]->client->acl('SETUSER', 'study-worker', '~other:{ingest}:*') };
    $allow->($_) for @redis;
    my $worker = StudyTest::Worker->new(
        dir => "$dir/worker", redis => \@redis, postgres => $pg, slack_url => 'http://127.0.0.1:9/', openai_url => 'http://127.0.0.1:9/',
        config => { redis => { key_prefix => 'other' }, map({ $_ => { processes => 0 } } qw(schedule digest deliver)) },
    );
    my $push = sub {
        my ($n, $name, $count) = @_;
        $redis[$n]->client->rpush('other:{ingest}:pending', map { $store->element(message(text => "$name $_")) } 1 .. $count);
    };
    my $reach = sub {
        my ($like, $n) = @_;
        return wait_for { ($dbh->selectrow_array('SELECT count(*) FROM study.message WHERE text LIKE ?', undef, $like))[0] == $n } 60, "$n of $like";
    };
    $push->(0, 'zero', 700);
    $push->(1, 'one', 700);
    $worker->start(wait => 0);
    ok($reach->('zero%', 700), 'one server is drained');
    ok($reach->('one%', 700), 'so is the other');
    $redis[0]->stop;
    $push->(1, 'alone', 50);
    ok($reach->('alone%', 50), 'one server goes on without the other');
    $redis[0]->restart;
    $allow->($redis[0]);
    $push->(0, 'back', 50);
    ok($reach->('back%', 50), 'which is taken back when it returns');
    $worker->stop;
};

subtest 'the keys of a cluster\'s one slot' => sub {
    my $dir = scratch_dir('cluster');
    my $redis = StudyTest::Redis->start(dir => "$dir/redis", port => free_port(),
        config => [ 'cluster-enabled yes', 'cluster-config-file nodes.conf', 'cluster-require-full-coverage no',
            'cluster-port ' . free_port() ]);
    my $admin = $redis->client;
    $admin->cluster('ADDSLOTSRANGE', 0, 16383);
    wait_for { $admin->cluster('INFO') =~ /cluster_state:ok/ } 30, 'the cluster';
    my $pg = $store->pg;
    my $worker = StudyTest::Worker->new(
        dir => "$dir/worker", redis => $redis, postgres => $pg, slack_url => 'http://127.0.0.1:9/', openai_url => 'http://127.0.0.1:9/',
        config => { store => { lease => '3s' }, map({ $_ => { processes => 0 } } qw(schedule digest deliver)) },
    );
    my $key = 'study:{ingest}:';
    $admin->rpush("${key}pending", map { $store->element(message(text => "clustered $_")) } 1 .. 600);
    $admin->rpush("${key}suspect", $store->element(message(text => 'clustered suspect')));
    # A batch of a worker that is gone, long expired.
    $admin->rpush("${key}batch:gone:2", $store->element(message(text => 'clustered left behind')));
    $admin->zadd("${key}leases", 1, "${key}batch:gone:2");
    $worker->start(wait => 0);
    wait_for { ($pg->dbh->selectrow_array("SELECT count(*) FROM study.message WHERE text LIKE 'clustered%'"))[0] == 602 } 60, 'all rows';
    pass('every script runs in a cluster');
    wait_for { !$admin->exists("${key}crashes") && !$admin->zcard("${key}leases") } 30, 'the last ack';
    my @left = grep { !/:(?:popped|released)$/ } $admin->keys('*');
    is("@left", '', 'no key is left');
    $worker->stop;
};

subtest 'a Redis that can lose what it acknowledged' => sub {
    my $dir = scratch_dir('unsafe');
    my $redis = StudyTest::Redis->start(dir => "$dir/redis", config => ['appendonly no']);
    my $pg = $store->pg;
    my $worker = StudyTest::Worker->new(
        dir => "$dir/worker", redis => $redis, postgres => $pg, slack_url => 'http://127.0.0.1:9/', openai_url => 'http://127.0.0.1:9/',
        config => { map({ $_ => { processes => 0 } } qw(schedule digest deliver)) },
    );
    $redis->client->rpush('study:{ingest}:pending', $store->element(message(text => 'unsafe')));
    $worker->start(wait => 0);
    ok(wait_for(sub { slurp($worker->log) =~ /store.*append-only file.*allow_unsafe/ }, 30, 'is refused, with what to do'), 'is refused, with what to do');
    is($redis->client->llen('study:{ingest}:pending'), 1, 'nothing is taken');
    $worker->stop;
    $worker->write_config({ redis => { allow_unsafe => 'yes' } });
    $worker->start(wait => 0);
    wait_for { !$redis->client->llen('study:{ingest}:pending') } 30, 'the event to be taken';
    ok(wait_for(sub { ((eval { $worker->metrics } // {})->{study_worker_unsafe} // 0) == 1 }, 30, 'unless allowed, and then a metric tells'), 'unless allowed, and then a metric tells');
    $worker->stop;
};

done_testing;
