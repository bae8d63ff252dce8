use strict;
use warnings;

# Signed events: each answer, and that exactly what was signed lies in the list.

use StudyTest::Module;
use Test::Nginx::Socket 'no_plan';

repeat_each(2);
no_long_string();
study_blocks();

our $big = '{"type":"event_callback","text":"' . ('0123456789abcdef' x 20000) . '"}';

run_tests();

__DATA__

=== TEST 1: a signed event
--- data: {"type":"event_callback","event":{"type":"message","text":"Read chapter three."}}
--- error_code: 200
--- response_body:
--- response_headers
Content-Length: 0
! X-Slack-No-Retry
--- queued: event


=== TEST 2: the answer does not depend on what the body says
--- data: {"type":"event_callba
--- error_code: 200
--- queued: event


=== TEST 3: an unknown type
--- data: {"type":"something_new"}
--- error_code: 200
--- queued: event


=== TEST 4: no body at all
--- data eval: ""
--- error_code: 200
--- queued: event


=== TEST 5: NUL bytes, bytes that are no UTF-8, line ends
--- data eval: "\x00\xff\xfe{\r\n\n\x00}\x80"
--- error_code: 200
--- queued: event


=== TEST 6: characters of several bytes
--- data eval: "{\"text\":\"\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xf0\x9f\x93\x9a\"}"
--- error_code: 200
--- queued: event


=== TEST 7: a body of more than one buffer
--- data eval: $::big
--- http_more
client_body_buffer_size 64k;
--- error_code: 200
--- queued: event


=== TEST 8: a body that nginx keeps in a file
--- data eval: $::big
--- http_more
client_body_buffer_size 4k;
client_body_in_file_only clean;
--- error_code: 200
--- queued: event


=== TEST 9: an empty body where bodies go into files
--- data eval: ""
--- http_more
client_body_in_file_only clean;
--- error_code: 200
--- queued: event


=== TEST 10: a body in one buffer
--- data eval: $::big
--- http_more
client_body_buffer_size 1m;
client_body_in_single_buffer on;
--- error_code: 200
--- queued: event


=== TEST 11: signed with the secret before
--- data: {"type":"event_callback"}
--- sign_with: an-older-secret-that-still-counts
--- error_code: 200
--- queued: event


=== TEST 12: signed with another secret
--- data: {"type":"event_callback"}
--- sign_with: 8f742231b10e8888abcd99yyyzzz85a6
--- error_code: 401
--- response_headers
! X-Slack-No-Retry
--- error_log
study request refused: bad_signature


=== TEST 13: no signature headers
--- data: {"type":"event_callback"}
--- sign_with: none
--- error_code: 401
--- error_log
study request refused: no_signature


=== TEST 14: no timestamp
--- data: {"type":"event_callback"}
--- timestamp: none
--- error_code: 401


=== TEST 15: no signature
--- data: {"type":"event_callback"}
--- signature: none
--- error_code: 401


=== TEST 16: a body other than the signed one
--- data: {"type":"event_callback"}
--- sign_body: {"type":"event_callbacK"}
--- error_code: 401


=== TEST 17: another version
--- data: {"type":"event_callback"}
--- sign_as: v1=%s
--- error_code: 401


=== TEST 18: digits in upper case
--- data: {"type":"event_callback"}
--- sign_as: v0=%U
--- error_code: 401


=== TEST 19: a signature too short
--- data: {"type":"event_callback"}
--- signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b50
--- error_code: 401
--- error_log
no_signature


=== TEST 20: a signature too long
--- data: {"type":"event_callback"}
--- signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b5030
--- error_code: 401


=== TEST 21: a timestamp that is no number
--- data: {"type":"event_callback"}
--- timestamp: 15314206x8
--- error_code: 401


=== TEST 22: a negative timestamp
--- data: {"type":"event_callback"}
--- timestamp: -1
--- error_code: 401


=== TEST 23: twelve digits
--- data: {"type":"event_callback"}
--- timestamp eval: '00' . time
--- error_code: 401
--- error_log
no_signature


=== TEST 24: eleven digits are the header's own bytes
--- data: {"type":"event_callback"}
--- sign_zero
--- error_code: 200
--- queued: event


=== TEST 25: from long ago
--- data: {"type":"event_callback"}
--- sign_at: -310
--- error_code: 401
--- error_log
bad_time


=== TEST 26: from the future
--- data: {"type":"event_callback"}
--- sign_at: 310
--- error_code: 401
--- error_log
bad_time


=== TEST 27: a repeated signature, even the same one
--- data: {"type":"event_callback"}
--- repeat: X-Slack-Signature
--- error_code: 401
--- error_log
no_signature


=== TEST 28: a repeated timestamp, even the same one
--- data: {"type":"event_callback"}
--- repeat: X-Slack-Request-Timestamp
--- error_code: 401
--- error_log
no_signature


=== TEST 29: url_verification
--- data: {"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}
--- error_code: 200
--- response_headers
Content-Type: text/plain
Content-Length: 52
--- response_body chomp
3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P


=== TEST 30: url_verification, spaced out, with escapes and values of all kinds
--- data eval: qq({ "n" : [1,{"type":"x"},"]"] ,\n "type" : "url_verification","b":true,\t"challenge":"a\\u00e9\\ud83d\\udcda\\/\\"z" })
--- error_code: 200
--- response_body eval: "a\xc3\xa9\xf0\x9f\x93\x9a/\"z"


=== TEST 31: url_verification has to be signed
--- data: {"challenge":"x","type":"url_verification"}
--- sign_with: wrong
--- error_code: 401


=== TEST 32: the type of something inside does not count
--- data: {"type":"event_callback","event":{"type":"url_verification","challenge":"x"}}
--- error_code: 200
--- response_body:
--- queued: event


=== TEST 33: url_verification without a challenge is an event
--- data: {"type":"url_verification"}
--- error_code: 200
--- queued: event


=== TEST 34: a challenge that is no string
--- data: {"type":"url_verification","challenge":7}
--- error_code: 200
--- queued: event


=== TEST 35: a challenge with half a character
--- data: {"type":"url_verification","challenge":"\ud83d"}
--- error_code: 200
--- queued: event


=== TEST 36: something after the object
--- data: {"type":"url_verification","challenge":"x"} x
--- error_code: 200
--- queued: event


=== TEST 37: a signed ssl_check form, with an event in it
--- data: ssl_check=1&token=x&payload=%7B%22type%22%3A%22event_callback%22%7D
--- type: application/x-www-form-urlencoded
--- error_code: 200
--- response_body:


=== TEST 38: another method
--- request
GET /slack/events
--- error_code: 405
--- error_log: study request refused: bad_method
--- response_headers
Allow: POST
! X-Slack-No-Retry


=== TEST 39: PUT
--- request
PUT /slack/events
{}
--- no_http2
--- error_code: 405
--- response_headers
Allow: POST


=== TEST 40: HEAD
--- request
HEAD /slack/events
--- error_code: 405
--- response_headers
Allow: POST


=== TEST 41: a body over the limit
--- data eval: $::big
--- config
location = /slack/events { study_events; client_max_body_size 100k; }
--- no_http2
--- error_code: 413
--- response_headers
X-Slack-No-Retry: 1


=== TEST 42: a body over the limit elsewhere
--- data eval: $::big
--- path: /elsewhere
--- config
location /elsewhere { client_max_body_size 100k; }
--- no_http2
--- error_code: 413
--- response_headers
! X-Slack-No-Retry


=== TEST 43: a repeat is an event like any other
--- data: {"type":"event_callback"}
--- more
X-Slack-Retry-Num: 2
X-Slack-Retry-Reason: http_timeout
--- error_code: 200
--- queued: event


=== TEST 44: through an internal redirect
--- data: {"type":"event_callback"}
--- path: /other/events
--- config_more
location = /other/events { rewrite ^ /slack/events last; }
--- error_code: 200
--- queued: event


=== TEST 45: inside "if" and "limit_except"
--- data: {"type":"event_callback"}
--- path: /if/events
--- config_more
location = /if/events {
    study_events;
    if ($request_method = POST) { set $x 1; }
    limit_except POST { deny all; }
}
--- error_code: 200
--- queued: event


=== TEST 46: an error page for refused requests
--- data: {"type":"event_callback"}
--- sign_with: wrong
--- config_more
error_page 401 /sorry;
location = /sorry { return 401 "sorry"; }
--- error_code: 401
--- response_body: sorry


=== TEST 47: names of headers in any case
--- data: {"type":"event_callback"}
--- sign_with: none
--- more eval
my ($ts, $signature) = StudyTest::Module::signed('{"type":"event_callback"}');
"x-slack-REQUEST-timestamp: $ts\nX-SLACK-SIGNATURE: $signature"
--- error_code: 200
--- queued: event


=== TEST 48: a challenge in something else
--- data: {"type":"event_callback","challenge":"x","event":{"type":"url_verification"}}
--- error_code: 200
--- response_body:
--- queued: event


=== TEST 49: conditions, which what was accepted cannot fail
--- data: {"type":"event_callback"}
--- more
If-Match: "x"
If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT
--- error_code: 200
--- queued: event
