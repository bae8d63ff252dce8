use strict;
use warnings;

# What is gathered while Redis is busy leaves in few commands: elements for one list in
# one RPUSH, in the order of their arrival, whatever is pushed in between.

use Test::More;

use StudyTest::Module;
use StudyTest::Proc qw(wait_for);

my $redis = redis_server();
my $nginx = StudyTest::Module->nginx;

sub rpush_calls {
    my $stats = $redis->client->info('commandstats');
    return ($stats->{cmdstat_rpush} // '') =~ /calls=(\d+)/ ? $1 : 0;
}

# Sends every request while Redis does not answer, then lets it; returns the statuses.
sub gathered {
    my (@requests) = @_;

    take_elements();

    # One request is in flight, so that the others wait for its answer.
    $redis->proc->signal('STOP');
    my @sockets = map { $nginx->socket } @requests;
    for my $i (0 .. $#requests) {
        $sockets[$i]->syswrite($requests[$i]);
        my $pending = $i + 1;
        wait_for { waiting() >= $pending } 10 * StudyTest::Module::slow(), "$pending commands in nginx";
    }
    $redis->proc->signal('CONT');
    return map { ($nginx->answer($_) // { status => 0 })->{status} } @sockets;
}

sub waiting {
    my $metrics = $nginx->metrics;
    return $metrics->{study_nginx_pending_commands} // 0;
}

my @bodies = map { "{\"n\":$_}" } 1 .. 24;

my $before = rpush_calls();
my @status = gathered(map { request_text($_) } @bodies);
is(join(' ', @status), join(' ', (200) x 24), '24 events at once');
is(rpush_calls() - $before, 2, 'the first one in a command of its own, the others in one');
is_deeply([ map { $_->[1] } take_elements() ], \@bodies, 'in their order');

# Commands of two lists take turns.
my @mixed = map {
    $_ % 3 ? request_text("{\"n\":$_}")
        : request_text(form(command => '/study', n => $_), path => '/slack/commands',
            type => 'application/x-www-form-urlencoded');
} 1 .. 12;
$before = rpush_calls();
@status = gathered(@mixed);
is(join(' ', @status), join(' ', (200) x 12), 'events and commands');
is(rpush_calls() - $before, 9, 'a command for each run of one list, the first one alone');
my @got = take_elements();
is(join(' ', map { $_->[1] } grep { $_->[0] =~ /"event"/ } @got),
    join(' ', map { "{\"n\":$_}" } grep { $_ % 3 } 1 .. 12), 'each event once, in order');
is(join(' ', map { $_->[1] } grep { $_->[0] =~ /"command"/ } @got),
    join(' ', map { form(command => '/study', n => $_) } 3, 6, 9, 12), 'each command once, in order');

# More than one command may hold.
$before = rpush_calls();
my @many = map { 'x' x 100 . $_ } 1 .. 300;
@status = gathered(map { request_text($_) } @many);
is((grep { $_ == 200 } @status), 300, '300 at once');
is_deeply([ map { $_->[1] } take_elements() ], \@many, 'all there');

# A request that goes away takes its place with it, not its element.
take_elements();
$redis->proc->signal('STOP');
my @sockets = map { my $s = $nginx->socket; $s->syswrite(request_text("gone $_")); $s } 1 .. 4;
wait_for { waiting() >= 4 } 10 * StudyTest::Module::slow(), 'four commands';
close $sockets[2];
wait_for { $nginx->outcome('client_closed') } 10 * StudyTest::Module::slow(), 'nginx to notice';
$redis->proc->signal('CONT');
is(join(' ', map { $nginx->answer($_)->{status} } @sockets[ 0, 1, 3 ]), '200 200 200', 'the others are answered');
is(scalar(my @left = take_elements()), 4, 'and Redis has all four');

$nginx->stop;
StudyTest::Module->valgrind_ok;
done_testing;
