/* Every path ends in MADE, BACK or CANCEL; whatever goes wrong twice ends in the factual digest. */
#include "proc/digest_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "digest/render.h"

#define RETRY_BASE_MS  1000
#define RETRY_MAX_MS   120000
#define BROKEN_MS      60000
#define BAD_ANSWER_MAX 8000 /* code points of it that go into the repair */
#define PROMPT_MAX     (1024 * 1024)

void model_init(struct model *model, const struct config *config, const struct prompts *prompts,
                struct http *http)
{
    const char *base = config_string(config, "openai", "base_url");
    const char *key = config_secret(config, "openai", "api_key");
    const char *format = config_string(config, "openai", "structured");
    int64_t temperature = config_int(config, "openai", "temperature");
    size_t n = strlen(base);

    *model = (struct model){
        .prompts = prompts,
        .http = http,
        .max_input = (size_t)config_int(config, "digest", "max_input"),
        .max_parts = (size_t)config_int(config, "digest", "max_parts"),
        .max_attempts = config_int(config, "digest", "max_attempts"),
        .settings =
            {
                .model = config_string(config, "openai", "model"),
                .tokens_field = config_string(config, "openai", "max_tokens_field"),
                .max_tokens = config_int(config, "openai", "max_tokens"),
                .has_temperature = temperature != INT64_MIN,
                .temperature = (double)temperature / 1000,
                .format = strcmp(format, "json_schema") == 0   ? OPENAI_JSON_SCHEMA
                          : strcmp(format, "json_object") == 0 ? OPENAI_JSON_OBJECT
                                                               : OPENAI_NO_FORMAT,
            },
    };
    if (asprintf(&model->url, "%s%schat/completions", base,
                 n > 0 && base[n - 1] == '/' ? "" : "/") < 0 ||
        (key[0] != '\0' && asprintf(&model->bearer, "Bearer %s", key) < 0)) {
        abort();
    }
}

void model_free(struct model *model)
{
    free(model->url);
    if (model->bearer != NULL) {
        explicit_bzero(model->bearer, strlen(model->bearer));
    }
    free(model->bearer);
    *model = (struct model){0};
}

static void set_reason(struct call *call, const char *reason)
{
    utf8_copy(call->reason, sizeof(call->reason), reason);
}

static void go_back(struct call *call, int64_t wait_ms, const char *reason)
{
    call->state = CALL_BACK;
    call->wait_ms = wait_ms;
    set_reason(call, reason);
}

bool call_make_factual(struct call *call, const char *reason)
{
    struct error err = {0};

    text_reset(&call->body);
    text_reset(&call->result);
    set_reason(call, reason);
    if (!render_factual(&call->body, &call->result, call->work, call->source, &err)) {
        go_back(call, RETRY_MAX_MS, err.text);
        return false;
    }
    call->origin = "factual";
    call->state = CALL_MADE;
    return true;
}

/* The request: the prompt and the records, or those, the bad answer and what is wrong with it. */
static bool write_request(const struct model *model, struct call *call, const char *problem,
                          struct error *err)
{
    const struct digest_work *work = call->work;
    struct text system, user, repair;
    bool ok;

    text_init(&system, PROMPT_MAX);
    text_init(&user, PROMPT_MAX);
    text_init(&repair, 65536);
    text_reset(&call->request);
    ok = prompt_digest(model->prompts, work, call->source, call->parts, call->parts_count,
                       call->part, model->max_input, &system, &user, err);
    if (ok && problem != NULL) {
        ok = prompt_repair(model->prompts, work->language, str_of(problem), &repair);
    }
    struct openai_message messages[] = {
        {"system", text_str(&system)},
        {"user", text_str(&user)},
        {"assistant", text_str(&call->answer)},
        {"user", text_str(&repair)},
    };
    ok = ok && openai_request(&call->request, &model->settings, &answer_schema, messages,
                              problem != NULL ? 4 : 2, err);
    text_fit(&call->request);
    text_free(&system);
    text_free(&user);
    text_free(&repair);
    return ok;
}

struct call *call_create(const struct model *model, struct digest_work *work, bool use_model)
{
    struct call *call = calloc(1, sizeof(*call));
    struct error err = {0};

