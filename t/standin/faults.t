# What goes wrong on demand: on the wire, and in the stand-ins' own books.

use strict;
use warnings;

use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use Test::More;

use StudyTest::Proc qw(scratch_dir);
use StudyTest::StandIn;

my $slack = StudyTest::StandIn->slack(dir => scratch_dir('standin-faults'), no_limits => 1);
my $http = HTTP::Tiny->new(timeout => 5);

sub post {
    my ($text, $channel) = @_;
    my $answer = $http->post($slack->url . 'chat.postMessage', {
        headers => {authorization => 'Bearer xoxb-standin', 'content-type' => 'application/json; charset=utf-8'},
        content => qq({"channel":"@{[$channel // 'C1A']}","text":"$text"})});
    return $answer->{status};
}

sub held { return scalar grep { $_->{text} eq $_[0] } $slack->messages(channel => $_[1] // 'C1A') }

sub fresh { $slack->clear_faults; $slack->fault(@_) }

# Whether the request took effect is what a sender cannot see, and a test must.
fresh({kind => 'cut_before', count => 1});
is(post('cut-before'), 599, 'closed without an answer');
is(held('cut-before'), 0,   'and without effect');
is($slack->received('chat.postMessage'), 0, 'not even recorded');
fresh({kind => 'cut_after', count => 1});
is(post('cut-after'), 599, 'closed without an answer');
is(held('cut-after'), 1,   'but with effect');
fresh({kind => 'cut_after', count => 1, reset => \1});
is(post('reset'), 599, 'reset');
fresh({kind => 'status', status => 500, accept => 1, count => 1});
is(post('500-after') . held('500-after'), '5001', 'a 500 that took effect');
fresh({kind => 'status', status => 500, count => 1});
is(post('500-before') . held('500-before'), '5000', 'a 500 that did not');
fresh({kind => 'cut_body', count => 1});
is(post('cut-body'), 599, 'cut in the body');
fresh({kind => 'error', error => 'fatal_error', count => 1});
is(post('fatal'), 200, 'an error is a 200');
is(($slack->received('chat.postMessage'))[-1]{accepted}, 0, 'not accepted');

# Spoilt answers.
for my $case (['nonsense', qr/^<html>/], ['empty', qr/^$/], ['wrong_type', qr/"ok":true/]) {
    my ($kind, $want) = @$case;
    fresh({kind => $kind, count => 1});
    my $answer = $http->post($slack->url . 'auth.test', {headers => {authorization => 'Bearer xoxb-standin'}});
    like($answer->{content}, $want, $kind);
    is($answer->{headers}{'content-type'}, 'text/html', 'its type') if $kind eq 'wrong_type';
}

# Which request, how often, in which order.
fresh({kind => 'status', status => 503, match => {channel => 'C2A'}, count => 2, skip => 1});
is(join(' ', map { post('m', 'C2A') } 1 .. 4), '200 503 503 200', 'skip and count');
is(post('m', 'C1A'), 200, 'another channel is left alone');
fresh({sequence => [{kind => 'status', status => 429}, 'ok', {kind => 'status', status => 502}]});
is(join(' ', map { post('m') } 1 .. 4), '429 200 502 200', 'a sequence');
my @runs = map {
    fresh({kind => 'status', status => 503, probability => 0.5, seed => 7});
    join '', map { post('m') == 503 ? 1 : 0 } 1 .. 40;
} 1 .. 2;
is($runs[0], $runs[1], 'the same seed, the same picks');
my $hits = () = $runs[0] =~ /1/g;
ok($hits > 8 && $hits < 32, "about half of them ($hits of 40)");

# Slow ones; a caller that leaves is counted.
fresh({kind => 'stall', seconds => 30, count => 1});
my $impatient = HTTP::Tiny->new(timeout => 0.3);
is($impatient->get($slack->url . 'auth.test')->{status}, 599, 'stalled');
fresh({kind => 'hold', count => 1});
my $held = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $slack->port) or die;
print $held "GET /api/auth.test?token=xoxb-standin HTTP/1.1\r\nHost: x\r\n\r\n";
ok($slack->wait_for('auth.test', 2), 'held');
is(post('free'), 200, 'others are not');
ok(!IO::Select->new($held)->can_read(0), 'no answer');
is($slack->release, 1, 'released');
ok(sysread($held, my $answer, 4096), 'answered');
is($slack->release, 0, 'once');
close $held;
fresh({kind => 'drip', bytes => 40, interval => 0.01, count => 1});
is(post('drip'), 200, 'dripped');
my $counters = $slack->counters;
is($counters->{aborted}, 1, 'one left');
is($counters->{concurrency}, 0, 'none is left open');

# HTTP as clients really speak it: pipelined, chunked, with Expect.
$slack->clear_faults;
sub raw {
    my ($text, $answers) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $slack->port, Timeout => 5) or die;
    print $sock $text;
    my $got = '';
    local $SIG{ALRM} = sub { die "no answer: $got\n" };
    alarm 5;
    while ((() = $got =~ /"ok":/g) < $answers) { sysread $sock, $got, 65536, length $got or last }
    alarm 0;
    return $got;
}
my $get = "GET /api/auth.test?token=xoxb-standin HTTP/1.1\r\nHost: x\r\n\r\n";
is(scalar(() = raw($get x 3, 3) =~ /"ok":true/g), 3, 'pipelined');
my $head = "POST /api/chat.postMessage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer xoxb-standin\r\n"
    . "Content-Type: application/x-www-form-urlencoded\r\n";
like(raw("${head}Transfer-Encoding: chunked\r\n\r\n8\r\nchannel=\r\n9;x=y\r\nC1A&text=\r\n4\r\nhunk\r\n0\r\n\r\n", 1), qr/"text":"hunk"/, 'chunked');
like(raw("${head}Content-Length: 18\r\nExpect: 100-continue\r\n\r\nchannel=C1A&text=y", 1), qr/^HTTP\/1.1 100.*"ok":true/s, 'Expect');

# Many at once.
$slack->reset(qw(counters));
$slack->set(delay => 1);
my @open = map {
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $slack->port) or die "$_: $!";
    print $sock $get;
    $sock;
} 1 .. 500;
my $answered = grep { sysread $_, my $buf, 4096 } @open;
is($answered, 500, '500 calls answered');
cmp_ok($slack->counters->{max_concurrency}, '>', 100, 'many of them held at once');

done_testing;
