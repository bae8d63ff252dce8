#!/usr/bin/perl

# The whole chain under load while a seeded hand breaks every part of it: what was answered 200
# is stored, once, as it was said last; every digest that is owed reaches its member in Slack,
# once; nothing is left leased, running or to do.
#
#   perl -It/lib t/chaos/chain.t --minutes 20 [--seed N] [--rate N]
#
# is the long run (./build.sh chaos); without options it is a short one. The seed gives the same
# faults in the same order, though never the same run. PostgreSQL runs without fsync but waits for
# its log: processes die here, not the machine. A trigger makes COMMIT take its time, as a busy disk
# does, for that is when most can go wrong.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use Getopt::Long qw(GetOptions);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use StudyTest::Chain;
use StudyTest::Chaos::Check;
use StudyTest::Chaos::Hand;
use StudyTest::Chaos::Load;
use StudyTest::Chaos::Model;
use StudyTest::Chaos::Watch;
use StudyTest::Proc qw(gone scratch_dir spew wait_for);

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);
binmode $_, ':utf8' for *STDOUT, *STDERR;

my %option = (seconds => 120, seed => int(time * 1000) % 1_000_000, rate => 40, senders => 4, settle => 120);
GetOptions(\%option, 'minutes=f', 'seconds=f', 'seed=i', 'rate=f', 'senders=i', 'settle=f') or die "see the head of $0\n";
$option{seconds} = $option{minutes} * 60 if $option{minutes};

my $STORE_LEASE = 3;
my %CONFIG = (
    redis    => { timeout => '1s', connect_timeout => '1s' },
    postgres => { timeout => '3s', connect_timeout => '2s' },
    slack    => { timeout => '2s', connect_timeout => '1s' },
    openai   => { timeout => '3s', connect_timeout => '1s', concurrency => 8 },
    store    => { processes => 2, lease => "${STORE_LEASE}s" },
    schedule => { processes => 2 },
    digest   => { processes => 2, lease => '10s', language => 'en', deadline => '1m' },
    deliver  => { processes => 2, lease => '10s', settle_after => '1s', quiet_from => '00:00', quiet_until => '00:00' },
    worker   => { stop_timeout => '5s' },
);

my $dir = scratch_dir('chaos');
diag "seed $option{seed}, in $dir";
my $chain = StudyTest::Chain->start(
    dir => "$dir/chain", worker => 0, config => \%CONFIG,
    teams => { map { $_ => {} } keys %{ StudyTest::Chaos::Load->places } },
    nginx => { processes => 2 },
    openai => { delay => 0.1 }, slack => { delay => 0.15 },
    postgres => { config => { fsync => 'off', full_page_writes => 'off' } }, durable => 1,
);

# --- schedules, and a slow disk -----------------------------------------------------

my $minute = 60 * int(time / 60 + 1.2);
my %schedules = (
    daily => { next => $minute, every => 60 },
    evening => { team => 'T0CHAOSA', next => $minute, every => 60 },
    room => { team => 'T0CHAOSB', channel => 'C0ROOMB1' },
);
$chain->dbh->do('DELETE FROM study.schedule');
$chain->dbh->do('INSERT INTO study.team (team_id) SELECT unnest(?::text[]) ON CONFLICT DO NOTHING', undef,
    [ sort keys %{ StudyTest::Chaos::Load->places } ]);
$chain->dbh->do(
    q{INSERT INTO study.schedule (name, scope, team_id, channel_id, kind, cron, time_zone, missed, next_at) VALUES}
        . q{ ('daily', 'workspace', NULL, NULL, 'daily', '* * * * *', 'Asia/Seoul', 'all', to_timestamp($1)),}
        . q{ ('evening', 'workspace', 'T0CHAOSA', NULL, 'daily', '* * * * *', 'Europe/Stockholm', 'all', to_timestamp($1)),}
        . q{ ('room', 'channel', 'T0CHAOSB', 'C0ROOMB1', 'weekly', '0 0 29 2 *', 'UTC', 'all', NULL)}, undef, $minute,
);
$chain->dbh->do($_) for (
    q{CREATE FUNCTION public.chaos_disk() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF current_setting('chaos.waited', true) IS DISTINCT FROM txid_current()::text THEN
          PERFORM set_config('chaos.waited', txid_current()::text, false), pg_sleep(random() * 0.12);
        END IF;
        RETURN NULL;
      END $$},
    map { "CREATE CONSTRAINT TRIGGER chaos_disk AFTER INSERT OR UPDATE ON study.$_ DEFERRABLE INITIALLY DEFERRED"
        . ' FOR EACH ROW EXECUTE FUNCTION public.chaos_disk()' } qw(message outbox),
);
$chain->dbh->disconnect;
delete $chain->{dbh};
$chain->worker->start;

