package StandIn::Slack;

# Slack's Web API as its documentation and its servers have it: which methods,
# which arguments, in which form, with which errors and limits.  The workspaces,
# channels and messages themselves are StandIn::Workspace's.
#
# Facts that clients get wrong, and that are therefore kept here:
#   - an error is HTTP 200 with {"ok":false,"error":...}; only 429 is a status;
#   - methods that read take their arguments from the query or a form; a JSON
#     body is not looked at, and the answer is invalid_arguments;
#   - in a form, blocks and metadata are JSON text;
#   - a message's metadata comes back only with include_all_metadata;
#   - the limits are per method, workspace and minute; chat.postMessage has one a
#     second per channel besides.
#
# Settings (--set, POST /_control/settings): limits, tiers {method: a minute},
# post_interval, post_burst, history_max, text_max, strict (unknown users and
# channels are errors instead of being made up), delay, delays {method: s},
# default_tz, default_locale, max_messages.

use Mojo::Base -base, -signatures;

use List::Util qw(sum0);
use Mojo::JSON qw(decode_json encode_json from_json to_json true false);
use Mojo::Util ();
use POSIX qw(ceil);

use StandIn::Limits;
use StandIn::Workspace;

# Slack's tiers 2, 3 and 4 are 20, 50 and 100 calls a minute.
my %TIERS = (
    'chat.delete'         => 50,  'chat.postEphemeral'    => 100, 'chat.update' => 50,  'conversations.history' => 50,
    'conversations.info'  => 50,  'conversations.members' => 100, 'conversations.open' => 50,
    'conversations.replies' => 50, 'reactions.add' => 50, 'team.info' => 50, 'users.info' => 100, 'users.list' => 20,
    'views.publish' => 100,
);

my %METHODS = (
    'auth.test'             => {run => \&_auth_test,    json => 1},
    'chat.delete'           => {run => \&_delete,       json => 1, need => [qw(channel ts)]},
    'chat.postEphemeral'    => {run => \&_ephemeral,    json => 1, need => [qw(channel user)]},
    'chat.postMessage'      => {run => \&_post,         json => 1},
    'chat.update'           => {run => \&_update,       json => 1, need => [qw(channel ts)]},
    'conversations.history' => {run => \&_history,      need => ['channel']},
    'conversations.info'    => {run => \&_info,         need => ['channel']},
    'conversations.members' => {run => \&_members,      need => ['channel']},
    'conversations.open'    => {run => \&_open,         json => 1},
    'conversations.replies' => {run => \&_replies,      need => [qw(channel ts)]},
    'reactions.add'         => {run => \&_react,        json => 1, need => [qw(channel timestamp name)]},
    'team.info'             => {run => \&_team_info},
    'users.info'            => {run => \&_user_info,    need => ['user']},
    'users.list'            => {run => \&_user_list},
    'views.publish'         => {run => \&_publish,      json => 1, need => [qw(user_id view)]},
);

my %DEFAULTS = (
    limits  => 1,      tiers          => {%TIERS}, post_interval => 1,     post_burst   => 3,
    strict  => 0,      history_max    => 999,      text_max      => 40_000, delay       => 0,
    delays  => {},     default_tz     => 'Asia/Seoul', default_locale => 'ko-KR', max_messages => 200_000,
);

has settings => sub { +{%DEFAULTS, tiers => {%TIERS}, delays => {}} };

sub set ($self, %new) {
    for my $name (keys %new) {
        die "no setting $name\n" if !exists $DEFAULTS{$name};
        if   (ref $DEFAULTS{$name} eq 'HASH') { $self->settings->{$name}{$_} = $new{$name}{$_} for keys %{$new{$name}} }
        else                                  { $self->settings->{$name} = $new{$name} }
    }
}

# Workspaces that are there from the start and after every reset.
sub initial ($self, $team) { push @{$self->{initial}}, $team }

