#!/usr/bin/perl

# The month's budget for the model: that no number of processes spends more than it, what members
# get when it is used up, that it outlives restarts, and how it comes back.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Outgoing;
use StudyTest::Proc qw(root_dir run_limited wait_for);

# Not while the month ends, by UTC, as it is counted.
wait_for { (gmtime time + 180)[4] == (gmtime)[4] } 240, 'the next month';

my $LIMIT = 24_000;
my $out = StudyTest::Outgoing->start(digest => 2, config => {
    openai => { concurrency => 8, max_tokens => 500, prompt_price => '0.4', completion_price => '1.6', monthly_tokens => $LIMIT },
    digest => { lease => '10s' }, status => { interval => '200ms' },
});
my ($slack, $openai) = ($out->slack, $out->openai);
my $serial = 0;

sub user { return sprintf 'U%06dB', ++$serial }
sub budget { return $out->dbh->selectrow_hashref('SELECT *, prompt_tokens + completion_tokens AS tokens FROM study.budget ORDER BY month DESC LIMIT 1') }
sub used { my $u = $openai->call('usage'); return $u->{prompt_tokens} + $u->{completion_tokens} }
sub calls { return $openai->count('chat/completions') }

sub all_made {
    my (@ids) = @_;
    for my $id (@ids) {
        $out->wait_row('digest', $id, 'made', 60) or diag explain $out->row('digest', $id);
    }
    return map { $out->row('digest', $_) } @ids;
}

my @rows;
subtest 'two processes, more digests than there is money for' => sub {
    $openai->set(delay => 0.2);
    my @ids = map { $out->digest(user => user(), texts => [ "budget note $_ " . 'about paging ' x 40 ]) } 1 .. 60;
    @rows = all_made(@ids);
    my @model = grep { $_->{origin} eq 'model' } @rows;
    my @factual = grep { $_->{origin} eq 'factual' } @rows;
    cmp_ok(scalar @model, '>=', 3, scalar(@model) . ' were made by the model');
    cmp_ok(scalar @factual, '>=', 3, scalar(@factual) . ' without');
    is_deeply([ grep { $_->{error} !~ /budget/ } @factual ], [], 'with the reason');
    my $row = budget();
    cmp_ok(used(), '<=', $LIMIT, 'what the host counted is within the limit: ' . used());
    is($row->{tokens}, used(), 'and is what is kept');
    is($row->{calls}, calls(), 'calls, too: ' . calls());
    is($row->{cost}, $row->{prompt_tokens} * 400 + $row->{completion_tokens} * 1600, 'in money, by the prices');
    cmp_ok(used(), '>', $LIMIT / 4, 'and most of the limit could be used');
    is($out->value('SELECT count(*) FROM study.digest WHERE reserved_tokens IS NOT NULL'), 0, 'nothing stays reserved');
};

