#!/usr/bin/perl

# The manual pages, --help and the documentation tell of the same commands and options.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use StudyTest::Proc qw(root_dir slurp);

chdir root_dir() or die "$!\n";
delete @ENV{ grep { /^(?:STUDY|SLACK|OPENAI)_/ } keys %ENV };

my $page = slurp('worker/man/studyctl.8');
ok($page eq `build/studyctl --manual`, 'worker/man/studyctl.8 is studyctl --manual')
    or diag('build/studyctl --manual > worker/man/studyctl.8');

my $readme = slurp('worker/README.md');
my @commands = `build/studyctl --help` =~ /^  ([a-z]+(?: [a-z]+)?) /mg;
cmp_ok(scalar @commands, '>', 25, 'there are commands');
is(scalar(grep { /^\.Cm / } split /\n/, $page) - 1, scalar @commands, 'the page has as many');
for my $command (@commands) {
    like($page, qr/^\.Cm \Q$command\E$/m, "the page has $command");
    like($readme, qr/^\|[^|]*`\Q$command\E[ `]/m, "worker/README.md has $command");
    my $help = `build/studyctl $command --help`;
    is($?, 0, "$command --help");
    my ($text) = $help =~ /\Ausage: studyctl \[-c FILE\] \Q$command\E.*\n\n(.*?)\n\n/s;
    cmp_ok(length($text // ''), '>', 15, '... says what it does');
    for my $option ($help =~ /^  --([\w-]+)/mg) {
        like($page, qr/^\.It Fl \\-\Q$option\E\b/m, "... the page has --$option");
    }
}

my $worker = slurp('worker/man/study-worker.8');
for my $option (`build/study-worker --help` =~ /^  (-\w, --\w+)/mg) {
    my ($short, $long) = $option =~ /-(\w), --(\w+)/;
    like($worker, qr/^\.It Fl $short\b.* Fl \\-$long\b/m, "worker/man/study-worker.8 has $option");
}
like(scalar `build/study-worker --version`, qr/^study-worker \d/, 'study-worker has long options');

# Where groff is, it finds nothing to complain of.
SKIP: {
    skip 'no groff', 2 if system('command -v groff >/dev/null 2>&1');
    for my $file (qw(studyctl.8 study-worker.8)) {
        my $said = `groff -mdoc -Tascii -ww worker/man/$file 2>&1 >/dev/null`;
        is($said, '', "$file is good mdoc");
    }
}
done_testing;
