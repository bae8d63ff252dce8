use strict;
use warnings;

# Beside other modules that bring a Redis client, a Lua, handlers and filters of
# their own: all of them work. nchan exports another hiredis.

use Test::More;

use StudyTest::Module qw(:DEFAULT slow);
use StudyTest::Proc qw(free_port run_limited);

my $modules = '/usr/lib/nginx/modules';
my @others = grep { -e "$modules/$_.so" } qw(ndk_http_module ngx_http_lua_module ngx_http_echo_module ngx_nchan_module);
if ($ENV{TEST_NGINX_BINARY} ne '/usr/sbin/nginx' || @others < 4) {
    plan skip_all => 'needs Debian\'s nginx with lua, echo and nchan';
}
# Lua's own locations know no temporary directories but Debian's, which root makes.
plan skip_all => 'needs /var/lib/nginx/body' if $> != 0 && !-d '/var/lib/nginx/body';

# It would find what the others lose, and cannot name it once they are unloaded.
plan skip_all => 'valgrind would judge the other modules' if $ENV{TEST_NGINX_USE_VALGRIND};

plan skip_all => 'the others have leaks of their own' if slow() > 1;

my $event = '{"type":"event_callback"}';
my $ours = $ENV{TEST_NGINX_LOAD_MODULES};

# nchan wants a port, and logs in as nobody
my $redis = StudyTest::Redis->start(dir => "$DIR/nchan", name => 'nchan', port => free_port());
$redis->client->acl(qw(setuser default on nopass allkeys allchannels +@all));

for my $order ('before', 'after') {
    my @load = map { "$modules/$_.so" } @others;
    $ENV{TEST_NGINX_LOAD_MODULES} = join ' ', $order eq 'before' ? ($ours, @load) : (@load, $ours);

    my $nginx = StudyTest::Module->nginx(
        more   => 'nchan_redis_url redis://127.0.0.1:' . $redis->port . ';',
        config => StudyTest::Module::locations() . <<'END',
    location = /echo { echo_read_request_body; echo_request_body; }
    location = /lua { content_by_lua_block { ngx.req.read_body() ngx.print(#(ngx.req.get_body_data() or '')) } }
    location = /pub { nchan_publisher; nchan_channel_id c; nchan_use_redis on; }
    location = /sub { nchan_subscriber longpoll; nchan_channel_id c; nchan_use_redis on; nchan_subscriber_first_message oldest; }
END
    );
    is($nginx->post($event)->{status}, 200, "$order: an event");
    queued("$order: an event", $event, 'event');
    my $text = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    my $socket = $nginx->socket;
    $socket->syswrite($text);
    like(join('', <$socket>), qr/hello/, "$order: echo");
    ($socket = $nginx->socket)->syswrite($text =~ s/echo/lua/r);
    like(join('', <$socket>), qr/\b5\b/, "$order: lua");
    is($nginx->ask($text =~ s/echo/pub/r)->{status}, 202, "$order: nchan publishes through its Redis client");
    is($nginx->ask("GET /sub HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")->{body}, 'hello', "$order: nchan subscribes");
    is($nginx->post($event)->{status}, 200, "$order: and an event again");
    queued("$order: and an event again", $event, 'event');
    $nginx->stop;
    unlike($nginx->log, qr/\[alert\]|\[emerg\]|exited on signal/, "$order: no alert");
}

# nothing of hiredis is exported
my (undef, $symbols) = run_limited([ 'nm', '-D', '--defined-only', $ours ]);
like($symbols, qr/ ngx_http_study_module$/m, 'the symbols of the module');
unlike($symbols, qr/\b(?:redis|sds|hi_)\w+/, 'hiredis stays inside the module');
(undef, $symbols) = run_limited([ 'nm', '-D', '--undefined-only', $ours ]);
unlike($symbols, qr/\b(?:redis|sds|hi_)\w+/, 'which does not look for another');
(undef, $symbols) = run_limited([ 'nm', '-D', '--defined-only', "$modules/ngx_nchan_module.so" ]);
like($symbols, qr/ redisReader\w+$/m, 'as nchan would offer it');

done_testing();
