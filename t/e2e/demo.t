#!/usr/bin/perl

# ./build.sh demo as a person runs it: the figures agree, it leaves nothing; stopped
# with Ctrl-C half-way it leaves nothing either; --keep keeps and --stop ends.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use Fcntl qw(:flock);
use File::Find qw(find);
use Test::More;

use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp wait_for);
use StudyTest::StandIn;

my $root = root_dir();
my $home = "$root/build/demo";

if (open my $lock, '>>', "$root/build/demo.lock") {
    plan skip_all => 'somebody runs a demo here' if !flock $lock, LOCK_EX | LOCK_NB;
    close $lock;
}

# Processes that have to do with the demo's directory: by their command line, working
# directory or open files, so that one which renamed itself is found too.
sub of_demo {
    my @found;
    for my $dir (glob '/proc/[0-9]*') {
        my ($pid) = $dir =~ /(\d+)$/;
        next if $pid == $$;
        my $line = eval { slurp("$dir/cmdline") } // next;
        my @about = ($line, map { readlink($_) // () } "$dir/cwd", glob "$dir/fd/*");
        push @found, "$pid " . $line =~ tr/\0/ /r if grep { index($_, "$home/") >= 0 } @about;
    }
    return @found;
}

sub sockets {
    my @found;
    find({ no_chdir => 1, wanted => sub { push @found, $_ if -S } }, $home) if -d $home;
    return @found;
}

sub nothing_left {
    my ($when) = @_;

    my @left = of_demo();
    is(scalar @left, 0, "$when: no process is left") or diag(map { "$_\n" } @left);
    my @socks = sockets();
    is(scalar @socks, 0, "$when: no socket is left") or diag(map { "$_\n" } @socks);
    return;
}

my @demo = ("$root/build.sh", 'demo');
# Whatever is exported, the demo sends nothing to it.
my %env = (
    OPENAI_API_KEY => 'sk-must-not-be-used', OPENAI_BASE_URL => 'http://127.0.0.1:9/v1',
    SLACK_BOT_TOKEN => 'xoxb-must-not-be-used', SLACK_API_URL => 'http://127.0.0.1:9/api/',
    STUDY_REDIS_SERVERS => 'unix:/nowhere', PGHOST => '/nowhere',
);

{
    my ($status, $said) = run_limited(\@demo, env => \%env, limit => 240);
    is($status, 0, 'the demo ends with 0') or diag($said);
    like($said, qr/^Summary$/m, '... with a summary');
    my %figure = $said =~ /^  ((?:events|answered|messages|digests) ?\S*)\s+(\d+)  ok$/mg;
    is($figure{'events sent'}, $figure{'answered 200'}, '... every event was answered 200');
    cmp_ok($figure{'digests delivered'} // 0, '>=', 4, '... digests were delivered');
    like($said, qr/time taken\s+[\d.]+ s/, '... and the time it took');
    nothing_left('after');
}

{
    my ($status, $said) = run_limited([ @demo, '--lang', 'en' ], env => \%env, limit => 240);
    is($status, 0, 'the demo in English') or diag($said);
    unlike($said, qr/\p{Hangul}/, '... has no Korean in it') if utf8::decode($said);
    nothing_left('after it');
}

# Ctrl-C at several points: as the terminal sends it, to the whole process group.
for my $point ('PostgreSQL', 'worker', 'the day', 'digests written') {
    my $dir = scratch_dir('demo');
    my $demo = StudyTest::Proc->start(name => 'demo', cmd => \@demo, log => "$dir/log", env => \%env);
    my $seen = eval { wait_for { !$demo->alive || slurp("$dir/log") =~ /\Q$point/ } 120, $point };
    ok($seen && $demo->alive, "the demo came to: $point") or diag(slurp("$dir/log"));
    kill INT => -$demo->pid;
    my $status = $demo->wait_exit(40);
    is(defined $status ? $status >> 8 || $status & 127 : 'still there', 130, "... and ends on Ctrl-C with 130")
        or diag(slurp("$dir/log"));
    $demo->stop('KILL');
    nothing_left("Ctrl-C at $point");
}

# Killed outright, it can clean up nothing itself; the kernel ends what it started.
{
    my $dir = scratch_dir('demo');
    my $demo = StudyTest::Proc->start(name => 'demo', cmd => \@demo, log => "$dir/log", env => \%env);
    eval { wait_for { !$demo->alive || slurp("$dir/log") =~ /the day/ } 120 };
    ok($demo->alive, 'a demo in the middle') or diag(slurp("$dir/log"));
    $demo->stop('KILL');
    my $gone = eval { wait_for { !of_demo() } 30, 'its processes to end'; 1 };
    ok($gone, 'kill -9: no process is left') or diag(join "\n", of_demo());
}

{
    my ($status, $said) = run_limited([ @demo, '--keep', '--lang', 'ko' ], env => \%env, limit => 240);
    is($status, 0, 'the demo with --keep ends with 0') or diag($said);
    my ($url) = $said =~ m{nginx counters\s+(http://\S+)};
    ok($url, '... and prints its addresses') or diag($said);
    my ($code, $page) = run_limited([ 'perl', '-MHTTP::Tiny', '-e', 'print HTTP::Tiny->new(timeout => 5)->get(shift)->{content}', $url // '' ]);
    like($page, qr/^study_nginx_events_total/m, '... and still answers');

    ($status, $said) = run_limited(\@demo, env => \%env, limit => 60);
    is($status >> 8, 1, 'a second one does not start beside it');
    like($said, qr/demo --stop/, '... and says how to end the first');
    if (-e "$home/running") {
        ($status, $said) = run_limited([ "$root/build.sh", 'clean' ], limit => 60);
        isnt($status, 0, 'build.sh clean does not pull the ground from under it');
    }

    ($status, $said) = run_limited([ @demo, '--stop' ], env => \%env, limit => 90);
    is($status, 0, '--stop ends it') or diag($said);
    nothing_left('after --stop');
}

{
    my ($status, $said) = run_limited([ @demo, '--real-openai' ], env => { %env, OPENAI_API_KEY => undef }, limit => 60);
    isnt($status, 0, '--real-openai without a key is refused');
    like($said, qr/OPENAI_API_KEY/, '... and says what is missing');
    ($status, $said) = run_limited([ @demo, '--real-openai' ], env => \%env, limit => 60);
    isnt($status, 0, '--real-openai without a terminal to ask on is refused');
    like($said, qr{made-up study messages.*to http://127\.0\.0\.1:9}s, '... after saying what would be sent, and where');
    nothing_left('after a refusal');
}

# The "real" ones, played by stand-ins outside the demo.
{
    my $dir = scratch_dir('demo-real');
    my $slack = StudyTest::StandIn->slack(dir => $dir, team => ['T0REAL:xoxb-real:U0REALBOT']);
    my $openai = StudyTest::StandIn->openai(dir => $dir, token => 'sk-real');
    my %real = (
        OPENAI_API_KEY => 'sk-real', OPENAI_BASE_URL => $openai->url,
        SLACK_BOT_TOKEN => 'xoxb-real', SLACK_API_URL => $slack->url,
    );
    my ($status, $said) = run_limited(
        [ @demo, '--real-openai', '--real-slack', '--slack-user', 'U0REAL1', '--lang', 'en', '--yes' ],
        env => { %env, %real }, limit => 240,
    );
    is($status, 0, 'the demo with a real model and a real workspace') or diag($said);
    like($said, qr/to U0REAL1 in the workspace/, '... says to whom it writes');
    is($openai->count('chat/completions'), 1, '... asks the model once a member');
    my @got = $slack->messages(team => 'T0REAL', user => 'U0REAL1');
    cmp_ok(scalar @got, '>=', 2, '... and the member has a notice and a digest');
    unlike(join(' ', map { slurp($_) } grep { -f } glob "$home/*/*.log"), qr/sk-real|xoxb-real/, '... no log holds a key');
    nothing_left('after it');
}

done_testing;
