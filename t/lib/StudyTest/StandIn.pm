package StudyTest::StandIn;

# Starts a stand-in for Slack or OpenAI (t/lib/standin) and talks to its control
# calls.
#
#   my $slack  = StudyTest::StandIn->slack(dir => $dir, team => ['T1:xoxb-1:UBOT1']);
#   my $openai = StudyTest::StandIn->openai(dir => $dir, delay => 1);
#   $slack->url                     'http://127.0.0.1:PORT/api/'
#   $openai->url                    'http://127.0.0.1:PORT/v1'
#   $slack->fault({kind => 'status', status => 429, retry_after => 1, count => 2});
#   $slack->received('chat.postMessage')   the requests, oldest first
#   $slack->wait_for('chat.postMessage', 3, 10)   until there are 3, at most 10 s
#   $slack->messages(user => 'U1')  what the DM with U1 holds
#   $slack->stop                    (also when the object goes)
#
# Options other than dir and name are the program's own, dashes as underscores.
# The process dies with its parent.

use strict;
use warnings;

use Carp qw(croak);
use HTTP::Tiny;
use JSON::PP ();
use Time::HiRes qw(sleep time);

use StudyTest::Proc qw(root_dir slurp);

my $JSON     = JSON::PP->new->utf8->canonical;
my %BASE     = (slack => '/api/', openai => '/v1');

sub slack  { my ($class, %opt) = @_; return $class->_start('slack',  %opt) }
sub openai { my ($class, %opt) = @_; return $class->_start('openai', %opt) }

sub _start {
    my ($class, $kind, %opt) = @_;
    my $dir  = delete $opt{dir}  // croak 'dir is needed';
    my $name = delete $opt{name} // $kind;
    my $file = "$dir/$name.port";
    $opt{listen} //= '127.0.0.1:0';

    my @command = (root_dir() . "/t/lib/standin/$kind", '--port-file', $file, '--log', "$dir/$name.log");
    for my $key (sort keys %opt) {
        my $flag = '--' . ($key =~ tr/_/-/r);
        my $value = $opt{$key};
        push @command,
              ref $value eq 'ARRAY' ? map { ($flag, $_) } @$value
            : ref $value eq 'HASH'  ? map { ($flag, "$_=$value->{$_}") } sort keys %$value
            : $key =~ /^(?:strict|no_limits)$/ ? ($value ? $flag : ())
            :                                    ($flag, $value);
    }
    unlink $file;
    my $self = bless {name => $name, kind => $kind}, $class;
    $self->{proc} = StudyTest::Proc->start(
        name => $name, cmd => \@command, log => "$dir/$name.err",
    );
    $self->{proc}->ready(sub { -s $file });
    chomp($self->{port} = slurp($file));
    $self->{origin} = "http://127.0.0.1:$self->{port}" if $self->{port} =~ /^\d+$/;
    $self->{http} = HTTP::Tiny->new(timeout => 30, agent => 'study-test', max_size => 256 * 1024 * 1024);
    return $self;
}

sub pid    { $_[0]{proc}->pid }
sub proc   { $_[0]{proc} }
sub port   { $_[0]{port} }
sub origin { $_[0]{origin} }
sub url    { $_[0]{origin} . $BASE{$_[0]{kind}} }

sub stop   { $_[0]{proc}->stop }

# One control call; data makes it a POST.
sub call {
    my ($self, $what, $data, $verb) = @_;
    my $answer = $self->{http}->request(
        $verb // (defined $data ? 'POST' : 'GET'),
        "$self->{origin}/_control/$what",
        {defined $data ? (content => $JSON->encode($data), headers => {'content-type' => 'application/json'}) : ()}
    );
    croak "control call $what: $answer->{status} $answer->{content}" if !$answer->{success};
    return $JSON->decode($answer->{content});
}

sub fault        { my $self = shift; return $self->call('faults', [@_])->{faults} }
sub faults       { return $_[0]->call('faults')->{faults} }
sub clear_faults { return $_[0]->call('faults', undef, 'DELETE') }
sub release      { return $_[0]->call('release', {})->{released} }    # the answers that a fault "hold" keeps
sub set          { my ($self, %set) = @_; return $self->call('settings', \%set) }
sub counters     { return $_[0]->call('counters') }
sub state        { return $_[0]->call('state') }

# Forgets: any of faults, received, counters, state; all of them when none is named.
sub reset { my ($self, @what) = @_; return $self->call('reset', @what ? {what => \@what} : {}) }

sub received {
    my ($self, $method, %query) = @_;
    $query{method} = $method if defined $method;
    $query{limit} //= 100_000;
    return @{$self->call('received?' . HTTP::Tiny->www_form_urlencode(\%query))->{requests}};
}

sub count {
    my ($self, $method) = @_;
    my $counters = $self->counters;
    return defined $method ? $counters->{by_method}{$method} // 0 : $counters->{requests};
}

# True once a method was called so often; false when the seconds are over.
sub wait_for {
    my ($self, $method, $count, $seconds) = @_;
    my $until = time + ($seconds // 10) * ($ENV{STUDY_PATIENCE} // 1);
    while ($self->count($method) < $count) {
        return 0 if time > $until;
        sleep 0.05;
    }
    return 1;
}

# Slack only: what it really holds.
sub seed     { my ($self, @teams) = @_; return $self->call('seed', {teams => \@teams}) }
sub say      { my ($self, %message) = @_; return $self->call('say', \%message) }
sub messages {
    my ($self, %where) = @_;
    return @{$self->call('messages?' . HTTP::Tiny->www_form_urlencode(\%where))->{messages}};
}

# Every message of the bot: {team, channel, user (of a DM), message}.
sub posted {
    my ($self, $team) = @_;
    return @{$self->call(defined $team ? "posted?team=$team" : 'posted')->{posted}};
}

1;
