#!/usr/bin/perl

# What the tables take as Slack's ids and time stamps: the checks that the domains have now,
# against the patterns that say what is meant. And how long a message's text may be.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use StudyTest::Postgres;
use StudyTest::Proc qw(build_dir run_limited scratch_dir);

my %rule = (slack_id => qr/\A[A-Za-z0-9_-]{1,64}\z/, slack_ts => qr/\A[0-9]{10}\.[0-9]{6}\z/);
my @alphabet = ('a', 'Z', '0' .. '9', '_', '-', '.', '.', '+', '\\', ' ', "\n", "\x{e9}", "\x{660}", "\x{1f600}");

my $pg = StudyTest::Postgres->start(dir => scratch_dir('domains') . '/pg');
my ($status, $said) = run_limited([ build_dir() . '/studyctl', 'migrate' ],
    env => { STUDY_POSTGRES_CONNINFO => $pg->dsn('study_owner') }, limit => 60);
is($status, 0, 'migrated') or diag $said;
my $dbh = $pg->dbh;

sub takes { my ($domain, $value) = @_; return eval { $dbh->selectrow_array("SELECT ?::study.$domain", undef, $value); 1 } // 0 }

my @values = ('', 'T', 'U0STUDY', 'T-1_a', 'x' x 64, 'x' x 65, "T1\n", "\nT1", 'T 1', "\x{e9}" x 3, "\x{e9}" x 64,
    'T\\101', '\\x41', '\\\\',
    '1531420618.000200', "1531420618.000200\n", '1531420618.00020', '153142061.0002000', '1531420618.0002000',
    '15314206180000200', '1531420618.00.200', '1531420618..00200', '.531420618.000200', '1531420618,000200',
    '-531420618.000200', "\x{661}531420618.000200");
my $seed = int rand 1e9;
srand $seed;
for my $n (1 .. 300) {
    my $value = $n % 2 ? '1531420618.000200' : 'U0STUDY-_9';
    substr($value, rand length $value, int rand 2) = $alphabet[ rand @alphabet ] for 1 .. 1 + rand 2;
    push @values, $value;
}
for my $domain (sort keys %rule) {
    my @wrong = grep { takes($domain, $_) != ($_ =~ $rule{$domain} ? 1 : 0) } @values;
    my $good = grep { $_ =~ $rule{$domain} } @values;
    is_deeply(\@wrong, [], "$domain takes what it should, and nothing else (seed $seed)");
    cmp_ok($good, '>', 5, '... of which there is some') or diag $good;
}

# Bytes are counted first, and only then characters.
sub stores {
    my ($text) = @_;

    return eval {
        $dbh->do(q(INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
            VALUES ('T1', 'C1', (1700000000 + nextval('study.digest_digest_id_seq')) || '.000100', 'U1', ?, now(), now())), undef, $text);
        1;
    } // 0;
}
for my $letter ('a', "\x{d55c}", "\x{1f600}") {
    is_deeply([ map { stores($letter x $_) } 199_999, 200_000, 200_001 ], [ 1, 1, 0 ], sprintf 'a text has 200000 characters at most (U+%04X)', ord $letter);
}
done_testing;
