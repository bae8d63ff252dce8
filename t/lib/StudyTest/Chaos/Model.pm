package StudyTest::Chaos::Model;

# What must be in the database after a chaos run, reckoned from the senders' journals alone:
# an event that was answered 200 counts, one that was not may or may not.
#
#   my $model = StudyTest::Chaos::Model->read(\@journals, \@buried);
#   $model->counts                       { tries, accepted, messages, ... }
#   $model->wrong_rows(\@rows)           what is wrong with the rows of study.message
#   $model->wrong_dead(\@rows)           and with those of study.dead_event
#   $model->triggers                     { key => { schedule, from, sure } }
#   $model->message($key)                { from, sure, words, ... }: times of the first try and 200
#   $model->owner_of($word)              the key of the message that has it

# BURIED: elements that lie in dead_event because their process was killed twice while they stood
# alone. The product promises that they are kept, not that they are applied, so such an acceptance
# counts for nothing (the caller says how many there were).

use strict;
use warnings;

use JSON::PP ();
use List::Util qw(min);

use StudyTest::Proc qw(slurp);

my $JSON = JSON::PP->new->utf8;

sub read {
    my ($class, $journals, $buried) = @_;

    my $self = bless { event => {}, message => {}, trigger => {}, broken => {}, word => {}, count => {} }, $class;
    for my $journal (@$journals) {
        $self->_line($JSON->decode($_)) for grep { /\}$/ } split /\n/, slurp($journal);
    }
    for my $id (map { /"event_id":"(EvCHAOS\d+)"/ } @$buried) {
        my $event = $self->{event}{ $self->{of_id}{$id} // '' } // next;
        delete $event->{sure} if --$event->{accepted} <= 0;
    }
    $self->_gather;
    return $self;
}

sub _line {
    my ($self, $line) = @_;

    if ($line->{what} ne 'try') {
        $self->{event}{ $line->{event} } = $line;
        return;
    }
    my $event = $self->{event}{ $line->{event} } // die "a journal has a try of an event that it does not have\n";
    my $good = $line->{status} == ($event->{what} eq 'trigger' ? 202 : 200);
    my $count = $self->{count};
    $count->{tries}++;
    $count->{ $good ? 'accepted' : "answered $line->{status}" }++;
    $event->{from} = min($line->{from}, $event->{from} // $line->{from});
    $event->{sent}++;
    # Once one of its copies was accepted the event is: repeats change nothing.
    $event->{sure} = min($line->{to}, $event->{sure} // $line->{to}) if $good;
    $event->{accepted}++ if $good;
    $self->{of_id}{ $line->{id} } = $line->{event} if defined $line->{id};
    return;
}

# Events that were never sent (the run ended) count for nothing.
sub _gather {
    my ($self) = @_;

    for my $event (values %{ $self->{event} }) {
        next if !$event->{sent};
        my $what = $event->{what};
        $self->{count}{events}++;
        $self->{count}{given_up}++ if !defined $event->{sure};
        if ($what eq 'trigger') {
            my $trigger = $self->{trigger}{ $event->{key} } //= { schedule => $event->{schedule}, from => $event->{from} };
            $trigger->{sure} = $event->{sure};
        }
        elsif ($what eq 'broken') {
            $self->{broken}{ $event->{word} } = $event;
        }
        else {
            $self->_add($event);
        }
    }
    $self->{count}{messages} = keys %{ $self->{message} };
    return;
}

sub _add {
    my ($self, $event) = @_;

    my $message = $self->{message}{ $event->{key} } //= { key => $event->{key}, versions => [] };
    my $sure = defined $event->{sure};
    if ($event->{what} eq 'gone') {
        $message->{ $sure ? 'gone' : 'maybe_gone' } = 1;
        return;
    }
    return if $event->{what} eq 'nothing';

    $self->{count}{edits}++ if $event->{what} eq 'edit';
    $message->{user} //= $event->{user};
    $message->{thread} //= $event->{thread};
    $message->{from} = min($event->{from}, $message->{from} // $event->{from});
    $message->{sure} = min($event->{sure}, $message->{sure} // $event->{sure}) if $sure;
    push @{ $message->{versions} }, {
        order => join(' ', $event->{edited} // '', $event->{edited_event} // ''), text => $event->{text}, sure => $sure,
    };
    $self->{word}{ $event->{word} } = $event->{key};
    push @{ $message->{words} }, $event->{word};
    return;
}

sub counts   { return $_[0]{count} }
sub triggers { return $_[0]{trigger} }
sub message  { return $_[0]{message}{ $_[1] } }
sub owner_of { return $_[0]{word}{ $_[1] } }
# The words of messages in a text.
sub words_in { return $_[1] =~ /\b(zq[a-z]+qz)\b/g }

# The texts that a message may have; the newest that is sure and any maybe that is newer.
sub _texts {
    my ($message) = @_;

    my @sure = map { $_->{order} } grep { $_->{sure} } @{ $message->{versions} };
    my $least = (sort @sure)[-1];
    return map { $_->{text} } grep { !defined $least || $_->{order} gt $least || ($_->{order} eq $least && $_->{sure}) } @{ $message->{versions} };
}

# ROWS: { key, user_id, thread_ts, text, deleted } of study.message.
sub wrong_rows {
    my ($self, $rows) = @_;

    my (%have, @wrong);
    for my $row (@$rows) {
        push @wrong, "$row->{key} is there twice" if $have{ $row->{key} }++;
        my $message = $self->{message}{ $row->{key} };
        push @wrong, $message ? _wrong_row($message, $row) : "$row->{key} is a row too many: nobody sent it";
    }
    for my $key (sort keys %{ $self->{message} }) {
        my $message = $self->{message}{$key};
        next if $have{$key} || !(defined $message->{sure} || $message->{gone});
        push @wrong, "$key is missing: " . (defined $message->{sure} ? 'it' : 'its deletion') . ' was answered 200';
    }
    return @wrong;
}

sub _wrong_row {
    my ($message, $row) = @_;

    my $key = $row->{key};
    if ($row->{deleted}) {
        return "$key is deleted, and nobody deleted it" if !$message->{gone} && !$message->{maybe_gone};
        return "$key is deleted, and has a text" if $row->{text} ne '';
        return;
    }
    return "$key is not deleted, and its deletion was answered 200" if $message->{gone};
    return "$key has text '$row->{text}', which is not the newest that was answered 200"
        if !grep { $_ eq $row->{text} } _texts($message);
    return "$key is of $row->{user_id} instead of $message->{user}" if $row->{user_id} ne $message->{user};
    return "$key has another thread" if ($row->{thread_ts} // '') ne ($message->{thread} // '');
    return;
}

# ROWS: { reason, element }. A broken body lies there once for each time that it was accepted (each
# is an element of its own), and nothing else does but what was buried.
sub wrong_dead {
    my ($self, $rows) = @_;

    my (%have, @wrong);
    for my $row (@$rows) {
        my ($word) = $row->{element} =~ /"event_id":"(zq[a-z]+qz)", broken/;
        if (defined $word)                          { $have{$word}++ }
        elsif ($row->{reason} ne 'crashed_worker') { push @wrong, "dead_event has an element that is good: $row->{reason}" }
    }
    for my $word (sort keys %{ $self->{broken} }) {
        my ($accepted, $sent) = ($self->{broken}{$word}{accepted} // 0, $self->{broken}{$word}{sent});
        my $got = $have{$word} // 0;
        push @wrong, "a broken element ($word) lies $got times in dead_event; it was sent $sent times and accepted $accepted"
            if $got < $accepted || $got > $sent;
    }
    return @wrong;
}

1;
