use strict;
use warnings;

# The edges of the time window, to the second.

use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Module;

my $body = '{"type":"event_callback"}';
my $nginx = StudyTest::Module->nginx(config => StudyTest::Module::locations() . <<'END');
    location = /narrow { study_events; study_timestamp_tolerance 10s; }
    location = /wide { study_events; study_timestamp_tolerance 1h; }
END

# The answer to a request AT seconds from now. It is sent when a second has just
# begun, and again if the second was over before the answer came.
sub status_at {
    my ($at, $path) = @_;

    for my $try (1 .. 20) {
        my $now = time;
        sleep 1.02 - ($now - int $now) if $now - int $now > 0.4;
        $now = int time;
        my $got = $nginx->post($body, timestamp => $now + $at, path => $path // '/slack/events')->{status};
        return $got if int time == $now;
    }
    return 'no second was long enough';
}

is(status_at(-300), 200, '300 s ago');
is(status_at(-301), 401, '301 s ago');
is(status_at(300), 200, 'in 300 s');
is(status_at(301), 401, 'in 301 s');
is(status_at(0), 200, 'now');
is(status_at(-10, '/narrow'), 200, 'narrower: 10 s ago');
is(status_at(-11, '/narrow'), 401, 'narrower: 11 s ago');
is(status_at(10, '/narrow'), 200, 'narrower: in 10 s');
is(status_at(11, '/narrow'), 401, 'narrower: in 11 s');
is(status_at(-3600, '/wide'), 200, 'wider: an hour ago');
is(status_at(-3601, '/wide'), 401, 'wider: an hour and a second ago');

for my $ts ('99999999999', '0', '00000000000') {
    is($nginx->post($body, timestamp => $ts)->{status}, 401, "at $ts");
}
take_elements();
$nginx->stop;

StudyTest::Module::valgrind_ok();
done_testing();
