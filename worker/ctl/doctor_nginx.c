/*
 * doctor --url: an event of our own, signed as Slack signs, from nginx to the database. It is the
 * renaming of a channel that there is not, in a workspace that there is not: nothing changes, and
 * yet it is applied, once, like any other.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hmac.h"
#include "ctl/doctor.h"
#include "ctl/fetch.h"
#include "db/checkup.h"
#include "ingest/queue.h"

#define AREA        "nginx"
#define APPLY_MS    15000
#define LOOK_MS     50
#define SECRET_MAX  512
#define SEARCH_MOST 2000

struct probe {
    char id[40]; /* the event's */
    char body[300];
    char stamp[24], signature[80];
};

static bool read_secret(const char *path, char secret[SECRET_MAX], struct error *err)
{
    FILE *in = fopen(path, "re");

    if (in == NULL) {
        return error_set_errno(err, "%s", path);
    }
    bool ok = fgets(secret, SECRET_MAX, in) != NULL;
    fclose(in);
    secret[ok ? strcspn(secret, "\r\n") : 0] = '\0';
    return secret[0] != '\0' || error_set(err, ERROR_CONFIG, "%s: empty", path);
}

static void make_probe(struct probe *p, const char *secret)
{
    char random[17], hex[65], *base = NULL;
    int64_t now = clock_wall_ms() / 1000;

    clock_random_hex(random, 8);
    snprintf(p->id, sizeof(p->id), "EvDOCTOR%s", random);
    snprintf(p->body, sizeof(p->body),
             "{\"type\":\"event_callback\",\"team_id\":\"T0DOCTOR\",\"event_id\":\"%s\","
             "\"event_time\":%" PRId64 ",\"event\":{\"type\":\"channel_rename\",\"channel\":"
             "{\"id\":\"C0DOCTOR\",\"name\":\"doctor\"}}}",
             p->id, now);
    snprintf(p->stamp, sizeof(p->stamp), "%" PRId64, now);
    if (asprintf(&base, "v0:%s:%s", p->stamp, p->body) < 0) {
        abort();
    }
    hmac_sha256_hex(str_of(secret), str_of(base), hex);
    snprintf(p->signature, sizeof(p->signature), "v0=%s", hex);
    free(base);
}

static char *join(const char *url, const char *path)
{
    size_t len = strlen(url);
    char *out = NULL;

    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    if (asprintf(&out, "%.*s%s", (int)len, url, path) < 0) {
        abort();
    }
    return out;
}

static const char *status_remedy(long status)
{
    switch (status) {
    case 401:
        return "the signing secret differs from nginx' study_signing_secret_file, or a clock is "
               "off";
    case 404:
    case 405:
        return "this is not the location of study_events: is conf/nginx/study.conf included there?";
    case 503:
        return "nginx does not reach Redis, or the list is full: nginx' error log has the reason";
    default:
        return "nginx' error log";
    }
}

/* Not seen in the database in time: where it lies. */
static void tell_where_stuck(struct doctor *d, const struct probe *p)
{
    const struct str word = str_of(p->id);
    const char *const *servers;
    size_t count = config_list(doctor_ctl(d)->config, "redis", "servers", &servers);

    for (size_t i = 0; i < count; i++) {
        struct queue *queue = NULL;
        struct queue_hit hit;
        struct error err;
        bool found = queue_create(&queue, doctor_ctl(d)->config, servers[i], &err) &&
                     queue_find(queue, &word, 1, SEARCH_MOST, &hit, &err) && hit.found;

        queue_destroy(&queue);
        if (found) {
            doctor_find(
                d, FINDING_FAIL, AREA, "probe",
                "is the store running, paused, or behind? studyctl status, the worker's log",
                "it lies in %s, %" PRId64 " before it, %d s after nginx took it", servers[i],
                hit.ahead, APPLY_MS / 1000);
            return;
        }
    }
    doctor_find(d, FINDING_FAIL, AREA, "probe",
                "nginx' study_redis and study_key_prefix must name what [redis] servers and "
                "key_prefix name; studyctl dead ls",
                "nginx took it, and it is neither in our Redis nor applied after %d s",
                APPLY_MS / 1000);
}

