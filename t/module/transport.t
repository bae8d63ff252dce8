use strict;
use warnings;

# How a request may come: in pieces, in chunks, several at once, over HTTP/2, not at
# all; and clients that leave at each stage.

use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Module qw(:DEFAULT settings slow);
use StudyTest::FakeRedis;
use StudyTest::Proc qw(free_port run_limited slurp spew wait_for);

my $event = '{"type":"event_callback","text":"' . 'Read. ' x 400 . '"}';
my $nginx = StudyTest::Module->nginx(more => 'client_body_buffer_size 1k;');
take_elements();

# Sends the pieces with a pause between them, returns the answer.
sub in_pieces {
    my ($socket, @pieces) = @_;

    for my $piece (@pieces) {
        $socket->syswrite($piece);
        sleep 0.03;
    }
    return $nginx->answer($socket);
}

sub pieces { my ($text, $size) = @_; return unpack "(a$size)*", $text }

for my $buffer ('1k', '64k') {
    $nginx->stop;
    $nginx = StudyTest::Module->nginx(more => "client_body_buffer_size $buffer;");

    is(in_pieces($nginx->socket, pieces(request_text($event), 600))->{status}, 200, "$buffer: in pieces");
    queued("$buffer: in pieces", $event, 'event');

    for my $size (1, 7, 1000, 100000) {
        is($nginx->post($event, chunk => $size)->{status}, 200, "$buffer: in chunks of $size");
        queued("$buffer: in chunks of $size", $event, 'event');
    }

    is(in_pieces($nginx->socket, pieces(request_text($event, chunk => 333), 500))->{status}, 200,
        "$buffer: chunks in pieces");
    queued("$buffer: chunks in pieces", $event, 'event');

    is($nginx->post('', chunk => 10)->{status}, 200, "$buffer: no chunk");
    queued("$buffer: no chunk", '', 'event');

    is($nginx->post($event, chunk => 100, secret => 'wrong')->{status}, 401, "$buffer: chunks with a wrong signature");
    queued("$buffer: chunks with a wrong signature", $event);
}

# no length and no chunks: no body
my $headers = signed_headers('');
is($nginx->ask("POST /slack/events HTTP/1.1\r\nHost: localhost\r\n$headers\r\n")->{status}, 200, 'no length');
queued('no length', '', 'event');
is($nginx->ask("POST /slack/events HTTP/1.0\r\n$headers\r\n")->{status}, 200, 'HTTP/1.0');
queued('HTTP/1.0', '', 'event');

my $challenge = '{"type":"url_verification","challenge":"in pieces"}';
is(in_pieces($nginx->socket, pieces(request_text($challenge), 170))->{body}, 'in pieces', 'a challenge in pieces');
my $check = 'token=x&ssl_check=1';
is(in_pieces($nginx->socket, pieces(request_text($check, path => '/slack/commands',
    type => 'application/x-www-form-urlencoded', signed => ''), 100))->{status}, 200, 'ssl_check in pieces');
queued('neither is queued', undef);

subtest 'kept alive and pipelined' => sub {
    my $socket = $nginx->socket;
    for my $n (1 .. 5) {
        $socket->syswrite(request_text($event));
        is($nginx->answer($socket)->{status}, 200, "request $n");
    }
    my $wrong = request_text($event, secret => 'wrong');
    $socket->syswrite($wrong . request_text($event));
    is($nginx->answer($socket)->{status}, 401, 'a refused one before');
    is($nginx->answer($socket)->{status}, 200, 'goes on');
    queued('kept alive', $event, ('event') x 6);

    my @bodies = map { "{\"n\":$_}" } 1 .. 50;
    $socket->syswrite(join '', map { request_text($_) } @bodies);
    is(join(' ', map { $nginx->answer($socket)->{status} } @bodies), join(' ', (200) x 50), 'fifty at once');
    is(join(',', map { $_->[1] } take_elements()), join(',', @bodies), 'fifty at once: all, in their order');

    $socket->syswrite(request_text($event, close => 1));
    my $last = $nginx->answer($socket);
    is($last->{headers}{connection}, 'close', 'the last one');
    queued('the last one', $event, 'event');
};

