use strict;
use warnings;

# The list element, byte for byte. t/lib/fixtures/*.bin are what the worker's tests
# parse: here they are what the module has to write, but for the time and the request
# id, which differ each time.

use JSON::PP ();
use Test::More;

use StudyTest::Module;
use StudyTest::Proc qw(root_dir slurp);

my $fixtures = root_dir() . '/t/lib/fixtures';
my $json = JSON::PP->new->utf8;
my $form = 'application/x-www-form-urlencoded';

my $nginx = StudyTest::Module->nginx;
take_elements();

# The fixture's own request, and what is to be in the list after it.
my %request = (
    'element.bin' => sub {
        return request_text($_[0], more => "X-Slack-Retry-Num: 1\r\nX-Slack-Retry-Reason: http_timeout\r\n");
    },
    'element-first.bin'       => sub { request_text($_[0]) },
    'element-raw.bin'         => sub { request_text($_[0]) },
    'element-empty.bin'       => sub { request_text($_[0]) },
    'element-command.bin'     => sub { request_text($_[0], path => '/slack/commands', type => $form) },
    'element-interaction.bin' => sub { request_text($_[0], path => '/slack/interactions', type => "$form; charset=utf-8") },
    'element-trigger.bin'     => sub {
        return "POST /study/trigger?$_[0] HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer $TOKEN\r\n"
            . "Idempotency-Key: cron-2026-11-22\r\nContent-Length: 0\r\n\r\n";
    },
);

is(join(' ', sort map { s{.*/}{}r } glob "$fixtures/element*.bin"), join(' ', sort keys %request), 'the fixtures');

for my $name (sort keys %request) {
    my $fixture = slurp("$fixtures/$name");
    my ($head, $body) = split /\n/, $fixture, 2;

    my $before = int(time) * 1000;
    my $got = $nginx->ask($request{$name}->($body));
    like($got->{status}, qr/\A20[02]\z/, "$name: accepted");
    my ($element) = take_elements();

    # the two values that differ
    my ($time) = $element->[0] =~ /"received_at":(\d+),/;
    my ($id) = $element->[0] =~ /"request_id":"([0-9a-f]{32})"/;
    ok($time >= $before && $time <= (time + 1) * 1000, "$name: the time");
    ok($id, "$name: the request id");
    my ($fixed_time) = $head =~ /"received_at":(\d+),/;
    my ($fixed_id) = $head =~ /"request_id":"([^"]*)"/;
    (my $same = $element->[0]) =~ s/$time/$fixed_time/;
    $same =~ s/$id/$fixed_id/;
    is($same, $head, "$name: the header line");
    ok($element->[1] eq $body, "$name: the body");
    ok(eval { $json->decode($head) }, "$name: the fixture is JSON");
}

# The request id is the one of nginx' logs.
my $logged = StudyTest::Module->nginx(http => StudyTest::Module::settings(), more => <<'END');
log_format id $request_id; access_log logs/id.log id;
END
$logged->post('{}');
my ($element) = take_elements();
$logged->stop;
my ($id) = slurp("$logged->{dir}/logs/id.log") =~ /(\S+)\n\z/;
like($element->[0], qr/"request_id":"$id"/, 'the request id is the one of the log');

# Hostile header values: always one line of JSON, never long.
my %hostile = (
    'quotes and backslashes' => [ '"}\\{"a":"b', '"}\\{"a":"b' ],
    'control bytes'          => [ "a\x01\x1f\tb\x7f", "a\x01\x1f\tb\x7f" ],
    'no UTF-8'               => [ "a\xff\xc3b\xc0\xaf\xed\xa0\x80", "a\x{fffd}\x{fffd}b" . "\x{fffd}" x 5 ],
    'UTF-8'                  => [ "\xed\x95\x9c \xf0\x9f\x93\x9a", "\x{d55c} \x{1f4da}" ],
    'cut UTF-8'              => [ "a\xf0\x9f\x93", "a\x{fffd}\x{fffd}\x{fffd}" ],
    'long'                   => [ 'x' x 4000, 'x' x 128 ],
    'long, of two bytes'     => [ 'x' . "\xc3\xa9" x 400, 'x' . "\x{e9}" x 63 ],
    'long, of quotes'        => [ '"' x 4000, '"' x 128 ],
    'long, of control bytes' => [ "\x01" x 4000, "\x01" x 128 ],
    'empty'                  => [ '', '' ],
);
for my $name (sort keys %hostile) {
    my ($sent, $expected) = @{ $hostile{$name} };

    my $got = $nginx->post('{}', type => $sent, more => "X-Slack-Retry-Reason: $sent\r\n");
    if ($got->{status} == 400) {
        ok($sent =~ /[\x01\x7f]/, "$name: nginx refuses it itself");
        next;
    }
    is($got->{status}, 200, "$name: accepted");
    my ($in_list) = take_elements();
    my $head = eval { $json->decode($in_list->[0]) };
    ok($head, "$name: JSON") or diag $@, $in_list->[0];
    is($head->{retry_reason}, $expected =~ s/\A\s+|\s+\z//gr, "$name: the reason");
    is($head->{content_type}, $expected =~ s/\A\s+|\s+\z//gr, "$name: the content type");
    cmp_ok(length $in_list->[0], '<', 4096, "$name: bounded");
}

# A number that is none is 0.
for my $num ('x', '-1', '1.5', '', '9999999999', '12') {
    $nginx->post('{}', more => "X-Slack-Retry-Num: $num\r\n");
    my ($in_list) = take_elements();
    is($json->decode($in_list->[0])->{retry_num}, $num eq '12' ? 12 : 0, "retry number '$num'");
}

# An idempotency key is a trigger's alone, and kept whole.
$nginx->post('{}', more => "Idempotency-Key: k\r\n");
($element) = take_elements();
is($json->decode($element->[0])->{idempotency_key}, '', 'an event has no idempotency key');
my $key = '"k\\' . 'x' x 252;
$nginx->ask("POST /study/trigger?schedule=daily HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer $TOKEN\r\n"
    . "Idempotency-Key: $key\r\nContent-Length: 0\r\n\r\n");
($element) = take_elements();
is($json->decode($element->[0])->{idempotency_key}, $key, 'a trigger keeps all of it');

$nginx->stop;
StudyTest::Module::valgrind_ok();
done_testing();
