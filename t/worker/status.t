#!/usr/bin/perl

# The status pages: that Prometheus can read them, that they tell the truth, and that they
# are served whatever PostgreSQL and Redis do.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use HTTP::Tiny ();
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Postgres ();
use StudyTest::Proc qw(run_limited scratch_dir spew wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my $dir = scratch_dir('status');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", redis => $redis, postgres => $pg,
    slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
    config => {
        store    => { processes => 0 },
        schedule => { processes => 0 },
        digest   => { processes => 0 },
        deliver  => { processes => 1 },
        status   => { interval => '200ms' },
    },
);
$worker->migrate;
my $db = $pg->dbh;
my $server = $redis->address;

sub page { return JSON::PP::decode_json($worker->get('/status.json')->{content}) }

# Waits until the pages show a value that was just made so.
sub shows {
    my ($name, $want, $title) = @_;
    my $got;
    my $ok = eval { wait_for { $got = $worker->metrics->{$name}; defined $got && $got == $want } 15; 1 };
    ok($ok, $title // "$name is $want") or diag('it is ' . ($got // 'not there'));
    return;
}

$worker->start;
wait_for { $worker->get('/healthz')->{success} } 30, 'health';

# --- what is served ------------------------------------------------------------------------

{
    my $metrics = $worker->get('/metrics');
    like($metrics->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'the metrics have the format\'s type');
    like($metrics->{content}, qr/^study_worker_build_info\{version="[\d.]+"\} 1$/m, '... and the version');
    is($worker->get('/healthz')->{content}, "ok\n", 'healthy');
    like($worker->get('/status.json')->{headers}{'content-type'}, qr{^application/json}, 'the page for programs is JSON');
    is($worker->get('/other')->{status}, 404, 'any other path: 404');
    is(HTTP::Tiny->new->post($worker->url . '/metrics')->{status}, 405, 'any other method: 405');

    SKIP: {
        my ($promtool) = grep { -x } map { "$_/promtool" } split /:/, $ENV{PATH};
        skip 'no promtool', 1 if !$promtool;
        my $file = spew("$dir/metrics.txt", $metrics->{content});
        my ($status, $said) = run_limited([ 'sh', '-c', 'exec promtool check metrics < "$1"', 'sh', $file ]);
        is($status, 0, 'promtool has nothing to say against the metrics') or diag($said);
    }

    my %role = map { ("$_->{role} $_->{index}" => $_) } @{ page()->{roles} };
    is_deeply([ sort keys %role ], [ 'deliver 0', 'status 0' ], 'the roles that are wanted');
    is($role{'status 0'}{state}, 'running', '... and their states');
    ok((grep { $_ == $role{'deliver 0'}{pid} } $worker->children), '... and processes');
}

# --- gauges --------------------------------------------------------------------------------

{
    my $client = $redis->client;
    my $then = int((time - 100) * 1000);
    my $element = sub { my ($kind, $ms) = @_; qq({"v":1,"kind":"$kind","received_at":$ms,"retry_num":0,"retry_reason":"","content_type":"application/json","request_id":"r","idempotency_key":""}\n{}) };
    $client->rpush('study:{ingest}:pending', $element->('event', $then), map { $element->('event', $then + 50_000) } 1 .. 4);
    $client->rpush('study:{ingest}:control', $element->('trigger', $then));
    shows(qq(study_worker_queue_length{server="$server",list="pending"}), 5);
    shows(qq(study_worker_queue_length{server="$server",list="control"}), 1);
    shows(qq(study_worker_queue_length{server="$server",list="suspect"}), 0);
    my $oldest = $worker->metrics->{qq(study_worker_queue_oldest_seconds{server="$server"})};
    cmp_ok($oldest, '>=', 100, 'the head of the list is the oldest');
    cmp_ok($oldest, '<', 1000, '... in seconds');
    my ($shown) = @{ page()->{redis} };
    is("$shown->{server} $shown->{ok} $shown->{pending} $shown->{control} $shown->{oldest_ms}", "$server 1 5 1 $then", 'the same as JSON');
    $client->del('study:{ingest}:pending', 'study:{ingest}:control');
    shows(qq(study_worker_queue_length{server="$server",list="pending"}), 0);
    shows(qq(study_worker_queue_oldest_seconds{server="$server"}), 0);

    # Replies go to a workspace that is stopped, so deliver leaves them as they are.
    $db->do(q{INSERT INTO study.team (team_id, state, stopped_reason) VALUES ('T1', 'stopped', 'test')});
    $db->do(q{INSERT INTO study.member (team_id, user_id) SELECT 'T1', 'U' || i FROM generate_series(1, 9) i});
    $db->do(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, state) SELECT schedule_id, 'UTC', now(), 'done' FROM study.schedule WHERE name = 'daily'});
    my $digest = q{INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, deadline, state, created_at, claim_token)
        SELECT firing_id, schedule_id, 'T1', 'U' || ?, now(), ?, now() - ?::interval, CASE WHEN ? THEN gen_random_uuid() END FROM study.firing};
    my $n = 0;
    $db->do($digest, undef, ++$n, @$_) for [ 'pending', '3 days', 0 ], [ 'pending', '0', 0 ], [ 'running', '0', 1 ], [ 'made', '0', 0 ], [ 'made', '3 days', 0 ];
    shows('study_worker_digests{state="pending"}', 2, 'pending digests, whatever their age');
    shows('study_worker_digests{state="running"}', 1);
    shows('study_worker_digests{state="made"}', 1, 'those made within a day');
    shows('study_worker_digests{state="cancelled"}', 0);

    my $outbox = q{INSERT INTO study.outbox (identity, kind, team_id, target, body, state, created_at, sent_ts) VALUES (?, 'notice', 'T1', 'U1', '{}', ?, now() - ?::interval, ?)};
    $n = 0;
    $db->do($outbox, undef, 'x' . ++$n, @$_) for [ 'pending', '2 hours', undef ], [ 'doubtful', '1 minute', undef ], [ 'parked', '9 days', undef ],
        [ 'sent', '1 minute', '1700000000.000100' ], [ 'sent', '9 days', '1700000000.000200' ], [ 'failed', '1 minute', undef ];
    shows('study_worker_outbox{state="doubtful"}', 1);
    shows('study_worker_outbox{state="parked"}', 1, 'parked replies, whatever their age');
    shows('study_worker_outbox{state="sent"}', 1, 'those sent within a day');
    shows('study_worker_outbox{state="failed"}', 1);
    cmp_ok($worker->metrics->{study_worker_outbox_oldest_seconds}, '>=', 7200, 'the age of the oldest unsent reply');
    my $page = page();
    is("$page->{outbox}{pending} $page->{digests}{pending}", '1 2', 'the same as JSON');

    $db->do(q{INSERT INTO study.dead_event (reason, detail, element, element_sha) SELECT 'test', '', '', sha256(i::text::bytea) FROM generate_series(1, 3) i});
    shows('study_worker_dead_events', 3);
    $db->do(q{INSERT INTO study.pause (role, reason) VALUES ('digest', 'test')});
    shows('study_worker_paused{role="digest"}', 1);
    shows('study_worker_paused{role="deliver"}', 0);
    $db->do(q{UPDATE study.pause SET until = now()});
    shows('study_worker_paused{role="digest"}', 0, 'a pause that is over is none');

    shows('study_worker_schedule_lag_seconds', 0);
    $db->do(q{UPDATE study.schedule SET next_at = now() - interval '1 hour'});
    wait_for { $worker->metrics->{study_worker_schedule_lag_seconds} > 3599 } 15, 'the lag of a schedule that nobody advances';
    $db->do(q{UPDATE study.schedule SET next_at = NULL});
    $db->do(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at) SELECT schedule_id, 'UTC', now() - interval '2 hours' FROM study.schedule WHERE name = 'daily'});
    wait_for { $worker->metrics->{study_worker_schedule_lag_seconds} > 7199 } 15, 'the lag of a firing that nobody collects';
    pass('what is late shows as lag');

    cmp_ok($worker->metrics->{'study_worker_tcp_sockets{state="listen"}'}, '>=', 1, 'sockets by state');
}

