#!/usr/bin/perl

# Every fuzz target over its seeds, among them all that ever broke it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use StudyTest::Proc qw(build_dir root_dir run_limited);

my $root = root_dir();
my @targets = map { m{fuzz_(\w+)\.c$} } sort glob "$root/t/fuzz/fuzz_*.c";
cmp_ok(scalar @targets, '>=', 3, 'there are targets');
for my $name (@targets) {
    my @seeds = glob "$root/t/fuzz/corpus/$name/*";
    cmp_ok(scalar @seeds, '>=', 3, "$name has seeds");
    my ($status, $said) = run_limited([ build_dir() . "/replay/fuzz_$name", @seeds ], limit => 60);
    is($status, 0, "$name takes all of them") or diag $said;
}
done_testing;
