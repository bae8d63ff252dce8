#!/usr/bin/env perl

# bench digest: how much longer than the model itself a firing takes, and what it costs.
#
#   keep-alive  members' digests by a model that answers in --answer seconds, over HTTP/1.1
#   http2       the same over TLS and HTTP/2, on --http2-connections connections
#   firing      a firing for --firing-members members, while events go on being stored: no
#               digest is made, the clock stops at the last digest row
#   trigger     the 202 of triggers, while as many events come in
#
# The floor of the first two is ceil(members / calls at once) times the model's time. The model
# is nginx with a fixed answer (libnginx-mod-http-echo), so that it is never what is measured;
# PostgreSQL is as it is shipped: fsync and synchronous_commit on. Times are wall-clock from the
# trigger's request to the last row, so they want a quiet machine; CPU does not.
#
# Options: --members 2000 --messages 20 --calls 256 --answer 1.0 --http2-connections 4
#          --firing-members 100000 --rate 1000 --triggers 300 --trigger-rate 10 --rounds 3

use strict;
use warnings;

use Carp qw(croak);
use POSIX qw(ceil);
use Time::HiRes qw(sleep time);

use StudyTest::Bench qw(cpu_seconds machine median options save spread table);
use StudyTest::Chain;
use StudyTest::Nginx;
use IO::Socket::INET ();
use StudyTest::Proc qw(free_port root_dir run_limited scratch_dir slurp spew wait_for);

my $ECHO = '/usr/lib/nginx/modules/ngx_http_echo_module.so';
my $SENDER = root_dir() . '/build/bench/sender';
my $TEAM = 'T0STUDY';

my %option = options({
    members => 2000, messages => 20, calls => 256, answer => '1.0', 'http2-connections' => 4,
    'firing-members' => 100_000, rate => 1000, triggers => 300,
    'trigger-rate' => 10, rounds => 3,
}, @ARGV);
croak "$ECHO is missing: libnginx-mod-http-echo" if !-e $ECHO;

$| = 1;
my $dir = scratch_dir('bench-digest');

# --- the model ---

my $ANSWER = join '', map { s/"/\\"/gr } '{"studied":[{"text":"You read on about paging and wrote down why it helps.",',
    '"records":[1,2]},{"text":"Then you solved three problems on congestion control.","records":[3]}],',
    '"went_well":[{"text":"Each note says where it came from.","records":[2]}],"try_next":"Solve one more without looking."}';

# What it saw: a line a call, with the number of its connection.
sub start_model {
    my ($name, $tls) = @_;

    my $home = "$dir/$name";
    my $port = free_port();
    mkdir $home;
    mkdir "$home/tmp";
    my $cert = '';
    if ($tls) {
        my ($status, $said) = run_limited([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost
            -addext subjectAltName=DNS:localhost -keyout), "$home/key.pem", '-out', "$home/cert.pem" ], limit => 60);
        croak "openssl: $said" if $status;
        $cert = "ssl_certificate $home/cert.pem; ssl_certificate_key $home/key.pem;";
    }
    my $listen = "127.0.0.1:$port" . ($tls ? ' ssl http2' : '');
    my $temp = join ' ', map { "${_}_temp_path $home/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    my $user = $> == 0 ? 'user root;' : '';
    spew("$home/nginx.conf", <<"END");
load_module $ECHO;
$user
daemon off;
worker_processes 1;
pid $home/nginx.pid;
error_log $home/error.log warn;
events { worker_connections 2048; }
http {
    log_format calls '\$connection \$status \$request_length';
    access_log $home/calls.log calls buffer=64k flush=100ms;
    $temp
    keepalive_requests 1000000;
    client_body_buffer_size 1m;
    client_max_body_size 4m;
    server {
        listen $listen backlog=2048;
        $cert
        location = /v1/chat/completions {
            default_type application/json;
            echo_read_request_body;
            echo_sleep $option{answer};
            echo '{"id":"x","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"${\ ($ANSWER =~ s/\\/\\\\/gr)}"}}],"usage":{"prompt_tokens":1500,"completion_tokens":90}}';
        }
    }
}
END
    my $proc = StudyTest::Proc->start(
        name => "model $name", log => "$home/error.log", deathsig => 'TERM',
        cmd => [ StudyTest::Nginx::binary(), '-p', $home, '-c', "$home/nginx.conf", '-e', "$home/error.log" ],
    );
    $proc->ready(sub { -s "$home/nginx.pid" && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1) }, 20);
    return { proc => $proc, log => "$home/calls.log", cert => "$home/cert.pem", url => ($tls ? 'https://localhost:' : 'http://127.0.0.1:') . "$port/v1" };
}

