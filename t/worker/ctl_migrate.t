#!/usr/bin/perl

# studyctl migrate: in order, once, each whole or not at all, two at once, and never over
# a file that was changed after it was applied.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use JSON::PP qw(decode_json);
use StudyTest::Postgres;
use StudyTest::Proc qw(build_dir root_dir run_limited scratch_dir slurp);

my $root = root_dir();
my $ctl = build_dir() . '/studyctl';
my $dir = scratch_dir('ctl-migrate');
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");

sub migrate {
    my ($login, $db, @args) = @_;

    my $dsn = $pg->dsn($login) =~ s/dbname=\S+/dbname=$db/r;
    return run_limited([ $ctl, 'migrate', @args ], env => { STUDY_POSTGRES_CONNINFO => $dsn }, limit => 60);
}

sub value {
    my ($db, $sql) = @_;

    my $dbh = $pg->dbh($db);
    my ($value) = $dbh->selectrow_array($sql);
    $dbh->disconnect;
    return $value;
}

my @files = map { m{([^/]+)$} } sort glob "$root/sql/[0-9]*.sql";
my $super = $pg->dbh;
$super->do('CREATE ROLE plain LOGIN');
$super->do("CREATE DATABASE $_ OWNER " . ($_ eq 'plain' ? 'plain' : 'study_owner')) for qw(plain broken);

# --- roles ------------------------------------------------------------------------

my ($status, $said) = migrate('plain', 'plain');
isnt($status, 0, 'a login that may not create roles is stopped when they are missing');
like($said, qr/roles study_worker, study_ctl and study_read are missing.*studyctl migrate --print roles\.sql/, '... and told what to run');
is(value('plain', q(SELECT to_regnamespace('study') IS NULL)), 1, '... with nothing changed');

($status, $said) = migrate('plain', 'plain', '--print', 'roles.sql');
is($status, 0, 'roles.sql is printed');
is($said, slurp("$root/sql/roles.sql"), '... byte for byte');
$pg->psql($said);
($status, $said) = migrate('plain', 'plain');
is($status, 0, 'after that the same login migrates') or diag $said;

# --- the first time, twice at once -------------------------------------------------

($status, $said) = migrate('study_owner', 'study', '--list', '--json');
is($status, 0, '--list of an empty database');
is_deeply([ map { "$_->{name} $_->{state}" } @{ decode_json($said)->{migrations} } ], [ map {"$_ pending"} @files ], '... has everything pending');
is(value('study', q(SELECT to_regnamespace('study') IS NULL)), 1, '... and changes nothing');

my @pids = map {
    my $n = $_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my ($got, $text) = migrate('study_owner', 'study', '--json');
        open my $out, '>', "$dir/run.$n" or die;
        print {$out} $text;
        close $out;
        require POSIX;
        POSIX::_exit($got ? 1 : 0);
    }
    $pid;
} 1 .. 4;
my @failed = grep { waitpid $_, 0; $? } @pids;
is(scalar @failed, 0, 'four at once all succeed') or diag map { slurp("$dir/run.$_") } 1 .. 4;
my $done = grep { my $text = slurp("$dir/run.$_"); $text =~ /applied now/ } 1 .. 4;
is($done, 1, '... and one of them did the work');
is(value('study', 'SELECT count(*) FROM study.migration'), scalar @files, 'each migration is recorded once');
is(value('study', q(SELECT count(*) FROM study.schedule WHERE name = 'daily')), 1, 'the daily schedule is there');

($status, $said) = migrate('study_owner', 'study', '--json');
is($status, 0, 'again is harmless');
is_deeply([ grep { $_->{state} ne 'applied before' } @{ decode_json($said)->{migrations} } ], [], '... and applies nothing');

$super->do('DROP VIEW study.firing_progress');
$super->do('CREATE VIEW study.firing_progress AS SELECT 1 AS old');
$super->do('ALTER VIEW study.firing_progress OWNER TO study_owner');
($status, $said) = migrate('study_owner', 'study');
is($status, 0, 'views are made anew') or diag $said;
is(value('study', q(SELECT count(*) FROM information_schema.columns WHERE table_name = 'firing_progress' AND column_name = 'by_model')), 1, '... each time');

# --- what must not be ----------------------------------------------------------------

