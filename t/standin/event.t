# The builders of events, and Slack's own published signature.

use strict;
use warnings;

use JSON::PP qw(encode_json);
use Test::More;

use StudyTest::Event qw(:all);
use StudyTest::Slack qw(signature);

is(signature('8f742231b10e8888abcd99yyyzzz85a5', 1531420618,
        'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar'
            . '&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack'
            . '.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a'
            . '0bc887a14d10d2c447fce8b6703c'),
    'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503', "Slack's documented signature");

my $first = message(team => 'T1', channel => 'C1', user => 'U1', text => 'one');
is($first->{team_id}, 'T1', 'the team is the envelope\'s');
is($first->{event}{text}, 'one', 'the text is the event\'s');
isnt(message()->{event_id}, $first->{event_id}, 'ids are unique');
my @ts = map { next_ts() } 1 .. 1000;
ok(!(grep { $ts[$_] le $ts[$_ - 1] } 1 .. $#ts), 'timestamps rise');

my $edit = edited($first, text => 'two', edited_ts => '1700000000.000001');
is($edit->{event}{message}{ts}, $first->{event}{ts}, 'an edit names its message');
is($edit->{event}{message}{edited}{ts}, '1700000000.000001', 'and when');
is($edit->{event}{previous_message}{text}, 'one', 'with what was before');
is($first->{event}{text}, 'one', 'the original is left alone');
is($edit->{team_id}, 'T1', 'an edit is of the same team');
is(deleted($first)->{event}{deleted_ts}, $first->{event}{ts}, 'a deletion');
is(tombstone($first)->{event}{message}{subtype}, 'tombstone', 'a tombstone');
ok(!unfurled($first)->{event}{message}{edited}, 'an unfurled link is no edit');
is(reply($first)->{event}{thread_ts}, $first->{event}{ts}, 'a reply');
is(broadcast($first)->{event}{root}{text}, 'one', 'a broadcast carries its root');
isnt(grid_message()->{team_id}, grid_message()->{authorizations}[0]{team_id}, 'a grid has two teams');
ok(!exists app_rate_limited()->{event}, 'no inner event');
for my $kind (qw(file_share me_message bot_message direct_message group_message private_message external_message
    channel_join member_joined channel_rename app_home_opened tokens_revoked app_uninstalled team_join user_change team_rename reaction)) {
    my $event = StudyTest::Event->can($kind)->();
    ok($event->{event}{type} && $event->{event_id} && encode_json($event), $kind);
}

done_testing;
