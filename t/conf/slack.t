#!/usr/bin/perl

# conf/slack-manifest.yaml asks Slack for what the worker uses, no more and no less, and
# README.md tells the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use Test::More;

use StudyTest::Proc qw(root_dir slurp);

chdir root_dir() or die $!;
my $manifest = slurp('conf/slack-manifest.yaml');
my $readme = slurp('README.md');

# A YAML list under a key; `# - x` are those that a setting needs besides.
sub list_of {
    my ($key) = @_;

    my ($indent, $block) = $manifest =~ /^( *)\Q$key\E:\n((?:\1 +\S.*\n)+)/m or return;
    return ([ $block =~ /^\s+- (\S+)/mg ], [ $block =~ /^\s+# - (\S+)/mg ]);
}

my ($scopes, $more_scopes) = list_of('bot');
my ($events, $more_events) = list_of('bot_events');
ok($scopes && @$scopes && $events && @$events, 'the manifest lists scopes and events');

# The events that the worker does something with.
my %use = map { $_ => 1 } slurp('worker/ingest/event.c') =~ /^\s*\{"(\w+)", (?:event_)?read_(?!no_use)\w+\}/mg;
ok($use{message}, 'the table of events was read');
# Slack sends the newer name beside the older one; one of them is enough.
delete $use{user_profile_changed};

my %asked = map { s/^message\..*/message/r => 1 } @$events, @$more_events;
is_deeply([ sort keys %asked ], [ sort keys %use ], 'the events asked for are those with a use');

# What Slack's documentation has each event and method need.
my %needs = (
    'message.channels' => ['channels:history'], 'member_joined_channel' => ['channels:read'],
    'channel_rename' => ['channels:read'], 'user_change' => ['users:read'], 'team_rename' => ['team:read'],
    'team_domain_change' => ['team:read'], 'tokens_revoked' => [], 'app_uninstalled' => [],
    'auth.test' => [], 'chat.postMessage' => ['chat:write'], 'conversations.open' => ['im:write'],
    'conversations.history' => ['im:history'], 'conversations.replies' => ['im:history'],
    'chat.delete' => ['chat:write'], 'users.info' => ['users:read'], 'reactions.add' => [],
    'slash_commands' => ['commands'],
);
my ($enum) = slurp('worker/slack/web.h') =~ /((?:.*"\w+\.\w+".*\n)+)/;
my @methods = ($enum // '') =~ /"(\w+\.\w+)"/g;
cmp_ok(scalar @methods, '>=', 5, 'the methods that the worker calls were read');
my @unknown = grep { !$needs{$_} } @methods, @$events;
is(join(' ', @unknown), '', 'each of them is known here');
my %needed = map { $_ => 1 } map { @{ $needs{$_} // [] } } @methods, @$events, 'slash_commands';
is_deeply([ sort @$scopes ], [ sort keys %needed ], 'the scopes are exactly theirs');
is_deeply([ sort @$more_scopes ], [qw(groups:history groups:read reactions:write)], 'private channels need two more, and reactions one');

like($readme, qr/`\Q$_\E`/, "README.md tells of $_") for @$scopes, @$events;

my ($snippet) = slurp('conf/nginx/study.conf');
for my $url ($manifest =~ m{^[\s-]+(?:request_)?url: https://[^/\s]+(/\S+)$}mg) {
    like($snippet, qr{^location = \Q$url\E \{}m, "$url is one that the snippet serves");
}
is(scalar(() = $manifest =~ /url: https/g), 3, 'events, commands and interactions have one each');
my ($command) = $manifest =~ m{- command: (/\w+)$}m;
like(slurp('worker/proc/request_words.c'), qr/`\Q$command\E help`/, 'members are told the command by its name');

done_testing;
