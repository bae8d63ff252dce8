package StandIn::OpenAI;

# OpenAI's chat completions, as far as one non-streaming caller sees them.  The
# answer is made from the request alone, so the same request has the same
# answer: with a json_schema response_format a document of that schema
# (StandIn::Schema), else a sentence.
#
# Faults of its own (StandIn::Faults), all of them HTTP 200:
#   ignore_schema    prose in place of the document, as compatible servers do
#   half_json        the document, cut in half, finish_reason stop
#   length           the same with finish_reason length
#   wrong_citations  record numbers that the request did not have
#   hostile          mentions, links and markup in every text
#   refusal          message.refusal
#   content_filter   finish_reason content_filter, no content
#   no_usage         an answer without usage figures
# Kind "error" makes error answers: status (429), error (the code: say
# insufficient_quota, or a number as other servers have it), retry_after,
# retry_after_ms, headers.
#
# Settings: delay, token (asked for when set), rpm (requests a minute, 0 = no
# limit), models, remaining_requests and remaining_tokens (header values; unset:
# counted from rpm), headers (0 leaves x-ratelimit-* out).

use Mojo::Base -base, -signatures;

use Mojo::JSON qw(decode_json encode_json);

use StandIn::Limits;
use StandIn::Schema;

my %DEFAULTS = (
    delay => 0, token => undef, rpm => 0, models => [qw(gpt-4o-mini gpt-4.1-mini)], remaining_requests => undef,
    remaining_tokens => undef, headers => 1,
);

has settings => sub { +{%DEFAULTS} };

sub set ($self, %new) {
    for (keys %new) {
        die "no setting $_\n" if !exists $DEFAULTS{$_};
        $self->settings->{$_} = $new{$_};
    }
}

sub reset ($self) { @$self{qw(buckets tokens_in tokens_out)} = ({}, 0, 0) }

sub prepare ($self, $req) {
    my ($method) = $req->{path} =~ m{^(?:/v1)?/(chat/completions|models)$};
    $req->{method} = $method // 'unknown';
    $req->{args}   = {};
    return if !length $req->{body};
    my $in = eval { decode_json($req->{body}) };
    if   (ref $in eq 'HASH') { $req->{args} = $in }
    else                     { $req->{bad}  = 1 }
}

