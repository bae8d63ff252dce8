use strict;
use warnings;

# Redis in every state: each with its status, its log line and its counter, and that
# the module comes back by itself.

use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Module qw(:DEFAULT settings slow);
use StudyTest::FakeRedis;
use StudyTest::Proc qw(wait_for);

my $event = '{"type":"event_callback"}';

# Posts until the answer is 200, for a while.
sub comes_back {
    my ($nginx, $name) = @_;
    ok(eval { wait_for { $nginx->post($event)->{status} == 200 } 20 * slow(), 'a 200' }, "$name: comes back");
    return;
}

sub refused {
    my ($nginx, $outcome, $name, $log) = @_;

    my $before = $nginx->outcome($outcome);
    my $got = $nginx->post($event);
    is($got->{status}, 503, "$name: 503");
    ok(!exists $got->{headers}{'x-slack-no-retry'}, "$name: Slack may try again");
    is($nginx->outcome($outcome), $before + 1, "$name: counted as $outcome");
    my $said = $nginx->new_log;
    like($said, qr/study request refused: $outcome\b/, "$name: the reason in the log");
    like($said, $log, "$name: what Redis said in the log") if $log;
    return;
}

subtest 'a real Redis that refuses' => sub {
    my $redis = redis_server();
    my $client = $redis->client;
    my $nginx = StudyTest::Module->nginx;
    take_elements();

    is($nginx->post($event)->{status}, 200, 'at first all is well');

    $client->config_set(maxmemory => 1);
    refused($nginx, 'redis_oom', 'full', qr/Redis refused a command with "OOM"/);
    $client->config_set(maxmemory => 0);
    comes_back($nginx, 'full');

    $client->config_set('replica-serve-stale-data' => 'yes');
    $client->replicaof('127.0.0.1', 1);
    sleep 1.1;      # the log mentions a server that refuses once a second
    refused($nginx, 'redis_readonly', 'a replica', qr/"READONLY"/);
    $client->replicaof('no', 'one');
    comes_back($nginx, 'a replica');

    take_elements();
    $client->set('study:{ingest}:pending', 'x');
    sleep 1.1;
    refused($nginx, 'redis_error', 'a key of another type', qr/"WRONGTYPE"/);
    $client->del('study:{ingest}:pending');
    comes_back($nginx, 'a key of another type');

    $client->acl('setuser', 'study-nginx', '-rpush');
    sleep 1.1;
    refused($nginx, 'redis_noperm', 'no permission', qr/"NOPERM"/);
    $client->acl('setuser', 'study-nginx', '+rpush');
    comes_back($nginx, 'no permission');
    unlike($nginx->log, qr/event_callback/, 'no body in the log');
};

