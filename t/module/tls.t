use strict;
use warnings;

# TLS to Redis, addresses of all families, names that change.

use Test::More;
use Time::HiRes qw(time);

use StudyTest::Module qw(:DEFAULT settings slow);
use StudyTest::FakeRedis;
use StudyTest::Proc qw(free_port run_limited slurp spew wait_for);

my $event = '{"type":"event_callback"}';
my $dir = "$DIR/tls";
mkdir $dir;

sub openssl {
    my (@args) = @_;
    my ($status, $said) = run_limited([ 'openssl', @args ]);
    BAIL_OUT("openssl @args: $said") if $status;
    return;
}

sub certificate {
    my ($name, $alt) = @_;
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', "/CN=$name", '-keyout', "$dir/$name.key",
        '-out', "$dir/$name.csr");
    spew("$dir/$name.ext", $alt ? "subjectAltName=$alt\n" : "keyUsage=digitalSignature\n");
    openssl('x509', '-req', '-in', "$dir/$name.csr", '-CA', "$dir/ca.crt", '-CAkey', "$dir/ca.key",
        '-CAcreateserial', '-days', 2, '-extfile', "$dir/$name.ext", '-out', "$dir/$name.crt");
    return;
}

openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2, '-subj', '/CN=Test CA',
    '-keyout', "$dir/ca.key", '-out', "$dir/ca.crt");
openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2, '-subj', '/CN=Other CA',
    '-keyout', "$dir/other.key", '-out', "$dir/other.crt");
certificate('redis', 'DNS:redis.test,DNS:localhost,IP:127.0.0.1');
certificate('nginx');

my ($plain, $port) = (free_port(), free_port());
my $redis = StudyTest::Redis->start(dir => $dir, name => 'tls', port => $plain, config => [
    "bind 127.0.0.1 -::1", "tls-port $port", "tls-cert-file $dir/redis.crt", "tls-key-file $dir/redis.key",
    "tls-ca-cert-file $dir/ca.crt",
]);
my $login = "study_redis_user study-nginx;\n study_redis_password_file " . $redis->password_file('study-nginx') . ';';

# An nginx whose study_redis is ADDRESS, with further lines.
sub with {
    my ($address, $more) = @_;
    $more //= '';
    return StudyTest::Module->nginx(
        http => settings(redis => $address) . $login, more => $more, impatient => 1,
    );
}

sub accepts {
    my ($name, $address, $more) = @_;

    my $nginx = with($address, $more);
    take_elements($redis);
    wait_for { $nginx->metrics->{'study_nginx_redis_connections{state="ready"}'} } 20 * slow(), "$name: ready"
        if slow() > 1;
    is($nginx->post($event)->{status}, 200, "$name: 200");
    is(scalar take_elements($redis), 1, "$name: the element is there");
    $nginx->stop;
    unlike($nginx->log, qr/\[alert\]|open socket/, "$name: no alert");
    return $nginx->log;
}

sub refuses {
    my ($name, $address, $more, $log) = @_;

    my $nginx = with($address, $more);
    wait_for { $nginx->log =~ /not available/ } 20 * slow(), 'the first attempt';
    is($nginx->post($event)->{status}, 503, "$name: 503");
    is(scalar take_elements($redis), 0, "$name: no element");
    $nginx->stop;
    like($nginx->log, $log, "$name: said");
    unlike($nginx->log, qr/\[alert\]|open socket/, "$name: no alert");
    return;
}

my $tls = "study_redis_tls on;";
my $ca = "study_redis_tls_trusted_certificate $dir/ca.crt;";
my $client = "study_redis_tls_certificate $dir/nginx.crt; study_redis_tls_certificate_key $dir/nginx.key;";

accepts('IPv4', "127.0.0.1:$plain");
SKIP: {
    skip 'no IPv6 here', 3 if !IO::Socket::IP->can('new') && !eval { require IO::Socket::IP; 1 }
        || !IO::Socket::IP->new(LocalHost => '::1', Listen => 1);
    accepts('IPv6', "[::1]:$plain");
}
accepts('a name of the hosts file', "localhost:$plain");

