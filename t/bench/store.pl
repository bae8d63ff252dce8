#!/usr/bin/env perl

# bench store: how fast waiting events become rows.
#
#   copy    the limit: one COPY of the same rows into the same table with its indexes
#   worker  study-worker's store processes, from the Redis lists that nginx fills
#   bullmq  a BullMQ worker with pg (npm), a row a job (store/bullmq/)
#
# The events lie in Redis before the clock starts. PostgreSQL is as it is shipped: fsync and
# synchronous_commit on. Both the rate and the CPU that all processes used are printed, for
# the machine is shared; the worker's rate is the median of its rounds, each on an empty
# table, beside a COPY of its own.
#
# Options: --events 500000 --rounds 3 --processes 1 --bullmq-events 20000 --text-bytes 200

use strict;
use warnings;

use Carp qw(croak);
use POSIX ();
use Time::HiRes qw(sleep time);

use StudyTest::Bench qw(cpu_seconds machine median npm_program options proportional save spread table);
use StudyTest::Postgres ();
use StudyTest::Proc qw(root_dir scratch_dir slurp wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my $PENDING = 'study:{ingest}:pending';
my $LEASES = 'study:{ingest}:leases';
my $HERE = root_dir() . '/t/bench/store';
my $TEAM = 'T0BENCH';
my $FIRST = 1_795_300_000;          # the first message's second
my $CHUNK = 500;

my %option = options({
    events => 500_000, rounds => 3, processes => 1, 'bullmq-events' => 20_000, 'text-bytes' => 200,
}, @ARGV);

$| = 1;

my $dir = scratch_dir('bench-store');
my $redis = StudyTest::Redis->start(dir => "$dir/redis", config => [ 'maxmemory 0' ]);
my $postgres = StudyTest::Postgres->start(dir => "$dir/postgres", durable => 1, config => {
    synchronous_commit => 'on', shared_buffers => '512MB', max_wal_size => '8GB',
    max_connections => 100,
});
my $worker = StudyTest::Worker->new(
    dir => "$dir/worker", redis => $redis, postgres => $postgres,
    slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
    config => {
        store => { processes => $option{processes} },
        map { $_ => { processes => 0 } } qw(schedule digest deliver),
    },
);
$worker->migrate;

# --- the events ---

my $padding = join ' ', ('studied') x int($option{'text-bytes'} / 8);

sub key_of {
    my ($n) = @_;
    return (sprintf('C%04d', $n % 20), sprintf('%d.%06d', $FIRST + int($n / 1000), 1 + $n % 1000),
        sprintf('U%05d', $n % 500));
}

sub body {
    my ($n) = @_;

    my ($channel, $ts, $user) = key_of($n);
    my ($second) = split /\./, $ts;
    return qq({"token":"bench","team_id":"$TEAM","context_team_id":"$TEAM","api_app_id":"A0BENCH","event":)
        . qq({"type":"message","user":"$user","channel":"$channel","channel_type":"channel","ts":"$ts",)
        . qq("event_ts":"$ts","team":"$TEAM","client_msg_id":"00000000-0000-4000-8000-) . sprintf('%012d', $n)
        . qq(","text":"Note $n: $padding","blocks":[{"type":"rich_text","block_id":"b","elements":)
        . qq([{"type":"rich_text_section","elements":[{"type":"text","text":"Note $n: $padding"}]}]}]},)
        . qq("type":"event_callback","event_id":"Ev) . sprintf('%010d', $n) . qq(","event_time":$second,)
        . qq("authorizations":[{"enterprise_id":null,"team_id":"$TEAM","user_id":"U0BOT","is_bot":true}],)
        . qq("is_ext_shared_channel":false});
}

sub element {
    my ($n) = @_;

    my $ms = ($FIRST + int($n / 1000)) * 1000;
    return qq({"v":1,"kind":"event","received_at":$ms,"retry_num":0,"retry_reason":"",)
        . qq("content_type":"application/json","request_id":") . sprintf('%032x', $n)
        . qq(","idempotency_key":""}\n) . body($n);
}

sub push_events {
    my ($count) = @_;

    my $client = $redis->client;
    for (my $n = 0; $n < $count; $n += $CHUNK) {
        my $last = $n + $CHUNK > $count ? $count : $n + $CHUNK;
        $client->rpush($PENDING, (map { element($_) } $n .. $last - 1), sub { });
    }
    $client->wait_all_responses;
    croak 'not all events are in the list' if $client->llen($PENDING) != $count;
    return;
}

# The rows that the worker makes of them, for COPY.
sub copy_file {
    my ($count) = @_;

    my $path = $postgres->dir . '/bench.copy';
    open my $out, '>', $path or croak "$path: $!";
    for my $n (0 .. $count - 1) {
        my ($channel, $ts, $user) = key_of($n);
        my ($second, $micro) = split /\./, $ts;
        print {$out} join("\t", $TEAM, $channel, $ts, '\N', $user, '\N', "Note $n: $padding", '{}',
            stamp($second) . ".$micro+00", stamp($second) . '+00', '\N', '\N', 'f'), "\n";
    }
    close $out or croak "$path: $!";
    chmod 0644, $path;
    return $path;
}

sub stamp {
    my ($second) = @_;
    return POSIX::strftime('%Y-%m-%d %H:%M:%S', gmtime $second);
}

# --- the candidates ---

sub empty {
    $postgres->psql('TRUNCATE study.message, study.member, study.channel, study.team CASCADE; CHECKPOINT');
    return;
}

sub rows { return $postgres->psql('SELECT count(*) FROM study.message') }

sub measure {
    my ($count, $pids, $work) = @_;

    my @cpu = map { cpu_seconds($_->()) } @$pids;
    my $start = time;
    $work->();
    my $seconds = time - $start;
    my @used = map { cpu_seconds($pids->[$_]->()) - $cpu[$_] } 0 .. $#$pids;
    croak 'rows: ' . rows() . " of $count" if rows() != $count;
    return { rate => $count / $seconds, cpu => [ map { 1e6 * $_ / $count } @used ] };
}

# COPY's backend ends with its connection, and its CPU time with it: it is read before.
sub run_copy {
    my ($path, $count) = @_;

    empty();
    my $dbh = $postgres->dbh;
    my ($pid) = $dbh->selectrow_array('SELECT pg_backend_pid()');
    return measure($count, [ sub { $pid } ], sub {
        $dbh->do(qq(COPY study.message (team_id, channel_id, ts, thread_ts, user_id, subtype, text,
            files, posted_at, accepted_at, edited_ts, edited_event_ts, deleted) FROM '$path'));
    });
}

sub drained {
    my $client = $redis->client;
    return !$client->llen($PENDING) && !$client->zcard($LEASES);
}

sub run_worker {
    my ($count) = @_;

    empty();
    push_events($count);
    $postgres->psql(q(INSERT INTO study.pause (role, reason) VALUES ('store', 'bench')));
    $worker->start;
    sleep 2;
    my @stores = store_processes();
    my $result = measure($count, [ sub { @stores }, sub { store_backends() }, sub { $redis->pid } ], sub {
        $postgres->psql('DELETE FROM study.pause');
        wait_for { drained() } 900, 'the lists to be empty';
    });
    $result->{memory} = proportional($worker->proc->pid, children($worker->proc->pid));
    $worker->stop;
    return $result;
}

sub children {
    my ($pid) = @_;
    return split ' ', slurp("/proc/$pid/task/$pid/children");
}

sub store_processes {
    my @found = grep { slurp("/proc/$_/cmdline") =~ /store/ } children($worker->proc->pid);
    croak 'no store process' if !@found;
    return @found;
}

sub store_backends {
    return split /\n/, $postgres->psql(q(SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%store%'));
}

sub run_bullmq {
    my ($count) = @_;

    my $home = npm_program('bullmq', "$HERE/bullmq");
    empty();
    $redis->client->acl(qw(setuser default on nopass ~* &* +@all));
    my $proc = StudyTest::Proc->start(
        name => 'bullmq', dir => $home, log => "$dir/bullmq.log",
        cmd => [ 'node', 'worker.mjs', $redis->socket, $postgres->socket, $count, $padding ],
    );
    my $go = "$dir/bullmq.log";
    $proc->ready(sub { slurp($go) =~ /^ready$/m }, 120);
    my $result = measure($count, [ sub { $proc->pid }, sub { $redis->pid } ], sub {
        $proc->signal('USR2');
        wait_for { slurp($go) =~ /^done$/m || !$proc->alive } 900, 'the jobs';
    });
    $proc->stop;
    return $result;
}

# --- the table ---

print machine(), "\n",
    "$option{events} events a round, $option{rounds} rounds, $option{processes} store process(es);",
    " text $option{'text-bytes'} bytes; fsync and synchronous_commit on, appendfsync always\n\n";

my $path = copy_file($option{events});
my (@copy, @worker, @bullmq);
for my $round (1 .. $option{rounds}) {
    push @copy, run_copy($path, $option{events});
    push @worker, run_worker($option{events});
    printf STDERR "round %d: copy %.0f/s, worker %.0f/s\n", $round, $copy[-1]{rate}, $worker[-1]{rate};
}
if ($option{'bullmq-events'} && system('node --version >/dev/null 2>&1') == 0) {
    push @bullmq, run_bullmq($option{'bullmq-events'});
}

my $limit = median(map { $_->{rate} } @copy);
my $ours = median(map { $_->{rate} } @worker);
my @table = ([ 'candidate', 'events/s', '/ copy', 'CPU us an event' ]);
push @table, [ 'copy', spread('%.0f', map { $_->{rate} } @copy), '1.00',
    sprintf '%.1f (backend)', median(map { $_->{cpu}[0] } @copy) ];
push @table, [ 'worker', spread('%.0f', map { $_->{rate} } @worker), sprintf('%.2f', $ours / $limit),
    sprintf '%.1f (store %.1f, backend %.1f, redis %.1f)', median(map { $_->{cpu}[0] + $_->{cpu}[1] + $_->{cpu}[2] } @worker),
    map { my $i = $_; median(map { $_->{cpu}[$i] } @worker) } 0 .. 2 ];
if (@bullmq) {
    push @table, [ 'bullmq', sprintf('%.0f', $bullmq[0]{rate}), sprintf('%.3f', $bullmq[0]{rate} / $limit),
        sprintf '%.1f (node %.1f, redis %.1f)', $bullmq[0]{cpu}[0] + $bullmq[0]{cpu}[1], @{ $bullmq[0]{cpu} } ];
}
print "\n", table(@table);
printf "\nthe worker is %.1f times as fast as bullmq\n", $ours / $bullmq[0]{rate} if @bullmq;
printf "memory of all worker processes together: %.1f MiB (proportional)\n", median(map { $_->{memory} } @worker) / 1024;

save('store', { settings => \%option, machine => machine(), copy => \@copy, worker => \@worker, bullmq => \@bullmq });
