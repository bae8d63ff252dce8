package StudyTest::Chaos::Watch;

# Looks at the queue's leases and at claimed rows twice a second while a chaos run goes on, in
# a process of its own that may hang with whatever is stopped, and writes down what is too old, and
# when each deletion was first seen to be committed.
#
#   my $pid = StudyTest::Chaos::Watch->start(chain => $chain, journal => FILE, stop => FILE,
#                                            lease => seconds of [store] lease);
#   my $seen = StudyTest::Chaos::Watch->read(FILE)
#       { samples, oldest => seconds, old => [ lines ], gone => { key => time } }
#
# A lease is as old as the time since it was last renewed. A claimed row's must have been taken
# over 20 s after its end at the latest, while PostgreSQL answers.

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Redis ();
use Time::HiRes qw(sleep time);

use StudyTest::Proc qw(slurp);

my $LIMIT = 20;
my $KEY = 'study:{ingest}:';
my $JSON = JSON::PP->new->utf8->canonical;

sub start {
    my ($class, %opt) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $self = bless { %opt, parent => getppid }, $class;
    my $ok = eval { $self->_run; 1 };
    print STDERR "# watch: $@" if !$ok;
    POSIX::_exit($ok ? 0 : 1);
}

sub _run {
    my ($self) = @_;

    open $self->{out}, '>>', $self->{journal} or die "$self->{journal}: $!";
    $self->{out}->autoflush(1);
    my $rows_at = 0;
    while (!-e $self->{stop} && getppid == $self->{parent}) {
        eval { $self->_leases; 1 } or delete $self->{redis};
        if (time >= $rows_at) {
            eval { $self->_rows; 1 } or delete $self->{dbh};
            $rows_at = time + 1;
        }
        sleep 0.5;
    }
    return;
}

sub _say { my ($self, %line) = @_; print { $self->{out} } $JSON->encode(\%line), "\n"; return }

sub _leases {
    my ($self) = @_;

    my $chain = $self->{chain};
    # Not the harness' client, which waits longer than a sample is worth.
    my $redis = $self->{redis} //= Redis->new(
        sock => $chain->redis->socket, username => 'admin', password => $chain->redis->password('admin'),
        cnx_timeout => 2, read_timeout => 2, write_timeout => 2,
    );
    my ($s, $us) = $redis->time;
    my %lease = $redis->zrange("${KEY}leases", 0, -1, 'WITHSCORES');
    my $now = $s + $us / 1e6;
    my $oldest = 0;
    for my $batch (keys %lease) {
        my $age = $now - $lease{$batch} / 1000 + $self->{lease};
        $oldest = $age if $age > $oldest;
        $self->_say(what => 'old', said => sprintf 'the lease of %s is %.1f s old', $batch, $age) if $age > $LIMIT;
    }
    $self->_say(what => 'sample', oldest => 0 + sprintf '%.2f', $oldest);
    return;
}

my @CLAIMED = (
    [ outbox => q{state IN ('pending', 'sending', 'doubtful')} ], [ digest => q{state = 'running'} ],
    [ firing => q{state IN ('waiting', 'collecting')} ],
);

sub _rows {
    my ($self) = @_;

    my $dbh = $self->{dbh} //= $self->{chain}->pg->dbh;
    $dbh->{PrintWarn} = 0;      # PostgreSQL's last words
    for my $claimed (@CLAIMED) {
        my ($table, $open) = @$claimed;
        my $old = $dbh->selectall_arrayref(
            "SELECT ${table}_id, round(extract(epoch FROM now() - lease_until), 1) FROM study.$table"
                . " WHERE claim_token IS NOT NULL AND $open AND lease_until < now() - interval '$LIMIT s'");
        $self->_say(what => 'old', said => "$table $_->[0] is still claimed $_->[1] s after its lease") for @$old;
    }
    my $gone = $dbh->selectcol_arrayref("SELECT team_id || ' ' || channel_id || ' ' || ts FROM study.message WHERE deleted");
    my $now = time;
    my @new = grep { !$self->{gone}{$_}++ } @$gone;
    $self->_say(what => 'gone', at => $now, keys => \@new) if @new;
    return;
}

sub read {
    my ($class, $journal) = @_;

    my %seen = (samples => 0, oldest => 0, old => [], gone => {});
    for my $line (map { $JSON->decode($_) } grep { /\}$/ } split /\n/, slurp($journal)) {
        if    ($line->{what} eq 'old')  { push @{ $seen{old} }, $line->{said} }
        elsif ($line->{what} eq 'gone') { $seen{gone}{$_} //= $line->{at} for @{ $line->{keys} } }
        else {
            $seen{samples}++;
            $seen{oldest} = $line->{oldest} if $line->{oldest} > $seen{oldest};
        }
    }
    return \%seen;
}

1;