accepts('TLS', "127.0.0.1:$port", "$tls $ca $client");
accepts('TLS, by a name', "localhost:$port", "$tls $ca $client");
accepts('TLS, another name expected', "127.0.0.1:$port", "$tls $ca $client study_redis_tls_name redis.test;");
accepts('TLS, not verified', "127.0.0.1:$port", "$tls $client study_redis_tls_verify off;");
refuses('TLS, an unknown CA', "127.0.0.1:$port", "$tls $client study_redis_tls_trusted_certificate $dir/other.crt;",
    qr/Redis' SSL certificate verify error: \(\d+:.*issuer|Redis' SSL certificate verify error: \(\d+:/);
refuses('TLS, a wrong name', "127.0.0.1:$port", "$tls $ca $client study_redis_tls_name other.test;",
    qr/Redis' SSL certificate does not match "other.test"/);
refuses('TLS, a wrong address', "localhost:$port", "$tls $ca $client study_redis_tls_name 127.0.0.2;",
    qr/Redis' SSL certificate does not match "127.0.0.2"/);
refuses('TLS, no client certificate', "127.0.0.1:$port", "$tls $ca", qr/SSL|closed connection|not available/);
refuses('TLS to a plain port', "127.0.0.1:$plain", "$tls $ca $client study_redis_connect_timeout 300ms;",
    qr/SSL_do_handshake\(\) failed|Redis timed out|closed/);
refuses('plain to a TLS port', "127.0.0.1:$port", 'study_redis_connect_timeout 300ms;', qr/not available/);

# a relative path is the same file for every location, so that one connection serves all
subtest 'locations with the same files' => sub {
    my $nginx = StudyTest::Module->nginx(
        http => settings(redis => "127.0.0.1:$port") . $login, stopped => 1,
        more => $tls . join '', map { "study_redis_tls_$_->[0] $_->[1];" }
            [ trusted_certificate => 'ca.crt' ], [ certificate => 'nginx.crt' ], [ certificate_key => 'nginx.key' ],
    );
    spew("$nginx->{dir}/$_", slurp("$dir/$_"), 0600) for qw(ca.crt nginx.crt nginx.key);
    $nginx->run;
    is($nginx->post($event)->{status}, 200, 'accepted');
    is($nginx->metrics->{'study_nginx_redis_connections{state="ready"}'}, 1, 'one connection');
    $nginx->stop;
    take_elements($redis);
};

# what a server is told of the name that it was called by
subtest 'SNI' => sub {
    for my $case ([ "localhost:%d", '', 'localhost' ], [ "127.0.0.1:%d", 'study_redis_tls_name redis.test;', 'redis.test' ],
        [ "127.0.0.1:%d", '', undef ])
    {
        my ($address, $more, $name) = @$case;
        my $listen = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', Timeout => 20 * slow()) or BAIL_OUT("listen: $!");
        my $nginx = with(sprintf($address, $listen->sockport), "$tls $ca $more");
        my $peer = $listen->accept or BAIL_OUT('nobody called');
        sysread $peer, my $hello, 4096;
        my ($said) = $hello =~ /\0\0 .. .. \0 .. (localhost|redis\.test|127\.0\.0\.1)/xs;
        is($said, $name, 'the name of ' . ($more || $address));
        close $_ for $peer, $listen;
        $nginx->stop;
    }
};

subtest 'much at once over TLS' => sub {
    my $nginx = with("127.0.0.1:$port", "$tls $ca $client");
    my $large = '{"x":"' . 'y' x 200_000 . '"}';
    my @sockets = map { $nginx->socket } 1 .. 20;
    for my $socket (@sockets) {
        my $text = request_text($large);
        while (length $text) {
            my $n = $socket->syswrite($text, 65536);
            substr $text, 0, $n, '';
        }
    }
    my $accepted = grep { ($nginx->answer($_) // { status => 0 })->{status} == 200 } @sockets;
    is($accepted, 20, 'all accepted') if slow() == 1;     # valgrind may need more than the deadline
    my @got = take_elements($redis);
    cmp_ok(scalar(@got), '>=', $accepted, 'all there');
    is(scalar(grep { $_->[1] ne $large } @got), 0, 'all whole');
    $nginx->reload;
    $nginx->wait_workers;
    is($nginx->post($event)->{status}, 200, 'after a reload');
    take_elements($redis);
    $nginx->stop;
    unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');
};

# --- names ------------------------------------------------------------------------

# A name server that answers with what its file says: an address, or nothing.
my $dns = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1') or BAIL_OUT("udp: $!");
my $answer = spew("$dir/answer", '127.0.0.1');
my $parent = $$;
my $pid = fork // BAIL_OUT("fork: $!");
if (!$pid) {
    while (getppid == $parent) {
        vec(my $bits = '', fileno $dns, 1) = 1;
        next if !select $bits, undef, undef, 0.2;
        my $peer = recv $dns, my $query, 512, 0;
        open my $in, '<', $answer or next;
        my $address = <$in> // '';
        my ($id) = unpack 'n', $query;
        my $question = substr $query, 12;
        my ($name) = $question =~ /\A(.*?\0)/s;
        my $type = unpack 'n', substr $question, length $name, 2;
        $question = substr $question, 0, length($name) + 4;
        my $found = $type == 1 && $address;
        next if $address eq 'silence';
        my $reply = pack('n6', $id, 0x8180 | ($address ? 0 : 3), 1, $found ? 1 : 0, 0, 0) . $question;
        $reply .= pack('n3 N n', 0xc00c, 1, 1, 1, 4) . pack 'C4', split /\./, $address if $found;
        send $dns, $reply, 0, $peer;
    }
    POSIX::_exit(0);
}

my $resolver = 'resolver 127.0.0.1:' . $dns->sockport . ' valid=1s ipv6=off; resolver_timeout 1s;';

accepts('a name of the name server', "redis.test:$plain", $resolver);
accepts('TLS, a name of the name server', "redis.test:$port", "$resolver $tls $ca $client");

subtest 'a name that changes' => sub {
    spew($answer, '127.0.0.99');
    my $nginx = with("redis.test:$plain", "$resolver study_redis_connect_timeout 200ms;");
    wait_for { $nginx->log =~ /not available/ } 20 * slow(), 'the first attempt';
    is($nginx->post($event)->{status}, 503, 'nobody at the first address');
    spew($answer, '127.0.0.1');
    ok(eval { wait_for { $nginx->post($event)->{status} == 200 } 20 * slow() }, 'found at the second one');
    $nginx->stop;
    take_elements($redis);
    unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');
};

subtest 'a name that is not there yet' => sub {
    spew($answer, '');
    my $nginx = with("redis.test:$plain", $resolver);
    wait_for { $nginx->log =~ /"redis.test" could not be resolved/ } 20 * slow(), 'the first attempt';
    is($nginx->post($event)->{status}, 503, 'refused');
    spew($answer, '127.0.0.1');
    ok(eval { wait_for { $nginx->post($event)->{status} == 200 } 20 * slow() }, 'found later');
    $nginx->reload;
    $nginx->wait_workers;
    $nginx->stop;
    take_elements($redis);
    unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');
};

subtest 'a silent name server' => sub {
    spew($answer, 'silence');
    my $nginx = with("redis.test:$plain", $resolver);
    is($nginx->post($event)->{status}, 503, 'refused in time');
    $nginx->reload;
    $nginx->wait_workers;
    $nginx->stop;
    unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');
};

kill KILL => $pid;
waitpid $pid, 0;

StudyTest::Module::valgrind_ok();
done_testing();
