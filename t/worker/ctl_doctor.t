#!/usr/bin/perl

# studyctl doctor over a whole chain: all is well; then one fault after another, each found,
# with what to do, and the exit status. And studyctl team check, and the rights that the
# manifest asks for.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use JSON::PP qw(decode_json);
use POSIX qw(strftime);

use StudyTest::Chain;
use StudyTest::Proc qw(free_port root_dir slurp spew wait_for);

my $chain = StudyTest::Chain->start(durable => 1, config => { store => { lease => '3s' } });
my $worker = $chain->worker;
my $dbh = $chain->dbh;
$dbh->do("INSERT INTO study.team (team_id) VALUES ('T0STUDY') ON CONFLICT DO NOTHING");
my ($secret_file) = @{ $chain->nginx->{secret_files} };
my @url = ('--url', $chain->nginx->url, '--signing-secret-file', $secret_file);

sub ctl { my ($status, $said) = $worker->ctl(@_); return ($status >> 8, $said) }

sub doctor {
    my ($status, $said) = ctl('doctor', '--json', @_);
    my $got = eval { decode_json($said) } or die "doctor @_: $said";
    return ($status, $got);
}

sub findings {
    my ($got, $area, $check) = @_;
    return grep { $_->{area} eq $area && (!defined $check || $_->{check} eq $check) } @{ $got->{checks} };
}