# --- the run -------------------------------------------------------------------------

my $from = time;
my @journals = map { "$dir/sender-$_" } 0 .. $option{senders} - 1;
my $stop = "$dir/stop";
my @senders = map { StudyTest::Chaos::Load->start(
    index => $_, of => $option{senders}, journal => $journals[$_], stop => $stop, seed => $option{seed},
    url => $chain->nginx->url, secret => $chain->secret, token => $chain->token,
    rate => $option{rate} / $option{senders}, schedules => $_ ? [] : [ qw(daily daily evening room) ],
) } 0 .. $option{senders} - 1;
my $watch = StudyTest::Chaos::Watch->start(chain => $chain, journal => "$dir/watch", stop => "$dir/stop-watch", lease => $STORE_LEASE);

my $hand = StudyTest::Chaos::Hand->new(
    chain => $chain, seed => $option{seed},
    say => sub { diag sprintf '%7.1f s  %s', time - $from, $_[0] },
);
$hand->run_until($from + $option{seconds});
$hand->let_go;
diag sprintf '%7.1f s  the hand lets go', time - $from;
spew($stop, '');
waitpid $_, 0 for @senders;

# --- settling ------------------------------------------------------------------------

my $let_go = time;
my $limit = $let_go + $option{settle};

sub left_to_do {
    my $redis = $chain->redis->client;
    my %left = map { ($_ => $redis->llen("study:{ingest}:$_")) } qw(pending control suspect);
    $left{leases} = $redis->zcard('study:{ingest}:leases');
    $left{firings} = $chain->value(q{SELECT count(*) FROM study.firing WHERE state IN ('waiting', 'collecting') AND fire_at <= now()});
    $left{digests} = $chain->value(q{SELECT count(*) FROM study.digest WHERE state IN ('pending', 'running')});
    $left{replies} = $chain->value(q{SELECT count(*) FROM study.outbox WHERE state IN ('pending', 'sending', 'doubtful')});
    return map { $left{$_} ? "$_ $left{$_}" : () } sort keys %left;
}

sub settle {
    my ($what) = @_;
    my @left;
    my $ok = eval { wait_for { !(@left = left_to_do()) } $limit - time, $what };
    diag sprintf '%7.1f s  %s: %s', time - $from, $what, $ok ? 'done' : "left: @left $@";
    return $ok;
}

# What was accepted is stored first, so that the last firings owe all of it.
my $stored = eval { $chain->wait_drained($limit - time) };
my %last;
for my $name (sort keys %schedules) {
    my $key = "chaos-last-$name";
    $last{$name} = { event => "last $name", from => time, key => $key, schedule => $name };
    my $got = $chain->sender->trigger(schedule => $name, key => $key);
    $last{$name}{status} = $got->{status};
    $last{$name}{to} = time;
}
spew("$dir/last", join '', map { JSON::PP->new->canonical->encode($_) . "\n" } map {
    { what => 'trigger', %{ $last{$_} } }, { what => 'try', %{ $last{$_} } },
} sort keys %last);
ok($stored, 'what was accepted is off the lists') or diag join ' ', left_to_do();
ok(settle('settling'), "everything is settled within $option{settle} s");
my $end = time;
$hand->settle_orphans;
spew("$dir/stop-watch", '');
waitpid $watch, 0;

# --- the check -------------------------------------------------------------------------

