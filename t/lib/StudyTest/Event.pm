package StudyTest::Event;

# Event envelopes as Slack sends them: every shape that the recorder must tell
# apart, with all the members that Slack's own samples have.
#
#   use StudyTest::Event qw(message edited deleted ...);
#   my $first = message(user => 'U1', channel => 'C1', text => 'read chapter 3');
#   my $edit  = edited($first, text => 'read chapters 3 and 4');
#   my $gone  = deleted($first);
#
# Each returns an envelope (a hash) with an event_id and a ts of its own, so that
# StudyTest::Slack can send it, and a test may change any member first.  Named
# arguments go into the inner event, except those of the envelope: team,
# event_id, event_time, api_app_id, enterprise, context_team, shared, bot.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use Storable qw(dclone);
use Time::HiRes ();

our @EXPORT_OK = qw(
    envelope next_ts message edited deleted tombstone unfurled reply broadcast file_share me_message bot_message
    direct_message group_message private_message external_message grid_message channel_join member_joined
    channel_rename app_home_opened tokens_revoked app_uninstalled team_join user_change team_rename reaction
    app_rate_limited url_verification
);
our %EXPORT_TAGS = (all => \@EXPORT_OK);

my ($TRUE, $FALSE) = (JSON::PP::true, JSON::PP::false);
my %DEFAULT = (team => 'T0STUDY', channel => 'C0STUDY', user => 'U000001', app => 'A0STUDY', bot => 'U0STUDYBOT');
my %OUTER   = map { $_ => 1 } qw(team event_id event_time api_app_id enterprise context_team shared bot);
my $run     = sprintf '%X%04X', time % 0xFFFFFF, $$ % 0xFFFF;
my ($serial, $last_us) = (0, 0);

# Slack's ts: Unix seconds and microseconds, unique in a channel; these rise.
sub next_ts {
    my $us = int(Time::HiRes::time() * 1e6);
    $last_us = $us > $last_us ? $us : $last_us + 1;
    return sprintf '%d.%06d', $last_us / 1_000_000, $last_us % 1_000_000;
}

sub _split {
    my (%in) = @_;
    my %outer = map { $_ => delete $in{$_} } grep { $OUTER{$_} } keys %in;
    return (\%outer, %in);
}

# Wraps an inner event.
sub envelope {
    my ($event, %in) = @_;
    my $team    = $in{team} // $DEFAULT{team};
    my $context = $in{context_team} // $team;
    my $grid    = $in{enterprise};
    return {
        token                 => 'legacy-verification-token',
        team_id               => $team,
        context_team_id       => $context,
        context_enterprise_id => $grid,
        defined $grid ? (enterprise_id => $grid) : (),
        api_app_id            => $in{api_app_id} // $DEFAULT{app},
        event                 => $event,
        type                  => 'event_callback',
        event_id              => $in{event_id} // sprintf('Ev%s%06d', $run, ++$serial),
        event_time            => $in{event_time} // int($event->{event_ts} // time),
        authorizations        => [{
            enterprise_id => $grid, team_id => $context, user_id => $in{bot} // $DEFAULT{bot}, is_bot => $TRUE,
            is_enterprise_install => $FALSE,
        }],
        is_ext_shared_channel => $in{shared} ? $TRUE : $FALSE,
        event_context         => '4-eyJldCI6Im1lc3NhZ2UifQ',
    };
}

sub _rich_text {
    my ($text) = @_;
    return [{
        type => 'rich_text', block_id => 'b' . ++$serial,
        elements => [{type => 'rich_text_section', elements => [{type => 'text', text => $text}]}],
    }];
}

sub message {
    my ($outer, %in) = _split(@_);
    my $team = $outer->{team} // $DEFAULT{team};
    my $ts   = $in{ts} // next_ts();
    my $text = $in{text} // 'Read chapter 3 and solved the exercises.';
    my %event = (
        type    => 'message', user => $DEFAULT{user}, text => $text,
        channel => $DEFAULT{channel}, channel_type => 'channel',
        ts      => $ts, event_ts => $ts, team => $team, client_msg_id => _uuid(),
        blocks  => _rich_text($text), %in,
    );
    delete $event{$_} for grep { !defined $event{$_} } keys %event;
    return envelope(\%event, %$outer);
}

sub _uuid {
    return sprintf '%08x-%04x-4%03x-8%03x-%012x', ++$serial, $$ % 0xFFFF, 1, 2, time;
}

# The envelope's members that a follow-up shares with the message's own.
sub _about {
    my ($first, $outer) = @_;
    return (
        team => $first->{team_id}, context_team => $first->{context_team_id},
        enterprise => $first->{context_enterprise_id},
        shared => $first->{is_ext_shared_channel}, bot => $first->{authorizations}[0]{user_id}, %$outer,
    );
}

