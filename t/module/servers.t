use strict;
use warnings;

# Several queue servers: shared out among the healthy, another one tried where
# nothing was written, none asked twice for the same event.

use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Module qw(:DEFAULT settings slow);
use StudyTest::FakeRedis;
use StudyTest::Proc qw(wait_for);

my $event = '{"type":"event_callback"}';
my ($one, $two) = map { StudyTest::FakeRedis->start(dir => $DIR, name => $_) } qw(one two);
my $nginx = StudyTest::Module->nginx(
    http => settings(redis => $one->address . ' ' . $two->address),
    more => 'study_redis_timeout 400ms; study_redis_connect_timeout 400ms;',
);

my %seen = (one => 0, two => 0);

# What each server was given since the last time.
sub given {
    my @now = (scalar(my @a = $one->pushed), scalar(my @b = $two->pushed));
    my @new = ($now[0] - $seen{one}, $now[1] - $seen{two});
    @seen{qw(one two)} = @now;
    return @new;
}

sub statuses { my ($n) = @_; return join ' ', map { $nginx->post($event)->{status} } 1 .. $n }

sub both_ready {
    wait_for {
        $nginx->metrics->{'study_nginx_redis_connections{state="ready"}'} == 2
    } 20 * slow(), 'both servers';
    return;
}

both_ready();
is(statuses(6), '200 200 200 200 200 200', 'both healthy');
is_deeply([ given() ], [ 3, 3 ], 'both healthy: in turn');

$two->mode(push => 'error OOM command not allowed');
is(statuses(4), '200 200 200 200', 'one full');
my @given = given();
is($given[0], 4, 'one full: the other takes all');
cmp_ok($given[1], '>=', 1, 'one full: it was asked');
cmp_ok($given[1], '<=', 2, 'one full: and then left alone for a while');
$two->mode(push => 'ok');
wait_for { $nginx->post($event); my @g = given(); $g[1] } 20, 'the full one to be taken back';
pass('one full: taken back');

$one->mode(push => 'error LOADING');
$two->mode(push => 'error READONLY');
sleep 1.1;
given();
is(statuses(1), '503', 'both refuse');
is_deeply([ given() ], [ 1, 1 ], 'both refuse: each was asked once');
$_->mode(push => 'ok') for $one, $two;
sleep 1.1;

# a connection that breaks once the command is written: nobody else may have it
$one->mode(push => 'cut');
given();
my %got = map { $_ => 0 } 200, 503;
$got{ $nginx->post($event)->{status} }++ for 1 .. 2;
is_deeply(\%got, { 200 => 1, 503 => 1 }, 'cut off after the command: in doubt, and so refused');
is_deeply([ given() ], [ 1, 1 ], 'cut off after the command: sent nowhere else');
$one->mode(push => 'ok');
both_ready();

# gone altogether
$one->stop;
my $bad = () = statuses(8) =~ /503/g;
is($bad, 0, 'one gone: nobody notices');
given();
is(statuses(4), '200 200 200 200', 'one gone: the other serves');
is_deeply([ given() ], [ 0, 4 ], 'one gone: all to the other');
$one->listen;
both_ready();
is(statuses(4), '200 200 200 200', 'one back');
is_deeply([ given() ], [ 2, 2 ], 'one back: in turn again');

# while a batch hangs, what waits behind it goes to the other one
SKIP: {
    skip 'depends on the clock', 2 if slow() > 1;

    $one->mode(push => 'stall');
    given();
    my @sockets = map { my $s = $nginx->socket; $s->syswrite(request_text($event)); sleep 0.02; $s } 1 .. 6;
    my @status = map { my $a = $nginx->answer($_); $a ? $a->{status} : 0 } @sockets;
    is(scalar(grep { $_ == 200 } @status), 5, 'one stalls: those behind go to the other');
    is(scalar(grep { $_ == 503 } @status), 1, 'one stalls: the one in doubt is refused');
    $one->mode(push => 'ok');
    both_ready();
}

# one deadline in all: both stall, the answer comes within Slack's three seconds
$nginx->stop;
$nginx = StudyTest::Module->nginx(
    http => settings(redis => $one->address . ' ' . $two->address),
    more => 'study_redis_timeout 20s; study_redis_connect_timeout 20s;',
);
$_->mode(push => 'stall') for $one, $two;
my $start = time;
is($nginx->post($event)->{status}, 503, 'no answer at all: refused at the deadline');
SKIP: {
    skip 'depends on the clock', 1 if slow() > 1;
    cmp_ok(time - $start, '<', 3, 'no answer at all: before Slack gives up');
}
like($nginx->log, qr/refused: redis_timeout/, 'no answer at all: said');
$nginx->stop;
unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');

# the deadline goes along with what goes to another server, which has been waited for since
SKIP: {
    skip 'depends on the clock', 2 if slow() > 1;

    my @still = map { StudyTest::FakeRedis->start(dir => $DIR, name => $_) } qw(still other);
    $nginx = StudyTest::Module->nginx(
        http => settings(redis => join ' ', map { $_->address } @still),
        more => 'study_redis_timeout 2300ms;',
    );
    kill STOP => map { $_->{pid} } @still;
    my $text = request_text('{"x":"' . 'y' x 900_000 . '"}');
    my $begun = time;
    my ($moved, $other) = map { $nginx->socket } 1 .. 2;
    while (length $text) {
        substr $text, 0, $moved->syswrite($text, 65536), '';
    }
    sleep 2;
    $other->syswrite(request_text($event));
    is($nginx->answer($moved)->{status}, 503, 'half written, then behind another one: refused at the deadline');
    cmp_ok(time - $begun, '<', 3, 'half written, then behind another one: before Slack gives up');
    $nginx->stop;
}

# the way to Redis hangs before anything could be written
$_->mode(push => 'ok') for $one, $two;
$one->mode(hello => 'stall');
$nginx = StudyTest::Module->nginx(
    http      => settings(redis => $one->address . ' ' . $two->address),
    more      => 'study_redis_connect_timeout 300ms;',
    impatient => 1,
);
given();
is(statuses(4), '200 200 200 200', 'one hangs while connecting: nobody notices');
is_deeply([ given() ], [ 0, 4 ], 'one hangs while connecting: all to the other');
$one->mode(hello => 'ok');
both_ready();
$nginx->stop;

# the lists' limits count for each server
$one->stop;
$two->stop;
my $redis = redis_server();
take_elements();
$one = StudyTest::FakeRedis->start(dir => $DIR, name => 'three');
my $http = settings();
$http =~ s/(study_redis unix:\S+);/"$1 " . $one->address . ';'/e;
$nginx = StudyTest::Module->nginx(http => $http, more => 'study_queue_limit 2;');
wait_for { $nginx->metrics->{'study_nginx_redis_connections{state="ready"}'} == 2 } 20 * slow(), 'both';
$redis->client->rpush('study:{ingest}:pending', 1 .. 5);
my @status = split ' ', statuses(5);
is($status[0] . $status[1], '200200', 'limits: each server has taken one more');
cmp_ok($redis->client->llen('study:{ingest}:pending'), '<=', 6, 'limits: the full one gets no more');
$nginx->stop;
take_elements();

StudyTest::Module::valgrind_ok();
done_testing();
