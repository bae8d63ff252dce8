package StudyTest::Nginx;

# A private nginx with the module and the shipped snippet conf/nginx/study.conf, as an
# operator would include it, but for the addresses and files that it names: those are
# taken out of a copy, and the harness gives its own around it.
#
#   my $nginx = StudyTest::Nginx->start(dir => $dir, redis => [ $redis->address ],
#       user => 'study-nginx', password_file => $file, secret => $secret, token => $token);
#   $nginx->url        http://127.0.0.1:PORT
#   $nginx->reload
#
# Options: dir; redis => [ addresses ]; user, password_file; secret => one or [ several ];
# token (of the trigger); processes (1); http => 'lines in http { }'; server => 'lines in
# server { }'; main => 'lines at the top'; log_level; listen => [ further addresses ].

use strict;
use warnings;

use Carp qw(croak);
use File::Path qw(make_path);
use HTTP::Tiny ();
use IO::Socket::INET ();
use POSIX ();

use StudyTest::Proc qw(free_port root_dir run_limited slurp spew);

my $SNIPPET = root_dir() . '/conf/nginx/study.conf';
my $MODULE = root_dir() . '/build/ngx_http_study_module.so';

# The nginx that the module was built for: a source tree's own, if one was given.
sub binary {
    return $ENV{TEST_NGINX_BINARY} if $ENV{TEST_NGINX_BINARY};
    return -x '/usr/sbin/nginx' ? '/usr/sbin/nginx' : 'nginx';
}

sub new {
    my ($class, %opt) = @_;

    my $self = bless { processes => 1, log_level => 'info', %opt }, $class;
    my $dir = $self->{dir} // croak 'dir?';
    make_path("$dir/tmp");
    $self->{port} //= free_port();

    my @secrets = ref $self->{secret} ? @{ $self->{secret} } : $self->{secret} // ();
    my $n = 0;
    $self->{secret_files} = [ map { _secret("$dir/signing-secret-" . ++$n, $_) } @secrets ];
    $self->{token_file} = _secret("$dir/trigger-token", $self->{token}) if defined $self->{token};

    my $snippet = slurp($SNIPPET);
    $snippet =~ s/^\s*study_(?:redis|redis_user|redis_password_file|signing_secret_file|trigger_token_file)\s[^;]*;\n//mg;
    spew("$dir/study.conf", $snippet);
    spew("$dir/study.conf", $self->_snippet);
    spew("$dir/nginx.conf", $self->_config);
    return $self;
}

sub _secret {
    my ($path, $value) = @_;

    unlink $path;
    return spew($path, "$value\n", 0600);
}

# Every setting of the snippet that names something of the machine, changed to ours.
sub _snippet {
    my ($self) = @_;

    my %moved = (
        study_redis               => join(' ', @{ $self->{redis} }),
        study_redis_user          => $self->{user},
        study_redis_password_file => $self->{password_file},
        study_signing_secret_file => join(' ', @{ $self->{secret_files} }) || undef,
        study_trigger_token_file  => $self->{token_file},
    );
    my $text = slurp($SNIPPET);
    for my $name (keys %moved) {
        $text =~ s/^\s*\Q$name\E\s[^;]*;\n/defined $moved{$name} ? "    $name $moved{$name};\n" : ''/gme
            or croak "conf/nginx/study.conf has no $name";
    }
    # A trigger without a token is a configuration error, so there is none then.
    $text =~ s/^location = \/study\/trigger \{.*?^\}\n//ms if !defined $self->{token_file};
    return $text;
}

sub _config {
    my ($self) = @_;

    my $dir = $self->{dir};
    my $listen = join "\n        ", map { "listen $_;" } "127.0.0.1:$self->{port}", @{ $self->{listen} // [] };
    my $temp = join "\n    ", map { "${_}_temp_path $dir/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    # As many as this user may have open, less those of nginx itself.
    my $files = POSIX::sysconf(POSIX::_SC_OPEN_MAX()) // 1024;
    my $connections = $files > 4196 ? 4096 : $files - 100;
    # As root, the processes stay root: the directories are root's own.
    my $user = $> == 0 ? 'user root;' : '';
    my ($main, $http, $server) = map { $_ // '' } @$self{qw(main http server)};

    return <<"END";
load_module $MODULE;
$user
daemon off;
worker_processes $self->{processes};
pid $dir/nginx.pid;
error_log $dir/error.log $self->{log_level};
$main

events {
    worker_connections $connections;
}

http {
    access_log off;
    $temp
    $http

    server {
        $listen
        $server
        include $dir/study.conf;
    }
}
END
}

# nginx -t: (status, what it said).
sub check {
    my ($self) = @_;
    return run_limited([ binary(), '-t', '-p', $self->{dir}, '-c', "$self->{dir}/nginx.conf",
        '-e', "$self->{dir}/error.log" ], limit => 30);
}

sub start {
    my ($class, %opt) = @_;

    my $self = $class->new(%opt);
    $self->run;
    return $self;
}

sub run {
    my ($self) = @_;

    my $dir = $self->{dir};
    unlink "$dir/nginx.pid";
    $self->{proc} = StudyTest::Proc->start(
        name => 'nginx',
        cmd  => [ binary(), '-p', $dir, '-c', "$dir/nginx.conf", '-e', "$dir/error.log" ],
        log  => "$dir/error.log",
        deathsig => 'TERM',     # the master takes its workers with it
    );
    $self->{proc}->ready(
        sub {
            -s "$dir/nginx.pid"
                && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 1);
        }, 20,
    );
    return $self;
}

sub url   { return "http://127.0.0.1:$_[0]{port}" }
sub port  { return $_[0]{port} }
sub proc  { return $_[0]{proc} }
sub pid   { return $_[0]{proc}->pid }
sub log   { return "$_[0]{dir}/error.log" }

# The ids of nginx' worker processes.
sub workers {
    my ($self) = @_;

    my $pid = $self->pid;
    return split ' ', slurp("/proc/$pid/task/$pid/children");
}

sub reload { my ($self) = @_; return $self->{proc}->signal('HUP') }

# The counters: { 'name{label="x"}' => value }.
sub metrics {
    my ($self) = @_;

    my $got = HTTP::Tiny->new(timeout => 10)->get($self->url . '/study/metrics');
    croak "metrics: $got->{status}" if !$got->{success};
    return { map { /^([^#\s]\S*)\s+(\S+)/ ? ($1 => $2) : () } split /\n/, $got->{content} };
}

sub stop {
    my ($self, $signal) = @_;
    return if !$self->{proc};
    return $self->{proc}->stop($signal // 'QUIT');
}

sub DESTROY {
    my ($self) = @_;
    $self->{proc}->stop('TERM') if $self->{proc} && $self->{proc}{owner} == $$;
    return;
}

1;