sub _changed {
    my ($first, $outer, $new, %in) = @_;
    my $old = $first->{event};
    my $now = $in{event_ts} // next_ts();
    my %stored = %{dclone($old)};
    delete @stored{qw(channel channel_type event_ts)};
    return envelope(
        {
            type => 'message', subtype => 'message_changed', hidden => $TRUE,
            channel => $old->{channel}, channel_type => $old->{channel_type},
            message => {%stored, %$new}, previous_message => \%stored, ts => $now, event_ts => $now, %in,
        },
        _about($first, $outer)
    );
}

# text; edited_ts, to play an edit that is older than another.
sub edited {
    my ($first, @in) = @_;
    my ($outer, %in) = _split(@in);
    my $text = delete $in{text} // 'Read chapters 3 and 4.';
    my $when = delete $in{edited_ts} // next_ts();
    my %new = (text => $text, blocks => _rich_text($text), edited => {user => $first->{event}{user}, ts => $when});
    return _changed($first, $outer, \%new, %in);
}

# A link was expanded: message_changed with the same text and no edited.
sub unfurled {
    my ($first, @in) = @_;
    my ($outer, %in) = _split(@in);
    my %new = (attachments => [{from_url => 'https://example.com/', title => 'Example Domain', id => 1}]);
    return _changed($first, $outer, \%new, %in);
}

# A deleted parent of a thread stays as a tombstone.
sub tombstone {
    my ($first, @in) = @_;
    my ($outer, %in) = _split(@in);
    my %new = (
        subtype => 'tombstone', text => 'This message was deleted.', user => 'USLACKBOT', hidden => $TRUE,
        reply_count => 1, thread_ts => $first->{event}{ts},
    );
    my $envelope = _changed($first, $outer, \%new, %in);
    delete @{$envelope->{event}{message}}{qw(blocks client_msg_id)};
    return $envelope;
}

sub deleted {
    my ($first, @in) = @_;
    my ($outer, %in) = _split(@in);
    my $old = $first->{event};
    my $now = $in{event_ts} // next_ts();
    my %stored = %{dclone($old)};
    delete @stored{qw(channel channel_type event_ts)};
    return envelope(
        {
            type => 'message', subtype => 'message_deleted', hidden => $TRUE,
            channel => $old->{channel}, channel_type => $old->{channel_type},
            deleted_ts => $old->{ts}, previous_message => \%stored, ts => $now, event_ts => $now, %in,
        },
        _about($first, $outer)
    );
}

sub _in_thread {
    my ($first) = @_;
    my $old = $first->{event};
    return (
        _about($first, {}), channel => $old->{channel}, channel_type => $old->{channel_type},
        thread_ts => $old->{thread_ts} // $old->{ts}, parent_user_id => $old->{user},
    );
}

sub reply {
    my ($first, %in) = @_;
    return message(_in_thread($first), text => 'And the exercises too.', %in);
}

sub broadcast {
    my ($first, %in) = @_;
    my $root = dclone($first->{event});
    delete @$root{qw(channel channel_type event_ts)};
    return message(_in_thread($first), subtype => 'thread_broadcast', root => $root, text => 'Also for all.', %in);
}

sub file_share {
    my (%in) = @_;
    my $user = $in{user} // $DEFAULT{user};
    my $name = delete $in{file} // 'notes.pdf';
    my $id   = sprintf 'F%08d', ++$serial;
    return message(
        subtype => 'file_share', text => 'My notes', upload => $FALSE, display_as_bot => $FALSE,
        files   => [{
            id => $id, created => time, timestamp => time, name => $name, title => $name, mimetype => 'application/pdf',
            filetype => 'pdf', pretty_type => 'PDF', user => $user, editable => $FALSE, size => 52345, mode => 'hosted',
            is_external => $FALSE, is_public => $TRUE, public_url_shared => $FALSE,
            url_private => "https://files.slack.com/files-pri/T0STUDY-$id/$name",
            permalink => "https://t0study.slack.com/files/$user/$id/$name", has_rich_preview => $FALSE,
            file_access => 'visible',
        }],
        %in
    );
}

sub me_message { return message(subtype => 'me_message', text => 'is reading chapter 5', @_) }

sub bot_message {
    return message(
        subtype => 'bot_message', user => undef, client_msg_id => undef, bot_id => 'B0OTHER', app_id => 'A0OTHER',
        username => 'another-app', text => 'Build 42 passed.', bot_profile => {id => 'B0OTHER', app_id => 'A0OTHER',
            name => 'another-app', team_id => 'T0STUDY', deleted => $FALSE, updated => 1700000000, icons => {}}, @_
    );
}

sub direct_message  { return message(channel => 'D000001', channel_type => 'im',    text => 'only for you', @_) }
sub group_message   { return message(channel => 'G000001', channel_type => 'mpim',  text => 'for three',    @_) }
sub private_message { return message(channel => 'C0SECRET', channel_type => 'group', text => 'in private',  @_) }

