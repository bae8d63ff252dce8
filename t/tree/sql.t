#!/usr/bin/perl

# The tables, their documentation and the rights on them, held together; and that an applied
# migration is not edited once it was released.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/../..";
chdir $root or die "$root: $!";

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

my @migrations = sort glob 'sql/[0-9]*.sql';
my @numbers = map { m{sql/(\d{4})_[a-z0-9_]+\.sql$} ? $1 : "?$_" } @migrations;
my %once = map { $_ => 1 } @numbers;
is_deeply([ sort keys %once ], \@numbers, 'migrations are numbered, no number twice');

my $sql = join '', map { slurp($_) } @migrations;
my %table = map { $_ => 1 } $sql =~ /^CREATE TABLE study\.(\w+)/gm;
delete @table{ $sql =~ /^DROP TABLE study\.(\w+)/gm };
$table{migration} = 1;    # made by migrate itself
cmp_ok(scalar keys %table, '>', 10, 'there are tables');

my ($section) = slurp('sql/README.md') =~ /^## Tables\n(.*?)^## /ms;
my %told = map { $_ => 1 } $section =~ /^\| `(\w+)` \|/gm;
is_deeply([ sort keys %told ], [ sort keys %table ], 'sql/README.md tells of each table');

# What dashboards may read holds no text: named columns only where there is some.
my %never = (message => [qw(text files)], digest => [qw(result error)], outbox => [qw(body error target)], dead_event => [qw(element detail)], member => [qw(dm_channel_id)]);
(my $plain = $sql) =~ s/--[^\n]*//g;
my @grants = $plain =~ /^(GRANT SELECT[^;]*\bTO\b[^;]*study_read[^;]*);/gm;
cmp_ok(scalar @grants, '>', 4, 'study_read has grants');
for my $name (sort keys %never) {
    my @bad;
    for my $grant (grep { /study\.$name\b/ } @grants) {
        my ($columns) = $grant =~ /^GRANT SELECT \((.*?)\)/s;
        push @bad, defined $columns ? grep { my $c = $_; $columns =~ /\b$c\b/ } @{ $never{$name} } : 'all';
    }
    is_deeply(\@bad, [], "study_read cannot read what is written in $name");
}

# Worker and operator reach every table.
for my $role (qw(study_worker study_ctl)) {
    my %granted = map { $_ => 1 } map { /study\.(\w+)/g } grep { /\b$role\b/ } $plain =~ /^(GRANT [^;]*);/gm;
    is_deeply([ grep { !$granted{$_} && $_ ne 'migration' } sort keys %table ], [], "$role has rights on every table");
}

unlike($plain, qr/\btimestamp\b(?!tz)/i, 'times have a zone');
done_testing;
