package StudyTest::Outgoing;

# The outgoing half on its own: PostgreSQL, stand-ins for Slack and the model, and a worker
# whose store and schedule roles do not run. Digests, and replies in the outbox, are put
# there by hand, as those roles would.
#
#   my $out = StudyTest::Outgoing->start(config => {...}, digest => 1, deliver => 1);
#   $out->member('U1', noticed => 1, language => 'en');    profile => 1: Slack is asked about them
#   my $id = $out->digest(user => 'U1', texts => ['read chapter 3', ...]);
#   my $reply = $out->reply(target => 'U1', text => 'hello');
#   $out->wait_row('digest', $id, 'made')     until a row is in the state, 20 s at most
#   my $second = $out->second(deliver => 1)   as another machine's worker, until it goes out of scope
#
# Options: dir; digest, deliver => how many processes (1); slack, openai => options of the
# stand-ins; openai_url; config; durable; worker => 0 leaves it stopped.

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();
use Time::HiRes ();

use StudyTest::Postgres;
use StudyTest::Proc qw(scratch_dir);
use StudyTest::StandIn;
use StudyTest::Worker;

my $TEAM = 'T0STUDY';

{
    package StudyTest::Outgoing::NoRedis;

    sub new      { return bless {}, shift }
    sub address  { return '127.0.0.1:9' }
    sub password { return 'unused' }
}