sub none {
    my ($name, @wrong) = @_;
    return if is(scalar @wrong, 0, $name);
    diag "FAULT  $_" for @wrong[ 0 .. ($#wrong > 29 ? 29 : $#wrong) ];
    diag 'FAULT  and ' . (@wrong - 30) . ' more' if @wrong > 30;
    return;
}

my @dead = @{ $chain->dbh->selectall_arrayref(q{SELECT reason, convert_from(element, 'UTF8') AS element FROM study.dead_event}, { Slice => {} }) };
my @buried = map { $_->{element} } grep { $_->{reason} eq 'crashed_worker' } @dead;
my $model = StudyTest::Chaos::Model->read([ @journals, "$dir/last" ], \@buried);
my @rows = @{ $chain->dbh->selectall_arrayref(
    q{SELECT team_id || ' ' || channel_id || ' ' || ts AS key, user_id, thread_ts, text, deleted FROM study.message}, { Slice => {} }) };
my $seen = StudyTest::Chaos::Watch->read("$dir/watch");

none('the rows are what was answered 200: none missing, none too many, the last text, deletions', $model->wrong_rows(\@rows));
none('dead_event has what cannot be stored, and nothing else', $model->wrong_dead(\@dead));

my $check = StudyTest::Chaos::Check->new(
    chain => $chain, model => $model, hand => $hand, deleted => $seen->{gone}, schedules => \%schedules, end => $end,
);
none('every time and every trigger fired once', $check->firings);
none('every record is in one digest of each schedule, the one that owes it', $check->digests);
none('every digest and every notice is in Slack once', $check->deliveries);
none("no words go astray: to another, after a deletion, into what is kept", $check->words);
none('no lease and no claim grew old', @{ $seen->{old} });

my $redis = $chain->redis->client;
my @keys = grep { !/:(?:popped|released)$/ } $redis->keys('study:*');
none('Redis holds nothing more', @keys);
my ($popped, $count) = ($redis->get('study:{ingest}:popped') // 0, $model->counts);
cmp_ok($popped, '<=', $count->{tries}, 'no more elements were taken than were sent');
my $pushed = pushed();
is($popped, $pushed, '... each that was pushed is counted once, whatever was given back') if defined $pushed;

# What nginx ever pushed, by the append-only file: known until that is written anew.
sub pushed {
    my @parts = glob "$dir/chain/redis/appendonlydir-study/*.incr.aof";
    return if @parts != 1 || $parts[0] !~ /\.1\.incr/;
    open my $aof, '<:raw', $parts[0] or die "$parts[0]: $!";
    my ($n, $words) = (0, 0);
    local $/ = "\r\n";
    while (my $line = <$aof>) {
        $words = $1 if $line =~ /^\*(\d+)\r/;
        next if $line ne "RPUSH\r\n";
        my ($length, $key) = (scalar <$aof>, scalar <$aof>);
        $n += $words - 2 if $key eq "study:{ingest}:pending\r\n";
    }
    return $n;
}

# --- the end ---------------------------------------------------------------------------

none('no process outlived its supervisor', $hand->orphans);
my @nginx = $chain->nginx->workers;
$chain->worker->stop;
$chain->nginx->stop;
ok(!$chain->worker->proc->was_killed && !$chain->nginx->proc->was_killed, 'the worker and nginx end when they are asked to');
none('no process is left', $hand->left, grep { !gone($_) } @nginx);

my ($faults, $tell) = ($hand->counts, $check->counts);
my $all = 0;
$all += $_ for values %$faults;
diag "faults: $all: " . join ', ', map { "$_ $faults->{$_}" } sort keys %$faults;
diag 'events: ' . join ', ', map { "$_ $count->{$_}" } sort keys %$count;
diag sprintf 'rows: %d, %d of them deleted; dead: %d, %d of them taken for deadly', scalar @rows, scalar(grep { $_->{deleted} } @rows),
    scalar @dead, scalar @buried;
diag 'digests: ' . join ', ', map { "$_ $tell->{$_}" } sort keys %$tell;
diag sprintf 'leases: %d samples, the oldest %.1f s; settled %.1f s after the hand let go', @$seen{qw(samples oldest)}, $end - $let_go;
diag sprintf '%s: seed %d, %.0f s of faults', Test::More->builder->is_passing ? 'CLEAN' : 'NOT CLEAN', $option{seed}, $option{seconds};

$chain->stop;
done_testing;