sub refuse ($self, $req, $fault) {
    my $status  = $fault->{status} // 429;
    my %headers = %{$fault->{headers} // {}};
    $headers{'retry-after'}    = $fault->{retry_after}    if defined $fault->{retry_after};
    $headers{'retry-after-ms'} = $fault->{retry_after_ms} if defined $fault->{retry_after_ms};
    return {status => $status, headers => \%headers, body => $fault->{body}} if defined $fault->{body};
    my $code = $fault->{error} // ($status == 429 ? 'rate_limit_exceeded' : $status >= 500 ? 'server_error' : undef);
    my $message = "The stand-in was told to answer $status.";
    return {status => $status, headers => \%headers, body => _error_body($code, $message)};
}

sub _error_body ($code, $message) {
    my %types = (rate_limit_exceeded => 'requests', map { $_ => $_ } qw(insufficient_quota server_error));
    my $type  = $types{$code // ''} // 'invalid_request_error';
    return {error => {message => $message, type => $type, param => undef, code => $code}};
}

sub _fail ($status, $code, $message, %headers) {
    return {status => $status, headers => \%headers, body => _error_body($code, $message)};
}

sub handle ($self, $req, $fault) {
    my $reply = $self->_answer($req, $fault ? $fault->{kind} : '');
    $reply->{status} //= 200;
    $reply->{delay}  //= $self->settings->{delay} if $reply->{status} == 200 && $req->{method} eq 'chat/completions';
    my %limits = $self->settings->{headers} ? $self->_limit_headers : ();
    $reply->{headers} = {%limits, 'x-request-id' => sprintf('req_%08x', ++$self->{serial}), %{$reply->{headers} // {}}};
    return $reply;
}

sub _limit_headers ($self) {
    my $set  = $self->settings;
    my $rpm  = $set->{rpm} || 10_000;
    my $left = $set->{remaining_requests} // ($set->{rpm} ? int($self->{buckets}{rpm}{left} // $rpm) : $rpm - 1);
    return (
        'x-ratelimit-limit-requests'     => $rpm,
        'x-ratelimit-limit-tokens'       => 2_000_000,
        'x-ratelimit-remaining-requests' => $left,
        'x-ratelimit-remaining-tokens'   => $set->{remaining_tokens} // 1_999_000,
        'x-ratelimit-reset-requests'     => $left > 0 ? '6ms' : int(60_000 / $rpm) . 'ms',
        'x-ratelimit-reset-tokens'       => '20ms',
    );
}

sub _answer ($self, $req, $kind) {
    my $set = $self->settings;
    if (defined $set->{token} && ($req->{headers}{authorization} // '') ne "Bearer $set->{token}") {
        return _fail(401, 'invalid_api_key', 'Incorrect API key provided.');
    }
    if ($req->{method} eq 'models') {
        my @models = map { {id => $_, object => 'model', owned_by => 'stand-in'} } @{$set->{models}};
        return {body => {object => 'list', data => \@models}};
    }
    return _fail(404, undef, "Unknown request URL: $req->{path}")               if $req->{method} eq 'unknown';
    return _fail(405, 'method_not_supported', 'Only POST requests are accepted.') if $req->{http_method} ne 'POST';
    return _fail(400, undef, 'We could not parse the JSON body of your request.') if $req->{bad};

    my $in    = $req->{args};
    my $wrong = _wrong_arguments($in);
    return _fail(400, @$wrong) if $wrong;
    if ($set->{rpm}) {
        my $wait = StandIn::Limits::take($self->{buckets}, 'rpm', $set->{rpm}, $set->{rpm} / 60);
        return _fail(429, 'rate_limit_exceeded', 'Rate limit reached for requests per min (RPM).',
            'retry-after-ms' => int($wait * 1000) + 1, 'retry-after' => int($wait) + 1) if $wait;
    }
    return {body => $self->_completion($in, $kind)};
}

sub _wrong_arguments ($in) {
    return [undef, "Missing required parameter: 'model'."] if !length($in->{model} // '');
    return [undef, "Missing required parameter: 'messages'."] if ref $in->{messages} ne 'ARRAY' || !@{$in->{messages}};
    for (@{$in->{messages}}) {
        return [undef, "Invalid value for 'messages'."] if ref ne 'HASH' || !$_->{role} || !defined $_->{content};
    }
    return [undef, 'This stand-in does not stream.'] if $in->{stream};
    return ['unsupported_parameter', "Use either 'max_tokens' or 'max_completion_tokens'."]
        if defined $in->{max_tokens} && defined $in->{max_completion_tokens};
    my $format = $in->{response_format} // return undef;
    return [undef, "Invalid value for 'response_format'."] if ref $format ne 'HASH' || !$format->{type};
    return undef if $format->{type} ne 'json_schema';
    my $spec = $format->{json_schema};
    return ['invalid_json_schema', "Missing required parameter: 'response_format.json_schema.name'."]
        if ref $spec ne 'HASH' || ($spec->{name} // '') !~ /^[A-Za-z0-9_-]{1,64}$/;
    my $error = $spec->{strict} ? StandIn::Schema::strict_error($spec->{schema}, []) : undef;
    return ['invalid_json_schema', "Invalid schema for response_format '$spec->{name}': $error"] if $error;
    return undef;
}

sub _text ($content) {
    return ref $content eq 'ARRAY' ? join "\n", map { $_->{text} // '' } grep { ref eq 'HASH' } @$content : $content;
}

sub _completion ($self, $in, $kind) {
    my @asked   = map { _text($_->{content}) } grep { $_->{role} eq 'user' } @{$in->{messages}};
    my $records = StandIn::Schema::records(@asked);
    my $finish  = 'stop';
    my $content = _content($in, $kind, $records);
    my $refusal;

    if ($kind eq 'half_json' || $kind eq 'length') {
        $content = substr $content, 0, length($content) / 2;
        $finish  = 'length' if $kind eq 'length';
    }
    elsif ($kind eq 'content_filter') {
        ($content, $finish) = ('', 'content_filter');
    }
    elsif ($kind eq 'refusal') {
        ($content, $refusal) = (undef, "I'm sorry, I can't help with that.");
    }

    my $prompt = 8 + int(length(join '', map { _text($_->{content}) } @{$in->{messages}}) / 4);
    my $out    = 1 + int(length($content // $refusal) / 4);
    $self->{tokens_in}  += $prompt;
    $self->{tokens_out} += $out;
    return {
        id      => sprintf('chatcmpl-%012x', ++$self->{completions}),
        object  => 'chat.completion',
        created => time,
        model   => $in->{model},
        choices => [{
            index   => 0, finish_reason => $finish, logprobs => undef,
            message => {role => 'assistant', content => $content, refusal => $refusal, annotations => []},
        }],
        $kind eq 'no_usage' ? () : (usage => {
            prompt_tokens => $prompt, completion_tokens => $out, total_tokens => $prompt + $out,
            prompt_tokens_details => {cached_tokens => 0}, completion_tokens_details => {reasoning_tokens => 0},
        }),
        system_fingerprint => 'fp_standin', service_tier => 'default',
    };
}

sub _content ($in, $kind, $records) {
    my $format = $in->{response_format};
    my $prose  = 'You studied: ' . join('; ', map { StandIn::Schema::first_words($_->{text}) } @$records) . '.';
    return $prose if !$format || $format->{type} eq 'text' || $kind eq 'ignore_schema';
    my $schema = $format->{type} eq 'json_schema' ? $format->{json_schema}{schema} : {type => 'object'};
    my $value = StandIn::Schema::generate($schema, records => $records,
        wrong_ids => $kind eq 'wrong_citations', hostile => $kind eq 'hostile');
    my $json = encode_json($value);
    utf8::decode($json);
    return $json;
}

# settings: read, or change (POST).  usage: tokens counted since the reset.
sub control ($self, $what, $verb, $in, $query) {
    if ($what eq 'settings') {
        $self->set(%$in) if $verb eq 'POST';
        return $self->settings;
    }
    return {prompt_tokens => $self->{tokens_in}, completion_tokens => $self->{tokens_out}} if $what eq 'usage';
    return undef;
}

1;
