use strict;
use warnings;

# The page for Prometheus.

use Test::More;

use StudyTest::Module;
use StudyTest::Proc qw(run_limited spew wait_for);

my $event = '{"type":"event_callback"}';
my $nginx = StudyTest::Module->nginx(workers => 2);
take_elements();

my $ask = sub { my ($method, $more) = @_; return $nginx->ask("$method /study/metrics HTTP/1.1\r\nHost: x\r\n" . ($more // '') . "\r\n") };

my $page = $ask->('GET');
is($page->{status}, 200, 'the page');
is($page->{headers}{'content-type'}, 'text/plain; version=0.0.4', 'its type');
SKIP: {
    skip 'no promtool', 1 if !grep { -x "$_/promtool" } split /:/, $ENV{PATH};
    spew("$DIR/metrics", $page->{body});
    my ($status, $said) = run_limited([ 'sh', '-c', "promtool check metrics < $DIR/metrics" ]);
    is("$status $said", '0 ', 'promtool has nothing to say');
}
my %help;
$help{$1}++ while $page->{body} =~ /^# HELP (\S+)/mg;
is(scalar(grep { $_ != 1 } values %help), 0, 'each HELP once');
for my $name (qw(
    events_total accepted_total accepted_bytes_total redis_batches_total redis_reconnects_total
    redis_roundtrip_seconds pending_bytes pending_elements redis_connections queue_length build_info
)) {
    ok($help{"study_nginx_$name"}, "study_nginx_$name");
}
is($ask->('POST', "Content-Length: 0\r\n")->{status}, 405, 'another method');
is($ask->('DELETE')->{headers}{allow}, 'GET, HEAD', 'the methods there are');
my $socket = $nginx->socket;
$socket->syswrite("HEAD /study/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
my $head = join '', <$socket>;
like($head, qr/\AHTTP\/1\.1 200 /, 'HEAD');
like($head, qr/\r\n\r\n\z/, 'HEAD: no body');

$nginx->post($event) for 1 .. 3;
$nginx->post(form(a => 1), path => '/slack/commands');
$nginx->post(form(a => 1), path => '/slack/interactions');
$nginx->post($event, secret => 'wrong');
$nginx->post($event, at => -1000);
$nginx->post($event, signed => '');
$nginx->post('{"type":"url_verification","challenge":"c"}');
$nginx->post('ssl_check=1', path => '/slack/commands', type => 'application/x-www-form-urlencoded', signed => '');
$nginx->ask("GET /slack/events HTTP/1.1\r\nHost: x\r\n\r\n");
$nginx->ask("POST /study/trigger?schedule=x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
$nginx->ask("POST /study/trigger HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $TOKEN\r\nContent-Length: 0\r\n\r\n");
$nginx->ask("POST /study/trigger?schedule=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $TOKEN\r\nContent-Length: 0\r\n\r\n");
$nginx->ask("POST /slack/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n");
$nginx->ask("POST /study/trigger?schedule=x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n");

my %outcome = (
    accepted => 6, url_verification => 1, ssl_check => 1, bad_method => 1, bad_request => 1, no_signature => 1,
    bad_time => 1, bad_signature => 1, bad_token => 1, too_large => 2, client_closed => 0, queue_full => 0,
);
my $got = $nginx->metrics;
is($got->{qq(study_nginx_events_total{outcome="$_"})}, $outcome{$_}, "$_: $outcome{$_}") for sort keys %outcome;
my %kind = (event => 3, command => 1, interaction => 1, trigger => 1);
is($got->{qq(study_nginx_accepted_total{kind="$_"})}, $kind{$_}, "accepted $_: $kind{$_}") for sort keys %kind;
is($got->{study_nginx_accepted_bytes_total}, 3 * length($event) + 2 * length('a=1') + length('schedule=x'), 'bytes');
is($got->{study_nginx_redis_roundtrip_seconds_count}, 6, 'round trips');
is($got->{'study_nginx_redis_roundtrip_seconds_bucket{le="+Inf"}'}, 6, 'round trips: the last bucket has all');
cmp_ok($got->{study_nginx_redis_roundtrip_seconds_sum}, '>', 0, 'round trips: took time');
my @buckets = map { $got->{$_} } sort { ($a =~ /"([\d.]+)"/)[0] <=> ($b =~ /"([\d.]+)"/)[0] }
    grep { /_bucket\{le="[\d.]+"/ } keys %$got;
is(scalar(grep { $buckets[$_] < $buckets[ $_ - 1 ] } 1 .. $#buckets), 0, 'round trips: buckets only grow');
is($got->{'study_nginx_redis_connections{state="ready"}'}, 2, 'a connection for each worker');
is($got->{study_nginx_pending_elements}, 0, 'nothing pending');
my ($length) = map { $got->{$_} } grep { /^study_nginx_queue_length\{server="unix:/ } keys %$got;
is($length, 3, 'the length of the list');
is($got->{study_nginx_redis_reconnects_total}, 0, 'no reconnect');
take_elements();
ok(eval { wait_for { !grep { /^study_nginx_queue_length/ && $nginx->metrics->{$_} } keys %{ $nginx->metrics } } 20; 1 },
    'a list that was emptied is told as empty, without another push');

# lengths of each server, of each prefix
$nginx->stop;
redis_server()->client->acl('setuser', 'study-nginx', '~*');
$nginx = StudyTest::Module->nginx(config => <<'END');
    location = /study/metrics { study_metrics; }
    location = /a { study_events; }
    location = /b { study_events; study_key_prefix b; }
    location = /c { study_events; study_redis_db 1; study_redis_timeout 1s; }
    location = /d { study_events; study_redis_db 1; }
END
$nginx->post($event, path => $_) for qw(/a /b /c /d);
my @labels = sort map { s/.*server="unix:[^"]*?redis\.sock//r =~ s/"\}//r } grep { /queue_length/ } keys %{ $nginx->metrics };
is_deeply(\@labels, [ '', ',b', '/1' ], 'each list has its label, and each label is there once');
$nginx->stop;
redis_server()->client->flushall;

StudyTest::Module::valgrind_ok();
done_testing();
