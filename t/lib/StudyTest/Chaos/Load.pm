package StudyTest::Chaos::Load;

# The sending side of a chaos run: processes that play Slack. Each makes up messages of its
# own (no two senders write the same message, so each knows what is right) and sends what
# becomes of them through nginx: the message, edits, a deletion, a link that unfurls, often
# in the wrong order, and again under the same and under other event ids. What is not
# answered 200 is sent again as Slack does it, three times, and then given up.
#
# Everything goes into a journal, a line of JSON each, for StudyTest::Chaos::Model to read:
#
#   { what => 'new', key, user, thread, word, text, record, ... }   before it is first sent
#   { what => 'try', event => n, from, to, status, id }             one request and its answer
#
# Every version of a message has a word that nothing else has, so that it is known wherever
# it turns up.

use strict;
use warnings;
use utf8;

use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

use StudyTest::Event qw(deleted edited message tombstone unfurled);
use StudyTest::Slack;

my $JSON = JSON::PP->new->utf8->canonical;
my @RETRIES = ([ 0.3, 'http_timeout' ], [ 2, 'http_error' ], [ 6, 'http_error' ]);

# Whom and where: { team => { channels => [], members => [] } }.
sub places {
    my %places;
    for my $team (qw(T0CHAOSA T0CHAOSB T0CHAOSC)) {
        my $last = substr $team, -1;
        $places{$team} = {
            channels => [ map { "C0ROOM$last$_" } 1 .. 2 ],
            members => [ map { "U0MEMBER$last$_" } 1 .. 5 ],
        };
    }
    return \%places;
}

# start(index, of, url, secret, token, journal, stop => FILE, rate => events a second, seed,
# schedules => [ names to trigger ]): forks, and returns the child's process id.
sub start {
    my ($class, %opt) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $ok = eval {
        my $self = bless { %opt, heap => [], serial => 0, parent => getppid }, $class;
        $self->_run;
        1;
    };
    print STDERR "# sender $opt{index}: $@" if !$ok;
    POSIX::_exit($ok ? 0 : 1);
}

sub _run {
    my ($self) = @_;

    srand $self->{seed} * 100 + $self->{index};
    # Slack gives up after three seconds.
    $self->{slack} = StudyTest::Slack->new(
        url => $self->{url}, secret => $self->{secret}, trigger_token => $self->{token}, timeout => 3,
    );
    open $self->{out}, '>>', $self->{journal} or die "$self->{journal}: $!";
    $self->{out}->autoflush(1);

    my $trigger_at = @{ $self->{schedules} } ? time + _between(3, 6) : undef;
    my $next = time;
    while (!-e $self->{stop} && getppid == $self->{parent}) {
        my $now = time;
        if ($now >= $next) {
            $self->_message;
            # A message is about two events; after a stall none are made up for.
            $next = ($next < $now - 1 ? $now : $next) + _between(0.5, 1.5) * 2 / $self->{rate};
        }
        if (defined $trigger_at && $now >= $trigger_at) {
            $self->_trigger;
            $trigger_at = time + _between(4, 9);
        }
        sleep 0.005 if !$self->_send_due($now);
    }
    # What was planned for later comes now, in whatever order.
    my $end = time + 20;
    while (@{ $self->{heap} } && time < $end) {
        sleep 0.05 if !$self->_send_due(time + 1000);
    }
    return;
}

sub _between { my ($low, $high) = @_; return $low + rand($high - $low) }
sub _one_of { return $_[ int rand @_ ] }
sub _chance { return rand() < $_[0] }

sub _say { my ($self, %line) = @_; print { $self->{out} } $JSON->encode(\%line), "\n"; return }

# Letters only: what looks like an id or a number is kept from the model.
sub _word {
    my ($self) = @_;

    my $n = ++$self->{words} * $self->{of} + $self->{index};
    my $word = '';
    while ($n > 0) {
        $word .= chr(97 + $n % 26);
        $n = int($n / 26);
    }
    return "zq${word}qz";
}

# A ts that no other sender makes.
sub _ts {
    my ($self, $whole) = @_;

    my $us = int(time * 1e6);
    $us = $self->{last_us} + $self->{of} if defined $self->{last_us} && $us <= $self->{last_us};
    $us += ($self->{index} - $us) % $self->{of};
    $self->{last_us} = $us;
    return sprintf '%d.%06d', $us / 1_000_000, $whole ? 0 : $us % 1_000_000;
}

sub _event_id { my ($self) = @_; return sprintf 'EvCHAOS%d%08d', $self->{index}, ++$self->{ids} }

# Sends EVENT in SECONDS: its number is what the journal calls it.
sub _plan {
    my ($self, $seconds, $event, %line) = @_;

    my $number = "$self->{index}." . ++$self->{serial};
    $self->_say(what => 'event', event => $number, %line);
    $self->_queue($seconds, { number => $number, event => $event, tried => 0 });

    # The same again: under its id as Slack's own repeat, and under another.
    $self->_queue($seconds + _between(0.05, 6), { number => $number, event => $event, tried => 1, again => 1 }) if _chance(0.12);
    $self->_queue($seconds + _between(0.05, 6), {
        number => $number, tried => 0, again => 1, event => { %$event, event_id => $self->_event_id },
    }) if ref $event && _chance(0.06);
    return;
}