subtest 'many at once' => sub {
    my $before = $nginx->metrics->{study_nginx_redis_batches_total};
    my @sockets = map { $nginx->socket } 1 .. 64;
    $_->syswrite(request_text($event)) for @sockets;
    is(scalar(grep { ($nginx->answer($_) // {})->{status} == 200 } @sockets), 64, 'all answered');
    queued('many at once', $event, ('event') x 64);
    cmp_ok($nginx->metrics->{study_nginx_redis_batches_total} - $before, '<', 64, 'in fewer batches');
};

# after a batch of many the next one waits for those who have been answered, who may not come
subtest 'nobody comes again' => sub {
    my $fake = StudyTest::FakeRedis->start(dir => $DIR, name => 'late');
    my $other = StudyTest::Module->nginx(http => settings(redis => $fake->address), more => 'study_redis_timeout 2s;');
    $fake->mode(push => 'late 0.5');
    is($other->post($event)->{status}, 200, 'connected');
    my $before = $other->metrics->{study_nginx_redis_batches_total};

    my @sockets = map { $other->socket } 1 .. 18;
    my $text = request_text($event);
    for my $range ([ 0, 0 ], [ 1, 16 ], [ 17, 17 ]) {
        wait_for { $fake->pushed == 1 + $range->[0] } 20 * slow(), 'what came before to be with Redis';
        $_->syswrite($text) for @sockets[ $range->[0] .. $range->[1] ];
    }
    is(join(' ', map { $other->answer($_)->{status} } @sockets), join(' ', (200) x 18), 'all answered');
    is($other->metrics->{study_nginx_redis_batches_total} - $before, 3, 'one, many, one');
    $other->stop;
};

subtest 'Expect: 100-continue' => sub {
    my $text = request_text($event, more => "Expect: 100-continue\r\n");
    my ($head, $body) = split /(?<=\r\n\r\n)/, $text, 2;

    my $socket = $nginx->socket;
    $socket->syswrite($head);
    is($nginx->answer($socket)->{status}, 100, 'go on');
    $socket->syswrite($body);
    is($nginx->answer($socket)->{status}, 200, 'accepted');
    queued('Expect', $event, 'event');

    $socket = $nginx->socket;
    $socket->syswrite($head);
    is($nginx->answer($socket)->{status}, 100, 'go on');
    close $socket;

    my $refused = request_text($event, more => "Expect: 100-continue\r\n", secret => 'wrong', at => -1000);
    ($head) = split /(?<=\r\n\r\n)/, $refused, 2;
    $socket = $nginx->socket;
    $socket->syswrite($head);
    is($nginx->answer($socket)->{status}, 401, 'refused before the body');
    queued('Expect, and no body', undef);
};

subtest 'a client that leaves' => sub {
    my $text = request_text($event);

    for my $part (10, 150, length($text) - length($event), length($text) - 1) {
        my $socket = $nginx->socket;
        $socket->syswrite(substr $text, 0, $part);
        sleep 0.03;
        close $socket;
        is($nginx->post($event)->{status}, 200, "after $part bytes: the next one is served");
    }
    queued('what was not whole', $event, ('event') x 4);

    my $chunked = request_text($event, chunk => 100);
    my $socket = $nginx->socket;
    $socket->syswrite(substr $chunked, 0, length($chunked) - 30);
    sleep 0.03;
    close $socket;
    is($nginx->post($event)->{status}, 200, 'in the middle of a chunk');
    queued('in the middle of a chunk', $event, 'event');

    # its command is on its way
    my $fake = StudyTest::FakeRedis->start(dir => $DIR);
    my $slow = StudyTest::Module->nginx(http => settings(redis => $fake->address), more => 'study_redis_timeout 2s;');
    $fake->mode(push => 'stall');
    $socket = $slow->socket;
    $socket->syswrite($text);
    wait_for { $fake->pushed } 20 * slow(), 'the command';
    close $socket;
    wait_for { $slow->outcome('client_closed') == 1 } 20 * slow(), 'the client to be gone';
    pass('while Redis thinks: counted');

    # and one that waits behind it
    $socket = $slow->socket;
    $socket->syswrite($text);
    wait_for { $slow->metrics->{study_nginx_pending_elements} == 2 } 20 * slow(), 'the second command';
    close $socket;
    wait_for { $slow->outcome('client_closed') == 2 } 20 * slow(), 'the client to be gone';
    pass('before it was written: counted');
    $fake->mode(push => 'ok');
    ok(eval { wait_for { $slow->post($event)->{status} == 200 } 20 * slow() }, 'and the next one is served');
    $slow->stop;
    unlike($slow->log, qr/\[alert\]|open socket/, 'no alert');
};

subtest 'a client that closes its side once it has sent' => sub {
    my $before = $nginx->outcome('accepted') + $nginx->outcome('client_closed');
    my $socket = $nginx->socket;
    $socket->syswrite(request_text($event));
    shutdown $socket, 1;
    my $got = $nginx->answer($socket);

    # for nginx this client may be gone; its event counts all the same
    ok(!$got || $got->{status} == 200, 'accepted, or no answer');
    wait_for { $nginx->outcome('accepted') + $nginx->outcome('client_closed') == $before + 1 } 10 * slow(), 'its end';
    wait_for { $nginx->metrics->{study_nginx_pending_elements} == 0 } 10 * slow(), 'the reply';
    queued('closed its side', $event, 'event');
};

subtest 'subrequests' => sub {
    my $own = StudyTest::Module->nginx(config => <<'END');
    location = /slack/events { study_events; }
    location = /study/metrics { study_metrics; }
    location = /mirrored { mirror /slack/events; study_metrics; }
    location = /asked { auth_request /slack/events; root html; }
END
    is($own->post($event, path => '/asked')->{status}, 500, 'does not let anybody in');
    my $get = request_text($event, path => '/mirrored') =~ s/POST/GET/r;
    is($own->ask($get)->{status}, 200, 'a mirror does not matter');
    wait_for { $own->log =~ /a subrequest cannot be accepted as an event/ } 20 * slow(), 'the log line';
    queued('subrequests', undef);
    $own->stop;
};

SKIP: {
    my $curl = `curl -V 2>/dev/null`;
    skip 'curl has no HTTP/2', 1 if $curl !~ /HTTP2/;

    subtest 'HTTP/2' => sub {
        my $h2 = StudyTest::Module->nginx(http2 => 1, impatient => 1, more => 'client_body_buffer_size 4k;');
        my $url = "http://127.0.0.1:$h2->{port}";
        my $post = sub {
            my ($body, $path, @args) = @_;
            my ($ts, $signature) = signed($body);
            spew("$DIR/body", $body);
            my (undef, $said) = run_limited([
                'curl', '-s', '--http2-prior-knowledge', '-w', "\n%{http_code} %{http_version}\n",
                '-H', "X-Slack-Request-Timestamp: $ts", '-H', "X-Slack-Signature: $signature",
                '-H', 'Content-Type: application/json', '--data-binary', "\@$DIR/body", @args, "$url$path",
            ], limit => 30 * slow());
            return $said;
        };

        like($post->($event, '/slack/events'), qr/\n200 2\n\z/, 'accepted');
        queued('HTTP/2', $event, 'event');
        my $long = '{"x":"' . 'y' x 100000 . '"}';
        like($post->($long, '/slack/events', '-H', 'Content-Length:'), qr/\n200 2\n\z/, 'without a length, into a file');
        queued('HTTP/2 without a length', $long, 'event');
        like($post->("a\0b", '/slack/events'), qr/\n200 2\n\z/, 'a NUL byte');
        queued('HTTP/2, a NUL byte', "a\0b", 'event');
        like($post->('', '/slack/events'), qr/\n200 2\n\z/, 'no body');
        queued('HTTP/2, no body', '', 'event');
        like($post->($challenge, '/slack/events'), qr/\Ain pieces\n200 2\n\z/, 'url_verification');

        # curl takes an answer that comes before it has sent everything for an error
        # of the stream, so these are read in nginx' own log
        $post->($event, '/slack/events?repeated', '-H', 'X-Slack-Signature: v0=00');
        $post->($event, '/slack/events?method', '-X', 'PUT');
        eval { wait_for { slurp("$h2->{dir}/access.log") =~ /method HTTP/ } 5 * slow() };
        my $access = slurp("$h2->{dir}/access.log");
        like($access, qr{"POST /slack/events\?repeated HTTP/2.0" 401 }, 'a repeated header');
        like($access, qr{"PUT /slack/events\?method HTTP/2.0" 405 }, 'another method');

        # several streams of one connection
        run_limited([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost),
            '-keyout', "$DIR/key.pem", '-out', "$DIR/cert.pem" ]);
        my $port = free_port();
        my $tls = StudyTest::Module->nginx(config => <<"END" . StudyTest::Module::locations());
    listen 127.0.0.1:$port ssl http2;
    ssl_certificate $DIR/cert.pem;
    ssl_certificate_key $DIR/key.pem;
END
        my ($ts, $signature) = signed($event);
        spew("$DIR/body", $event);
        my @urls = map { ("https://127.0.0.1:$port/slack/events?$_", '-o', '/dev/null') } 1 .. 30;
        run_limited([
            'curl', '-s', '-k', '-Z',
            '-H', "X-Slack-Request-Timestamp: $ts", '-H', "X-Slack-Signature: $signature",
            '-H', 'Content-Type: application/json', '--data-binary', "\@$DIR/body", @urls,
        ], limit => 30 * slow());
        my $served = sub { return scalar(() = slurp("$tls->{dir}/access.log") =~ m{"POST /slack/events\?\d+ HTTP/2.0" 200 }g) };
        ok(eval { wait_for { $served->() == 30 } 5 * slow() }, 'thirty streams') or diag $served->();
        queued('thirty streams', $event, ('event') x 30);
        $tls->stop;

        # a client that leaves in the middle
        my $fake = StudyTest::FakeRedis->start(dir => $DIR, name => 'h2');
        my $slow = StudyTest::Module->nginx(http2 => 1, impatient => 1, http => settings(redis => $fake->address));
        $fake->mode(push => 'stall');
        run_limited([
            'curl', '-s', '-m', '0.3', '--http2-prior-knowledge', '-H', "X-Slack-Request-Timestamp: $ts",
            '-H', "X-Slack-Signature: $signature", '--data-binary', "\@$DIR/body",
            "http://127.0.0.1:$slow->{port}/slack/events",
        ]);
        $fake->mode(push => 'ok');
        $slow->stop;
        $h2->stop;
        unlike($h2->log . $slow->log, qr/\[alert\]|open socket/, 'no alert');
    };
}

$nginx->stop;
unlike($nginx->log, qr/\[alert\]|open socket/, 'no alert');

StudyTest::Module::valgrind_ok();
done_testing();
