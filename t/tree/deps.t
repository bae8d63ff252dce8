#!/usr/bin/perl

# Installing packages must leave the machine's services as they were. What build.sh
# does before and after apt runs here on a directory that stands for the machine;
# nothing is installed.

use strict;
use warnings;

use FindBin qw($Bin);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

my $build = "$Bin/../../build.sh";

sub machine {
    my $dir = tempdir(CLEANUP => 1);
    make_path("$dir/units/multi-user.target.wants", "$dir/usr/sbin", "$dir/etc/postgresql-common", "$dir/nginx-modules");
    symlink '/usr/share/nginx/modules-available/mod-own.conf', "$dir/nginx-modules/50-mod-own.conf";
    symlink '/lib/systemd/system/ssh.service', "$dir/units/multi-user.target.wants/ssh.service";
    return $dir;
}

# Runs shell code with build.sh's functions, pointed at that directory.
sub shell {
    my ($dir, $code) = @_;

    $code =~ s/BUILD/'$build'/g;
    my $script = <<"END";
set -eu
source '$build'
NOTES=$dir/notes
POLICY=$dir/usr/sbin/policy-rc.d
CLUSTER_CONF=$dir/etc/postgresql-common/createcluster.conf
NGINX_MODULES=$dir/nginx-modules
enabled_links() { find $dir/units $dir/nginx-modules -type l | sort; }
deb-systemd-helper() { printf '%s\\n' "\$*" >> $dir/helper; }
systemctl() { :; }
$code
END
    open my $out, '>', "$dir/script" or die $!;
    print {$out} $script;
    close $out;
    my $said = qx{bash '$dir/script' 2>&1};
    return ($? >> 8 || $? & 127, $said);
}

sub slurp {
    my ($path) = @_;
    open my $in, '<', $path or return undef;
    local $/;
    return <$in>;
}

sub links {
    my ($dir) = @_;
    return join ' ', sort map { s{.*/}{}r } glob "$dir/units/multi-user.target.wants/*";
}

my $install = <<'END';
[ "$("$POLICY" nginx start >/dev/null 2>&1; echo $?)" = 101 ] || { echo "starts are not denied"; exit 9; }
ln -s /lib/systemd/system/nginx.service DIR/units/multi-user.target.wants/nginx.service
ln -s /usr/share/nginx/modules-available/mod-new.conf DIR/nginx-modules/50-mod-new.conf
END

{
    my $dir = machine();
    (my $code = "hold_services\n$install\ngive_back_services\n") =~ s/DIR/$dir/g;
    my ($status, $said) = shell($dir, $code);

    is($status, 0, 'a plain installation') or diag($said);
    ok(!-e "$dir/usr/sbin/policy-rc.d", 'no policy-rc.d is left where none was');
    is(links($dir), 'ssh.service', 'the new unit is disabled, the old one is not');
    is(slurp("$dir/helper"), "disable nginx.service\n", 'and Debian is told');
    is(join(' ', map { s{.*/}{}r } glob "$dir/nginx-modules/*"), '50-mod-own.conf',
        "the machine's nginx loads what it loaded before");
    like($said, qr/left disabled: nginx\.service/, 'and the person');
    ok(!-e "$dir/notes", 'no notes are left');
}

{
    my $dir = machine();
    my $own = "#!/bin/sh\n# the machine's own\nexit 0\n";
    open my $out, '>', "$dir/usr/sbin/policy-rc.d" or die $!;
    print {$out} $own;
    close $out;
    chmod 0750, "$dir/usr/sbin/policy-rc.d";

    (my $code = "hold_services\n$install\ngive_back_services\ngive_back_services\n") =~ s/DIR/$dir/g;
    my ($status, $said) = shell($dir, $code);
    is($status, 0, "a machine with a policy of its own") or diag($said);
    is(slurp("$dir/usr/sbin/policy-rc.d"), $own, 'has it again');
    is((stat "$dir/usr/sbin/policy-rc.d")[2] & 07777, 0750, 'with its mode');
}

{
    my $dir = machine();
    (my $code = "hold_services\n$install\nkill -KILL \$\$\n") =~ s/DIR/$dir/g;
    my ($status, $said) = shell($dir, $code);
    is($status, 137, 'an installation that was killed');
    ok(-e "$dir/usr/sbin/policy-rc.d", '... leaves the denial');

    ($status, $said) = shell($dir, "hold_services\ngive_back_services\n");
    is($status, 0, 'the next one') or diag($said);
    ok(!-e "$dir/usr/sbin/policy-rc.d", '... takes it away');
    is(links($dir), 'ssh.service', '... and disables what the first one brought');
}

{
    my $dir = machine();
    my $code = <<"END";
open_and_wait() { hold_services; trap give_back_services EXIT; trap 'exit 130' INT; kill -INT \$\$; sleep 5; }
open_and_wait
END
    my ($status, $said) = shell($dir, $code);
    is($status, 130, 'an installation stopped by Ctrl-C') or diag($said);
    ok(!-e "$dir/usr/sbin/policy-rc.d", '... gives back at once');
    ok(!-e "$dir/notes", '... and forgets its notes');
}

{
    my $dir = machine();
    open my $out, '>', "$dir/etc/postgresql-common/createcluster.conf" or die $!;
    print {$out} "ssl = on\n";
    close $out;
    my $code = <<'END';
apt() { :; }
hold_services
cp -a "$CLUSTER_CONF" "$NOTES/createcluster.conf"
echo "create_main_cluster = false" >> "$CLUSTER_CONF"
give_back_services
END
    my ($status, $said) = shell($dir, $code);
    is($status, 0, "PostgreSQL's setting") or diag($said);
    is(slurp("$dir/etc/postgresql-common/createcluster.conf"), "ssl = on\n", '... is as it was');
}

# The real list of what is enabled, where some of the directories are not.
{
    my $dir = machine();
    my ($status, $said) = shell($dir, <<'END');
unset -f enabled_links
eval "$(sed -n '/^enabled_links()/,/^}/p' BUILD)"
NGINX_MODULES=/nowhere/at-all
hold_services
give_back_services
END
    is($status, 0, 'a machine that lacks a directory of links') or diag($said);
}

# And on this very machine, whatever has run before.
ok(!-e '/var/lib/study-tracker-deps', 'no installation is half done');
unlike(slurp('/usr/sbin/policy-rc.d') // '', qr/Study Tracker/, 'service starts are not denied');

done_testing;