sub start {
    my ($class, %opt) = @_;

    my $dir = $opt{dir} // scratch_dir('outgoing');
    my $self = bless { dir => $dir, serial => 0 }, $class;
    $self->{pg} = StudyTest::Postgres->start(dir => "$dir/postgres", durable => $opt{durable});
    $self->{slack} = StudyTest::StandIn->slack(dir => $dir, %{ $opt{slack} // {} });
    $self->{openai} = StudyTest::StandIn->openai(dir => $dir, %{ $opt{openai} // {} });

    my %config = %{ $opt{config} // {} };
    $config{$_}{processes} //= 0 for qw(store schedule);
    $config{$_}{processes} //= $opt{$_} // 1 for qw(digest deliver);
    $config{slack}{timeout} //= '3s';
    $config{openai}{timeout} //= '5s';
    $config{deliver}{lease} //= '10s';
    $config{deliver}{settle_after} //= '1s';
    $config{log}{level} //= 'debug';
    $self->{worker} = StudyTest::Worker->new(
        dir => "$dir/worker", redis => StudyTest::Outgoing::NoRedis->new, postgres => $self->{pg}, config => \%config,
        slack_url => $self->{slack}->url, openai_url => $opt{openai_url} // $self->{openai}->url,
        $opt{tokens} ? (tokens => $opt{tokens}) : (),
    );
    $self->{worker}->migrate;
    $self->team($TEAM);
    $self->{worker}->start(wait => 0) if $opt{worker} // 1;
    return $self;
}

# Of the second worker's roles only the named ones run; config => { section => { key => value } } besides.
sub second {
    my ($self, %opt) = @_;

    my %config = map { my $given = $_; $given => { %{ $self->{worker}{config}{$given} } } } keys %{ $self->{worker}{config} };
    $config{$_}{processes} = $opt{$_} // 0 for qw(digest deliver);
    for my $section (keys %{ $opt{config} // {} }) {
        $config{$section} = { %{ $config{$section} // {} }, %{ $opt{config}{$section} } };
    }
    return StudyTest::Worker->new(
        dir => "$self->{dir}/second-" . ++$self->{serial}, redis => StudyTest::Outgoing::NoRedis->new, postgres => $self->{pg},
        config => \%config, slack_url => $self->{slack}->url, openai_url => $self->{openai}->url,
    )->start(wait => 0);
}

sub pg     { return $_[0]{pg} }
sub slack  { return $_[0]{slack} }
sub openai { return $_[0]{openai} }
sub worker { return $_[0]{worker} }
sub log    { return StudyTest::Proc::slurp($_[0]{worker}->log) }

sub dbh {
    my ($self) = @_;

    $self->{dbh} = $self->{pg}->dbh if !$self->{dbh} || !eval { $self->{dbh}->ping };
    return $self->{dbh};
}

sub value {
    my ($self, $sql, @args) = @_;
    my ($value) = $self->dbh->selectrow_array($sql, undef, @args);
    return $value;
}

# The processes of one role.
sub pids { my ($self, $role) = @_; return $self->{worker}->pids($role) }

sub team {
    my ($self, $team, %row) = @_;

    $self->dbh->do('INSERT INTO study.team (team_id, url) VALUES (?, ?) ON CONFLICT DO NOTHING', undef, $team, $row{url});
    $self->dbh->do('INSERT INTO study.channel (team_id, channel_id) VALUES (?, ?) ON CONFLICT DO NOTHING', undef, $team, 'C0STUDY');
    return;
}

sub member {
    my ($self, $user, %row) = @_;

    $self->dbh->do(
        'INSERT INTO study.member (team_id, user_id, language, time_zone, noticed_at, consent, profile_due) VALUES (?, ?, ?, ?,'
            . ' CASE WHEN ? THEN now() END, ?, ?) ON CONFLICT DO NOTHING',
        undef, $row{team} // $TEAM, $user, $row{language}, $row{time_zone} // 'Asia/Seoul', ($row{noticed} // 1) ? 1 : 0,
        $row{consent} // 'none', $row{profile} ? '-infinity' : 'infinity',
    );
    return;
}

# A digest of a member's messages, as a firing leaves it: one by hand, or scheduled => 1. Each text may be [ text, more columns ].
sub digest {
    my ($self, %opt) = @_;

    my $dbh = $self->dbh;
    my $team = $opt{team} // $TEAM;
    my $user = $opt{user} // croak 'user?';
    $self->member($user, team => $team, %{ $opt{member} // {} });
    $dbh->begin_work;
    my ($schedule) = $dbh->selectrow_array('SELECT schedule_id FROM study.schedule WHERE name = ?', undef, $opt{schedule} // 'daily');
    my ($firing) = $dbh->selectrow_array(
        "INSERT INTO study.firing (schedule_id, time_zone, fire_at, state, trigger_key) VALUES (?, 'Asia/Seoul', now(), 'done', ?)"
            . ' RETURNING firing_id', undef, $schedule, $opt{scheduled} ? undef : "trigger:$$-" . ++$self->{serial},
    );
    my ($id) = $dbh->selectrow_array(
        "INSERT INTO study.digest (firing_id, schedule_id, team_id, user_id, deadline) VALUES (?, ?, ?, ?, now() + ?::interval)"
            . ' RETURNING digest_id', undef, $firing, $schedule, $team, $user, $opt{deadline} // '30 min',
    );
    for my $text (@{ $opt{texts} // ['read chapter 3 of the networking book'] }) {
        my ($said, %more) = ref $text ? @$text : $text;
        my $ts = sprintf '%d.%06d', time - 3600 + $self->{serial}, ++$self->{serial};
        $dbh->do(
            'INSERT INTO study.message (team_id, channel_id, ts, thread_ts, user_id, text, files, posted_at, accepted_at)'
                . ' VALUES (?, ?, ?, ?, ?, ?, ?, to_timestamp(?::float8), now())',
            undef, $team, $more{channel} // 'C0STUDY', $ts, $more{thread_ts}, $user, $said, $more{files} // [], $ts,
        );
        $dbh->do('INSERT INTO study.digest_item (schedule_id, team_id, channel_id, ts, digest_id) VALUES (?, ?, ?, ?, ?)',
            undef, $schedule, $team, $more{channel} // 'C0STUDY', $ts, $id);
    }
    $dbh->do('NOTIFY study_digest');
    $dbh->commit;
    return $id;
}

# A reply in the outbox: a notice, or of a digest (digest => [ id, source_version ]), or of another
# kind; hold => 1: for the member's morning.
sub reply {
    my ($self, %opt) = @_;

    my $dbh = $self->dbh;
    my $team = $opt{team} // $TEAM;
    my $target = $opt{target} // croak 'target?';
    my $text = $opt{text} // 'hello';
    my $body = JSON::PP->new->encode(
        $opt{body} // { text => $text, blocks => [ { type => 'section', text => { type => 'mrkdwn', text => $text } } ] });
    $self->member($target, team => $team) if $target =~ /^[UW]/;
    $dbh->begin_work;
    my ($digest, $version) = @{ $opt{digest} // [] };
    my ($id) = $dbh->selectrow_array(
        'INSERT INTO study.outbox (identity, kind, team_id, target, thread_ts, digest_id, source_version, body, hold)'
            . ' VALUES (?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?) RETURNING outbox_id',
        undef, 'test:' . ++$self->{serial}, $opt{kind} // ($digest ? 'digest' : 'notice'), $team, $target, $opt{thread_ts}, $digest,
        $version, $body, $opt{hold} ? 1 : 0,
    );
    $dbh->do(
        'INSERT INTO study.lane AS l (team_id, target, due_at) VALUES (?, ?, now())'
            . ' ON CONFLICT (team_id, target) DO UPDATE SET due_at = LEAST(l.due_at, GREATEST(l.next_at, now()))',
        undef, $team, $target,
    );
    $dbh->do('NOTIFY study_outbox');
    $dbh->commit;
    return $id;
}

sub row {
    my ($self, $table, $id) = @_;
    return $self->dbh->selectrow_hashref("SELECT * FROM study.$table WHERE ${table}_id = ?", undef, $id);
}

# True once the row's state is one of the words (joined by |).
sub wait_row {
    my ($self, $table, $id, $states, $seconds) = @_;

    my $until = Time::HiRes::time() + ($seconds // 20) * ($ENV{STUDY_PATIENCE} // 1) * StudyTest::Proc::slowness();
    while (1) {
        my $state = $self->row($table, $id)->{state};
        return 1 if $state =~ /^(?:$states)$/;
        return 0 if Time::HiRes::time() > $until;
        Time::HiRes::sleep(0.05);
    }
}

# The messages that the DM with a member really holds.
sub dm {
    my ($self, $user, $team) = @_;
    return $self->{slack}->messages(user => $user, team => $team // $TEAM);
}

# Every word that a message shows: its text and its blocks' texts.
sub words {
    my ($message) = @_;

    my @texts = ($message->{text});
    for my $block (@{ $message->{blocks} // [] }) {
        push @texts, map { $_->{text} } grep { ref } $block->{text}, @{ $block->{elements} // [] };
    }
    return join "\n", @texts;
}

sub stop {
    my ($self) = @_;
    $self->{worker}->stop;
    return;
}

1;
