#!/usr/bin/perl

# The shipped unit: systemd understands it, and it agrees with what study-worker does.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew);

my $root = root_dir();
my $unit = slurp("$root/conf/systemd/study-worker.service");
my %set = map { /^(\w+)=(.*)/ ? ($1 => $2) : () } split /\n/, $unit;

my ($stop) = slurp("$root/worker/base/options.c") =~ /"worker", "stop_timeout", \w+, "(\d+)s"/;
cmp_ok($set{TimeoutStopSec}, '>', $stop + 5, 'systemd waits longer than the supervisor itself');
is($set{KillMode}, 'mixed', 'only the supervisor is told to stop');
is($set{Type}, 'notify', 'the supervisor tells when it is ready');

my ($status, $said) = run_limited([ "$root/build/study-worker", '-c', '/nonexistent/study-worker.conf' ]);
is($status >> 8, $set{RestartPreventExitStatus}, 'a configuration that cannot be used is not tried again') or diag($said);

SKIP: {
    my ($analyze) = grep { -x } map { "$_/systemd-analyze" } split /:/, $ENV{PATH};
    skip 'no systemd-analyze', 2 if !$analyze;
    my $dir = scratch_dir('systemd');
    my $here = spew("$dir/study-worker.service", $unit =~ s{^ExecStart=/usr/local/bin/study-worker}{ExecStart=$root/build/study-worker}mr);
    ($status, $said) = run_limited([ $analyze, 'verify', $here ], limit => 60);
    is($status, 0, 'systemd-analyze verify');
    unlike($said, qr/study-worker\.service/, '... has nothing to say') or diag($said);
}

done_testing;
