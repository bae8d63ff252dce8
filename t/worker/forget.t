#!/usr/bin/perl

# studyctl member forget: whatever holds something of a member loses it, rows, accept logs and
# the file under them; and whatever comes afterwards (repeats by Slack, edits, what still waits in
# Redis, what is being made or sent at that moment) does not bring it back.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use JSON::PP qw(decode_json);
use POSIX ();
use Time::HiRes ();

use StudyTest::Event qw(deleted edited member_joined message reply);
use StudyTest::Proc qw(slurp wait_for);
use StudyTest::StandIn ();
use StudyTest::Store ();

my $dir = StudyTest::Proc::scratch_dir('forget');
my $slack = StudyTest::StandIn->slack(dir => $dir);
my $openai = StudyTest::StandIn->openai(dir => $dir);
my $store = StudyTest::Store->start(
    dir => $dir, worker => 0,
    config => {
        schedule => { processes => 1 }, digest => { processes => 1 }, deliver => { processes => 1, lease => '10s', settle_after => '1s' },
        slack => { timeout => '3s' },
    },
);
my $worker = $store->worker;
$worker->{slack_url} = $slack->url;
$worker->{openai_url} = $openai->url;
$worker->write_config;
$worker->start(wait => 0);
$store->dbh->do('UPDATE study.schedule SET paused = true');

my $TEAM = 'T0STUDY';
my $SECRET = 'a most private remark';
my $serial = 0;

sub value { return $store->value(@_) }
sub user { return sprintf 'U0GONE%03d', ++$serial }

sub forget {
    my ($user, @more) = @_;
    my ($status, $said) = $worker->ctl('member', 'forget', $TEAM, $user, '--yes', @more);
    is($status, 0, "forget $user @more") or diag $said;
    return $said;
}

# While studyctl still waits for the end; to be reaped with reap.
my @asking;
sub forget_beside {
    my ($user, @more) = @_;
    my $pid = fork // die;
    if (!$pid) { $worker->ctl('member', 'forget', $TEAM, $user, '--yes', @more); POSIX::_exit(0) }
    push @asking, $pid;
    return $pid;
}
sub reap { waitpid $_, 0 for splice @asking; return }

sub mark { my ($user) = @_; return $store->dbh->selectrow_hashref('SELECT * FROM study.forgotten WHERE user_id = ?', undef, $user) }
sub is_done { my ($user) = @_; return wait_for { (mark($user) // {})->{done_at} } 60, 'it to be done' }

# Every row of every table that has the word anywhere, the marks' own aside.
sub traces {
    my ($word) = @_;
    my @found;
    my $hex = unpack 'H*', $word;
    for my $table (@{ $store->dbh->selectcol_arrayref(q{SELECT tablename FROM pg_tables WHERE schemaname = 'study' ORDER BY 1}) }) {
        next if $table eq 'forgotten' && $word =~ /^U0/;
        my $n = value("SELECT count(*) FROM study.$table x WHERE strpos(x::text, ?) > 0 OR strpos(x::text, ?) > 0", $word, $hex);
        push @found, "$table: $n" if $n;
    }
    return join ', ', @found;
}

sub row { my ($sql, @args) = @_; return ($store->dbh->selectrow_array($sql, undef, @args))[0] }

# A digest of the member and, given its state, the reply, as those roles would leave them.
sub digest {
    my ($user, $state, $reply, %more) = @_;
    my $firing = row(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, trigger_key, done_at)
        SELECT schedule_id, 'UTC', now(), 'done', ?, now() FROM study.schedule LIMIT 1 RETURNING firing_id}, 'trigger:' . ++$serial);
    my $id = row(q{INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, result, deadline, made_at)
        SELECT ?, schedule_id, ?, ?, ?, CASE WHEN ?::text = 'made' THEN ?::jsonb END, now() + interval '1 h', now() FROM study.schedule LIMIT 1
        RETURNING digest_id}, $firing, $TEAM, $user, $state, $state, qq({"studied":"$SECRET"}));
    $store->dbh->do(q{INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id)
        SELECT d.schedule_id, m.team_id, m.channel_id, m.ts, d.digest_id FROM study.digest d JOIN study.message m USING (team_id, user_id)
        WHERE d.digest_id = ? ON CONFLICT DO NOTHING}, undef, $id);
    return $id if !$reply;
    $store->dbh->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body, state, channel_id, sent_ts,
            lease_until, claim_token, sent_from)
        VALUES (?, 'digest', ?, ?, ?, 1, ?, ?, ?, ?, CASE WHEN ?::text = 'sending' THEN now() + interval '4 s' END,
            CASE WHEN ?::text = 'sending' THEN gen_random_uuid() END, CASE WHEN ?::text IN ('sending', 'doubtful') THEN now() END)},
        undef, "digest:$id:1", $TEAM, $user, $id, qq({"text":"$SECRET","blocks":[]}), $reply, 'D' . substr($user, 1),
        $reply eq 'sent' ? $more{ts} // '1700000000.000100' : undef, $reply, $reply, $reply);
    $store->dbh->do(q{INSERT INTO study.lane (team_id, target, due_at) VALUES (?, ?, now() + interval '1 h') ON CONFLICT DO NOTHING}, undef, $TEAM, $user);
    return $id;
}

