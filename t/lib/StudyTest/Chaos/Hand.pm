package StudyTest::Chaos::Hand;

# The hand that breaks things: from a seed, a shuffled deck of faults that is dealt again and
# again, each with a time and a victim. What it stops it wakes, what it kills it starts again,
# as systemd or an operator would; both later, on its timeline, so that faults overlap.
#
#   my $hand = StudyTest::Chaos::Hand->new(chain => $chain, seed => 7, say => sub { ... });
#   $hand->run_until($time);
#   $hand->let_go                what is stopped is woken, what is down started, faults end
#   $hand->counts                { fault => times }
#   $hand->orphans               processes that outlived their supervisor for too long
#   $hand->stops($kind)          [ from, to ] of each time that one of a kind was stopped
#   $hand->left                  processes that nginx or the supervisor once had, and that still run
#
# It asks no server anything while that one may be stopped: processes are found in /proc.

use strict;
use warnings;

use List::Util qw(shuffle);
use Time::HiRes qw(sleep time);

use StudyTest::Proc qw(gone slurp);


# What a child of a killed supervisor may take to let go of its work.
my $ORPHAN_LIMIT = 15;

my @DECK = (
    ('kill nginx') x 2, ('stop nginx') x 2, 'reload nginx',
    ('kill store') x 3, 'stop store', ('stop store for long') x 2,
    ('kill digest') x 2, 'stop digest', 'stop digest for long',
    ('kill deliver') x 4, 'stop deliver', 'stop deliver for long',
    ('kill schedule') x 2, 'stop schedule', 'stop schedule for long', 'kill status',
    ('kill supervisor') x 2, 'stop supervisor', 'reload supervisor',
    ('kill redis') x 2, ('stop redis') x 2, 'fill redis',
    ('end backend') x 2, 'kill backend', 'stop backend', 'crash postgres', 'stop postgres', 'lock messages',
    ('power cut') x 2,
    ('slack 429'), 'slack 500', 'slack 500 though posted', 'slack error though posted', 'slack cut before',
    ('slack cut after') x 2, ('slack stall') x 2, 'slack nonsense', 'stop slack',
    'openai 429', 'openai 500', 'openai cut before', 'openai cut after', 'openai stall', 'openai nonsense', 'stop openai',
);

# Faults of a stand-in: what goes wrong with how many of its requests, and for how many seconds at most.
my %ASKED = (
    'slack 429'                 => [ slack => 1.0, 6, 4, kind => 'status', status => 429, retry_after => 1 ],
    'slack 500'                 => [ slack => 0.6, 4, 4, kind => 'status', status => 500 ],
    'slack 500 though posted'   => [ slack => 0.6, 4, 4, kind => 'status', status => 500, accept => 1 ],
    'slack error though posted' => [ slack => 0.6, 4, 4, kind => 'error', error => 'internal_error', accept => 1 ],
    'slack cut before'          => [ slack => 0.6, 6, 4, kind => 'cut_before' ],
    'slack cut after'           => [ slack => 0.6, 6, 4, kind => 'cut_after' ],
    'slack stall'               => [ slack => 0.6, 6, 4, kind => 'stall', seconds => 5 ],
    'slack nonsense'            => [ slack => 0.6, 4, 4, kind => 'nonsense' ],
    'openai 429'                => [ openai => 1.0, 8, 4, kind => 'status', status => 429, retry_after => 1 ],
    'openai 500'                => [ openai => 0.7, 8, 4, kind => 'status', status => 500 ],
    'openai cut before'         => [ openai => 0.7, 8, 4, kind => 'cut_before' ],
    'openai cut after'          => [ openai => 0.7, 8, 4, kind => 'cut_after' ],
    'openai stall'              => [ openai => 0.7, 8, 4, kind => 'stall', seconds => 6 ],
    'openai nonsense'           => [ openai => 0.7, 8, 4, kind => 'nonsense' ],
);

# Longer than the role's lease as StudyTest::Chaos::Run sets it.
my %LONG = (store => [ 3.5, 6 ], digest => [ 11, 14 ], deliver => [ 11, 16 ], schedule => [ 16, 17 ]);

sub new {
    my ($class, %opt) = @_;
    return bless {
        pause => [ 0.2, 1.2 ], %opt, deck => [], timeline => [], count => {}, stopped => {}, stops => {}, down => {},
        seen => {}, orphans => [], serial => 0,
    }, $class;
}