subtest 'logging in' => sub {
    my $redis = redis_server();
    my $http = settings();

    (my $without = $http) =~ s/^\s*study_redis_(?:user|password_file).*\n//mg;
    my $nginx = StudyTest::Module->nginx(http => $without, impatient => 1);
    wait_for { $nginx->log =~ /not available/ } 20 * slow();
    like($nginx->log, qr/Redis answered "NOAUTH" to LLEN while greeting Redis, study_redis: "unix:/, 'no password: log');
    refused($nginx, 'redis_noauth', 'no password');
    $nginx->stop;

    secret_file('wrong', "wrong\n");
    (my $wrong = $http) =~ s/(study_redis_password_file).*;/$1 $DIR\/wrong;/;
    $nginx = StudyTest::Module->nginx(http => $wrong, impatient => 1);
    wait_for { $nginx->log =~ /not available/ } 20 * slow();
    like($nginx->log, qr/Redis answered "WRONGPASS" to AUTH/, 'a wrong password: log');
    refused($nginx, 'redis_wrongpass', 'a wrong password');
    unlike($nginx->log, qr/"wrong"/, 'a wrong password: not in the log');
    $nginx->stop;

    $nginx = StudyTest::Module->nginx(more => 'study_redis_db 99999;', impatient => 1, http => $http, stopped => 1);
    isnt(scalar $nginx->check, 0, 'no such database number');

    $nginx = StudyTest::Module->nginx(more => 'study_redis_db 3;', http => $http);
    is($nginx->post($event)->{status}, 200, 'another database: 200');
    my $client = $redis->client;
    $client->select(3);
    is($client->llen('study:{ingest}:pending'), 1, 'another database: the element is there');
    $client->flushdb;
    like(join(' ', keys %{ $nginx->metrics }), qr/queue_length\{server="unix:\S+\/3"\}/, 'another database: its label');
    $nginx->stop;
};

subtest 'a Redis that goes and comes' => sub {
    my $redis = StudyTest::Redis->start(dir => "$DIR/comes", name => 'comes');
    my $http = settings();
    $http =~ s/study_redis unix:\S+;/'study_redis ' . $redis->address . ';'/e;
    $http =~ s/(study_redis_password_file).*;/"$1 " . $redis->password_file('study-nginx') . ';'/e;

    $redis->stop;
    my $nginx = StudyTest::Module->nginx(http => $http, impatient => 1);
    wait_for { $nginx->log =~ /not available/ } 20 * slow();
    refused($nginx, 'redis_down', 'not there at the start');
    my $attempts = () = $nginx->log =~ /connect\(\) to .* failed/g;
    is($attempts, 1, 'not there: said once');
    $redis->restart;
    comes_back($nginx, 'not there at the start');
    like($nginx->log, qr/Redis is back/, 'back: said');

    $redis->crash;
    refused($nginx, 'redis_down', 'killed');
    $redis->restart;
    comes_back($nginx, 'killed');

    take_elements($redis);
    my $before = $nginx->metrics;
    $redis->client->client_kill('TYPE', 'normal', 'USER', 'study-nginx');
    is($nginx->post($event)->{status}, 200, 'an idle connection was closed: nobody notices') for 1 .. 3;
    is(scalar take_elements($redis), 3, 'an idle connection was closed: each element once');
    cmp_ok($nginx->metrics->{study_nginx_redis_reconnects_total}, '>', $before->{study_nginx_redis_reconnects_total},
        'an idle connection was closed: counted');

    kill STOP => $redis->pid;
    my $start = time;
    refused($nginx, 'redis_timeout', 'stalled', qr/Redis timed out/);
    kill CONT => $redis->pid;
    comes_back($nginx, 'stalled');
    $nginx->stop;
    unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');
};

my $fake = StudyTest::FakeRedis->start(dir => $DIR, tcp => 1);
my $nginx = StudyTest::Module->nginx(
    http => settings(redis => $fake->address . ";\n    study_redis_timeout " . (slow() > 1 ? 1500 : 300) . 'ms'),
);

my @pushes = (
    [ 'loading', 'error LOADING Redis is loading the dataset in memory', 'redis_loading', qr/"LOADING"/ ],
    [ 'MISCONF', 'error MISCONF Redis is configured to save RDB snapshots', 'redis_misconf', qr/"MISCONF"/ ],
    [ 'MOVED', 'error MOVED 3999 127.0.0.1:6381', 'redis_moved', qr/"MOVED"/ ],
    [ 'NOAUTH', 'error NOAUTH Authentication required.', 'redis_noauth', qr/"NOAUTH"/ ],
    [ 'an unknown error', 'error ERR unknown command', 'redis_error', qr/"ERR"/ ],
    [ 'an error without a code', 'error oops: the body was {secret}', 'redis_error', qr/command with ""/ ],
    [ 'a nil', 'raw $-1\r\n', 'redis_lost', qr/unexpected reply/ ],
    [ 'a string', 'raw $2\r\nOK\r\n', 'redis_lost', qr/unexpected reply/ ],
    [ 'a status', 'raw +OK\r\n', 'redis_lost', qr/unexpected reply/ ],
    [ 'an array', 'raw *2\r\n:1\r\n:2\r\n', 'redis_lost', qr/unexpected reply/ ],
    [ 'no RESP', 'raw HTTP/1.1 400 Bad Request\r\n', 'redis_lost', qr/unexpected reply/ ],
    [ 'a hang-up', 'cut', 'redis_lost', qr/closed connection/ ],
    [ 'a hang-up in the middle of a reply', 'cut_half', 'redis_lost', qr/closed connection/ ],
    [ 'a reset', 'reset', 'redis_lost', qr/recv\(\) failed \(104: Connection reset by peer\)/ ],
    [ 'half a reply', 'half', 'redis_timeout', qr/Redis timed out/ ],
    [ 'no reply', 'stall', 'redis_timeout', qr/Redis timed out/ ],
);

for my $case (@pushes) {
    my ($name, $mode, $outcome, $log) = @$case;

    subtest "a push: $name" => sub {
        comes_back($nginx, $name);
        sleep 1.05 if $mode =~ /^error/;    # said once a second
        my $before = $fake->pushed;
        $fake->mode(push => $mode);
        refused($nginx, $outcome, $name, $log);
        is(scalar $fake->pushed, $before + 1, "$name: sent once");
        $fake->mode(push => 'ok');
        comes_back($nginx, $name);
        unlike($nginx->log, qr/secret\}/, "$name: none of its text in the log");
    };
}

