package StudyTest::Worker;

# study-worker as an operator runs it: a configuration file with its secrets in files
# beside it, the schema migrated by the database's owner, and a login that has only the
# worker's rights.
#
#   my $worker = StudyTest::Worker->new(dir => $dir, redis => $redis, postgres => $pg,
#       slack_url => $slack->url, openai_url => $openai->url,
#       config => { store => { processes => 2 } });
#   $worker->migrate;
#   $worker->start;
#   $worker->ctl('status', '--json')     (status, output) of studyctl
#   $worker->metrics
#
# Options: dir; redis => a StudyTest::Redis or [ several ]; postgres; slack_url, slack_token,
# tokens => { team => token }; openai_url, openai_key; config => { section => { key => value } },
# where undef takes a key away; program => [ wrapper words ]. With STUDY_VALGRIND in the
# environment (t/run --variant memcheck) the worker runs under valgrind, with VALGRIND_OPTS.

use strict;
use warnings;

use Carp qw(croak);
use File::Path qw(make_path);
use HTTP::Tiny ();

use StudyTest::Proc qw(build_dir free_port root_dir run_limited slurp spew);

my $BUILD = build_dir();
my %LOGIN = ('study-worker' => 'study_worker', 'study-ctl' => 'study_ctl', 'study-read' => 'study_read');

sub new {
    my ($class, %opt) = @_;

    my $self = bless {%opt}, $class;
    my $dir = $self->{dir} // croak 'dir?';
    make_path($dir);
    $self->{name} //= 'study-worker';
    $self->{file} = "$dir/study-worker.conf";
    $self->{log} = "$dir/worker.log";
    $self->{port} //= free_port();
    $self->{redis} = [ $self->{redis} ] if ref $self->{redis} ne 'ARRAY';
    $self->write_config;
    return $self;
}

sub _secret {
    my ($self, $name, $value) = @_;

    my $path = "$self->{dir}/$name";
    unlink $path;
    return spew($path, "$value\n", 0600);
}

