#!/usr/bin/perl

# The store role: elements pushed by hand, and the rows that they leave; what is malformed;
# and every way in which PostgreSQL, Redis or the process itself may go away meanwhile.

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";
use Test::More;

use StudyTest::Event qw(:all);
use StudyTest::Proc qw(slurp wait_for);
use StudyTest::Store;

my $store = StudyTest::Store->start;
my $SECRET = 'only-for-the-group-4711';

sub message_row {
    my ($envelope) = @_;
    return $store->dbh->selectrow_hashref(
        'SELECT *, extract(epoch FROM accepted_at) * 1000 AS accepted_ms FROM study.message WHERE ts = ?',
        undef, $envelope->{event}{ts},
    );
}

sub fresh {
    $store->dbh->do('SET client_min_messages = warning');
    $store->dbh->do('TRUNCATE study.message, study.dead_event, study.applied, study.outbox, study.digest,'
        . ' study.firing, study.pause RESTART IDENTITY CASCADE');
    $store->client->del($store->key('popped'));
    return;
}

subtest 'messages of every shape' => sub {
    my $plain = message(text => "Read $SECRET, 3 장 😀 & <b>");
    my $reply = reply($plain, user => 'U000002');
    my $also = broadcast($plain);
    my $file = file_share(file => 'notes "2" \\ {a,b}.pdf');
    my $me = me_message();
    my $grid = grid_message();

    $store->event($plain, $reply, $also, $file, $me, $grid);
    $store->drained;

    my $row = message_row($plain);
    is($row->{text}, "Read $SECRET, 3 장 😀 & <b>", 'text as it was written');
    is($row->{team_id}, 'T0STUDY', 'team');
    is($row->{channel_id}, 'C0STUDY', 'channel');
    is($row->{user_id}, 'U000001', 'user');
    is($row->{thread_ts}, undef, 'no reply');
    is($row->{subtype}, undef, 'no subtype');
    ok(!$row->{deleted}, 'not deleted');
    is(message_row($reply)->{thread_ts}, $plain->{event}{ts}, 'a reply knows its thread');
    is(message_row($also)->{subtype}, 'thread_broadcast', 'broadcast');
    is_deeply(message_row($file)->{files}, ['notes "2" \\ {a,b}.pdf'], 'the file\'s name, and only that');
    is(message_row($me)->{subtype}, 'me_message', '/me');
    is(message_row($grid)->{team_id}, 'T0STUDY', 'Enterprise Grid: the workspace that is meant');
    is($store->value('SELECT count(*) FROM study.member'), 2, 'its writers are members');
    is($store->value("SELECT string_agg(channel_id, ' ') FROM study.channel"), 'C0STUDY', 'its channel');
};

subtest 'what is not recorded' => sub {
    fresh();
    $store->event(
        bot_message(), direct_message(), group_message(), private_message(), external_message(), channel_join(),
        app_home_opened(), team_join(), reaction(), app_rate_limited(), url_verification(),
        message(user => 'U0STUDYBOT'), message(user => 'USLACKBOT'),
        deleted(private_message()), deleted(external_message()),
        unfurled(message()), { type => 'event_callback', team_id => 'T1', event => { type => 'from_the_future' } },
    );
    $store->push_raw('control', $store->element('payload=%7B%22type%22%3A%22view_submission%22%7D', kind => 'interaction'));
    $store->drained;
    is($store->value('SELECT count(*) FROM study.message'), 0, 'no message');
    is($store->value('SELECT count(*) FROM study.dead_event'), 0, 'nothing dead');
    is($store->value("SELECT count(*) FROM study.member WHERE user_id !~ '^U00000[12]\$'"), 0, 'no member either');
};

