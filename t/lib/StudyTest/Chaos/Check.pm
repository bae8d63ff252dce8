package StudyTest::Chaos::Check;

# After a chaos run has settled: firings and digests in the database against what the senders'
# journals say is owed, and the messages that the Slack stand-in really holds against the digests.
#
#   my $check = StudyTest::Chaos::Check->new(chain => $chain, model => $model, hand => $hand,
#       deleted => { key => when it was seen to be committed }, schedules => { name => {
#       team, channel, next => first time of the clock, every => seconds } }, end => time);
#   $check->firings, ->digests, ->deliveries, ->words: what is wrong, a line each
#   $check->counts
#
# A message is due once it was answered 200: the first firing to be collected with a later time must
# have it, unless that one says itself that it did not wait any longer (overdue).

use strict;
use warnings;

use JSON::PP ();
use List::Util qw(first);

my $GRACE = 2;                  # seconds between a deletion's commit and a request under way
my $LEASE = 10;                 # of a reply

sub new { my ($class, %opt) = @_; my $self = bless { %opt, count => {} }, $class; $self->_load; return $self }
sub counts { return $_[0]{count} }

sub _all {
    my ($self, $sql, @args) = @_;
    return @{ $self->{chain}->dbh->selectall_arrayref($sql, { Slice => {} }, @args) };
}

