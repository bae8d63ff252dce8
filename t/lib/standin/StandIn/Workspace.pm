package StandIn::Workspace;

# What Slack would hold: workspaces, their users, channels, direct messages and
# every message with its metadata.  Timestamps are unique and rise.  Memory is
# bounded: past max_messages the older half of every channel is forgotten, and
# counted.

use Mojo::Base -base, -signatures;

use Mojo::JSON qw(true false);
use Time::HiRes ();

has settings => sub { +{} };

sub team ($self, $id) {
    my $teams = $self->{teams};
    return (sort { $a->{id} cmp $b->{id} } values %$teams)[0] if !defined $id;
    return $teams->{$id} // die "no team $id\n";
}

sub by_token ($self, $token) { return $self->{tokens}{$token} }

# {id, token, token_error, name, domain, bot_user_id, bot_id, app_id, scopes,
#  enterprise_id, users: [{id, ...}], channels: [{id, name, members: [ids], ...}]}
# Seeding a team that exists changes what is named and keeps the rest.
sub seed_team ($self, $in) {
    my $id   = $in->{id} // die "a team needs an id\n";
    my $team = $self->{teams}{$id} //= {
        id     => $id, name => "Team $id", domain => lc $id, token => "xoxb-$id", app_id => 'A0STUDY',
        bot_id => "B$id", bot_user_id => "UBOT$id",
        scopes => 'channels:history,channels:read,chat:write,commands,im:history,im:write,team:read,users:read',
        users  => {}, channels => {}, dms => {},
    };
    delete $self->{tokens}{$team->{token}};
    for (grep { defined $in->{$_} } qw(token token_error name domain bot_user_id bot_id app_id scopes enterprise_id)) {
        $team->{$_} = $in->{$_};
    }
    delete $team->{token_error} if exists $in->{token_error} && !defined $in->{token_error};
    $self->{tokens}{$team->{token}} = $team;

    my $bot = {id => $team->{bot_user_id}, name => 'studytracker', is_bot => true};
    $self->_add_user($team, %$_) for $bot, @{$in->{users} // []};
    for my $channel (@{$in->{channels} // []}) {
        my %members = map { $_ => 1 } @{$channel->{members} // []};
        my $have    = $team->{channels}{$channel->{id}} //= _new_channel($channel->{id});
        $have->{$_} = $channel->{$_} for grep { $_ ne 'members' } keys %$channel;
        $have->{members} = {%{$have->{members}}, %members};
    }
}

sub _new_channel ($id, %more) {
    return {
        id => $id, name => lc $id, is_channel => true, is_im => false, is_private => $id =~ /^G/ ? true : false,
        is_member => true, members => {}, messages => [], by_ts => {}, %more,
    };
}

sub _add_user ($self, $team, %in) {
    my $user = $team->{users}{$in{id}} //= {
        name => lc $in{id}, real_name => "Member $in{id}", tz => $self->settings->{default_tz},
        locale => $self->settings->{default_locale},
    };
    $user->{$_} = $in{$_} for keys %in;
    return $user;
}

# --- look-ups ------------------------------------------------------------

# Unless strict, an id that looks right is taken to exist: a benchmark's
# thousands of members need no seeding.
sub user ($self, $team, $id) {
    return $team->{users}{$id} if $team->{users}{$id};
    return undef if $self->settings->{strict} || $id !~ /^[UW][A-Z0-9]{2,}$/;
    return $self->_add_user($team, id => $id);
}

sub channel ($self, $team, $id) {
    return undef                  if !defined $id;
    return $team->{channels}{$id} if $team->{channels}{$id};
    return undef                  if $self->settings->{strict} || $id !~ /^[CG][A-Z0-9]{2,}$/;
    return $team->{channels}{$id} = _new_channel($id);
}

sub dm_of ($self, $team, $user) { return $team->{dms}{$user} }

# (channel, undef) or (undef, error).
sub open_dm ($self, $team, @ids) {
    for my $id (@ids) {
        my $user = $self->user($team, $id) or return (undef, 'user_not_found');
        return (undef, $user->{open_error})       if $user->{open_error};
        return (undef, 'user_disabled')           if $user->{deleted};
        return (undef, 'cannot_dm_bot')           if $user->{is_bot} && @ids == 1;
    }
    my $key = join ',', sort @ids;
    my $dm  = $team->{dms}{$key};
    if (!$dm) {
        my $id = @ids == 1 ? 'D' . substr $ids[0], 1 : sprintf 'G%08d', ++$self->{groups};
        $dm = $team->{dms}{$key} = $team->{channels}{$id} = _new_channel(
            $id,
            is_channel => false, is_im => @ids == 1 ? true : false, is_mpim => @ids > 1 ? true : false, user => $ids[0],
            is_private => true, members => {map { $_ => 1 } @ids, $team->{bot_user_id}},
        );
    }
    return ($dm, undef);
}

# Where the bot may post; a user's id stands for the DM with that user.
sub channel_to_post ($self, $team, $id) {
    return $self->open_dm($team, $id) if $id =~ /^[UW]/;
    my $channel = $self->channel($team, $id) or return (undef, 'channel_not_found');
    return (undef, $channel->{post_error}) if $channel->{post_error};
    return (undef, 'is_archived')          if $channel->{is_archived};
    return (undef, 'not_in_channel')       if !$channel->{is_member};
    return ($channel, undef);
}

# --- messages ------------------------------------------------------------

sub next_ts ($self) {
    my $us   = int(Time::HiRes::time() * 1e6);
    my $last = $self->{last_ts} // 0;
    $self->{last_ts} = $us = $us > $last ? $us : $last + 1;
    return sprintf '%d.%06d', $us / 1_000_000, $us % 1_000_000;
}

sub message ($self, $channel, $ts) { return $channel->{by_ts}{$ts} }

sub post ($self, $team, $channel, %in) {
    my $message = {type => 'message', team => $team->{id}, %in};
    $message->{ts} //= $self->next_ts;
    $channel->{by_ts}{$message->{ts}} = $message;
    my $list = $channel->{messages};
    push @$list, $message;
    @$list = sort { $a->{ts} <=> $b->{ts} } @$list if @$list > 1 && $list->[-2]{ts} > $message->{ts};
    $channel->{members}{$in{user}} = 1 if $in{user};

    my $parent = $in{thread_ts} && $in{thread_ts} ne $message->{ts} ? $channel->{by_ts}{$in{thread_ts}} : undef;
    if ($parent) {
        $parent->{thread_ts} = $parent->{ts};
        $parent->{reply_count}++;
        $parent->{latest_reply} = $message->{ts};
    }
    $self->_forget if ++$self->{count} > $self->settings->{max_messages};
    return $message;
}

sub edit ($self, $channel, $message, %in) {
    @$message{keys %in} = values %in;
    $message->{edited} = {user => $message->{user}, ts => $self->next_ts};
}

sub remove ($self, $channel, $message) {
    delete $channel->{by_ts}{$message->{ts}};
    @{$channel->{messages}} = grep { $_ != $message } @{$channel->{messages}};
    $self->{count}--;
}

# Drops the older half of every channel that holds more than a few.
sub _forget ($self) {
    for my $channel (map { values %{$_->{channels}} } values %{$self->{teams}}) {
        my $list = $channel->{messages};
        next if @$list < 8;
        my @old = splice @$list, 0, @$list / 2;
        delete @{$channel->{by_ts}}{map { $_->{ts} } @old};
        $self->{count}     -= @old;
        $self->{forgotten} += @old;
    }
}

# --- views ---------------------------------------------------------------

sub channel_view ($self, $channel) {
    my %view = %$channel;
    $view{num_members} = keys %{$view{members}};
    delete @view{qw(messages by_ts members opened post_error read_error)};
    return \%view;
}

sub user_view ($self, $team, $user, $args = {}) {
    my %view = (
        team_id => $team->{id}, deleted => false, is_bot => false, is_admin => false, is_restricted => false,
        tz_label => 'Standard Time', tz_offset => 32400, updated => 1700000000, %$user,
        profile => {real_name => $user->{real_name}, display_name => $user->{name}},
    );
    delete @view{qw(home open_error)};
    delete $view{locale} if !(($args->{include_locale} // '') =~ /^(?:1|true)$/i);
    return \%view;
}

sub state ($self) {
    my %teams;
    for my $team (values %{$self->{teams} // {}}) {
        $teams{$team->{id}} = {
            bot_user_id => $team->{bot_user_id},
            users       => $team->{users},
            channels    => {
                map { $_->{id} => {%{$self->channel_view($_)}, message_count => scalar @{$_->{messages}}} }
                    values %{$team->{channels}}
            },
            dms => {map { $_ => $team->{dms}{$_}{id} } keys %{$team->{dms}}},
        };
    }
    return {teams => \%teams, messages => $self->{count} // 0, forgotten => $self->{forgotten} // 0};
}

# Every message of the bot, by channel: what a test counts digests in.
sub posted_by_bot ($self, $team_id) {
    my @out;
    for my $team (defined $team_id ? $self->team($team_id) : values %{$self->{teams}}) {
        for my $channel (values %{$team->{channels}}) {
            for my $message (@{$channel->{messages}}) {
                next if ($message->{bot_id} // '') ne $team->{bot_id};
                push @out, {team => $team->{id}, channel => $channel->{id}, message => $message};
                $out[-1]{user} = $channel->{user} if $channel->{user};
            }
        }
    }
    return [sort { $a->{message}{ts} <=> $b->{message}{ts} } @out];
}

1;
