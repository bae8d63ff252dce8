package StudyTest::Chain;

# The whole chain on this machine: Redis, PostgreSQL, stand-ins for Slack and OpenAI,
# the worker and nginx, each private to one directory. What the demo, the end-to-end
# tests, the interoperability test and the benchmarks stand on.
#
#   my $chain = StudyTest::Chain->start(dir => $dir);
#   $chain->sender->event($envelope);          signed, through nginx
#   $chain->wait_stored(1);
#   $chain->pg, ->redis, ->slack, ->openai, ->worker, ->nginx
#
# Options: dir; durable => 1; step => sub { name, code } called around each part (it
# must call the code); teams => { id => { token, language, bot, seed } }, or slack_token,
# which does for every workspace (T0STUDY in the stand-in);
# slack, openai => { options of the stand-in }, or slack_url / openai_url to use something
# else; openai_key; redis, postgres, nginx => { options }; config => { of the worker };
# worker => 0 to leave the worker stopped.

use strict;
use warnings;

use File::Path qw(make_path);

use StudyTest::Nginx;
use StudyTest::Postgres;
use StudyTest::Proc qw(scratch_dir tail_of wait_for);
use StudyTest::Redis;
use StudyTest::Slack;
use StudyTest::StandIn;
use StudyTest::Worker;

sub _random { return join '', map { sprintf '%04x', int rand 65536 } 1 .. 8 }

sub start {
    my ($class, %opt) = @_;

    my $dir = $opt{dir} // scratch_dir('chain');
    my $self = bless { dir => $dir, secret => _random(), token => _random() }, $class;
    my $step = $opt{step} // sub { $_[1]->() };
    my $teams = $opt{teams} // { T0STUDY => { token => $opt{slack_token} } };
    my %token = map { $_ => $teams->{$_}{token} // "xoxb-standin-$_" } keys %$teams;

    $step->('Redis', sub {
        $self->{redis} = StudyTest::Redis->start(dir => "$dir/redis", %{ $opt{redis} // {} });
    });
    $step->('PostgreSQL', sub {
        $self->{pg} = StudyTest::Postgres->start(
            dir => "$dir/postgres", durable => $opt{durable}, %{ $opt{postgres} // {} },
        );
    });
    $step->('stand-ins', sub {
        make_path("$dir/stand-ins");
        $self->{slack} = StudyTest::StandIn->slack(
            dir => "$dir/stand-ins", %{ $opt{slack} // {} },
            team => [ map { "$_:$token{$_}:" . ($teams->{$_}{bot} // 'U0STUDYBOT') } sort keys %$teams ],
        ) if !$opt{slack_url};
        $self->{openai} = StudyTest::StandIn->openai(dir => "$dir/stand-ins", %{ $opt{openai} // {} })
            if !$opt{openai_url};
        $self->{slack}->seed(map { { id => $_, %{ $teams->{$_}{seed} // {} } } } sort keys %$teams) if $self->{slack};
    });
    $self->{worker} = StudyTest::Worker->new(
        dir => "$dir/worker", redis => $self->{redis}, postgres => $self->{pg},
        slack_url => $opt{slack_url} // $self->{slack}->url, $opt{teams} ? (tokens => \%token) : (slack_token => values %token),
        openai_url => $opt{openai_url} // $self->{openai}->url, openai_key => $opt{openai_key},
        config => $opt{config},
    );
    $step->('schema', sub {
        $self->{worker}->migrate;
        # Whatever the hour, none of them fires by itself meanwhile: the zones differ in whole hours.
        $self->dbh->do('UPDATE study.schedule SET cron = ? || substr(cron, 3)', undef, (gmtime time - 300)[1]);
        for my $id (grep { $teams->{$_}{language} } sort keys %$teams) {
            $self->dbh->do('INSERT INTO study.team (team_id, language) VALUES (?, ?)', undef, $id, $teams->{$id}{language});
        }
    });
    $step->('nginx', sub {
        $self->{nginx} = StudyTest::Nginx->start(
            dir => "$dir/nginx", redis => [ $self->{redis}->address ], user => 'study-nginx',
            password_file => $self->{redis}->password_file('study-nginx'),
            secret => $self->{secret}, token => $self->{token}, %{ $opt{nginx} // {} },
        );
    });
    $step->('worker', sub { $self->{worker}->start }) if $opt{worker} // 1;

    $self->{sender} = StudyTest::Slack->new(
        url => $self->{nginx}->url, secret => $self->{secret}, trigger_token => $self->{token},
    );
    return $self;
}

sub dir    { return $_[0]{dir} }
sub redis  { return $_[0]{redis} }
sub pg     { return $_[0]{pg} }
sub slack  { return $_[0]{slack} }
sub openai { return $_[0]{openai} }
sub worker { return $_[0]{worker} }
sub nginx  { return $_[0]{nginx} }
sub sender { return $_[0]{sender} }
sub secret { return $_[0]{secret} }
sub token  { return $_[0]{token} }

# A handle that is kept; as the superuser.
sub dbh {
    my ($self) = @_;
    $self->{dbh} = $self->{pg}->dbh if !$self->{dbh} || !$self->{dbh}->ping;
    return $self->{dbh};
}

# The first value of the first row.
sub value {
    my ($self, $sql, @args) = @_;
    return ($self->dbh->selectrow_array($sql, undef, @args))[0];
}

# Waits until SQL's first value is WANT, or at least WANT when it is a number.
sub wait_value {
    my ($self, $sql, $want, $limit) = @_;
    return wait_for {
        my $got = $self->value($sql);
        defined $got && ($want =~ /^\d+$/ ? $got >= $want : $got eq $want);
    } $limit // 30, "$sql to reach $want";
}

sub wait_stored { my ($self, $n, $limit) = @_; return $self->wait_value('SELECT count(*) FROM study.message', $n, $limit) }

# Waits until nothing accepted is on its way: both lists, the leases and the suspects.
sub wait_drained {
    my ($self, $limit) = @_;

    my $redis = $self->{redis}->client;
    my $key = 'study:{ingest}:';
    return wait_for {
        !$redis->llen("${key}pending") && !$redis->llen("${key}control")
            && !$redis->llen("${key}suspect") && !$redis->zcard("${key}leases");
    } $limit // 30, 'the lists to be empty';
}

sub logs {
    my ($self) = @_;

    my $dir = $self->{dir};
    return grep { -e } (
        "$dir/nginx/error.log", "$dir/worker/worker.log", "$dir/redis/redis.log",
        $self->{pg} ? $self->{pg}->log : (), glob "$dir/stand-ins/*.err",
    );
}

# The lines of every log that say that something is wrong, and else its end.
sub complaints {
    my ($self) = @_;

    my $text = '';
    for my $log ($self->logs) {
        open my $in, '<', $log or next;
        my @bad = grep { /\[(?:warn|error|crit|alert|emerg)\]|\b(?:warn|error|fatal|panic|ERROR|FATAL|PANIC)\b|^# / } <$in>;
        @bad = @bad[ -15 .. -1 ] if @bad > 15;
        $text .= "--- $log\n" . (@bad ? join '', @bad : tail_of($log, 5));
    }
    return $text;
}

sub stop {
    my ($self) = @_;

    $self->{dbh}->disconnect if $self->{dbh};
    delete $self->{dbh};
    for my $part (qw(nginx worker openai slack redis pg)) {
        $self->{$part}->stop if $self->{$part};
    }
    return;
}

sub DESTROY { my ($self) = @_; local ($@, $?); $self->{dbh}->disconnect if $self->{dbh}; return }

1;
