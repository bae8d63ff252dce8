#!/usr/bin/perl

# What conf/README.md says about installing and removing: the roles and the database that
# its statements make are gone after those that remove them; what is copied somewhere is
# removed from there; the libraries it names are those that the programs want.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use StudyTest::Postgres;
use StudyTest::Proc qw(build_dir root_dir run_limited scratch_dir slurp);

my $root = root_dir();
my ($install, $remove) = slurp("$root/conf/README.md") =~ /^## Installing\n(.*?)^## Upgrading\n.*^## Removing it\n(.*)/ms
    or die 'conf/README.md has other headings';

# --- files, units, users ------------------------------------------------------------

my @commands = map { split /\n/ } $install =~ /^```sh\n(.*?)^```/msg;
my $gone = join "\n", $remove =~ /^```sh\n(.*?)^```/msg;

my %made;
for (@commands) {
    s/\s+#.*//;
    if (/^install .*-t (\S+) (.+)/) {
        my ($to, $from) = ($1, $2);
        $made{"$to/" . s{.*/}{}r} = 1 for map { /\*/ ? glob "$root/$_" : $_ } split ' ', $from;
    }
    elsif (/^install -d (.+)/)      { $made{$_} = 1 for split ' ', $1 }
    elsif (/^install .* (\S+)$/)    { my $to = $1; $made{ $to =~ s{/$}{}r } = 1 if $to !~ m{/bin/$} }
    elsif (/> (\/etc\/[\w.\/-]+)/)  { $made{$1} = 1 }
    elsif (/^ln -s .* (\/\S+)/)     { $made{$1} = 1 }
}
$made{"/usr/local/bin/$_"} = 1 for qw(study-worker studyctl);
$made{$_} = 1 for $install =~ /^\S.*\(`(\/etc\/[\w.\/-]+)`\)/mg;
cmp_ok(scalar keys %made, '>=', 12, 'installing makes files');

# Whole trees, or the file itself; a directory that other things share is left.
my @trees = map { split ' ' } $gone =~ /^rm -rf (.+)/mg;
my @files = map { split ' ' } $gone =~ /^rm -f (.+)/mg;
my %shared = ('/etc/systemd/system' => 1);
for my $path (sort keys %made) {
    next if $shared{$path};
    ok((grep { $_ eq $path } @files) || (grep { index("$path/", "$_/") == 0 } @trees), "$path is removed");
}
for my $user (map { /^adduser .* (\S+)$/ ? $1 : () } @commands) {
    like($gone, qr/^deluser \Q$user\E$/m, "the user $user is removed");
}
for my $unit (map { /^systemctl enable --now (\S*study\S*)$/ ? $1 : () } @commands) {
    like($gone, qr/^systemctl disable --now \Q$unit\E$/m, "$unit is disabled");
}
my $redis = slurp("$root/conf/redis-study.conf");
my ($dir) = $redis =~ /^dir (\S+)/m;
for my $name (map { /^(?:dbfilename|appenddirname) "?([^"\n]+)/ ? "$dir/$1" : /^logfile (\S+)/ ? $1 : () } split /\n/, $redis) {
    ok((grep { $_ eq $name || $_ eq "$name*" } @trees), "$name is removed");
}

# --- roles and the database -----------------------------------------------------------

my @made = map { /^su postgres -c psql <<'EOF'\n(.*?)^EOF$/msg } $install;
my ($dropped) = $remove =~ /^su postgres -c psql <<'EOF'\n(.*?)^EOF$/ms;
my $pg = StudyTest::Postgres->start(dir => scratch_dir('remove') . '/pg');
my $super = $pg->dbh('postgres');
my $roles = sub { join ' ', @{ $super->selectcol_arrayref("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1") } };

# The harness has made these two already.
$super->do('DROP DATABASE study');
$super->do('DROP ROLE study_owner');
my $before = $roles->();

sub statements { return grep { /\S/ } map { s/--.*//mgr } split /;/, $_[0] }

is(scalar @made, 2, 'two parts make roles');
$super->do($_) for statements($made[0]);
my ($status, $said) = run_limited([ build_dir() . '/studyctl', 'migrate' ],
    env => { STUDY_POSTGRES_CONNINFO => $pg->dsn('study_owner') }, limit => 60);
is($status, 0, 'migrated') or diag $said;
$super->do($_) for statements($made[1]);
isnt($roles->(), $before, 'there are roles');

for my $statement (statements($dropped)) {
    ok(eval { $super->do($statement); 1 }, $statement =~ s/\s+/ /gr) or diag $@;
}
is($roles->(), $before, 'all roles are gone');
is($super->selectrow_array("SELECT count(*) FROM pg_database WHERE datname = 'study'"), 0, 'and the database');
$super->disconnect;

# --- libraries ------------------------------------------------------------------------

SKIP: {
    skip 'not the Debian that the packages are named for', 1 if slurp('/etc/os-release') !~ /^VERSION_ID="12"/m;
    my %named = map { $_ => 1 } $install =~ /runs with these libraries:(.*?)\. A server/s ? $1 =~ /`([\w.-]+)`/g : ();
    my %wanted;
    for my $program (qw(study-worker studyctl ngx_http_study_module.so)) {
        for my $library (map { /NEEDED.*\[(.*)\]/ } qx{readelf -d $root/build/$program}) {
            my ($path) = qx{ldconfig -p} =~ /^\s+\Q$library\E .*=> (\S+)$/m or next;
            $path = "/usr$path" if $path !~ m{^/usr};
            my ($package) = qx{dpkg -S $path /lib/*/$library 2>/dev/null} =~ /^([\w.+-]+):/m or next;
            $wanted{$package} = 1 if $package ne 'libc6';
        }
    }
    is_deeply(\%named, \%wanted, 'the libraries are those that the programs want');
}

done_testing;