# Someone of another organisation, in a channel shared with it.
sub external_message {
    my (%in) = @_;
    my $other = delete $in{other_team} // 'T0OTHER';
    my $first = message(
        shared => 1, user => 'U0OTHER1', user_team => $other, source_team => $other, text => 'from outside', %in);
    $first->{event}{team} = $other;
    $first->{event}{user_profile} = {
        team => $other, name => 'guest', real_name => 'A Guest', display_name => 'guest', is_restricted => $FALSE,
        is_ultra_restricted => $FALSE, avatar_hash => '', image_72 => '', first_name => 'A',
    };
    return $first;
}

# Enterprise Grid: the outer team_id is not the workspace that is meant.
sub grid_message {
    my (%in) = @_;
    my $context = delete $in{context_team} // 'T0STUDY';
    my $grid    = delete $in{enterprise}   // 'E0GRID';
    my $first   = message(%in, context_team => $context, enterprise => $grid);
    $first->{team_id} = $in{team} // 'T0GRIDHUB';
    $first->{event}{team} = $context;
    return $first;
}

sub channel_join {
    my (%in) = @_;
    my $user = $in{user} // $DEFAULT{user};
    return message(subtype => 'channel_join', text => "<\@$user> has joined the channel",
        client_msg_id => undef, blocks => undef, inviter => 'U000002', %in);
}

# An event that is no message: %default, overridden by @in.
sub _other {
    my ($default, @in) = @_;
    my ($outer, %in) = _split(@in);
    my %event = (%$default, event_ts => next_ts(), %in);
    return envelope(\%event, %$outer);
}

# user is the bot's own when it was invited.
sub member_joined {
    return _other({type => 'member_joined_channel', user => $DEFAULT{bot}, channel => $DEFAULT{channel},
        channel_type => 'C', team => $DEFAULT{team}, inviter => 'U000001'}, @_);
}

sub channel_rename {
    my (%in) = @_;
    my %channel = (id => delete $in{channel} // $DEFAULT{channel}, name => delete $in{name} // 'study-renamed',
        is_channel => $TRUE, is_mpim => $FALSE, created => 1700000000);
    $channel{name_normalized} = $channel{name};
    return _other({type => 'channel_rename', channel => \%channel}, %in);
}

sub app_home_opened {
    return _other({type => 'app_home_opened', user => $DEFAULT{user}, channel => 'D000001', tab => 'home'}, @_);
}

sub tokens_revoked  { return _other({type => 'tokens_revoked', tokens => {oauth => [], bot => [$DEFAULT{bot}]}}, @_) }
sub app_uninstalled { return _other({type => 'app_uninstalled'}, @_) }

sub _user {
    my (%in) = @_;
    my $id = delete $in{id} // $DEFAULT{user};
    return {
        id => $id, team_id => $DEFAULT{team}, name => 'member1', deleted => $FALSE, real_name => 'Member One',
        tz => 'Asia/Seoul', tz_label => 'Korea Standard Time', tz_offset => 32400, locale => 'ko-KR', is_bot => $FALSE,
        is_admin => $FALSE, is_owner => $FALSE, is_restricted => $FALSE, is_ultra_restricted => $FALSE,
        is_app_user => $FALSE, updated => time, profile => {real_name => 'Member One', display_name => 'one',
            team => $DEFAULT{team}, status_text => '', image_72 => ''}, %in,
    };
}

# user => {...} changes what is named of the user's own members.
sub team_join {
    my (%in) = @_;
    my $u = delete $in{user} // {};
    return _other({type => 'team_join', user => _user(%$u)}, %in);
}

sub user_change {
    my (%in) = @_;
    my $u = delete $in{user} // {};
    return _other({type => 'user_change', user => _user(%$u), cache_ts => time}, %in);
}
sub team_rename { return _other({type => 'team_rename', name => 'Study Renamed'}, @_) }

# A type that nobody asked for.
sub reaction {
    return _other({type => 'reaction_added', user => $DEFAULT{user}, reaction => 'thumbsup', item_user => 'U000002',
        item => {type => 'message', channel => $DEFAULT{channel}, ts => next_ts()}}, @_);
}

# These two have no inner event and no event_id.
sub app_rate_limited {
    my (%in) = @_;
    return {token => 'legacy-verification-token', type => 'app_rate_limited', team_id => $in{team} // $DEFAULT{team},
        minute_rate_limited => $in{minute} // int(time / 60) * 60, api_app_id => $in{api_app_id} // $DEFAULT{app}};
}

sub url_verification {
    my (%in) = @_;
    return {token => 'legacy-verification-token', type => 'url_verification',
        challenge => $in{challenge} // '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P'};
}

1;
