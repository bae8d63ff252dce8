package StudyTest::Proc;

# Processes and waiting, for tests, the demo and the benchmarks.
#
# Every server that a test starts is held by its process id, writes into a log file
# of its own, and dies with us: the kernel sends it a signal when its parent ends
# (setpriv --pdeathsig), so even a test that was killed with -9 leaves nothing. It
# runs in a process group of its own, so that a Ctrl-C on the terminal reaches only
# us, and servers are stopped in our order.

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use Digest::MD5 qw(md5);
use Exporter qw(import);
use Fcntl qw(:DEFAULT :flock);
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use IO::Socket::INET ();
use POSIX qw(WNOHANG setpgid _exit);
use Scalar::Util qw(weaken);
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(build_dir free_port gone run_limited root_dir scratch_dir socket_dir slurp spew tail_of wait_for);

my $ROOT = abs_path(dirname(__FILE__) . '/../../..');
my @scratch;
my %live;               # what was started here and not yet stopped, weakly
my $serial = 0;

# The repository's top directory.
sub root_dir { return $ROOT }

# Where study-worker, studyctl and the unit tests lie; t/run has other builds of them, too.
sub build_dir { return $ENV{STUDY_BUILD} // "$ROOT/build" }

# A new directory build/test/run/NAME-XXXX, removed at the end of a test that passed
# and kept for a look after one that failed. Any user may enter it.
sub scratch_dir {
    my ($name) = @_;

    my $parent = "$ROOT/build/test/run";
    make_path($parent);
    for my $try (1 .. 1000) {
        my $dir = sprintf '%s/%s-%d-%d', $parent, $name, $$, $try;
        next if !mkdir $dir, 0755;
        remember($dir);
        return $dir;
    }
    croak "no scratch directory under $parent: $!";
}

# Where unix sockets of DIR go: DIR itself, or a short one under /tmp when the
# kernel's limit of 108 bytes would be passed. ROOM is the longest name planned.
sub socket_dir {
    my ($dir, $room) = @_;

    return $dir if length("$dir/") + ($room // 24) < 108;

    for my $try (1 .. 1000) {
        my $short = "/tmp/study-$$-$try";
        next if !mkdir $short, 0755;
        remember($short);
        return $short;
    }
    croak "no directory for sockets under /tmp: $!";
}

# A directory that goes when this process ends.
sub remember { push @scratch, [ $$, $_[0] ]; return }

sub _forget {
    my ($keep) = @_;
    my @mine = map { $_->[1] } grep { $_->[0] == $$ } @scratch;
    remove_tree(grep { !$keep || m{^/tmp/} } @mine);
    return;
}

END {
    my $status = $?;
    local $@;
    my $bad = $status || (Test::Builder->can('new') && !Test::Builder->new->is_passing);
    _forget($bad || $ENV{STUDY_KEEP});
    $? = $status;
}

# A TCP port of the loopback on which nobody listens, from below those that the kernel
# gives to connections: a server that is stopped for a while finds its port free again.
# Another one in each process, though not by rand(), whose seed is the tests' own; within
# one a port is never given twice.
my %given;

sub free_port {
    my ($first) = slurp('/proc/sys/net/ipv4/ip_local_port_range') =~ /^(\d+)/;
    my ($from, $below) = (10_000, $first > 12_000 ? $first : 32_768);

    for (1 .. 1000) {
        my $port = $from + unpack('L', md5(join ' ', $$, time, $_)) % ($below - $from);
        next if $given{$port}++;
        return $port if IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp', Listen => 1, ReuseAddr => 1,
        );
    }
    croak 'no free port';
}

# Whether none of the processes runs. One that has ended counts, also while nobody has
# waited for it: in a container the process 1 may be no init.
sub gone {
    for my $pid (@_) {
        open my $stat, '<', "/proc/$pid/stat" or next;
        my $line = <$stat> // next;
        return 0 if $line !~ /\) [ZX] /;
    }
    return 1;
}

