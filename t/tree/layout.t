#!/usr/bin/perl

# Rules on the tree: who may include whom, where a library or an SQL statement may be
# used, how long a file and a function may be, and what no file may name.

use strict;
use warnings;

use FindBin;
use File::Find qw(find);
use Test::More;

my $root = "$FindBin::Bin/../..";
chdir $root or die "$root: $!";

my @files;
find({
    no_chdir => 1,
    wanted => sub {
        if (-d && m{(?:^\./build|/\.git|/node_modules)$}) { $File::Find::prune = 1; return }
        push @files, s{^\./}{}r if -f && -T;
    },
}, '.');
@files = sort grep { !/\.(?:swp|orig|rej)$|~$/ } @files;
cmp_ok(scalar @files, '>', 20, 'the tree has files');

my %text;

sub text {
    my ($file) = @_;
    return $text{$file} //= do {
        open my $in, '<:raw', $file or die "$file: $!";
        local $/;
        scalar <$in>;
    };
}

sub none {
    my ($name, @bad) = @_;
    is(scalar @bad, 0, $name) or diag(map { "$_\n" } @bad);
    return;
}

# --- the worker's folders are its architecture ------------------------------------

my %may = (
    base     => [],
    io       => [qw(base)],
    ingest   => [qw(base io)],
    db       => [qw(base io)],
    digest   => [qw(base io db)],
    slack    => [qw(base io db)],
    schedule => [qw(base io db)],
    proc     => [qw(base io ingest db digest slack schedule)],
    ctl      => [qw(base io ingest db digest slack schedule)],
);
{
    my @bad;
    my $seen = 0;
    for my $file (grep { m{^worker/.*\.[ch]$} } @files) {
        my ($folder) = $file =~ m{^worker/(\w+)/} or next;
        if (!$may{$folder}) { push @bad, "$file: no rule knows the folder $folder"; next }
        my %ok = map { $_ => 1 } $folder, @{ $may{$folder} };
        for my $path (text($file) =~ /^\s*#\s*include\s*"([^"]+)"/mg) {
            $seen++;
            my ($from) = $path =~ m{^(\w+)/};
            push @bad, "$file includes \"$path\": give the folder" if !defined $from;
            push @bad, "$file includes \"$path\": $folder may not" if defined $from && !$ok{$from};
        }
    }
    none('a folder includes only those below it', @bad);
    cmp_ok($seen, '>', 50, '... of many includes') if -e 'worker/proc/main.c';
}

# One skin around each library.
my %library = (
    'libpq-fe.h'   => qr{^worker/io/},
    'hiredis'      => qr{^(?:worker/io/|ngx_study_module/)},
    'curl/curl.h'  => qr{^(?:worker/io/|t/)},
    'microhttpd.h' => qr{^worker/io/},
    'yajl/'        => qr{^worker/base/},
    'ini.h'        => qr{^worker/base/},
);
{
    my @bad;
    for my $file (grep { m{^(?:worker|ngx_study_module)/.*\.[ch]$} } @files) {
        for my $path (text($file) =~ /^\s*#\s*include\s*<([^>]+)>/mg) {
            my ($lib) = grep { index($path, $_) == 0 } keys %library or next;
            push @bad, "$file includes <$path>" if $file !~ $library{$lib};
        }
    }
    none('a library is used in one folder', @bad);
}

{
    my @bad;
    for my $file (grep { m{^worker/.*\.c$} && !m{^worker/db/} } @files) {
        my $text = text($file);
        push @bad, "$file: $1" while $text =~ /("(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH \w+ AS) [^"]{0,40})/g;
    }
    none('every statement is in worker/db', @bad);
}

# --- sizes -------------------------------------------------------------------------

{
    my @bad;
    for my $file (grep { /\.(?:c|h|pl|pm|t|lua|sh|mjs|js)$|(?:^|\/)(?:build\.sh|run|slack|openai)$/ } @files) {
        my $lines = () = text($file) =~ /^.*\S/mg;
        push @bad, "$file: $lines lines" if $lines > ($file =~ m{^t/} ? 900 : 700);
    }
    none('no file is longer than about 600 lines (700 at most, 900 of tests; empty ones not counted)', @bad);
}

{
    my @bad;
    for my $file (grep { m{^(?:worker|ngx_study_module)/.*\.c$} } @files) {
        my ($from, $name, $n) = (0, '', 0);
        for my $line (split /\n/, text($file)) {
            $n++;
            $name = $1 if $line =~ /^(?:[a-z].*[ *])?(\w+)\(/;
            $from = $n if $line eq '{';
            if ($line eq '}' && $from) {
                push @bad, "$file:$from $name: " . ($n - $from) . ' lines' if $n - $from > ($file =~ m{^worker} ? 80 : 100);
                $from = 0;
            }
        }
    }
    none(q(no function is longer than about 60 lines (80 at most; 100 in nginx' wider style)), @bad);
}

# --- what no file names --------------------------------------------------------------

{
    my %never = (
        'a path of somebody\'s machine' => qr{(?<![\w.])/(?:work|home/(?!user)\w+|Users/\w+)/},
        'a package host'                => qr{\b(?:deb|ftp|security|snapshot)\.debian\.org|registry\.(?:npmjs|yarnpkg)|archive\.ubuntu|cpan\.org}i,
        'a paper that is not here'      => qr{\b(?:DESIGN|PROTOCOLS|NGINX|STYLE|SCENARIOS)\.md\b|\.\./shared\b},
        'unfinished work'               => qr{\b(?:T[O]DO|F[I]XME|X[X]X)\b},
    );
    for my $what (sort keys %never) {
        my @bad;
        for my $file (@files) {
            next if $file eq 't/tree/layout.t';
            my $n = 0;
            for my $line (split /\n/, text($file)) {
                $n++;
                # TAP's own word for a test that is expected to fail is no unfinished work.
                next if $what eq 'unfinished work' && $file =~ m{^t/(?:run$|tree/harness\.t$)};
                push @bad, "$file:$n: $line" if $line =~ $never{$what};
            }
        }
        none("no file names $what", @bad);
    }
}

# --- what must be there --------------------------------------------------------------

ok(-f $_, "$_ is there") for qw(LICENSE README.md build.sh .ci/run);
ok(-x $_, "$_ can be run") for qw(build.sh .ci/run t/run);
like(text('LICENSE'), qr/Redistribution and use in source and binary forms/, 'the licence is 2-clause BSD');
unlike(text('LICENSE'), qr/\b3\.\s|Neither the name/, '... and not one with a third clause');

# Every C and Perl file says at its head what it is for.
{
    my @bad;
    for my $file (grep { /\.(?:c|h|pm|pl|t)$/ } @files) {
        push @bad, $file if text($file) !~ m{\A(?:(?:#(?:!|ifndef |define |pragma )[^\n]*|package [^\n]*|use [^\n]*)?\n)*(?:/\*|//|# )};
    }
    none('every file opens with what it owns', @bad);
}

done_testing;
