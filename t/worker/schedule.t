#!/usr/bin/perl

# The scheduler: what becomes of missed times, who is owed a digest, waiting for the accept
# logs, triggers, and that killing schedulers neither loses nor doubles a firing.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;
use Time::HiRes qw(sleep time);

use StudyTest::Postgres ();
use StudyTest::Proc qw(scratch_dir slurp wait_for);
use StudyTest::Redis ();
use StudyTest::Worker ();

my $dir = scratch_dir('schedule');
my $redis = StudyTest::Redis->start(dir => "$dir/redis");
my $pg = StudyTest::Postgres->start(dir => "$dir/pg");
my $pending = 'study:{ingest}:pending';

sub worker {
    my ($name, %config) = @_;

    return StudyTest::Worker->new(
        dir => "$dir/$name", name => $name, redis => $redis, postgres => $pg,
        slack_url => 'http://127.0.0.1:9/api/', openai_url => 'http://127.0.0.1:9/v1',
        config => {
            store    => { processes => 0 },
            digest   => { processes => 0 },
            deliver  => { processes => 0 },
            %config,
        },
    );
}

my $worker = worker('one');
$worker->migrate;
my $db = $pg->dbh;
$db->do(q{DELETE FROM study.schedule});

sub value { return ($db->selectrow_array(shift, undef, @_))[0] }

sub schedule {
    my ($name, %set) = @_;

    my %row = (kind => 'daily', cron => '0 0 1 1 *', time_zone => 'UTC', missed => 'last', next_at => 'infinity', %set, name => $name);
    my @columns = sort keys %row;
    return value('INSERT INTO study.schedule (' . join(', ', @columns) . ') VALUES ('
        . join(', ', ('?') x @columns) . ') RETURNING schedule_id', @row{@columns});
}

# A firing as a trigger makes it; AGO is how long since it was accepted.
sub firing {
    my ($schedule, $key, $ago) = @_;

    my $id = value(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, trigger_key)
        VALUES (?, 'UTC', now() - ?::interval, ?) RETURNING firing_id}, $schedule, $ago // '0', $key);
    $db->do(q{NOTIFY study_firing});
    return $id;
}

sub state_of { return value('SELECT state FROM study.firing WHERE firing_id = ?', shift) }

sub settled {
    my ($id) = @_;
    wait_for { state_of($id) eq 'done' } 30, "firing $id to be done";
    return;
}

# A member with one message.
my $seconds = 0;

sub record {
    my ($user, %set) = @_;

    my %m = (team => 'T1', channel => 'C1', text => 'Read two chapters of the book on queues.',
        posted => '1 hour', accepted => '1 hour', digests => 1, consent => 'none', deleted => 0, files => '{}', standing => undef, thread => 0, %set);
    $db->do(q{INSERT INTO study.team (team_id) VALUES (?) ON CONFLICT DO NOTHING}, undef, $m{team});
    $db->do(q{INSERT INTO study.member (team_id, user_id, digests, consent, standing) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING},
        undef, $m{team}, $user, @m{qw(digests consent standing)});
    my $ts = sprintf '%010d.%06d', 1700000000 + $seconds++, 100;
    $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, files, deleted, thread_ts, posted_at, accepted_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, now() - ?::interval, now() - ?::interval)},
        undef, @m{qw(team channel)}, $ts, $user, @m{qw(text files deleted)}, $m{thread} ? '1600000000.000100' : undef, @m{qw(posted accepted)});
    return $ts;
}

sub owed {
    my ($firing) = @_;
    return join ' ', @{ $db->selectcol_arrayref(
        q{SELECT user_id || ':' || (SELECT count(*) FROM study.digest_item i WHERE i.digest_id = d.digest_id)
          FROM study.digest d WHERE firing_id = ? ORDER BY user_id}, undef, $firing) };
}

# --- missed times --------------------------------------------------------------------------

