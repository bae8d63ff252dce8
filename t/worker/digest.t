#!/usr/bin/perl

# The digest role: what the model is asked and shown, what the member then reads, and what
# happens when the model is slow, down, over its quota, or answers nonsense.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

my $SECRET = 'my-private-study-words-8152';
my $out = StudyTest::Outgoing->start(config => {
    openai => { concurrency => 8, timeout => '2s' }, digest => { lease => '10s', max_input => 2000 },
});
my ($slack, $openai) = ($out->slack, $out->openai);
my $serial = 0;

sub user { return sprintf 'U%06dE', ++$serial }

sub made {
    my ($id, $seconds) = @_;
    $out->wait_row('digest', $id, 'made', $seconds // 20) or diag explain $out->row('digest', $id);
    return $out->row('digest', $id);
}

sub body_of {
    my ($digest) = @_;
    my $json = $out->value('SELECT body FROM study.outbox WHERE digest_id = ? ORDER BY outbox_id DESC LIMIT 1', $digest);
    return $json && JSON::PP->new->decode($json);
}

sub calls_for { my ($text) = @_; return grep { index($_->{body}, $text) >= 0 } $openai->received('chat/completions') }

sub again_now {
    my ($id) = @_;
    $out->dbh->do('UPDATE study.digest SET next_at = now() WHERE digest_id = ?', undef, $id);
    return;
}

# The role keeps away from a server that failed: a new start forgets that.
sub fresh { $openai->clear_faults; return }

# So that no call ends by itself before the test has done what it has to do meanwhile.
sub patient { my ($timeout) = @_; $out->worker->stop; $out->worker->write_config({ openai => { timeout => $timeout } }); $out->worker->start(wait => 0); return }

subtest 'from messages to a DM' => sub {
    my $user = user();
    my $id = $out->digest(
        user  => $user,
        texts => [ "$SECRET TCP 혼잡 제어를 읽었다 <\@$user> <https://example.com/tcp|글>", [ '답글로 문제 3번을 풀었다 &amp; &lt;b&gt;', thread_ts => '1700000000.000100' ] ],
    );
    my $row = made($id);
    is($row->{origin}, 'model', 'by the model');
    is($row->{language}, 'ko', 'in Korean');
    cmp_ok($row->{prompt_tokens}, '>', 0, 'tokens in are kept');
    cmp_ok($row->{completion_tokens}, '>', 0, 'and out');
    is($row->{claim_token}, undef, 'the claim is given up');

    my ($call) = calls_for($SECRET);
    my $asked = $call->{args};
    is($call->{headers}{authorization}, 'Bearer sk-standin', 'the key');
    ok(exists $asked->{store} && !$asked->{store}, 'store: false');
    ok(exists $asked->{stream} && !$asked->{stream}, 'stream: false');
    is($asked->{max_completion_tokens}, 2000, 'the limit of the answer');
    ok(!exists $asked->{temperature}, 'no temperature unless set');
    is($asked->{response_format}{type}, 'json_schema', 'a schema is asked for');
    ok($asked->{response_format}{json_schema}{strict}, 'a strict one');
    is_deeply([ map { $_->{role} } @{ $asked->{messages} } ], [ 'system', 'user' ], 'two messages');
    like($asked->{messages}[0]{content}, qr/해요체/, 'the Korean prompt');
    unlike($call->{body}, qr/\Q$user\E|T0STUDY|C0STUDY/, 'no id of Slack\'s');
    like($asked->{messages}[1]{content}, qr/"n":1,.*\@member.*글 \(https:\/\/example\.com\/tcp\)/, 'the mention is neutral, the link is data');
    like($asked->{messages}[1]{content}, qr/"n":2,.*"thread":true,"text":"답글로 문제 3번을 풀었다 & <b>"/, 'the second record');

    ok(wait_for(sub { $out->dm($user) }, 20), 'it reaches the DM');
    my ($message) = $out->dm($user);
    my $shown = StudyTest::Outgoing::words($message);
    like($shown, qr/<\@$user>님, 안녕하세요/, 'the greeting');
    like($shown, qr{<https://t0study\.slack\.com/archives/C0STUDY/p\d{16}\|기록 보기>}, 'a permalink');
    like($shown, qr{archives/C0STUDY/p\d{16}\?thread_ts=1700000000\.000100&amp;cid=C0STUDY\|}, 'a reply\'s permalink');
    like($shown, qr/AI 모델이 쓴 글이라/, 'who wrote it');
    is(scalar(() = $shown =~ /<[@!]/g), 1, 'one ping: the greeting');
    like($out->log, qr/./, 'there is a log');
    unlike($out->log, qr/\Q$SECRET\E/, 'without the member\'s words');
};

subtest 'a time zone that nobody knows' => sub {
    my $id = $out->digest(user => user(), member => { time_zone => 'Nowhere/Land' }, texts => ['notes from nowhere']);
    made($id);
    my ($call) = calls_for('notes from nowhere');
    my $time = $out->value("SELECT to_char(posted_at AT TIME ZONE 'Asia/Seoul', 'HH24:MI') FROM study.message WHERE text = 'notes from nowhere'");
    like($call->{args}{messages}[1]{content}, qr/"time":"$time"/, 'falls to the schedule\'s');
};

subtest 'a digest that cannot be stored' => sub {
    my $user = user();
    $out->dbh->do(q{CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22000'; END $$});
    $out->dbh->do("CREATE TRIGGER refuse BEFORE UPDATE ON study.digest FOR EACH ROW WHEN (NEW.state = 'made' AND NEW.user_id = '$user') EXECUTE FUNCTION public.refuse()");
    my $id = $out->digest(user => $user, deadline => '0 s');
    my $other = $out->digest(user => user(), deadline => '0 s');
    ok($out->wait_row('digest', $id, 'cancelled', 20), 'is given up past its deadline');
    is($out->row('digest', $id)->{error}, 'it cannot be stored', 'with the reason');
    made($other);
    $out->dbh->do('DROP FUNCTION public.refuse() CASCADE');
};

subtest 'English, and a workspace\'s language' => sub {
    my $user = user();
    my $id = $out->digest(user => $user, member => { language => 'en' }, texts => ['english notes on paging']);
    is(made($id)->{language}, 'en', 'by the member\'s choice');
    unlike((calls_for('english notes on paging'))[0]{body}, qr/해요체/, 'the English prompt');
    ok(wait_for(sub { $out->dm($user) }, 20), 'delivered');
    like(StudyTest::Outgoing::words($out->dm($user)), qr/Hello <\@$user>!/, 'greeted in English');
};

# 300 code points a record and 2,000 a call: five records a part, four parts.
sub long_day { my ($word) = @_; return [ map { "$word record $_ " . 'and more ' x 31 } 1 .. 25 ] }

subtest 'a long day is asked about in parts, and bounded' => sub {
    my $id = $out->digest(user => user(), texts => long_day('longday'));
    my $row = made($id);
    is($row->{origin}, 'model', 'by the model');
    my @calls = calls_for('longday record');
    is(scalar @calls, 4, 'four calls');
    like($calls[0]{args}{messages}[1]{content}, qr/4개 중 1번째 묶음.*longday record 6 /s, 'the first with the oldest of them');
    like($calls[3]{args}{messages}[1]{content}, qr/4개 중 4번째 묶음.*longday record 25 /s, 'the last with the newest');
    unlike(join('', map { $_->{body} } @calls), qr/longday record [1-5] /, 'what does not fit is left out');
    my $body = JSON::PP->new->encode(body_of($id));
    like($body, qr/최근 20개만/, 'and the member is told');
    like($body, qr/longday record $_ /, "record $_ is in the digest, from its part") for 6, 11, 16, 24;
    my $sum = $row->{prompt_tokens};
    cmp_ok($sum, '>', 4 * 400, "tokens of all calls: $sum");
};

subtest 'a part that was answered is not asked again' => sub {
    $openai->fault({ kind => 'stall', seconds => 60, match => { contains => 'partday record 25 ' } });
    my $id = $out->digest(user => user(), texts => long_day('partday'), deadline => '5 min');
    ok(wait_for(sub { calls_for('partday record 25 ') }, 20), 'the last part is asked for');
    kill KILL => $out->pids('digest');
    $openai->clear_faults;
    $out->dbh->do('UPDATE study.digest SET lease_until = now() WHERE digest_id = ?', undef, $id);
    is(made($id, 30)->{origin}, 'model', 'made by the next process');
    is(scalar calls_for('partday record'), 5, 'four parts, and the last one again');
    is($out->row('digest', $id)->{parts}, undef, 'the parts are kept no longer than they serve');
};

subtest 'parts go with the messages that they tell of' => sub {
    $openai->fault({ kind => 'stall', seconds => 60, match => { contains => 'goneday record 25 ' }, count => 1 });
    my $id = $out->digest(user => user(), texts => long_day('goneday'), deadline => '5 min');
    ok(wait_for(sub { calls_for('goneday record 25 ') }, 20), 'the last part is asked for');
    ok($out->row('digest', $id)->{parts}, 'the others are kept');
    $out->dbh->do('UPDATE study.digest SET source_version = source_version + 1 WHERE digest_id = ?', undef, $id);
    is($out->row('digest', $id)->{parts}, undef, 'until a message of theirs changes');
    kill KILL => $out->pids('digest');
    $out->dbh->do('UPDATE study.digest SET lease_until = now() WHERE digest_id = ?', undef, $id);
    is(made($id, 30)->{origin}, 'model', 'made anew');
    is(scalar calls_for('goneday record'), 8, 'of all four parts');
};

# Somebody's UPDATE, a restore by halves: whatever stands there, the digest is made.
my %damage = (
    'a word'           => q{'"damaged"'},
    'a list'           => q{'[1, {"studied": []}]'},
    'answers of no use' => q{(SELECT jsonb_object_agg(key, '{"studied": 3, "next": null}'::jsonb) FROM jsonb_each(parts))},
    'words of no use'  => q{(SELECT jsonb_object_agg(key, 'true'::jsonb) FROM jsonb_each(parts))},
);
subtest "parts that are damaged: $_" => sub {
    my $word = 'day of ' . ($_ =~ tr/ /-/r);
    $openai->fault({ kind => 'stall', seconds => 60, match => { contains => "$word record 25 " } });
    my $id = $out->digest(user => user(), texts => long_day($word), deadline => '5 min');
    ok(wait_for(sub { calls_for("$word record 25 ") }, 20), 'the last part is asked for');
    $out->worker->stop;
    my $calls = calls_for("$word record");
    $out->dbh->do("UPDATE study.digest SET parts = $damage{$_}, next_at = now() WHERE digest_id = ?", undef, $id);
    $openai->clear_faults;
    $out->worker->start(wait => 0);
    is(made($id, 30)->{origin}, 'model', 'made by the next process');
    is(calls_for("$word record") - $calls, 4, 'which asks for all four again');
    like($out->log, qr/digest $id: (?:what was kept of its parts cannot be read|a kept part will not do)/, 'and says so');
} for sort keys %damage;

subtest 'a part that cannot be kept' => sub {
    my $user = user();
    $out->dbh->do(q{CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22P05'; END $$});
    $out->dbh->do("CREATE TRIGGER refuse BEFORE UPDATE ON study.digest FOR EACH ROW WHEN (NEW.parts IS NOT NULL AND NEW.user_id = '$user') EXECUTE FUNCTION public.refuse()");
    my $id = $out->digest(user => $user, texts => long_day('nokeep'), deadline => '5 min');
    my $other = $out->digest(user => user(), texts => long_day('besides'), deadline => '5 min');
    my $row = made($id, 30);
    is_deeply([ @$row{qw(origin error)} ], [ 'factual', 'the answer for a part cannot be kept' ], 'is done without');
    is(scalar calls_for('nokeep record'), 1, 'nothing more is asked for it');
    is(made($other, 30)->{origin}, 'model', "another's day goes on");
    $out->dbh->do('DROP FUNCTION public.refuse() CASCADE');
};

subtest 'a process that is to end does not wait to repair an answer' => sub {
    fresh();
    patient('2m');
    $openai->fault({ kind => 'half_json', hold => 1, match => { contains => 'quitcase' }, count => 1 });
    my $id = $out->digest(user => user(), texts => ['quitcase was studied']);
    ok(wait_for(sub { calls_for('quitcase') }, 20), 'it is asked');
    my ($pid) = $out->pids('digest');
    kill QUIT => $pid;
    is($openai->release, 1, 'the answer comes');
    ok(wait_for(sub { !kill 0, $pid }, 10), 'it ends then');
    is(made($id)->{origin}, 'model', 'the next one makes it');
    patient('2s');
};

for my $case (
    [ 'retry-after in seconds', { kind => 'error', status => 429, retry_after => 1 }, 1 ],
    [ 'retry-after-ms', { kind => 'error', status => 429, retry_after_ms => 1200 }, 1.2 ],
    [ 'retry-after as a date', { kind => 'error', status => 429, date => 3 }, 1 ],
    [ 'a 429 without a header', { kind => 'error', status => 429 }, 0.4 ],
    [ 'a code that is a number', { kind => 'error', status => 429, error => 1300 }, 0.4 ],
    [ '500', { kind => 'status', status => 500 }, 0.4 ],
    [ '503 with retry-after', { kind => 'status', status => 503, retry_after => 1 }, 1 ],
    [ 'cut before an answer', { kind => 'cut_before' }, 0.4 ],
    [ 'cut after the request', { kind => 'cut_after' }, 0.4 ],
    [ 'half an answer', { kind => 'cut_body' }, 0.4 ],
    [ 'a stall', { kind => 'stall', seconds => 30 }, 2 ],
    )
{
    my ($name, $fault, $least) = @$case;
    subtest "asked again: $name" => sub {
        fresh();
        my $word = "faultcase$serial";
        if ($fault->{date}) {
            my @t = gmtime(time + delete $fault->{date});
            $fault->{retry_after} = sprintf '%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $t[6] ], $t[3],
                (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $t[4] ], $t[5] + 1900, @t[ 2, 1, 0 ];
        }
        $openai->fault({ %$fault, match => { contains => $word }, count => 1 });
        my $id = $out->digest(user => user(), texts => ["$word was read"]);
        my $row = made($id, 30);
        is($row->{origin}, 'model', 'the model answered in the end');
        is($row->{attempts}, 2, 'in two attempts');
        my @at = map { $_->{time} } calls_for($word);
        cmp_ok($at[-1] - $at[0], '>=', $least, "not before it was due ($name)") if @at > 1;
    };
}

subtest 'x-ratelimit headers are kept to' => sub {
    fresh();
    $openai->set(rpm => 60, remaining_requests => 0);
    my $first = $out->digest(user => user(), texts => ['ratelimit one']);
    made($first);
    my $second = $out->digest(user => user(), texts => ['ratelimit two']);
    made($second);
    my ($one, $two) = map { (calls_for("ratelimit $_"))[0]{time} } qw(one two);
    cmp_ok($two - $one, '>=', 0.95, 'the second waited for the reset of a second');
    $openai->set(rpm => 0, remaining_requests => undef);
};

for my $case (
    [ 'ignore_schema', 2, 'model' ],
    [ 'half_json', 2, 'model' ],
    [ 'length', 2, 'model' ],
    [ 'wrong_citations', 2, 'model' ],
    [ 'nonsense', 1, 'factual' ],
    [ 'refusal', 1, 'factual' ],
    [ 'content_filter', 1, 'factual' ],
    )
{
    my ($kind, $calls, $origin) = @$case;
    subtest "an answer that will not do: $kind" => sub {
        fresh();
        my $word = "badanswer$kind";
        $openai->fault({ kind => $kind, match => { contains => $word }, count => 1 });
        my $id = $out->digest(user => user(), texts => ["$word was studied"]);
        is(made($id)->{origin}, $origin, "the digest is $origin");
        is(scalar calls_for($word), $calls, "$calls calls");
        is(scalar @{ (calls_for($word))[1]{args}{messages} }, 4, 'the second with the bad answer and what is wrong') if $calls == 2;
    };
}

subtest 'bad twice: one repair, then the factual digest' => sub {
    fresh();
    $openai->fault({ kind => 'ignore_schema', match => { contains => 'badtwice' } });
    my $user = user();
    my $id = $out->digest(user => $user, texts => [ 'badtwice ' . '긴 기록 ' x 30, 'badtwice again' ]);
    my $row = made($id);
    is($row->{origin}, 'factual', 'factual');
    is(scalar calls_for('badtwice'), 2, 'two calls');
    like($row->{error}, qr/will not do/, 'the reason is kept');
    cmp_ok($row->{prompt_tokens}, '>', 0, 'what it cost, too');
    ok(wait_for(sub { $out->dm($user) }, 20), 'delivered');
    my $shown = StudyTest::Outgoing::words($out->dm($user));
    like($shown, qr/기록 2개를 남기셨어요/, 'the count');
    like($shown, qr/자세히 적어 주신 기록/, 'the longest');
    is(scalar(() = $shown =~ m{\|\d\d:\d\d>}g), 2, 'every permalink');
    like($shown, qr/AI 모델 없이/, 'and that no model wrote it');
};

subtest 'a hostile answer' => sub {
    fresh();
    $openai->fault({ kind => 'hostile', match => { contains => 'hostilecase' } });
    my $user = user();
    my $id = $out->digest(user => $user, texts => ['hostilecase notes']);
    is(made($id)->{origin}, 'model', 'used');
    ok(wait_for(sub { $out->dm($user) }, 20), 'delivered');
    my $shown = StudyTest::Outgoing::words($out->dm($user));
    unlike($shown, qr/<!|evil|<\@U0EVIL/, 'without pings and links');
    like($shown, qr/&lt;!channel&gt;/, 'what looked like a ping is text');
};

subtest 'past the deadline' => sub {
    fresh();
    my $before = $openai->count('chat/completions');
    my $id = $out->digest(user => user(), texts => ['overdue notes'], deadline => '-1 s');
    is(made($id)->{origin}, 'factual', 'factual');
    is($openai->count('chat/completions'), $before, 'no call');
};

subtest 'the model is down past the deadline' => sub {
    fresh();
    $openai->fault({ kind => 'status', status => 500, match => { contains => 'downcase' } });
    my $id = $out->digest(user => user(), texts => ['downcase notes'], deadline => '5 s');
    is(made($id, 30)->{origin}, 'factual', 'factual');
    my $calls = calls_for('downcase');
    cmp_ok($calls, '>=', 2, 'it was tried');
    cmp_ok($calls, '<=', 5, "but not hammered ($calls calls in 5 s)");
    fresh();
    my $next = $out->digest(user => user(), texts => ['after the outage']);
    is(made($next, 60)->{origin}, 'model', 'and used again when it is back');
};

subtest 'the quota is gone' => sub {
    fresh();
    $openai->fault({ kind => 'error', status => 429, error => 'insufficient_quota' });
    my $id = $out->digest(user => user(), texts => ['quota notes']);
    ok(wait_for(sub { $out->value("SELECT 1 FROM study.pause WHERE role = 'digest' AND reason = 'insufficient_quota'") }, 15), 'a pause is written');
    ok(wait_for(sub { $out->log =~ /ALERT the model's quota is used up/ }, 10), 'with an alert');
    sleep 1.5;
    my $calls = $openai->count('chat/completions');
    my $late = $out->digest(user => user(), texts => ['quota late'], deadline => '-1 s');
    is(made($late)->{origin}, 'factual', 'what is overdue is made without a model');
    again_now($id);
    sleep 2;
    is($openai->count('chat/completions'), $calls, 'no further call');
    is($out->row('digest', $id)->{state}, 'pending', 'what is not overdue waits');
    fresh();
    $out->dbh->do('DELETE FROM study.pause');
    again_now($id);
    is(made($id)->{origin}, 'model', 'until somebody has paid');
};

subtest 'a wrong key' => sub {
    fresh();
    $openai->fault({ kind => 'error', status => 401, error => 'invalid_api_key', count => 1 });
    my $id = $out->digest(user => user(), texts => ['wrong key notes']);
    ok(wait_for(sub { $out->log =~ /ALERT the model's server: 401 invalid_api_key/ }, 15), 'an alert');
    ok($out->wait_row('digest', $id, 'pending'), 'the digest waits');
    $out->worker->stop;    # an operator corrects it, and starts anew
    $out->worker->start(wait => 0);
    again_now($id);
    is(made($id)->{origin}, 'model', 'and is made after a new start');
};

subtest 'a message is deleted while the model thinks' => sub {
    fresh();
    patient('2m');
    $openai->fault({ kind => 'hold', match => { contains => 'deleteme' }, count => 1 });
    my $asked = $openai->count('chat/completions');
    my $id = $out->digest(user => user(), texts => [ 'deleteme soon', 'this one stays' ]);
    ok(wait_for(sub { calls_for('deleteme') }, 15), 'the model has it');
    $out->dbh->begin_work;    # as the store role does it: the words and the version in one transaction
    $out->dbh->do("UPDATE study.message SET deleted = true, text = '', files = '{}' WHERE text = 'deleteme soon'");
    $out->dbh->do('UPDATE study.digest SET source_version = source_version + 1, result = NULL WHERE digest_id = ?', undef, $id);
    $out->dbh->commit;
    is($openai->release, 1, 'only now it answers');
    my $row = made($id, 30);
    is($row->{source_version}, 2, 'made of the newer version');
    unlike($row->{result}, qr/deleteme/, 'without the deleted words');
    is($out->value('SELECT count(*) FROM study.outbox WHERE digest_id = ?', $id), 1, 'one reply');
    unlike(JSON::PP->new->encode(body_of($id)), qr/deleteme/, 'that does not hold them either');
    is($openai->count('chat/completions') - $asked, 2, 'asked twice: the first answer is dropped');
    patient('2s');
};

subtest 'nothing is left, or the member wants none' => sub {
    my $id = $out->digest(user => user(), texts => ['all gone'], deadline => '1 h');
    $out->dbh->do("UPDATE study.message SET deleted = true, text = '' WHERE text = 'all gone'");
    ok($out->wait_row('digest', $id, 'cancelled|made'), 'ended');
    my $off = user();
    $out->member($off, noticed => 0);
    $out->dbh->do('UPDATE study.member SET digests = false WHERE user_id = ?', undef, $off);
    my $none = $out->digest(user => $off, texts => ['turned off']);
    ok($out->wait_row('digest', $none, 'cancelled'), 'a member who turned them off gets none');
    is(scalar calls_for('turned off'), 0, 'and the model sees nothing');
};

subtest 'a stored answer is used again' => sub {
    fresh();
    my $user = user();
    my $id = $out->digest(user => $user, texts => ['storedonce notes']);
    made($id);
    $out->dbh->do("UPDATE study.digest SET state = 'pending', source_version = source_version + 1, next_at = now() WHERE digest_id = ?", undef, $id);
    $out->dbh->do('NOTIFY study_digest');
    is(made($id)->{origin}, 'model', 'made again');
    is(scalar calls_for('storedonce'), 1, 'with one call');
};

subtest 'kill -9 with digests in hand' => sub {
    fresh();
    patient('2m');
    $openai->fault({ kind => 'hold', match => { contains => 'killcase' } });
    my @ids = map { $out->digest(user => user(), texts => ["killcase $_"], deadline => '5 min') } 1 .. 3;
    ok(wait_for(sub { calls_for('killcase') >= 3 }, 15), 'three calls are under way');
    my ($pid) = $out->pids('digest');
    kill KILL => $pid;
    fresh();
    $out->dbh->do("UPDATE study.digest SET lease_until = now() WHERE state = 'running'");    # ten seconds, shortened
    is(made($_, 40)->{origin}, 'model', "digest $_ is made by the next process") for @ids;
    is($out->value('SELECT count(*) FROM study.outbox WHERE digest_id = ANY(?)', \@ids), 3, 'one reply each');
    patient('2s');
};

for my $case ([ 'while the model thinks', 0 ], [ 'while PostgreSQL does not answer, too', 1 ]) {
    my ($when, $blocked) = @$case;
    subtest "a stop gives back what is in hand, $when" => sub {
        fresh();
        patient('2m');
        $openai->fault({ kind => 'stall', seconds => 120, match => { contains => "stopcase$blocked" } });
        my $id = $out->digest(user => user(), texts => ["stopcase$blocked notes"]);
        ok(wait_for(sub { calls_for("stopcase$blocked") }, 20), 'asked');
        my $lock = $out->pg->dbh;
        if ($blocked) {    # the next claim waits for it, and is what the stop ends
            $lock->begin_work;
            $lock->do('LOCK TABLE study.pause');
            ok(wait_for(sub { $lock->selectrow_array("SELECT 1 FROM pg_stat_activity WHERE application_name = 'study-worker digest' AND wait_event_type = 'Lock'") }, 20),
                'a statement waits');
        }
        $out->worker->stop;
        my $row = $out->row('digest', $id);
        is($row->{state}, 'pending', 'pending again');
        is($row->{attempts}, 0, 'and the attempt not counted');
        $lock->rollback if $blocked;
        fresh();
        $out->worker->start(wait => 0);
        is(made($id)->{origin}, 'model', 'made after the start');
    };
}
patient('2s');

subtest 'many at once, a bounded number of connections' => sub {
    fresh();
    patient('2m');
    $openai->reset('counters');
    $openai->fault({ kind => 'hold', match => { contains => 'crowd' } });
    my @ids = map { $out->digest(user => user(), texts => ["crowd $_"]) } 1 .. 24;
    ok(wait_for(sub { $openai->counters->{concurrency} >= 8 }, 20), 'as many calls at once as set');
    fresh();
    is($openai->release, 8, 'and no more');
    is(made($_, 40)->{origin}, 'model', "digest $_ is made") for @ids;
    cmp_ok($openai->counters->{max_concurrency}, '<=', 8, 'nor are there more later');
};

subtest 'tokens are counted' => sub {
    my $metrics;
    ok(wait_for(sub { $metrics = eval { $out->worker->metrics }; $metrics && grep {/^study_worker_tokens_total/} keys %$metrics }, 15), 'there is a metric');
    for my $direction (qw(prompt completion)) {
        my ($name) = grep {/^study_worker_tokens_total\{.*"$direction"/} keys %$metrics;
        cmp_ok($metrics->{ $name // '' } // 0, '>', 0, $name // $direction);
    }
};

unlike($out->log, qr/$SECRET|sk-standin|killcase|quota notes/, 'no text and no key in the log');
$out->stop;
done_testing;