sub _queue {
    my ($self, $seconds, $what) = @_;

    my $heap = $self->{heap};
    $what->{at} = time + $seconds;
    my $i = @$heap;
    $i-- while $i > 0 && $heap->[ $i - 1 ]{at} > $what->{at};
    splice @$heap, $i, 0, $what;
    return;
}

# True when something was sent.
sub _send_due {
    my ($self, $now) = @_;

    my $first = $self->{heap}[0];
    return 0 if !$first || $first->{at} > $now;
    shift @{ $self->{heap} };

    my @retry = $first->{tried} ? (retry => [ $first->{tried}, ($RETRIES[ $first->{tried} - 1 ] // [ 0, 'http_error' ])->[1] ]) : ();
    my $from = time;
    my $status
        = $first->{trigger} ? $self->{slack}->trigger(%{ $first->{trigger} })->{status}
        : $self->{slack}->event($first->{event}, @retry)->{status};
    $self->_say(what => 'try', event => $first->{number}, from => $from, to => time, status => $status,
        ref $first->{event} ? (id => $first->{event}{event_id}) : ());
    my $good = $first->{trigger} ? 202 : 200;
    if ($status != $good && $first->{tried} < @RETRIES && !$first->{again}) {
        my $wait = $RETRIES[ $first->{tried}++ ][0];
        $self->_queue($wait, $first);
    }
    return 1;
}

sub _trigger {
    my ($self) = @_;

    my $number = "$self->{index}." . ++$self->{serial};
    my %trigger = (schedule => _one_of(@{ $self->{schedules} }), key => "chaos-$self->{index}-$self->{serial}");
    $self->_say(what => 'trigger', event => $number, %trigger);
    $self->_queue(0, { number => $number, trigger => \%trigger, tried => 0 });
    $self->_queue(_between(0.01, 4), { number => $number, trigger => \%trigger, tried => 0, again => 1 }) if _chance(0.3);
    return;
}

# A body that cannot be stored, and must be kept.
sub _broken {
    my ($self) = @_;

    my $word = $self->_word;
    $self->_plan(0, qq({"type":"event_callback","event_id":"$word", broken), what => 'broken', word => $word);
    return;
}

my @SAYS = (
    'read about virtual memory and page tables', 'solved three exercises on graphs', 'wrote a small parser',
    'watched a lecture on consensus', 'learned how indexes are kept', '오늘은 운영체제 책을 읽었다',
);

# A message and its whole life.
sub _message {
    my ($self) = @_;

    return $self->_broken if _chance(0.01);

    my $places = places();
    my $team = _one_of(sort keys %$places);
    my $channel = _one_of(@{ $places->{$team}{channels} });
    my $user = _one_of(@{ $places->{$team}{members} });
    my $ts = $self->_ts;
    my $record = !_chance(0.06);
    my $word = $self->_word;
    my $text = $record ? "Today $word " . _one_of(@SAYS) : 'ok';
    my $threads = $self->{threads}{"$team $channel"} //= [];
    my $thread = @$threads && _chance(0.2) ? _one_of(@$threads) : undef;
    my %line = (key => "$team $channel $ts");

    my $first = message(
        team => $team, channel => $channel, user => $user, ts => $ts, text => $text, event_id => $self->_event_id,
        defined $thread ? (thread_ts => $thread, parent_user_id => $user) : (),
    );
    push @$threads, $ts if !defined $thread;
    shift @$threads if @$threads > 20;

    my @life = ([ $first, what => 'new', user => $user, thread => $thread, word => $word, text => $text,
        record => $record ? 1 : 0 ]);
    if ($record && _chance(0.35)) {
        push @life, $self->_edit($first, %line, user => $user, thread => $thread) for 1 .. 1 + int rand 3;
    }
    push @life, [ unfurled($first, event_id => $self->_event_id), what => 'nothing' ] if _chance(0.08);
    if (_chance(0.15)) {
        my $make = _chance(0.3) ? \&tombstone : \&deleted;
        push @life, [ $make->($first, event_id => $self->_event_id), what => 'gone' ];
    }

    # Mostly in order; otherwise any order.
    my $at = 0;
    my @when = map { my $was = $at; $at += _between(0.05, 5); $was } @life;
    if (_chance(0.25)) {
        for my $i (reverse 1 .. $#when) {
            my $j = int rand($i + 1);
            @when[ $i, $j ] = @when[ $j, $i ];
        }
    }
    for my $i (0 .. $#life) {
        my ($event, @more) = @{ $life[$i] };
        $self->_plan($when[$i], $event, %line, @more);
    }
    return;
}

# An edit; some bear whole seconds only, as Slack's do, where the event's own ts has to tell.
sub _edit {
    my ($self, $first, %about) = @_;

    my $word = $self->_word;
    my $text = "Today $word " . _one_of(@SAYS) . ', and then some';
    my $event_ts = $self->_ts;
    my $edited = _chance(0.5) ? $event_ts =~ s/\..*/.000000/r : $event_ts;
    my $event = edited($first, text => $text, edited_ts => $edited, event_ts => $event_ts, event_id => $self->_event_id);
    return [ $event, what => 'edit', user => $about{user}, thread => $about{thread}, word => $word, text => $text,
        edited => $edited, edited_event => $event_ts ];
}

1;
