use strict;
use warnings;

# What `nginx -t` says: to bad configurations, each with the place; to good ones,
# without a Redis, a name server or anything else running.

use Test::More;

use StudyTest::Module;
use StudyTest::Proc qw(root_dir run_limited slurp spew);

my $nginx = StudyTest::Module->nginx(stopped => 1);
my $sock = 'study_redis unix:/nowhere/redis.sock;';
my $secret = "study_signing_secret_file $DIR/secret;";
my $token = "study_trigger_token_file $DIR/token;";
my $all = "$sock $secret $token";

secret_file('empty', "\n");
secret_file('readable', "x\n", 0644);
secret_file('lines', "one\ntwo\n");
secret_file('long', 'x' x 5000);
secret_file('nul', "a\0b\n");
secret_file('spaces', "  text \t\r\n");
mkdir "$DIR/directory";

my @bad = (
    [ 'study_redis is required', "$secret $token", 'location /e { study_events; }',
        qr/no "study_redis" is defined for location "\/e" in \S+nginx\.conf:\d+/ ],
    [ 'a secret is required', "$sock $token", 'location /e { study_events; }',
        qr/no "study_signing_secret_file" is defined for location "\/e"/ ],
    [ 'for commands too', "$sock $token", 'location /e { study_commands; }', qr/no "study_signing_secret_file"/ ],
    [ 'for interactions too', "$sock $token", 'location /e { study_interactions; }', qr/no "study_signing_secret_file"/ ],
    [ 'a token is required', "$sock $secret", 'location /t { study_trigger; }',
        qr/no "study_trigger_token_file" is defined for location "\/t"/ ],
    [ 'a handler twice', $all, 'location /e { study_events; study_events; }', qr/"study_events" directive is duplicate/ ],
    [ 'two handlers', $all, 'location /e { study_events; study_commands; }',
        qr/"study_commands" directive conflicts with another handler in \S+:\d+/ ],
    [ "another module's handler", $all, 'location /e { proxy_pass http://127.0.0.1; study_events; }',
        qr/"study_events" directive conflicts with another handler/ ],
    [ 'a handler outside of a location', "$all study_events;", '', qr/"study_events" directive is not allowed here/ ],
    [ 'an argument to a handler', $all, 'location /e { study_events on; }',
        qr/invalid number of arguments in "study_events"/ ],
    [ 'the zone in a server', $all, 'study_metrics_zone 1m;', qr/"study_metrics_zone" directive is not allowed here/ ],
    [ 'a small zone', "$all study_metrics_zone 8k;", '', qr/"study_metrics_zone" must be at least \d+k/ ],
    [ 'no server', 'study_redis;', '', qr/invalid number of arguments in "study_redis"/ ],
    [ 'servers twice', "$sock $sock", '', qr/"study_redis" directive is duplicate/ ],
    [ 'a server twice', 'study_redis a b a;', '', qr/duplicate server "a" in "study_redis"/ ],
    [ 'a bad port', 'study_redis 127.0.0.1:99999;', '', qr/invalid port in "study_redis" server "127\.0\.0\.1:99999"/ ],
    [ 'a bad IPv6 address', 'study_redis [::1:6379;', '', qr/in "study_redis" server/ ],
    [ 'a URL', 'study_redis redis://127.0.0.1/;', '', qr/in "study_redis" server "redis:\/\/127/ ],
    [ 'no socket path', 'study_redis unix:;', '', qr/no path in the unix domain socket in "study_redis"/ ],
    [ 'too many servers', 'study_redis ' . join(' ', map { "127.0.0.1:$_" } 1 .. 33) . ';', '', qr/too many servers/ ],
    [ 'a bad database', "$all study_redis_db x;", '', qr/"study_redis_db" directive invalid number/ ],
    [ 'a large database', "$all study_redis_db 70000;", '', qr/value must be between 0 and 65535/ ],
    [ 'a bad time', "$all study_redis_timeout soon;", '', qr/"study_redis_timeout" directive invalid value/ ],
    [ 'no time', "$all study_redis_timeout 0;", 'location /e { study_events; }', qr/must not be 0/ ],
    [ 'no room', "$all study_redis_max_pending 0;", 'location /e { study_events; }', qr/must not be 0/ ],
    [ 'a bad size', "$all study_redis_max_pending much;", '', qr/"study_redis_max_pending" directive invalid value/ ],
    [ 'a bad flag', "$all study_redis_tls maybe;", '', qr/it must be "on" or "off"/ ],
    [ 'a user without a password', "$all study_redis_user nginx;", 'location /e { study_events; }',
        qr/no "study_redis_password_file" is defined/ ],
    [ 'TLS without a CA', "$all study_redis_tls on;", 'location /e { study_events; }',
        qr/no "study_redis_tls_trusted_certificate" is defined/ ],
    [ 'TLS over a socket without a name', "$all study_redis_tls on; study_redis_tls_verify off;",
        'location /e { study_events; }', qr/"study_redis_tls_name" is required for "unix:/ ],
    [ 'a certificate without a key', "$all study_redis_tls on; study_redis_tls_verify off; study_redis_tls_certificate x;",
        'location /e { study_events; }', qr/no "study_redis_tls_certificate_key"/ ],
    [ 'a certificate that is not there', "study_redis 127.0.0.1; $secret study_redis_tls on;"
        . ' study_redis_tls_trusted_certificate /nowhere.pem;', 'location /e { study_events; }', qr/nowhere\.pem/ ],
    [ 'an empty prefix', "$all study_key_prefix '';", 'location /e { study_events; }', qr/must have 1 to 64 characters/ ],
    [ 'a long prefix', "$all study_key_prefix " . 'x' x 65 . ';', 'location /e { study_events; }', qr/must have 1 to 64/ ],
    [ 'a prefix with a hash tag', "$all study_key_prefix 'a{b}';", 'location /e { study_events; }',
        qr/invalid "study_key_prefix" "a\{b\}"/ ],
    [ 'a secret that is not there', 'study_signing_secret_file /nowhere/secret;', '',
        qr/open\(\) "\/nowhere\/secret" failed \(2: No such file or directory\) in \S+:\d+/ ],
    [ 'an empty secret', "study_signing_secret_file $DIR/empty;", '', qr/\/empty" is empty/ ],
    [ 'a secret that others may read', "study_signing_secret_file $DIR/readable;", '',
        qr/accessible to others, change its mode to 0640 or 0600 in \S+:\d+/ ],
    [ 'a token that others may read', "study_trigger_token_file $DIR/readable;", '', qr/accessible to others/ ],
    [ 'a password that others may read', "study_redis_password_file $DIR/readable;", '', qr/accessible to others/ ],
    [ 'two lines', "study_signing_secret_file $DIR/lines;", '', qr/must hold one line of text/ ],
    [ 'a NUL byte', "study_signing_secret_file $DIR/nul;", '', qr/must hold one line of text/ ],
    [ 'a long secret', "study_signing_secret_file $DIR/long;", '', qr/too long for a secret/ ],
    [ 'a directory', "study_signing_secret_file $DIR/directory;", '', qr/is not a regular file/ ],
    [ 'secrets twice', "$secret $secret", '', qr/"study_signing_secret_file" directive is duplicate/ ],
    [ 'tokens twice', "$token $token", '', qr/"study_trigger_token_file" directive is duplicate/ ],
);

for my $case (@bad) {
    my ($name, $http, $config, $said) = @$case;

    $nginx->configure(http => $http, config => $config);
    my ($status, $out) = $nginx->check;
    isnt($status, 0, "$name: refused");
    like($out, $said, "$name: said");
}

my @good = (
    [ 'no Redis', $all, 'location /e { study_events; }' ],
    [ 'all kinds of addresses', 'study_redis 127.0.0.1 127.0.0.1:1 [::1] [::1]:6380 localhost unix:/x/y;' . $secret,
        'location /e { study_events; }' ],
    [ 'a name that does not resolve', "study_redis not-there.invalid; $secret", 'location /e { study_events; }' ],
    [ 'one that a resolver will find', "study_redis not-there.invalid; $secret resolver 127.0.0.1:1;",
        'location /e { study_events; }' ],
    [ 'settings in the location', '', "location /e { study_events; $sock $secret }" ],
    [ 'settings in the server', '', "$all location /e { study_events; } location /t { study_trigger; }" ],
    [ 'a location that changes one of them', $all,
        "location /e { study_events; study_queue_limit 5; location /e/f { study_commands; study_redis_db 2; } }" ],
    [ 'settings and no handler', $all, '' ],
    [ 'nothing at all', '', '' ],
    [ 'metrics alone', '', 'location /m { study_metrics; }' ],
    [ 'a token needs no secret', "$sock $token", 'location /t { study_trigger; }' ],
    [ 'spaces around a secret', "$sock study_signing_secret_file $DIR/spaces;", 'location /e { study_events; }' ],
);

for my $case (@good) {
    my ($name, $http, $config) = @$case;

    $nginx->configure(http => $http, config => $config);
    my ($status, $out) = $nginx->check;
    is($status, 0, "$name: accepted") or diag $out;
}

# Inheritance: the location's own setting counts, else that of the level above.
my $body = '{"type":"event_callback"}';
secret_file('other', "other\n");
my $own = StudyTest::Module->nginx(config => <<"END");
    location = /study/metrics { study_metrics; }
    location = /above { study_events; }
    location = /own { study_events; study_signing_secret_file $DIR/other; }
    location /outer { study_signing_secret_file $DIR/other; location = /outer/inner { study_commands; } }
END
is($own->post($body, path => '/above')->{status}, 200, 'the secret of the level above');
is($own->post($body, path => '/above', secret => 'other')->{status}, 401, 'and no other');
is($own->post($body, path => '/own', secret => 'other')->{status}, 200, 'its own secret');
is($own->post($body, path => '/own')->{status}, 401, 'and no other');
is($own->post($body, path => '/outer/inner', secret => 'other')->{status}, 200, 'the secret of the location around');
is($own->metrics->{'study_nginx_redis_connections{state="ready"}'}, 1, 'all share one connection');
$own->stop;
take_elements();

# Connections are shared by what makes them equal, not by their address.
$own = StudyTest::Module->nginx(config => <<'END');
    location = /study/metrics { study_metrics; }
    location = /a { study_events; }
    location = /b { study_events; study_queue_limit 7; study_key_prefix study; }
    location = /c { study_events; study_redis_db 2; }
    location = /d { study_events; study_redis_timeout 1s; }
END
is($own->metrics->{'study_nginx_redis_connections{state="ready"}'}, 3, 'as many connections as there are settings');
$own->stop;

# The files that ship, with the paths moved.
for my $file (qw(study.conf nginx-example.conf)) {
    my $text = slurp(root_dir() . "/conf/nginx/$file");
    secret_file($_, "x\n") for qw(signing_secret redis_nginx_password trigger_token);
    $text =~ s{/etc/study-tracker/nginx/}{$DIR/}g;
    $text =~ s{/etc/study-tracker/}{$DIR/}g;
    $text =~ s{/var/log/nginx/}{$DIR/}g;
    $text =~ s{/run/nginx.pid}{$DIR/nginx.pid}g;
    $text =~ s{modules/ngx_http_study_module.so}{(split ' ', $ENV{TEST_NGINX_LOAD_MODULES})[-1]}e;
    $text =~ s{^user .*\n}{}m;
    my $temp = join '', map { "    ${_}_temp_path $DIR/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
    $text =~ s{^http \{\n}{http \{\n$temp}m;
    $text =~ s{listen \[::\]:443}{listen [::1]:10443};
    $text =~ s{listen 443}{listen 127.0.0.1:10443};
    $text =~ s{/etc/ssl/\w+/study\.example\.org\.(pem|key)}{$DIR/example.$1}g;
    spew("$DIR/$file", $text);
}
run_limited([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost),
    '-keyout', "$DIR/example.key", '-out', "$DIR/example.pem" ]);

$nginx->configure(http => '', config => "include $DIR/study.conf;");
my ($status, $out) = $nginx->check;
is($status, 0, 'the snippet: one include line is enough') or diag $out;
my $snippet = slurp("$DIR/study.conf");
$snippet =~ s/^\s*#.*\n//mg;
is($snippet =~ s/location = \S+ \{[^{}]*\}\s*//gr, "\n", 'the snippet: locations and nothing else');

($status, $out) = run_limited([ $ENV{TEST_NGINX_BINARY}, '-t', '-p', "$nginx->{dir}/", '-c', "$DIR/nginx-example.conf",
    '-e', "$DIR/example.log" ]);
is($status, 0, 'the example') or diag $out;

StudyTest::Module::valgrind_ok();
done_testing();
