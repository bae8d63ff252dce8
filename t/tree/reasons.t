#!/usr/bin/perl

# The reasons for which an element may end in dead_event: those in the code are those in
# worker/README.md, and each is tried by a test.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;

use StudyTest::Proc qw(root_dir slurp);

my $root = root_dir();
my %code;
for my $file (glob("$root/worker/ingest/*.c"), "$root/worker/proc/store_apply.c") {
    my $text = slurp($file);
    $code{$1} = 1 while $text =~ /(?:event_bury|add_dead)\((?:[^"();]|\([^()]*\))*?"([a-z0-9_]+)"/g;
    $code{$1} = 1 while $text =~ /ERROR_INPUT,\s*"([a-z_]+)"/g;
}
cmp_ok(scalar keys %code, '>=', 20, 'reasons are found in the code');

my ($table) = slurp("$root/worker/README.md") =~ /^Reasons of `dead_event`.*?\n\n(.*?)\n\n/ms;
my %docs;
for my $row (split /\n/, $table) {
    my ($cell) = $row =~ /^\| (.*?) \|/ or next;
    $docs{$1} = 1 while $cell =~ /`([a-z0-9_]+)`/g;
}
is_deeply([ sort keys %docs ], [ sort keys %code ], 'worker/README.md explains the same');

my $tests = join '', map { slurp($_) } glob("$root/t/unit/test_e*.c"), "$root/t/worker/store.t";
ok($tests =~ /["']$_["']/, "$_ is tried by a test") for sort keys %code;

done_testing;