sub calls_of {
    my ($model, $from) = @_;

    sleep 0.3;    # the log is flushed
    my @lines = split /\n/, slurp($model->{log});
    splice @lines, 0, $from;
    my %connection;
    my $bad = 0;
    for (@lines) {
        my ($connection, $status) = split / /;
        $connection{$connection}++;
        $bad++ if $status != 200;
    }
    return { calls => scalar @lines, connections => scalar(keys %connection), bad => $bad };
}

# --- the members ---

sub fill {
    my ($chain, $members, $messages) = @_;

    my $dbh = $chain->dbh;
    $dbh->do('SET client_min_messages = warning');
    $dbh->do('TRUNCATE study.firing, study.digest, study.digest_item, study.outbox, study.lane, study.message, study.member, study.channel CASCADE');
    $dbh->do('INSERT INTO study.team (team_id, url) VALUES (?, ?) ON CONFLICT (team_id) DO UPDATE SET url = EXCLUDED.url', undef, $TEAM, 'https://t0study.slack.com/');
    $dbh->do("INSERT INTO study.channel (team_id, channel_id) SELECT ?, 'C' || lpad(c::text, 4, '0') FROM generate_series(0, 19) c", undef, $TEAM);
    $dbh->do(q{INSERT INTO study.member (team_id, user_id, time_zone, noticed_at)
        SELECT ?, 'U' || lpad(u::text, 7, '0'), 'Asia/Seoul', now() - interval '1 day' FROM generate_series(1, ?) u}, undef, $TEAM, $members);
    $dbh->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
        SELECT ?, 'C' || lpad((u % 20)::text, 4, '0'), to_char(extract(epoch FROM now())::bigint - 7200 + (m * 97) % 7000, 'FM9999999999') || '.' || lpad(((u - 1) * ? + m)::text, 6, '0'),
            'U' || lpad(u::text, 7, '0'), 'Note ' || m || ': read on about paging, wrote down why it helps, and solved problem ' || u || ' of the list. ' || repeat('More on it. ', 8),
            to_timestamp(extract(epoch FROM now())::bigint - 7200 + (m * 97) % 7000), now()
        FROM generate_series(1, ?) u, generate_series(0, ? - 1) m}, undef, $TEAM, $messages, $members, $messages);
    $dbh->do('ANALYZE');
    $dbh->do('CHECKPOINT');
    return;
}

sub trigger {
    my ($chain, $schedule) = @_;

    my $got = $chain->sender->trigger(schedule => $schedule);
    croak "the trigger was answered $got->{status}" if $got->{status} != 202;
    return;
}

