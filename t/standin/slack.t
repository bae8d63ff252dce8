# The stand-in for Slack: arguments, errors, state and limits as Slack has them.

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use StudyTest::Proc qw(scratch_dir);
use StudyTest::StandIn;

my $slack = StudyTest::StandIn->slack(dir => scratch_dir('standin-slack'), team => ['T1:xoxb-1:UBOT1', 'T2:xoxb-2:UBOT2']);
my $http = HTTP::Tiny->new(timeout => 10);

sub api {
    my ($method, $args, %opt) = @_;
    my %headers = defined $opt{token} || !exists $opt{token} ? (authorization => 'Bearer ' . ($opt{token} // 'xoxb-1')) : ();
    $headers{'content-type'} = $opt{form} ? 'application/x-www-form-urlencoded' : 'application/json; charset=utf-8';
    my $answer = $http->post($slack->url . $method,
        {headers => \%headers, content => $opt{form} ? $http->www_form_urlencode($args) : encode_json($args)});
    my $body = eval { decode_json($answer->{content}) } // {};
    return wantarray ? ($body, $answer) : $body;
}

sub error_is { my ($method, $args, $error, @opt) = @_; is(api($method, $args, @opt)->{error}, $error, "$method: $error") }

# Tokens.
is(api('auth.test', {})->{team_id},                       'T1', 'a token finds its workspace');
is(api('auth.test', {}, token => 'xoxb-2')->{user_id}, 'UBOT2', 'another token, another workspace');
error_is('auth.test', {}, 'not_authed', token => undef);
error_is('auth.test', {}, 'invalid_auth', token => 'xoxb-9');
$slack->seed({id => 'T2', token_error => 'token_revoked'});
error_is('auth.test', {}, 'token_revoked', token => 'xoxb-2');
error_is('no.such', {}, 'unknown_method');

# Sending and finding again.
my $dm = api('conversations.open', {users => 'U1A'})->{channel}{id};
like($dm, qr/^D/, 'a DM is opened');
is(api('conversations.open', {users => 'U1A'}, form => 1)->{channel}{id}, $dm, 'again, by form: the same');
my $payload = {event_type => 'study_digest', event_payload => {outbox_id => '42'}};
my $sent = api('chat.postMessage', {channel => $dm, text => "\x{d559}\x{c2b5}", metadata => $payload});
ok($sent->{ok} && $sent->{ts}, 'posted');
my $form = api('chat.postMessage', {channel => $dm, text => 'two', metadata => encode_json($payload)}, form => 1);
cmp_ok($form->{ts}, '>', $sent->{ts}, 'timestamps rise');
is_deeply($form->{message}{metadata}, $payload, 'metadata as text in a form');

my $plain = api('conversations.history', {channel => $dm}, form => 1);
ok(!$plain->{messages}[0]{metadata}{event_payload}, 'no payload unless asked for');
my $all = api('conversations.history', {channel => $dm, include_all_metadata => 'true', limit => 1}, form => 1);
is($all->{messages}[0]{ts}, $form->{ts}, 'newest first');
is($all->{messages}[0]{metadata}{event_payload}{outbox_id}, '42', 'with its metadata');
ok($all->{has_more}, 'and more');
my $next = api('conversations.history', {channel => $dm, limit => 1, cursor => $all->{response_metadata}{next_cursor}}, form => 1);
is($next->{messages}[0]{text}, "\x{d559}\x{c2b5}", 'the next page');
is(@{api('conversations.history', {channel => $dm, oldest => $sent->{ts}}, form => 1)->{messages}}, 1, 'oldest is exclusive');
is(api('conversations.history', {channel => $dm})->{error}, 'invalid_arguments', 'a JSON body is not looked at where one reads');

# Arguments that Slack refuses.
sub section { return {type => 'section', text => {type => 'mrkdwn', text => 'x' x $_[0]}} }
error_is('chat.postMessage', {channel => 'nowhere', text => 'x'}, 'channel_not_found');
error_is('chat.postMessage', {channel => $dm, text => ''}, 'no_text');
error_is('chat.postMessage', {channel => $dm, text => 'x' x 40_001}, 'msg_too_long');
error_is('chat.postMessage', {channel => $dm, text => 'x', blocks => [section(3001)]}, 'invalid_blocks');
error_is('chat.postMessage', {channel => $dm, text => 'x', blocks => [map { section(1) } 1 .. 51]}, 'invalid_blocks');
error_is('chat.postMessage', {channel => $dm, text => 'x', blocks => [map { section(3000) } 1 .. 5]}, 'msg_blocks_too_long');
error_is('chat.postMessage', {channel => $dm, text => 'x',
    blocks => [{type => 'header', text => {type => 'plain_text', text => 'x' x 151}}]}, 'invalid_blocks');
error_is('chat.postMessage', {channel => $dm, text => 'x',
    metadata => {event_type => 'e', event_payload => {a => 'x' x 20_000}}}, 'metadata_too_large');
$slack->seed({id => 'T1', channels => [{id => 'C9ARCHIVED', is_archived => 1}, {id => 'C9OUT', is_member => 0}],
    users => [{id => 'U9GONE', deleted => 1}]});
error_is('chat.postMessage', {channel => 'C9ARCHIVED', text => 'x'}, 'is_archived');
error_is('chat.postMessage', {channel => 'C9OUT', text => 'x'}, 'not_in_channel');
error_is('conversations.open', {users => 'U9GONE'}, 'user_disabled');

# Threads, edits, people.
my $parent = $slack->say(team => 'T1', channel => 'C1A', user => 'U1A', text => 'parent');
my $reply = api('chat.postMessage', {channel => 'C1A', text => 'reply', thread_ts => $parent->{ts}});
is(@{api('conversations.replies', {channel => 'C1A', ts => $parent->{ts}}, form => 1)->{messages}}, 2, 'a thread has its replies');
is(@{api('conversations.history', {channel => 'C1A'}, form => 1)->{messages}}, 1, 'the history does not');
ok(api('chat.update', {channel => 'C1A', ts => $reply->{ts}, text => 'better'})->{ok}, 'updated');
error_is('chat.update', {channel => 'C1A', ts => $parent->{ts}, text => 'x'}, 'cant_update_message');
ok(api('chat.delete', {channel => 'C1A', ts => $reply->{ts}})->{ok}, 'deleted');
is(api('users.info', {user => 'U1A', include_locale => 'true'}, form => 1)->{user}{locale}, 'ko-KR', 'a user has a locale');
ok(api('views.publish', {user_id => 'U1A', view => {type => 'home', blocks => [section(9)]}})->{view}{id}, 'a home view');

# One message a second a channel, after a small burst.
$slack->set(post_burst => 1);
my $slow = api('conversations.open', {users => 'U1SLOW'})->{channel}{id};
ok(api('chat.postMessage', {channel => $slow, text => 'one'})->{ok}, 'the first at once');
my ($body, $answer) = api('chat.postMessage', {channel => $slow, text => 'two'});
is("$answer->{status} $body->{error}", '429 ratelimited', 'the second is limited');
is($answer->{headers}{'retry-after'}, 1, 'and told when');
is($slack->messages(team => 'T1', user => 'U1SLOW'), 1, 'what was refused is not there');
$slack->set(tiers => {'users.info' => 2});
my @ok = map { api('users.info', {user => 'U1A'}, form => 1)->{ok} ? 1 : 0 } 1 .. 3;
is("@ok", '1 1 0', 'a method has its calls a minute');

# Five answers to a response_url.
my @status = map { $http->post($slack->origin . '/response/T1/1',
    {headers => {'content-type' => 'application/json'}, content => '{"text":"done"}'})->{status} } 1 .. 6;
is("@status", '200 200 200 200 200 404', 'a response_url is used up');
is(($slack->received('response_url'))[0]{args}{text}, 'done', 'what it received');

is_deeply([map { $_->{message}{text} } grep { $_->{user} eq 'U1SLOW' } grep { defined $_->{user} } $slack->posted], ['one'], 'what the bot posted');
$slack->reset;
is($slack->counters->{requests}, 0, 'reset');
is(api('auth.test', {})->{team_id}, 'T1', 'keeps the workspaces it was started with');
$slack->set(strict => 1);
error_is('conversations.open', {users => 'U1NEW'}, 'user_not_found');

done_testing;
