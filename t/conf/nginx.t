#!/usr/bin/perl

# conf/nginx/: the snippet holds locations and nothing else, passes `nginx -t` without a
# Redis, and serves what it says; a reload every second costs no event.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use IO::Socket::INET ();
use Test::More;
use Time::HiRes qw(time);

use StudyTest::Event qw(message);
use StudyTest::Nginx;
use StudyTest::Proc qw(free_port root_dir run_limited scratch_dir slurp spew);
use StudyTest::Redis;
use StudyTest::Slack qw(signed_headers);

my $dir = scratch_dir('nginx-conf');
my $secret = 'a secret of this test';

# --- as shipped ------------------------------------------------------------------------

{
    (my $bare = slurp(root_dir() . '/conf/nginx/study.conf')) =~ s/^\s*#.*\n//mg;
    1 while $bare =~ s/location = \S+ \{[^{}]*\}//;
    like($bare, qr/\A\s*\z/, 'the snippet is location blocks and nothing else');
}

{
    my $nginx = StudyTest::Nginx->new(
        dir => "$dir/none", redis => ["unix:$dir/nobody.sock"], user => 'study-nginx',
        password_file => spew("$dir/password", "x\n", 0600), secret => $secret, token => 'tok',
    );
    my ($status, $said) = $nginx->check;
    is($status, 0, 'nginx -t passes without a Redis') or diag($said);
    unlike($said, qr/\[(?:warn|error|emerg)\]/, '... and without a warning');

    $nginx->run;
    my $slack = StudyTest::Slack->new(url => $nginx->url, secret => $secret, trigger_token => 'tok');
    is($slack->event(message())->{status}, 503, 'an event without Redis: 503');
    is($slack->event({ type => 'url_verification', challenge => 'ch' })->{content}, 'ch', 'a challenge without Redis: answered');
    is($slack->trigger(schedule => 'daily')->{status}, 503, 'a trigger without Redis: 503');
    is($nginx->stop, 0, 'it ends well');
}

# The whole example, with its paths moved.
{
    my $conf = slurp(root_dir() . '/conf/nginx/nginx-example.conf');
    my $own = "$dir/example";
    mkdir $own;
    my ($status, $said) = run_limited([ 'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
        '-nodes', '-subj', '/CN=study.example.org', '-days', '2', '-keyout', "$own/key.pem", '-out', "$own/cert.pem" ]);
    is($status, 0, 'a certificate for the example') or diag($said);

    my $nginx = StudyTest::Nginx->new(
        dir => $own, redis => ["unix:$dir/nobody.sock"], user => 'study-nginx',
        password_file => "$dir/password", secret => $secret, token => 'tok',
    );
    my %moved = (
        'modules/ngx_http_study_module.so'            => root_dir() . '/build/ngx_http_study_module.so',
        '/run/nginx.pid'                              => "$own/nginx.pid",
        '/var/log/nginx/error.log'                    => "$own/error.log",
        '/var/log/nginx/access.log'                   => "$own/access.log",
        '/etc/ssl/certs/study.example.org.pem'        => "$own/cert.pem",
        '/etc/ssl/private/study.example.org.key'      => "$own/key.pem",
        '/etc/study-tracker/nginx/study.conf'         => "$own/study.conf",
    );
    for my $path (sort keys %moved) {
        ok($conf =~ s/\Q$path\E/$moved{$path}/g, "the example names $path");
    }
    $conf =~ s/^user .*\n//m if $> != 0;
    my ($tls, $plain) = (free_port(), free_port());
    $conf =~ s/listen \[::\]:443/listen [::1]:$tls/ or die 'no IPv6';
    $conf =~ s/listen 443/listen 127.0.0.1:$tls/ or die 'no 443';
    $conf =~ s/127\.0\.0\.1:8081/127.0.0.1:$plain/ or die 'no 8081';
    # Debian's directories for what does not fit into memory are root's.
    my $temp = join '', map { "    ${_}_temp_path $own/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
    $conf =~ s/^http \{\n/$&$temp/m or die 'no http block';
    spew("$own/nginx.conf", $conf);
    ($status, $said) = $nginx->check;
    is($status, 0, 'nginx -t passes with the complete example') or diag($said);
}

# --- reloads under load ----------------------------------------------------------------

my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $nginx = StudyTest::Nginx->start(
    dir => "$dir/nginx", redis => [ $redis->address ], user => 'study-nginx', processes => 2,
    password_file => $redis->password_file('study-nginx'), secret => $secret, token => 'tok',
);

# One request over a kept-alive connection. A connection that nginx closed before a byte
# of the answer came is opened again and the request repeated, as HTTP has it.
my ($socket, $again) = (undef, 0);

sub post {
    my ($body) = @_;

    for my $try (1 .. 5) {
        $socket //= IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $nginx->port, Timeout => 5) or next;
        my %head = signed_headers($secret, $body);
        my $request = join "\r\n", 'POST /slack/events HTTP/1.1', 'Host: localhost', 'Content-Type: application/json',
            'Content-Length: ' . length $body, (map { "$_: $head{$_}" } sort keys %head), '', $body;
        local $SIG{PIPE} = 'IGNORE';
        syswrite $socket, $request;
        my $answer = '';
        while ($answer !~ /\r\n\r\n/) {
            vec(my $bits = '', fileno $socket, 1) = 1;
            last if select($bits, undef, undef, 10) < 1;
            last if !sysread $socket, $answer, 4096, length $answer;
        }
        my ($status) = $answer =~ m{^HTTP/1\.1 (\d+)};
        undef $socket if !$status || $answer =~ /^Connection: close/mi;
        return $status if $status;
        return 'a cut answer' if length $answer;
        $again++;
    }
    return 'no answer';
}

my $wanted = 10_000;
my %got;
my $reloaded = 0;
my $next = time + 0.3;
for my $n (1 .. $wanted) {
    $got{ post(qq({"type":"event_callback","event_id":"Ev$n"})) }++;
    if (time >= $next) {
        $nginx->reload;
        $reloaded++;
        $next = time + 1;
    }
}
is_deeply(\%got, { 200 => $wanted }, "$wanted keep-alive requests under a reload a second: all 200");
is($redis->client->llen('study:{ingest}:pending'), $wanted, '... and as many elements');
cmp_ok($reloaded, '>', 0, "... over $reloaded reloads ($again requests sent again on a new connection)");

undef $socket;
is($nginx->stop, 0, 'it ends well');
unlike(slurp($nginx->log), qr/\[(?:alert|emerg|crit)\]|open socket/, '... with nothing alarming in its log');

done_testing;
