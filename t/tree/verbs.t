#!/usr/bin/perl

# Every verb of build.sh tells in the same way what it does and takes, and refuses what it
# does not take before anything is installed, built or removed; and what is told is what the
# programs behind the verbs take.

use strict;
use warnings;

use FindBin;
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

use lib "$FindBin::Bin/../lib";
use StudyTest::Proc qw(run_limited slurp spew);

my $root = "$FindBin::Bin/../..";

# A tree with nothing in it but build.sh and programs that say what they were given.
my $dir = tempdir(CLEANUP => 1);
my %PROGRAM = (bench => 't/bench/run', deb => 'conf/debian/build', chaos => 't/chaos/run', fuzz => 't/fuzz/run', matrix => 't/matrix/run');
for my $path ('build.sh', values %PROGRAM) {
    make_path("$dir/$1") if $path =~ m{(.*)/};
    spew("$dir/$path", $path eq 'build.sh' ? slurp("$root/build.sh") : "#!/bin/sh\necho \"given: \$*\"\n", 0755);
}
spew("$dir/t/demo.pl", 'print "given: @ARGV\n"');
spew("$dir/t/run", 'print "given: @ARGV\n"');
mkdir "$dir/build";

# (status, output) of a call in that tree, where nothing is installed or compiled.
sub call {
    my @words = @_;
    return run_limited([ 'bash', '-c', <<'END', 'bash', "$dir/build.sh", @words ]);
source "$1"; shift
need() { :; }
compile() { :; }
main "$@"
END
}

my ($status, $overview) = call('help');
is($status, 0, 'help');
my %does = $overview =~ /^  ([a-z]+) +(\S.*)$/mg;
cmp_ok(scalar keys %does, '>=', 9, 'it lists verbs');

my %takes;
for my $verb ('build', sort keys %does) {
    my ($code, $help) = call($verb, '--help');
    is($code, 0, "$verb --help");
    my $what = $does{$verb} // 'builds';
    like($help, qr/\Ausage: \.\/build\.sh $verb(?: [^\n]*)?\n\n  \Q$what\E/, '... how it is called, and what it does');
    like($help, qr/^  -h, --help +\S/m, '... that this is help');
    is((call($verb, 'x', '-h'))[1], $help, '... and -h behind others is the same');
    $takes{$verb} = { map { /^(-\S+)( \S+)?$/ ? ($1 => defined $2) : () } $help =~ /^  (-\S+(?: [A-Z]+)?)  /mg };

    next if $verb eq 'bench';
    ($code, my $said) = call($verb, '--never-heard-of');
    is($code >> 8, 2, "$verb refuses an option that it does not know");
    like($said, qr/no option --never-heard-of\nusage: \.\/build\.sh $verb\b/, '... and says so, with how it is called');
}
is((call('nonsense'))[0] >> 8, 2, 'an unknown verb is refused');

for my $case (
    [ [qw(clean build)],         qr/takes no 'build'/ ],
    [ [qw(demo now)],            qr/takes no 'now'/ ],
    [ [qw(demo --lan ko)],       qr/no option --lan\b/ ],
    [ [qw(fuzz -t)],             qr/-t wants a value/ ],
    [ [qw(test --list=3)],       qr/--list takes no value/ ],
) {
    my ($words, $why) = @$case;
    my ($code, $said) = call(@$words);
    is($code >> 8, 2, "@$words: refused");
    like($said, $why, '... with the reason');
}
ok(-d "$dir/build", 'nothing was removed');

for my $case (
    [ qw(chaos accept --seed 7 --rate=9) ], [ qw(fuzz -t 5 json) ], [ qw(fuzz -t5 json) ], [ qw(matrix t/module) ],
    [ qw(bench store --rows 5) ], [ qw(demo --lang ko --keep) ], [ qw(test --variant hup -j 3 forms) ],
) {
    my ($verb, @words) = @$case;
    like((call($verb, @words))[1], qr/^given: @words$/m, "$verb @words: handed on");
}

# --- what the programs take -----------------------------------------------------------

# The options that programs hand to GetOptions, the short name where there is one, and whether
# they take a value.
sub options_of {
    my %found;
    for my $path (@_) {
        my ($list) = slurp("$root/$path") =~ /^GetOptions\((.*?)\)\s*(?:or|&&)/ms or die "$path: no options\n";
        $list =~ s/\bsub \{.*?\}|\bqw\b//g;
        $found{ defined $2 ? "-$2" : "--$1" } = defined $3 while $list =~ /(?<![\w\$\\%@-])([a-z][a-z-]+)(?:\|([a-z]))?(=[a-z])?/g;
    }
    return \%found;
}

for my $case ([ demo => 't/demo.pl' ], [ test => 't/run' ], [ chaos => 't/chaos/chain.t', 't/e2e/accept_faults.t' ]) {
    my ($verb, @programs) = @$case;
    my $taken = options_of(@programs);
    delete $taken->{'--seconds'} if $verb eq 'chaos';       # of the short run
    is_deeply($takes{$verb}, $taken, "$verb: what --help tells is what @programs take");
}

done_testing;
