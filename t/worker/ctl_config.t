#!/usr/bin/perl

# studyctl config and study-worker -t: what is in force and where it came from, secrets
# hidden, and a bad file refused with file, line, key and range by both.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use JSON::PP qw(decode_json);
use StudyTest::Proc qw(build_dir root_dir run_limited scratch_dir spew);

my $build = build_dir();
my $dir = scratch_dir('ctl-config');
my $file = "$dir/study-worker.conf";

spew("$dir/redis-password", "hush-redis\n", 0600);
spew("$dir/token", "xoxb-hush\n", 0600);
mkdir "$dir/tokens";
spew("$dir/tokens/T1", "xoxb-team-hush\n", 0600);

sub config {
    my ($text, %env) = @_;
    unlink $file;
    spew($file, $text, 0600);
    return run_limited([ "$build/studyctl", '-c', $file, 'config', '--json' ], env => \%env, limit => 20);
}

sub effective {
    my ($status, $said) = config(@_);
    is($status, 0, 'the configuration is good') or diag $said;
    unlike($said, qr/hush/, '... and no secret is shown');
    return { map { ("$_->{section}.$_->{key}" => $_) } @{ decode_json($said) } };
}

my $good = <<'END';
[redis]
password_file = redis-password
servers = a:1
  b:2
[slack]
bot_token_file = token
token_dir = tokens
[store]
lease = 9s
[log]
file = worker.log
END
my $got = effective($good, STUDY_STORE_POLL => '2s', OPENAI_API_KEY => 'sk-hush', OPENAI_BASE_URL => 'http://127.0.0.1:8000/v1');
my %want = (
    'redis.password'    => [ '(hidden)',  'secret file' ],
    'redis.servers'     => [ 'a:1 b:2',   'study-worker.conf:3' ],
    'slack.bot_token'   => [ '(hidden)',  'secret file' ],
    'store.lease'       => [ '9s',        'study-worker.conf:9' ],
    'store.poll'        => [ '2s',        'environment' ],
    'openai.api_key'    => [ '(hidden)',  'environment' ],
    'openai.base_url'   => [ 'http://127.0.0.1:8000/v1', 'environment' ],
    'postgres.password' => [ '',          'default' ],
    'log.file'          => [ "$dir/worker.log", 'study-worker.conf:11' ],
);
is_deeply([ @{ $got->{$_} }{qw(value origin)} ], $want{$_}, $_) for sort keys %want;

my ($status, $said) = run_limited([ "$build/studyctl", '-c', $file, 'config' ], limit => 20);
is($status, 0, 'for people too');
like($said, qr/^\[store\] lease = 9s  \(study-worker\.conf:9\)$/m, '... with the origin');
unlike($said, qr/hush/, '... and no secret');

{
    local $ENV{STUDY_DIGEST_PROMPT_DIR} = root_dir() . '/conf/prompts';    # they need not be installed
    ($status, $said) = run_limited([ "$build/study-worker", '-t', '-c', $file ], limit => 20);
    is($status, 0, 'the worker says that it is good') or diag $said;
}

# --- what both refuse ------------------------------------------------------------------

my @bad = (
    [ "[store]\nlease = 5m\n",            qr/study-worker\.conf:2: \[store\] lease = 5m: expected 3s to 20s/ ],
    [ "[store]\nleese = 5s\n",            qr/study-worker\.conf:2: \[store\] has no key leese/ ],
    [ "\n\n[nosuch]\nx = 1\n",            qr/study-worker\.conf:4: there is no section \[nosuch\]/ ],
    [ "[redis]\npassword_file = none\n",  qr/study-worker\.conf:2: \[redis\] password_file: \S+none: No such file/ ],
    [ "[redis]\npassword = hush\n",       qr/study-worker\.conf:2: \[redis\] password: a secret stands in a file of its own/ ],
    [ "[log]\nlevel = info ; as ever\n",  qr/study-worker\.conf:2: a comment must stand on a line of its own/ ],
    [ "[log]\nfile = /" . 'x' x 300,      qr/study-worker\.conf:2: longer than 190 bytes/ ],
    [ '',                                 qr/STUDY_REDIS_DB = x: expected 0 to 65535/, STUDY_REDIS_DB => 'x' ],
    [ '',                                 qr/environment: STUDY_REDIS_DP names no setting/, STUDY_REDIS_DP => '1' ],
);
for my $case (@bad) {
    my ($text, $like, %env) = @$case;
    my ($code, $words) = config($text, %env);
    is($code >> 8, 1, 'studyctl stops');
    like($words, $like, '... with the reason');
    unlike($words, qr/hush/, '... and no secret');
    ($code, $words) = run_limited([ "$build/study-worker", '-t', '-c', $file ], env => \%env, limit => 20);
    is($code >> 8, 78, 'the worker stops');
    like($words, $like, '... with the same reason');
}

# A file that cannot be read, and a default one that is not there.
($status, $said) = run_limited([ "$build/studyctl", '-c', "$dir/none.conf", 'config' ], limit => 20);
is($status >> 8, 1, 'a file that is not there fails');
like($said, qr/none\.conf: No such file/, '... with the reason');
($status, $said) = run_limited([ "$build/studyctl", 'config', '--sample' ], env => { STUDY_STORE_LEASE => 'nonsense' }, limit => 20);
is($status, 0, 'the sample is printed whatever the configuration');
like($said, qr/^#lease = 15s$/m, '... with the defaults');

done_testing;