# The chain with a fault: doctor fails, or warns, of that and says what to do.
sub finds {
    my ($name, $finding, $area, $like, @args) = @_;
    my ($status, $got) = doctor(@args);
    is($status, $finding eq 'fail' ? 1 : 0, "$name: exit status") or diag explain [ grep { $_->{finding} eq 'fail' } @{ $got->{checks} } ];
    my ($found) = grep { $_->{finding} eq $finding && $_->{said} =~ $like } findings($got, $area);
    ok($found, "... $finding in $area") or diag explain [ findings($got, $area) ];
    ok(length($found->{remedy} // ''), '... with what to do');
    return $got;
}

# --- all is well ----------------------------------------------------------------------------

ok((wait_for { $chain->value('SELECT url FROM study.team') } 20), 'the workspace is known');
my ($status, $got) = doctor(@url);
is($status, 0, 'all is well') or diag explain [ grep { $_->{finding} eq 'fail' } @{ $got->{checks} } ];
is_deeply([ map {"$_->{area} $_->{said}"} grep { $_->{finding} eq 'fail' } @{ $got->{checks} } ], [], '... no failure');
for my $area (qw(files redis postgres work worker slack model nginx clocks)) {
    ok(scalar(findings($got, $area)), "... $area was looked at");
}
is($got->{ok} + $got->{warn} + $got->{unknown}, scalar @{ $got->{checks} }, '... counted');
my ($probe) = findings($got, 'nginx', 'probe');
like($probe->{said}, qr/^answered after \d+ ms, applied within \d+ ms$/, 'a signed event went through');
is($dbh->selectrow_array("SELECT count(*) FROM study.applied WHERE identity LIKE 'event:EvDOCTOR%'"), 1, '... to its row');
is($dbh->selectrow_array("SELECT count(*) FROM study.team WHERE team_id = 'T0DOCTOR'"), 0, '... and changed nothing');
my @clocks = findings($got, 'clocks');
cmp_ok(scalar @clocks, '>=', 3, 'clocks of Redis, PostgreSQL and nginx') or diag explain \@clocks;
like((findings($got, 'model', 'server'))[0]{said}, qr/^\Q@{[ $chain->openai->url ]}\E\S* answers in \d+ ms$/, "the model's server answers");
is((findings($got, 'model', 'model'))[0]{finding}, 'ok', '... and has the model') or diag explain [ findings($got, 'model') ];
like((ctl('doctor'))[1], qr/^ok    postgres: migrations: all \d+ are applied\n(?:.*\n)+\n\d+ ok, \d+ unknown, \d+ warnings?, 0 failures$/m, 'for people');
is((doctor('--url', $chain->nginx->url . '/slack/events', @url[ 2, 3 ]))[0], 0, 'the whole URL will do');
unlike((ctl('doctor', @url))[1], qr/\Q@{[ $chain->secret ]}\E|xoxb-|sk-standin/, 'no secret shows');
is_deeply([ $chain->redis->client->keys('*doctor*') ], [], 'nothing of it stays in Redis');

# --- faults ------------------------------------------------------------------------------------

my $wrong = spew($chain->dir . '/wrong-secret', "nonsense\n", 0600);
finds('another signing secret', 'fail', 'nginx', qr/status 401/, @url[ 0, 1 ], '--signing-secret-file', $wrong);
finds('not the module', 'fail', 'nginx', qr/status 404/, '--url', $chain->nginx->url . '/elsewhere', @url[ 2, 3 ]);
finds('no nginx', 'fail', 'nginx', qr/refused|connect/i, '--url', 'http://127.0.0.1:' . free_port(), @url[ 2, 3 ]);
chmod 0644, $secret_file;
finds('a secret that all may read', 'fail', 'files', qr/can be read by others \(mode 644\)/, @url);
chmod 0600, $secret_file;
{
    local $ENV{STUDY_SLACK_TOKEN_DIR} = $chain->dir . '/tokens';
    mkdir $ENV{STUDY_SLACK_TOKEN_DIR} or die "tokens: $!";
    chmod 0755, $ENV{STUDY_SLACK_TOKEN_DIR};
    my ($tokens) = grep { $_->{check} eq 'token_dir' } findings(
        finds('tokens that all may list', 'fail', 'files', qr/tokens can be read by others \(mode 755\)/, @url), 'files');
    like($tokens->{remedy}, qr/^chmod 700/, '... and the worker may still enter');
}

$dbh->do('ALTER ROLE "study-worker" RESET log_error_verbosity');
finds('words in the log of PostgreSQL', 'warn', 'postgres', qr/refuses study-worker, PostgreSQL's log quotes what a member wrote/);
$dbh->do('ALTER ROLE "study-worker" SET log_error_verbosity = terse');

ctl('pause', 'store', '--reason', 'for the test');
sleep 2;
$got = finds('a paused store', 'fail', 'nginx', qr/it lies in unix:/, @url);
ok((grep { $_->{finding} eq 'warn' && $_->{said} =~ /store is paused.*for the test/ } findings($got, 'work')), '... the pause is told of, too');
ctl('resume', 'store');

my $client = $chain->redis->client;
$client->acl('SETUSER', 'study-worker', '-zadd');
finds('a right that is missing', 'fail', 'redis', qr/lacks 1 rights: ZADD/);
$client->acl('SETUSER', 'study-worker', '+zadd');
$client->acl('SETUSER', 'study-worker', '-bgrewriteaof');
finds('the right that forgetting needs', 'fail', 'redis', qr/lacks 1 rights: BGREWRITEAOF/);
$client->acl('SETUSER', 'study-worker', '+bgrewriteaof');
$client->config('SET', 'maxmemory-policy', 'allkeys-lru');
finds('a Redis that evicts', 'fail', 'redis', qr/can lose what it acknowledged/);
$client->config('SET', 'maxmemory-policy', 'noeviction');

$dbh->do("INSERT INTO study.dead_event (reason, detail, element, element_sha) VALUES ('bad_json', 'x', 'x', sha256('x'))");
finds('dead events', 'warn', 'work', qr/^1 elements could not be stored/);
$dbh->do('DELETE FROM study.dead_event');
$dbh->do("UPDATE study.migration SET checksum = sha256('other') WHERE name LIKE '0001%'");
finds('a migration that is another', 'fail', 'postgres', qr/0001_tables/);
$dbh->do("UPDATE study.migration SET checksum = sha256(convert_to(?, 'UTF8')) WHERE name LIKE '0001%'", undef, slurp(root_dir() . '/sql/0001_tables.sql'));
my ($name, $sum) = $dbh->selectrow_array('DELETE FROM study.migration WHERE name = (SELECT max(name) FROM study.migration) RETURNING name, checksum');
finds('a pending migration', 'fail', 'postgres', qr/1 of \d+ are pending/);
$dbh->do("INSERT INTO study.migration (name, checksum) SELECT ?, decode(?, 'hex')", undef, $name, unpack 'H*', $sum);
$dbh->do('REVOKE ALL ON study.lane FROM study_worker');
finds('a right on a table', 'fail', 'postgres', qr/study_worker may not SELECT study\.lane/);
$dbh->do('GRANT SELECT, INSERT, UPDATE, DELETE ON study.lane TO study_worker');

$chain->openai->fault({ kind => 'status', status => 401, count => 1 });
finds('a key that the model refuses', 'fail', 'model', qr/key is refused/);
$chain->openai->set(token => 'sk-another');
finds('a key that is not the right one', 'fail', 'model', qr/key is refused/);
$chain->openai->set(token => undef);
$chain->openai->fault({ kind => 'status', status => 500, count => 1 });
finds('a model that is ill', 'fail', 'model', qr/status 500/);
$chain->openai->fault({ kind => 'status', status => 404, count => 1 });
finds('a server without a list of models', 'warn', 'model', qr/it answers, and shows no models/);
{
    local $worker->{openai_url} = 'http://127.0.0.1:' . free_port() . '/v1';
    $worker->write_config;
    finds('no way to the model', 'fail', 'model', qr/refused|connect/i);
}

# A proxy is asked for what is elsewhere, and for nothing on this machine.
{
    my $port = free_port();
    local $ENV{http_proxy} = "http://127.0.0.1:$port";
    $worker->write_config;
    is((doctor())[0], 0, 'without the proxy to the stand-ins');
    local $worker->{openai_url} = 'http://model.invalid/v1';
    $worker->write_config;
    finds('a proxy that is not there', 'fail', 'model', qr/127\.0\.0\.1 port $port/);
}
$worker->write_config;

# Slack's clock is its answers' Date.
sub slack_clock {
    my ($date) = @_;
    $chain->slack->fault({ kind => 'status', status => 200, match => { method => 'auth.test' }, headers => { Date => $date },
        body => { ok => JSON::PP::true, team_id => 'T0STUDY', team => 'study', user_id => 'U0STUDYBOT', url => 'https://t0study.slack.com/' } });
    my (undef, $got) = doctor();
    $chain->slack->clear_faults;
    my ($found) = findings($got, 'clocks', 'Slack');
    return $found ? "$found->{finding}: " . $found->{said} =~ s/^\d+\.\d s //r . (length $found->{remedy} ? '; ' . $found->{remedy} =~ s/:.*//r : '') : 'none';
}
sub date { return strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time + $_[0])) }
like(slack_clock(date(0)), qr/^ok: \w/, "Slack's clock is right");
is(slack_clock(date(40)), "warn: ahead of this machine's; timedatectl on both machines", '... is ahead');
is(slack_clock(date(-600)), "fail: behind this machine's; timedatectl on both machines", '... is far behind');
is(slack_clock('yesterday'), 'none', '... says nothing');

$chain->slack->fault({ kind => 'error', error => 'account_inactive', method => 'auth.test', count => 1 });
finds('a workspace that keeps us out', 'fail', 'slack', qr/T0STUDY: account_inactive/);

# --- team check --------------------------------------------------------------------------------

($status, my $said) = ctl('team', 'check', '--json');
is($status, 0, 'team check') or diag $said;
my ($team) = @{ decode_json($said) };
is_deeply([ @$team{qw(team_id ok token missing problem)} ], [ 'T0STUDY', JSON::PP::true, 'shared', undef, undef ], '... all is well');
$dbh->do("UPDATE study.team SET url = 'https://old.slack.com/', state = 'stopped', stopped_reason = 'token_revoked'");
is(decode_json((ctl('team', 'check', 'T0STUDY', '--json'))[1])->[0]{changed}, 'active again', 'a stopped one goes on');
unlike($chain->value('SELECT url FROM study.team'), qr/old/, '... under its address of now');
$chain->slack->seed({ id => 'T0STUDY', scopes => 'chat:write,im:write' });
($status, $said) = ctl('team', 'check', '--json');
is($status, 1, 'rights that are missing');
like(decode_json($said)->[0]{missing}, qr/channels:history/, '... are named');
is((ctl('team', 'check', 'T9'))[0], 1, 'a workspace that there is not');
is((ctl('team', 'set', 'T0STUDY', '--language', 'en'))[0], 0, 'team set');
is($chain->value('SELECT language FROM study.team'), 'en', '... its language');
is((ctl('team', 'set', 'T0STUDY', '--language', 'fr'))[0], 2, '... not any');
$dbh->do("INSERT INTO study.member (team_id, user_id) VALUES ('T0STUDY', 'U0000001')");
($status, $said) = ctl(qw(member set T0STUDY U0000001 --digests off --language ko --consent yes --json));
is($status, 0, 'member set') or diag $said;
is_deeply([ @{ decode_json($said)->{member} }{qw(digests language consent)} ], [ JSON::PP::false, 'ko', 'yes' ], '... what was told');
is((ctl(qw(member set T0STUDY U0000001)))[0], 2, '... and nothing is no order');
is((ctl(qw(member set T0STUDY U9 --digests on)))[0], 1, '... nor is nobody');

# --- without the parts --------------------------------------------------------------------------

$worker->stop;
finds('no worker', 'fail', 'worker', qr/connect|refused/i);
$chain->redis->stop;
finds('no Redis', 'fail', 'redis', qr/Redis unix:/);
($status, $said) = $worker->ctl({ login => 'nobody-of-ours' }, 'doctor', '--json');
is($status >> 8, 1, 'no way into PostgreSQL');
ok((grep { $_->{finding} eq 'fail' && $_->{area} eq 'postgres' } @{ decode_json($said)->{checks} }), '... is found, and the rest still looked at');
is((ctl(qw(doctor extra)))[0], 2, 'a wrong command line');

# --- the manifest -----------------------------------------------------------------------------------

{
    my $manifest = slurp(root_dir() . '/conf/slack-manifest.yaml');
    my ($bot) = $manifest =~ /^    bot:\n((?:      .*\n)+)/m;
    my %asked = map { /^      (# )?- ([\w.:]+)/ ? ($2 => $1 ? 1 : 0) : () } split /\n/, $bot;
    my $table = slurp(root_dir() . '/worker/slack/scopes.c');
    my %held;
    $held{$1} = $2 eq 'NULL' ? 0 : 1 while $table =~ /^    \{"([\w.:]+)", ("\w+"|NULL),/mg;
    is_deeply(\%held, \%asked, 'the rights that are looked for are those of the manifest');
}
$chain->stop;
done_testing;
