#!/usr/bin/perl

# conf/debian/: the packages hold what conf/README.md installs by hand, what is in them runs,
# they say what they want, and installing them enables and starts nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Find qw(find);
use Test::More;

use StudyTest::Nginx;
use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew);

my $root = root_dir();

{
    my ($status, $said) = run_limited([ "$root/conf/debian/build" ], env => { NGINX_SRC => '/nowhere' });
    is($status >> 8, 2, 'not for an nginx of one\'s own');
    like($said, qr/unset NGINX_SRC/, '... as it says');
}
plan skip_all => 'an nginx of one\'s own' if $ENV{NGINX_SRC};

my $dir = scratch_dir('debian');
my ($status, $said) = run_limited([ "$root/build.sh", 'deb' ], limit => 570);
is($status, 0, './build.sh deb') or BAIL_OUT($said);

my ($version) = slurp("$root/worker/base/version.h") =~ /STUDY_VERSION "([^"]+)"/;
my (%deb, %field, %script);
for my $name (qw(libnginx-mod-http-study study-tracker)) {
    ($deb{$name}, my @more) = glob "$root/build/deb/${name}_*.deb";
    ok($deb{$name} && !@more, "$name: one package") or BAIL_OUT('no package');
    $field{$name} = { map { /^([\w-]+): (.*)/ ? ($1 => $2) : () } split /\n(?! )/, qx{dpkg-deb -f $deb{$name}} };
    is($field{$name}{Version}, $version, '... of the version that the programs tell');
    mkdir $_ for "$dir/$name", "$dir/control-$name";
    is(system('dpkg-deb', '-x', $deb{$name}, "$dir/all"), 0, '... that unpacks');
    is(system('dpkg-deb', '-e', $deb{$name}, "$dir/control-$name"), 0, '... with its scripts');
    $script{$name} = join "", map { slurp($_) } glob "$dir/control-$name/*inst $dir/control-$name/*rm";
    is(system("for i in $dir/control-$name/*inst $dir/control-$name/*rm; do sh -n \$i || exit 1; done"), 0, '... that are shell')
        if $script{$name};
    unlike($script{$name}, qr/deb-systemd-invoke +(?:start|restart|\$)|systemctl +(?:enable|start|restart)\b|update-rc\.d/, '... and start nothing');
}
like($field{'libnginx-mod-http-study'}{Depends}, qr/\bnginx-abi-\S/, 'the module belongs to one nginx');
my ($libraries) = slurp("$root/conf/README.md") =~ /runs with these libraries:(.*?)\. A server/s;
my %named = map { $_ => 1 } $libraries =~ /`([\w.-]+)`/g;
my %wanted = map { $_ => 1 } grep { /^lib(?!c6)/ } map { s/ .*//r } split /, */, $field{'study-tracker'}{Depends};
is_deeply(\%wanted, \%named, 'the worker wants the libraries that README.md names');
my ($besides) = slurp("$root/conf/README.md") =~ /needs these, (.*?), and no more:/s;
is_deeply([ split /, */, $field{'study-tracker'}{Recommends} // '' ], [ $besides =~ /`([\w.-]+)`/g ], '... and what it names besides');
like($script{'study-tracker'}, qr/if deb-systemd-helper debian-installed 'study-worker\.service'; then/, 'the unit is enabled again if it was, and not by itself');
like($script{'study-tracker'}, qr/deb-systemd-invoke try-restart 'study-worker\.service'/, '... and a worker that runs is restarted by an upgrade');
like($script{'study-tracker'}, qr/^ *adduser .*--system .*\bstudy-worker$/m, 'there is a user for the worker');

# --- what is in them --------------------------------------------------------------------

my %is;
find({ no_chdir => 1, wanted => sub { $is{ s{^\Q$dir\E/all}{}r } = 1 if -f } }, "$dir/all");
my %conffile = map { chomp; ($_ => 1) } map { split /^/, slurp("$dir/control-$_/conffiles") } keys %deb;
is_deeply([ sort keys %conffile ], [ '/etc/study-tracker/nginx/study.conf', '/etc/study-tracker/study-worker.conf' ],
    "what administrators change stays theirs");

for my $command (map { split /\n/ } slurp("$root/conf/README.md") =~ /^## Installing\n(.*?)^## Upgrading/ms) {
    next if $command !~ /^install .*\b(?:conf|worker)\//;
    for my $from (map { glob "$root/$_" } $command =~ m{((?:conf|worker)/\S+)}g) {
        (my $name = $from) =~ s{.*/}{};
        my @at = grep { m{/\Q$name\E(?:\.gz)?$} } keys %is;
        is(scalar @at, 1, "$name is in one of them, once") or diag "@at";
    }
}
ok($is{"/usr/share/study-tracker/$_"}, "$_ is where README.md says")
    for map { s{^\Q$root\E/conf/}{}r } map { glob "$root/conf/$_" }
    qw(redis-study.conf slack-manifest.yaml nginx/nginx-example.conf prometheus/* grafana/* prompts/*.txt);
for my $file (qw(redis-study.conf slack-manifest.yaml)) {
    is(slurp("$dir/all/usr/share/study-tracker/$file"), slurp("$root/conf/$file"), "... and is it: $file");
}

# --- and runs ---------------------------------------------------------------------------

my $all = "$dir/all";
for my $program (qw(study-worker studyctl)) {
    ($status, $said) = run_limited([ "$all/usr/bin/$program", '--version' ]);
    is("$status $said", "0 $program $version\n", "$program runs");
    unlike(join('', qx{readelf -S $all/usr/bin/$program}), qr/\.debug_info/, '... without the debugger\'s notes, which have packages of their own');
    ok(-s "$all/usr/share/man/man8/$program.8.gz", '... and has a manual page');
}
my $settings = slurp("$all/etc/study-tracker/study-worker.conf");
my $conf = spew("$dir/study-worker.conf", "$settings\n[digest]\nprompt_dir = $all/usr/share/study-tracker/prompts\n");
($status, $said) = run_limited([ "$all/usr/bin/study-worker", '-t', '-c', $conf ],
    env => { STUDY_SLACK_BOT_TOKEN_FILE => spew("$dir/token", "xoxb-1\n", 0600), STUDY_OPENAI_ENABLED => 'no' });
is($status, 0, 'the worker takes the configuration and the prompts') or diag $said;

my $unit = slurp("$all/lib/systemd/system/study-worker.service");
is($unit =~ s{/usr/bin/}{/usr/local/bin/}r, slurp("$root/conf/systemd/study-worker.service"), 'the unit is the one for programs in /usr/local, in /usr');

is(slurp("$all/usr/share/nginx/modules-available/mod-http-study.conf"), "load_module modules/ngx_http_study_module.so;\n", 'nginx is told to load the module');
like($script{'libnginx-mod-http-study'}, qr{50-mod-http-study\.conf}, '... from the next start on');
spew("$dir/$_", "$_\n", 0600) for qw(signing_secret redis_nginx_password trigger_token);
(my $locations = slurp("$all/etc/study-tracker/nginx/study.conf")) =~ s{/etc/study-tracker/}{$dir/}g;
spew("$dir/study.conf", $locations);
spew("$dir/nginx.conf", <<"END");
load_module $all/usr/lib/nginx/modules/ngx_http_study_module.so;
pid $dir/nginx.pid;
error_log $dir/error.log;
events { }
http {
    access_log off;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi;
    scgi_temp_path $dir/scgi; uwsgi_temp_path $dir/uwsgi;
    server { listen unix:$dir/nginx.sock; include $dir/study.conf; }
}
END
($status, $said) = run_limited([ StudyTest::Nginx->binary, '-t', '-e', "$dir/error.log", '-c', "$dir/nginx.conf" ]);
is($status, 0, 'nginx loads it, and takes the locations') or diag $said;

done_testing;