subtest 'edits, deletions, repeats, in any order' => sub {
    fresh();
    my ($first, $second, $third, $fourth) = map { message(text => "text $_") } 1 .. 4;
    my $old = edited($first, text => 'old edit', edited_ts => '1700000001.000000');
    my $new = edited($first, text => 'new edit', edited_ts => '1700000002.000000');

    for my $event ($new, $first, $old, $new, $first, unfurled($first, text => 'unfurled')) {
        $store->event($event);
        $store->drained;
    }
    is(message_row($first)->{text}, 'new edit', 'the newest edit, though it came first');
    is(message_row($first)->{edited_ts}, '1700000002.000000', 'and its time');

    $store->event(deleted($second));
    $store->drained;
    $store->event($second, edited($second));
    $store->drained;
    my $gone = message_row($second);
    ok($gone->{deleted}, 'a deletion wins, though it came first');
    is($gone->{text}, '', 'no text is left');

    # Recorded while the setting let it in, deleted after it no longer does.
    my $private = private_message();
    $store->dbh->do("INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at) VALUES ('T0STUDY', ?, ?, 'U000001', 'words', now(), now())",
        undef, @{ $private->{event} }{qw(channel ts)});
    $store->event(deleted($private));
    $store->drained;
    ok(message_row($private)->{deleted}, 'a deletion where nothing is recorded any more still takes what was');

    $store->event($third, file_share(ts => $third->{event}{ts}, file => 'x.pdf'), tombstone($third), reply($third));
    $store->drained;
    ok(message_row($third)->{deleted}, 'a thread\'s parent that became a tombstone');
    is($store->value('SELECT count(*) FROM study.message WHERE thread_ts = ?', $third->{event}{ts}), 1, 'its reply stays');

    my %again = %$fourth;
    $again{event_id} = 'EvANOTHER';
    $store->push_raw('pending', $store->element($fourth, received_at => 1_800_000_000_000),
        $store->element(\%again, received_at => 1_700_000_000_000));
    $store->drained;
    is(message_row($fourth)->{accepted_ms} + 0, 1_700_000_000_000, 'accepted when it was seen first');
    is($store->value('SELECT count(*) FROM study.message WHERE ts = ?', $fourth->{event}{ts}), 1,
        'one message under two event ids is one row');
};

# A digest of member N, in the given states, made from messages of theirs.
sub digest_of {
    my ($n, $state, $outbox, @messages) = @_;

    my $dbh = $store->dbh;
    my $user = sprintf 'U1%05d', $n;
    my ($schedule) = $dbh->selectrow_array("SELECT schedule_id FROM study.schedule WHERE name = 'daily'");
    my ($firing) = $dbh->selectrow_array(
        'INSERT INTO study.firing (schedule_id, time_zone, fire_at, state) VALUES (?, ?, ?, ?) RETURNING firing_id',
        undef, $schedule, 'UTC', "2026-01-01 00:00:$n+00", 'done');
    $dbh->do("INSERT INTO study.member (team_id, user_id) VALUES ('T0STUDY', ?) ON CONFLICT DO NOTHING", undef, $user);
    my ($id) = $dbh->selectrow_array(
        'INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, state, result, attempts, deadline, claim_token)'
            . " VALUES (?, ?, 'T0STUDY', ?, ?, ?, 3, now() + interval '1 day', ?) RETURNING digest_id",
        undef, $firing, $schedule, $user, $state, $state eq 'made' ? '{"x":1}' : undef,
        $state eq 'running' ? '00000000-0000-0000-0000-000000000001' : undef);
    $dbh->do("INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id) VALUES (?, 'T0STUDY', 'C0STUDY', ?, ?)",
        undef, $schedule, $_->{event}{ts}, $id) for @messages;
    $dbh->do('INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body, state, sent_ts)'
            . " VALUES (?, 'digest', 'T0STUDY', ?, ?, 1, '{}', ?, ?)",
        undef, "digest:$id:1", $user, $id, $outbox, $outbox eq 'sent' ? '1700000000.000100' : undef) if $outbox;
    return $id;
}

sub digest_now {
    my ($id) = @_;
    return join ' ', map { $_ // '-' } $store->dbh->selectrow_array(
        'SELECT d.state, d.source_version, d.attempts, d.result IS NOT NULL, o.state, o.body IS NOT NULL'
            . ' FROM study.digest AS d LEFT JOIN study.outbox AS o USING (digest_id) WHERE digest_id = ?', undef, $id);
}

