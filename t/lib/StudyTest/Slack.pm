package StudyTest::Slack;

# The sending side of Slack: signs what it posts, as Slack does, over kept-alive
# connections.
#
#   my $slack = StudyTest::Slack->new(url => 'http://127.0.0.1:8080', secret => $secret,
#                                     trigger_token => $token);
#   $slack->event($envelope)           an envelope of StudyTest::Event, or raw bytes
#   $slack->command(command => '/study', text => 'today', ...)
#   $slack->interaction({type => 'block_actions', ...})
#   $slack->trigger(schedule => 'daily', key => 'k1')
#
# Each gives {status, headers, content, ...} as HTTP::Tiny does (599: no answer).
# Options after the first argument, or in the second of a pair:
#   timestamp, signature, secret   in place of the right ones (undef: no header)
#   retry => [1, 'http_timeout']   a repeat
#   headers => {...}, path => '/slack/events'

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use Exporter qw(import);
use HTTP::Tiny;
use JSON::PP ();

our @EXPORT_OK = qw(signature signed_headers);

my $JSON = JSON::PP->new->utf8->canonical;

# v0: the secret, Unix seconds, the body's bytes.
sub signature {
    my ($secret, $timestamp, $body) = @_;
    return 'v0=' . hmac_sha256_hex("v0:$timestamp:$body", $secret);
}

sub signed_headers {
    my ($secret, $body, $timestamp) = @_;
    $timestamp //= time;
    return ('X-Slack-Request-Timestamp' => $timestamp, 'X-Slack-Signature' => signature($secret, $timestamp, $body));
}

sub new {
    my ($class, %opt) = @_;
    my $self = bless {%opt}, $class;
    $self->{url} =~ s{/+$}{};
    $self->{http} = HTTP::Tiny->new(
        agent => 'Slackbot 1.0 (+https://api.slack.com/robots)', timeout => $opt{timeout} // 10, max_redirect => 0,
    );
    return $self;
}

sub post_signed {
    my ($self, $path, $type, $body, %opt) = @_;
    my $timestamp = exists $opt{timestamp} ? $opt{timestamp} : time;
    my $signature
        = exists $opt{signature} ? $opt{signature} : signature($opt{secret} // $self->{secret}, $timestamp // '', $body);
    my %headers = ('Content-Type' => $type);
    $headers{'X-Slack-Request-Timestamp'} = $timestamp if defined $timestamp;
    $headers{'X-Slack-Signature'}         = $signature if defined $signature;
    @headers{qw(X-Slack-Retry-Num X-Slack-Retry-Reason)} = @{$opt{retry}} if $opt{retry};
    return $self->{http}->request(POST => $self->{url} . ($opt{path} // $path),
        {headers => {%headers, %{$opt{headers} // {}}}, content => $body});
}

sub event {
    my ($self, $event, %opt) = @_;
    my $body = ref $event ? $JSON->encode($event) : $event;
    return $self->post_signed('/slack/events', 'application/json', $body, %opt);
}

my %COMMAND = (
    token => 'legacy', team_id => 'T0STUDY', team_domain => 't0study', channel_id => 'C0STUDY', channel_name => 'study',
    user_id => 'U000001', user_name => 'member1', command => '/study', text => '', api_app_id => 'A0STUDY',
    is_enterprise_install => 'false', response_url => 'https://hooks.slack.com/commands/T0STUDY/1/x',
);
my $serial = 0;

# A field given as undef is left out.
sub command {
    my ($self, %in) = @_;
    my $opt = delete $in{opt} // {};
    my %field = (%COMMAND, trigger_id => sprintf('%d.%d.%06d', time, $$, ++$serial), %in);
    delete $field{$_} for grep { !defined $field{$_} } keys %field;
    my $body = $self->{http}->www_form_urlencode(\%field);
    return $self->post_signed('/slack/commands', 'application/x-www-form-urlencoded', $body, %$opt);
}

sub interaction {
    my ($self, $payload, %opt) = @_;
    my $text = $JSON->encode({trigger_id => sprintf('%d.%d.%06d', time, $$, ++$serial), %$payload});
    my $body = 'payload=' . ($text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ger);
    return $self->post_signed('/slack/interactions', 'application/x-www-form-urlencoded', $body, %opt);
}

sub trigger {
    my ($self, %in) = @_;
    my $token = exists $in{token} ? $in{token} : $self->{trigger_token};
    my %headers = %{$in{headers} // {}};
    $headers{Authorization}     = "Bearer $token" if defined $token;
    $headers{'Idempotency-Key'} = $in{key}        if defined $in{key};
    my $query = defined $in{schedule} ? '?' . $self->{http}->www_form_urlencode({schedule => $in{schedule}}) : '';
    my $url = $self->{url} . ($in{path} // '/study/trigger') . $query;
    return $self->{http}->request(POST => $url, {headers => \%headers, content => ''});
}

1;
