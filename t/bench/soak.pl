#!/usr/bin/env perl

# bench soak: whether an nginx worker grows, and what an event asks of malloc.
#
# One nginx worker takes signed events by the million, over connections that end after a
# thousand requests, and the list is emptied after each 100,000; its resident memory is
# read before and after. Then, in another nginx with malloc_count.c preloaded, calls of
# malloc and its relations are counted while events go to the module and, for comparison,
# to an echo of the same body (libnginx-mod-http-echo), over the same kept-alive
# connections.
#
# Options: --millions 1 (of events)  --connections 64  --counted 50000 (events each)

use strict;
use warnings;

use Carp qw(croak);

use StudyTest::Bench qw(machine options resident save send_events table);
use StudyTest::Nginx;
use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew wait_for);
use StudyTest::Redis;

my $SECRET = 'soak-secret';
my $LIST = 'study:{ingest}:pending';
my $CHUNK = 100_000;
my $ECHO = '/usr/lib/nginx/modules/ngx_http_echo_module.so';

my %option = options({ millions => 1, connections => 64, counted => 50_000 }, @ARGV);

$| = 1;

my $dir = scratch_dir('bench-soak');
my $secret_file = spew("$dir/secret", $SECRET, 0600);
my $redis = StudyTest::Redis->start(dir => "$dir/redis", config => [ 'appendonly no', 'maxmemory 0' ]);

sub start_nginx {
    my ($name, %more) = @_;

    my $nginx = StudyTest::Nginx->start(
        dir => "$dir/$name", redis => [ $redis->address ], user => 'study-nginx', secret => $SECRET,
        password_file => $redis->password_file('study-nginx'), log_level => 'warn',
        http => 'keepalive_requests 1000000000;', %more,
    );
    wait_for { $nginx->metrics->{'study_nginx_redis_connections{state="ready"}'} } 20, 'the connection to Redis';
    return ($nginx, ($nginx->workers)[0]);
}

sub load {
    my ($nginx, $events, @more) = @_;

    my $report = send_events(600, '--url', $nginx->url . '/slack/events', '--secret-file', $secret_file,
        '--requests', $events, '--connections', $option{connections}, @more);
    my $good = $report->{status}{200} // 0;
    croak "$good of $events answered 200" if $good != $events;
    return $report;
}

# --- memory ---

sub soak {
    my ($nginx, $worker) = start_nginx('soak');
    my @how = ('--requests-per-connection', 1000, '--mix', '20:2:1:1');
    my $client = $redis->client;

    # The first ones fill pools, buffers and caches.
    load($nginx, $CHUNK, @how);
    my @resident = resident($worker);
    for my $n (1 .. $option{millions} * 1_000_000 / $CHUNK) {
        $client->del($LIST);
        load($nginx, $CHUNK, '--seed', $n, @how);
        my $stored = $client->llen($LIST);
        croak "$stored elements of $CHUNK" if $stored != $CHUNK;
        push @resident, resident($worker);
        print STDERR '.';
    }
    print STDERR "\n";
    $client->del($LIST);
    croak 'the worker was replaced meanwhile' if ($nginx->workers)[0] != $worker;
    $nginx->stop;
    return @resident;
}

# --- malloc ---

sub counted {
    my ($file) = @_;
    return unpack 'Q', slurp($file);
}

sub count_calls {
    my $library = "$dir/malloc_count.so";
    my ($status, $said) = run_limited([ $ENV{CC} // 'cc', qw(-std=gnu17 -O2 -shared -fPIC), '-o', $library,
        root_dir() . '/t/bench/malloc_count.c' ]);
    croak "malloc_count.c: $said" if $status;

    my @more = -e $ECHO
        ? (main => "load_module $ECHO;", server => 'location = /echo { echo_read_request_body; echo ok; }') : ();
    my ($nginx, $worker) = do {
        local @ENV{qw(LD_PRELOAD MALLOC_COUNT_FILE)} = ($library, "$dir/count");
        start_nginx('count', @more);
    };
    my %calls;
    for my $what (@more ? qw(echo module) : 'module') {
        my @path = $what eq 'echo' ? ('--url', $nginx->url . '/echo') : ();
        load($nginx, $option{counted} / 10, @path);
        my $before = counted("$dir/count.$worker");
        load($nginx, $option{counted}, @path);
        $calls{$what} = (counted("$dir/count.$worker") - $before) / $option{counted};
        croak "no call of malloc was counted: $library was not loaded" if !$before;
    }
    $redis->client->del($LIST);
    $nginx->stop;
    return \%calls;
}

print machine(), "\n$option{millions} million events over $option{connections} connections, one nginx worker\n\n";

my $calls = count_calls();
my @resident = soak();
my $growth = ($resident[-1] - $resident[0]) / $option{millions};

print table(
    [ 'calls of malloc and its relations', 'an event' ],
    map { [ $_, sprintf '%.4f', $calls->{$_} ] } sort keys %$calls,
), "\n";
printf "resident memory of the worker: %d KiB after the first %d events, %d KiB after %s million more: %+.1f KiB a million\n",
    $resident[0], $CHUNK, $resident[-1], $option{millions}, $growth;

save('soak', { settings => \%option, machine => machine(), resident_kib => \@resident,
    growth_kib_per_million => $growth, malloc_calls_per_event => $calls });