subtest 'a deletion blanks what was made from the message' => sub {
    fresh();
    my @m = map { message(text => "$SECRET $_", user => sprintf 'U1%05d', $_) } 0 .. 12;
    $store->event(@m);
    $store->drained;
    my %id = (
        part      => digest_of(1, 'pending', undef, @m[ 0, 1 ]),
        whole     => digest_of(2, 'pending', undef, $m[2]),
        running   => digest_of(3, 'running', undef, $m[3]),
        unsent    => digest_of(4, 'made', 'pending', @m[ 4, 5 ]),
        nothing   => digest_of(5, 'made', 'pending', $m[6]),
        sending   => digest_of(6, 'made', 'sending', $m[7]),
        doubtful  => digest_of(7, 'made', 'doubtful', $m[8]),
        sent      => digest_of(8, 'made', 'sent', $m[9]),
        parked    => digest_of(9, 'made', 'parked', $m[10]),
        untouched => digest_of(10, 'made', 'pending', $m[11]),
    );
    my $listener = $store->pg->dbh;
    $listener->do('LISTEN study_digest');
    my @gone = map { deleted($m[$_]) } 0, 2, 3, 4, 6 .. 10, 12;
    for my $times (1, 2) {
        $store->event(@gone);
        $store->drained;
        my $when = $times == 1 ? 'once' : 'and again';
        is(digest_now($id{part}),      'pending 2 3 0 - 0',           "$when: the digest is made from what is left");
        is(digest_now($id{whole}),     'cancelled 2 3 0 - 0',         "$when: nothing is left, so none");
        is(digest_now($id{running}),   'running 2 3 0 - 0',           "$when: a claim stays, its answer will be too old");
        is(digest_now($id{unsent}),    'pending 2 0 0 cancelled 0',   "$when: an unsent reply is cancelled and made anew");
        is(digest_now($id{nothing}),   'cancelled 2 0 0 cancelled 0', "$when: or not, where nothing is left");
        is(digest_now($id{sending}),   'made 2 3 0 sending 1',        "$when: one being sent is deliver's to judge");
        is(digest_now($id{doubtful}),  'made 2 3 0 doubtful 1',       "$when: so is a doubtful one");
        is(digest_now($id{sent}),      'made 2 3 0 sent 0',           "$when: one that was sent keeps its row only");
        is(digest_now($id{parked}),    'made 2 3 0 parked 0',         "$when: so does a parked one");
        is(digest_now($id{untouched}), 'made 1 3 1 pending 1',        "$when: others are left alone");
    }
    ok($listener->pg_notifies, 'the digest role is told');
    is($store->value('SELECT count(*) FROM study.digest_item'), 12, 'no message can come into another digest');
    is($store->value('SELECT count(*) FROM study.message WHERE deleted AND text <> $$$$'), 0, 'no text is left');
};