subtest 'everything goes' => sub {
    my ($user, $other) = (user(), 'U0STAYS');
    my @theirs = map { message(user => $user, text => "$SECRET $_") } 1 .. 5;
    my $gone = deleted($theirs[4]);
    my $others = message(user => $other, text => 'not about that');
    my $broken = message(user => $user, text => "$SECRET\0");           # dead
    my $mention = message(user => $other, text => "hello <\@$user>\0"); # another's dead
    $store->event(@theirs, $others, $broken, $mention);
    $store->drained;
    $store->event($gone);
    $store->drained;
    $store->dbh->do('UPDATE study.member SET noticed_at = now(), dm_channel_id = ? WHERE user_id = ?', undef, 'D' . substr($user, 1), $user);
    digest($user, 'made', 'sent');
    digest($user, 'made', 'parked');
    digest($user, 'cancelled', undef);
    $store->dbh->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, state, sent_ts) VALUES (?, 'notice', ?, ?, 'sent', '1700000000.000200')},
        undef, "notice:$TEAM:$user:1", $TEAM, $user);
    for my $sql (
        q{INSERT INTO study.past_day (team_id, user_id, day, records) VALUES ($1, $2, '2026-01-01', 3)},
        q{INSERT INTO study.export_request (team_id, user_id) VALUES ($1, $2)},
        q{INSERT INTO study.channel_join (team_id, channel_id, user_id, ours, private) VALUES ($1, 'C0STUDY', $2, false, false)},
        q{INSERT INTO study.feedback (digest_id, answer) SELECT max(digest_id), 'helped' FROM study.digest WHERE team_id = $1 AND user_id = $2},
        q{UPDATE study.firing SET cursor_team = $1, cursor_user = $2 WHERE state = 'done'},
        q{INSERT INTO study.outbox (identity, kind, team_id, target, state, body) VALUES ('r1', 'response', $1, 'response-' || $2, 'failed', '{"url":"x"}')},
        # What names the member by their messages and by their DM alone: an acknowledgement, and a digest that was taken back.
        q{INSERT INTO study.outbox (identity, kind, team_id, target, state, body)
            SELECT 'reaction:' || team_id || ':' || channel_id || ':' || ts, 'reaction', team_id, 'reaction-' || channel_id, s,
                jsonb_build_object('channel', channel_id, 'ts', ts, 'name', 'eyes')
            FROM study.message, unnest(ARRAY['sent', 'pending', 'failed']) WITH ORDINALITY AS x (s, n)
            WHERE team_id = $1 AND (user_id, ts) IN (SELECT $2, m.ts FROM study.message m WHERE m.user_id = $2 ORDER BY m.ts OFFSET n LIMIT 1)},
        q{INSERT INTO study.outbox (identity, kind, team_id, target, state, body) SELECT 'delete:1', 'delete', $1, 'delete-' || c, 'sent',
            jsonb_build_object('channel', c, 'ts', '1700000000.000100') FROM (SELECT 'D' || substr($2, 2) AS c) AS d},
        q{INSERT INTO study.lane (team_id, target) VALUES ($1, 'delete-D' || substr($2, 2))},
    ) {
        $store->dbh->do($sql, undef, $TEAM, $user);
    }
    $store->dbh->do(q{INSERT INTO study.lane (team_id, target) VALUES (?, 'reaction-C0STUDY')}, undef, $TEAM);
    is(value(q{SELECT count(*) FROM study.outbox WHERE kind = 'reaction'}), 3, 'three of their messages were acknowledged');
    is(value('SELECT count(*) FROM study.dead_event'), 2, 'two events could not be stored');
    my $was = value('SELECT count(*) FROM study.message');

    like(traces($user), qr/channel_join.*dead_event.*digest.*export_request.*firing.*member.*message.*outbox.*past_day/, 'it is all over the tables');
    my $said = forget($user);
    like($said, qr/^Not reached from here: backups/m, 'it says what is not reached');
    is_done($user);
    is(traces($user), 'dead_event: 1', 'nothing is left but where another mentioned them');
    is(traces($SECRET), '', 'no word of theirs either');
    is(traces('D' . substr $user, 1), '', 'nor where they were written to');
    is(traces($_->{event}{ts}), '', 'nor that a message was there') for @theirs[ 1 .. 3 ];
    is(value('SELECT count(*) FROM study.message'), $was - 5, "others' messages stay");
    is(value('SELECT count(*) FROM study.dead_event'), 1, "and their dead events");
    my ($status, $json) = $worker->ctl('member', 'show', $TEAM, $user, '--json');
    is($status, 0, 'member show tells of the mark');
    is(decode_json($json)->{forgotten}{state}, 'done', '... that it is done');
    ok(!exists decode_json($json)->{member}, '... and has no member');

    # Slack repeats, somebody edits and deletes: in one batch and in several.
    $store->event(@theirs, edited($theirs[0], text => "$SECRET again"), edited($theirs[1], text => "$SECRET twice"), $gone, $broken,
        reply($theirs[0], user => $user, text => "$SECRET reply", ts => int($theirs[0]{event}{ts}) . '.000001'));
    $store->drained;
    $store->event($_) for $theirs[0], edited($theirs[2], text => "$SECRET edit"), deleted($theirs[3]), $theirs[3];
    $store->drained;
    is(traces($SECRET), '', 'nothing comes back');
    unlike(traces($user), qr/member|message/, 'not the member either');

    # They write again: a new member, who has not been told.
    $store->event(message(user => $user, text => 'a new beginning'));
    $store->drained;
    is(value('SELECT text FROM study.message WHERE user_id = ?', $user), 'a new beginning', 'what they write from now on is stored');
    is(value('SELECT noticed_at IS NULL AND digests FROM study.member WHERE user_id = ?', $user), 1, 'as of somebody new');
};