static void wait_applied(struct doctor *d, const struct probe *p, int64_t sent_ms, double answered)
{
    int64_t until = clock_boot_ms() + APPLY_MS;
    struct error err;
    bool yes = false;

    while (!yes && clock_boot_ms() < until) {
        if (!checkup_applied(doctor_ctl(d)->pg, p->id, &yes, &err)) {
            doctor_find(d, FINDING_UNKNOWN, AREA, "probe", "", "%s", err.text);
            return;
        }
        if (!yes) {
            poll(NULL, 0, LOOK_MS);
        }
    }
    if (!yes) {
        tell_where_stuck(d, p);
        return;
    }
    doctor_find(d, FINDING_OK, AREA, "probe", "",
                "answered after %.0f ms, applied within %" PRId64 " ms", answered * 1000,
                clock_boot_ms() - sent_ms);
}

static void send_probe(struct doctor *d, struct http *http, const char *url, const char *secret)
{
    int64_t sent_ms = clock_boot_ms();
    struct http_response response;
    struct probe p;
    struct error err;

    make_probe(&p, secret);
    const struct http_header headers[] = {{"Content-Type", "application/json"},
                                          {"X-Slack-Request-Timestamp", p.stamp},
                                          {"X-Slack-Signature", p.signature}};
    struct http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .headers_count = 3,
        .body = str_of(p.body),
        .once = true,
    };
    if (!http_start(http, &request, &err) || !fetch_wait(http, &response, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "probe",
                    "does nginx run, and is this its address? nginx -t, its error log", "%s: %s",
                    url, err.text);
        return;
    }
    doctor_date(d, "nginx", http_header(http, "date"), response.seconds);
    if (response.status != 200) {
        doctor_find(d, FINDING_FAIL, AREA, "probe", status_remedy(response.status),
                    "%s: status %ld", url, response.status);
        return;
    }
    wait_applied(d, &p, sent_ms, response.seconds);
}

/* Without a signature: it must be refused, and by the module. */
static void check_refusal(struct doctor *d, struct http *http, const char *url)
{
    struct http_response response;
    struct error err;
    struct http_request request = {.method = "POST", .url = url, .body = STR("{}")};

    if (!http_start(http, &request, &err) || !fetch_wait(http, &response, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "unsigned",
                    "does nginx run, and is this its address? nginx -t, its error log", "%s: %s",
                    url, err.text);
        return;
    }
    bool refused = response.status == 401;
    doctor_find(d, refused ? FINDING_OK : FINDING_FAIL, AREA, "unsigned",
                refused ? "" : status_remedy(response.status == 200 ? 404 : response.status),
                "a request without a signature gets status %ld", response.status);
}

static void check_metrics(struct doctor *d, struct http *http, const char *base)
{
    char *url = join(base, "/study/metrics");
    struct http_response response;
    struct error err;
    bool ok = fetch_get(http, url, NULL, &response, &err) && response.status == 200 &&
              memmem(response.body.data, response.body.len, "study_nginx_build_info", 22) != NULL;

    doctor_find(
        d, ok ? FINDING_OK : FINDING_UNKNOWN, AREA, "metrics",
        ok ? "" : "they are shown to loopback only: give nginx' address on this machine",
        ok ? "%s has the module's counters" : "%s does not show the module's counters to us", url);
    free(url);
}

void doctor_nginx(struct doctor *d)
{
    static const char path[] = "/slack/events";
    const struct ctl *ctl = doctor_ctl(d);
    char secret[SECRET_MAX] = "";
    struct http *http = NULL;
    struct error err;

    if (ctl->url == NULL) {
        doctor_find(d, FINDING_UNKNOWN, AREA, "probe", "--url URL --signing-secret-file FILE",
                    "not asked for");
        return;
    }
    size_t len = strlen(ctl->url), tail = strlen(path);
    bool has_path = len > tail && strcmp(ctl->url + len - tail, path) == 0;
    char *base = has_path ? str_dup((struct str){ctl->url, len - tail}) : str_dup(str_of(ctl->url));
    char *url = join(base, path);

    http = fetch_open("nginx", NULL, &err);
    if (http == NULL) {
        doctor_find(d, FINDING_UNKNOWN, AREA, "probe", "", "%s", err.text);
        goto done;
    }
    check_refusal(d, http, url);
    check_metrics(d, http, base);
    if (ctl->secret_file == NULL) {
        doctor_find(d, FINDING_UNKNOWN, AREA, "probe", "--signing-secret-file FILE",
                    "no signing secret to sign an event with");
    } else if (!read_secret(ctl->secret_file, secret, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, "probe", "", "%s", err.text);
    } else {
        send_probe(d, http, url, secret);
    }
done:
    explicit_bzero(secret, sizeof(secret));
    http_destroy(&http);
    free(url);
    free(base);
}