    if (call == NULL) {
        abort();
    }
    call->work = work;
    call->source = source_create(work);
    for (size_t i = 0; i < work->records_count; i++) { /* hundreds of calls stand ready */
        free(work->records[i].text);
        work->records[i].text = NULL;
    }
    call->parts_count =
        prompt_parts(work, call->source, model->max_input, model->max_parts, call->parts);
    text_init(&call->request, OPENAI_REQUEST_MAX);
    text_init(&call->answer, 4 * BAD_ANSWER_MAX);
    text_init(&call->result, 512 * 1024);
    text_init(&call->body, 512 * 1024);
    if (work->records_count == 0) {
        call->state = CALL_CANCEL;
        set_reason(call, "nothing is left of its messages");
    } else if (!work->wanted) {
        call->state = CALL_CANCEL;
        set_reason(call, "the member wants no digests");
    } else if (!use_model) {
        call_make_factual(call, "");
    } else if (work->overdue) {
        call_make_factual(call, "the deadline has passed");
    } else if (work->attempts > model->max_attempts) {
        call_make_factual(call, "no answer that would do in all its attempts");
    } else if (!write_request(model, call, NULL, &err)) {
        call_make_factual(call, err.text);
    } else {
        call->state = CALL_READY;
    }
    return call;
}

void call_destroy(struct call **call)
{
    struct call *c = *call;

    if (c == NULL) {
        return;
    }
    digest_work_destroy(&c->work);
    source_destroy(&c->source);
    for (size_t i = 0; i < PROMPT_PARTS_MAX; i++) {
        answer_destroy(&c->answers[i]);
    }
    text_free(&c->request);
    text_free(&c->answer);
    text_free(&c->result);
    text_free(&c->body);
    free(c);
    *call = NULL;
}

void call_estimate(const struct model *model, const struct call *call, int64_t *prompt_tokens,
                   int64_t *completion_tokens)
{
    *prompt_tokens = (int64_t)call->request.len;
    *completion_tokens = model->settings.max_tokens;
}

bool call_ask(const struct model *model, struct call *call, struct error *err)
{
    struct http_header headers[] = {
        {"Content-Type", "application/json"},
        {"Accept", "application/json"},
        {"Authorization", model->bearer},
    };
    struct http_request request = {
        .method = "POST",
        .url = model->url,
        .headers = headers,
        .headers_count = model->bearer != NULL ? 3 : 2,
        .body = text_str(&call->request),
        .once = true, /* every repeat is ours: paced and counted */
        .owner = call,
    };

    if (!http_start(model->http, &request, err)) {
        go_back(call, RETRY_BASE_MS, err->text);
        return false;
    }
    call->state = CALL_ASKED;
    return true;
}

/* Result and reply, from the one answer or from those of all parts. */
static bool finish(struct call *call)
{
    struct answer *merged =
        call->parts_count > 1 ? answer_merge(call->answers, call->parts_count) : NULL;
    const struct answer *answer = merged != NULL ? merged : call->answers[0];
    size_t first = call->parts[0].first;
    struct error err = {0};
    bool ok;

    text_reset(&call->body);
    text_reset(&call->result);
    ok = answer_write(&call->result, answer, first) &&
         render_digest(&call->body, call->work, call->source, answer, first, &err);
    answer_destroy(&merged);
    if (ok) {
        call->origin = "model";
        call->state = CALL_MADE;
        set_reason(call, "");
    }
    return ok;
}

/* True when the content became a digest, or a part of one. */
static bool use_content(const struct model *model, struct call *call, struct str content,
                        struct text *problem)
{
    const struct prompt_part *part = &call->parts[call->part];
    struct answer **answer = &call->answers[call->part];
    bool ok = answer_parse(answer, content, call->source, part->first, part->end,
                           prompt_instructions(model->prompts, call->work->language), problem);

    if (ok && call->parts_count > 1) {
        struct error err = {0};

        text_reset(&call->result);
        ok = answer_write(&call->result, *answer, part->first) &&
             (!call->repairing || write_request(model, call, NULL, &err)); /* it is kept by that */
        call->state = ok ? CALL_PART : call->state;
    } else if (ok) {
        ok = finish(call);
    }
    if (!ok) {
        answer_destroy(answer);
        if (problem->len == 0) {
            text_adds(problem, "it is too long");
        }
    }
    return ok;
}

void call_next_part(const struct model *model, struct call *call)
{
    struct error err = {0};

    call->repairing = false;
    if (++call->part < call->parts_count) {
        if (write_request(model, call, NULL, &err)) {
            call->state = CALL_READY;
        } else {
            call_make_factual(call, err.text);
        }
    } else if (!finish(call)) {
        call_make_factual(call, "what the parts say is too long together");
    }
}

