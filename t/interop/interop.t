#!/usr/bin/perl

# The main job against programs that others wrote: `emulate`, a stateful Slack, and
# `aimock`, which speaks OpenAI's protocol, both from npm. Members post into emulate
# through its Web API; each message is wrapped and signed as Slack would and sent
# through nginx; the digest that aimock answered is found in the member's direct
# messages as emulate holds them, by the outbox_id in its metadata. The bot has the
# scopes of the app manifest that we ship, and emulate checks them.
#
# The packages are installed under build/interop by the committed lock file.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use File::Copy qw(copy);
use File::Path qw(make_path);
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use StudyTest::Chain;
use StudyTest::Event qw(message);
use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew);

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $root    = root_dir();
my $install = "$root/build/interop";
my $http    = HTTP::Tiny->new(timeout => 10);

sub give_up { diag "SKIPPED: interoperability: $_[0]"; plan skip_all => $_[0] }

# --- the two programs ------------------------------------------------------------------

sub tool { my ($status, $out) = run_limited([@_], limit => 20); return $status == 0 ? $out : undef }

my $version = (tool('node', '--version') // '') =~ /^v(\d+)/m ? $1 : give_up('there is no node');
give_up("node $version is older than 20") if $version < 20;
give_up('there is no npm') if !defined tool('npm', '--version');

sub install {
    my $lock = slurp("$FindBin::Bin/package-lock.json");
    return if -e "$install/installed" && slurp("$install/installed") eq $lock;
    make_path($install);
    copy("$FindBin::Bin/$_", "$install/$_") or die "$_: $!" for qw(package.json package-lock.json);
    my @npm = ('npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error');
    my ($status, $out) = run_limited(\@npm, dir => $install, limit => 300);
    give_up("npm ci failed: $out") if $status != 0;
    spew("$install/installed", $lock);
}
install();

my %member = (
    minji => { token => 'xoxp-minji', says => [
        '오늘은 가상 메모리와 페이지 폴트를 공부했습니다.',
        'TLB 미스와 페이지 폴트의 차이를 그림으로 정리했어요.',
    ] },
    sarah => { token => 'xoxp-sarah', says => [
        'Finished the chapter on quadratic approximation & its limits.',
        'Ran my first <MCMC> chains; two of four did not mix.',
    ] },
);
my %answer = (
    minji => {
        studied   => [ { text => '가상 메모리와 페이지 폴트를 공부하고 그림으로 정리하셨어요.', records => [ 1, 2 ] } ],
        went_well => [ { text => '헷갈리던 두 개념을 스스로 구분해 냈습니다.', records => [2] } ],
        try_next  => '내일은 예제 하나를 직접 실행해 보세요.',
    },
    sarah => {
        studied   => [ { text => 'You worked through the quadratic approximation.', records => [1] } ],
        went_well => [ { text => 'You ran your first chains and looked at how they mix.', records => [2] } ],
        try_next  => 'Try a narrower prior on one parameter.',
    },
);
my %about = (minji => '페이지 폴트', sarah => 'quadratic approximation');

sub manifest_scopes {
    my $manifest = slurp("$root/conf/slack-manifest.yaml");
    my ($bot) = $manifest =~ /^    bot:\n((?:      .*\n)+)/m or die 'no scopes in the manifest';
    return [ $bot =~ /^      - ([\w:.]+)/mg ];
}

my $dir = scratch_dir('interop');
spew("$dir/spec.json", encode_json({
    bot_token => 'xoxb-interop', scopes => manifest_scopes(), channel => 'study-log',
    members => [ map { { name => $_, token => $member{$_}{token} } } sort keys %member ],
    answers => [ map { { about => $about{$_}, json => $answer{$_} } } sort keys %answer ],
}));
my $peers = StudyTest::Proc->start(
    name => 'peers', dir => $install, log => "$dir/peers.log",
    cmd  => [ 'node', "$FindBin::Bin/server.mjs", "$dir/spec.json", "$dir/addresses.json" ],
);
$peers->ready(sub { -s "$dir/addresses.json" }, 60);
my $at = decode_json(slurp("$dir/addresses.json"));

# --- a workspace ------------------------------------------------------------------------

# By POST and form, as every method of Slack's takes it.
sub slack {
    my ($method, $token, %args) = @_;
    my %headers = (authorization => "Bearer $token");
    my $answer = $http->post_form("$at->{slack}/api/$method", \%args, { headers => \%headers });
    my $body = eval { decode_json($answer->{content}) } // {};
    die "$method: $answer->{status} $answer->{content}" if !$body->{ok};
    return $body;
}

sub page { my ($name, @how) = @_; return @{ slack(@how)->{$name} } }

my $team = slack('auth.test', 'xoxb-interop')->{team_id};
my ($channel) = map { $_->{id} } grep { $_->{name} eq 'study-log' } page('channels', 'conversations.list', 'xoxp-sarah');
$member{ $_->{name} }{id} = $_->{id} for grep { $member{ $_->{name} } } page('members', 'users.list', 'xoxp-sarah');
ok($team && $channel && !(grep { !$_->{id} } values %member), 'emulate has the workspace');

my $chain = StudyTest::Chain->start(
    dir => $dir, team => $team, slack_url => "$at->{slack}/api/", slack_token => 'xoxb-interop', openai_url => "$at->{openai}/v1",
);

# --- members write ----------------------------------------------------------------------

my $sent = 0;
for my $name (sort keys %member) {
    for my $text (@{ $member{$name}{says} }) {
        my $posted = slack('chat.postMessage', $member{$name}{token}, channel => $channel, text => $text);
        my $event = message(team => $team, %{ $posted->{message} }, channel => $posted->{channel},
            event_ts => $posted->{ts}, client_msg_id => undef, blocks => undef);
        is($chain->sender->event($event)->{status}, 200, "$name: an event is accepted");
        $sent++;
    }
}
$chain->wait_stored($sent, 30);
is($chain->value('SELECT count(*) FROM study.message'), $sent, 'stored as emulate has them');

# --- the schedule fires -------------------------------------------------------------------

is($chain->sender->trigger(schedule => 'daily', key => 'interop')->{status}, 202, 'the trigger is taken');
eval {
    $chain->wait_value("SELECT count(*) FROM study.outbox WHERE kind = 'digest' AND state = 'sent'", scalar keys %member, 60);
} or diag $@, $chain->complaints;

my %outbox = map { @$_ } @{ $chain->dbh->selectall_arrayref(
    "SELECT target, outbox_id::text FROM study.outbox WHERE kind = 'digest'") };
for my $name (sort keys %member) {
    my $id = $member{$name}{id};
    my $dm = slack('conversations.open', 'xoxb-interop', users => $id)->{channel}{id};
    my @held = page('messages', 'conversations.history', 'xoxb-interop', channel => $dm, include_all_metadata => 'true');
    my @digest = grep { ($_->{metadata}{event_payload}{outbox_id} // '') eq ($outbox{$id} // '?') } @held;
    is(@digest, 1, "$name: one digest in the direct messages that emulate holds");
    my $digest = $digest[0] // next;
    is($digest->{user}, 'U0STUDYBOT', '... from the bot');
    my $all = encode_json($digest);
    utf8::decode($all);
    like($all, qr/\Q$answer{$name}{studied}[0]{text}\E/, '... with what aimock answered');
    my ($other) = grep { $_ ne $name } keys %answer;
    unlike($all, qr/\Q$answer{$other}{studied}[0]{text}\E/, '... and nothing of the other');
    cmp_ok(scalar @held, '>', 1, '... after the notice');
    diag "$name, $dm, outbox_id $outbox{$id}:\n" . text_of($digest);
}

# What a member sees: the blocks' text, else the message's.
sub text_of {
    my ($message) = @_;
    my @lines = map { ref $_->{text} ? $_->{text}{text} : map { $_->{text} } @{ $_->{elements} // [] } }
        @{ $message->{blocks} // [] };
    return join "\n", @lines ? @lines : $message->{text};
}

my $journal = $http->get("$at->{openai}/__aimock/journal");
my @asked = grep { ($_->{path} // '') =~ m{/chat/completions$} } @{ decode_json($journal->{content}) };
is(@asked, scalar keys %member, 'aimock was asked once a member');
unlike($journal->{content}, qr/U[0-9A-F]{9}|minji|sarah/, '... and told no names and no ids');

$chain->stop;
$peers->stop;
is($peers->status, 0, 'the peers end in order');

done_testing;
