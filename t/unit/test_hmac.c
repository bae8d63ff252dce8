/* HMAC-SHA256 against RFC 4231's vectors and the one that Slack documents. */
#include <string.h>

#include "unit.h"

#include "base/hmac.h"
#include "base/text.h"

static void check(struct str key, struct str message, const char *want) {
  char got[65];

  hmac_sha256_hex(key, message, got);
  assert_string_equal(got, want);
}

static void test_rfc4231(void **state) {
  char key[131], data[50];

  (void)state;
  memset(key, 0x0b, sizeof(key));
  check((struct str){key, 20}, STR("Hi There"),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  check(STR("Jefe"), STR("what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  memset(key, 0xaa, sizeof(key));
  memset(data, 0xdd, sizeof(data));
  check((struct str){key, 20}, (struct str){data, 50},
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  check((struct str){key, 131},
        STR("Test Using Larger Than Block-Size Key - Hash Key First"),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  check((struct str){key, 131},
        STR("This is a test using a larger than block-size key and a larger "
            "than block-size "
            "data. The key needs to be hashed before being used by the HMAC "
            "algorithm."),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

static void test_slack(void **state) {
  (void)state;
  check(STR("8f742231b10e8888abcd99yyyzzz85a5"),
        STR("v0:1531420618:token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&"
            "team_domain="
            "testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id="
            "U2CERLKJA&user_name="
            "roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%"
            "2F%2Fhooks.slack."
            "com%2Fcommands%2FT1DC2JH3J%2F397700885554%"
            "2F96rGlfmibIGlgcZRskXaIFfN&trigger_id="
            "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"),
        "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rfc4231),
      cmocka_unit_test(test_slack),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