{
    # None of these times comes while they are watched.
    my $past = value(q{SELECT date_trunc('minute', now()) - interval '8 hours 5 minutes'});
    my $hourly = value('SELECT extract(minute FROM ?::timestamptz)', $past) . ' * * * *';
    my $later = value(q{SELECT date_trunc('hour', now()) + interval '12 hours'});
    my $hour = value(q{SELECT extract(hour FROM ?::timestamptz AT TIME ZONE 'Asia/Seoul')}, $later);
    my %id = map { $_ => schedule("missed-$_", cron => $hourly, missed => $_, next_at => $past) } qw(last all skip);
    my $minutes = schedule('minutes', cron => '* * * * *', next_at => value(q{SELECT date_trunc('minute', now()) - interval '3 days'}));
    my $new = schedule('new', cron => "0 $hour * * *", time_zone => 'Asia/Seoul', next_at => undef);
    my $paused = schedule('paused', cron => $hourly, paused => 1, next_at => $past);
    my $bad = schedule('bad', cron => '0 25 * * *', next_at => undef);
    my $lost = schedule('lost', time_zone => 'Asia/Nowhere', next_at => $past);
    my $never = schedule('never', cron => '0 0 31 2 *', next_at => undef);

    $worker->start;
    wait_for { !value(q{SELECT count(*) FROM study.schedule WHERE NOT paused AND (next_at IS NULL OR next_at <= now())}) }
        30, 'every schedule to be advanced';
    wait_for { !value(q{SELECT count(*) FROM study.firing WHERE state IN ('waiting', 'collecting')}) } 30, 'firings to be done';

    # What should have become of each, from the row's own times.
    my %rule = (
        last => q{fire_at = (SELECT max(fire_at) FROM study.firing WHERE schedule_id = f.schedule_id)},
        all  => q{fire_at >= created_at - interval '6 hours'},
        skip => q{fire_at > created_at - interval '60 seconds'},
    );
    for my $policy (sort keys %rule) {
        my ($rows, $wrong, $done) = $db->selectrow_array(
            qq{SELECT count(*), count(*) FILTER (WHERE (state = 'done') <> ($rule{$policy})), count(*) FILTER (WHERE state = 'done')
               FROM study.firing f WHERE schedule_id = ?}, undef, $id{$policy});
        cmp_ok($rows, '>=', 9, "missed = $policy: each time has a row");
        is($wrong, 0, "... with the right fate ($done of $rows fired)");
    }
    is(value(q{SELECT count(*) - 3 * 1440 FROM study.firing WHERE schedule_id = ?}, $minutes), 1 + value(
        q{SELECT floor(extract(epoch FROM max(fire_at) - min(fire_at)) / 60) - 3 * 1440 FROM study.firing WHERE schedule_id = ?}, $minutes),
        'three days of minutes: no minute without a row');
    is(value(q{SELECT count(*) FROM study.firing WHERE schedule_id = ? AND state = 'done' AND fire_at < created_at - interval '60 seconds'}, $minutes),
        0, '... and only the last fired');
    is(value('SELECT next_at FROM study.schedule WHERE schedule_id = ?', $new), $later, 'a new schedule is reckoned, in its zone');
    is(value(q{SELECT count(*) FROM study.firing WHERE schedule_id IN (?, ?, ?, ?, ?)}, $new, $paused, $bad, $lost, $never), 0,
        'new, paused, bad and impossible schedules have not fired');
    is(value(q{SELECT count(*) FROM study.schedule WHERE schedule_id IN (?, ?, ?) AND next_at = 'infinity'}, $bad, $lost, $never), 3,
        'bad ones wait to be changed');
    my $log = slurp($worker->log);
    like($log, qr/schedule bad does not fire until it is changed: cron: hour "25": 0 to 23/, 'the log says which hour');
    like($log, qr/schedule lost .* there is no time zone "Asia\/Nowhere"/, '... which zone');
    like($log, qr/schedule never .* has no time/, '... and what never comes');
    my @said = $log =~ /schedule bad /g;
    is(@said, 1, '... once');

    $db->do('UPDATE study.schedule SET paused = true');
    my %counted;
    wait_for {
        my $m = $worker->metrics;
        %counted = map { ($_ => $m->{qq(study_worker_firings_total{outcome="$_"})} // 0) } qw(fired made_up skipped);
        $counted{fired} + $counted{made_up} == value(q{SELECT count(*) FROM study.firing WHERE state = 'done'});
    } 15, 'the counters to agree with the rows';
    is($counted{skipped}, value(q{SELECT count(*) FROM study.firing WHERE state = 'skipped'}), 'skipped ones are counted');
    is($counted{made_up}, value(q{SELECT count(*) FROM study.firing WHERE state = 'done' AND fire_at <= date_trunc('second', created_at) - interval '60 seconds'}), '... and those made up');
    wait_for { $worker->metrics->{'study_worker_last_firing_timestamp_seconds{schedule="missed-last"}'} } 10, 'the last firing to be shown';
    is($worker->metrics->{'study_worker_last_firing_timestamp_seconds{schedule="missed-last"}'},
        value(q{SELECT extract(epoch FROM max(fire_at))::bigint FROM study.firing WHERE schedule_id = ?}, $id{last}), 'the last firing is shown');
    $db->do('DELETE FROM study.schedule');
}

# --- a firing, and the time after it -------------------------------------------------------

# Whichever of the two writes fails, nothing is seen of the other; and it is made up for.
for my $case ([ 'INSERT ON study.firing', 'the firing' ], [ 'UPDATE ON study.schedule', 'the next time' ]) {
    my ($event, $what) = @$case;
    my $before = () = slurp($worker->log) =~ /refused by a test/g;
    $db->do(q{CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by a test %', clock_timestamp(); END $$});
    $db->do("CREATE TRIGGER refuse BEFORE $event FOR EACH ROW EXECUTE FUNCTION public.refuse()");
    my $past = value(q{SELECT date_trunc('minute', now()) - interval '10 minutes'});
    my $id = schedule("refused-" . lc(substr $event, 0, 6), cron => '* * * * *', next_at => $past);
    $db->do('NOTIFY study_firing');
    wait_for { my @said = slurp($worker->log) =~ /refused by a test/g; @said > $before } 30, "$what to be refused";
    is(value('SELECT count(*) FROM study.firing WHERE schedule_id = ?', $id), 0, "$what fails: it has not fired");
    is(value('SELECT next_at FROM study.schedule WHERE schedule_id = ?', $id), $past, '... and is due still');
    $db->do('DROP FUNCTION public.refuse() CASCADE');
    wait_for { value('SELECT count(*) FROM study.firing WHERE schedule_id = ?', $id) } 30, 'it to fire';
    is(value('SELECT next_at > now() FROM study.schedule WHERE schedule_id = ?', $id), 1, '... until both are written');
    $db->do('DELETE FROM study.firing WHERE schedule_id = ?', undef, $id);
    $db->do('DELETE FROM study.schedule WHERE schedule_id = ?', undef, $id);
}

# --- who is owed a digest ------------------------------------------------------------------

{
    my $all = schedule('all');
    my $channel = schedule('channel', team_id => undef);
    record('U01');
    record('U01', channel => 'C2');
    record('U02', text => 'short', thread => 1);
    record('U03', text => 'https://x', thread => 1);
    record('U04', text => '', files => '{notes.pdf}', thread => 1);
    record('U05', digests => 0);
    record('U06', consent => 'no');
    record('U07', text => '', deleted => 1);
    record('U08', posted => '47 hours 50 minutes');
    record('U09', posted => '48 hours 10 minutes');
    record('U10', accepted => '-1 hour');
    record('U11', text => "\x{c624}\x{b298} \x{cc45}\x{c744} \x{c77d}\x{c5c8}\x{c5b4}\x{c694}", thread => 1);     # ten code points
    record('U12', text => "\x{c624}\x{b298} \x{cc45}\x{c744} \x{c77d}\x{c5c8}\x{c5b4}", thread => 1);
    record('U13', text => 'ok', thread => 1);
    record('U13');
    record("U15\U$_", standing => $_) for qw(bot gone external person);
    record('U16', text => "\x{c601}\x{b2e8}\x{c5b4} 50\x{ac1c}");      # short, but no reply
    record('U17', text => '<@U024BE7LH> <#C024BE7LR|algo> thank you', thread => 1);
    record('U18', text => ':tada: :+1: :white_check_mark: well done', thread => 1);
    record('U19', text => $_) for ' ', ':wave: :wave:', '<@U024BE7LH>', '<!here>';
    record('U21', text => '<@U024BE7LH> at 10:30:15 :tada:', thread => 1);    # ten without what is not theirs
    record('U14', channel => 'CPRIVATE');       # stored while the setting allowed it
    $db->do(q{INSERT INTO study.channel (team_id, channel_id, private) VALUES ('T1', 'CPRIVATE', true), ('T1', 'C2', false)});
    record('U20', team => 'T2');
    $db->do(q{UPDATE study.schedule SET scope = 'channel', team_id = 'T1', channel_id = 'C2' WHERE schedule_id = ?}, undef, $channel);
    my $weekly = schedule('weekly', kind => 'weekly', team_id => 'T1');

    my $before = time;
    my $first = firing($all, 'trigger:1');
    settled($first);
    is(owed($first), 'U01:2 U03:1 U04:1 U08:1 U11:1 U13:1 U15PERSON:1 U16:1 U20:1 U21:1', 'members with records of the last two days');
    is(value('SELECT digests FROM study.firing WHERE firing_id = ?', $first), 10, '... counted in the row');
    is(value(q{SELECT count(*) FROM study.digest WHERE firing_id = ? AND state = 'pending'
        AND deadline BETWEEN created_at + interval '29 minutes' AND created_at + interval '31 minutes'}, $first), 10, '... with a deadline');

    my $again = firing($all, 'trigger:2');
    settled($again);
    is(owed($again), '', 'a message is in one digest of a schedule');
    record('U01');
    my $third = firing($all, 'trigger:3');
    settled($third);
    is(owed($third), 'U01:1', '... a new one in the next');

    my $other = firing($channel, 'trigger:1');
    settled($other);
    is(owed($other), 'U01:1', "a channel's schedule sees that channel");
    my $week = firing($weekly, 'trigger:1');
    settled($week);
    is(owed($week), 'U01:3 U03:1 U04:1 U08:1 U09:1 U11:1 U13:1 U15PERSON:1 U16:1 U21:1', 'a weekly one eight days of its workspace');

    # More than two slices, with members who have nothing between them.
    $db->do(q{INSERT INTO study.member (team_id, user_id) SELECT 'T3', 'V' || lpad(i::text, 5, '0') FROM generate_series(1, 2500) i
        ON CONFLICT DO NOTHING}) if $db->do(q{INSERT INTO study.team (team_id) VALUES ('T3')});
    $db->do(q{INSERT INTO study.message (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
        SELECT 'T3', 'C1', (1600000000 + i * 3 + n) || '.000100', 'V' || lpad(i::text, 5, '0'), 'A record of what was studied', now() - interval '1 hour', now() - interval '1 hour'
        FROM generate_series(1, 2500) i, generate_series(0, 2) n WHERE i % 5 <> 0});
    my $many = firing($all, 'trigger:4');
    settled($many);
    is(value('SELECT count(*) FROM study.digest WHERE firing_id = ?', $many), 2000, '2500 members, of whom 2000 are owed one');
    is(value('SELECT count(*) FROM study.digest_item i JOIN study.digest d USING (digest_id) WHERE firing_id = ?', $many), 6000, '... of three messages');
    like(slurp($worker->log), qr/firing $many of all: 2000 digests/, '... and the log says so');

    # Two firings of one schedule at once: still one digest a message.
    record(sprintf('W%03d', $_), team => 'T4') for 1 .. 50;
    my @both = map { firing($all, "trigger:5$_") } 1 .. 4;
    settled($_) for @both;
    is(value('SELECT count(*) FROM study.digest WHERE firing_id = ANY(?)', \@both), 50, 'firings at one time share their members out');
}

# One workspace's members are not looked for among those of all others.
{
    $db->do(q{INSERT INTO study.team (team_id) VALUES ('T9')});
    $db->do(q{INSERT INTO study.member (team_id, user_id) SELECT 'T9', 'U' || i FROM generate_series(1, 20000) AS i});
    record('U21', team => 'T2');
    # An idle session may keep what it counted to itself for ten seconds; one that ends tells it.
    my $fetched = sub {
        $db->do(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()});
        return value(q{SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'member'});
    };
    my $before = $fetched->();
    my $id = firing(schedule('own', team_id => 'T2'), 'trigger:own');
    settled($id);
    like(owed($id), qr/\bU21:1/, "a workspace's schedule");
    cmp_ok($fetched->() - $before, '<', 5000, '... reads its members alone');
    $db->do(q{DELETE FROM study.member WHERE team_id = 'T9'});
}

# --- the accept logs -----------------------------------------------------------------------

{
    my $late = schedule('late');
    my $client = $redis->client;
    my $element = qq({"v":1,"kind":"event","received_at":1795372952123,"retry_num":0,"retry_reason":"","content_type":"application/json","request_id":"r1","idempotency_key":""}\n{);

    $client->rpush($pending, $element);
    my $waits = firing($late, 'trigger:1');
    wait_for { value('SELECT claim_token IS NOT NULL FROM study.firing WHERE firing_id = ?', $waits) } 10, 'the firing to be claimed';
    sleep 0.7;
    is(state_of($waits), 'waiting', 'a firing waits for what was accepted before it');

    $db->begin_work;    # or it may be claimed in between
    my $next = firing($late, 'trigger:2');
    $db->do(q{UPDATE study.firing SET state = 'collecting' WHERE firing_id = ?}, undef, $next);
    $db->commit;
    my $seen = eval { settled($next); 1 };
    ok($seen, 'one that waits does not delay another') or diag($@);
    is(state_of($waits), 'waiting', '... and still waits');

    # Of members' clocks the same: the clock's own firing waits, and another goes past it.
    my $hours = schedule('hours', scope => 'member', next_at => undef, paused => 1);
    $db->do(q{INSERT INTO study.schedule_clock (schedule_id, zone, time_zone) VALUES (?, '', 'UTC'), (?, 'Asia/Seoul', 'Asia/Seoul')}, undef, $hours, $hours);
    $db->do(q{INSERT INTO study.member (team_id, user_id, time_zone) VALUES ('T1', 'UHOURS', 'Asia/Seoul')});
    record('UHOURS', posted => '40 hours', accepted => '40 hours');
    my @clock = map { my ($zone, $state) = @$_; value(q{INSERT INTO study.firing (schedule_id, time_zone, fire_at, state) VALUES (?, ?, now(), ?) RETURNING firing_id}, $hours, $zone, $state) }
        [ 'UTC', 'waiting' ], [ 'Asia/Seoul', 'collecting' ];
    $db->do(q{NOTIFY study_firing});
    $seen = eval { settled($clock[1]); 1 };
    ok($seen, "a clock's firing that waits does not delay another clock's") or diag($@);
    is(owed($clock[1]), 'UHOURS:1', '... which has what its members wrote');
    is(state_of($clock[0]), 'waiting', '... and still waits');

    # What comes after the mark does not count.
    $worker->write_config({ store => { processes => 1 } });
    $worker->proc->signal('HUP');
    settled($waits);
    is($client->llen($pending), 0, 'once the element is stored, it goes on');
    is(value('SELECT overdue::int FROM study.firing WHERE firing_id = ?', $waits), 0, '... and is not overdue');
    is(value('SELECT count(*) FROM study.dead_event'), 1, '... the element being a bad one');

    # An element that is leased, its worker stopped, is not through either.
    my ($store) = $worker->pids('store');
    ok($store, 'there is a store process');
    kill STOP => $store;
    $client->rpush($pending, $element =~ s/r1/r2/r);
    my $held = firing($late, 'trigger:3');
    sleep 0.7;
    is(state_of($held), 'waiting', 'nor is one that a process holds on to');
    kill CONT => $store;
    settled($held);
    pass('... until it goes on');

    # The trigger's way: through the store, twice with one key.
    my $trigger = sub {
        my ($request, $key, $name) = @_;
        my $ms = int(time * 1000);
        $client->rpush('study:{ingest}:control', qq({"v":1,"kind":"trigger","received_at":$ms,"retry_num":0,"retry_reason":"","content_type":"application/x-www-form-urlencoded","request_id":"$request","idempotency_key":"$key"}\nschedule=$name));
    };
    $trigger->('q1', 'k1', 'late');
    $trigger->('q2', 'k1', 'late');
    $trigger->('q3', '', 'late');
    record('UHOURS');
    $trigger->('q5', 'k5', 'hours');
    $trigger->('q6', 'k5', 'hours');
    $trigger->('q4', 'k4', 'nobody');
    wait_for { $client->llen('study:{ingest}:control') == 0 && value(q{SELECT count(*) FROM study.dead_event WHERE reason = 'unknown_schedule'}) } 20, 'triggers to be stored';
    is(value(q{SELECT string_agg(trigger_key, ' ' ORDER BY trigger_key) FROM study.firing WHERE schedule_id = ? AND fire_at > now() - interval '1 hour'
        AND trigger_key !~ '^trigger:[123]$'}, $late), 'trigger:k1 trigger:q3', 'one firing a key, or a request');
    is(value(q{SELECT string_agg(trigger_key, ' ') FROM study.firing WHERE schedule_id = ? AND trigger_key IS NOT NULL}, $hours), 'trigger:k5', "... of a schedule by members' clocks too");
    my $by_hand = value(q{SELECT firing_id FROM study.firing WHERE schedule_id = ? AND trigger_key IS NOT NULL}, $hours);
    settled($by_hand);
    like(owed($by_hand), qr/\bUHOURS:1\b/, '... and it tells what was written up to now, once');
    is(value(q{SELECT count(*) FROM study.digest WHERE schedule_id = ? AND user_id = 'UHOURS'}, $hours), 2, '... nobody gets it twice');
    is(value(q{SELECT count(*) FROM study.dead_event WHERE reason = 'unknown_schedule'}), 1, 'an unknown schedule is kept as dead');
    wait_for { !value(q{SELECT count(*) FROM study.firing WHERE state <> 'done' AND schedule_id = ?}, $late) } 20, 'the triggers to be done';
    $worker->stop;
    is($worker->proc->status, 0, 'the worker stopped in order');

    # A server that cannot be asked.
    my $gone = worker('gone', schedule => { max_wait => '2s' }, redis => { servers => $redis->address . " unix:$dir/nobody.sock" });
    $gone->start;
    my $from = time;
    my $overdue = firing($late, 'trigger:9');
    settled($overdue);
    cmp_ok(time - $from, '>=', 1.9, 'an unreachable server waits out max_wait');
    is(value('SELECT overdue::int FROM study.firing WHERE firing_id = ?', $overdue), 1, '... which the row says');
    like(slurp($gone->log), qr/schedule\[\d+\] firing $overdue of late goes on after/, '... and the log');
    is($gone->metrics->{'study_worker_firings_total{outcome="max_wait"}'}, 1, '... and the counter');
    wait_for { $gone->metrics->{'study_worker_firings_total{outcome="triggered"}'} } 10, 'the trigger to be counted';
    my @said = slurp($gone->log) =~ /schedule\[\d+\] (?:script \w+: )?Redis unix:\S+nobody.sock: .*; trying again/g;
    is(@said, 1, 'that it is away is said once');
    $gone->stop;
}

# --- a firing that is another's by now ------------------------------------------------------

# As another claims it once its lease has ended. It is renewed every five seconds, by the token: what
# follows comes right after that, so that this is not what finds out.
{
    my $theirs = schedule('theirs');
    my $other = $pg->dbh;
    my $row = sub { return value('SELECT f::text FROM study.firing f WHERE firing_id = ?', shift) };
    my $taken = sub {
        my ($id) = @_;
        wait_for { value('SELECT claim_token IS NOT NULL FROM study.firing WHERE firing_id = ?', $id) } 10, "firing $id to be claimed";
        $other->begin_work;
        $other->do(q{UPDATE study.firing SET claim_token = gen_random_uuid(), lease_until = now() + interval '1 hour' WHERE firing_id = ?}, undef, $id);
        return $other->selectrow_array('SELECT f::text FROM study.firing f WHERE firing_id = ?', undef, $id);
    };
    record('UTHEIRS');

    my $loser = worker('loser', schedule => { max_wait => '10m' }, redis => { servers => $redis->address . " unix:$dir/nobody.sock" });
    $loser->start;
    my $waits = firing($theirs, 'trigger:w');
    my $before = $taken->($waits);
    $other->commit;
    wait_for { slurp($loser->log) =~ /firing $waits of theirs is no longer ours/ } 20, 'the scheduler to let go of what waits';
    is($row->($waits), $before, "another's lease is not renewed");

    $db->do('SELECT pg_advisory_lock(hashtextextended(?, ?))', undef, 'study.collect', $theirs);
    $db->begin_work;
    my $collects = firing($theirs, 'trigger:c');
    $db->do(q{UPDATE study.firing SET state = 'collecting' WHERE firing_id = ?}, undef, $collects);
    $db->commit;
    $before = $taken->($collects);
    $db->do('SELECT pg_advisory_unlock(hashtextextended(?, ?))', undef, 'study.collect', $theirs);
    wait_for { value(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'study-worker schedule' AND wait_event_type = 'Lock'}) } 20, 'the scheduler to wait for the row';
    my $stays = firing($theirs, 'trigger:s');
    $other->commit;
    wait_for { slurp($loser->log) =~ /firing $collects of theirs is no longer ours/ } 20, 'the scheduler to let go of what it collects';
    is($row->($collects), $before, "what is another's is not collected");
    is(owed($collects), '', '... by two');

    $before = $taken->($stays);
    $other->commit;
    $loser->stop;
    is($row->($stays), $before, '... nor given back at a stop');
    $other->disconnect;
}

# --- schedulers that are killed ------------------------------------------------------------

{
    $db->do('DELETE FROM study.schedule');
    $db->do('DELETE FROM study.message');
    $db->do('DELETE FROM study.member');
    record(sprintf('X%04d', $_), team => sprintf 'T%d', $_ % 3) for 1 .. 300;

    my @workers = map { worker("killed$_", schedule => { processes => 2 }) } 1 .. 2;
    $_->start for @workers;

    my (@ids, $kills);
    my $seed = $ENV{STUDY_SEED} // time ^ $$;
    diag("seed $seed") if $ENV{STUDY_SEED};
    srand $seed;
    my $end = time + 8;
    while (time < $end) {
        push @ids, schedule(sprintf('s%03d', scalar @ids), cron => '* * * * *', missed => 'all',
            next_at => value(q{SELECT date_trunc('minute', now()) - interval '20 minutes'})) if @ids < 60;
        my $worker = $workers[ rand @workers ];
        if (rand() < 0.05) {
            $worker->proc->stop('KILL');
            $worker->start(wait => 0);
            $kills++;
        }
        my @schedulers = $worker->pids('schedule');
        if (@schedulers && rand() < 0.5) {
            kill KILL => $schedulers[ rand @schedulers ];
            $kills++;
        }
        sleep 0.05 + rand 0.1;
    }
    cmp_ok($kills, '>', 10, "$kills were killed (seed $seed)");
    # in one look: between two, what was due becomes what waits
    wait_for { value(q{SELECT NOT EXISTS (SELECT FROM study.firing WHERE state IN ('waiting', 'collecting'))
        AND NOT EXISTS (SELECT FROM study.schedule WHERE next_at <= now())}) } 60, 'everything to settle';
    $_->stop for @workers;

    is(value(q{SELECT count(*) FROM (SELECT fire_at - lag(fire_at) OVER (PARTITION BY schedule_id ORDER BY fire_at) AS gap FROM study.firing) g
        WHERE gap <> interval '1 minute'}), 0, 'one firing a minute, none missing and none twice');
    is(value(q{SELECT count(DISTINCT schedule_id) FROM study.firing WHERE state = 'done'}), scalar @ids, '... of each schedule');
    is(value(q{SELECT count(*) FROM study.firing WHERE state <> 'done'}), 0, '... all of them collected');
    is(value('SELECT count(*) FROM study.digest'), 300 * @ids, 'each member has one digest of each schedule');
    is(value('SELECT count(*) FROM study.digest_item'), 300 * @ids, '... of the one message');
    is(value('SELECT count(*) FROM study.digest d WHERE NOT EXISTS (SELECT FROM study.digest_item i WHERE i.digest_id = d.digest_id)'), 0,
        '... and no digest is empty');
    is(value('SELECT count(*) FROM study.firing f WHERE digests <> (SELECT count(*) FROM study.digest d WHERE d.firing_id = f.firing_id)'), 0,
        "the rows' own counts agree");
}

$db->disconnect;
done_testing;
