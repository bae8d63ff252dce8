use strict;
use warnings;

# Slash commands and interactions: signed forms.

use StudyTest::Module;
use Test::Nginx::Socket 'no_plan';

repeat_each(2);
no_long_string();
study_blocks();

our $command = form(team_id => 'T0STUDY', command => '/study', text => 'ssl_check=1&x', trigger_id => '1.2.abc');

run_tests();

__DATA__

=== TEST 1: a command
--- data eval: $::command
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- error_code: 200
--- response_body:
--- queued: command


=== TEST 2: an interaction, with a charset
--- data: payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221.2.c%22%7D
--- path: /slack/interactions
--- type: application/x-www-form-urlencoded; charset=utf-8
--- error_code: 200
--- queued: interaction


=== TEST 3: Slack's documented body, signed now
--- data: token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- error_code: 200
--- queued: command


=== TEST 4: Slack's documented vector, when the window is wide enough
--- data: token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- timestamp: 1531420618
--- signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503
--- http_more
study_timestamp_tolerance 20y;
--- error_code: 200
--- queued: command


=== TEST 5: the same vector today
--- data: token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- timestamp: 1531420618
--- signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503
--- error_code: 401


=== TEST 6: a command whose signature is wrong
--- data eval: $::command
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_with: wrong
--- error_code: 401


=== TEST 7: a command that is not signed
--- data eval: $::command
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_with: none
--- error_code: 401
--- error_log
no_signature


=== TEST 8: a command from long ago
--- data eval: $::command
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_at: -310
--- error_code: 401
--- error_log
bad_time


=== TEST 9: ssl_check, as Slack sends it
--- data: token=gIkuvaNzQIHg97ATvDxqgjtO&ssl_check=1
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_with: none
--- error_code: 200
--- response_body:


=== TEST 10: ssl_check with a command in it, signed
--- data: ssl_check=1&command=%2Fstudy&text=today&trigger_id=1.2.abc
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- error_code: 200


=== TEST 11: ssl_check with a command in it, not signed
--- data: command=%2Fstudy&ssl_check=1&trigger_id=1.2.abc
--- path: /slack/commands
--- type: Application/X-WWW-Form-Urlencoded;charset=utf-8
--- sign_with: none
--- error_code: 200


=== TEST 12: ssl_check of interactions
--- data: ssl_check=1
--- path: /slack/interactions
--- type: application/x-www-form-urlencoded
--- sign_with: none
--- error_code: 200


=== TEST 13: ssl_check of something else
--- data: ssl_check=10&command=%2Fstudy
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_with: none
--- error_code: 401


=== TEST 14: a parameter that ends like ssl_check
--- data: no_ssl_check=1&command=%2Fstudy
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_with: none
--- error_code: 401


=== TEST 15: ssl_check in something that is no form
--- data: ssl_check=1
--- path: /slack/commands
--- sign_with: none
--- error_code: 401


=== TEST 16: ssl_check in a body too long to be one
--- data eval: 'ssl_check=1&x=' . 'y' x 5000
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- sign_with: none
--- error_code: 401


=== TEST 17: another method
--- request
GET /slack/commands
--- error_code: 405
--- response_headers
Allow: POST


=== TEST 18: a body over the limit
--- data eval: 'payload=' . 'x' x 2000
--- path: /slack/interactions
--- type: application/x-www-form-urlencoded
--- config
location = /slack/interactions { study_interactions; client_max_body_size 1k; }
--- no_http2
--- error_code: 413
--- response_headers
X-Slack-No-Retry: 1


=== TEST 19: under a prefix that the Redis user may not touch
--- data eval: $::command
--- path: /slack/commands
--- type: application/x-www-form-urlencoded
--- http_more
study_key_prefix other;
--- error_code: 503
--- error_log
study request refused: redis_noperm