/* The bad answer is asked to be put right, once; its text is cut, as only its shape matters. */
static void repair(const struct model *model, struct call *call, struct str content,
                   const char *problem)
{
    struct error err = {0};
    struct text reason;

    text_init(&reason, sizeof(call->reason) - 1);
    text_addf(&reason, "the answer will not do: %s", problem);
    text_reset(&call->answer);
    text_add(&call->answer, utf8_cut(content, BAD_ANSWER_MAX));
    if (call->repairing || content.len == 0 || !write_request(model, call, problem, &err)) {
        call_make_factual(call, text_cstr(&reason));
    } else {
        call->repairing = true;
        call->state = CALL_READY;
    }
    text_free(&reason);
}

static void count_tokens(const struct model *model, struct call *call,
                         const struct openai_reply *reply, struct call_news *news)
{
    news->prompt_tokens = reply->prompt_tokens;
    news->completion_tokens = reply->completion_tokens;
    call->prompt_tokens += reply->prompt_tokens;
    call->completion_tokens += reply->completion_tokens;
    metrics_add(METRIC_TOKENS_TOTAL, model->settings.model, "prompt", (double)reply->prompt_tokens);
    metrics_add(METRIC_TOKENS_TOTAL, model->settings.model, "completion",
                (double)reply->completion_tokens);
}

static void retry_later(struct call *call, int64_t asked_ms, const char *reason,
                        struct call_news *news)
{
    int64_t wait = clock_backoff_ms((unsigned)call->work->attempts, RETRY_BASE_MS, RETRY_MAX_MS);

    if (asked_ms >= 0) { /* the server's word, and a little apart from the others */
        wait = asked_ms + (int64_t)(clock_random() % (uint64_t)(asked_ms / 8 + 50));
        news->hold_ms = asked_ms > news->hold_ms ? asked_ms : news->hold_ms;
    }
    metrics_add(METRIC_RETRIES_TOTAL, "openai", NULL, 1);
    go_back(call, wait, reason);
}

static void take_reply(const struct model *model, struct call *call, struct openai_reply *reply,
                       struct call_news *news)
{
    struct text problem;

    text_init(&problem, 400);
    count_tokens(model, call, reply, news);
    switch (reply->verdict) {
    case OPENAI_ANSWERED:
        if (!use_content(model, call, reply->content, &problem)) {
            repair(model, call, reply->content, text_cstr(&problem));
        }
        break;
    case OPENAI_INCOMPLETE:
        repair(model, call, reply->content, reply->error.text);
        break;
    case OPENAI_RETRY:
        retry_later(call, reply->wait_ms, reply->error.text, news);
        break;
    case OPENAI_QUOTA:
        news->quota_gone = true;
        go_back(call, RETRY_BASE_MS, reply->error.text);
        break;
    case OPENAI_BROKEN:
        news->broken = true;
        news->hold_ms = BROKEN_MS;
        go_back(call, BROKEN_MS, reply->error.text);
        break;
    case OPENAI_REFUSED:
        call_make_factual(call, reply->error.text);
        break;
    }
    text_free(&problem);
}

void call_answered(const struct model *model, struct call *call,
                   const struct http_response *response, struct call_news *news)
{
    struct openai_reply reply;

    *news = (struct call_news){0};
    if (response->fate != HTTP_ANSWERED) {
        snprintf(news->said, sizeof(news->said), "%.*s", (int)sizeof(news->said) - 1,
                 response->error.text);
        retry_later(call, -1, response->error.text, news);
        return;
    }
    struct openai_headers headers = {
        .retry_after = http_header(model->http, "retry-after"),
        .retry_after_ms = http_header(model->http, "retry-after-ms"),
        .remaining_requests = http_header(model->http, "x-ratelimit-remaining-requests"),
        .remaining_tokens = http_header(model->http, "x-ratelimit-remaining-tokens"),
        .reset_requests = http_header(model->http, "x-ratelimit-reset-requests"),
        .reset_tokens = http_header(model->http, "x-ratelimit-reset-tokens"),
    };
    openai_read(&reply, response->status, response->body, &headers, clock_wall_ms());
    news->hold_ms = openai_hold_ms(&headers);
    news->answered = reply.verdict == OPENAI_ANSWERED || reply.verdict == OPENAI_INCOMPLETE ||
                     reply.verdict == OPENAI_REFUSED;
    snprintf(news->said, sizeof(news->said), "%ld %s", response->status, reply.error.code);
    take_reply(model, call, &reply, news);
    openai_reply_free(&reply);
}

bool call_reuse(const struct model *model, struct call *call, struct str content)
{
    struct text problem;
    bool ok;

    text_init(&problem, 400);
    ok = use_content(model, call, content, &problem);
    text_free(&problem);
    return ok;
}
