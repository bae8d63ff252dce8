/*
 * The events that the load generator sends: shaped as Slack's own, each signed
 * as it is written. Bodies are printed from templates into one scratch buffer,
 * so that making an event costs a few microseconds and no allocation; the HMAC
 * is keyed once and started again for each event.
 */

#include "event.h"

#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECENT        65536 /* a power of two */
#define TEMPLATE_ROOM 8192

const char *const event_kind_names[EVENT_KINDS] = {"new", "edit", "delete", "repeat"};

static const char *const sayings[] = {
    "Read chapter three and did the exercises",
    "오늘 알고리즘 문제 세 개를 풀었다",
    "Two hours of linear algebra, eigenvalues are clear now",
    "영어 단어 50개 암기",
    "Wrote the lab report &amp; sent it for review",
};

struct event_source {
    struct event_options opt;
    EVP_MAC *mac;
    EVP_MAC_CTX *hmac;
    struct event recent[RECENT];
    uint64_t messages; /* made so far: recent[messages % RECENT] comes next */
    uint64_t serial;
    uint64_t last_us;
    uint64_t random;
    unsigned weight_sum;
    uint32_t run;
    char *pad;
    size_t pad_len;
    char *body;
    size_t body_len;
    size_t body_cap;
};

static uint64_t random_next(struct event_source *src)
{
    /* xorshift64*: small, seeded, good enough to pick a kind. */
    src->random ^= src->random >> 12;
    src->random ^= src->random << 25;
    src->random ^= src->random >> 27;
    return src->random * UINT64_C(2685821657736338717);
}

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

__attribute__((format(printf, 2, 3))) static void body_add(struct event_source *src,
                                                           const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(src->body + src->body_len, src->body_cap - src->body_len, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < src->body_cap - src->body_len) {
        src->body_len += (size_t)n;
    }
}

#define TS_FORMAT   "%" PRIu64 ".%06" PRIu64
#define TS_ARGS(us) (us) / 1000000, (us) % 1000000

void event_id(const struct event_source *src, const struct event *ev, char *out)
{
    snprintf(out, 32, "Ev%08" PRIX32 "%08" PRIX64, src->run, ev->serial);
}

/* A message as it stands inside an event: its own members, without the braces. */
static void add_message(struct event_source *src, const struct event *ev, const char *suffix)
{
    const char *saying = sayings[ev->of % (sizeof(sayings) / sizeof(sayings[0]))];

    body_add(src,
             "\"type\":\"message\",\"user\":\"U%06" PRIu32 "\",\"ts\":\"" TS_FORMAT "\","
             "\"client_msg_id\":\"%08" PRIx32 "-0000-4000-8000-%012" PRIx64 "\","
             "\"text\":\"%s #%" PRIu64 "%s%.*s\",\"team\":\"%s\","
             "\"blocks\":[{\"type\":\"rich_text\",\"block_id\":\"b%" PRIx64 "\",\"elements\":[{"
             "\"type\":\"rich_text_section\",\"elements\":[{\"type\":\"text\",\"text\":"
             "\"%s #%" PRIu64 "%s\"}]}]}]",
             ev->user, TS_ARGS(ev->ts_us), src->run, ev->of, saying, ev->of, suffix,
             (int)src->pad_len, src->pad, src->opt.team, ev->of, saying, ev->of, suffix);
}