subtest 'the operator sees it' => sub {
    my @said = $out->log =~ /ALERT the month's budget/g;
    is(scalar @said, 1, 'one alert, by one of the processes');
    my ($status, $text) = $out->worker->ctl('--json', 'status');
    like($text, qr/monthly budget used up/, 'studyctl status') or diag $text;
    my $metrics;
    ok(wait_for(sub { $metrics = eval { $out->worker->metrics }; ($metrics->{study_worker_budget_gone} // 0) == 1 }, 15), 'a metric to alert on');
    is($metrics->{study_worker_budget_tokens}, budget()->{tokens}, 'tokens');
    cmp_ok(abs($metrics->{study_worker_budget_cost} - budget()->{cost} / 1e9), '<', 1e-6, 'cost');
};

subtest 'it survives a restart' => sub {
    my $before = calls();
    $out->worker->stop;
    $out->worker->start(wait => 0);
    my $user = user();
    my ($row) = all_made($out->digest(user => $user, texts => ['written after the restart']));
    is($row->{origin}, 'factual', 'still without a model');
    is(calls(), $before, 'no call');
    # Sixty DMs are opened before theirs, at the pace of Slack's tier 3: fifty a minute.
    ok(wait_for(sub { $out->dm($user) }, 150), 'the member has it');
};

subtest 'a new month' => sub {
    $out->dbh->do("UPDATE study.budget SET month = (month - interval '1 month')::date");
    my ($row) = all_made($out->digest(user => user(), texts => ['a note of a new month']));
    is($row->{origin}, 'model', 'by the model again');
    is($out->value('SELECT count(*) FROM study.budget'), 2, 'the old month is kept');
    cmp_ok(budget()->{tokens}, '>', 0, 'the new one counts from nothing');
    is(budget()->{gone_at}, undef, 'and is not used up');
};

subtest 'what a dead process had reserved comes back' => sub {
    $openai->fault({ kind => 'stall', seconds => 60, match => { contains => 'deadcase' } });
    my $id = $out->digest(user => user(), texts => ['deadcase notes'], deadline => '5 min');
    ok(wait_for(sub { $out->row('digest', $id)->{reserved_tokens} }, 15), 'a call has its reservation');
    my $reserved = $out->row('digest', $id)->{reserved_tokens};
    cmp_ok($reserved, '>', 500, "$reserved tokens: the request and the longest answer");
    # All but what it reserved is spent: nothing else fits while it is under way.
    $out->dbh->do('UPDATE study.budget SET prompt_tokens = ? - completion_tokens WHERE month > now() - interval \'31 days\' AND gone_at IS NULL', undef, $LIMIT - 2 * $reserved + 200);
    kill KILL => $out->pids('digest');
    my $other = $out->digest(user => user(), texts => ['deadcase? no, ' . 'another ' x 30], deadline => '5 min');
    sleep 1.5;
    is($out->row('digest', $other)->{state} =~ /made/ ? $out->row('digest', $other)->{origin} : 'waits', 'waits', 'what does not fit beside it waits');
    $openai->clear_faults;
    # Its lease has ended, and nobody has claimed it yet: the reservation stands in its row, and no longer counts.
    $out->dbh->do("UPDATE study.digest SET lease_until = now() - interval '1 s', next_at = now() + interval '1 h' WHERE digest_id = ?", undef, $id);
    my ($made) = all_made($other);
    is($made->{origin}, 'model', '... until the lease has ended');
    is($out->row('digest', $id)->{reserved_tokens}, $reserved, 'whose digest lies there yet');
    $out->dbh->do('UPDATE study.digest SET next_at = now() WHERE digest_id = ?', undef, $id);
    ($made) = all_made($id);
    is($made->{origin}, 'model', 'it is made by the next process');
    cmp_ok(budget()->{tokens}, '<=', $LIMIT, 'within the limit');
};

subtest 'a claim that is another\'s by now' => sub {
    my $lock = $out->pg->dbh;
    $lock->begin_work;
    $lock->do('SELECT 1 FROM study.budget FOR UPDATE');
    my $id = $out->digest(user => user(), texts => ['takencase notes'], deadline => '5 min');
    ok(wait_for(sub { $out->value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'study-worker digest' AND wait_event_type = 'Lock' AND query ~ 'study.budget'") }, 20),
        'a call waits for its turn');
    $out->dbh->do("UPDATE study.digest SET claim_token = gen_random_uuid(), lease_until = now() + interval '1 h' WHERE digest_id = ?", undef, $id);
    $lock->rollback;
    my ($next) = all_made($out->digest(user => user(), texts => ['nextcase notes'], deadline => '5 min'));
    is($next->{origin}, 'model', 'and the next has its own');
    is($out->row('digest', $id)->{reserved_tokens}, undef, 'nothing was reserved in the name of another');
    $out->dbh->do("UPDATE study.digest SET lease_until = now() WHERE digest_id = ?", undef, $id);
    my ($made) = all_made($id);
    is($made->{origin}, 'model', 'who makes it');
};

sub set_used { $out->dbh->do("UPDATE study.budget SET prompt_tokens = ? - completion_tokens, gone_at = NULL WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date", undef, shift) }

subtest 'an answer that is to be repaired is paid for first' => sub {
    my $asked = sub { my ($word) = @_; return map { my $b = $_->{body}; utf8::encode($b) if utf8::is_utf8($b); length $b } grep { index($_->{body}, $word) >= 0 } $openai->received('chat/completions') };
    my @ids;
    set_used($LIMIT / 4);
    for my $word (qw(repaircase1 repaircase2)) {
        $openai->fault({ kind => 'half_json', match => { contains => $word }, count => 1 });
        push @ids, $out->digest(user => user(), texts => ["$word was studied"]);
        all_made($ids[-1]);
        # what the second call reserves would fit, had the first cost nothing
        set_used($LIMIT - ($asked->($word))[1] - 500 - 10) if $word eq 'repaircase1';
    }
    my @rows = map { $out->row('digest', $_) } @ids;
    is_deeply([ map { $_->{origin} } @rows ], [qw(model factual)], 'the second is made without');
    is(scalar $asked->('repaircase2'), 1, 'after one call');
    cmp_ok(budget()->{tokens}, '<=', $LIMIT, 'within the limit');
};

subtest 'limits that are raised' => sub {
    $out->dbh->do("UPDATE study.budget SET prompt_tokens = $LIMIT WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date");
    my ($row) = all_made($out->digest(user => user(), texts => ['one note too many']));
    is($row->{origin}, 'factual', 'used up');
    $out->worker->stop;
    $out->worker->write_config({ openai => { monthly_tokens => 0, monthly_cost => 1000 } });
    $out->worker->start(wait => 0);
    ($row) = all_made($out->digest(user => user(), texts => ['paid for with money']));
    is($row->{origin}, 'model', 'by the model again, within monthly_cost');
    is(budget()->{gone_at}, undef, 'and nothing says that it is used up');
    $out->worker->write_config({ openai => { prompt_price => 0 } });
    my ($status, $said) = run_limited([ root_dir() . '/build/study-worker', '-t', '-c', $out->worker->file ], limit => 20);
    isnt($status, 0, 'a limit of money without prices is refused');
    like($said, qr/monthly_cost wants prompt_price/, 'and said');
};

$out->stop;
done_testing;