subtest 'for good' => sub {
    my $user = user();
    my $first = message(user => $user, text => "$SECRET before");
    $store->event($first);
    $store->drained;
    forget($user, '--future');
    is_done($user);
    my $later = message(user => $user, text => "$SECRET later");
    $store->event($later, edited($later, text => "$SECRET edited"), $first, message(user => $user, text => "$SECRET\0"));
    $store->drained;
    is(traces($SECRET), '', 'nothing is stored any more');
    is(traces($user), '', 'not even that they are there');
    my ($status) = $worker->ctl('member', 'unforget', $TEAM, $user);
    is($status, 0, 'unless they are let in again');
    $store->event($first, $later, message(user => $user, text => 'back again'));
    $store->drained;
    is_deeply($store->rows('SELECT text FROM study.message WHERE user_id = ?', $user), [ ['back again'] ], 'from then on');
    isnt(($worker->ctl('member', 'unforget', $TEAM, $user))[0], 0, 'which is said once');
};

subtest 'what waits in Redis' => sub {
    my $user = user();
    my $text = "$SECRET waiting";
    # A batch in hand while PostgreSQL lets wait; more in pending, and in suspect.
    my $lock = $store->hold_messages;
    $store->event(map { message(user => $user, text => $text) } 1 .. 20);
    $store->leased;
    wait_for { value('SELECT count(*) FROM pg_locks WHERE NOT granted') } 30, 'the store to wait';
    $store->event(map { message(user => $user, text => $text) } 1 .. 20);
    $store->push_raw('suspect', map { $store->element(message(user => $user, text => $text)) } 1 .. 3);
    forget_beside($user);
    wait_for { ((mark($user) // {})->{error} // '') =~ /still open/ } 30, 'whoever erases to wait for the store';
    ok(!mark($user)->{done_at}, 'it is not done before that batch is');
    $lock->rollback;
    $store->drained(60);
    is_done($user);
    reap;
    is(traces($text), '', 'nothing that waited is stored');
    is(traces($user), '', 'nor the member');
    my @left = grep { index(slurp($_), $text) >= 0 } glob "$dir/redis/appendonlydir-study/*";
    wait_for { @left = grep { index(slurp($_), $text) >= 0 } glob "$dir/redis/appendonlydir-study/*"; !@left } 15, 'the old file to go';
    is("@left", '', 'the append-only file has no word of it');
};

subtest 'a digest that is being made' => sub {
    my $user = user();
    $store->event(map { message(user => $user, text => "$SECRET under way $_") } 1 .. 3);
    $store->drained;
    $store->dbh->do('UPDATE study.member SET noticed_at = now() WHERE user_id = ?', undef, $user);
    $openai->fault({ kind => 'hold', match => { contains => $SECRET } });
    my $id = digest($user, 'pending', undef);
    $store->dbh->do('NOTIFY study_digest');
    wait_for { $openai->count('chat/completions') } 30, 'the model to be asked';
    my $posted = scalar $slack->posted;
    forget_beside($user);
    wait_for { mark($user) } 20, 'it to be asked for';
    $openai->clear_faults;
    is($openai->release, 1, 'the model answers after that');
    ok(is_done($user), 'it is done');
    reap();
    Time::HiRes::sleep(2);
    is(traces($user), '', 'the answer is not stored');
    is(traces($SECRET), '', 'nor a word of it');
    is(scalar $slack->posted, $posted, 'and nothing is sent');
};

subtest 'replies on their way' => sub {
    my ($pending, $doubtful, $sending) = map { user() } 1 .. 3;
    for my $user ($pending, $doubtful, $sending) {
        $store->event(message(user => $user, text => "$SECRET of $user"));
        $store->drained;
        $store->dbh->do('UPDATE study.member SET noticed_at = now(), dm_channel_id = ? WHERE user_id = ?', undef, 'D' . substr($user, 1), $user);
    }
    my $posted = scalar $slack->posted;
    digest($pending, 'made', 'pending');
    my $d = digest($doubtful, 'made', 'doubtful');
    my $s = digest($sending, 'made', 'sending');
    $worker->ctl('pause', 'deliver');
    $store->dbh->do(q{UPDATE study.lane SET due_at = now() + interval '1 h'});
    forget_beside($_) for $pending, $doubtful, $sending;
    is_done($pending);
    is(traces($pending), '', 'one that waited is gone');
    wait_for { 2 == grep { (mark($_) // {})->{sealed_at} } $sending, $doubtful } 30, 'the others';
    wait_for { value(q{SELECT count(*) FROM study.digest WHERE digest_id = ANY (?) AND state = 'cancelled'}, [ $d, $s ]) == 2 } 30, 'their digests';
    for my $case ([ $doubtful, $d, 'doubtful' ], [ $sending, $s, 'sending' ]) {
        is_deeply($store->rows('SELECT o.state, o.body::text, d.state, d.source_version, d.result FROM study.outbox o JOIN study.digest d USING (digest_id) WHERE digest_id = ?', $case->[1]),
            [ [ $case->[2], '{}', 'cancelled', 2, undef ] ], "one that is $case->[2] keeps its row, blank");
    }
    is(traces($SECRET), '', 'no word of any');
    $worker->ctl('resume', 'deliver');
    $store->dbh->do(q{UPDATE study.lane SET due_at = now(), next_at = now()});
    $store->dbh->do('NOTIFY study_outbox');
    is_done($_) for $doubtful, $sending;
    reap;
    is(traces($_), '', 'it goes once its end is known') for $doubtful, $sending;
    is(scalar $slack->posted, $posted, 'nothing was sent');
};

subtest 'our messages to them' => sub {
    my $user = user();
    $store->event(message(user => $user, text => "$SECRET $_")) for 1, 2;
    $store->drained;
    $store->dbh->do('UPDATE study.member SET noticed_at = now() WHERE user_id = ?', undef, $user);
    my $id = digest($user, 'made', 'pending');
    $store->dbh->do(q{UPDATE study.outbox SET channel_id = NULL, body = '{"text":"a digest for them","blocks":[]}' WHERE digest_id = ?}, undef, $id);
    $store->dbh->do('UPDATE study.lane SET due_at = now() WHERE target = ?', undef, $user);
    $store->dbh->do('NOTIFY study_outbox');
    wait_for { $slack->messages(user => $user, team => $TEAM) } 30, 'the digest in Slack';
    wait_for { value(q{SELECT count(*) FROM study.outbox WHERE digest_id = ? AND state = 'sent'}, $id) } 30, 'it is noted';
    forget($user, '--delete-dms');
    is_done($user);
    is(scalar(() = $slack->messages(user => $user, team => $TEAM)), 0, 'they are deleted in Slack');
    is(traces($user), '', 'and the rows that saw to it are gone');
    is(traces('D' . substr $user, 1), '', 'none names the channel');
    is(mark($user)->{error}, undef, 'none was left');
};

subtest 'asking' => sub {
    my ($status, $said) = $worker->ctl('member', 'forget', $TEAM, 'U0STAYS');
    isnt($status, 0, 'not without a yes');
    like($said, qr/--yes/, '... which is named');
    unlike($said, qr/is known/, 'of a member nothing is said');
    is(value(q{SELECT count(*) FROM study.forgotten WHERE user_id = 'U0STAYS'}), 0, 'nothing was done');
    ($status, $said) = $worker->ctl('member', 'forget', $TEAM, 'not an id', '--yes');
    isnt($status, 0, 'an id is looked at');
    ($status, $said) = $worker->ctl('member', 'forget', $TEAM, 'U0NEVERSEEN', '--yes', '--future');
    is($status, 0, 'somebody unknown may be forgotten beforehand');
    like($said, qr/^No member U0NEVERSEEN of $TEAM is known/m, '... which is said, for the id may be misspelt');
};

# The mark moves on just before the first asking is about to be called finished.
subtest 'asking again while it is done' => sub {
    my $user = user();
    $store->event(message(user => $user, text => $SECRET));
    $store->drained;
    $store->dbh->do(qq{
        CREATE FUNCTION public.ask_again() RETURNS trigger LANGUAGE plpgsql AS \$\$
        BEGIN
            UPDATE study.forgotten SET asked_at = clock_timestamp(), before = clock_timestamp(), sealed_at = NULL,
                rows_at = NULL, dead_from = 0, delete_dms = true WHERE user_id = '$user' AND NOT delete_dms;
            IF FOUND THEN
                INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
                SELECT team_id, channel_id, '1700000123.000100', '$user', '$SECRET', clock_timestamp() - interval '1 s', now()
                  FROM study.channel LIMIT 1;
            END IF;
            RETURN NULL;
        END \$\$});
    $store->dbh->do('CREATE TRIGGER ask_again AFTER DELETE ON study.channel_join FOR EACH STATEMENT EXECUTE FUNCTION public.ask_again()');
    forget($user);
    is_done($user);
    ok(mark($user)->{delete_dms}, 'it was asked for again');
    is(traces($user), '', 'and what came in between is gone, too');
    $store->dbh->do('DROP FUNCTION public.ask_again CASCADE');
};

# Ours alone would do: what the store and others write is what they wait for.
subtest 'whoever has not seen the mark' => sub {
    my $user = user();
    $store->event(message(user => $user, text => $SECRET));
    $store->drained;
    my $writer = $store->pg->dbh;
    $writer->begin_work;
    $writer->do(q{UPDATE study.message SET text = text WHERE false});
    $store->dbh->do('INSERT INTO study.forgotten (team_id, user_id, before) VALUES (?, ?, now())', undef, $TEAM, $user);
    wait_for { (mark($user)->{error} // '') =~ /a transaction that began before is still open/ } 30, 'it to be told';
    is(scalar @{ mark($user)->{writers} }, 1, 'one is waited for') or diag explain mark($user);
    my $later = $store->pg->dbh;
    $later->begin_work;
    $later->do(q{UPDATE study.message SET text = text WHERE false});
    # Meanwhile nobody sits in the database: the role that erases also fires schedules.
    my $sat = 0;
    for (1 .. 40) {
        $sat += value(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
        Time::HiRes::sleep(0.02);
    }
    is($sat, 0, 'and nobody is held up by it');
    ok(!mark($user)->{sealed_at}, 'it is not sealed yet');
    $writer->rollback;
    is_done($user);
    is(mark($user)->{error}, undef, 'those who began later are not waited for');
    $later->rollback;
    is(traces($user), '', 'it is gone');
};

subtest 'many that cannot go on' => sub {
    my $user = user();
    $store->event(message(user => $user, text => $SECRET));
    $store->drained;
    $worker->ctl('pause', 'deliver');
    $store->dbh->do(q{INSERT INTO study.forgotten (team_id, user_id, before, asked_at, sealed_at)
        SELECT ?, 'U0AAA' || n, now(), now() - interval '1 h', now() FROM generate_series(1, 70) AS n}, undef, $TEAM);
    $store->dbh->do(q{INSERT INTO study.outbox (identity, kind, team_id, target, body)
        SELECT 'stuck' || n, 'response', ?, 'response-U0AAA' || n, '{"url":"x"}' FROM generate_series(1, 70) AS n}, undef, $TEAM);
    $store->dbh->do('INSERT INTO study.forgotten (team_id, user_id, before) VALUES (?, ?, now())', undef, $TEAM, $user);
    is_done($user);
    is(traces($user), '', 'one who comes after them is forgotten');
    is(value(q{SELECT count(*) FROM study.forgotten WHERE user_id ~ 'AAA' AND rows_at IS NULL}), 70, '... while they still wait');
    $store->dbh->do(q{DELETE FROM study.outbox WHERE identity ~ '^stuck'});
    wait_for { !value('SELECT count(*) FROM study.forgotten WHERE done_at IS NULL') } 60, 'the others';
    $worker->ctl('resume', 'deliver');
};

# Who came into a channel is noted until it is known whether that was us.
subtest 'coming into a channel' => sub {
    my ($user, $other) = (user(), 'U0CAME');
    $store->dbh->do('INSERT INTO study.team (team_id) VALUES (?)', undef, 'T0UNKNOWN');
    $store->dbh->do('INSERT INTO study.forgotten (team_id, user_id, before, sealed_at, rows_at, done_at) VALUES (?, ?, now(), now(), now(), now())', undef, 'T0UNKNOWN', $user);
    $store->event(map { my $e = member_joined(user => $_, team => 'T0UNKNOWN', channel => 'C0UNKNOWN'); $e->{authorizations} = []; $e } $user, $other);
    $store->drained;
    is_deeply($store->rows(q{SELECT user_id FROM study.channel_join WHERE team_id = 'T0UNKNOWN'}), [ [$other] ], 'not of who was forgotten');
};

subtest 'a Redis that may not be asked, and a Slack that does not delete' => sub {
    my $user = user();
    my $admin = $store->redis->client;
    $admin->acl('SETUSER', 'study-worker', '-bgrewriteaof');
    $slack->fault({ kind => 'error', error => 'cant_delete_message', match => { method => 'chat.delete' } });
    $store->event(message(user => $user, text => $SECRET));
    $store->drained;
    digest($user, 'made', 'sent');
    my ($status, $said) = $worker->ctl('member', 'forget', $TEAM, $user, '--yes', '--delete-dms', '--json');
    is($status, 0, 'studyctl does what it can');
    like($said, qr/Not done yet; the schedule role goes on/, '... which is not all');
    like($said, qr/^1 of our messages to them stay in Slack/m, '... and says what stays');
    my $told = decode_json($said =~ /^(\{.*\})$/m)->{forgotten};
    is($told->{stay_in_slack}, 1, 'its answer has that');
    like($told->{error}, qr/NOPERM|permission/, '... and why it is not done');
    ok(!$told->{done_at}, '... which it is not');
    is(traces($user), '', 'though the rows are gone');
    $admin->acl('SETUSER', 'study-worker', '+bgrewriteaof');
    is_done($user);
    (undef, $said) = $worker->ctl('member', 'show', $TEAM, $user, '--json');
    $told = decode_json($said)->{forgotten};
    is_deeply([ @$told{qw(state stay_in_slack error)} ], [ 'done', 1, undef ], 'it is tried again; what stays is still told');
    $slack->clear_faults;
};

$store->stop;
unlike(slurp($worker->log), qr/\Q$SECRET\E/, 'no word of a member in the log');
done_testing;