my $dbh = $pg->dbh;
$dbh->do(q(INSERT INTO study.migration (name, checksum) VALUES ('9999_future.sql', sha256('x'))));
($status, $said) = migrate('study_owner', 'study');
is($status, 0, 'a database that is ahead of the program is left as it is');
like($said, qr/1 newer migration than this program/, '... and said to be so');

$dbh->do(q(UPDATE study.migration SET checksum = sha256('other') WHERE name LIKE '0001%'));
for my $list ([], ['--list']) {
    ($status, $said) = migrate('study_owner', 'study', @$list);
    is($status >> 8, 1, "an applied file with another content is refused (@$list)");
    like($said, qr/0001_\w+\.sql was applied with another content/, '... by name');
}
$dbh->disconnect;

# Half a migration is none: its first statements go with the one that fails.
my $other = $pg->dbh('broken', 'study_owner');
$other->do('CREATE SCHEMA study');
$other->do('CREATE TABLE study.digest (x int)');
($status, $said) = migrate('study_owner', 'broken');
is($status >> 8, 1, 'a migration that fails fails the command');
like($said, qr/0001_\w+\.sql: PostgreSQL: relation "digest" already exists/, '... naming file and reason');
is(value('broken', 'SELECT count(*) FROM study.migration'), 0, '... is not recorded');
is(value('broken', q(SELECT to_regclass('study.team') IS NULL)), 1, '... and leaves nothing behind');
$other->do('DROP TABLE study.digest');
$other->disconnect;
($status, $said) = migrate('study_owner', 'broken');
is($status, 0, 'with the obstacle gone it goes through') or diag $said;

my $reader = $pg->dbh('broken');
$reader->begin_work;
$reader->do('SELECT FROM study.member_day');
($status, $said) = migrate('study_owner', 'broken');
is($status >> 8, 1, 'who reads for long is not waited for');
like($said, qr/lock timeout/, '... which is said');
$reader->rollback;
$reader->disconnect;
($status, $said) = migrate('study_owner', 'broken');
is($status, 0, '... and afterwards it goes through') or diag $said;

# --- over what an older one left ---------------------------------------------------

# 0011 is the last before the keys of messages were turned round.
$super->do('CREATE DATABASE older OWNER study_owner');
my $old = $pg->dbh('older', 'study_owner');
$old->do('CREATE SCHEMA study');
$old->do('CREATE TABLE study.migration (name text PRIMARY KEY, checksum bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())');
for my $file (grep { $_ lt '0012' } @files) {
    $old->do(slurp("$root/sql/$file"));
    $old->do('INSERT INTO study.migration (name, checksum) VALUES (?, sha256(convert_to(?, $$UTF8$$)))', undef, $file, slurp("$root/sql/$file"));
}
my $rows = q(INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
    SELECT 'T' || n % 3, 'C' || n % 2, 1700000000 + n / 6 || '.000100', 'U1', 'A note', now(), now() FROM generate_series(1, 600) AS n);
$old->do($rows);
$old->begin_work;
$old->do('SELECT FROM study.message');
($status, $said) = migrate('study_owner', 'older');
is($status >> 8, 1, 'where messages are being read, their keys cannot be changed') or diag $said;
is(value('older', 'SELECT max(name) FROM study.migration'), '0012_message_keys.sql', '... but the new ones were built meanwhile');
$old->rollback;
ok(!eval { $old->do($rows); 1 }, '... and with both of them a row is there once');
($status, $said) = migrate('study_owner', 'older');
is($status, 0, '... and are put in place by the next run') or diag $said;
is(value('older', "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'message_pkey'"),
    'PRIMARY KEY (channel_id, ts, team_id)', 'the key has what differs first');
is(value('older', q{SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'study.message'::regclass}),
    'study.message_by_member study.message_by_time study.message_gone_by_member study.message_pkey', '... and no index is left over');
is($old->do("$rows ON CONFLICT (team_id, channel_id, ts) DO NOTHING") + 0, 0, 'a row that was there is there once, by whatever order its key is named');
$old->disconnect;

($status, $said) = migrate('study_owner', 'nosuch');
is($status >> 8, 1, 'no such database fails');
like($said, qr/database "nosuch" does not exist/, '... with the reason');
($status, $said) = migrate('study_owner', 'study', '--print', 'x.sql');
is($status >> 8, 1, 'no such file fails');
like($said, qr/there is no x\.sql; there are: 0001_/, '... and names those that there are');

$super->disconnect;
done_testing;
