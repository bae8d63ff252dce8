#!/usr/bin/perl

# What the nginx module reads from anybody, and the worker from Redis, Slack, the model and its
# operator: searched for ten seconds a target for an input that breaks it. t/fuzz/run searches
# longer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use StudyTest::Proc qw(root_dir run_limited);

plan skip_all => 'clang is not there' if system('command -v clang >/dev/null') != 0;

my $root = root_dir();
my @targets = map { m{fuzz_(\w+)\.c$} } sort glob "$root/t/fuzz/fuzz_*.c";
cmp_ok(scalar @targets, '>=', 11, 'there are targets');
for my $name (@targets) {
    my ($status, $said) = run_limited([ "$root/t/fuzz/run", '-t', 10, $name ], limit => 300);
    is($status, 0, "$name holds") or diag $said;
    my ($tried) = $said =~ /number_of_executed_units:\s*(\d+)/;
    cmp_ok($tried // 0, '>', 1000, "$name: many inputs were tried");
}
done_testing;