# --- trouble -------------------------------------------------------------------------------

# How often a page was served while CODE ran beside.
sub served_while {
    my ($name, $begin, $until, $end) = @_;

    $begin->();
    my ($served, $failed, $done) = (0, 0, 0);
    my $stop = time + 30;
    while (time < $stop && !$done) {
        my $got = HTTP::Tiny->new(timeout => 4)->get($worker->url . '/healthz');
        $got->{status} == 599 ? $failed++ : $served++;
        $done = $until->($got);
        sleep 0.05;
    }
    $end->();
    ok($done, "$name: shown");
    is($failed, 0, "... and every page was served ($served)");
    return $served;
}

{
    my $locker = $pg->dbh;
    $locker->begin_work;
    my $served = served_while('a database that stalls',
        sub { $locker->do('LOCK TABLE study.digest IN ACCESS EXCLUSIVE MODE') },
        sub { my ($got) = @_; $got->{status} == 503 && $got->{content} =~ /^postgres: .*no answer in time/m },
        sub { $locker->rollback });
    cmp_ok($served, '>', 20, '... all the while');
    wait_for { $worker->get('/healthz')->{success} } 30, 'health';
    pass('... and it is well again');

    my $json;
    served_while('a database that is stopped', sub { $pg->stop },
        sub {
            my ($got) = @_;
            return 0 if $got->{status} != 503 || $got->{content} !~ /^postgres: /m;
            $json = page();         # while it is still away
            return 1;
        }, sub { $pg->restart });
    ok($json && !$json->{postgres}{ok}, '... in JSON too');
    wait_for { $worker->get('/healthz')->{success} } 30, 'health';

    served_while('a Redis that stalls', sub { kill STOP => $redis->pid },
        sub { my ($got) = @_; $got->{status} == 503 && $got->{content} =~ /^redis \Q$server\E: no answer/m }, sub { kill CONT => $redis->pid });
    wait_for { $worker->get('/healthz')->{success} } 30, 'health';

    my $deliver = sub { my ($pid) = grep { $_->{role} eq 'deliver' } @{ page()->{roles} }; return $pid->{pid} };
    served_while('a role that dies again and again', sub { },
        sub { my ($got) = @_; my $pid = $deliver->(); kill KILL => $pid if $pid; $got->{status} == 503 && $got->{content} =~ /^deliver 0 is not running$/m }, sub { });
    wait_for { $worker->get('/healthz')->{success} } 60, 'health';
    pass('... and all is well again');
}

$worker->stop;
is($worker->proc->status, 0, 'stopped in order');

done_testing;
