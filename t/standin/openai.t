# The stand-in for OpenAI: answers that obey the schema and quote the request.

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use StudyTest::Proc qw(scratch_dir);
use StudyTest::StandIn;

my $openai = StudyTest::StandIn->openai(dir => scratch_dir('standin-openai'), token => 'sk-test');
my $http = HTTP::Tiny->new(timeout => 10);

my $item = {type => 'object', additionalProperties => \0, required => [qw(text records)], properties => {
    text => {type => 'string', maxLength => 40}, records => {type => 'array', items => {type => 'integer'}, maxItems => 2}}};
my $schema = {type => 'object', additionalProperties => \0, required => [qw(summary points mood score note)], properties => {
    summary => {type => 'string', minLength => 60}, points => {type => 'array', items => {'$ref' => '#/$defs/point'}, minItems => 2},
    mood => {enum => [qw(good tired)]}, score => {type => 'integer', minimum => 3, maximum => 5},
    note => {anyOf => [{type => 'null'}, {type => 'string'}]}}, '$defs' => {point => $item}};
my $format = {type => 'json_schema', json_schema => {name => 'digest', strict => \1, schema => $schema}};

# Of characters, not bytes.
sub from_text { return JSON::PP->new->decode($_[0]) }

sub ask {
    my ($content, %more) = @_;
    my $token = delete $more{token} // 'sk-test';
    my $answer = $http->post($openai->url . '/chat/completions', {
        headers => {authorization => "Bearer $token", 'content-type' => 'application/json'},
        content => encode_json({model => 'gpt-4o-mini', messages => [{role => 'system', content => 'You summarise.'},
            {role => 'user', content => $content}], response_format => $format, %more})});
    return ($answer, eval { decode_json($answer->{content}) });
}

my $records = "Records:\n[7] Algebra chapter three and its exercises too\n[9] Wrote an essay\n";
my ($answer, $body) = ask($records);
is($answer->{status}, 200, 'answered');
my $choice = $body->{choices}[0];
is($choice->{finish_reason}, 'stop', 'finish_reason');
my $doc = from_text($choice->{message}{content});
is_deeply([sort keys %$doc], [qw(mood note points score summary)], 'all members');
like($doc->{summary}, qr/(?:Algebra chapter three|Wrote an essay)/, 'quotes the records');
cmp_ok(length $doc->{summary}, '>=', 60, 'minLength');
my %point = map { $_->{records}[0] => $_->{text} } @{$doc->{points}};
is_deeply([sort keys %point], [7, 9], 'cites the records');
like($point{9}, qr/Wrote/, 'and quotes what it cites');
cmp_ok(length $doc->{points}[0]{text}, '<=', 40, 'maxLength');
cmp_ok($doc->{score}, '>=', 3, 'minimum');
is($doc->{mood}, 'good', 'enum');
is($body->{usage}{total_tokens}, $body->{usage}{prompt_tokens} + $body->{usage}{completion_tokens}, 'usage');
ok($answer->{headers}{'x-ratelimit-remaining-requests'}, 'limits in the headers');
is((ask($records))[1]{choices}[0]{message}{content}, $choice->{message}{content}, 'the same again');

is((ask($records, token => 'wrong'))[0]{status}, 401, 'a wrong token');
is((ask($records, stream => \1))[0]{status}, 400, 'no streams');
my $loose = {type => 'json_schema', json_schema => {name => 'd', strict => \1,
    schema => {type => 'object', properties => {a => {type => 'string'}}}}};
is((ask($records, response_format => $loose))[1]{error}{code}, 'invalid_json_schema', 'strict schemas are checked');

sub with_fault { my ($fault) = @_; $openai->fault({count => 1, %$fault}); return ask($records) }

($answer, $body) = with_fault({kind => 'error', error => 'insufficient_quota'});
is("$answer->{status} $body->{error}{code}", '429 insufficient_quota', 'insufficient_quota');
($answer, $body) = with_fault({kind => 'error', status => 400, error => 1234});
is($body->{error}{code}, 1234, 'a number as code');
($answer) = with_fault({kind => 'status', status => 429, retry_after_ms => 250, retry_after => 'soon'});
is("$answer->{status} $answer->{headers}{'retry-after-ms'} $answer->{headers}{'retry-after'}", '429 250 soon', '429 in its forms');
ok(!defined eval { from_text((with_fault({kind => 'ignore_schema'}))[1]{choices}[0]{message}{content}) }, 'ignores the schema');
ok(!defined eval { from_text((with_fault({kind => 'half_json'}))[1]{choices}[0]{message}{content}) }, 'half a document');
is((with_fault({kind => 'length'}))[1]{choices}[0]{finish_reason}, 'length', 'length');
is((with_fault({kind => 'content_filter'}))[1]{choices}[0]{finish_reason}, 'content_filter', 'content_filter');
ok((with_fault({kind => 'refusal'}))[1]{choices}[0]{message}{refusal}, 'refusal');
my $wrong = from_text((with_fault({kind => 'wrong_citations'}))[1]{choices}[0]{message}{content});
is($wrong->{points}[0]{records}[0], 999_999, 'wrong citations');
like((with_fault({kind => 'hostile'}))[1]{choices}[0]{message}{content}, qr/<!channel>/, 'hostile text');

$openai->set(rpm => 1);
my @status = map { (ask($records))[0]{status} } 1 .. 2;
is("@status", '200 429', 'a limit a minute');

done_testing;