sub _load {
    my ($self) = @_;

    $self->{message} = { map { ($_->{key} => $_) } $self->_all(
        "SELECT team_id || ' ' || channel_id || ' ' || ts AS key, team_id, channel_id, user_id, thread_ts, text, deleted,"
            . ' extract(epoch FROM accepted_at) AS accepted FROM study.message') };
    $self->{firing} = { map { ($_->{firing_id} => $_) } $self->_all(
        'SELECT f.firing_id, s.name AS schedule, f.state, f.trigger_key, f.time_zone, f.overdue,'
            . ' extract(epoch FROM f.fire_at) AS at, extract(epoch FROM f.done_at) AS done'
            . ' FROM study.firing f JOIN study.schedule s USING (schedule_id)') };
    $self->{digest} = { map { ($_->{digest_id} => $_) } $self->_all(
        'SELECT digest_id, firing_id, team_id, user_id, state, origin FROM study.digest') };
    push @{ $self->{digest}{ $_->{digest_id} }{keys} }, $_->{key}
        for $self->_all("SELECT digest_id, team_id || ' ' || channel_id || ' ' || ts AS key FROM study.digest_item");
    $self->{outbox} = { map { ($_->{outbox_id} => $_) } $self->_all(
        'SELECT outbox_id, identity, kind, team_id, target, digest_id, state, attempts, error FROM study.outbox') };
    for my $posted ($self->{chain}->slack->posted) {
        my $id = $posted->{message}{metadata}{event_payload}{outbox_id};
        if (defined $id && $self->{outbox}{$id}) { push @{ $self->{outbox}{$id}{posted} }, $posted }
        else                                     { push @{ $self->{stray} }, $posted }
    }
    $self->{count} = {
        firings => scalar keys %{ $self->{firing} }, digests => scalar keys %{ $self->{digest} },
        overdue => scalar(grep { $_->{overdue} } values %{ $self->{firing} }),
        factual => scalar(grep { ($_->{origin} // '') eq 'factual' } values %{ $self->{digest} }),
        cancelled => scalar(grep { $_->{state} eq 'cancelled' } values %{ $self->{digest} }),
        posted => scalar(map { @{ $_->{posted} // [] } } values %{ $self->{outbox} }), excused => 0,
    };
    return;
}

# --- firings --------------------------------------------------------------------------

# Each time of each clock once, each trigger that was taken once, nothing else.
sub firings {
    my ($self) = @_;

    my (@wrong, %clock, %trigger);
    for my $firing (values %{ $self->{firing} }) {
        if (defined $firing->{trigger_key}) { $trigger{ $firing->{trigger_key} }++ }
        else                                { $clock{"$firing->{schedule} $firing->{at}"}++ }
        push @wrong, "firing $firing->{firing_id} of $firing->{schedule} is $firing->{state}" if $firing->{state} ne 'done';
    }
    for my $name (sort keys %{ $self->{schedules} }) {
        my $schedule = $self->{schedules}{$name};
        next if !$schedule->{every};
        # The last seconds may still be on their way.
        for (my $at = $schedule->{next}; $at < $self->{end} - 3; $at += $schedule->{every}) {
            my ($key) = grep { my ($n, $t) = split; $n eq $name && $t == $at } keys %clock;
            push @wrong, "$name did not fire at $at" if !defined $key;
            push @wrong, "$name fired $clock{$key} times at $at" if defined $key && $clock{$key} != 1;
            delete $clock{$key} if defined $key;
        }
        delete @clock{ grep { my ($n, $t) = split; $n eq $name && $t >= $self->{end} - 3 } keys %clock };
    }
    push @wrong, map { "a firing that is not of the clock: $_" } sort keys %clock;

    my $sent = $self->{model}->triggers;
    for my $key (sort keys %$sent) {
        my @have = grep { /\Q$key\E$/ } keys %trigger;
        my $n = 0;
        $n += $trigger{$_} for @have;
        delete @trigger{@have};
        push @wrong, "trigger $key was answered 202 and did not fire" if defined $sent->{$key}{sure} && $n == 0;
        push @wrong, "trigger $key fired $n times" if $n > 1;
    }
    push @wrong, map { "a firing that nobody triggered: $_" } sort keys %trigger;
    return @wrong;
}

# --- digests --------------------------------------------------------------------------

sub _covers {
    my ($schedule, $message) = @_;
    return 0 if defined $schedule->{team} && $schedule->{team} ne $message->{team_id};
    return 0 if defined $schedule->{channel} && $schedule->{channel} ne $message->{channel_id};
    return 1;
}

# Each record in one digest of each schedule that covers it, in the firing that owes it; one digest
# for each firing and member.
sub digests {
    my ($self) = @_;

    my (@wrong, %of, %in);
    for my $digest (values %{ $self->{digest} }) {
        my $firing = $self->{firing}{ $digest->{firing_id} };
        my $who = "$digest->{firing_id} $digest->{team_id} $digest->{user_id}";
        push @wrong, "firing and member ($who) have a second digest" if $of{$who}++;
        push @wrong, "digest $digest->{digest_id} has no message" if !@{ $digest->{keys} // [] };
        for my $key (@{ $digest->{keys} // [] }) {
            my $message = $self->{message}{$key};
            push @{ $in{ $firing->{schedule} }{$key} }, $digest;
            if (!$message) {
                push @wrong, "digest $digest->{digest_id} is made from $key, which is not there";
            }
            elsif (($message->{user_id} // $digest->{user_id}) ne $digest->{user_id} || $message->{team_id} ne $digest->{team_id}) {
                push @wrong, "digest $digest->{digest_id} of $digest->{user_id} is made from $message->{user_id}'s $key";
            }
        }
    }
    for my $name (sort keys %{ $self->{schedules} }) {
        my @firings = sort { $a->{done} <=> $b->{done} } grep { $_->{schedule} eq $name && defined $_->{done} } values %{ $self->{firing} };
        for my $message (grep { _covers($self->{schedules}{$name}, $_) } values %{ $self->{message} }) {
            push @wrong, $self->_wrong_digest($name, $message, \@firings, @{ $in{$name}{ $message->{key} } // [] });
        }
    }
    return @wrong;
}

sub _wrong_digest {
    my ($self, $name, $message, $firings, @digests) = @_;

    my $key = $message->{key};
    return "$key is in " . @digests . " digests of $name" if @digests > 1;
    my $sent = $self->{model}->message($key) // return;
    my $record = length $message->{text} >= (defined $message->{thread_ts} ? 10 : 1);
    return "$key is in a digest, and no record" if @digests && !$message->{deleted} && !$record;
    return if !@digests && ($message->{deleted} || !$record);
    return "$key is in no digest of $name" if !@digests;

    my $its = $self->{firing}{ $digests[0]{firing_id} };
    return "$key is in the digest of a firing before it was sent" if $its->{at} <= $sent->{from};
    # An answer may have come late, so what counts against a firing is the answer's time.
    return if !defined $sent->{sure};
    my $owing = first { $_->{at} > $sent->{sure} && !$_->{overdue} } @$firings;
    return sprintf '%s, answered 200 at %.3f, was passed over by firing %s (at %.3f, done %.3f) and is in %s (at %.3f, done %.3f)',
        $key, $sent->{sure}, @$owing{qw(firing_id at done)}, @$its{qw(firing_id at done)}
        if $owing && $its->{done} > $owing->{done};
    return;
}

# --- what Slack holds -----------------------------------------------------------------

# Every digest that still has a message reached its member, once; every notice too.
sub deliveries {
    my ($self) = @_;

    my (@wrong, %replies);
    for my $row (values %{ $self->{outbox} }) {
        push @{ $replies{ $row->{digest_id} } }, $row if defined $row->{digest_id};
        my $n = @{ $row->{posted} // [] };
        push @wrong, "reply $row->{outbox_id} ($row->{identity}) is $row->{state}: " . ($row->{error} // '')
            if $row->{state} !~ /^(?:sent|cancelled)$/;
        push @wrong, "reply $row->{outbox_id} ($row->{identity}) is said to be sent, and is not in Slack" if $row->{state} eq 'sent' && !$n;
        push @wrong, "reply $row->{outbox_id} ($row->{identity}) is cancelled, and in Slack"
            if $row->{state} eq 'cancelled' && $n && !$self->_unseen($row->{posted}[0]);
        push @wrong, "reply $row->{outbox_id} for $row->{target} went to $_->{user}"
            for grep { ($_->{user} // '') ne $row->{target} } @{ $row->{posted} // [] };
        push @wrong, $self->_double("notice $row->{identity}", @{ $row->{posted} }) if $n > 1 && !defined $row->{digest_id};
    }
    for my $digest (sort { $a->{digest_id} <=> $b->{digest_id} } values %{ $self->{digest} }) {
        my @posted = map { @{ $_->{posted} // [] } } @{ $replies{ $digest->{digest_id} } // [] };
        my @live = grep { $self->{message}{$_} && !$self->{message}{$_}{deleted} } @{ $digest->{keys} // [] };
        my $name = "digest $digest->{digest_id} of $digest->{user_id}";
        push @wrong, "$name is not delivered ($digest->{state})" if @live && !@posted;
        push @wrong, "$name is $digest->{state}" if $digest->{state} !~ /^(?:made|cancelled)$/;
        push @wrong, $self->_double($name, @posted) if @posted > 1;
    }
    push @wrong, map { "Slack has a message that is no reply of ours: " . substr($_->{message}{text} // '', 0, 60) } @{ $self->{stray} // [] };
    return @wrong;
}

# The histories that were read, by channel: [ time, ... ].
sub _lookups {
    my ($self) = @_;

    return $self->{lookups} //= do {
        my %at;
        push @{ $at{ $_->{args}{channel} } }, $_->{time} for $self->{chain}->slack->received('conversations.history');
        \%at;
    };
}

# Whether the channel's history could not have shown a message when it was looked up: its request lay
# in a stopped process (the worker's, or Slack's own) meanwhile, and came out as that one was woken.
sub _unseen {
    my ($self, $posted) = @_;

    my $landed = $posted->{message}{ts};
    for my $stop (map { $self->{hand}->stops($_) } qw(deliver slack)) {
        my ($from, $to) = @$stop;
        next if $landed < $to - 0.5 || $landed > $to + 3;
        next if !grep { $_ >= $from && $_ <= $landed } @{ $self->_lookups->{ $posted->{channel} } // [] };
        $self->{count}{excused}++;
        return 1;
    }
    return 0;
}

sub _double {
    my ($self, $name, @posted) = @_;

    my ($first, @more) = sort { $a->{message}{ts} <=> $b->{message}{ts} } @posted;
    return if $self->_unseen($first);
    return sprintf '%s is in Slack %d times: %s', $name, scalar @posted, join ' ', map { $_->{message}{ts} } $first, @more;
}

# --- words ----------------------------------------------------------------------------

sub _text_of { my ($message) = @_; return JSON::PP->new->encode([ @$message{qw(text blocks)} ]) }

# Nobody's words reach another member, none reach Slack after their message's deletion, and none of
# a deleted message are left in the database.
sub words {
    my ($self) = @_;

    my $model = $self->{model};
    my @wrong;
    for my $row (values %{ $self->{outbox} }) {
        for my $posted (@{ $row->{posted} // [] }) {
            for my $word ($model->words_in(_text_of($posted->{message}))) {
                $self->{count}{words}++;
                my $key = $model->owner_of($word) // next;
                my $message = $model->message($key);
                push @wrong, "reply $row->{outbox_id} tells $posted->{user} what $message->{user} wrote ($word)"
                    if $message->{user} ne $posted->{user};
                my $gone = $self->{deleted}{$key} // next;
                my $landed = $posted->{message}{ts};
                push @wrong, sprintf 'reply %s has %s of %s, deleted %.1f s before it was posted', $row->{outbox_id}, $word, $key, $landed - $gone
                    if $landed > $gone + $GRACE && !$self->_frozen($gone, $landed);
            }
        }
    }
    my @texts = map { $_->{text} } $self->_all(
        'SELECT body::text AS text FROM study.outbox WHERE body IS NOT NULL UNION ALL SELECT result::text FROM study.digest'
            . ' WHERE result IS NOT NULL');
    for my $word (map { $model->words_in($_) } @texts) {
        my $key = $model->owner_of($word) // next;
        push @wrong, "$word of $key is still in the database, and deleted" if $self->{message}{$key}{deleted};
    }
    return @wrong;
}

# A request that had been allowed before the deletion may lie in a process that is stopped, as long
# as its lease lasts.
sub _frozen {
    my ($self, $gone, $landed) = @_;

    return 0 if $landed > $gone + $GRACE + $LEASE;
    return scalar grep { $_->[0] <= $gone + $GRACE && $_->[1] >= $landed - $GRACE } map { $self->{hand}->stops($_) } qw(deliver slack);
}

1;
