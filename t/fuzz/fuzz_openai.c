/*
 * Whatever a model's server may answer, from the body to the message that would be shown: its first
 * two bytes pick status and headers. What is shown is checked: valid UTF-8, no markup of its own.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/digest_work.h"
#include "base/json.h"
#include "digest/answer.h"
#include "digest/openai.h"
#include "digest/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char instructions[] =
    "You are a kind guide of a study group. You are given the study notes that one person wrote, "
    "and you write the material for a short look back that only this person will read.";

static void check_shown(struct str body)
{
    struct error err = {0};
    struct json_doc *doc = NULL;
    const struct json *blocks;

    if (!json_parse(&doc, body, &err)) {
        abort();
    }
    blocks = json_get(json_root(doc), "blocks");
    if (json_size(blocks) == 0 || json_size(blocks) > 50) {
        abort();
    }
    for (size_t i = 0; i < json_size(blocks); i++) {
        struct str s = json_string(json_path(json_at(blocks, i), "text.text"));

        if (utf8_length(s) > 3000) {
            abort();
        }
        for (size_t k = 0; k + 1 < s.len; k++) {
            if (s.data[k] == '<' && s.data[k + 1] != 'h' &&
                memcmp(s.data + k, "<@U0MEMBER1>", 12) != 0) {
                abort();
            }
        }
    }
    json_destroy(&doc);
}

static void use(struct str content)
{
    static const char *const texts[] = {"read <https://good.example/a|a>", "wrote a little"};
    struct digest_work *work = work_of("en", texts, 2);
    struct source *source = source_create(work);
    struct answer *answer = NULL;
    struct error err = {0};
    struct text problem, body;

    text_init(&problem, 400);
    text_init(&body, 512 * 1024);
    if (answer_parse(&answer, content, source, 0, source_count(source), STR(instructions),
                     &problem)) {
        if (!render_digest(&body, work, source, answer, 0, &err)) {
            abort();
        }
        check_shown(text_str(&body));
    } else if (problem.len == 0) {
        abort();
    }
    answer_destroy(&answer);
    text_free(&body);
    text_free(&problem);
    source_destroy(&source);
    digest_work_destroy(&work);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {200, 200, 200, 200, 400, 401, 429, 500};
    char header[64] = "";
    struct openai_headers headers = {header, header, "0", "0", header, header};
    struct openai_reply reply;

    if (size < 2) {
        return 0;
    }
    if (data[1] < sizeof(header) && size > 2U + data[1]) {
        memcpy(header, data + 2, data[1]);
        header[data[1]] = '\0';
        size -= data[1];
        data += data[1];
    }
    openai_read(&reply, statuses[data[0] % 8], (struct str){(const char *)data + 2, size - 2},
                &headers, 1795372952000);
    if (reply.wait_ms < -1 || reply.wait_ms > OPENAI_WAIT_MAX_MS || openai_hold_ms(&headers) < 0) {
        abort();
    }
    if (reply.verdict == OPENAI_ANSWERED) {
        use(reply.content);
    }
    openai_reply_free(&reply);
    use((struct str){(const char *)data + 2, size - 2}); /* as if it were the content */
    return 0;
}
