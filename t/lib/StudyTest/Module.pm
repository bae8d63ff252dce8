package StudyTest::Module;

# What the module's tests share. Load it before Test::Nginx::Socket:
#
#   use StudyTest::Module;
#   use Test::Nginx::Socket;
#
# It starts a private Redis and tells Test::Nginx where everything is. A block then
# may say what it posts, and it is signed as it leaves:
#
#   --- data            the body (one newline at the end is taken off)
#   --- path            default /slack/events
#   --- type            default application/json
#   --- sign_with       a secret other than the right one; "none": no headers
#   --- sign_at         seconds from now
#   --- signature, timestamp    in place of the right ones; "none": no such header
#   --- sign_as         what is made of the right digits: "v1=%s"; "%U": in upper case
#   --- sign_body       another body than the one that is posted
#   --- sign_zero       a zero in front of the timestamp, in both headers
#   --- repeat          the name of a header to be sent twice, with the same value
#   --- more            further header lines
#   --- queued          kinds of the elements that have to be in the lists after the
#                       answer, each with the body as posted; default: nothing
#
# `http_config` and `config` default to every handler at its usual place.
#
# Tests of what happens between requests start an nginx of their own:
#
#   my $nginx = StudyTest::Module->nginx(http => ..., config => ..., workers => 1);
#   $nginx->post('/slack/events', $body)    -> { status, headers, body }
#   $nginx->socket, $nginx->log, $nginx->metrics, $nginx->reload, $nginx->stop
#
# Both kinds run under valgrind when TEST_NGINX_USE_VALGRIND is set; whatever it
# has to say fails the file.

use strict;
use warnings;

use Carp qw(croak);
use Digest::SHA qw(hmac_sha256_hex);
use Exporter qw(import);
use IO::Socket::INET ();
use Test::More ();
use Time::HiRes qw(time);

use StudyTest::Proc qw(free_port root_dir run_limited scratch_dir slurp spew tail_of wait_for);
use StudyTest::Redis;

our @EXPORT = qw(
    $SECRET $OLD_SECRET $TOKEN $DIR chunked form queued redis_server request_text
    secret_file signed signed_headers study_blocks take_elements
);
our @EXPORT_OK = qw(settings slow);

our $SECRET = '8f742231b10e8888abcd99yyyzzz85a5';
our $OLD_SECRET = 'an-older-secret-that-still-counts';
our $TOKEN = 'a-trigger-token';

our $DIR = scratch_dir('module');

my $ROOT = root_dir();
my $OWNER = $$;
my $redis;

$ENV{TEST_NGINX_BINARY} //= -x '/usr/sbin/nginx' ? '/usr/sbin/nginx' : 'nginx';
$ENV{TEST_NGINX_SERVROOT} //= "$DIR/servroot";
$ENV{TEST_NGINX_SERVER_PORT} //= free_port();
$ENV{TEST_NGINX_SLEEP} //= '0.015';
$ENV{TEST_NGINX_LOAD_MODULES} = join ' ', grep { length }
    $ENV{TEST_NGINX_LOAD_MODULES}, $ENV{TEST_NGINX_STUDY_MODULE} // "$ROOT/build/ngx_http_study_module.so";
$ENV{PATH} .= ':/usr/sbin:/sbin';

if ($ENV{TEST_NGINX_USE_VALGRIND}) {
    $ENV{TEST_NGINX_TIMEOUT} //= 30;
    $ENV{VALGRIND_OPTS} = "--log-file=$DIR/valgrind.%p.log --leak-check=full"
        . " --show-leak-kinds=definite --errors-for-leak-kinds=definite"
        . " --suppressions=$ROOT/t/module/valgrind.suppress";
}

# How many times longer things take here than they do plainly.
sub slow { return $ENV{TEST_NGINX_USE_VALGRIND} ? 20 : 1 }