# How many times longer anything may take: under valgrind.
sub slowness { return $ENV{STUDY_VALGRIND} ? 3 : 1 }

# Calls COND until it is true, LIMIT seconds at most; returns what it returned, or
# dies naming WHAT. The limit is a safety net, never the thing tested: files that run
# beside others have several times as long (STUDY_PATIENCE).
sub wait_for(&;$$) {
    my ($cond, $limit, $what) = @_;

    $limit = ($limit // 30) * ($ENV{STUDY_PATIENCE} // 1) * slowness();
    my $end = time + $limit;
    my $pause = 0.005;
    while (1) {
        my $got = $cond->();
        return $got if $got;
        croak "waited $limit s in vain for " . ($what // 'a condition') if time >= $end;
        sleep $pause;
        $pause = $pause * 1.5 > 0.1 ? 0.1 : $pause * 1.5;
    }
}

sub slurp {
    my ($path) = @_;

    open my $in, '<:raw', $path or croak "$path: $!";
    local $/;
    return scalar <$in>;
}

sub spew {
    my ($path, $content, $mode) = @_;

    sysopen my $out, $path, O_WRONLY | O_CREAT | O_TRUNC, $mode // 0644 or croak "$path: $!";
    binmode $out;
    print {$out} $content or croak "$path: $!";
    close $out or croak "$path: $!";
    return $path;
}

# The last LINES lines of a file; empty when there is none.
sub tail_of {
    my ($path, $lines) = @_;

    open my $in, '<:raw', $path or return '';
    my @all = <$in>;
    my $from = @all > $lines ? @all - $lines : 0;
    return join '', @all[ $from .. $#all ];
}

# Runs a command to its end, LIMIT seconds at most. In list context (status, output):
# the wait status as $?, standard output and error together. Options: limit, user,
# env, dir, in (what it reads).
sub run_limited {
    my ($cmd, %opt) = @_;

    pipe my $from, my $to or croak "pipe: $!";
    pipe my $in_r, my $in_w or croak "pipe: $!";
    my $pid = _spawn($cmd, %opt, deathsig => 'KILL', stdin => $in_r, output => $to, close => [ $from, $in_w ]);
    close $to;
    close $in_r;

    local $SIG{PIPE} = 'IGNORE';
    if (defined $opt{in}) {
        syswrite $in_w, $opt{in};       # small: what fits into a pipe
    }
    close $in_w;

    my $out = '';
    my $end = time + ($opt{limit} // 60);
    my $over;
    while (1) {
        vec(my $bits = '', fileno $from, 1) = 1;
        my $left = $end - time;
        my $ready = $left > 0 ? select $bits, undef, undef, $left : 0;
        if ($ready == 0) {
            kill KILL => -$pid;
            $over = 1;
            last;
        }
        next if $ready < 0;
        my $n = sysread $from, $out, 65536, length $out;
        last if !$n;
    }
    waitpid $pid, 0;
    my $status = $?;
    $out .= "\n(stopped after " . ($opt{limit} // 60) . " s)\n" if $over;
    return wantarray ? ($status, $out) : $status;
}

# Forks and runs CMD. With a user, as that user (we are root then).
sub _spawn {
    my ($cmd, %opt) = @_;

    my @full = ('setpriv');
    if (defined $opt{user}) {
        push @full, "--reuid=$opt{user}", "--regid=$opt{user}", '--init-groups';
    }
    push @full, '--pdeathsig', $opt{deathsig} if defined $opt{deathsig};
    @full = @full > 1 ? (@full, '--', @$cmd) : @$cmd;

    my $parent = $$;
    my $pid = fork // croak "fork: $!";
    return $pid if $pid;

    # The child. No END block, no destructor of the test may run in it.
    my $fail = sub { syswrite STDERR, "$full[0]: $!\n"; _exit(127) };
    setpgid(0, 0);
    close $_ for @{ $opt{close} // [] };
    if ($opt{stdin}) { open STDIN, '<&', $opt{stdin} or $fail->() }
    else             { open STDIN, '<', '/dev/null' or $fail->() }
    if ($opt{output}) {
        open STDOUT, '>&', $opt{output} or $fail->();
        open STDERR, '>&', $opt{output} or $fail->();
    }
    if (defined $opt{dir}) { chdir $opt{dir} or $fail->() }
    my $env = $opt{env} // {};
    for my $key (keys %$env) {
        if (defined $env->{$key}) { $ENV{$key} = $env->{$key} }
        else                      { delete $ENV{$key} }
    }
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE CHLD QUIT USR1 USR2);
    _exit(0) if getppid != $parent;
    { no warnings 'exec'; exec { $full[0] } @full }
    $fail->();
}

# start(name => ..., cmd => [...], log => FILE, and of: env, user, dir,
#       deathsig => 'KILL', stop => 'TERM', limit => seconds to stop)
sub start {
    my ($class, %opt) = @_;

    my $self = bless {
        name  => $opt{name} // basename($opt{cmd}[0]),
        log   => $opt{log},
        stop  => $opt{stop} // 'TERM',
        limit => $opt{limit} // 15,
        owner => $$,
    }, $class;

    open my $out, '>>', $opt{log} or croak "$opt{log}: $!";
    $self->{pid} = _spawn(
        $opt{cmd},
        user => $opt{user}, env => $opt{env}, dir => $opt{dir}, output => $out,
        deathsig => $opt{deathsig} // 'KILL',
    );
    close $out;
    weaken($live{ ++$serial } = $self);

    return $self;
}

# Stops everything that was started here, the newest first: for a signal handler.
sub stop_all {
    for my $n (sort { $b <=> $a } keys %live) {
        my $proc = delete $live{$n} or next;
        $proc->stop if $proc->{owner} == $$;
    }
    _forget(1);
    return;
}

sub pid  { return $_[0]{pid} }
sub name { return $_[0]{name} }
sub log  { return $_[0]{log} }
sub log_tail { my ($self, $lines) = @_; return tail_of($self->{log}, $lines // 40) }

# Whether it still runs; the wait status is kept once it does not.
sub alive {
    my ($self) = @_;

    return 0 if exists $self->{status};
    my $got = waitpid $self->{pid}, WNOHANG;
    return 1 if $got == 0;
    $self->{status} = $got == $self->{pid} ? $? : -1;
    return 0;
}

sub status { my ($self) = @_; $self->alive; return $self->{status} }

sub signal {
    my ($self, $signal) = @_;
    return $self->alive && kill $signal, $self->{pid};
}

# Waits for its end, LIMIT seconds at most; returns the wait status, undef if it runs.
sub wait_exit {
    my ($self, $limit) = @_;

    my $end = time + ($limit // 15) * slowness();
    while ($self->alive) {
        return undef if time >= $end;
        sleep 0.01;
    }
    return $self->{status};
}

# Asks it to end, then makes it. Returns the wait status.
sub stop {
    my ($self, $signal, $limit) = @_;

    return $self->{status} if !$self->alive;
    kill $signal // $self->{stop}, $self->{pid};
    if (!defined $self->wait_exit($limit // $self->{limit})) {
        $self->{killed} = 1;
        kill KILL => -$self->{pid};
        $self->wait_exit(10);
    }
    return $self->{status};
}

# True when the last stop had to kill it.
sub was_killed { return !!$_[0]{killed} }

# Waits until COND is true, or dies at once when the process ended meanwhile, saying
# the end of its log.
sub ready {
    my ($self, $cond, $limit) = @_;

    my $ok = eval {
        wait_for { !$self->alive || $cond->() } $limit // 30, "$self->{name} to be ready";
        1;
    };
    my $why = $@;
    croak "$self->{name} did not start"
        . ($ok ? ' (status ' . ($self->{status} >> 8) . ')' : ": $why") . "\n" . $self->log_tail
        if !$ok || !$self->alive;
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    return if $$ != ($self->{owner} // 0);
    local ($?, $@, $!);
    $self->stop;
    return;
}

1;
