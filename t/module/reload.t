use strict;
use warnings;

# Reloads, binary upgrades, workers that end or are killed: nothing answered is lost,
# nothing stays open, counters live on.

use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Module qw(:DEFAULT settings slow);
use StudyTest::FakeRedis;
use StudyTest::Proc qw(gone slurp spew wait_for);

my $event = '{"type":"event_callback"}';
my $redis = redis_server();
my $nginx = StudyTest::Module->nginx(workers => 2);
take_elements();

subtest 'a reload with idle connections' => sub {
    is($nginx->post($event)->{status}, 200, 'before');
    my $accepted = $nginx->outcome('accepted');
    my $before = () = $redis->client->client_list =~ /user=study-nginx/g;
    is($before, 2, 'a connection for each worker');

    for my $n (1 .. 3) {
        $nginx->reload;
        $nginx->wait_workers;
    }
    is($nginx->post($event)->{status}, 200, 'after');
    is($nginx->outcome('accepted'), $accepted + 1, 'counters live on');
    is(() = $redis->client->client_list =~ /user=study-nginx/g, 2, 'the old connections are closed');
    my $states = join ' ', map { $nginx->metrics->{qq(study_nginx_redis_connections{state="$_"})} }
        qw(closed connecting ready down);
    is($states, '0 0 2 0', 'the old gauges are gone');
    queued('reload', $event, 'event', 'event');
};

subtest 'a reload with requests in hand' => sub {
    my $fake = StudyTest::FakeRedis->start(dir => $DIR);
    my $own = StudyTest::Module->nginx(http => settings(redis => $fake->address), more => 'study_redis_timeout 2s;');

    # one waits for Redis, the other has not sent its body yet
    $fake->mode(push => 'stall');
    my $waiting = $own->socket;
    $waiting->syswrite(request_text($event));
    wait_for { $fake->pushed } 20 * slow(), 'the command';
    my ($head, $body) = split /(?<=\r\n\r\n)/, request_text($event), 2;
    my $late = $own->socket;
    $late->syswrite($head);
    sleep 0.1;

    $own->reload;
    sleep 0.2;
    is($own->answer($waiting)->{status}, 503, 'the waiting one gets its answer from the old worker');
    $fake->mode(push => 'ok');
    $late->syswrite($body);
    my $got = $own->answer($late);
    ok($got && $got->{status} =~ /200|503/, 'the late one gets an answer from the old worker');
    $own->wait_workers;
    is($own->post($event)->{status}, 200, 'the new worker serves');
    $own->stop;
    unlike($own->log, qr/\[alert\]|open socket/, 'no alert');

    # the same with a healthy server: it connects again only for this one
    $own = StudyTest::Module->nginx(
        http => settings(redis => $fake->address), more => 'study_redis_connect_timeout 2s;',
    );
    $late = $own->socket;
    ($head, $body) = split /(?<=\r\n\r\n)/, request_text($event), 2;
    $late->syswrite($head);
    sleep 0.1;
    $own->reload;
    sleep 0.3;
    $late->syswrite($body);
    is($own->answer($late)->{status}, 200, 'a late one in an exiting worker is accepted');
    $own->wait_workers;
    $own->stop;
    unlike($own->log, qr/\[alert\]|open socket/, 'no alert');
};

subtest 'a reload without Redis' => sub {
    my $own = StudyTest::Module->nginx(http => settings(redis => "unix:$DIR/nobody.sock"), impatient => 1);
    wait_for { $own->log =~ /not available/ } 20 * slow(), 'the first attempt';
    $own->reload;
    $own->wait_workers;
    is($own->post($event)->{status}, 503, 'refused');
    $own->stop;
    unlike($own->log, qr/\[alert\]|open socket/, 'no alert');
};

