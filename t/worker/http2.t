#!/usr/bin/perl

# TLS and HTTP/2 on the way to the model: nginx, which offers both, in front of the stand-in.
# Many calls share few connections, and a certificate that nobody signed stops them.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use IO::Socket::SSL::Utils qw(CERT_create KEY_create_ec PEM_cert2string PEM_key2string);
use Test::More;

use StudyTest::Nginx;
use StudyTest::Outgoing;
use StudyTest::Proc qw(free_port scratch_dir slurp spew wait_for);

my $dir = scratch_dir('http2');
my $port = free_port();

my @ca = CERT_create(CA => 1, subject => { commonName => 'test CA' }, key => KEY_create_ec());
my ($cert, $key) = CERT_create(
    issuer => \@ca, purpose => 'server', subject => { commonName => 'stand-in' },
    subjectAltNames => [ [ IP => '127.0.0.1' ] ], key => KEY_create_ec(),
);
spew("$dir/ca.pem", PEM_cert2string($ca[0]));
spew("$dir/cert.pem", PEM_cert2string($cert));
spew("$dir/key.pem", PEM_key2string($key), 0600);

my $out = StudyTest::Outgoing->start(
    dir => "$dir/out", openai_url => "https://127.0.0.1:$port/v1", worker => 0,
    config => { openai => { concurrency => 24, max_connections => 4 } },
);
my $upstream = $out->openai->port;
mkdir "$dir/tmp";
spew("$dir/nginx.conf", <<"END");
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log $dir/error.log;
events { worker_connections 256; }
http {
    log_format version '\$server_protocol \$connection';
    access_log $dir/access.log version;
    client_body_temp_path $dir/tmp; proxy_temp_path $dir/tmp; fastcgi_temp_path $dir/tmp;
    uwsgi_temp_path $dir/tmp; scgi_temp_path $dir/tmp;
    server {
        listen 127.0.0.1:$port ssl http2;
        ssl_certificate $dir/cert.pem;
        ssl_certificate_key $dir/key.pem;
        client_body_buffer_size 1m;
        location / {
            proxy_pass http://127.0.0.1:$upstream;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
END
my $nginx = StudyTest::Proc->start(
    name => 'nginx', cmd => [ StudyTest::Nginx::binary(), '-p', $dir, '-c', "$dir/nginx.conf", '-e', "$dir/error.log" ],
    log => "$dir/nginx.out",
);
$nginx->ready(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1) }, 20);

subtest 'a certificate that nobody signed' => sub {
    $out->worker->start(wait => 0);
    my $id = $out->digest(user => 'U000001T', texts => ['not to be seen by anybody']);
    ok(wait_for(sub { $out->log =~ /the model's server: .*certificate/ }, 20), 'the server is not trusted');
    is($out->openai->count('chat/completions'), 0, 'and sees nothing');
    $out->worker->stop;
    $out->dbh->do("UPDATE study.digest SET state = 'cancelled', claim_token = NULL WHERE digest_id = ?", undef, $id);
};

subtest 'HTTP/2, many calls over few connections' => sub {
    $out->openai->set(delay => 0.3);
    $out->worker->write_config({ openai => { ca_file => "$dir/ca.pem" } });
    $out->worker->start(wait => 0);
    my @ids = map { $out->digest(user => sprintf('U0001%02dT', $_), texts => ["note $_"]) } 1 .. 48;
    ok($out->wait_row('digest', $_, 'made', 30), "digest $_") || last for @ids;
    my @lines = split /\n/, slurp("$dir/access.log");
    is(scalar(grep { !m{^HTTP/2\.0 } } @lines), 0, 'every call came by HTTP/2');
    my %connections = map { (split)[1] => 1 } @lines;
    cmp_ok(scalar keys %connections, '<=', 4, scalar(keys %connections) . ' connections for ' . @lines . ' calls');
    cmp_ok($out->openai->counters->{max_concurrency}, '>', 8, 'more calls at once than connections: ' . $out->openai->counters->{max_concurrency});
};

$out->stop;
$nginx->stop;
done_testing;