sub redis_server { return $redis //= StudyTest::Redis->start(dir => "$DIR/redis") }

sub secret_file {
    my ($name, $text, $mode) = @_;

    unlink "$DIR/$name";
    return spew("$DIR/$name", $text, $mode // 0600);
}

# The directives that all tests need.
sub settings {
    my (%opt) = @_;

    my $server = redis_server();
    my $password = $server->password_file('study-nginx');
    my $redis_lines = $opt{redis}
        ? "study_redis $opt{redis};"
        : 'study_redis ' . $server->address . ";\n    study_redis_user study-nginx;\n    study_redis_password_file $password;";
    return <<"END";
    $redis_lines
    study_signing_secret_file $DIR/secret $DIR/old_secret;
    study_trigger_token_file $DIR/token;
END
}

sub locations {
    return <<'END';
    location = /slack/events { study_events; }
    location = /slack/commands { study_commands; }
    location = /slack/interactions { study_interactions; }
    location = /study/trigger { study_trigger; }
    location = /study/metrics { study_metrics; }
END
}

secret_file('secret', "$SECRET\n");
secret_file('old_secret', "$OLD_SECRET\n");
secret_file('token', "$TOKEN\n");

# --- requests ---------------------------------------------------------------------

sub signed {
    my ($body, %opt) = @_;

    my $ts = $opt{timestamp} // int(time) + ($opt{at} // 0);
    my $signature = $opt{signature} // 'v0=' . hmac_sha256_hex("v0:$ts:$body", $opt{secret} // $SECRET);
    return ($ts, $signature);
}

# Header lines, each with its CRLF.
sub signed_headers {
    my ($body, %opt) = @_;

    my ($ts, $signature) = signed($body, %opt);
    return "X-Slack-Request-Timestamp: $ts\r\nX-Slack-Signature: $signature\r\n";
}

sub form {
    my (%field) = @_;
    return join '&', map {
        my $value = $field{$_};
        $value =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
        "$_=$value";
    } sort keys %field;
}

# BODY in chunks of SIZE.
sub chunked {
    my ($body, $size) = @_;
    return join '', (map { sprintf "%x\r\n%s\r\n", length, $_ } unpack "(a$size)*", $body), "0\r\n\r\n";
}

# A whole signed request. Options: path, type, chunk => size, close, more => lines,
# signed => lines in place of the right headers, and those of signed().
sub request_text {
    my ($body, %opt) = @_;

    my $path = $opt{path} // '/slack/events';
    my $type = $opt{type} // 'application/json';
    my $headers = $opt{signed} // signed_headers($body, %opt);
    my $length = $opt{chunk} ? 'Transfer-Encoding: chunked' : 'Content-Length: ' . length $body;
    my $close = $opt{close} ? "Connection: close\r\n" : '';
    my $more = $opt{more} // '';
    return "POST $path HTTP/1.1\r\nHost: localhost\r\nContent-Type: $type\r\n$headers$length\r\n$close$more\r\n"
        . ($opt{chunk} ? chunked($body, $opt{chunk}) : $body);
}

# --- lists ------------------------------------------------------------------------

# What lies in the lists, which are empty then: [ header line, body ] each.
sub take_elements {
    my ($server) = @_;

    my $client = ($server // redis_server())->client;
    my @got;
    for my $list (qw(control pending)) {
        push @got, $client->lrange("study:{ingest}:$list", 0, -1);
        $client->del("study:{ingest}:$list");
    }
    return map { [ split /\n/, $_, 2 ] } @got;
}

# Compares what lies in the lists with the kinds that are expected, each with BODY.
sub queued {
    my ($name, $body, @kinds) = @_;

    my @got = take_elements();
    Test::More::is(join(' ', map { $_->[0] =~ /"kind":"(\w+)"/ } @got), join(' ', @kinds), "$name - queued");
    Test::More::ok(!(grep { $_->[1] ne $body } @got), "$name - byte for byte") if defined $body && @kinds;
    return;
}

# --- Test::Nginx ------------------------------------------------------------------

# Registers the sections described above.
sub study_blocks {
    no strict 'refs';
    my $caller = caller;

    take_elements();
    &{"${caller}::add_block_preprocessor"}(\&_preprocess);
    &{"${caller}::add_response_body_check"}(sub {
        my ($block, undef, undef, undef, $dry_run) = @_;
        return if $dry_run || defined $block->must_die;
        queued($block->name, $block->{_study_body}, split ' ', $block->queued // '');
    });
    return;
}

sub _section {
    my ($block, $name) = @_;

    return if !defined $block->$name;
    my $value = $block->$name;
    $value =~ s/\n\z//;
    return $value;
}

sub _preprocess {
    my ($block) = @_;

    # "http2 on;" came with 1.25.1; Test::Nginx writes it from 1.19.9 on
    if ($ENV{TEST_NGINX_USE_HTTP2} && $Test::Nginx::Util::NginxVersion < 1.025001) {
        $Test::Nginx::Util::NginxVersion = 1.019008;
    }

    $block->set_value(http_config => settings() . ($block->http_more // '')) if !defined $block->http_config;
    $block->set_value(config => locations() . ($block->config_more // '')) if !defined $block->config;
    if (!defined $block->no_error_log && !defined $block->must_die) {
        $block->set_value(no_error_log => "[alert]\n[emerg]\n");
    }
    if (!$ENV{TEST_NGINX_USE_HUP} && !defined $block->no_shutdown_error_log) {
        $block->set_value(no_shutdown_error_log => "[alert]\nopen socket\n");
    }
    return if !defined $block->data;

    my $body = _section($block, 'data');
    my $with = _section($block, 'sign_with') // $SECRET;
    my $ts = (defined $block->sign_zero ? '0' : '') . (int(time) + (_section($block, 'sign_at') // 0));
    my (undef, $signature) = signed(_section($block, 'sign_body') // $body, secret => $with, timestamp => $ts);
    if (defined(my $as = _section($block, 'sign_as'))) {
        my $digits = substr $signature, 3;
        $signature = $as =~ s/%s/$digits/r =~ s/%U/\U$digits/r;
    }
    $ts = _section($block, 'timestamp') // $ts;
    $signature = _section($block, 'signature') // $signature;
    my $more = _section($block, 'more');
    my $path = _section($block, 'path') // '/slack/events';
    my @headers = (
        'Content-Type: ' . (_section($block, 'type') // 'application/json'),
        $with eq 'none' || $ts eq 'none' ? () : "X-Slack-Request-Timestamp: $ts",
        $with eq 'none' || $signature eq 'none' ? () : "X-Slack-Signature: $signature",
        defined $more ? $more : (),
    );
    if (defined(my $twice = _section($block, 'repeat'))) {
        push @headers, grep { /^\Q$twice\E:/i } @headers;
    }
    $block->set_value(request => "POST $path\n$body");
    $block->set_value(more_headers => join "\n", @headers);
    $block->{_study_body} = $body;
    return;
}

# --- an nginx of one's own --------------------------------------------------------

sub nginx {
    my ($class, %opt) = @_;

    my $self = bless {
        dir     => $opt{dir} // scratch_dir('nginx'),
        port    => $opt{port} // free_port(),
        workers => $opt{workers} // 1,
        %opt,
    }, $class;
    mkdir "$self->{dir}/tmp";
    mkdir "$self->{dir}/logs";
    $self->configure;
    $self->run unless $opt{stopped};
    return $self;
}

# Writes the configuration, with changes if any.
sub configure {
    my ($self, %opt) = @_;

    %$self = (%$self, %opt);
    my $dir = $self->{dir};
    my $temp = join "\n    ", map { "${_}_temp_path $dir/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    my $user = $> == 0 ? 'user root;' : '';
    my $load = join "\n", map { "load_module $_;" } split ' ', $ENV{TEST_NGINX_LOAD_MODULES};
    my $http = $self->{http} // settings();
    my $more = $self->{more} // '';
    $more .= ' study_redis_connect_timeout 2s;' if slow() > 1 && "$http $more" !~ /connect_timeout/;
    my $config = $self->{config} // locations();
    my $main = $self->{main} // '';
    my $http2 = $self->{http2} ? ' http2' : '';
    spew("$dir/nginx.conf", <<"END");
$load
$user
$main
daemon off;
worker_processes $self->{workers};
pid $dir/nginx.pid;
error_log $dir/error.log info;
events { worker_connections 1024; }
http {
    access_log $dir/access.log;
    keepalive_requests 1000000;
    $temp
$http
    $more
    server {
        listen 127.0.0.1:$self->{port}$http2;
$config
    }
}
END
    return $self;
}

sub command {
    my ($self, @args) = @_;
    my $dir = $self->{dir};
    return ($ENV{TEST_NGINX_BINARY}, '-p', "$dir/", '-c', "$dir/nginx.conf", '-e', "$dir/error.log", @args);
}

# nginx -t: (status, what it said)
sub check { my ($self) = @_; return run_limited([ $self->command('-t') ], limit => 60) }

sub run {
    my ($self) = @_;

    my @valgrind = $ENV{TEST_NGINX_USE_VALGRIND} ? qw(valgrind -q --num-callers=50 --trace-children=yes) : ();
    my $dir = $self->{dir};
    unlink "$dir/nginx.pid";
    $self->{proc} = StudyTest::Proc->start(
        name => 'nginx', cmd => [ @valgrind, $self->command ], log => "$dir/stderr.log", deathsig => 'TERM',
        stop => 'QUIT', limit => 60,
    );
    $self->{proc}->ready(sub { -s "$dir/nginx.pid" && $self->_connect }, 60);
    wait_for { !grep { /="(?:connecting|closed)"/ && $self->metrics->{$_} } keys %{ $self->metrics } } 30, 'workers'
        if !$self->{impatient} && $self->{http_metrics} // 1;
    return $self;
}

sub pid { return $_[0]{proc}->pid }

sub workers {
    my ($self) = @_;
    my $pid = $self->pid;
    return split ' ', slurp("/proc/$pid/task/$pid/children");
}

sub reload {
    my ($self) = @_;

    my %old = map { $_ => 1 } $self->workers;
    $self->{proc}->signal('HUP');
    wait_for { grep { !$old{$_} } $self->workers } 60, 'new workers';
    return $self;
}

# Waits until the workers of before are gone.
sub wait_workers {
    my ($self, $count) = @_;
    wait_for { $self->workers == ($count // $self->{workers}) } 60, 'old workers to exit';
    return;
}

sub stop {
    my ($self, $signal) = @_;
    return if !$self->{proc};
    return $self->{proc}->stop($signal // 'QUIT');
}

# Everything the log has, and nothing of it twice: what came since the last call.
sub new_log {
    my ($self) = @_;

    my $all = slurp("$self->{dir}/error.log");
    my $new = substr $all, $self->{log_seen} // 0;
    $self->{log_seen} = length $all;
    return $new;
}

sub log { my ($self) = @_; return slurp("$self->{dir}/error.log") }

sub _connect {
    my ($self) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 5);
}

sub socket {
    my ($self) = @_;
    return $self->_connect // croak "connect: $!";
}

# One answer from a socket, undef when there is none.
sub answer {
    my ($self, $socket, $limit) = @_;

    my $buf = delete ${*$socket}{study_rest} // '';
    my $end = time + ($limit // 10 * slow());
    while (1) {
        if ($buf =~ /\AHTTP\/1\.[01] (\d+)[^\r]*\r\n((?:[^\r\n]+\r\n)*)\r\n/) {
            my ($status, $head, $start) = ($1, $2, $+[0]);
            my %header;
            push @{ $header{ lc $1 } }, $2 while $head =~ /^([^:\r\n]+):[ ]*([^\r\n]*)/mg;
            my $length = $header{'content-length'} ? $header{'content-length'}[0] : 0;
            if ($status == 100 || length($buf) >= $start + $length) {
                $length = 0 if $status == 100;
                ${*$socket}{study_rest} = substr $buf, $start + $length;
                return {
                    status => $status, body => substr($buf, $start, $length),
                    headers => { map { $_ => join ', ', @{ $header{$_} } } keys %header },
                };
            }
        }
        vec(my $bits = '', fileno $socket, 1) = 1;
        my $left = $end - time;
        return if $left <= 0 || !select $bits, undef, undef, $left;
        return if !sysread $socket, $buf, 65536, length $buf;
    }
}

# Sends a text over a new connection, returns the answer.
sub ask {
    my ($self, $text) = @_;

    my $socket = $self->socket;
    local $SIG{PIPE} = 'IGNORE';
    $socket->syswrite($text);
    return $self->answer($socket);
}

sub post {
    my ($self, $body, %opt) = @_;
    return $self->ask(request_text($body, %opt)) // { status => 0, headers => {}, body => '' };
}

sub metrics {
    my ($self) = @_;
    my $got = $self->ask("GET /study/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    croak 'no metrics' if !$got || $got->{status} != 200;
    return { map { /^([^#\s]\S*)\s+(\S+)/ ? ($1 => $2) : () } split /\n/, $got->{body} };
}

sub outcome {
    my ($self, $outcome) = @_;
    return $self->metrics->{qq(study_nginx_events_total{outcome="$outcome"})};
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    $self->{proc}->stop('QUIT') if $self->{proc} && $self->{proc}{owner} == $$;
    return;
}

# --- valgrind ---------------------------------------------------------------------

# Fails the file over anything that valgrind has written so far.
sub valgrind_ok {
    return if !$ENV{TEST_NGINX_USE_VALGRIND};
    for my $log (glob "$DIR/valgrind.*.log") {
        next if !-s $log;
        Test::More::fail("valgrind: $log");
        Test::More::diag(tail_of($log, 60));
    }
    return;
}

END {
    if ($$ == $OWNER && $ENV{TEST_NGINX_USE_VALGRIND} && grep { -s } glob "$DIR/valgrind.*.log") {
        print STDERR "# valgrind: $_\n" . slurp($_) for grep { -s } glob "$DIR/valgrind.*.log";
        $? ||= 1;
    }
}

1;