subtest 'a reload, and worker_shutdown_timeout is over' => sub {
    my $fake = StudyTest::FakeRedis->start(dir => $DIR, name => 'silent');
    my $own = StudyTest::Module->nginx(
        http => settings(redis => $fake->address), main => 'worker_shutdown_timeout 500ms;',
        more => 'study_redis_timeout 1h;',
    );
    $fake->mode(push => 'stall');
    my @sockets = map { $own->socket } 1 .. 2;
    $sockets[0]->syswrite(request_text($event));
    wait_for { $fake->pushed } 20 * slow(), 'the command';
    $sockets[1]->syswrite(request_text($event));
    wait_for { $own->metrics->{study_nginx_pending_elements} == 2 } 20 * slow(), 'one behind it';
    my ($old) = $own->workers;
    $own->reload;
    ok(eval { wait_for { gone($old) } 20 * slow() }, 'the old worker exits');
    my @status = map { my $got = $own->answer($_, 1); $got ? $got->{status} : 503 } @sockets;
    is("@status", '503 503', 'refused');
    like($own->log, qr/$old#$old: .*Redis is not available/, 'the connection is given up')
        if slow() == 1;
    $own->stop;
    unlike($own->log, qr/\[alert\]|open socket/, 'no alert');
};

subtest 'a broken configuration keeps the old one' => sub {
    my $good = $nginx->{more};
    $nginx->configure(more => 'study_redis_max_pending nonsense;');
    $nginx->{proc}->signal('HUP');
    wait_for { $nginx->log =~ /"study_redis_max_pending" directive invalid value/ } 20 * slow(), 'the error';
    is($nginx->post($event)->{status}, 200, 'served by the old one');
    $nginx->configure(more => $good);
    take_elements();
};

subtest 'a rotated secret' => sub {
    my $own = StudyTest::Module->nginx;
    secret_file('secret', "the-next-secret\n");
    $own->reload;
    $own->wait_workers;
    is($own->post($event, secret => 'the-next-secret')->{status}, 200, 'the new one counts');
    is($own->post($event)->{status}, 401, 'the one before does not');
    secret_file('secret', "$SECRET\n");
    $own->stop;
    take_elements();
};

subtest 'the prefix changes with a reload' => sub {
    my $own = StudyTest::Module->nginx(workers => 1);
    my $accepted = $own->post($event)->{status};
    $own->configure(more => 'study_metrics_zone 2m;')->reload;
    $own->wait_workers;
    is($own->outcome('accepted'), 0, 'a zone of another size starts anew');
    $own->stop;
    take_elements();
};

SKIP: {
    skip 'valgrind does not follow', 1 if slow() > 1;

    subtest 'a binary upgrade' => sub {
        # a master that stays with its parent does not upgrade
        my $own = StudyTest::Module->nginx(stopped => 1);
        my $conf = "$own->{dir}/nginx.conf";
        spew($conf, slurp($conf) =~ s/daemon off/daemon on/r);
        is(system($own->command), 0, 'started');
        wait_for { -s "$own->{dir}/nginx.pid" } 20, 'the master';
        my ($old) = slurp("$own->{dir}/nginx.pid") =~ /(\d+)/;
        is($own->post($event)->{status}, 200, 'before');
        kill USR2 => $old;
        wait_for { -s "$own->{dir}/nginx.pid.oldbin" && -s "$own->{dir}/nginx.pid" } 20, 'the new master';
        my ($new) = slurp("$own->{dir}/nginx.pid") =~ /(\d+)/;
        kill WINCH => $old;
        is($own->post($event)->{status}, 200, 'both there') for 1 .. 4;
        kill QUIT => $old;
        wait_for { gone($old) } 20, 'the old master to exit';
        is($own->post($event)->{status}, 200, 'the new one alone');
        kill QUIT => $new;
        wait_for { gone($new) } 20, 'the new master to exit';
        queued('upgrade', $event, ('event') x 6);
        unlike($own->log, qr/\[alert\]|open socket/, 'no alert');
    };
}

subtest 'a worker that is killed' => sub {
    my ($first) = $nginx->workers;
    kill KILL => $first;
    wait_for { my @w = $nginx->workers; @w == 2 && !grep { $_ == $first } @w } 20 * slow(), 'another worker';
    my $states = sub { join ' ', map { $nginx->metrics->{qq(study_nginx_redis_connections{state="$_"})} }
        qw(ready closed connecting) };
    # the new one shows nothing before it has begun
    wait_for { $states->() eq '2 0 0' } 20 * slow(), 'its connection';
    pass('the connections of two');
    is($nginx->post($event)->{status}, 200, 'served') for 1 .. 4;
    is($nginx->metrics->{study_nginx_pending_bytes}, 0, 'its gauges start anew');
    take_elements();
} if slow() == 1;

SKIP: {
    skip 'takes too long', 1 if slow() > 1;

    subtest 'reloads under load' => sub {
        my $own = StudyTest::Module->nginx(workers => 2);
        take_elements();
        my $end = time + 4;
        my ($sent, $reloads, %status, $socket) = (0, 0);
        my $next = time;
        while (time < $end) {
            if (time >= $next) {
                $own->{proc}->signal('HUP');
                $reloads++;
                $next = time + 0.5;
            }
            # a kept-alive connection that was closed before a byte of its answer came
            for my $try (1 .. 5) {
                $socket //= $own->socket;
                local $SIG{PIPE} = 'IGNORE';
                my $body = '{"n":' . $sent . '}';
                my $got = $socket->syswrite(request_text($body)) ? $own->answer($socket) : undef;
                if (!$got) {
                    undef $socket;
                    next;
                }
                $status{ $got->{status} }++;
                undef $socket if ($got->{headers}{connection} // '') eq 'close';
                last;
            }
            $sent++;
        }
        cmp_ok($reloads, '>=', 6, "$reloads reloads");
        is_deeply(\%status, { 200 => $sent }, "each of $sent was answered 200");
        $own->wait_workers(2);
        my %seen;
        $seen{ $_->[1] }++ for take_elements();
        is(scalar keys %seen, $sent, 'each is in the list');
        is(scalar(grep { $_ > 1 } values %seen), 0, 'none twice');
        $own->stop;
        unlike($own->log, qr/\[alert\]|open socket/, 'no alert');
    };
}

$nginx->stop;
my $log = $nginx->log;
$log =~ s/^.*worker process \d+ exited on signal 9.*\n//mg;
unlike($log, qr/\[alert\]|open socket/, 'no alert but for the killed one');

StudyTest::Module::valgrind_ok();
done_testing();
