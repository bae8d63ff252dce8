package StudyTest::Store;

# The store role on its own: Redis, PostgreSQL and a worker whose other roles do not run.
# Elements are pushed by hand, as nginx would.
#
#   my $store = StudyTest::Store->start;
#   $store->event(message(text => 'hi'));      an envelope of StudyTest::Event, or raw bytes
#   $store->drained;
#   $store->rows('SELECT text FROM study.message')
#
# Options: dir; config => { of the worker }; lease => '3s'; worker => 0 leaves it stopped;
# durable; slack_url, where deliver is to run, too.

use strict;
use warnings;

use HTTP::Tiny ();
use JSON::PP ();
use Time::HiRes ();

use StudyTest::Postgres;
use StudyTest::Proc qw(scratch_dir wait_for);
use StudyTest::Redis;
use StudyTest::Worker;

my $JSON = JSON::PP->new->utf8->canonical;
my $KEY = 'study:{ingest}:';

sub start {
    my ($class, %opt) = @_;

    my $dir = $opt{dir} // scratch_dir('store');
    my $self = bless { dir => $dir, serial => 0 }, $class;
    $self->{redis} = StudyTest::Redis->start(dir => "$dir/redis");
    $self->{pg} = StudyTest::Postgres->start(dir => "$dir/postgres", durable => $opt{durable});
    my %config = %{ $opt{config} // {} };
    $config{$_}{processes} //= 0 for qw(schedule digest deliver);
    $config{store}{lease} //= $opt{lease} // '3s';
    $config{log}{level} //= 'debug';
    $self->{worker} = StudyTest::Worker->new(
        dir => "$dir/worker", redis => $self->{redis}, postgres => $self->{pg}, config => \%config,
        slack_url => $opt{slack_url} // 'http://127.0.0.1:9/', openai_url => 'http://127.0.0.1:9/',
    );
    $self->{worker}->migrate;
    $self->{worker}->start(wait => 0) if $opt{worker} // 1;
    return $self;
}

sub redis  { return $_[0]{redis} }
sub pg     { return $_[0]{pg} }
sub worker { return $_[0]{worker} }

sub client {
    my ($self) = @_;
    $self->{client} = $self->{redis}->client if !$self->{client} || !eval { $self->{client}->ping };
    return $self->{client};
}

sub dbh {
    my ($self) = @_;
    $self->{dbh} = $self->{pg}->dbh if !$self->{dbh} || !$self->{dbh}->ping;
    return $self->{dbh};
}

# One list element; HEADER goes over what nginx would write.
sub element {
    my ($self, $body, %header) = @_;

    $body = $JSON->encode($body) if ref $body;
    my %all = (
        v => 1, kind => 'event', received_at => int(Time::HiRes::time() * 1000), retry_num => 0, retry_reason => '',
        content_type => 'application/json', request_id => sprintf('r%d-%d', $$, ++$self->{serial}),
        idempotency_key => '', %header,
    );
    return $JSON->encode(\%all) . "\n" . $body;
}

sub push_raw { my ($self, $list, @elements) = @_; $self->client->rpush("$KEY$list", @elements); return }

sub event {
    my ($self, @bodies) = @_;
    $self->push_raw('pending', map { $self->element($_) } @bodies);
    return;
}

sub trigger {
    my ($self, $name, %header) = @_;
    $self->push_raw('control', $self->element("schedule=$name",
        kind => 'trigger', content_type => 'application/x-www-form-urlencoded', %header));
    return;
}

sub _form { my (%field) = @_; return HTTP::Tiny->new->www_form_urlencode(\%field) }

# A slash command; a field given as undef is left out.
sub command {
    my ($self, %in) = @_;

    my $header = delete $in{header} // {};
    my %field = (
        token => 'legacy', team_id => 'T0STUDY', team_domain => 't0study', channel_id => 'C0STUDY', channel_name => 'study',
        user_id => 'U000001', user_name => 'member1', command => '/study', text => '', api_app_id => 'A0STUDY',
        is_enterprise_install => 'false', trigger_id => sprintf('%d.%d.%06d', time, $$, ++$self->{serial}), %in,
    );
    delete $field{$_} for grep { !defined $field{$_} } keys %field;
    $self->push_raw('control', $self->element(_form(%field),
        kind => 'command', content_type => 'application/x-www-form-urlencoded', %$header));
    return;
}

# A press of a button; MORE goes over the payload.
sub press {
    my ($self, $user, $action, $value, %more) = @_;

    my %payload = (
        type => 'block_actions', team => { id => 'T0STUDY', domain => 't0study' }, api_app_id => 'A0STUDY',
        user => { id => $user, username => 'member1', team_id => 'T0STUDY' }, enterprise => undef,
        is_enterprise_install => JSON::PP::false, container => { type => 'message', channel_id => 'D000001' },
        trigger_id => sprintf('%d.%d.%06d', time, $$, ++$self->{serial}),
        actions => [ { type => 'button', action_id => $action, value => "$value", block_id => 'b1', action_ts => '1700000000.000100' } ],
        %more,
    );
    $self->push_raw('control', $self->element(_form(payload => $JSON->encode(\%payload)),
        kind => 'interaction', content_type => 'application/x-www-form-urlencoded'));
    return;
}

sub length_of { my ($self, $list) = @_; return $self->client->llen("$KEY$list") }
sub leases    { my ($self) = @_; return $self->client->zcard("${KEY}leases") }
sub popped    { my ($self) = @_; return $self->client->get("${KEY}popped") // 0 }
sub key       { return "$KEY$_[1]" }

# Until nothing is on its way.
sub drained {
    my ($self, $limit) = @_;
    return wait_for {
        !$self->length_of('pending') && !$self->length_of('control') && !$self->length_of('suspect') && !$self->leases;
    } $limit // 30, 'the lists to be empty';
}

sub leased { my ($self, $limit) = @_; return wait_for { $self->leases } $limit // 30, 'a batch to be leased' }

sub rows  { my ($self, $sql, @args) = @_; return $self->dbh->selectall_arrayref($sql, undef, @args) }
sub value { my ($self, $sql, @args) = @_; return ($self->dbh->selectrow_array($sql, undef, @args))[0] }

# Keeps the store from writing messages until the handle that is returned is rolled back.
sub hold_messages {
    my ($self) = @_;

    my $dbh = $self->{pg}->dbh;
    $dbh->begin_work;
    $dbh->do('LOCK TABLE study.message IN SHARE MODE');
    return $dbh;
}

# Process ids of the store's processes.
sub pids {
    my ($self) = @_;
    return $self->{worker}->pids('store');
}

sub stop {
    my ($self) = @_;
    $self->{worker}->stop;
    $self->{dbh}->disconnect if $self->{dbh};
    delete $self->{dbh};
    return;
}

1;
