#!/usr/bin/perl

# Settings and metrics are tables in the code; here the sample file, the documentation and
# the code that asks for settings are held to them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Find qw(find);
use JSON::PP qw(decode_json);
use Test::More;

use StudyTest::Proc qw(root_dir slurp);

chdir root_dir() or die "$!\n";
delete @ENV{ grep { /^(?:STUDY|SLACK|OPENAI)_/ } keys %ENV };

ok(-x 'build/studyctl', 'studyctl is built') or BAIL_OUT('make -C worker first');
my $options = decode_json(scalar `build/studyctl config --json`);
cmp_ok(scalar @$options, '>', 50, 'the table of settings is read');

# --- the sample is what the program prints -----------------------------------------

my $sample = `build/studyctl config --sample`;
is(slurp('conf/study-worker.conf'), $sample, 'conf/study-worker.conf is studyctl config --sample');

# With every line switched on that has a value it is still good, and changes nothing.
{
    my $all = $sample =~ s/^#(\w+ = .)/$1/gmr;
    mkdir 'build';
    my $file = "build/options-$$.conf";
    open my $out, '>', $file or die "$file: $!";
    print {$out} $all;
    close $out;
    my $got = decode_json(scalar `build/studyctl -c $file config --json`);
    my %before = map { ("$_->{section}.$_->{key}" => $_->{value}) } @$options;
    my @other = grep { $before{"$_->{section}.$_->{key}"} ne $_->{value} } @$got;
    is_deeply(\@other, [], 'every default may be written out');
    cmp_ok(scalar(grep { $_->{origin} =~ /^options-/ } @$got), '>', 40, '... and is then read from the file');
    unlink $file;
}

# --- the documentation --------------------------------------------------------------

my $readme = slurp('worker/README.md');
my ($settings) = $readme =~ /^## Settings\n(.*?)^## /ms;
my %doc;
while ($settings =~ /^### \[(\w+)\]\n(.*?)(?=^### |\z)/gms) {
    my ($section, $text) = ($1, $2);
    $doc{$section}{$1} = $& while $text =~ /^\| `(\w+)` \|.*$/gm;
}
for my $o (@$options) {
    my $key = $o->{key} . ($o->{secret} ? '_file' : '');
    my $default = length $o->{default} ? "`$o->{default}`" : 'none';
    is(delete $doc{ $o->{section} }{$key}, "| `$key` | $default | $o->{range} | $o->{help} |", "worker/README.md: [$o->{section}] $key");
}
is_deeply([ map { my $s = $_; map {"[$s] $_"} sort keys %{ $doc{$s} } } sort keys %doc ], [], 'worker/README.md has no key that is none');

# --- metrics ---------------------------------------------------------------------------

my (%metric, $rows);
for (split /\n/, slurp('worker/base/metrics.c')) {
    next if !/^\s+\[METRIC_\w+\] = \{"(\w+)", (\w+), \{(.*?)\}, \w+, "(.*)"\},$/;
    my ($name, $type, $labels, $help) = ($1, lc $2, $3, $4);
    my $in = join ',', $labels =~ /"(\w+)"/g;
    $metric{$name} = "| `$name" . (length $in ? "{$in}" : '') . "` | $type | $help |";
    $rows++;
}
my $declared = () = slurp('worker/base/metrics.h') =~ /^\s+METRIC_(?!COUNT)\w+,/gm;
is($rows, $declared, 'every metric has a row in the table');
my %told = map { /^\| `(study_worker_\w+)/ ? ($1 => $_) : () } split /\n/, $readme;
is_deeply(\%told, \%metric, 'worker/README.md tells of each metric as the table has it');

# --- what is asked for is there, and what is there is asked for -------------------------

my (%asked, %counted);
find({
    no_chdir => 1,
    wanted => sub {
        return if !/\.c$/;
        my $text = slurp($_);
        if (!m{base/metrics\.c$}) { $counted{$1} = 1 while $text =~ /\b(METRIC_\w+)/g }
        $asked{"$1.$2"} = 1 while $text =~ /config_(?:string|int|bool|list|secret|origin)\s*\(\s*[^,;]+,\s*"(\w+)",\s*"(\w+)"/g;
    },
}, 'worker');
my %known = map { ("$_->{section}.$_->{key}" => 1) } @$options;
is_deeply([ grep { !$known{$_} } sort keys %asked ], [], 'no code asks for a setting that is not there');
my %indirect = map { $_ => 1 } qw(slack.bot_token slack.token_dir),    # config_slack_token
    map {"$_.processes"} qw(store schedule digest deliver);    # the supervisor, by the role's name
is_deeply([ grep { !$asked{$_} && !$indirect{$_} } sort keys %known ], [], 'no setting is without effect');

my @metrics = slurp('worker/base/metrics.h') =~ /^\s+(METRIC_(?!COUNT)\w+),/gm;
is_deeply([ grep { !$counted{$_} } @metrics ], [], 'no metric is told of and never counted');

done_testing;