sub reset ($self) {
    @$self{qw(buckets response_urls)} = ({}, {});
    $self->{world} = StandIn::Workspace->new(settings => $self->settings);
    $self->{world}->seed_team($_)
        for @{$self->{initial} // [{id => 'T0STUDY', token => 'xoxb-standin', bot_user_id => 'U0STUDYBOT'}]};
}

# --- requests ------------------------------------------------------------

sub prepare ($self, $req) {
    my ($method) = $req->{path} =~ m{^/api/([A-Za-z.]+)$};
    $req->{method} = $method // ($req->{path} =~ m{^/response/} ? 'response_url' : 'unknown');

    my $type = lc($req->{headers}{'content-type'} // '');
    my %args = _form($req->{query});
    if ($type =~ m{^application/json}) {
        $req->{is_json} = 1;
        my $json = length $req->{body} ? eval { decode_json($req->{body}) } : {};
        if   (ref $json ne 'HASH') { $req->{bad} = 'invalid_json' }
        else                       { %args = (%args, %$json) }
    }
    elsif (length $req->{body}) {
        if   ($type =~ m{^application/x-www-form-urlencoded}) { %args = (%args, _form($req->{body})) }
        else                                                  { $req->{bad} = 'invalid_post_type' }
    }
    $req->{token} = ($req->{headers}{authorization} // '') =~ /^Bearer\s+(\S+)/i ? $1 : delete $args{token};
    $req->{args}  = \%args;
    my $team = defined $req->{token} ? $self->{world}->by_token($req->{token}) : undef;
    $req->{team} = $team->{id} if $team;
}

sub _form ($text) {
    my %out;
    for (split /&/, $text // '') {
        my ($name, $value) = map { tr/+/ /r =~ s/%([0-9a-fA-F]{2})/chr hex $1/ger } split /=/, $_, 2;
        next if !defined $name;
        utf8::decode($value //= '');
        $out{$name} = $value;
    }
    return %out;
}

sub refuse ($self, $req, $fault) {
    if ($fault->{kind} eq 'error') {
        my $reply = _fail($fault->{error} // 'internal_error');
        $reply->{status} = $fault->{status} if $fault->{status};
        return $reply;
    }
    my $status  = $fault->{status} // 503;
    my %headers = %{$fault->{headers} // {}};
    $headers{'Retry-After'} = $fault->{retry_after} if defined $fault->{retry_after};
    my %word = (429 => 'ratelimited', 503 => 'service_unavailable', 408 => 'request_timeout');
    my $body = $fault->{body} // {ok => false, error => $word{$status} // 'internal_error'};
    return {status => $status, headers => \%headers, body => $body};
}

sub _fail ($error, @messages) {
    my $body = {ok => false, error => $error};
    $body->{response_metadata} = {messages => \@messages} if @messages;
    return {status => 200, body => $body};
}

sub _bad ($message) { return _fail('invalid_arguments', "[ERROR] $message") }

sub handle ($self, $req, $fault) {
    my $reply = $req->{method} eq 'response_url' ? $self->_response_url($req) : $self->_api_call($req);
    my $set   = $self->settings;
    $reply->{delay} = $set->{delays}{$req->{method}} // $set->{delay};
    $reply->{headers}{'X-Slack-Req-Id'} = sprintf '%08x', ++$self->{serial};
    return $reply;
}

sub _api_call ($self, $req) {
    my $method = $METHODS{$req->{method}} or return _fail('unknown_method');
    return _fail($req->{bad})     if $req->{bad};
    return _fail('not_authed')    if !length($req->{token} // '');
    my $team = $self->{world}->by_token($req->{token}) or return _fail('invalid_auth');
    return _fail($team->{token_error}) if $team->{token_error};

    my $wait = $self->_over_limit($req->{method}, $team);
    return _ratelimited($wait) if $wait;

    my $args = $req->{args};
    if ($req->{is_json} && !$method->{json}) {
        $args = {_form($req->{query})};
    }
    for (@{$method->{need} // []}) {
        return _bad("missing required field: $_") if !length($args->{$_} // '');
    }
    my $reply = $method->{run}->($self, $team, $args, $req);
    $reply->{status} //= 200;
    if ($req->{is_json} && $reply->{body}{ok} && $req->{headers}{'content-type'} !~ /charset/i) {
        $reply->{body}{warning} = 'missing_charset';
        $reply->{body}{response_metadata}{warnings} = ['missing_charset'];
    }
    return $reply;
}

sub _over_limit ($self, $method, $team) {
    my $set   = $self->settings;
    my $limit = $set->{limits} && $set->{tiers}{$method} or return 0;
    return StandIn::Limits::take($self->{buckets}, "$team->{id} $method", $limit, $limit / 60);
}

sub _ratelimited ($wait) {
    my $reply = _fail('ratelimited');
    @$reply{qw(status headers)} = (429, {'Retry-After' => ceil($wait) || 1});
    return $reply;
}

sub _ok (%body) { return {body => {ok => true, %body}} }

# --- methods -------------------------------------------------------------

sub _auth_test ($self, $team, $args, $req) {
    my $reply = _ok(
        url    => "https://$team->{domain}.slack.com/", team => $team->{name}, team_id => $team->{id},
        user   => 'studytracker', user_id => $team->{bot_user_id}, bot_id => $team->{bot_id}, is_enterprise_install => false,
    );
    $reply->{body}{enterprise_id} = $team->{enterprise_id} if $team->{enterprise_id};
    $reply->{headers}{'X-OAuth-Scopes'} = $team->{scopes};
    return $reply;
}

sub _open ($self, $team, $args, $req) {
    my $users = $args->{users} // $args->{channel};
    return _bad('missing required field: users') if !length($users // '');
    my @users = ref $users ? @$users : split /\s*,\s*/, $users;
    return _fail('too_many_users') if @users > 8;
    my ($channel, $error) = $self->{world}->open_dm($team, @users);
    return _fail($error) if $error;
    return _ok(
        no_op => $channel->{opened}++ ? true : false, already_open => $channel->{opened} > 1 ? true : false,
        channel => $args->{return_im} ? $self->{world}->channel_view($channel) : {id => $channel->{id}},
    );
}

# A JSON body has blocks and metadata as they are, a form has them as text.
sub _structured ($args, $name) {
    my $value = $args->{$name};
    return $value if ref $value || !length($value // '');
    return eval { from_json($value) } // \'bad';
}

# What is wrong with a message's content: an answer, or undef.
sub _content_error ($self, $args, $max) {
    my $blocks = _structured($args, 'blocks');
    my $attachments = _structured($args, 'attachments');
    return _fail('invalid_blocks_format') if defined $blocks && length $blocks && ref $blocks ne 'ARRAY';
    my @blocks = ref $blocks ? @$blocks : ();

    my $attached = ref $attachments eq 'ARRAY' && @$attachments;
    return _fail('no_text')      if !length($args->{text} // '') && !@blocks && !$attached;
    return _fail('msg_too_long') if length($args->{text} // '') > $max;
    my @wrong = _block_errors(@blocks);
    return _fail('invalid_blocks', @wrong) if @wrong;
    return _fail('msg_blocks_too_long')    if sum0(map { length to_json($_) } @blocks) > 13_200;

    my $metadata = _structured($args, 'metadata');
    return undef if !defined $metadata || !length $metadata;
    return _fail('invalid_metadata_format') if ref $metadata ne 'HASH';
    return _fail('invalid_metadata_schema')
        if !length($metadata->{event_type} // '') || ref $metadata->{event_payload} ne 'HASH';
    return _fail('metadata_too_large') if length encode_json($metadata) > 16 * 1024;
    return undef;
}

sub _block_errors (@blocks) {
    return '[ERROR] no more than 50 items allowed [json-pointer:/blocks]' if @blocks > 50;
    my %max  = (section => 3000, header => 150);
    my %ok   = map { $_ => 1 } qw(actions context divider file header image input rich_text section video markdown);
    my @errors;
    for my $i (0 .. $#blocks) {
        my $block = $blocks[$i];
        my $at    = "[json-pointer:/blocks/$i";
        if (ref $block ne 'HASH' || !$ok{$block->{type} // ''}) {
            push @errors, "[ERROR] unsupported type: " . (ref $block eq 'HASH' && $block->{type} || '') . " $at/type]";
            next;
        }
        my $max = $max{$block->{type}} or next;
        my $text = $block->{text};
        if ($block->{type} eq 'section' && ref $block->{fields} eq 'ARRAY') {
            push @errors, "[ERROR] no more than 10 items allowed $at/fields]" if @{$block->{fields}} > 10;
            push @errors, "[ERROR] must be less than 2001 characters $at/fields]"
                if grep { length($_->{text} // '') > 2000 } @{$block->{fields}};
            next if !defined $text;
        }
        if (ref $text ne 'HASH' || ($text->{type} // '') !~ /^(?:plain_text|mrkdwn)$/) {
            push @errors, "[ERROR] missing required field: text $at]";
        }
        elsif (!length($text->{text} // '')) {
            push @errors, "[ERROR] must be more than 0 characters $at/text/text]";
        }
        elsif (length $text->{text} > $max) {
            push @errors, sprintf '[ERROR] must be less than %d characters %s/text/text]', $max + 1, $at;
        }
        elsif ($block->{type} eq 'header' && $text->{type} ne 'plain_text') {
            push @errors, "[ERROR] must be plain_text $at/text/type]";
        }
    }
    return @errors;
}

sub _content ($args) {
    my %out = (text => $args->{text} // '');
    for (qw(blocks attachments metadata)) {
        my $value = _structured($args, $_);
        $out{$_} = $value if ref $value;
    }
    return %out;
}

sub _post ($self, $team, $args, $req) {
    my $world = $self->{world};
    return _fail('channel_not_found') if !length($args->{channel} // '');
    my ($channel, $error) = $world->channel_to_post($team, $args->{channel});
    return _fail($error) if $error;
    my $wrong = $self->_content_error($args, $self->settings->{text_max});
    return $wrong if $wrong;
    if (length($args->{thread_ts} // '') && !$world->message($channel, $args->{thread_ts})) {
        return _fail('thread_not_found');
    }

    my $set = $self->settings;
    if ($set->{limits} && $set->{post_interval} > 0) {
        my $rate = 1 / $set->{post_interval};
        my $wait = StandIn::Limits::take($self->{buckets}, "$channel->{id} post", $set->{post_burst}, $rate);
        return _ratelimited($wait) if $wait;
    }
    my $message = $world->post(
        $team, $channel,
        user => $team->{bot_user_id}, bot_id => $team->{bot_id}, app_id => $team->{app_id}, _content($args),
        length($args->{thread_ts} // '') ? (thread_ts => $args->{thread_ts}) : (),
    );
    return _ok(channel => $channel->{id}, ts => $message->{ts}, message => $message);
}

sub _ephemeral ($self, $team, $args, $req) {
    my ($channel, $error) = $self->{world}->channel_to_post($team, $args->{channel});
    return _fail($error) if $error;
    my $wrong = $self->_content_error($args, $self->settings->{text_max});
    return $wrong if $wrong;
    return _ok(message_ts => $self->{world}->next_ts);
}

# Finds one of the bot's own messages, for chat.update and chat.delete.
sub _own ($self, $team, $args, $not_ours) {
    my $channel = $self->{world}->channel($team, $args->{channel}) or return _fail('channel_not_found');
    my $message = $self->{world}->message($channel, $args->{ts})   or return _fail('message_not_found');
    return _fail($not_ours) if ($message->{bot_id} // '') ne $team->{bot_id};
    return (undef, $channel, $message);
}

sub _update ($self, $team, $args, $req) {
    my ($wrong, $channel, $message) = $self->_own($team, $args, 'cant_update_message');
    $wrong //= $self->_content_error($args, 4000);
    return $wrong if $wrong;
    $self->{world}->edit($channel, $message, _content($args));
    return _ok(channel => $channel->{id}, ts => $message->{ts}, text => $message->{text}, message => $message);
}

sub _delete ($self, $team, $args, $req) {
    my ($wrong, $channel, $message) = $self->_own($team, $args, 'cant_delete_message');
    return $wrong if $wrong;
    $self->{world}->remove($channel, $message);
    return _ok(channel => $channel->{id}, ts => $args->{ts});
}

sub _page ($self, $args, @messages) {
    my $max   = $self->settings->{history_max};
    my $limit = $args->{limit} || 100;
    return _bad('invalid limit') if $limit !~ /^\d+$/ || $limit < 1 || $limit > 1000;
    $limit = $max if $limit > $max;
    my $from = 0;
    if (length($args->{cursor} // '')) {
        my $plain = Mojo::Util::b64_decode($args->{cursor});
        return _fail('invalid_cursor') if $plain !~ /^next:(\d+)$/;
        $from = $1;
    }
    my @page = splice @messages, $from, $limit;
    my $more = @messages > $from;
    my $all  = ($args->{include_all_metadata} // '') =~ /^(?:1|true)$/i;
    for (@page) {
        next if $all || !$_->{metadata};
        $_ = {%$_};
        $_->{metadata} = {event_type => $_->{metadata}{event_type}};
    }
    my $reply = _ok(messages => \@page, has_more => $more ? true : false);
    $reply->{body}{response_metadata}{next_cursor} = Mojo::Util::b64_encode('next:' . ($from + @page), '') if $more;
    return $reply;
}

sub _readable ($self, $team, $id) {
    my $channel = $self->{world}->channel($team, $id) or return _fail('channel_not_found');
    return _fail($channel->{read_error}) if $channel->{read_error};
    return _fail('not_in_channel') if !$channel->{is_im} && !$channel->{is_member};
    return (undef, $channel);
}

sub _in_range ($args, @messages) {
    my ($oldest, $latest) = map { length($args->{$_} // '') ? $args->{$_} : undef } qw(oldest latest);
    my $inclusive = ($args->{inclusive} // '') =~ /^(?:1|true)$/i;
    return grep {
        my $ts = $_->{ts};
        (!defined $oldest || $ts > $oldest || ($inclusive && $ts == $oldest))
            && (!defined $latest || $ts < $latest || ($inclusive && $ts == $latest))
    } @messages;
}

sub _history ($self, $team, $args, $req) {
    my ($wrong, $channel) = $self->_readable($team, $args->{channel});
    return $wrong if $wrong;
    my @top = grep { !$_->{thread_ts} || $_->{thread_ts} eq $_->{ts} || ($_->{subtype} // '') eq 'thread_broadcast' }
        @{$channel->{messages}};
    return $self->_page($args, reverse _in_range($args, @top));
}

sub _replies ($self, $team, $args, $req) {
    my ($wrong, $channel) = $self->_readable($team, $args->{channel});
    return $wrong if $wrong;
    my $parent = $self->{world}->message($channel, $args->{ts}) or return _fail('thread_not_found');
    my $thread = $parent->{thread_ts} // $parent->{ts};
    my @thread = grep { $_->{ts} eq $thread || ($_->{thread_ts} // '') eq $thread } @{$channel->{messages}};
    return $self->_page($args, $thread[0], _in_range($args, @thread[1 .. $#thread]));
}

sub _info ($self, $team, $args, $req) {
    my $channel = $self->{world}->channel($team, $args->{channel}) or return _fail('channel_not_found');
    return _ok(channel => $self->{world}->channel_view($channel));
}

# A list in pages, as users.list and conversations.members give it.
sub _listed ($args, $name, @list) {
    my $limit = $args->{limit} || 1000;
    my $from  = length($args->{cursor} // '') && Mojo::Util::b64_decode($args->{cursor}) =~ /^next:(\d+)$/ ? $1 : 0;
    my $next  = $from + $limit < @list ? Mojo::Util::b64_encode('next:' . ($from + $limit), '') : '';
    return _ok($name => [splice @list, $from, $limit], response_metadata => {next_cursor => $next});
}

sub _members ($self, $team, $args, $req) {
    my $channel = $self->{world}->channel($team, $args->{channel}) or return _fail('channel_not_found');
    return _listed($args, members => sort keys %{$channel->{members}});
}

sub _user_list ($self, $team, $args, $req) {
    return _listed($args, members => map { $self->{world}->user_view($team, $_, $args) }
            sort { $a->{id} cmp $b->{id} } values %{$team->{users}});
}

sub _user_info ($self, $team, $args, $req) {
    my $user = $self->{world}->user($team, $args->{user}) or return _fail('user_not_found');
    return _ok(user => $self->{world}->user_view($team, $user, $args));
}

sub _team_info ($self, $team, $args, $req) {
    return _ok(team => {email_domain => '', icon => {}, map { $_ => $team->{$_} } qw(id name domain)});
}

sub _react ($self, $team, $args, $req) {
    my $channel = $self->{world}->channel($team, $args->{channel})          or return _fail('channel_not_found');
    my $message = $self->{world}->message($channel, $args->{timestamp})     or return _fail('message_not_found');
    my $seen    = $message->{reactions} //= [];
    return _fail('already_reacted') if grep { $_->{name} eq $args->{name} } @$seen;
    push @$seen, {name => $args->{name}, users => [$team->{bot_user_id}], count => 1};
    return _ok();
}

sub _publish ($self, $team, $args, $req) {
    my $user = $self->{world}->user($team, $args->{user_id}) or return _fail('user_not_found');
    my $view = _structured($args, 'view');
    return _bad('missing required field: view') if ref $view ne 'HASH' || ($view->{type} // '') ne 'home';
    return _fail('hash_conflict') if length($args->{hash} // '') && $args->{hash} ne ($user->{home}{hash} // '');
    my @wrong = _block_errors(@{$view->{blocks} // []});
    return _fail('invalid_arguments', @wrong) if @wrong && @{$view->{blocks}} <= 100;
    $user->{home} = {%$view, id => "V$user->{id}", team_id => $team->{id}, hash => $self->{world}->next_ts};
    return _ok(view => $user->{home});
}

# Five answers to one response_url, then it is used up.
sub _response_url ($self, $req) {
    my $uses = ++$self->{response_urls}{$req->{path}};
    return {status => 404, body => {ok => false, error => 'used_url'}} if $uses > 5;
    return {status => 400, body => {ok => false, error => $req->{bad}}} if $req->{bad};
    return {status => 200, headers => {'Content-Type' => 'text/plain'}, body => 'ok'};
}

# --- control -------------------------------------------------------------

# settings: read, or change (POST).
# seed (POST): {teams: [{id, token, ..., users: [...], channels: [...]}]}.
# say (POST): {team, channel, user, text, ...}: a member posts; the answer is
#   the message.
# state: everything but the messages; messages?team=&channel=|user=: what a
#   channel, or the DM with a user, really holds, oldest first.
sub control ($self, $what, $verb, $in, $query) {
    my $world = $self->{world};
    if ($what eq 'settings') {
        $self->set(%$in) if $verb eq 'POST';
        return $self->settings;
    }
    if ($what eq 'seed' && $verb eq 'POST') {
        $world->seed_team($_) for @{$in->{teams} // []};
        return {ok => true};
    }
    if ($what eq 'say' && $verb eq 'POST') {
        my $team    = $world->team(delete $in->{team});
        my $channel = $world->channel($team, delete $in->{channel}) or die "no such channel\n";
        return $world->post($team, $channel, %$in);
    }
    return $world->state if $what eq 'state';
    if ($what eq 'messages') {
        my $team = $world->team($query->{team});
        my $channel
            = $query->{user} ? $world->dm_of($team, $query->{user}) : $world->channel($team, $query->{channel});
        return {messages => $channel ? $channel->{messages} : [], channel => $channel ? $channel->{id} : undef};
    }
    return {posted => $world->posted_by_bot($query->{team})} if $what eq 'posted';
    return undef;
}

1;
