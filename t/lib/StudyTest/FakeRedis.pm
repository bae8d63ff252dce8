package StudyTest::FakeRedis;

# A Redis that misbehaves on demand, for what a real one cannot be made to do:
# answer half, stall, hang up between two bytes, be loading, turn read-only.
#
#   my $fake = StudyTest::FakeRedis->start(dir => $dir);      # options: name, tcp
#   $fake->address                  unix:/..., or 127.0.0.1:... with tcp => 1
#   $fake->mode('push', 'stall')    from now on, for pushes
#   $fake->pushed                   the elements it was given, acknowledged or not
#
# What a mode is for: 'hello' (AUTH, SELECT, LLEN), 'push' (RPUSH), 'accept' (a new
# connection). Modes:
#   ok                  what Redis would answer
#   error TEXT          -TEXT
#   raw BYTES           these bytes, with \r, \n escaped
#   half                the first byte of an answer, and then nothing
#   stall               nothing
#   cut                 hangs up without an answer
#   cut_half            hangs up after the first byte
#   reset               hangs up with a reset, over TCP
#   bytes               the answer byte by byte
#   late SECONDS        so much later, that the list is empty, so that nobody asks for its length
#   drop N              the first N pushes get an answer, then it hangs up

use strict;
use warnings;

use Carp qw(croak);
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use POSIX qw(_exit);
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(sleep);

use StudyTest::Proc qw(free_port slurp socket_dir spew);

sub start {
    my ($class, %opt) = @_;

    my $dir = $opt{dir} // croak 'dir?';
    my $name = $opt{name} // 'fake';
    my $self = bless {
        socket => socket_dir($dir) . "/$name.sock",
        port   => $opt{tcp} && free_port(),
        base   => "$dir/$name",
        owner  => $$,
    }, $class;

    spew("$self->{base}.pushed", '');
    $self->mode($_, 'ok') for qw(hello push accept);
    $self->listen;
    return $self;
}

sub address { my ($self) = @_; return $self->{port} ? "127.0.0.1:$self->{port}" : "unix:$self->{socket}" }

sub mode {
    my ($self, $what, $mode) = @_;

    spew("$self->{base}.$what.new", $mode);
    rename "$self->{base}.$what.new", "$self->{base}.$what" or croak "rename: $!";
    return;
}

# Each element as it was given, first to last.
sub pushed {
    my ($self) = @_;
    return map { pack 'H*', $_ } split /\n/, slurp("$self->{base}.pushed");
}

sub connections { my ($self) = @_; return -s "$self->{base}.accepted" // 0 }

sub listen {
    my ($self) = @_;

    unlink $self->{socket};
    my $server = $self->{port}
        ? IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Listen => 64, ReuseAddr => 1)
        : IO::Socket::UNIX->new(Local => $self->{socket}, Listen => 64);
    croak $self->address . ": $!" if !$server;
    $self->{pid} = fork // croak "fork: $!";
    return $self if $self->{pid};

    # The child. No END block or destructor of the test may run in it.
    my $parent = getppid;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM);
    $SIG{PIPE} = 'IGNORE';
    eval { $self->_serve($server, $parent) };
    syswrite STDERR, "FakeRedis: $@" if $@;
    _exit(0);
}

sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid} or return;
    kill KILL => $pid;
    waitpid $pid, 0;
    unlink $self->{socket};
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    $self->stop if $self->{owner} == $$;
    return;
}

# --- the child --------------------------------------------------------------------

sub _mode { my ($self, $what) = @_; return split / /, slurp("$self->{base}.$what"), 2 }

sub _append {
    my ($self, $what, $text) = @_;
    open my $out, '>>', "$self->{base}.$what" or die "$!\n";
    syswrite $out, $text;
    return;
}

sub _serve {
    my ($self, $server, $parent) = @_;

    my $select = IO::Select->new($server);
    my %in;
    while (getppid == $parent) {
        for my $fh ($select->can_read(0.2)) {
            if ($fh == $server) {
                my $client = $server->accept or next;
                $self->_append(accepted => '.');
                my ($mode) = $self->_mode('accept');
                next if $mode eq 'cut';
                $select->add($client);
                $in{$client} = { buf => '', fh => $client, answered => 0 };
                next;
            }
            my $c = $in{$fh};
            my $n = sysread $fh, $c->{buf}, 1 << 20, length $c->{buf};
            if (!$n || !$self->_commands($c)) {
                $select->remove($fh);
                delete $in{$fh};
                close $fh;
            }
        }
    }
    return;
}

# False: hang up.
sub _commands {
    my ($self, $c) = @_;

    while (my @args = _next_command(\$c->{buf})) {
        my $command = uc $args[0];
        my $what = $command eq 'RPUSH' ? 'push' : 'hello';
        my $answer = "+OK\r\n";
        if ($command eq 'RPUSH') {
            my ($key, @values) = @args[1 .. $#args];
            $self->_append(pushed => join '', map { unpack('H*', $_) . "\n" } @values);
            $answer = ':' . ($self->{length}{$key} += @values) . "\r\n";
        }
        elsif ($command eq 'LLEN') {
            $answer = ':' . ($self->{length}{$args[1]} // 0) . "\r\n";
        }
        $self->_answer($c, $answer, $self->_mode($what)) or return 0;
    }
    return 1;
}

sub _answer {
    my ($self, $c, $answer, $mode, $arg) = @_;

    my $fh = $c->{fh};
    return 0 if $mode eq 'cut';
    return 1 if $mode eq 'stall';
    return !setsockopt $fh, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if $mode eq 'reset';
    if ($mode eq 'drop') {
        return 0 if $c->{answered}++ >= $arg;
    }
    elsif ($mode eq 'error') {
        $answer = "-$arg\r\n";
    }
    elsif ($mode eq 'raw') {
        ($answer = $arg) =~ s/\\([rn])/$1 eq 'r' ? "\r" : "\n"/ge;
    }
    elsif ($mode eq 'half' || $mode eq 'cut_half') {
        syswrite $fh, substr $answer, 0, 1;
        return $mode eq 'half';
    }
    elsif ($mode eq 'late') {
        sleep $arg;
        $answer = ":0\r\n";
    }
    elsif ($mode eq 'bytes') {
        for my $byte (split //, $answer) {
            syswrite $fh, $byte;
            sleep 0.005;
        }
        return 1;
    }
    syswrite $fh, $answer;
    return 1;
}

# One whole command, or nothing.
sub _next_command {
    my ($buf) = @_;

    return if $$buf !~ /\A\*(\d+)\r\n/;
    my ($count, $pos, @args) = ($1, $+[0]);
    for (1 .. $count) {
        pos($$buf) = $pos;
        return if $$buf !~ /\G\$(\d+)\r\n/g;
        my ($len, $start) = ($1, $+[0]);
        return if length($$buf) < $start + $len + 2;
        push @args, substr $$buf, $start, $len;
        $pos = $start + $len + 2;
    }
    substr $$buf, 0, $pos, '';
    return @args;
}

1;