sub role_pids {
    my ($chain, $role) = @_;
    return grep { (eval { slurp("/proc/$_/cmdline") } // '') =~ /\b$role\b/ } $chain->worker->children;
}

sub backends {
    my ($chain, $role) = @_;
    return split /\n/, $chain->pg->psql(qq(SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%$role%'));
}

sub peak_kib { return slurp("/proc/$_[0]/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : 0 }
sub anon_kib { return slurp("/proc/$_[0]/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : 0 }

# --- members' digests by the model ---

sub start_chain {
    my ($name, %config) = @_;

    return StudyTest::Chain->start(
        dir => "$dir/chain-$name", durable => 1, openai_url => delete $config{url} // 'http://127.0.0.1:9/v1',
        postgres => { config => { synchronous_commit => 'on', shared_buffers => '512MB', max_wal_size => '8GB' } },
        config => { deliver => { processes => 0 }, log => { level => 'warn' }, %config },
    );
}

sub run_digests {
    my ($name, $model, %openai) = @_;

    my $chain = start_chain($name, url => $model->{url},
        openai => { concurrency => $option{calls}, timeout => '30s', %openai });
    my @rounds;
    for my $round (1 .. $option{rounds}) {
        fill($chain, $option{members}, $option{messages});
        my ($pid) = role_pids($chain, 'digest');
        my @backends = backends($chain, 'digest');
        my $seen = -e $model->{log} ? calls_of($model, 0)->{calls} : 0;
        my ($cpu, $cpu_pg) = (cpu_seconds($pid), cpu_seconds(@backends));
        my $start = time;
        trigger($chain, 'daily');
        wait_for {
            ($chain->value("SELECT count(*) FROM study.digest WHERE state = 'made'") // 0) == $option{members}
        } 300, 'every digest';
        my ($row) = $chain->dbh->selectrow_hashref(q{SELECT extract(epoch FROM max(made_at)) AS last, extract(epoch FROM min(made_at)) AS first,
            extract(epoch FROM max(created_at)) AS collected, count(*) FILTER (WHERE origin = 'model') AS by_model FROM study.digest});
        my $calls = calls_of($model, $seen);
        my $wall = $row->{last} - $start;
        push @rounds, {
            seconds => $wall, collected => $row->{collected} - $start, first => $row->{first} - $start, by_model => $row->{by_model} + 0,
            cpu_ms => 1000 * (cpu_seconds($pid) - $cpu) / $option{members}, pg_ms => 1000 * (cpu_seconds(@backends) - $cpu_pg) / $option{members},
            peak_kib => peak_kib($pid), anon_kib => anon_kib($pid), %$calls,
        };
        croak "$row->{by_model} of $option{members} by the model" if $row->{by_model} != $option{members};
        croak "$calls->{calls} calls for $option{members} digests" if $calls->{calls} != $option{members};
        printf STDERR "%s %d: %.2f s (collected %.2f, first stored %.2f), %.2f ms CPU a digest, peak %.1f MiB (anonymous %.1f), %d connections\n", $name, $round,
            @{ $rounds[-1] }{qw(seconds collected first cpu_ms)}, $rounds[-1]{peak_kib} / 1024, $rounds[-1]{anon_kib} / 1024, $calls->{connections};
    }
    $chain->stop;
    return \@rounds;
}

# --- a large firing, and triggers, while events come in ---

sub start_events {
    my ($chain, $seconds) = @_;

    my $secret = spew("$dir/secret", $chain->secret, 0600);
    return StudyTest::Proc->start(name => 'sender', log => "$dir/sender.log", cmd => [
        $SENDER, '--url', $chain->nginx->url . '/slack/events', '--secret-file', $secret, '--rate', $option{rate},
        '--requests', $option{rate} * $seconds, '--connections', 32, '--users', 500, '--channels', 20, '--duration', $seconds + 30,
    ]);
}

sub run_firing {
    my $chain = start_chain('firing', digest => { processes => 0 });
    my @rounds;
    for my $round (1 .. $option{rounds}) {
        fill($chain, $option{'firing-members'}, 3);
        my $events = start_events($chain, 60);
        sleep 2;
        my $before = $chain->value('SELECT count(*) FROM study.message');
        my ($pid) = role_pids($chain, 'schedule');
        my $cpu = cpu_seconds($pid, backends($chain, 'schedule'));
        my $start = time;
        trigger($chain, 'daily');
        my $done = wait_for { $chain->value("SELECT extract(epoch FROM done_at) FROM study.firing WHERE state = 'done'") } 120, 'the firing';
        my $digests = $chain->value('SELECT count(*) FROM study.digest');
        my $after = $chain->value('SELECT count(*) FROM study.message');
        my $lag = $chain->value('SELECT extract(epoch FROM max(stored_at - accepted_at)) FROM study.message WHERE stored_at > now() - interval \'1 min\' AND accepted_at > to_timestamp(?)', $start);
        croak "$digests digests for $option{'firing-members'} members" if $digests < $option{'firing-members'};
        push @rounds, {
            seconds => $done - $start, digests => $digests, stored => ($after - $before) / (time - $start), lag => $lag // 0,
            cpu => cpu_seconds($pid, backends($chain, 'schedule')) - $cpu,
        };
        printf STDERR "firing %d: %.2f s for %d digests; %.0f events/s stored meanwhile, the slowest after %.2f s\n", $round,
            @{ $rounds[-1] }{qw(seconds digests stored lag)};
        $events->stop;
        $chain->wait_drained(60);
    }
    $chain->stop;
    return \@rounds;
}

# In a chain of its own: behind a firing, PostgreSQL is still writing at its tables, and the disk
# that Redis waits for is the same. The schedule is of a workspace with nobody in it: what is
# measured is the answer.
sub run_triggers {
    my $chain = start_chain('trigger', digest => { processes => 0 });
    $chain->dbh->do(q{INSERT INTO study.team (team_id) VALUES ('T0EMPTY')});
    $chain->dbh->do(q{INSERT INTO study.schedule (name, team_id, kind, scope, cron, time_zone, next_at) VALUES ('empty', 'T0EMPTY', 'daily', 'workspace', '30 8 * * *', 'UTC', now() + interval '1 day')});
    my $events = start_events($chain, ceil($option{triggers} / $option{'trigger-rate'}) + 20);
    sleep 2;
    my @ms;
    for (1 .. $option{triggers}) {
        my $start = time;
        trigger($chain, 'empty');
        push @ms, 1000 * (time - $start);
        sleep 1 / $option{'trigger-rate'};
    }
    $events->stop;
    $chain->stop;
    return [ sort { $a <=> $b } @ms ];
}

# --- the table ---

print machine(), "\n$option{members} members with $option{messages} messages, a model that takes $option{answer} s, $option{calls} calls at once;",
    " fsync and synchronous_commit on, appendfsync always\n\n";

my $floor = ceil($option{members} / $option{calls}) * $option{answer};
my (%rounds, @table);
if ($option{members}) {
    $rounds{'keep-alive'} = run_digests('keep-alive', start_model('plain', 0), max_connections => $option{calls});
    my $tls = start_model('tls', 1);
    $rounds{http2} = run_digests('http2', $tls, max_connections => $option{'http2-connections'}, ca_file => $tls->{cert});
    @table = ([ 'digests', 'trigger to last stored, s', "/ floor ($floor s)", 'CPU ms a digest', '(its backend)', 'peak memory MiB', 'connections' ]);
    for my $name (sort keys %rounds) {
        my $of = $rounds{$name};
        push @table, [ $name, spread('%.2f', map { $_->{seconds} } @$of), sprintf('%.3f', median(map { $_->{seconds} } @$of) / $floor),
            spread('%.2f', map { $_->{cpu_ms} } @$of), sprintf('%.2f', median(map { $_->{pg_ms} } @$of)),
            sprintf('%.1f', $of->[-1]{peak_kib} / 1024), $of->[-1]{connections} ];
    }
    print "\n", table(@table);
}
my $firing = $option{'firing-members'} ? run_firing() : [];
if (@$firing) {
    print "\n", table([ 'firing', 'trigger to last digest row, s', 'events/s stored meanwhile', 'slowest event stored after, s', 'CPU s' ],
        [ "$option{'firing-members'} members, 3 messages each", spread('%.2f', map { $_->{seconds} } @$firing), spread('%.0f', map { $_->{stored} } @$firing),
            spread('%.2f', map { $_->{lag} } @$firing), spread('%.1f', map { $_->{cpu} } @$firing) ]);
}

my $ms = $option{triggers} ? run_triggers() : [];
if (@$ms) {
    my %at = map { $_ => $ms->[ int(($#$ms) * $_ / 100) ] } 50, 99;
    printf "\na trigger's 202 while %d events/s come in, %d triggers/s: %.2f ms (median), %.2f ms (99 %%), %.2f ms (slowest of %d)\n", $option{rate}, $option{'trigger-rate'}, $at{50}, $at{99}, $ms->[-1], scalar @$ms;
}
save('digest', { settings => \%option, machine => machine(), floor => $floor, rounds => \%rounds, firing => $firing, trigger_ms => $ms });
