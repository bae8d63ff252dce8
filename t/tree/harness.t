#!/usr/bin/perl

# The harness must not call a broken run a good one: what it counts, file by file. And it
# begins with what takes long, on ports that no connection of a neighbour can take.

use strict;
use warnings;

use FindBin qw($Bin);
use File::Temp qw(tempdir);
use Test::More;

use lib "$Bin/../lib";
use StudyTest::Proc qw(free_port slurp);

my $dir = tempdir(CLEANUP => 1);

sub run_on {
    my %files = @_;

    my @paths;
    for my $name (sort keys %files) {
        my $path = "$dir/$name.t";
        open my $out, '>', $path or die "$path: $!";
        print {$out} $files{$name};
        close $out;
        push @paths, $path;
    }
    local $ENV{STUDY_TAPS} = "$dir/tap";
    my $said = qx{"$Bin/../run" @paths 2>&1};
    my @lines = split /\n/, $said;
    return { status => $? >> 8, last => $lines[-1], all => $said };
}

my %good = (good => "print qq(ok 1\\nok 2\\n1..2\\n);\n");
my @cases = (
    [ 'all well',          { %good },                                                          0, '2 passed, 0 failed' ],
    [ 'a failed test',     { %good, bad => 'print qq(1..2\nok 1\nnot ok 2 - why\n# because\n)' }, 1, '3 passed, 1 failed' ],
    [ 'a skipped test',    { %good, skip => 'print qq(1..2\nok 1\nok 2 # skip no node here\n)' }, 0, '3 passed, 0 failed' ],
    [ 'a skipped file',    { %good, skip => 'print qq(1..0 # SKIP no node here\n)' },            0, '2 passed, 0 failed' ],
    [ 'a file that dies',  { %good, dead => 'die "oh"' },                                        1, '2 passed, 1 failed' ],
    [ 'dies at the end',   { %good, dead => 'print qq(1..1\nok 1\n); die "oh"' },                1, '3 passed, 1 failed' ],
    [ 'a short plan',      { %good, short => 'print qq(1..5\nok 1\nok 2\n)' },                   1, '4 passed, 3 failed' ],
    [ 'no plan',           { %good, noplan => 'print qq(ok 1\nok 2\n)' },                        1, '4 passed, 1 failed' ],
    [ 'killed',            { %good, killed => 'print qq(1..2\nok 1\n); $| = 1; print q(); kill KILL => $$' }, 1, undef ],
    [ 'a test to do',      { %good, todo => 'print qq(1..1\nnot ok 1 # TODO later\n)' },         0, '3 passed, 0 failed' ],
    [ 'nothing at all',    { none => 'print qq(1..0 # SKIP nothing\n)' },                        1, '0 passed, 0 failed' ],
);

for my $case (@cases) {
    my ($name, $files, $status, $last) = @$case;
    unlink glob "$dir/*.t";
    my $got = run_on(%$files);
    is($got->{status}, $status, "$name: exit status") or diag($got->{all});
    if (defined $last) {
        is($got->{last}, $last, "$name: last line") or diag($got->{all});
    }
    else {
        like($got->{last}, qr/^\d+ passed, [1-9]\d* failed$/, "$name: last line") or diag($got->{all});
    }
    like($got->{all}, qr/because/, 'what was said is shown') if $name eq 'a failed test';
    like($got->{all}, qr/no node here/, "$name is said") if $name =~ /skipped/;
}

# --- the order ------------------------------------------------------------------------

my @order = split /\n/, qx{"$Bin/../run" --list --variant sanitize t/worker/};
my ($plain) = grep { $order[$_] eq 't/worker/deliver.t' } 0 .. $#order;
is($order[0], 'sanitize:t/worker/deliver.t', 'what takes longest begins first, slower ways of it before');
cmp_ok($plain, '<', 5, '... and it itself soon after') or diag("@order[0 .. 5]");
my @known = slurp("$Bin/../run") =~ m{'(t/\w+/\w+\.t)' => \d+}g;
cmp_ok(scalar @known, '>', 20, 't/run knows those that take long');
is_deeply([ grep { !-e "$Bin/../../$_" } @known ], [], '... which are all there');

my ($first) = slurp('/proc/sys/net/ipv4/ip_local_port_range') =~ /^(\d+)/;
is_deeply([ grep { $first > 12_000 && $_ >= $first } map { free_port() } 1 .. 20 ], [], "a test's port is none that a connection gets");

done_testing;
