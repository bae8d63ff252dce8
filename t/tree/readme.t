#!/usr/bin/perl

# The documentation and build.sh say the same, and every path that a README names is
# there. The worker's settings and nginx' directives have tests of their own.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/../..";
chdir $root or die "$root: $!";

sub slurp {
    my ($path) = @_;
    open my $in, '<', $path or return '';
    local $/;
    return <$in>;
}

my $readme = slurp('README.md');
my $help = qx{./build.sh help};
is($?, 0, 'build.sh help');

my @verbs = $help =~ /^  ([a-z]+)\b/mg;
cmp_ok(scalar @verbs, '>=', 4, 'it lists verbs');
for my $verb (@verbs) {
    like($readme, qr/\bbuild\.sh $verb\b|`$verb\b/, "README.md tells of $verb");
}

# --- paths -------------------------------------------------------------------------

for my $book (grep { -f } glob('README.md */README.md */*/README.md')) {
    my ($dir) = $book =~ m{^(.*)/[^/]+$};
    my $text = slurp($book);
    my %linked;
    $linked{$1} = 1 while $text =~ /\]\(([^)#:]+)(?:#[^)]*)?\)/g;
    for my $path (sort keys %linked) {
        my $at = defined $dir ? "$dir/$path" : $path;
        ok(-e $at, "$book: $path is there");
    }
    $linked{$1} = 1 while $text =~ /`((?:conf|t|sql|worker|ngx_study_module)\/[\w.\/-]+)`/g;
    my $from = defined $dir ? "$dir/" : '';
    ok(-e $_ || -e "$from$_" || m{^(?:t/bench|t/fuzz)}, "$book: $_ is there")
        for grep { m{^(?:conf|t|sql|worker|ngx_study_module)/} } sort keys %linked;
}

done_testing;
