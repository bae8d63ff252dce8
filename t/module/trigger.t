use strict;
use warnings;

# Triggers: a token instead of a signature, a schedule instead of a body.

use StudyTest::Module;
use Test::Nginx::Socket 'no_plan';

repeat_each(2);
no_long_string();
study_blocks();

add_block_preprocessor(sub {
    my ($block) = @_;
    $block->{_study_body} = $block->body_is if defined $block->body_is;
    chomp $block->{_study_body} if defined $block->{_study_body};
});

run_tests();

__DATA__

=== TEST 1: a trigger
--- request
POST /study/trigger?schedule=daily
--- more_headers
Authorization: Bearer a-trigger-token
--- error_code: 202
--- response_body:
--- queued: trigger
--- body_is
schedule=daily


=== TEST 2: what the request has in its body is not looked at
--- request
POST /study/trigger?x=y&schedule=weekly.EU-1_2
schedule=other
--- more_headers
Authorization: bearer   a-trigger-token
--- error_code: 202
--- queued: trigger
--- body_is
schedule=weekly.EU-1_2


=== TEST 3: no token
--- request
POST /study/trigger?schedule=daily
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer
--- error_log
study request refused: bad_token


=== TEST 4: another token
--- request
POST /study/trigger?schedule=daily
--- more_headers
Authorization: Bearer a-trigger-tokem
--- error_code: 401


=== TEST 5: the beginning of the token
--- request
POST /study/trigger?schedule=daily
--- more_headers
Authorization: Bearer a-trigger
--- error_code: 401


=== TEST 6: an empty token
--- request
POST /study/trigger?schedule=daily
--- more_headers
Authorization: Bearer
--- error_code: 401


=== TEST 7: another scheme
--- request
POST /study/trigger?schedule=daily
--- more_headers
Authorization: Basic a-trigger-token
--- error_code: 401


=== TEST 8: no schedule
--- request
POST /study/trigger
--- more_headers
Authorization: Bearer a-trigger-token
--- error_code: 400
--- error_log
study request refused: bad_request


=== TEST 9: an empty schedule
--- request
POST /study/trigger?schedule=
--- more_headers
Authorization: Bearer a-trigger-token
--- error_code: 400


=== TEST 10: a schedule that is no name
--- request
POST /study/trigger?schedule=a%0Ab
--- more_headers
Authorization: Bearer a-trigger-token
--- error_code: 400


=== TEST 11: a schedule too long
--- request eval
'POST /study/trigger?schedule=' . 'a' x 65
--- more_headers
Authorization: Bearer a-trigger-token
--- error_code: 400


=== TEST 12: an idempotency key that would have to be cut
--- request
POST /study/trigger?schedule=daily
--- more_headers eval
"Authorization: Bearer a-trigger-token\nIdempotency-Key: " . 'k' x 256
--- error_code: 400


=== TEST 13: an idempotency key that is no text
--- request
POST /study/trigger?schedule=daily
--- more_headers eval
"Authorization: Bearer a-trigger-token\nIdempotency-Key: k\x80"
--- error_code: 400


=== TEST 14: two idempotency keys
--- request
POST /study/trigger?schedule=daily
--- more_headers
Authorization: Bearer a-trigger-token
Idempotency-Key: a
Idempotency-Key: b
--- error_code: 400


=== TEST 15: the longest idempotency key
--- request
POST /study/trigger?schedule=daily
--- more_headers eval
"Authorization: Bearer a-trigger-token\nIdempotency-Key: " . '"' x 255
--- error_code: 202
--- queued: trigger
--- body_is
schedule=daily


=== TEST 16: another method
--- request
GET /study/trigger?schedule=daily
--- more_headers
Authorization: Bearer a-trigger-token
--- error_code: 405
--- response_headers
Allow: POST


=== TEST 17: a body over the limit has no advice for Slack
--- request eval
"POST /study/trigger?schedule=daily\n" . 'x' x 2000
--- more_headers
Authorization: Bearer a-trigger-token
--- config
location = /study/trigger { study_trigger; client_max_body_size 1k; }
--- no_http2
--- error_code: 413
--- response_headers
! X-Slack-No-Retry
