#!/usr/bin/env perl

# bench store: how fast waiting events become rows.
#
#   copy    the limit: one COPY of the same rows into the same table with its indexes
#   worker  study-worker's store processes, from the Redis lists that nginx fills
#   bullmq  a BullMQ worker with pg (npm), a row a job (store/bullmq/)
#
# The events lie in Redis before the clock starts. PostgreSQL is as it is shipped: fsync and
# synchronous_commit on; Redis, too, with appendfsync always. The three are measured in turn in
# each round, on an emptied table after a checkpoint; figures are medians of the rounds. The
# rate and the CPU that all processes used are printed, for the machine is shared: CPU is what
# repeats.
#
# Then whether size matters: CPU an event, and memory, with few and many rows stored and few
# and many events waiting (--many, a hundredth of it is few). Last, how long an event takes
# that comes to a store with nothing else to do, at 500 a second.
#
# Options: --events 500000 --rounds 3 --processes 4 --bullmq-events 20000 --text-bytes 200
#   --many 1000000 --calm 20 (seconds); 0 leaves a part out

use strict;
use warnings;

use Carp qw(croak);
use List::Util qw(sum);
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
my $WARM = 40_000;         # twenty batches a process

my %option = options({
    events => 500_000, rounds => 3, processes => 4, 'bullmq-events' => 20_000, 'text-bytes' => 200,
    many => 1_000_000, calm => 20,
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
    my ($count, $from) = @_;

    my $client = $redis->client;
    $from //= 0;
    for (my $n = $from; $n < $from + $count; $n += $CHUNK) {
        my $last = $n + $CHUNK > $from + $count ? $from + $count : $n + $CHUNK;
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
    return { seconds => $seconds, rate => $count / $seconds, cpu => [ map { 1e6 * $_ / $count } @used ] };
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

sub hold   { $postgres->psql(q(INSERT INTO study.pause (role, reason) VALUES ('store', 'bench'))); return }
sub go     { $postgres->psql('DELETE FROM study.pause'); return }
sub memory { return proportional($worker->proc->pid, children($worker->proc->pid)) }

sub run_worker {
    my ($count) = @_;

    empty();
    push_events($count);
    hold();
    $worker->start;
    sleep 2;
    my @stores = store_processes();
    my $result = measure($count, [ sub { @stores }, sub { backends('store') }, sub { $redis->pid } ], sub {
        go();
        wait_for { drained() } 900, 'the lists to be empty';
    });
    $result->{memory} = memory();
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

sub backends {
    my ($name) = @_;
    return split /\n/, $postgres->psql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%$name%'");
}

sub run_bullmq {
    my ($count) = @_;

    my $home = npm_program('bullmq', "$HERE/bullmq");
    empty();
    $redis->client->acl(qw(setuser default on nopass ~* &* +@all));
    # it is added to, and would say of this round what it said of the last
    my $go = "$dir/bullmq.log";
    unlink $go;
    my $proc = StudyTest::Proc->start(
        name => 'bullmq', dir => $home, log => $go,
        cmd => [ 'node', 'worker.mjs', $redis->socket, $postgres->socket, $count, $padding ],
    );
    $proc->ready(sub { slurp($go) =~ /^ready$/m }, 120);
    my $result = measure($count, [ sub { $proc->pid }, sub { backends('bullmq') }, sub { $redis->pid } ], sub {
        $proc->signal('USR2');
        wait_for { slurp($go) =~ /^done$/m || !$proc->alive } 900, 'the jobs';
    });
    $proc->stop;
    return $result;
}

# --- size ---

# CPU of storing at least TAKEN of the events that wait, STORED rows being there already.
sub run_sized {
    my ($stored, $waiting, $taken) = @_;

    empty();
    fill($stored) if $stored;
    # Connections and caches are warm before anything is counted.
    push_events($WARM, $waiting);
    $worker->start;
    wait_for { drained() } 120, 'the first events';
    hold();
    sleep 2;
    push_events($waiting);

    my @stores = store_processes();
    my $look = sub { return map { cpu_seconds(@$_) } \@stores, [ backends('store') ], [ $redis->pid ] };
    my @was = $look->();
    go();
    wait_for { $redis->client->llen($PENDING) <= $waiting - $taken && ($taken < $waiting || drained()) } 300, 'events to be stored';
    my @is = $look->();
    my $done = $waiting - $redis->client->llen($PENDING);
    my $memory = memory();

    $worker->stop;
    $redis->client->del($PENDING);
    my @cpu = map { 1e6 * ($is[$_] - $was[$_]) / $done } 0 .. $#is;
    return { stored => $stored, waiting => $waiting, cpu => \@cpu, all => sum(@cpu), memory => $memory };
}

# Older rows of the same channels and members.
sub fill {
    my ($count) = @_;

    # Not psql(), which has a limit of its own.
    my $dbh = $postgres->dbh;
    $dbh->do($_) for <<"END", 'VACUUM ANALYZE study.message', 'CHECKPOINT';
INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
SELECT '$TEAM', 'C' || lpad((n % 20)::text, 4, '0'), ($FIRST - 5000000 + n / 1000) || '.' || lpad((1 + n % 1000)::text, 6, '0'),
    'U' || lpad((n % 500)::text, 5, '0'), 'Note ' || n || ': $padding', at, at
FROM generate_series(1, $count) AS n, LATERAL (SELECT to_timestamp($FIRST - 5000000 + n / 1000) AS at) AS posted
END
    $dbh->disconnect;
    return;
}

# --- nothing else to do ---

# 500 events a second, one by one; the worker's own histogram, from acceptance to the commit.
sub run_calm {
    my ($seconds) = @_;

    empty();
    $worker->start;
    sleep 2;
    my $client = $redis->client;
    my $start = time;
    for my $n (0 .. 500 * $seconds - 1) {
        my $left = $start + $n / 500 - time;
        sleep $left if $left > 0;
        $client->rpush($PENDING, element($n) =~ s/"received_at":\d+/sprintf '"received_at":%d', 1000 * time/er, sub { });
        $client->wait_all_responses if $n % 50 == 49;
    }
    $client->wait_all_responses;
    wait_for { drained() && rows() == 500 * $seconds } 60, 'the events to be stored';
    my $metrics = $worker->metrics;
    $worker->stop;
    my %upto = map { /^study_worker_event_store_seconds_bucket\{le="([\d.]+)"\}$/ ? ($1 => $metrics->{$_}) : () } keys %$metrics;
    my $all = $metrics->{study_worker_event_store_seconds_count};
    my ($p99) = grep { $upto{$_} >= 0.99 * $all } sort { $a <=> $b } keys %upto;
    return { events => $all, p99_upto => $p99, within_50ms => $upto{'0.05'} / $all };
}

# --- the tables ---

print machine(), "\n",
    "$option{events} events a round, $option{rounds} rounds, $option{processes} store process(es);",
    " text $option{'text-bytes'} bytes; fsync and synchronous_commit on, appendfsync always\n\n";

my $path = copy_file($option{events});
my (@copy, @worker, @bullmq);
my $node = $option{'bullmq-events'} && system('node --version >/dev/null 2>&1') == 0;
for my $round (1 .. $option{rounds}) {
    push @copy, run_copy($path, $option{events});
    push @worker, run_worker($option{events});
    push @bullmq, run_bullmq($option{'bullmq-events'}) if $node;
    printf STDERR "round %d: copy %.0f/s, worker %.0f/s%s\n", $round, $copy[-1]{rate}, $worker[-1]{rate},
        @bullmq ? sprintf(', bullmq %.0f/s', $bullmq[-1]{rate}) : '';
}

# One row of the table, with what its CPU is made of.
sub candidate {
    my ($name, $limit, $parts, @rounds) = @_;

    my @cpu = map { my $i = $_; median(map { $_->{cpu}[$i] } @rounds) } 0 .. $#$parts;
    return [ $name, spread('%.0f', map { $_->{rate} } @rounds), sprintf('%.3f', median(map { $_->{rate} } @rounds) / $limit),
        sprintf('%.1f (%s)', sum(@cpu), join ', ', map { sprintf "$parts->[$_] %.1f", $cpu[$_] } 0 .. $#cpu) ];
}

if (@copy) {
    my $limit = median(map { $_->{rate} } @copy);
    my $ours = median(map { $_->{rate} } @worker);
    print "\n", table(
        [ 'candidate', 'events/s', '/ copy', 'CPU us an event' ],
        candidate('copy', $limit, ['backend'], @copy),
        candidate('worker', $limit, [qw(store backends redis)], @worker),
        @bullmq ? candidate('bullmq', $limit, [qw(node backends redis)], @bullmq) : (),
    );
    printf "\nthe worker is %.1f times as fast as bullmq\n", $ours / median(map { $_->{rate} } @bullmq) if @bullmq;
    printf "memory of all worker processes together: %.1f MiB (proportional)\n", median(map { $_->{memory} } @worker) / 1024;
}

my @sized;
if (my $many = $option{many}) {
    my $few = int($many / 100);
    my @cases = ([ $few, 3 * $few, 3 * $few ], [ $many, 3 * $few, 3 * $few ], [ 0, $few, $few ], [ 0, $many, 3 * $few ]);
    for my $case (@cases) {
        my @rounds = map { run_sized(@$case) } 1 .. $option{rounds};
        my ($middle) = (sort { $a->{all} <=> $b->{all} } @rounds)[ $option{rounds} / 2 ];
        push @sized, $middle;
    }
    print "\n", table(
        [ 'rows stored', 'events waiting', 'CPU us an event', 'memory, MiB' ],
        map { [ @$_{qw(stored waiting)}, sprintf('%.1f (store %.1f, backends %.1f, redis %.1f)', $_->{all}, @{ $_->{cpu} }),
            sprintf '%.1f', $_->{memory} / 1024 ] } @sized,
    );
    printf "\nmany against few: %.2f stored, %.2f waiting\n", $sized[1]{all} / $sized[0]{all}, $sized[3]{all} / $sized[2]{all};
}

my $calm;
if ($option{calm}) {
    $calm = run_calm($option{calm});
    printf "\n%d events at 500/s: 99 %% stored within %s s, %.2f %% within 0.05 s\n", @$calm{qw(events p99_upto)}, 100 * $calm->{within_50ms};
}

save('store', { settings => \%option, machine => machine(), copy => \@copy, worker => \@worker, bullmq => \@bullmq,
    sized => \@sized, calm => $calm });
