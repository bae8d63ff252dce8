#!/usr/bin/perl

# Every mutant of t/mutants/list.pl still finds its place in the source, and has its test.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $mutants = do "$root/t/mutants/list.pl" or die $@ || $!;

my $said = qx{"$root/t/mutants/run" --check 2>&1};
is($?, 0, 'each edit finds its place') or diag($said);
my %seen;
for my $mutant (@$mutants) {
    my $name = $mutant->{name};
    ok(!$seen{$name}++, "$name: one of that name");
    my $test = $mutant->{test} =~ s{^build/unit/(.*)}{t/unit/$1.c}r;
    ok(-f "$root/$test", "$name: $test is there");
    is(ref $mutant->{red}, 'Regexp', "$name: what goes red is named");
}
done_testing;
