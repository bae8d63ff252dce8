/* Whatever Slack's Web API may answer; the first byte picks status and Retry-After. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "digest/source.h"
#include "slack/outcome.h"
#include "slack/web.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {200, 200, 200, 429, 500, 404};
    static const char *const retry[] = {"", "1", "30", "99999999999999999999", "soon"};
    struct http_response response = {.fate = HTTP_ANSWERED};
    struct slack_answer answer;
    struct str ts, cursor;
    struct text query, plain;

    if (size < 1) {
        return 0;
    }
    response.status = statuses[data[0] % 6];
    response.body = (struct str){(const char *)data + 1, size - 1};
    slack_read(&answer, &response, retry[data[0] / 6 % 5]);
    if (answer.wait_ms < -1 || answer.wait_ms > SLACK_WAIT_MAX_MS ||
        memchr(answer.code, '\0', sizeof(answer.code)) == NULL) {
        abort();
    }
    ts = slack_find_post(answer.root, "study_digest", STR("U1"), 42);
    if (slack_is_ts(ts) && ts.len != 17) {
        abort();
    }
    cursor = slack_next_cursor(answer.root);
    text_init(&query, 1024);
    slack_history_query(&query, "C1", NULL, 0, cursor);
    for (size_t i = 0; i < query.len; i++) {
        if ((unsigned char)query.data[i] <= ' ' || (unsigned char)query.data[i] > '~') {
            abort();
        }
    }
    slack_answer_free(&answer);

    /* the same bytes as a message's text */
    if (utf8_valid(response.body)) {
        text_init(&plain, 128 * 1024);
        source_plain(&plain, response.body);
        if (!utf8_valid(text_str(&plain)) || plain.len > 3 * response.body.len + 16) {
            abort();
        }
        text_free(&plain);
    }
    text_free(&query);
    return 0;
}