static void add_event(struct event_source *src, const struct event *ev, uint64_t now)
{
    switch (ev->kind) {
    case EVENT_NEW:
    case EVENT_REPEAT:
        add_message(src, ev, "");
        now = ev->ts_us;
        break;
    case EVENT_EDIT:
        body_add(src, "\"type\":\"message\",\"subtype\":\"message_changed\",\"hidden\":true,"
                      "\"message\":{");
        add_message(src, ev, " (edited)");
        body_add(src, ",\"edited\":{\"user\":\"U%06" PRIu32 "\",\"ts\":\"" TS_FORMAT "\"}},",
                 ev->user, TS_ARGS(now));
        body_add(src, "\"previous_message\":{");
        add_message(src, ev, "");
        body_add(src, "},\"ts\":\"" TS_FORMAT "\"", TS_ARGS(now));
        break;
    default:
        body_add(src,
                 "\"type\":\"message\",\"subtype\":\"message_deleted\",\"hidden\":true,"
                 "\"deleted_ts\":\"" TS_FORMAT "\",\"previous_message\":{",
                 TS_ARGS(ev->ts_us));
        add_message(src, ev, "");
        body_add(src, "},\"ts\":\"" TS_FORMAT "\"", TS_ARGS(now));
        break;
    }
    body_add(src,
             ",\"channel\":\"C%06" PRIu32 "\",\"event_ts\":\"" TS_FORMAT "\","
             "\"channel_type\":\"channel\"",
             ev->channel, TS_ARGS(now));
}

static void make_body(struct event_source *src, const struct event *ev)
{
    uint64_t now = ev->kind == EVENT_NEW || ev->kind == EVENT_REPEAT ? ev->ts_us : now_us();
    const char *team = src->opt.team;
    char id[32];

    event_id(src, ev, id);
    src->body_len = 0;
    body_add(
        src,
        "{\"token\":\"legacy-verification-token\",\"team_id\":\"%s\",\"context_team_id\":\"%s\","
        "\"context_enterprise_id\":null,\"api_app_id\":\"A0STUDY\",\"event\":{",
        team, team);
    add_event(src, ev, now);
    body_add(
        src,
        "},\"type\":\"event_callback\",\"event_id\":\"%s\",\"event_time\":%" PRIu64 ","
        "\"authorizations\":[{\"enterprise_id\":null,\"team_id\":\"%s\",\"user_id\":\"U0STUDYBOT\","
        "\"is_bot\":true,\"is_enterprise_install\":false}],\"is_ext_shared_channel\":false,"
        "\"event_context\":\"4-eyJldCI6Im1lc3NhZ2UifQ\"}",
        id, now / 1000000, team);
}

static bool key_hmac(struct event_source *src)
{
    OSSL_PARAM params[2];
    char digest[] = "SHA256";

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
    params[1] = OSSL_PARAM_construct_end();
    src->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    src->hmac = src->mac != NULL ? EVP_MAC_CTX_new(src->mac) : NULL;
    return src->hmac != NULL && EVP_MAC_init(src->hmac, (const unsigned char *)src->opt.secret,
                                             src->opt.secret_len, params) == 1;
}

/* v0=hex: out has room for 68. */
static bool sign(struct event_source *src, uint64_t seconds, char *out)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[32];
    char prefix[40];
    size_t len = 0;
    int n = snprintf(prefix, sizeof(prefix), "v0:%" PRIu64 ":", seconds);

    if (EVP_MAC_init(src->hmac, NULL, 0, NULL) != 1 ||
        EVP_MAC_update(src->hmac, (unsigned char *)prefix, (size_t)n) != 1 ||
        EVP_MAC_update(src->hmac, (unsigned char *)src->body, src->body_len) != 1 ||
        EVP_MAC_final(src->hmac, digest, &len, sizeof(digest)) != 1 || len != sizeof(digest)) {
        return false;
    }
    memcpy(out, "v0=", 3);
    for (size_t i = 0; i < sizeof(digest); i++) {
        out[3 + 2 * i] = hex[digest[i] >> 4];
        out[4 + 2 * i] = hex[digest[i] & 15];
    }
    out[67] = '\0';
    return true;
}

size_t event_max_request(const struct event_source *src)
{
    return src->body_cap + TEMPLATE_ROOM;
}

