#!/usr/bin/perl

# What a member meets, through nginx and every real part: the channel's notice, their own,
# the yes, the digest and their word on it, the commands; and what is not recorded, and
# what a model is never told.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::PP ();
use Test::More;

use StudyTest::Chain;
use StudyTest::Event qw(bot_message direct_message external_message group_message member_joined message private_message);
use StudyTest::Proc qw(wait_for);

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);

my $USER = 'U0MEMBER01';
my $chain = StudyTest::Chain->start(
    teams => { T0STUDY => { language => 'en', seed => {
        channels => [ { id => 'C0STUDY', name => 'study', members => [$USER], is_member => JSON::PP::true } ],
        users => [ { id => $USER, name => 'haneul', real_name => 'Haneul Testname', locale => 'en-GB', tz => 'Europe/London' } ],
    } } },
    config => { privacy => { consent => 'opt_in' } },
);
my ($sender, $slack, $openai) = map { $chain->$_ } qw(sender slack openai);
my $asked = 0;

sub url { return $slack->origin . '/response/e' . ++$asked }

sub answer {
    my $got;
    wait_for { ($got) = grep { $_->{path} eq "/response/e$asked" } $slack->received('response_url'); $got } 30, 'an answer';
    my $message = JSON::PP->new->utf8->decode(do { my $b = $got->{body}; utf8::encode($b) if utf8::is_utf8($b); $b });
    return join "\n", map { $_->{text}{text} } grep { $_->{type} eq 'section' } @{ $message->{blocks} };
}

sub ask {
    my ($text) = @_;
    is($sender->command(user_id => $USER, text => $text, response_url => url())->{status}, 200, "/study $text is taken");
    return answer();
}

sub press {
    my ($button) = @_;
    my %payload = (
        type => 'block_actions', team => { id => 'T0STUDY' }, user => { id => $USER, team_id => 'T0STUDY' }, response_url => url(),
        actions => [ { type => 'button', map { $_ => $button->{$_} } qw(action_id value) } ],
    );
    is($sender->interaction(\%payload)->{status}, 200, "$button->{action_id} is taken");
    return answer();
}

sub buttons { my ($message) = @_; return map { @{ $_->{elements} } } grep { $_->{type} eq 'actions' } @{ $message->{blocks} } }
sub dms { return grep { ($_->{metadata}{event_type} // '') eq $_[0] } $slack->messages(team => 'T0STUDY', user => $USER) }

# --- invited -------------------------------------------------------------------------------

$sender->event(member_joined());
ok(wait_for(sub { $slack->messages(team => 'T0STUDY', channel => 'C0STUDY') }, 30), 'the channel is told when the bot comes');

# --- what is recorded, and what is not --------------------------------------------------------

my @not = (
    direct_message(user => $USER, text => 'DIRECT and nobody else reads it, I hope.'),
    group_message(user => $USER, text => 'GROUP of three, and only for those three.'),
    bot_message(text => 'BOTSAYS that the build has passed once more.'),
    external_message(text => 'EXTERNAL person of another organisation speaks.'),
    private_message(user => $USER, text => 'PRIVATE channel, which no setting lets in.'),
);
my $note = message(user => $USER, text => 'Read about lock-free queues today, and <@U0FRIEND99> explained the ABA problem.');
is($sender->event($_)->{status}, 200, 'taken') for @not, $note;
$chain->wait_drained;
is_deeply($chain->dbh->selectcol_arrayref('SELECT ts FROM study.message'), [ $note->{event}{ts} ], 'one row: what was written in the channel');
is_deeply($chain->dbh->selectcol_arrayref('SELECT user_id FROM study.member'), [$USER], 'one member');
is($chain->value('SELECT count(*) FROM study.dead_event'), 0, 'nothing lies dead');
like(ask('today'), qr/notes you left today: 1/, 'which the member can see');

# --- told, asked, agreed ------------------------------------------------------------------------

$sender->trigger(schedule => 'daily', key => 'members');
ok(wait_for(sub { dms('study_notice') }, 60), 'the member is told before the first digest');
$chain->wait_value("SELECT count(*) FROM study.member WHERE noticed_at IS NOT NULL", 1);
is($chain->value('SELECT state FROM study.digest'), 'pending', 'which waits for a yes');
is(scalar $openai->received('chat/completions'), 0, 'the model has been asked nothing');
my ($yes) = buttons(dms('study_notice'));
is($yes->{action_id}, 'study_consent', 'the notice has a button');
like(press($yes), qr/you agree/, 'which is answered');

ok(wait_for(sub { dms('study_digest') }, 60), 'and brings the digest');
my ($digest) = dms('study_digest');
my ($helped) = grep { $_->{action_id} eq 'study_helped' } buttons($digest);
like(press($helped), qr/Thank you/, 'with a button that is answered, too');
is($chain->value('SELECT answer FROM study.feedback'), 'helped', 'and counted');

my $told = join ' ', map { $_->{body} } $openai->received('chat/completions');
like($told, qr/lock-free queues/, 'the model was told what was written');
unlike($told, qr/$USER|U0FRIEND99|C0STUDY|T0STUDY|[Hh]aneul|Testname/, 'and no name, no id');
unlike($told, qr/DIRECT|GROUP|BOTSAYS|EXTERNAL|PRIVATE/, 'nor what was said elsewhere');

# --- stopped --------------------------------------------------------------------------------------

my $calls = () = $openai->received('chat/completions');
like(ask('off'), qr/look back is off/, 'off');
$sender->event(message(user => $USER, text => 'Something more about memory ordering, after saying no.'));
$chain->wait_drained;
$sender->trigger(schedule => 'daily', key => 'members-2');
$chain->wait_value("SELECT count(*) FROM study.firing WHERE state = 'done'", 2, 60);
ok(wait_for(sub { !$chain->value("SELECT count(*) FROM study.digest WHERE state IN ('pending', 'running')") }, 30), 'no digest is left to make');
is(scalar dms('study_digest'), 1, 'none is sent');
is(scalar(my @now = $openai->received('chat/completions')), $calls, 'and the model is not asked');

# --- forgotten ------------------------------------------------------------------------------------

like(ask('forget'), qr/Delete all that is kept/, 'forgetting asks back');
like(press({ action_id => 'study_forget', value => $USER }), qr/being deleted/, 'and is done');
for my $table (qw(message member digest)) {
    ok(wait_for(sub { !$chain->value("SELECT count(*) FROM study.$table WHERE user_id = ?", $USER) }, 60), "no $table is left");
}

$chain->stop;
done_testing;
