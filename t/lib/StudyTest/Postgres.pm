package StudyTest::Postgres;

# A private PostgreSQL cluster on a unix socket. initdb runs once a version; every
# further cluster is a copy of that one, which takes a tenth of the time.
#
# PostgreSQL refuses to run as root, so under root it runs as the user `postgres`;
# the cluster then lies below /tmp if that user cannot enter the repository.
#
#   my $pg = StudyTest::Postgres->start(dir => $dir);
#   $pg->dsn($role)        key=value words for libpq
#   $pg->dbh               DBI, as the superuser, to the database `study`
#   $pg->psql($sql)        output of psql -At
#
# `study_owner` owns the database and may create roles, as conf/README.md has it, and no
# more; who else logs in is made by StudyTest::Worker.
#
# Options: dir; durable => 1 (fsync as shipped; off otherwise, for speed);
# config => { name => value }.

use strict;
use warnings;

use Carp qw(croak);
use DBI ();
use File::Path qw(make_path remove_tree);
use File::Spec ();
use File::Temp ();

use StudyTest::Proc qw(root_dir run_limited socket_dir spew);

my $SUPER = 'postgres';
my $OWNER = 'study_owner';
my $DB = 'study';

# The newest server installed, 15 or later.
sub bin_dir {
    my ($best) = sort { $b->[0] <=> $a->[0] }
        map { m{/(\d+)/bin/postgres$} ? [ $1, $_ ] : () } glob '/usr/lib/postgresql/*/bin/postgres';
    if (!$best) {
        my ($found) = grep { -x "$_/postgres" } File::Spec->path;
        return $found // croak 'no PostgreSQL server: ./build.sh deps';
    }
    return $best->[1] =~ s{/postgres$}{}r;
}

sub _user { return $> == 0 ? 'postgres' : undef }

my %home;

# A directory that the server's user owns and can reach: DIR itself, if it can be.
sub _home {
    my ($dir) = @_;

    my $user = _user();
    make_path($dir);
    return $dir if !defined $user;

    my ($uid, $gid) = (getpwnam $user)[ 2, 3 ];
    my $status = run_limited([ 'test', '-x', $dir ], user => $user, dir => '/', limit => 10);
    if ($status != 0) {
        return $home{"$$ $dir"} if $home{"$$ $dir"};
        my $own = File::Temp::tempdir("/tmp/study-pg-$$-XXXXXX");
        StudyTest::Proc::remember($own);
        $dir = $home{"$$ $dir"} = $own;
    }
    chown $uid, $gid, $dir or croak "chown $dir: $!";
    return $dir;
}

sub _template {
    my $bin = bin_dir();
    my ($version) = $bin =~ m{/(\d+)/};
    my $home = _home(root_dir() . '/build/pg-template');
    my $data = "$home/" . ($version // 'x');

    open my $lock, '>', root_dir() . '/build/pg-template.lock' or croak "lock: $!";
    flock $lock, 2 or croak "lock: $!";
    return $data if -e "$data/PG_VERSION" && !-e "$data.new";

    my ($status, $said) = run_limited(
        [ 'sh', '-c', <<'END', 'sh', $bin, $data, $SUPER ],
set -eu
rm -rf "$2" "$2.new"
mkdir "$2.new"
"$1/initdb" -D "$2.new" -U "$3" -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >/dev/null
mv "$2.new" "$2"
END
        user => _user(), dir => '/', limit => 120,
    );
    croak "initdb: $said" if $status;
    return $data;
}

sub start {
    my ($class, %opt) = @_;

    my $dir = _home($opt{dir} // croak 'dir?');
    my $self = bless {
        dir      => $dir,
        data     => "$dir/data",
        socket   => socket_dir($dir, 20),
        log      => "$dir/postgres.log",
        user     => _user(),
    }, $class;
    if ($self->{socket} ne $dir && defined $self->{user}) {
        chown +(getpwnam $self->{user})[ 2, 3 ], $self->{socket};
    }

    my $template = _template();
    remove_tree($self->{data});
    my ($status, $said) = run_limited(
        [ 'cp', '-a', $template, $self->{data} ], user => $self->{user}, dir => '/', limit => 120,
    );
    croak "copying the cluster: $said" if $status;

    my %config = (
        listen_addresses        => '',
        unix_socket_directories => $self->{socket},
        max_connections         => 60,
        shared_buffers          => '64MB',
        timezone                => 'UTC',
        log_line_prefix         => '%m [%p] %u ',
        log_min_error_statement => 'error',
        log_parameter_max_length_on_error => 0,
        ($opt{durable} ? () : (fsync => 'off', synchronous_commit => 'off', full_page_writes => 'off')),
        %{ $opt{config} // {} },
    );
    my $text = join '', map { (my $v = $config{$_}) =~ s/'/''/g; "$_ = '$v'\n" } sort keys %config;
    my $more = "$dir/study.conf";
    spew($more, $text);
    ($status, $said) = run_limited(
        [ 'sh', '-c', 'echo "include \'$2\'" >> "$1/postgresql.conf"', 'sh', $self->{data}, $more ],
        user => $self->{user}, dir => '/', limit => 10,
    );
    croak "postgresql.conf: $said" if $status;

    $self->restart;
    my $dbh = $self->dbh('postgres');
    $dbh->do("CREATE ROLE $OWNER LOGIN CREATEROLE");
    $dbh->do("CREATE DATABASE $DB OWNER $OWNER");
    $dbh->disconnect;
    return $self;
}

sub restart {
    my ($self) = @_;

    $self->stop;
    $self->{proc} = StudyTest::Proc->start(
        name => 'postgres',
        cmd  => [ bin_dir() . '/postgres', '-D', $self->{data} ],
        log  => $self->{log},
        user => $self->{user},
        dir  => '/',
        stop => 'INT',
        deathsig => 'QUIT',
    );
    my $try = sub {
        my $dbh = eval { DBI->connect($self->_dbi('postgres'), $SUPER, '', { PrintError => 0, RaiseError => 1 }) };
        return 0 if !$dbh;
        $dbh->disconnect;
        return 1;
    };
    $self->{proc}->ready($try, 60);
    return $self;
}

sub _dbi { my ($self, $db) = @_; return "dbi:Pg:dbname=$db;host=$self->{socket};port=5432" }

sub dsn {
    my ($self, $user) = @_;
    return "host=$self->{socket} port=5432 dbname=$DB user=" . ($user // $SUPER);
}

sub dbh {
    my ($self, $db, $user) = @_;
    return DBI->connect($self->_dbi($db // $DB), $user // $SUPER, '', {
        AutoCommit => 1, PrintError => 0, RaiseError => 1, pg_enable_utf8 => 1, pg_server_prepare => 0,
    });
}

sub psql {
    my ($self, $sql, $user) = @_;

    my ($status, $said) = run_limited(
        [ 'psql', '-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-d', $self->dsn($user), '-f', '-' ],
        in => $sql, limit => 60, dir => '/',
    );
    croak "psql: $said" if $status;
    chomp $said;
    return $said;
}

sub socket { return $_[0]{socket} }
sub pid    { return $_[0]{proc}->pid }
sub proc   { return $_[0]{proc} }
sub log    { return $_[0]{log} }
sub dir    { return $_[0]{dir} }

# Ends it as a crash would: the next start recovers from the log.
sub crash { my ($self) = @_; $self->{proc}->stop('QUIT'); return }

sub stop {
    my ($self) = @_;
    $self->{proc}->stop if $self->{proc};
    return;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    return if !$self->{proc} || $self->{proc}{owner} != $$;
    $self->stop;
    return;
}

1;