size_t event_request(struct event_source *src, const struct event *ev, char *out)
{
    uint64_t seconds = (uint64_t)time(NULL);
    char signature[68];
    int n;

    if (!src->opt.constant || src->body_len == 0) {
        make_body(src, ev);
    }
    if (!sign(src, seconds, signature)) {
        return 0;
    }
    n = snprintf(
        out, TEMPLATE_ROOM,
        "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Slackbot 1.0 (+https://api.slack.com/robots)"
        "\r\nAccept-Encoding: gzip,deflate\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        "X-Slack-Request-Timestamp: %" PRIu64 "\r\nX-Slack-Signature: %s\r\n"
        "Content-Length: %zu\r\n%s%s\r\n",
        src->opt.path, src->opt.host, seconds, signature, src->body_len,
        ev->kind == EVENT_REPEAT ? "X-Slack-Retry-Num: 1\r\nX-Slack-Retry-Reason: http_timeout\r\n"
                                 : "",
        src->opt.keepalive ? "" : "Connection: close\r\n");
    if (n < 0 || n >= TEMPLATE_ROOM) {
        return 0;
    }
    memcpy(out + n, src->body, src->body_len);
    return (size_t)n + src->body_len;
}

static enum event_kind pick_kind(struct event_source *src)
{
    unsigned at;

    if (src->messages == 0 || src->weight_sum == src->opt.weights[EVENT_NEW]) {
        return EVENT_NEW;
    }
    at = (unsigned)((random_next(src) >> 33) % src->weight_sum);
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        if (at < src->opt.weights[kind]) {
            return (enum event_kind)kind;
        }
        at -= src->opt.weights[kind];
    }
    return EVENT_NEW;
}

struct event event_next(struct event_source *src)
{
    enum event_kind kind = pick_kind(src);
    uint64_t kept = src->messages < RECENT ? src->messages : RECENT;
    struct event ev;

    if (kind != EVENT_NEW) {
        ev = src->recent[(src->messages - 1 - random_next(src) % kept) % RECENT];
        ev.kind = kind;
        if (kind != EVENT_REPEAT) {
            ev.serial = ++src->serial;
        }
        return ev;
    }

    uint64_t n = src->messages;
    uint64_t us = now_us();

    src->last_us = us > src->last_us ? us : src->last_us + 1;
    ev.kind = EVENT_NEW;
    ev.user = (uint32_t)(n % src->opt.users) + 1;
    ev.channel = (uint32_t)((n / src->opt.users + n) % src->opt.channels) + 1;
    ev.ts_us = src->last_us;
    ev.serial = ev.of = ++src->serial;
    src->recent[src->messages++ % RECENT] = ev;
    return ev;
}

static bool make_room(struct event_source *src)
{
    struct event sample = {.kind = EVENT_NEW, .user = 1, .channel = 1, .ts_us = now_us()};

    /* An edit carries the message, and so the padding, twice. */
    src->body_cap = TEMPLATE_ROOM + 2 * src->opt.body_bytes;
    src->body = malloc(src->body_cap);
    src->pad = malloc(src->opt.body_bytes + 1);
    if (src->body == NULL || src->pad == NULL) {
        return false;
    }
    memset(src->pad, 'x', src->opt.body_bytes);
    make_body(src, &sample);
    if (src->opt.body_bytes > src->body_len) {
        src->pad_len = src->opt.body_bytes - src->body_len;
    }
    src->body_len = 0;
    return true;
}

struct event_source *event_source_create(const struct event_options *opt)
{
    struct event_source *src = calloc(1, sizeof(*src));

    if (src == NULL) {
        return NULL;
    }
    src->opt = *opt;
    src->random = opt->seed * 2 + 1;
    src->run = (uint32_t)time(NULL) ^ ((uint32_t)getpid() << 16);
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        src->weight_sum += opt->weights[kind];
    }
    if (!make_room(src) || !key_hmac(src)) {
        event_source_destroy(&src);
    }
    return src;
}

void event_source_destroy(struct event_source **src)
{
    if (*src == NULL) {
        return;
    }
    EVP_MAC_CTX_free((*src)->hmac);
    EVP_MAC_free((*src)->mac);
    free((*src)->pad);
    free((*src)->body);
    free(*src);
    *src = NULL;
}