# What the digest and deliver roles are storing when the deletion comes is not yet to be seen; it
# waits for them, and then has to see it.
subtest 'a deletion that waits for a digest' => sub {
    fresh();
    my @m = map { message(text => "$SECRET $_", user => sprintf 'U1%05d', $_) } 1, 2;
    $store->event(@m);
    $store->drained;
    my $sent = digest_of(1, 'made', 'sending', $m[0]);
    my $made = digest_of(2, 'pending', undef, $m[1]);

    my $other = $store->pg->dbh;
    $other->begin_work;
    $other->do('SELECT FROM study.digest WHERE digest_id = ANY (?) FOR SHARE', undef, [ $sent, $made ]);
    $other->do("UPDATE study.outbox SET state = 'sent', sent_ts = '1700000000.000100' WHERE digest_id = ?", undef, $sent);
    $other->do(q(UPDATE study.digest SET state = 'made', result = '{"x":1}' WHERE digest_id = ?), undef, $made);
    $other->do('INSERT INTO study.outbox (identity, kind, team_id, target, digest_id, source_version, body)'
            . " VALUES (?, 'digest', 'T0STUDY', 'U100002', ?, 1, '{}')", undef, "digest:$made:1", $made);
    $store->event(map { deleted($_) } @m);
    wait_for { $store->value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") } 20, 'the deletion to wait';
    $other->commit;
    $store->drained;
    is(digest_now($sent), 'made 2 3 0 sent 0', 'the one that was sent meanwhile is blanked');
    is(digest_now($made), 'cancelled 2 0 0 cancelled 0', 'the reply that was added meanwhile is cancelled');
};

subtest 'news' => sub {
    fresh();
    $store->event(message());
    $store->drained;
    my $rename = channel_rename(name => 'reading-room');
    $store->event($rename, user_change(user => { tz => 'Europe/Berlin' }), team_rename(),
        member_joined(channel => 'C0NEW'), user_change(user => { id => 'U0NOBODY' }));
    $store->drained;
    is($store->value("SELECT name FROM study.channel WHERE channel_id = 'C0STUDY'"), 'reading-room', 'channel renamed');
    is($store->value("SELECT time_zone FROM study.member WHERE user_id = 'U000001'"), 'Europe/Berlin', 'time zone');
    is($store->value("SELECT name FROM study.team WHERE team_id = 'T0STUDY'"), 'Study Renamed', 'workspace renamed');
    is($store->value("SELECT count(*) FROM study.channel WHERE channel_id = 'C0NEW'"), 1, 'a channel we were asked into');
    is($store->value("SELECT count(*) FROM study.member WHERE user_id = 'U0NOBODY'"), 0, 'nobody is recorded by a profile');

    $store->event(channel_rename(name => 'hall'));
    $store->drained;
    $store->event($rename);     # Slack repeats it
    $store->drained;
    is($store->value("SELECT name FROM study.channel WHERE channel_id = 'C0STUDY'"), 'hall', 'a repeat is not applied again');

    my $theirs = tokens_revoked(tokens => { oauth => ['U000001'], bot => [] });
    $store->event($theirs);
    $store->drained;
    is($store->value('SELECT state FROM study.team'), 'active', 'a person\'s own token is none of ours');
    $store->event(tokens_revoked());
    $store->drained;
    is_deeply($store->rows('SELECT state, stopped_reason FROM study.team'), [ [ 'stopped', 'tokens_revoked' ] ],
        'a revoked token stops the workspace');
    $store->dbh->do("UPDATE study.team SET state = 'active', stopped_reason = NULL");
};

subtest 'triggers' => sub {
    fresh();
    $store->trigger('daily', request_id => 'one');
    $store->trigger('daily', request_id => 'one');
    $store->trigger('daily', request_id => 'two', idempotency_key => 'key');
    $store->trigger('daily', request_id => 'three', idempotency_key => 'key');
    $store->trigger('yearly');
    $store->drained;
    is_deeply(
        $store->rows('SELECT trigger_key FROM study.firing ORDER BY 1'), [ ['trigger:key'], ['trigger:one'] ],
        'each identity fires once',
    );
    is_deeply($store->rows('SELECT reason FROM study.dead_event'), [ ['unknown_schedule'] ], 'an unknown schedule is dead');
};

subtest 'malformed' => sub {
    fresh();
    my $ok = $store->element(message(text => 'good'));
    my $long = message(text => 'x' x 200_001);
    my $nul = message(text => "a\0b");
    my $bad_ts = message(ts => '17');
    my %no_user = %{ message() };
    delete $no_user{event}{user};
    my @bad = (
        [ '', 'empty_element' ],
        [ 'garbage', 'no_header' ],
        [ "garbage\n{}", 'bad_header' ],
        [ $store->element('', v => 2), 'unknown_version' ],
        [ $store->element('', kind => 'other'), 'unknown_kind' ],
        [ $store->element('', received_at => 'now'), 'bad_received_at' ],
        [ $store->element(''), 'empty_body' ],
        [ $store->element('{"type":'), 'bad_json' ],
        [ $store->element('[' x 1000), 'bad_json' ],
        [ $store->element("{\"type\":\"\xff\xfe\"}"), 'bad_utf8' ],
        [ $store->element("{\"type\":\"\xed\xa0\x80\"}"), 'bad_utf8' ],
        [ $store->element("\0"), 'bad_json' ],
        [ $store->element('{"type":"\udc00"}'), 'bad_json' ],
        [ $store->element('{}'), 'no_type' ],
        [ $store->element('{"type":"event_callback"}'), 'no_event' ],
        [ $store->element($nul), 'nul_byte' ],
        [ $store->element($long), 'too_long' ],
        [ $store->element($bad_ts), 'bad_ts' ],
        [ $store->element(\%no_user), 'bad_field' ],
        [ $store->element('x' x 1_000_000), 'bad_json' ],
        [ $store->element('[' . '0,' x 500_000 . '0]'), 'bad_json' ],
    );
    $store->push_raw('pending', $ok, map { $_->[0] } @bad);
    $store->drained;

    is($store->value('SELECT count(*) FROM study.message'), 1, 'the good one beside them is stored');
    is($store->value('SELECT count(*) FROM study.dead_event'), scalar @bad, 'the others are dead, each once');
    my $sth = $store->dbh->prepare("SELECT reason, detail FROM study.dead_event WHERE element = decode(?, 'hex')");
    for my $i (0 .. $#bad) {
        $sth->execute(unpack 'H*', $bad[$i][0]);
        my ($reason, $detail) = $sth->fetchrow_array;
        is($reason, $bad[$i][1], "$bad[$i][1]: " . ($detail // 'not there whole'));
    }

    my $big = message(text => '한' x 199_000);
    delete $big->{event}{blocks};
    $store->event($big);
    $store->drained;
    is(length message_row($big)->{text}, 199_000, 'a long text is stored whole');

    $store->push_raw('pending', map { $_->[0] } @bad);
    $store->drained;
    is($store->value('SELECT count(*) FROM study.dead_event'), scalar @bad, 'again: still each once');
};

subtest 'one row that PostgreSQL refuses' => sub {
    fresh();
    $store->dbh->do(q{ALTER TABLE study.message ADD CONSTRAINT test_poison CHECK (text NOT LIKE '%poison%')});
    my @all = map { message(text => $_ == 311 || $_ == 77 ? "poison $SECRET" : "text $_") } 1 .. 400;
    $store->event(@all);
    $store->drained;
    is($store->value('SELECT count(*) FROM study.message'), 398, 'all others are stored');
    is_deeply($store->rows('SELECT reason, detail FROM study.dead_event'),
        [ [ 'sqlstate_23514', 'PostgreSQL refused the row' ], [ 'sqlstate_23514', 'PostgreSQL refused the row' ] ],
        'it is dead with its SQLSTATE, and without its words');
    $store->dbh->do('ALTER TABLE study.message DROP CONSTRAINT test_poison');
};

subtest 'PostgreSQL away' => sub {
    fresh();
    $store->pg->stop;
    $store->event(map { message(text => "while away $_") } 1 .. 60);
    ok(wait_for(sub { slurp($store->worker->log) =~ /error store\[\d+\] PostgreSQL: / }, 30, 'it says so'), 'it says so');
    my $in_hand = 0;
    $in_hand += $store->client->llen($_) for $store->client->zrange($store->key('leases'), 0, -1);
    is($store->length_of('pending') + $in_hand, 60, 'what waits is all in Redis');
    $store->pg->restart;
    $store->drained(60);
    is($store->value('SELECT count(*) FROM study.message'), 60, 'stored when it is back');

    # Away with a batch in hand, the transaction open.
    my $lock = $store->hold_messages;
    $store->event(map { message(text => "in hand $_") } 1 .. 20);
    $store->leased;
    wait_for { $store->value("SELECT count(*) FROM pg_locks WHERE NOT granted") } 30, 'the store to wait for the lock';
    $store->pg->crash;
    eval { $lock->disconnect };
    $store->pg->restart;
    $store->drained(60);
    is($store->value("SELECT count(*) FROM study.message WHERE text LIKE 'in hand%'"), 20, 'a batch in hand is applied again');
    my @said = slurp($store->worker->log) =~ /store\[\d+\] (PostgreSQL: works again)/g;
    cmp_ok(scalar @said, '>=', 1, 'and it says that PostgreSQL is back');
};

# A standby, or a database that was made read-only: when that is over, only a new session knows.
subtest 'a session that may only read' => sub {
    fresh();
    $store->dbh->do('ALTER ROLE "study-worker" SET default_transaction_read_only = on');
    my ($pid) = map { $_->[0] } @{ $store->rows(q{SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'study-worker'}) };
    wait_for { $store->value(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'study-worker' AND state = 'idle' AND pid <> ?}, $pid) } 30, 'a new session';
    sleep 2;    # a look for a pause has gone well, which ends what it says of the other
    $store->event(map { message(text => "read-only $_") } 1 .. 10);
    ok(wait_for(sub { slurp($store->worker->log) =~ /error store\[\d+\] PostgreSQL: .*\(25006\)/ }, 30, 'it says so'), 'it says so');
    is($store->value('SELECT count(*) FROM study.dead_event'), 0, 'which is no fault of the events');
    $store->dbh->do('ALTER ROLE "study-worker" RESET default_transaction_read_only');
    $store->drained(30);
    is($store->value('SELECT count(*) FROM study.message'), 10, 'stored once it may write');
};

subtest 'the lease is renewed while PostgreSQL lets wait' => sub {
    fresh();
    my $lock = $store->hold_messages;
    $store->event(message(text => 'slow'));
    $store->leased;
    my ($batch) = $store->client->zrange($store->key('leases'), 0, -1);
    my $until = time + 7;       # more than two leases
    my $moved = 0;
    while (time < $until) {
        $moved++ if $store->length_of('suspect') || !defined $store->client->zscore($store->key('leases'), $batch);
        select undef, undef, undef, 0.1;
    }
    is($moved, 0, 'it stayed ours');
    $lock->rollback;
    $store->drained;
    is($store->value('SELECT count(*) FROM study.message'), 1, 'and was stored');
};

subtest 'Redis away' => sub {
    fresh();
    $store->redis->crash;
    ok(wait_for(sub { slurp($store->worker->log) =~ /error store\[\d+\] (?:script \w+: )?Redis unix:/ }, 30, 'it says so'), 'it says so');
    $store->redis->restart;
    $store->event(map { message(text => "after $_") } 1 .. 10);
    $store->drained(60);
    is($store->value('SELECT count(*) FROM study.message'), 10, 'it goes on when Redis is back');

    # Away between COMMIT and ack.
    my $lock = $store->hold_messages;
    $store->event(map { message(text => "unacked $_") } 1 .. 10);
    $store->leased;
    $store->redis->crash;
    $lock->rollback;
    wait_for { $store->value("SELECT count(*) FROM study.message WHERE text LIKE 'unacked%'") == 10 } 30, 'the commit';
    $store->redis->restart;
    $store->drained(60);
    is($store->value('SELECT count(*) FROM study.message'), 20, 'each row once');
    is($store->value('SELECT count(*) FROM study.dead_event'), 0, 'none is suspected of anything');
};

subtest 'a process killed with a batch in hand' => sub {
    fresh();
    my $lock = $store->hold_messages;
    $store->event(map { message(text => "killed $_") } 1 .. 30);
    $store->leased;
    my ($pid) = $store->pids;
    kill KILL => $pid;
    wait_for { my ($now) = $store->pids; $now && $now != $pid } 30, 'another process';
    $lock->rollback;
    $store->drained(60);
    is($store->value('SELECT count(*) FROM study.message'), 30, 'rows appear, each once');
    is($store->client->exists($store->key('crashes')) ? 1 : 0, 0, 'its neighbours are not blamed');
};

subtest 'an element that takes its worker down' => sub {
    fresh();
    my $killer = $store->element(message(text => 'killer'));
    my $lock = $store->hold_messages;
    $store->push_raw('pending', $killer);
    for my $times (1, 2) {
        wait_for { $store->leases && $store->value('SELECT count(*) FROM pg_locks WHERE NOT granted') } 30, 'it in hand';
        my ($pid) = $store->pids;
        kill KILL => $pid;
        wait_for { my ($now) = $store->pids; $now && $now != $pid } 30, 'another process';
        wait_for { (($store->client->hvals($store->key('crashes')))[0] // 0) == 1 } 30, 'it to be counted' if $times == 1;
    }
    wait_for { $store->value('SELECT count(*) FROM study.dead_event') } 60, 'a dead event';
    $lock->rollback;
    $store->event(message(text => 'bystander'));
    $store->drained;
    is_deeply($store->rows("SELECT reason, encode(element, 'hex') FROM study.dead_event"),
        [ [ 'crashed_worker', unpack 'H*', $killer ] ], 'goes to dead_event, unread');
    is_deeply($store->rows('SELECT text FROM study.message'), [ ['bystander'] ], 'and nothing else with it');
    is($store->client->exists($store->key('crashes')) ? 1 : 0, 0, 'its count is gone');
};

subtest 'TERM gives back, QUIT finishes' => sub {
    fresh();
    my $lock = $store->hold_messages;
    $store->event(map { message(text => "given back $_") } 1 .. 5);
    wait_for { $store->leases && $store->value('SELECT count(*) FROM pg_locks WHERE NOT granted') } 30, 'a batch in hand';
    is($store->worker->stop('TERM'), 0, 'TERM ends it in order, though PostgreSQL lets it wait');
    is($store->leases, 0, 'no lease is left');
    is($store->length_of('pending'), 5, 'the batch is back in the list');
    is($store->popped, 0, 'uncounted');
    my @texts = map { /given back (\d+)/ } $store->client->lrange($store->key('pending'), 0, -1);
    is_deeply(\@texts, [ 1 .. 5 ], 'in its order');

    $store->worker->start(wait => 0);
    wait_for { $store->leases && $store->value('SELECT count(*) FROM pg_locks WHERE NOT granted') } 30, 'it in hand again';
    $store->worker->proc->signal('QUIT');
    select undef, undef, undef, 0.5;
    ok($store->worker->proc->alive, 'QUIT waits for what is in hand');
    $lock->rollback;
    is($store->worker->proc->wait_exit(30), 0, 'then it ends');
    is($store->value('SELECT count(*) FROM study.message'), 5, 'stored');
    is($store->leases, 0, 'and acked');
    $store->worker->start(wait => 0);
};

subtest 'pause' => sub {
    fresh();
    $store->dbh->do("INSERT INTO study.pause (role, reason) VALUES ('store', 'test')");
    wait_for { slurp($store->worker->log) =~ /store\[\d+\] paused/ } 30, 'it to pause';
    $store->event(message());
    select undef, undef, undef, 1.5;
    is($store->length_of('pending'), 1, 'nothing is taken');
    $store->dbh->do('DELETE FROM study.pause');
    $store->drained;
    is($store->value('SELECT count(*) FROM study.message'), 1, 'until resumed');
};

subtest 'several processes and a backlog' => sub {
    fresh();
    $store->worker->stop;
    $store->worker->write_config({ store => { processes => 3 } });
    my @first = map { message(text => "m $_", user => sprintf 'U%06d', $_ % 50) } 1 .. 1500;
    my @rest = map { ($_ % 5 == 0 ? edited($first[$_], text => "e $_") : (), $_ % 7 == 0 ? deleted($first[$_]) : ()) } 0 .. $#first;
    my @all = (@first, @rest, @first[ 0 .. 400 ]);
    for my $i (reverse 1 .. $#all) {
        my $j = int rand($i + 1);
        @all[ $i, $j ] = @all[ $j, $i ];
    }
    $store->event(splice @all, 0, 500) while @all;
    $store->worker->start(wait => 0);
    $store->drained(120);
    is($store->value('SELECT count(*) FROM study.message'), 1500, 'each message once');
    is($store->value('SELECT count(*) FROM study.message WHERE deleted'), scalar(grep { $_ % 7 == 0 } 0 .. 1499), 'deletions');
    is($store->value(q{SELECT count(*) FROM study.message WHERE text LIKE 'e %'}),
        scalar(grep { $_ % 5 == 0 && $_ % 7 } 0 .. 1499), 'edits');
    is($store->popped, 1500 + @rest + 401, 'popped counts what was taken');
    is($store->value('SELECT count(*) FROM study.dead_event'), 0, 'none dead');
};

subtest 'metrics' => sub {
    fresh();
    $store->event(message(), bot_message(), {});
    $store->drained;
    my $metrics;
    wait_for {
        $metrics = eval { $store->worker->metrics };
        $metrics && ($metrics->{'study_worker_events_total{outcome="dead"}'} // 0) >= 1;
    } 30, 'the counters';
    cmp_ok($metrics->{"study_worker_events_total{outcome=\"$_\"}"} // 0, '>=', 1, $_) for qw(stored ignored dead);
    cmp_ok($metrics->{study_worker_event_store_seconds_count}, '>=', 1, 'time to the committed row');
    cmp_ok($metrics->{study_worker_batch_size_count}, '>=', 1, 'sizes of batches');
};

$store->stop;
my $log = slurp($store->worker->log);
unlike($log, qr/\Q$SECRET\E/, 'no word of a member in the log');
unlike($log, qr/exited with status|killed by signal (?!9)|crash(?!ed_worker)/i, 'no crash but those asked for');
like($log, qr/went to dead_event: bad_json/, 'the dead are told of');

done_testing;