subtest 'a reply in pieces' => sub {
    $fake->mode(push => 'bytes');
    is($nginx->post($event)->{status}, 200, 'is a reply');
    $fake->mode(push => 'ok');
};

subtest 'one reply more than was asked for' => sub {
    $fake->mode(push => 'raw :1\r\n:2\r\n');
    is($nginx->post($event)->{status}, 200, 'the first one counts');
    $fake->mode(push => 'ok');
    comes_back($nginx, 'the rest');
};

my @hellos = (
    [ 'loading', 'error LOADING Redis is loading', 'redis_loading' ],
    [ 'an unexpected reply', 'raw +OK\r\n', 'redis_error' ],
    [ 'a hang-up', 'cut', 'redis_down' ],
    [ 'a reset', 'reset', 'redis_down' ],
    [ 'no reply', 'stall', 'redis_timeout' ],
);

for my $case (@hellos) {
    my ($name, $mode, $outcome) = @$case;

    subtest "a greeting: $name" => sub {
        comes_back($nginx, $name);
        $fake->mode(hello => $mode);
        $fake->mode(push => 'cut');
        $nginx->post($event);
        $fake->mode(push => 'ok');
        my $key = 'study_nginx_redis_connections{state="down"}';
        wait_for { $nginx->metrics->{$key} } 20 * slow(), 'down';
        $nginx->new_log;
        refused($nginx, $outcome, $name);
        $fake->mode(hello => 'ok');
        comes_back($nginx, $name);
    };
}

subtest 'limits' => sub {
    $nginx->stop;
    my $timeout = slow() > 1 ? 1500 : 600;
    $nginx = StudyTest::Module->nginx(
        http => settings(redis => $fake->address),
        more => "study_redis_max_pending 4k; study_redis_timeout ${timeout}ms;",
    );
    my $large = '{"x":"' . 'y' x 3000 . '"}';

    is($nginx->post($large)->{status}, 200, 'pending: one fits');
    is($nginx->post('{"x":"' . 'y' x 5000 . '"}')->{status}, 503, 'pending: one that never fits');
    like($nginx->new_log, qr/refused: pending_full/, 'pending: said');

    $fake->mode(push => 'stall');
    my $first = $nginx->socket;
    $first->syswrite(request_text($large));
    my $before = $fake->pushed;
    wait_for { $nginx->metrics->{study_nginx_pending_elements} == 1 } 10 * slow(), 'one on its way';
    cmp_ok($nginx->metrics->{study_nginx_pending_bytes}, '>', 3000, 'pending: the gauge');
    is($nginx->post($large)->{status}, 503, 'pending: a second one does not fit');
    is($nginx->outcome('pending_full'), 2, 'pending: counted');
    is($nginx->answer($first)->{status}, 503, 'pending: the first one waited in vain');
    is($nginx->metrics->{study_nginx_pending_bytes}, 0, 'pending: the gauge is back at 0');
    $fake->mode(push => 'ok');
    comes_back($nginx, 'pending');
    $nginx->stop;

    my $redis = redis_server();
    take_elements();
    $nginx = StudyTest::Module->nginx(more => 'study_queue_limit 3;');
    is(join(' ', map { $nginx->post($event)->{status} } 1 .. 6), '200 200 200 200 503 503', 'queue: over its limit');
    is($redis->client->llen('study:{ingest}:pending'), 4, 'queue: what was refused was not pushed');
    is($nginx->outcome('queue_full'), 2, 'queue: counted');
    is($nginx->post(form(command => '/x'), path => '/slack/commands')->{status}, 200, 'queue: the other list goes on');
    $redis->client->ltrim('study:{ingest}:pending', 1, -1);
    comes_back($nginx, 'queue');
    $nginx->stop;
    take_elements();

    $nginx = StudyTest::Module->nginx(more => 'study_queue_limit 0;');
    is(join(' ', map { $nginx->post($event)->{status} } 1 .. 3), '200 200 200', 'queue: no limit');
    $nginx->stop;
    take_elements();
};

StudyTest::Module::valgrind_ok();
done_testing();
