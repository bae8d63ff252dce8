#!/usr/bin/env perl

# bench faults: what the member gets, and how many calls are made, whatever the model does.
#
# One digest a fault, each with the worker started anew; the model is down for --down seconds
# (scaled; 600 is the ten minutes that the settings are made for) and the digest's deadline is
# as long as that. Counts are what matters here: nothing may be asked without end, nobody may
# get nothing.
#
# Options: --down 20

use strict;
use warnings;

use Carp qw(croak);
use Time::HiRes qw(time);

use StudyTest::Bench qw(machine options save table);
use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

my %option = options({ down => 20 }, @ARGV);
$| = 1;

my $out = StudyTest::Outgoing->start(config => {
    openai => { timeout => '3s', concurrency => 4 }, digest => { lease => '10s' }, log => { level => 'warn' },
});
my ($slack, $openai) = ($out->slack, $out->openai);
my $serial = 0;

sub http_date {
    my ($in) = @_;
    my @t = gmtime(time + $in);
    return sprintf '%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $t[6] ], $t[3],
        (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $t[4] ], $t[5] + 1900, @t[ 2, 1, 0 ];
}

# name, the fault, how often, the deadline of the digest, what is expected: origin and calls (at most)
my $down = $option{down};
my @cases = (
    [ "down for $down s, deadline later", sub { { kind => 'status', status => 503 } }, 'until', $down * 2, 'model', 3 + int $down ],
    [ "down for $down s, past the deadline", sub { { kind => 'status', status => 503 } }, 'until', int($down / 2) || 1, 'factual', 3 + int $down ],
    [ 'refuses connections half-way (cut)', sub { { kind => 'cut_before' } }, 1, 60, 'model', 2 ],
    [ 'a stall past the time-out', sub { { kind => 'stall', seconds => 30 } }, 1, 60, 'model', 2 ],
    [ 'half an answer', sub { { kind => 'cut_body' } }, 1, 60, 'model', 2 ],
    [ '429, retry-after: 2', sub { { kind => 'error', status => 429, retry_after => 2 } }, 1, 60, 'model', 2 ],
    [ '429, retry-after-ms: 1500', sub { { kind => 'error', status => 429, retry_after_ms => 1500 } }, 1, 60, 'model', 2 ],
    [ '429, retry-after: a date', sub { { kind => 'error', status => 429, retry_after => http_date(3) } }, 1, 60, 'model', 2 ],
    [ '429, retry-after: soon', sub { { kind => 'error', status => 429, retry_after => 'soon' } }, 1, 60, 'model', 2 ],
    [ '429, x-ratelimit-reset-requests: 2s', sub { { kind => 'error', status => 429, headers => { 'x-ratelimit-remaining-requests' => 0, 'x-ratelimit-reset-requests' => '2s' } } }, 1, 60, 'model', 2 ],
    [ '429, x-ratelimit-reset-tokens: 1m0.5s', sub { { kind => 'error', status => 429, headers => { 'x-ratelimit-remaining-tokens' => 0, 'x-ratelimit-reset-tokens' => '1m0.5s' } } }, 1, 5, 'factual', 1 ],
    [ '429 without a header', sub { { kind => 'error', status => 429 } }, 1, 60, 'model', 2 ],
    [ 'quota gone', sub { { kind => 'error', status => 429, error => 'insufficient_quota' } }, 0, 5, 'factual', 1 ],
    [ 'a wrong key (401)', sub { { kind => 'error', status => 401, error => 'invalid_api_key' } }, 0, 5, 'factual', 1 ],
    [ 'not a chat completion', sub { { kind => 'nonsense' } }, 0, 60, 'factual', 2 ],
    [ 'prose, once', sub { { kind => 'ignore_schema' } }, 1, 60, 'model', 2 ],
    [ 'prose, always', sub { { kind => 'ignore_schema' } }, 0, 60, 'factual', 2 ],
    [ 'half a document', sub { { kind => 'half_json' } }, 0, 60, 'factual', 2 ],
    [ 'records that were not given', sub { { kind => 'wrong_citations' } }, 0, 60, 'factual', 2 ],
    [ 'cut at its limit (length)', sub { { kind => 'length' } }, 0, 60, 'factual', 2 ],
    [ 'content_filter', sub { { kind => 'content_filter' } }, 0, 60, 'factual', 1 ],
    [ 'a refusal', sub { { kind => 'refusal' } }, 0, 60, 'factual', 1 ],
    [ 'pings and links in every text', sub { { kind => 'hostile' } }, 0, 60, 'model', 1 ],
);

sub run {
    my ($name, $fault, $count, $deadline, $origin, $most) = @_;

    my $word = 'fault' . ++$serial . 'x';
    my $user = sprintf 'U%05dF', $serial;
    $out->worker->stop;
    $out->dbh->do('DELETE FROM study.pause');
    $openai->clear_faults;
    $openai->fault({ %{ $fault->() }, match => { contains => $word }, $count =~ /^[1-9]/ ? (count => $count) : () });
    $out->worker->start(wait => 0);

    my $start = time;
    my $id = $out->digest(user => $user, texts => [ "$word: read on about paging and wrote down why it helps" ], deadline => "$deadline s");
    my ($up, $message) = (0);
    wait_for {
        if ($count eq 'until' && !$up && time > $start + $down) { $openai->clear_faults; $up = 1 }
        ($message) = $out->dm($user);
        $message;
    } $down * 3 + 60, "$name: a digest";
    my $seconds = time - $start;
    my $row = $out->row('digest', $id);
    my $calls = grep { index($_->{body}, $word) >= 0 } $openai->received('chat/completions');
    my $shown = StudyTest::Outgoing::words($message);
    my @wrong = grep {$_} ($row->{origin} ne $origin ? "is $row->{origin}" : ''), ($calls > $most ? "$calls calls" : ''),
        ($shown !~ m{archives/C0STUDY/p\d} ? 'no permalink' : ''), ($shown =~ /<!|evil/ ? 'a ping or a link' : '');
    printf STDERR "%-40s %s, %d calls, %.1f s\n", $name, $row->{origin}, $calls, $seconds;
    return { name => $name, origin => $row->{origin}, calls => $calls, most => $most, seconds => $seconds, deadline => $deadline,
        error => $row->{error} // '', wrong => \@wrong };
}

my @results = map { run(@$_) } @cases;
$out->stop;
print "\n", table([ 'the model', 'deadline, s', 'the member got', 'after, s', 'calls', 'reason kept with the digest' ],
    map { [ $_->{name}, $_->{deadline}, $_->{origin} eq 'model' ? 'the digest' : 'the factual digest', sprintf('%.1f', $_->{seconds}), $_->{calls}, $_->{error} ] } @results);
save('faults', { settings => \%option, machine => machine(), results => \@results });
my @bad = grep { @{ $_->{wrong} } } @results;
croak join '; ', map { "$_->{name}: @{ $_->{wrong} }" } @bad if @bad;
