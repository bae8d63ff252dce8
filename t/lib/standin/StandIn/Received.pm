package StandIn::Received;

# What was received: the requests themselves, in order, for a test to look at
# afterwards.  Bounded by number and by bytes, so that a benchmark may run for
# hours; what had to be forgotten is counted.

use Mojo::Base -base, -signatures;

use Mojo::JSON qw(true false);
use Mojo::Util qw(b64_encode decode);

has dropped   => 0;
has max       => 20_000;
has max_bytes => 64 * 1024 * 1024;

sub clear ($self) {
    @$self{qw(list bytes)} = ([], 0);
    $self->dropped(0);
}

sub add ($self, $req) {
    $self->{list} //= [];
    $req->{id} = ++$self->{last_id};
    push @{$self->{list}}, $req;
    $self->{bytes} += length $req->{body};
    while (@{$self->{list}} > $self->max || ($self->{bytes} > $self->max_bytes && @{$self->{list}} > 1)) {
        my $old = shift @{$self->{list}};
        $self->{bytes} -= length $old->{body};
        $self->{dropped}++;
    }
}

# Query: method, since (an id), limit (1,000), bodies=0, headers=0.
sub list ($self, $query, $api) {
    my $limit = $query->{limit} // 1000;
    my $since = $query->{since} // 0;
    my @out;
    for my $req (@{$self->{list} // []}) {
        next if $req->{id} <= $since;
        next if defined $query->{method} && $req->{method} ne $query->{method};
        push @out, _view($req, $query, $api);
        last if @out >= $limit;
    }
    return {requests => \@out, dropped => $self->{dropped} // 0};
}

sub _view ($req, $query, $api) {
    my %view = map { $_ => $req->{$_} }
        qw(id time took method http_method path query team connection nth concurrency fault outcome);
    $view{accepted} = $req->{accepted} ? true : false;
    $view{headers}  = $req->{headers} if $query->{headers} // 1;
    if ($query->{bodies} // 1) {
        my $text = decode 'UTF-8', $req->{body};
        if   (defined $text) { $view{body}        = $text }
        else                 { $view{body_base64} = b64_encode $req->{body}, '' }
        $api->prepare(my $again = {%$req});
        $view{args} = $again->{args};
    }
    return \%view;
}

1;
