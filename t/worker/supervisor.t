#!/usr/bin/perl

# The supervisor: the command line, every signal, processes that die, a configuration that
# is bad at the start and at a reload, and servers that are missing.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use IO::Socket::UNIX ();
use Socket qw(SOCK_DGRAM);
use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Postgres ();
use StudyTest::Proc qw(build_dir gone run_limited scratch_dir slurp socket_dir spew wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my $dir = scratch_dir('supervisor');
my $program = build_dir() . '/study-worker';
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");

sub worker {
    my ($name, $config, %opt) = @_;

    return StudyTest::Worker->new(
        dir => "$dir/$name", name => $name, redis => $redis, postgres => $pg,
        slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
        config => $config // {}, %opt,
    );
}

sub run { return run_limited([ $program, @_ ], limit => 20) }

sub title { my ($pid) = @_; return (eval { slurp("/proc/$pid/cmdline") } // '') =~ s/\0.*//sr }

# { title => pid } of the roles' processes.
sub roles {
    my ($worker) = @_;
    return map { my $t = title($_); $t =~ /^study-worker: (.*)/ ? ($1 => $_) : () } $worker->children;
}

sub all_roles {
    my ($worker, @want) = @_;
    @want = ('deliver 0', 'digest 0', 'schedule 0', 'status', 'store 0') if !@want;
    my %now;
    wait_for { %now = roles($worker); join(',', sort keys %now) eq join(',', sort @want) } 15, "the roles @want";
    return %now;
}

sub log_has {
    my ($worker, $what, $from) = @_;
    wait_for { substr(slurp($worker->log), $from // 0) =~ $what } 20, "the log to say $what";
    return;
}


# --- command line --------------------------------------------------------------------------

{
    my ($status, $said) = run('-h');
    is($status, 0, '-h');
    like($said, qr/^usage: study-worker -c FILE.*USR1/s, '... tells of options and signals');
    ($status, $said) = run('-V');
    is($status, 0, '-V');
    like($said, qr/^study-worker \d+\.\d+/, '... tells the version');
    for my $bad ([], ['-x'], ['-c'], ['-c', '/dev/null', 'more']) {
        ($status, $said) = run(@$bad);
        is($status >> 8, 2, "status 2 for the command line '@$bad'");
        like($said, qr/usage: /, '... and the usage');
    }

    my $file = worker('check')->file;
    ($status, $said) = run('-c', $file, '-t');
    is($status, 0, '-t with a good file');
    like($said, qr/\Q$file\E is good/, '... says so');

    my @cases = (
        [ "[store]\nlaese = 5s\n",               qr/:2: .*laese/,                          'an unknown key' ],
        [ "[stoer]\nlease = 5s\n",               qr/:[12]: .*stoer/,                       'an unknown section' ],
        [ "\n[store]\n\nprocesses = 65\n",       qr/:4: .*processes.*0.*64/,               'a number out of range' ],
        [ "[schedule]\nmax_wait = soon\n",       qr/:2: .*max_wait/,                       'no duration' ],
        [ "[redis]\npassword_file = /nowhere\n", qr/:2: .*password_file.*No such file/,    'a secret that is not there' ],
        [ "[log]\nfile = $dir/none/log\n",       qr/log file \Q$dir\E\/none\/log: No such/, 'a log that cannot be opened' ],
    );
    push @cases, [ "[worker]\nuser = nosuchuser\n", qr/\[worker\] user: there is no user "nosuchuser"/, 'an unknown user' ] if $> == 0;
    for my $case (@cases) {
        my ($text, $like, $name) = @$case;
        my $bad = spew("$dir/bad.conf", $text);
        for my $how ([ '-t' ], []) {
            ($status, $said) = run('-c', $bad, @$how);
            is($status >> 8, 78, "$name stops " . (@$how ? 'the check' : 'the start'));
            like($said, $like, '... and is named');
        }
    }
}

# --- nothing is there at the start ---------------------------------------------------------

my $setup = worker('setup');
$setup->migrate;
$redis->stop;
$pg->stop;

my $worker = worker('main', { log => { file => "$dir/main/worker.log" }, worker => { stop_timeout => '2s' } },
    env => { STUDY_SLACK_BOT_TOKEN => 'xoxb-only-in-the-environment', STUDY_OPENAI_API_KEY => 'sk-only-in-the-environment' });
$worker->write_config({ slack => { bot_token_file => undef }, openai => { api_key_file => undef } });

{
    $worker->start;
    my %is = all_roles($worker);
    like(title($worker->pid), qr/^study-worker: supervisor/, 'processes have titles');
    is(slurp("/proc/$is{'store 0'}/comm"), "study-store 0\n", '... and names');
    for my $pid ($worker->pid, values %is) {
        unlike(slurp("/proc/$pid/environ"), qr/only-in-the-environment/, 'no secret is shown in /proc/' . title($pid));
    }

    wait_for { $worker->get('/healthz')->{content} =~ /postgres: .*redis unix/s } 20, 'the health page to say what is missing';
    is($worker->get('/healthz')->{status}, 503, 'not healthy without Redis and PostgreSQL');
    unlike($worker->get('/healthz')->{content}, qr/postgres: PostgreSQL|redis (\S+): Redis/, '... and no name is said twice');
    sleep 2;
    my $log = slurp($worker->log);
    for my $role (qw(store schedule status)) {
        my @lines = grep { / error $role\[/ } split /\n/, $log;
        cmp_ok(scalar(@lines), '>=', 1, "$role says what is missing");
        cmp_ok(scalar(grep { /PostgreSQL/ } @lines), '<=', 1, '... PostgreSQL once');
        cmp_ok(scalar(grep { /redis\.sock/ } @lines), '<=', 1, '... Redis once');
    }
    is_deeply({ roles($worker) }, \%is, 'no process has ended over it');

    $redis->restart;
    $pg->restart;
    wait_for { $worker->get('/healthz')->{success} } 60, 'health once both are there';
    is($worker->get('/healthz')->{content}, "ok\n", 'healthy once both are there');
    is_deeply({ roles($worker) }, \%is, '... by the same processes');
    log_has($worker, qr/info schedule\[\d+\] PostgreSQL: works again/);
    $redis->client->rpush('study:{ingest}:pending', '{');
    wait_for { $pg->dbh->selectrow_array('SELECT count(*) FROM study.dead_event') } 20, 'an element to be stored';
    pass('what comes in is stored');
}

# --- processes that die --------------------------------------------------------------------

my %was = all_roles($worker);
{
    my $old = $was{'schedule 0'};
    kill KILL => $old;
    wait_for { my %is = roles($worker); $is{'schedule 0'} && $is{'schedule 0'} != $old } 10, 'another scheduler';
    pass('a killed process is started again');
    log_has($worker, qr/schedule 0 \(process $old\) was killed by signal 9/);
    wait_for { ($worker->metrics->{'study_worker_restarts_total{role="schedule"}'} // 0) == 1 } 10, 'the restart to be counted';
    pass('... and counted');

    for my $round (1 .. 3) {
        my %is;
        wait_for { %is = roles($worker); $is{'digest 0'} } 20, 'a digest process';
        kill KILL => $is{'digest 0'};
        wait_for { gone($is{'digest 0'}) } 10, 'its end';
    }
    my @waits;
    wait_for { @waits = slurp($worker->log) =~ /digest 0 .*killed.*again in ([\d.]+) s/g; @waits >= 3 } 10, 'the log to say so';
    is(scalar @waits, 3, 'one that dies again and again');
    cmp_ok($waits[-1], '>', $waits[0], "... is started ever more slowly (@waits)");
    %was = all_roles($worker);
}

# --- USR1 ----------------------------------------------------------------------------------

{
    my $log = $worker->log;
    rename $log, "$log.1" or die "rename: $!";
    $worker->proc->signal('USR1');
    my $all = sub {
        my ($path) = @_;
        return !grep { my $pid = $_; !grep { (readlink $_ // '') eq $path } glob "/proc/$pid/fd/*" } $worker->pid, values %was;
    };
    wait_for { $all->($log) } 10, 'every process to open the new log';
    pass('USR1: every process writes to a new file');
    ok(-s "$log.1", '... and the old one is as it was');
}

# --- HUP -----------------------------------------------------------------------------------

{
    my $good = slurp($worker->file);
    my $size = -s $worker->log;
    spew($worker->file, "$good\n[deliver]\nprocesses = many\n", 0600);
    $worker->proc->signal('HUP');
    log_has($worker, qr/the configuration stays as it is: .*study-worker.conf:\d+: .*processes/, $size);
    is_deeply({ roles($worker) }, \%was, 'HUP with a bad file changes nothing');
    ok($worker->get('/metrics')->{success}, '... and the pages are served');

    $worker->write_config({ store => { processes => 2 } });
    $worker->proc->signal('HUP');
    wait_for { gone(values %was) } 20, 'the old processes to be gone';
    my %is = all_roles($worker, 'deliver 0', 'digest 0', 'schedule 0', 'status', 'store 0', 'store 1');
    pass('HUP with a good file starts new processes and ends the old');
    wait_for { eval { $worker->metrics->{'study_worker_restarts_total{role="schedule"}'} } } 20, 'the pages of the new status process';
    is($worker->metrics->{'study_worker_restarts_total{role="schedule"}'}, 1, '... counters live on');
    wait_for { $worker->get('/healthz')->{success} } 20, 'health after the reload';
    unlike(substr(slurp($worker->log), $size), qr/ error (?!main)\w+\[/, '... without an error');

    $worker->proc->signal('HUP') for 1 .. 3;
    wait_for { gone(values %is) } 20, 'those to be gone';
    sleep 1;
    $worker->proc->signal('HUP');
    sleep 0.02;
    $worker->proc->signal('HUP');
    sleep 2;
    %was = all_roles($worker, 'deliver 0', 'digest 0', 'schedule 0', 'status', 'store 0', 'store 1');
    pass('reloads in a row leave one set of processes');
}

# --- stopping ------------------------------------------------------------------------------

{
    # One that does not even look: QUIT, TERM after stop_timeout, then KILL.
    kill STOP => $was{'store 1'};
    my $from = time;
    is($worker->stop('QUIT', 30), 0, 'QUIT ends it in order');
    cmp_ok(time - $from, '>=', 2, '... after stop_timeout');
    ok(gone(values %was), '... with every process');
    like(slurp($worker->log), qr/store 1 .* does not stop: killing it/, '... of which one had to be killed');

    for my $signal (qw(QUIT TERM INT)) {
        $worker->start;
        %was = all_roles($worker, 'deliver 0', 'digest 0', 'schedule 0', 'status', 'store 0', 'store 1');
        my $size = -s $worker->log;
        is($worker->stop($signal), 0, "$signal ends it in order");
        ok(gone(values %was), '... with every process');
        unlike(substr(slurp($worker->log), $size), qr/does not stop|was killed/, '... and none was killed');
    }

    $worker->start;
    %was = all_roles($worker, 'deliver 0', 'digest 0', 'schedule 0', 'status', 'store 0', 'store 1');
    # The kernel tells them, also one that does not look at this moment.
    kill STOP => $was{'store 1'};
    $worker->stop('KILL');
    my $told = eval { wait_for { hex((slurp("/proc/$was{'store 1'}/status") =~ /^ShdPnd:\t([0-9a-f]+)/m)[0]) & 1 << 14 } 10; 1 };
    ok($told, 'kill -9 of the supervisor: its processes are told');
    kill CONT => $was{'store 1'};
    wait_for { gone(values %was) } 30, 'the orphans to end';
    pass('... and end');
}

# --- as another user -----------------------------------------------------------------------

SKIP: {
    skip 'only root can become another user', 4 if $> != 0;
    my $other = worker('other', { worker => { user => 'nobody' }, log => { file => "$dir/other/other.log" } });
    $other->start;
    my %is = all_roles($other);
    my @uids = map { slurp("/proc/$_/status") =~ /^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)/m ? "$1 $2 $3 $4" : '' } sort values %is;
    my $nobody = getpwnam 'nobody';
    is_deeply(\@uids, [ ("$nobody $nobody $nobody $nobody") x 5 ], 'the roles are another user');
    is((stat "$dir/other/other.log")[4], $nobody, '... whose the log file is');
    unlink "$dir/other/other.log";
    $other->proc->signal('USR1');
    wait_for { !grep { my $pid = $_; !grep { (readlink $_ // '') eq "$dir/other/other.log" } glob "/proc/$pid/fd/*" } values %is } 10, 'the log to be opened again';
    pass('... and who opens it again');
    $other->stop('KILL');
    wait_for { gone(values %is) } 10, 'the orphans to end';
    pass('... and who still ends with the supervisor');
}

# --- an operator must act ------------------------------------------------------------------

{
    $redis->client->config('SET', 'appendonly', 'no');
    my $unsafe = worker('unsafe');
    $unsafe->start;
    log_has($unsafe, qr/store 0 cannot work until/);
    log_has($unsafe, qr/error $_\[\d+\] (?:script \w+: )?Redis unix:\S+redis.sock.*append/) for qw(store status);
    wait_for { $unsafe->get('/healthz')->{content} =~ /^store 0 cannot work/m } 10, 'the health page to say it';
    pass('a Redis that may lose elements is refused, and the health page says so');
    $redis->client->config('SET', 'appendonly', 'yes');
    $unsafe->stop;

    my $quiet = worker('quiet', { status => { listen => '' } });
    $quiet->start(wait => 0);
    all_roles($quiet, 'deliver 0', 'digest 0', 'schedule 0', 'store 0');
    pass('no address for the pages, no status process');
    $quiet->stop;
}

# --- systemd -------------------------------------------------------------------------------

{
    my $path = socket_dir($dir) . '/notify.sock';
    my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path) or die "$path: $!";
    my $got = '';
    my $heard = sub {
        my ($what) = @_;
        wait_for {
            vec(my $bits = '', fileno $socket, 1) = 1;
            while (select(my $r = $bits, undef, undef, 0)) {
                $socket->recv(my $message, 4096);
                $got .= "$message\n";
            }
            $got =~ $what;
        } 15, "systemd to hear $what";
        pass("systemd hears $what");
    };
    my $told = worker('told', {}, env => { NOTIFY_SOCKET => $path, WATCHDOG_USEC => 200_000 });
    $told->start;
    $heard->(qr/^READY=1$/m);
    $heard->(qr/(?:^WATCHDOG=1\n(?s:.*)){3}/m);
    $got = '';
    $told->proc->signal('HUP');
    $heard->(qr/^RELOADING=1\nMONOTONIC_USEC=\d+\n(?s:.*)^READY=1$/m);
    $told->stop;
    $heard->(qr/^STOPPING=1$/m);
}

done_testing;
