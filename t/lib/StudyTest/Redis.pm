package StudyTest::Redis;

# A private redis-server with the shipped conf/redis-study.conf, moved into a
# directory of its own and with passwords set as conf/README.md tells an operator.
#
#   my $redis = StudyTest::Redis->start(dir => $dir);
#   $redis->address         unix:/... for nginx and the worker
#   $redis->client          a Redis object logged in as the administrator
#   $redis->client('study-nginx')
#
# Options: dir; port (also listens on 127.0.0.1:port); config => [ lines put after the
# shipped ones ].

use strict;
use warnings;

use Carp qw(croak);
use Digest::SHA qw(sha256_hex);
use File::Path qw(make_path);
use Redis ();

use StudyTest::Proc qw(root_dir slurp socket_dir spew);

my %USERS = ('study-nginx' => 'nginx', 'study-worker' => 'worker');

sub start {
    my ($class, %opt) = @_;

    my $dir = $opt{dir} // croak 'dir?';
    make_path($dir);
    my $self = bless {
        dir      => $dir,
        name     => $opt{name} // 'redis',
        socket   => socket_dir($dir) . '/redis.sock',
        port     => $opt{port},
        config   => $opt{config} // [],
        password => { admin => _random() },
        file     => {},
    }, $class;

    for my $user (keys %USERS) {
        $self->{password}{$user} = _random();
        $self->{file}{$user} = "$dir/redis-$USERS{$user}.password";
        unlink $self->{file}{$user};
        spew($self->{file}{$user}, "$self->{password}{$user}\n", 0600);
    }

    $self->_write_config;
    $self->restart;
    return $self;
}

sub _random { return join '', map { sprintf '%04x', int rand 65536 } 1 .. 8 }

sub _write_config {
    my ($self) = @_;

    my $conf = slurp(root_dir() . '/conf/redis-study.conf');
    my %moved = (
        unixsocket => $self->{socket},
        dir        => $self->{dir},
        pidfile    => "$self->{dir}/redis.pid",
        logfile    => "$self->{dir}/redis.log",
        port       => $self->{port} // 0,
    );
    for my $key (keys %moved) {
        $conf =~ s/^\Q$key\E .*$/$key $moved{$key}/m or croak "redis-study.conf has no '$key'";
    }
    for my $user (keys %USERS) {
        my $hash = sha256_hex($self->{password}{$user});
        $conf =~ s/^user \Q$user\E off /user $user on #$hash /m
            or croak "redis-study.conf has no '$user' that is off";
    }
    my $admin = sha256_hex($self->{password}{admin});
    $conf .= "user admin on #$admin ~* &* +\@all\n";
    $conf .= "bind 127.0.0.1\n" if defined $self->{port};
    $conf .= join '', map { "$_\n" } @{ $self->{config} };

    spew("$self->{dir}/redis.conf", $conf, 0640);
    return;
}

# Starts it (again), on the data that is there.
sub restart {
    my ($self) = @_;

    $self->stop;
    unlink $self->{socket};
    $self->{proc} = StudyTest::Proc->start(
        name => $self->{name},
        cmd  => [ 'redis-server', "$self->{dir}/redis.conf" ],
        log  => "$self->{dir}/redis.log",
        dir  => $self->{dir},
    );
    $self->{proc}->ready(sub { $self->_answers }, 30);
    return $self;
}

sub _answers {
    my ($self) = @_;

    return 0 if !-S $self->{socket};
    return eval { ($self->client->ping // '') eq 'PONG' };   # not while it loads
}

sub client {
    my ($self, $user) = @_;

    $user //= 'admin';
    return Redis->new(
        sock => $self->{socket}, username => $user, password => $self->{password}{$user},
        cnx_timeout => 5, read_timeout => 30, write_timeout => 30,
    );
}

sub address       { return "unix:$_[0]{socket}" }
sub socket        { return $_[0]{socket} }
sub port          { return $_[0]{port} }
sub proc          { return $_[0]{proc} }
sub pid           { return $_[0]{proc}->pid }
sub log           { return "$_[0]{dir}/redis.log" }
sub password      { my ($self, $user) = @_; return $self->{password}{$user} }
sub password_file { my ($self, $user) = @_; return $self->{file}{$user} }

# Ends it as a power cut of the process would, with nothing saved.
sub crash {
    my ($self) = @_;
    return if !$self->{proc};
    $self->{proc}->stop('KILL');
    return;
}

sub stop {
    my ($self) = @_;
    return if !$self->{proc};
    $self->{proc}->stop;
    unlink $self->{socket};
    return;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    $self->stop if $self->{proc} && $self->{proc}{owner} == $$;
    return;
}

1;