# Writes the file anew; MORE goes over what was given to new, for good.
sub write_config {
    my ($self, $more) = @_;

    for my $section (keys %{ $more // {} }) {
        $self->{config}{$section}{$_} = $more->{$section}{$_} for keys %{ $more->{$section} };
    }

    my @redis = @{ $self->{redis} };
    my %config = (
        redis => {
            servers       => join(' ', map { $_->address } @redis),
            user          => 'study-worker',
            password_file => $self->_redis_password,
        },
        postgres => { conninfo => $self->{postgres}->dsn('study-worker') },
        slack    => { api_url => $self->{slack_url} },
        openai   => { base_url => $self->{openai_url}, api_key_file => $self->_secret('openai-key', $self->{openai_key} // 'sk-standin') },
        digest   => { prompt_dir => root_dir() . '/conf/prompts' },
        deliver  => { quiet_from => '00:00', quiet_until => '00:00' },    # tests run at any hour
        status   => { listen => "127.0.0.1:$self->{port}", interval => '500ms' },
    );
    if ($self->{tokens}) {
        make_path("$self->{dir}/tokens", { mode => 0700 });
        $self->_secret("tokens/$_", $self->{tokens}{$_}) for keys %{ $self->{tokens} };
        $config{slack}{token_dir} = "$self->{dir}/tokens";
    }
    else {
        $config{slack}{bot_token_file} = $self->_secret('slack-token', $self->{slack_token} // 'xoxb-standin');
    }

    my $given = $self->{config} // {};
    for my $section (keys %$given) {
        $config{$section}{$_} = $given->{$section}{$_} for keys %{ $given->{$section} };
    }

    my $text = '';
    for my $section (sort keys %config) {
        $text .= "[$section]\n";
        for my $key (sort keys %{ $config{$section} }) {
            $text .= "$key = $config{$section}{$key}\n" if defined $config{$section}{$key};
        }
        $text .= "\n";
    }
    unlink $self->{file};
    return spew($self->{file}, $text, 0600);
}

# The servers share one login here, as they would in a cluster of equal hosts.
sub _redis_password {
    my ($self) = @_;

    my @redis = @{ $self->{redis} };
    my $password = $redis[0]->password('study-worker');
    for my $other (@redis[ 1 .. $#redis ]) {
        $other->client->acl('SETUSER', 'study-worker', ">$password");
    }
    return $self->_secret('redis-password', $password);
}

# The schema, by the database's owner, then the logins.
sub migrate {
    my ($self) = @_;

    my $pg = $self->{postgres};
    my ($status, $said) = run_limited(
        [ "$BUILD/studyctl", '-c', $self->{file}, 'migrate' ],
        env => { STUDY_POSTGRES_CONNINFO => $pg->dsn('study_owner') }, limit => 120,
    );
    croak "studyctl migrate: $said" if $status;

    my $dbh = $pg->dbh;
    for my $login (sort keys %LOGIN) {
        my ($have) = $dbh->selectrow_array('SELECT 1 FROM pg_roles WHERE rolname = ?', undef, $login);
        $dbh->do(qq{CREATE ROLE "$login" LOGIN IN ROLE $LOGIN{$login}}) if !$have;
        $dbh->do(qq{ALTER ROLE "$login" SET log_error_verbosity = terse}) if $LOGIN{$login} eq 'study_worker';
    }
    $dbh->disconnect;
    return $said;
}

# Starts it and waits until it answers; with wait => 0 only starts it.
sub start {
    my ($self, %opt) = @_;

    $self->{proc} = StudyTest::Proc->start(
        name => $self->{name},
        cmd  => [ @{ $self->{program} // [] }, ($ENV{STUDY_VALGRIND} ? 'valgrind' : ()), "$BUILD/study-worker", '-c', $self->{file} ],
        log  => $self->{log},
        env  => { %{ $self->{env} // {} } },
        deathsig => 'TERM',     # the supervisor takes its children with it
        limit => $opt{limit} // 15,
    );
    $self->{proc}->ready(sub { $self->_answers }, $opt{limit} // 30) if $opt{wait} // 1;
    return $self;
}

sub _answers {
    my ($self) = @_;
    return HTTP::Tiny->new(timeout => 2)->get($self->url . '/metrics')->{success};
}

sub url  { return "http://127.0.0.1:$_[0]{port}" }
sub file { return $_[0]{file} }
sub log  { return $_[0]{log} }
sub proc { return $_[0]{proc} }
sub pid  { return $_[0]{proc}->pid }

# { 'name{label="x"}' => value }
sub metrics {
    my ($self) = @_;

    my $got = HTTP::Tiny->new(timeout => 10)->get($self->url . '/metrics');
    croak "metrics: $got->{status} $got->{content}" if !$got->{success};
    return { map { /^([^#\s]\S*)\s+(\S+)/ ? ($1 => $2) : () } split /\n/, $got->{content} };
}

sub get {
    my ($self, $path) = @_;
    return HTTP::Tiny->new(timeout => 10)->get($self->url . $path);
}

# studyctl: (wait status, output).
sub ctl {
    my ($self, @args) = @_;

    my %opt = ref $args[0] ? %{ shift @args } : ();
    return run_limited(
        [ "$BUILD/studyctl", '-c', $self->{file}, @args ], limit => 60,
        env => { STUDY_POSTGRES_CONNINFO => $self->{postgres}->dsn($opt{login} // 'study-ctl') }, in => $opt{in},
    );
}

# The ids of the processes that the supervisor runs.
sub children {
    my ($self) = @_;

    my $pid = $self->pid;
    open my $in, '<', "/proc/$pid/task/$pid/children" or return;
    return split ' ', <$in> // '';
}

# Of these, the ones of a role. By the short name, for under valgrind the arguments stay as they were.
sub pids {
    my ($self, $role) = @_;
    return grep { (eval { slurp("/proc/$_/comm") } // '') =~ /^study-\Q$role\E\b/ } $self->children;
}

sub stop {
    my ($self, $signal, $limit) = @_;
    return if !$self->{proc};
    return $self->{proc}->stop($signal // 'TERM', $limit);
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    $self->stop if $self->{proc} && $self->{proc}{owner} == $$;
    return;
}

1;
