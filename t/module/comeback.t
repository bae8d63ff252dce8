use strict;
use warnings;

# Connections that come up and are lost again, and servers that are no longer what they
# were.

use Test::More;
use Time::HiRes qw(sleep);

use IO::Socket::UNIX ();
use POSIX ();

use StudyTest::Module;
use StudyTest::Proc qw(socket_dir wait_for);

my $event = '{"type":"event_callback"}';

# A server that answers the greeting and hangs up; a byte in the file for each connection.
sub hang_up {
    my ($path, $count) = @_;

    my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 128) or die "$path: $!";
    my $parent = $$;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    while (getppid == $parent) {
        vec(my $bits = '', fileno $listen, 1) = 1;
        next if select($bits, undef, undef, 0.5) < 1;
        my $client = $listen->accept or next;
        open my $out, '>>', $count or POSIX::_exit(1);
        syswrite $out, '.';
        sysread $client, my $hello, 4096;
        syswrite $client, ":0\r\n";
        close $client;
    }
    POSIX::_exit(0);
}

subtest 'a server that greets and hangs up is not called without end' => sub {
    my $socket = socket_dir($DIR) . '/hangup.sock';
    my $pid = hang_up($socket, "$DIR/calls");
    my $nginx = StudyTest::Module->nginx(http => StudyTest::Module::settings(redis => "unix:$socket"), impatient => 1);
    wait_for { (-s "$DIR/calls" // 0) >= 3 } 30, 'three connections';
    my $before = -s "$DIR/calls";
    sleep 2;
    cmp_ok((-s "$DIR/calls") - $before, '<', 200, 'a backoff between connections');
    is($nginx->post($event)->{status}, 503, 'meanwhile events are refused');
    $nginx->stop;
    kill TERM => $pid;
    waitpid $pid, 0;
};

subtest 'a primary that became a replica' => sub {
    my $nginx = StudyTest::Module->nginx;
    my $admin = redis_server()->client;
    is($nginx->post($event)->{status}, 200, 'a primary');
    $admin->slaveof('127.0.0.1', 1);
    is($nginx->post($event)->{status}, 503, 'a replica');
    is($nginx->outcome('redis_readonly'), 1, '... and why');
    is($nginx->metrics->{'study_nginx_redis_connections{state="ready"}'}, 0, 'the connection is given up');
    $admin->slaveof('no', 'one');
    ok(eval { wait_for { $nginx->post($event)->{status} == 200 } 30; 1 }, 'a primary again: a new connection');
    take_elements();
    $nginx->stop;
};

StudyTest::Module->valgrind_ok;
done_testing;
