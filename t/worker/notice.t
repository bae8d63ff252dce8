#!/usr/bin/perl

# Consent: each member is told before the first digest, and nothing of theirs reaches a
# model before that notice was delivered, or, with opt_in, before their yes.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;
use Time::HiRes qw(sleep);

use StudyTest::Outgoing;
use StudyTest::Proc qw(wait_for);

my $serial = 0;

sub user { return sprintf 'U%06dN', ++$serial }

sub seen { my ($out, $text) = @_; return scalar grep { index($_->{body}, $text) >= 0 } $out->openai->received('chat/completions') }

sub kinds { my ($out, $user) = @_; return map { $_->{metadata}{event_type} } $out->dm($user) }

subtest 'notice' => sub {
    my $out = StudyTest::Outgoing->start;
    my $slack = $out->slack;
    my $user = user();
    $slack->fault({ kind => 'status', status => 503, body => '{"ok":false,"error":"service_unavailable"}', match => { method => 'conversations.open', contains => $user }, count => 3 });

    my $id = $out->digest(user => $user, member => { noticed => 0 }, texts => ['before the notice']);
    ok(wait_for(sub { $out->value("SELECT count(*) FROM study.outbox WHERE identity = 'notice:T0STUDY:$user:1'") }, 15), 'the notice is in the outbox');
    sleep 1.5;
    is($out->row('digest', $id)->{state}, 'pending', 'the digest waits for it');
    is(seen($out, 'before the notice'), 0, 'the model has seen nothing');

    ok($out->wait_row('digest', $id, 'made', 30), 'after it was delivered the digest is made');
    ok(wait_for(sub { $out->dm($user) >= 2 }, 20), 'and delivered');
    is_deeply([ kinds($out, $user) ], [ 'study_notice', 'study_digest' ], 'the notice first');
    my ($notice, $digest) = $out->dm($user);
    my ($call) = grep { index($_->{body}, 'before the notice') >= 0 } $out->openai->received('chat/completions');
    cmp_ok($call->{time}, '>', $notice->{ts}, 'the call was made after the notice');

    my $words = StudyTest::Outgoing::words($notice);
    like($words, qr/<\@$user>/, 'to the member');
    like($words, qr/90일/, 'how long');
    like($words, qr/127\.0\.0\.1:\d+/, 'whose model');
    like($words, qr/그만두고 싶다면/, 'how to stop');
    unlike($words, qr/동의/, 'and no question where none is asked');
    is($out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice'"), 1, 'one notice');

    my $again = $out->digest(user => $user, texts => ['a second digest']);
    ok($out->wait_row('digest', $again, 'made'), 'the next digest');
    is($out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice'"), 1, 'needs no further notice');

    my $english = user();
    my $other = $out->digest(user => $english, member => { noticed => 0, language => 'en' }, texts => ['notes']);
    ok($out->wait_row('digest', $other, 'made', 30), 'another member');
    like(StudyTest::Outgoing::words(($out->dm($english))[0]), qr/Text is kept for 90 days/, 'is told in English');
    $out->stop;
};

subtest 'opt_in' => sub {
    my $out = StudyTest::Outgoing->start(config => { privacy => { consent => 'opt_in' } });
    my ($user, $silent) = (user(), user());
    my $id = $out->digest(user => $user, member => { noticed => 0 }, texts => ['before the yes']);
    ok(wait_for(sub { $out->dm($user) }, 20), 'the notice is delivered');
    like(StudyTest::Outgoing::words($out->dm($user)), qr/동의하시기 전에는/, 'and asks');
    sleep 2;
    is($out->row('digest', $id)->{state}, 'pending', 'the digest waits');
    is(seen($out, 'before the yes'), 0, 'the model has seen nothing');
    $out->dbh->do("UPDATE study.member SET consent = 'yes' WHERE user_id = ?", undef, $user);
    ok($out->wait_row('digest', $id, 'made'), 'until the yes');
    is($out->row('digest', $id)->{origin}, 'model', 'by the model');

    my $late = $out->digest(user => $silent, texts => ['never agreed'], deadline => '2 s');
    ok($out->wait_row('digest', $late, 'made', 20), 'a member who says nothing');
    is($out->row('digest', $late)->{origin}, 'factual', 'gets the factual digest');
    is(seen($out, 'never agreed'), 0, 'and the model sees nothing of it');

    my $no = user();
    $out->member($no, consent => 'no');
    my $refused = $out->digest(user => $no, texts => ['said no']);
    ok($out->wait_row('digest', $refused, 'cancelled'), 'a no: none at all');
    is(seen($out, 'said no'), 0, 'and nothing for the model');
    $out->stop;
};

subtest 'no model at all' => sub {
    my $out = StudyTest::Outgoing->start(config => { openai => { enabled => 'no' } });
    my $user = user();
    my $id = $out->digest(user => $user, member => { noticed => 0 }, texts => [ 'kept on this host ' . 'words ' x 20 ]);
    ok($out->wait_row('digest', $id, 'made'), 'made at once');
    is($out->row('digest', $id)->{origin}, 'factual', 'factual');
    ok(wait_for(sub { $out->dm($user) >= 2 }, 20), 'delivered');
    is_deeply([ kinds($out, $user) ], [ 'study_notice', 'study_digest' ], 'the notice still first');
    unlike(StudyTest::Outgoing::words(($out->dm($user))[0]), qr/AI 모델/, 'which speaks of no model');
    is($out->openai->count('chat/completions'), 0, 'no call');

    # Later there is a model after all: the member was never told of it.
    $out->worker->stop;
    $out->worker->write_config({ openai => { enabled => 'yes' } });
    $out->slack->fault({ kind => 'status', status => 503, body => '{"ok":false,"error":"service_unavailable"}', match => { method => 'chat.postMessage', contains => '127.0.0.1:' }, count => 2 });
    my $later = $out->digest(user => $user, texts => ['a note for the model']);
    $out->worker->start(wait => 0);
    ok($out->wait_row('digest', $later, 'made', 30), 'the first one with a model');
    is($out->row('digest', $later)->{origin}, 'model', 'is written by it');
    ok(wait_for(sub { $out->dm($user) >= 4 }, 20), 'and delivered');
    is_deeply([ (kinds($out, $user))[ 2, 3 ] ], [ 'study_notice', 'study_digest' ], 'after another notice');
    my $told = ($out->dm($user))[2];
    like(StudyTest::Outgoing::words($told), qr/127\.0\.0\.1:\d+ 의 AI 모델/, 'which names its host');
    my ($call) = grep { index($_->{body}, 'a note for the model') >= 0 } $out->openai->received('chat/completions');
    cmp_ok($call->{time}, '>', $told->{ts}, 'and only then the model was asked');

    my $next = $out->digest(user => $user, texts => ['one more for it']);
    $out->worker->stop;
    $out->worker->start(wait => 0);
    ok($out->wait_row('digest', $next, 'made', 30), 'a later one, of another process,');
    is($out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice'"), 2, 'needs no further notice');

    # There and back: that this host was named once before does not do.
    $out->worker->stop;
    $out->dbh->do("UPDATE study.member SET told_host = 'elsewhere.example'");
    my $back = $out->digest(user => $user, texts => ['back with the first model']);
    $out->worker->start(wait => 0);
    ok($out->wait_row('digest', $back, 'made', 30), 'one after the model has moved there and back');
    is($out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice' AND state = 'sent'"), 3, 'comes behind another notice');
    $out->stop;
};

subtest 'a host of the model that is tried and left again' => sub {
    my $out = StudyTest::Outgoing->start(worker => 0);
    my $here = $out->openai->url;
    my $there = $here =~ s/127\.0\.0\.1/localhost/r;
    my ($user, $slow, $early) = (user(), user(), user());
    my $notices = sub { $out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice' AND target = ?", $_[0]) };
    my $runs_at = sub {
        my ($url, %openai) = @_;
        $out->worker->stop;
        $out->worker->write_config({ openai => { enabled => 'yes', base_url => $url, %openai } });
        $out->worker->start(wait => 0);
        return;
    };
    my $comes = sub {
        my ($who, $text, $origin) = @_;
        my $id = $out->digest(user => $who, member => { noticed => 0 }, texts => ["$text " . 'words ' x 10]);
        ok($out->wait_row('digest', $id, 'made', 30), "$text: made") or return;
        is($out->row('digest', $id)->{origin}, $origin, 'as it is to be');
        return;
    };

    $out->member($early); # told before hosts were noted
    $runs_at->($here);
    $comes->($_, 'at the first host', 'model') for $user, $slow, $early;
    is_deeply([ map { $notices->($_) } $user, $slow, $early ], [ 1, 1, 0 ], 'each was told');

    $runs_at->($there);
    $comes->($_, 'at another', 'model') for $user, $early;
    is_deeply([ map { $notices->($_) } $user, $slow, $early ], [ 2, 1, 1 ], 'they were told of it');

    $runs_at->($here);
    $comes->($slow, 'back, who was told of no other', 'model');
    is($notices->($slow), 1, 'without a further notice');
    $comes->($user, 'back at the first', 'model');
    is($notices->($user), 3, 'after one for who was told of another since');

    $runs_at->($there);
    $runs_at->($there, enabled => 'no');
    $comes->($slow, 'without a model', 'factual');
    is($notices->($slow), 1, 'no notice is wanted for that');
    $out->stop;
};

subtest 'a notice that came to nothing' => sub {
    my $out = StudyTest::Outgoing->start(deliver => 0, worker => 0, config => { openai => { enabled => 'no' } });
    $out->dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    my $user = user();
    my $id = $out->digest(user => $user, member => { noticed => 0 }, deadline => '0 s');
    my $notices = sub { $out->value("SELECT string_agg(identity, ' ' ORDER BY outbox_id) FROM study.outbox WHERE kind = 'notice'") // '' };
    my $due = sub { $out->dbh->do('UPDATE study.digest SET next_at = now()'); $out->dbh->do('NOTIFY study_digest'); sleep 2.5; return };
    $out->worker->start(wait => 0);
    ok(wait_for(sub { $notices->() eq "notice:T0STUDY:$user:1" }, 15), 'the first');
    ok(wait_for(sub { $out->value('SELECT next_at > now() + interval \'5 min\' FROM study.digest') }, 15), 'the digest is not looked at meanwhile');
    $out->dbh->do("UPDATE study.outbox SET state = 'parked', done_at = now()");
    $due->();
    is($notices->(), "notice:T0STUDY:$user:1", 'no second one on the same day');
    is($out->row('digest', $id)->{state}, 'pending', 'and no digest before one has arrived, not even a factual one');
    $out->dbh->do("UPDATE study.outbox SET done_at = now() - interval '25 h'");
    $due->();
    is($notices->(), "notice:T0STUDY:$user:1 notice:T0STUDY:$user:2", 'a day later a second');
    $due->();
    is($notices->(), "notice:T0STUDY:$user:1 notice:T0STUDY:$user:2", 'and one only while it is on its way');
    $out->worker->stop;
    $out->worker->write_config({ deliver => { processes => 1 } });
    $out->worker->start(wait => 0);
    ok(wait_for(sub { $out->dm($user) >= 2 }, 20), 'both arrive, though the digest was to be looked at in ten minutes');
    is_deeply([ kinds($out, $user) ], [ 'study_notice', 'study_digest' ], 'the notice first');
    $out->stop;
};

subtest 'at night, and fired by hand' => sub {
    my $out = StudyTest::Outgoing->start(worker => 0, config => { openai => { enabled => 'no' } });
    my $hour = (gmtime)[2];
    $out->worker->write_config({ deliver => { quiet_from => sprintf('%02d:00', ($hour + 23) % 24), quiet_until => sprintf('%02d:00', ($hour + 2) % 24) } });
    $out->worker->start;
    my ($user, $asleep) = (user(), user());
    my %scheduled = (scheduled => 1, member => { noticed => 0, time_zone => 'UTC' });
    my @ids = map { $out->digest(user => $_, %scheduled, schedule => $_ eq $user ? 'daily' : 'weekly') } $user, $asleep;
    my $held = "SELECT count(*) FROM study.outbox WHERE kind = 'notice' AND hold AND state = 'pending'";
    ok(wait_for(sub { $out->value($held) == 2 }, 15), 'scheduled, at night: the notices are held');
    ok(wait_for(sub { $out->value('SELECT count(*) FROM study.digest WHERE next_at <= now()') == 0 }, 15), 'and the digests wait for them');
    ok(wait_for(sub { $out->value('SELECT count(*) FROM study.lane WHERE due_at > now()') == 2 }, 15), 'until the morning');

    my $by_hand = $out->digest(user => $user, member => { noticed => 0, time_zone => 'UTC' }, texts => ['fired by hand']);
    ok($out->wait_row('digest', $by_hand, 'made'), 'one fired by hand is made');
    ok(wait_for(sub { $out->dm($user) >= 2 }, 20), 'and sent, in the night');
    is_deeply([ kinds($out, $user) ], [ 'study_notice', 'study_digest' ], 'behind the notice, which had been held');
    is($out->value('SELECT count(*) FROM study.outbox WHERE kind = ?', 'notice'), 2, 'and is no second one');
    is($out->value("$held AND target = ?", $asleep), 1, 'that of another member goes on waiting');
    is(scalar $out->dm($asleep), 0, 'who sleeps');
    $out->stop;
};

subtest 'a digest that comes while others are to be told' => sub {
    my $out = StudyTest::Outgoing->start(deliver => 0);
    $out->dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    my @users = (user(), user());
    $out->reply(target => $users[1]); # who was told once, of another host
    $out->dbh->do("UPDATE study.outbox SET state = 'sent', sent_ts = '1700000000.000001', told_host = 'elsewhere.example', done_at = now()");
    $out->dbh->do("UPDATE study.member SET noticed_at = NULL, told_host = 'elsewhere.example'");
    my $lock = $out->pg->dbh;
    $lock->do('SELECT pg_advisory_lock(7)');
    $out->dbh->do('CREATE FUNCTION public.wait_for_test() RETURNS trigger LANGUAGE plpgsql AS'
        . ' $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$');
    $out->dbh->do('CREATE TRIGGER wait_for_test BEFORE INSERT ON study.outbox FOR EACH ROW EXECUTE FUNCTION public.wait_for_test()');
    $out->digest(user => $users[0], member => { noticed => 0 });
    ok(wait_for(sub { $out->value("SELECT 1 FROM pg_stat_activity WHERE application_name = 'study-worker digest' AND wait_event = 'advisory'") }, 20),
        'the first notice is being added');
    $out->digest(user => $users[1], member => { noticed => 0 });
    $lock->do('SELECT pg_advisory_unlock(7)');
    ok(wait_for(sub { $out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice' AND state = 'pending'") == 2 }, 20, 'the second notice'), 'the second is not left for ten minutes');
    $out->stop;
};

subtest 'a crowd that was never told' => sub {
    my $out = StudyTest::Outgoing->start(deliver => 0, worker => 0);
    my $dbh = $out->dbh;
    $dbh->do("UPDATE study.team SET url = 'https://t0study.slack.com/'");
    $dbh->do("INSERT INTO study.member (team_id, user_id) SELECT 'T0STUDY', 'U' || lpad(g::text, 6, '0') FROM generate_series(1, 1200) g");
    $dbh->do("INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, trigger_key) SELECT schedule_id, 'Asia/Seoul', now(), 'done', 'crowd' FROM study.schedule WHERE name = 'daily'");
    $dbh->do("INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, deadline) SELECT f.firing_id, f.schedule_id, m.team_id, m.user_id, now() + interval '1 h' FROM study.firing f, study.member m");
    $out->worker->start(wait => 0);
    my $count = sub { $out->value("SELECT count(*) FROM study.outbox WHERE kind = 'notice'") };
    ok(wait_for(sub { $count->() >= 1200 }, 30), 'each gets a notice, in several transactions');
    sleep 2.5;
    is($count->(), 1200, 'and one only');
    is($out->value('SELECT count(*) FROM study.lane WHERE due_at IS NOT NULL'), 1200, 'in a lane of their own');
    is($out->openai->count('chat/completions'), 0, 'no call before');
    is($out->value('SELECT count(*) FROM study.digest WHERE next_at <= now()'), 0, 'none is looked at with every claim');
    $out->stop;
};

subtest 'bad prompts stop the start' => sub {
    my $out = StudyTest::Outgoing->start(worker => 0);
    my $dir = "$out->{dir}/prompts";
    mkdir $dir;
    for my $file (glob StudyTest::Proc::root_dir() . '/conf/prompts/*.txt') {
        my $text = StudyTest::Proc::slurp($file);
        $text =~ s/\{\{records\}\}/{{recrods}}/ if $file =~ /digest\.en/;
        StudyTest::Proc::spew("$dir/" . ($file =~ s{.*/}{}r), $text);
    }
    $out->worker->write_config({ digest => { prompt_dir => $dir } });
    $out->worker->start(wait => 0);
    ok(wait_for(sub { $out->log =~ m{digest\.en\.txt:\d+: there is no hole named "recrods"} }, 15), 'file, line and hole are named');
    my $check = sub { my $said = `@{[ StudyTest::Proc::build_dir() ]}/study-worker -t -c @{[ $out->worker->file ]} 2>&1`; return ($? >> 8, $said) };
    my ($status, $said) = $check->();
    is($status, 78, 'as does study-worker -t');
    like($said, qr{digest\.en\.txt:\d+: there is no hole named "recrods"}, 'with the same words');

    my $good = StudyTest::Proc::slurp(StudyTest::Proc::root_dir() . '/conf/prompts/digest.en.txt');
    StudyTest::Proc::spew("$dir/digest.en.txt", $good);
    is(($check->())[0], 0, 'put right, it is good');
    $out->worker->start;
    my @before = $out->worker->children;
    StudyTest::Proc::spew("$dir/digest.en.txt", $good =~ s/\{\{records\}\}/{{rekords}}/r);
    kill HUP => $out->worker->pid;
    ok(wait_for(sub { $out->log =~ m{the configuration stays as it is: .*digest\.en\.txt:\d+: there is no hole named "rekords"} }, 15), 'a reload says it too');
    is_deeply([ sort $out->worker->children ], [ sort @before ], 'and leaves everything running');
    $out->stop;
};

done_testing;