sub counts  { return $_[0]{count} }
sub orphans { return @{ $_[0]{orphans} } }
sub stops   { my ($self, $kind) = @_; return @{ $self->{stops}{$kind} // [] } }

# A process id may be given again, to anybody: its start tells.
sub left {
    my ($self) = @_;
    return grep { !gone($_) && _started($_) == $self->{seen}{$_} } sort { $a <=> $b } keys %{ $self->{seen} };
}

sub run_until {
    my ($self, $end) = @_;

    srand $self->{seed};
    my $next = time + $self->_between(0.5, 1.5);
    while (time < $end) {
        $self->_look;
        $self->_do_due(time);
        if (time >= $next) {
            $self->_fault;
            $next = time + $self->_between(@{ $self->{pause} });
        }
        sleep 0.02;
    }
    return;
}

sub let_go {
    my ($self) = @_;

    while (my $job = shift @{ $self->{timeline} }) {
        if ($job->{what} eq 'orphans') { push @{ $self->{after} }, $job }
        else                           { $job->{code}->() }
    }
    $_->clear_faults for map { $self->{chain}->$_ } qw(slack openai);
    return;
}

# The looks for orphans that the hand's end came before; some seconds.
sub settle_orphans {
    my ($self) = @_;

    for my $job (@{ delete $self->{after} // [] }) {
        sleep 0.1 while time < $job->{at};
        $job->{code}->();
    }
    # Nothing is stopped any more, so a second look is the last.
    for my $job (@{ delete $self->{timeline} // [] }) {
        sleep 0.1 while time < $job->{at};
        $job->{code}->();
    }
    return;
}

sub _between { my ($self, $low, $high) = @_; return $low + rand($high - $low) }

sub _in {
    my ($self, $seconds, $what, $code) = @_;

    push @{ $self->{timeline} }, { at => time + $seconds, what => $what, code => $code };
    @{ $self->{timeline} } = sort { $a->{at} <=> $b->{at} } @{ $self->{timeline} };
    return;
}

sub _do_due {
    my ($self, $now) = @_;

    while (@{ $self->{timeline} } && $self->{timeline}[0]{at} <= $now) {
        (shift @{ $self->{timeline} })->{code}->();
    }
    return;
}

# One fault that is possible now, from the deck.
sub _fault {
    my ($self) = @_;

    for (1 .. 5) {
        @{ $self->{deck} } = shuffle @DECK if !@{ $self->{deck} };
        my $fault = shift @{ $self->{deck} };
        my $said = $self->_try($fault);
        next if !defined $said;
        $self->{count}{$fault}++;
        $self->{say}->($fault . ($said eq '' ? '' : ": $said"));
        return;
    }
    return;
}

sub _try {
    my ($self, $fault) = @_;

    return $self->_asked($fault) if $ASKED{$fault};
    my ($verb, $what, $long) = $fault =~ /^(\S+) (\S+)( for long)?$/;
    return $self->_stop_role($what, $long) if $verb eq 'stop' && $LONG{$what};
    return $self->_kill_role($what) if $verb eq 'kill' && ($LONG{$what} || $what eq 'status');
    my $method = '_' . $fault =~ tr/ /_/r;
    return $self->$method;
}

# --- processes ----------------------------------------------------------------------

sub _children {
    my ($pid) = @_;
    my $text = eval { slurp("/proc/$pid/task/$pid/children") } // '';
    return split ' ', $text;
}

sub _title { my ($pid) = @_; return (eval { slurp("/proc/$pid/cmdline") } // '') =~ tr/\0/ /r }

# Processes of the supervisor with the word in their title that are not stopped already.
sub _role {
    my ($self, $role) = @_;

    return if $self->{down}{supervisor};
    return grep { !$self->{stopped}{$_} && _title($_) =~ /\b$role\b/ } _children($self->{chain}->worker->pid);
}

sub _nginx { my ($self) = @_; return grep { !$self->{stopped}{$_} } _children($self->{chain}->nginx->pid) }

sub _backends {
    my ($self) = @_;

    return if $self->{down}{pg};
    return grep { !$self->{stopped}{$_} && _title($_) =~ /study-worker/ } _children($self->{chain}->pg->pid);
}

# Notes every process there is, so that none is left in the end.
sub _look {
    my ($self) = @_;

    return if time < ($self->{look_at} // 0);
    $self->{look_at} = time + 0.25;
    my @parents = ($self->{chain}->nginx->pid, $self->{down}{supervisor} ? () : $self->{chain}->worker->pid);
    $self->{seen}{$_} = _started($_) for @parents, map { _children($_) } @parents;
    return;
}

sub _pick { return @_ ? $_[ int rand @_ ] : undef }

# Stops a process for some seconds; KIND is what the checks ask about.
sub _stop_for {
    my ($self, $kind, $seconds, @pids) = @_;

    my $from = time;
    my $stop = [ $from, $from + $seconds ];
    push @{ $self->{stops}{$kind} }, $stop;
    @{ $self->{stopped} }{@pids} = (1) x @pids;
    kill STOP => @pids;
    $self->_in($seconds, 'wake', sub {
        my @left = grep { delete $self->{stopped}{$_} } @pids;
        kill CONT => @left if @left;
        $stop->[1] = time;
        @{ $self->{woken} }{@left} = (time) x @left;
    });
    return sprintf '%s for %.1f s', join(' ', @pids), $seconds;
}

sub _kill_role {
    my ($self, $role) = @_;

    my $pid = _pick($self->_role($role)) // return;
    kill KILL => $pid;
    return "$pid";
}

sub _stop_role {
    my ($self, $role, $long) = @_;

    # One of a role is left alone while another is stopped for long: work has to go on.
    my @pids = $self->_role($role);
    return if $long && @pids < 2;
    return $self->_stop_for($role, $self->_between($long ? @{ $LONG{$role} } : (0.2, 2)), _pick(@pids) // return);
}

sub _kill_nginx {
    my ($self) = @_;
    my $pid = _pick($self->_nginx) // return;
    kill KILL => $pid;
    return "$pid";
}

sub _stop_nginx {
    my ($self) = @_;
    return $self->_stop_for('nginx', $self->_between(0.3, 4.5), _pick($self->_nginx) // return);
}

sub _reload_nginx { my ($self) = @_; $self->{chain}->nginx->reload; return '' }

# --- the supervisor -----------------------------------------------------------------

# As systemd does it, but that nobody else ends the children: the kernel has to.
sub _kill_supervisor {
    my ($self, $wait) = @_;

    return if $self->{down}{supervisor};
    my $worker = $self->{chain}->worker;
    my $pid = $worker->pid;
    my @children = _children($pid);
    $self->{seen}{$_} = _started($_) for @children;
    $self->{down}{supervisor} = 1;
    delete $self->{stopped}{$pid};
    kill KILL => $pid;
    $self->_in($wait // $self->_between(0.1, 2), 'start', sub {
        $worker->start(wait => 0);
        delete $self->{down}{supervisor};
    });
    $self->_expect_gone($pid, @children);
    return "$pid, with " . @children . ' processes';
}

# A process that is stopped cannot end; it has its time once it was woken.
sub _expect_gone {
    my ($self, $supervisor, @children) = @_;

    my %name = map { $_ => _title($_) } @children;
    my %started = map { $_ => _started($_) } @children;
    $self->_in($ORPHAN_LIMIT, 'orphans', sub {
        my @left = grep { !gone($_) && _started($_) == $started{$_} } @children;
        my @free = grep { !$self->{stopped}{$_} && time - ($self->{woken}{$_} // 0) > 5 } @left;
        push @{ $self->{orphans} }, "$_ ($name{$_}) outlived its supervisor $supervisor" for @free;
        my @held = grep { my $pid = $_; !grep { $_ == $pid } @free } @left;
        $self->_expect_gone($supervisor, @held) if @held;
    });
    return;
}

sub _started {
    my ($pid) = @_;
    my $stat = eval { slurp("/proc/$pid/stat") } // return 0;
    $stat =~ s/^.*\)//s;
    return (split ' ', $stat)[19];
}

sub _stop_supervisor {
    my ($self) = @_;
    my $pid = $self->{chain}->worker->pid;
    return if $self->{down}{supervisor} || $self->{stopped}{$pid};
    return $self->_stop_for('supervisor', $self->_between(0.5, 4), $pid);
}

sub _reload_supervisor {
    my ($self) = @_;
    return if $self->{down}{supervisor};
    kill HUP => $self->{chain}->worker->pid;
    return '';
}

# --- Redis --------------------------------------------------------------------------

sub _kill_redis {
    my ($self) = @_;

    my $redis = $self->{chain}->redis;
    return if $self->{down}{redis} || $self->{stopped}{ $redis->pid };
    $self->{down}{redis} = 1;
    $redis->crash;
    my $seconds = $self->_between(0, 2);
    $self->_in($seconds, 'start', sub { $redis->restart; delete $self->{down}{redis} });
    return sprintf 'for %.1f s', $seconds;
}

sub _stop_redis {
    my ($self) = @_;
    my $pid = $self->{chain}->redis->pid;
    return if $self->{down}{redis} || $self->{stopped}{$pid};
    return $self->_stop_for('redis', $self->_between(0.3, 4), $pid);
}

# Full is full: less memory than it uses already.
sub _fill_redis {
    my ($self) = @_;

    my $redis = $self->{chain}->redis;
    return if $self->{down}{redis} || $self->{stopped}{ $redis->pid };
    $redis->client->config_set('maxmemory', 1);
    my $seconds = $self->_between(1, 5);
    # A restart gives it its memory back, too.
    $self->_in($seconds, 'empty', sub {
        return if $self->{down}{redis};
        kill CONT => $redis->pid if delete $self->{stopped}{ $redis->pid };
        $redis->client->config_set('maxmemory', '1gb');
    });
    return sprintf 'for %.1f s', $seconds;
}

# --- PostgreSQL ---------------------------------------------------------------------

sub _end_backend {
    my ($self) = @_;
    my $pid = _pick($self->_backends) // return;
    kill TERM => $pid;
    return "$pid";
}

# All of PostgreSQL recovers then, as after any crash of a backend.
sub _kill_backend {
    my ($self) = @_;
    my $pid = _pick($self->_backends) // return;
    kill KILL => $pid;
    return "$pid";
}

sub _stop_backend {
    my ($self) = @_;
    return $self->_stop_for('backend', $self->_between(0.5, 5), _pick($self->_backends) // return);
}

sub _stop_postgres {
    my ($self) = @_;

    return if $self->{down}{pg} || $self->{stopped}{ $self->{chain}->pg->pid };
    my $pid = $self->{chain}->pg->pid;
    return $self->_stop_for('postgres', $self->_between(0.5, 5), $pid, grep { !$self->{stopped}{$_} } _children($pid));
}

sub _crash_postgres {
    my ($self, $wait) = @_;

    return if $self->{down}{pg};
    my $pg = $self->{chain}->pg;
    $self->_crash_now($pg);
    my $seconds = $wait // $self->_between(0, 3);
    $self->_in($seconds, 'start', sub { $pg->restart; delete $self->{down}{pg} });
    return sprintf 'for %.1f s', $seconds;
}

sub _crash_now {
    my ($self, $pg) = @_;

    $self->{down}{pg} = 1;
    # A stopped backend would hold up the end, and a postmaster's end is what is meant.
    my @woken = grep { delete $self->{stopped}{$_} } $pg->pid, _children($pg->pid);
    kill CONT => @woken if @woken;
    $pg->crash;
    return;
}

# As a change of the schema does, or an operator's LOCK.
sub _lock_messages {
    my ($self) = @_;

    return if $self->{down}{pg};
    my $seconds = $self->_between(0.3, 3);
    my $pg = $self->{chain}->pg;
    $self->{locks} = [ grep { $_->alive } @{ $self->{locks} // [] } ];
    push @{ $self->{locks} }, StudyTest::Proc->start(
        name => 'lock', log => $self->{chain}->dir . '/lock.log', cmd => [
            'psql', '-X', '-q', '-d', $pg->dsn, '-c',
            "BEGIN; LOCK TABLE study.message IN SHARE MODE; SELECT pg_sleep($seconds); COMMIT",
        ],
    );
    return sprintf 'for %.1f s', $seconds;
}

# Everything of the host that works on the lists falls at once, and comes back; what PostgreSQL and
# Redis said was on disk is on disk.
sub _power_cut {
    my ($self) = @_;

    return if $self->{down}{pg} || $self->{down}{supervisor};
    my $pid = $self->{chain}->worker->pid;
    my @children = _children($pid);
    my $redis = rand() < 0.5 && !$self->{down}{redis};
    kill KILL => @children;
    delete @{ $self->{stopped} }{@children};
    $self->_kill_supervisor($self->_between(1, 3));
    $self->_crash_postgres($self->_between(0, 2));
    if ($redis) {
        delete $self->{stopped}{ $self->{chain}->redis->pid };
        $self->_kill_redis;
    }
    return $redis ? 'worker, PostgreSQL and Redis' : 'worker and PostgreSQL';
}

# --- Slack and the model ------------------------------------------------------------

sub _asked {
    my ($self, $fault) = @_;

    my ($who, $probability, $count, $seconds, %how) = @{ $ASKED{$fault} };
    return if $self->{stopped}{ $self->{chain}->$who->pid };
    my $stand_in = $self->{chain}->$who;
    $stand_in->clear_faults if ($self->{faulty}{$who} // 0) >= 3;
    $self->{faulty}{$who} = ($self->{faulty}{$who} // 0) % 3 + 1;
    $stand_in->fault({ %how, probability => $probability, count => 1 + int rand $count, seed => 1 + int rand 1e9 });
    $self->_in($seconds, 'clear', sub {
        $stand_in->clear_faults if !$self->{stopped}{ $stand_in->pid };
    });
    return '';
}

sub _stop_slack  { my ($self) = @_; return $self->_stop_stand_in('slack') }
sub _stop_openai { my ($self) = @_; return $self->_stop_stand_in('openai') }

sub _stop_stand_in {
    my ($self, $who) = @_;
    my $pid = $self->{chain}->$who->pid;
    return if $self->{stopped}{$pid};
    return $self->_stop_for($who, $self->_between(0.5, 5), $pid);
}

1;
