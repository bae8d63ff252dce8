package StandIn::Faults;

# Which request goes wrong, and how.  A fault is a JSON object:
#
#   kind         status, error, cut_before, cut_after, cut_body, stall, delay,
#                hold (answered when the control call "release" says so), drip,
#                nonsense, wrong_type, empty, or one of the stand-in's own
#   match        {method, path, team, channel, user, contains}: all must hold;
#                method may be a list; contains is looked for in the raw body
#   skip         let the first so many matches pass (0)
#   count        then go wrong so many times (for ever)
#   probability  of going wrong, each time, from a generator of the fault's own
#   seed         that generator's start (1): the same seed, the same picks
#   sequence     instead of kind: a list of faults, or "ok", one a match
#   then         after the sequence: "ok" (default), "last" or "repeat"
#   accept       whether the request takes effect all the same; true for
#                whatever only spoils the answer, false for status and error
#   hold         the answer, spoilt as kind says, waits for "release" as well
#
# Further members belong to the kind: status, headers, retry_after, error,
# seconds, bytes, interval, part, body, content_type, reset.
# The first fault that fires decides; those before it have counted the match.

use Mojo::Base -base, -signatures;

my %REFUSES = map { $_ => 1 } qw(status error cut_before);

has faults => sub { [] };

sub clear ($self) { $self->faults([]) }

sub add ($self, @faults) {
    for my $fault (@faults) {
        die "a fault is an object\n" if ref $fault ne 'HASH';
        my @steps = $fault->{sequence} ? grep {ref} @{$fault->{sequence}} : $fault;
        for (@steps) {
            die "a fault needs a kind\n" if !defined $_->{kind};
            $_->{accept} //= $REFUSES{$_->{kind}} ? 0 : 1;
        }
        push @{$self->faults}, {%$fault, seen => 0, hits => 0, state => $fault->{seed} // 1};
    }
}

sub list ($self) {
    return [map { my %f = %$_; delete $f{state}; \%f } @{$self->faults}];
}

sub pick ($self, $req) {
    for my $fault (@{$self->faults}) {
        next if $fault->{match} && !_matches($fault->{match}, $req);
        my $n = $fault->{seen}++;
        next if $n < ($fault->{skip} // 0);
        next if defined $fault->{count} && $fault->{hits} >= $fault->{count};
        next if defined $fault->{probability} && _random($fault) >= $fault->{probability};
        my $step = $fault->{sequence} ? _step($fault, $n - ($fault->{skip} // 0)) : $fault;
        next if !ref $step;
        $fault->{hits}++;
        return $step;
    }
    return undef;
}

sub _step ($fault, $n) {
    my $steps = $fault->{sequence};
    return $steps->[$n] if $n < @$steps;
    my $then = $fault->{then} // 'ok';
    return $then eq 'repeat' ? $steps->[$n % @$steps] : $then eq 'last' ? $steps->[-1] : 'ok';
}

# Knuth's 64-bit linear congruential generator.
sub _random ($fault) {
    use integer;
    my $x = $fault->{state} = $fault->{state} * 6364136223846793005 + 1442695040888963407;
    no integer;
    return (($x >> 33) & 0x7fffffff) / 0x80000000;
}

sub _matches ($match, $req) {
    for my $key (keys %$match) {
        my $want = $match->{$key};
        if ($key eq 'contains') {
            return 0 if index($req->{body}, $want) < 0;
            next;
        }
        my $have = $key =~ /^(?:method|path|team)$/ ? $req->{$key} : $req->{args}{$key};
        return 0 if !defined $have;
        return 0 if !grep { $_ eq $have } ref $want ? @$want : $want;
    }
    return 1;
}

1;
