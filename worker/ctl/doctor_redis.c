/* doctor: each queue server, as our user sees it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/doctor.h"
#include "ingest/queue.h"
#include "io/redis.h"

#define AREA           "redis"
#define MEMORY_WARN    80 /* per cent */
#define OLDEST_WARN_MS 60000

extern const char lua_rights[];

static struct redis_script script_rights = {"rights", lua_rights, ""};

/* ---- INFO ---- */

static const char *info(const char *all, const char *name, char out[64])
{
    size_t len = strlen(name);

    out[0] = '\0';
    for (const char *p = all; (p = strstr(p, name)) != NULL; p += len) {
        if ((p == all || p[-1] == '\n') && p[len] == ':') {
            snprintf(out, 64, "%.*s", (int)strcspn(p + len + 1, "\r\n"), p + len + 1);
            break;
        }
    }
    return out;
}

static int64_t info_number(const char *all, const char *name)
{
    char value[64];

    return strtoll(info(all, name, value), NULL, 10);
}

static void check_disk(struct doctor *d, const char *server, const char *all)
{
    static const char *const statuses[] = {"aof_last_write_status", "aof_last_bgrewrite_status"};
    char value[64];
    bool good = true;

    for (size_t i = 0; i < 2; i++) {
        if (strcmp(info(all, statuses[i], value), "ok") != 0 && value[0] != '\0') {
            doctor_find(d, FINDING_FAIL, AREA, server,
                        "its disk: df, dmesg, Redis' log; nginx answers 503 until it can write",
                        "%s: %s", statuses[i], value);
            good = false;
        }
    }
    if (info_number(all, "loading") != 0 || info_number(all, "aof_delayed_fsync") > 0) {
        doctor_find(d, FINDING_WARN, AREA, server, "its disk is slow: give it one of its own",
                    "fsync was late %" PRId64 " times", info_number(all, "aof_delayed_fsync"));
        good = false;
    }
    if (good) {
        doctor_find(d, FINDING_OK, AREA, server, "", "append-only file on, written without errors");
    }
}

static void check_memory(struct doctor *d, const char *server, const char *all)
{
    int64_t used = info_number(all, "used_memory"), most = info_number(all, "maxmemory");
    int64_t share = most > 0 ? used * 100 / most : 0;

    if (most == 0) {
        doctor_find(d, FINDING_WARN, AREA, server,
                    "set maxmemory: a full Redis refuses, and Slack repeats; a full machine kills",
                    "no maxmemory; %" PRId64 " MiB used", used >> 20);
    } else {
        doctor_find(d, share >= MEMORY_WARN ? FINDING_WARN : FINDING_OK, AREA, server,
                    share >= MEMORY_WARN ? "does the store work? studyctl status, its log" : "",
                    "%" PRId64 " of %" PRId64 " MiB used", used >> 20, most >> 20);
    }
}

static void check_info(struct doctor *d, struct redis *redis, const char *server)
{
    struct error err;
    char value[64];
    redisReply *r = redis_command(redis, &err, 1, (const char *[]){"INFO"}, NULL);

    if (r == NULL) {
        doctor_find(d, FINDING_FAIL, AREA, server, "its user needs +info", "%s", err.text);
        return;
    }
    const char *all = r->type == REDIS_REPLY_STRING ? r->str : "";
    doctor_find(d, FINDING_OK, AREA, server, "", "version %s, for %" PRId64 " hours",
                info(all, "redis_version", value), info_number(all, "uptime_in_seconds") / 3600);
    if (redis_is_unsafe(redis)) {
        doctor_find(
            d, FINDING_WARN, AREA, server, "use conf/redis-study.conf, and allow_unsafe = no",
            "can lose what it acknowledged, and allow_unsafe = yes lets it (append-only file: "
            "%s; eviction: %s)",
            info_number(all, "aof_enabled") != 0 ? "on" : "off",
            info(all, "maxmemory_policy", value));
    } else {
        check_disk(d, server, all);
    }
    check_memory(d, server, all);
    freeReplyObject(r);
}

/* Our user sees it only where it is the default one, or has +config|get. */
static void check_fsync(struct doctor *d, struct redis *redis, const char *server)
{
    struct error err;
    redisReply *r =
        redis_command(redis, &err, 3, (const char *[]){"CONFIG", "GET", "appendfsync"}, NULL);

    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 2) {
        doctor_find(d, FINDING_UNKNOWN, AREA, server,
                    "appendfsync in the server's configuration file: always",
                    "the fsync policy is not shown to our user");
    } else {
        bool always = strcmp(r->element[1]->str, "always") == 0;
        doctor_find(d, always ? FINDING_OK : FINDING_WARN, AREA, server,
                    always ? ""
                           : "appendfsync always: pipelining makes it one fsync for many events",
                    "appendfsync %s%s", r->element[1]->str,
                    always ? "" : ": the last moment may be lost with the machine");
    }
    if (r != NULL) {
        freeReplyObject(r);
    }
}

static void check_clock(struct doctor *d, struct redis *redis, const char *server)
{
    struct error err;
    int64_t before = clock_wall_ms();
    redisReply *r = redis_command(redis, &err, 1, (const char *[]){"TIME"}, NULL);
    int64_t after = clock_wall_ms();

    if (r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2) {
        int64_t theirs = strtoll(r->element[0]->str, NULL, 10) * 1000 +
                         strtoll(r->element[1]->str, NULL, 10) / 1000;
        doctor_clock(d, server, theirs - (before + after) / 2, (after - before) / 2);
    }
    if (r != NULL) {
        freeReplyObject(r);
    }
}

static void check_rights(struct doctor *d, struct redis *redis, const char *server)
{
    const char *prefix = config_string(doctor_ctl(d)->config, "redis", "key_prefix");
    char id[17], keys[4][128];
    const char *argv[4];
    struct error err;

    clock_random_hex(id, 8);
    for (int i = 0; i < 4; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%s:{ingest}:doctor:%s:%d", prefix, id, i);
        argv[i] = keys[i];
    }
    redisReply *r = redis_eval(redis, &script_rights, &err, 4, 4, argv, NULL);
    static const char remedy[] = "the rights of the user in conf/redis-study.conf, and its key "
                                 "patterns, which must match [redis] key_prefix";
    if (r == NULL) {
        doctor_find(d, FINDING_FAIL, AREA, server, remedy, "%s", err.text);
    } else if (r->type == REDIS_REPLY_ARRAY && r->elements > 0) {
        doctor_find(d, FINDING_FAIL, AREA, server, remedy, "our user lacks %zu rights: %s",
                    r->elements, r->element[0]->str);
    } else {
        doctor_find(d, FINDING_OK, AREA, server, "", "our user may do what the worker does");
    }
    if (r != NULL) {
        freeReplyObject(r);
    }
}

static void check_lists(struct doctor *d, const char *server)
{
    struct queue *queue = NULL;
    struct queue_lengths n;
    struct error err;

    if (!queue_create(&queue, doctor_ctl(d)->config, server, &err) ||
        !queue_lengths(queue, &n, &err)) {
        doctor_find(d, FINDING_FAIL, AREA, server, "", "%s", err.text);
    } else {
        int64_t age = n.oldest_ms > 0 ? clock_wall_ms() - n.oldest_ms : 0;
        bool slow = age > OLDEST_WARN_MS || n.list[QUEUE_SUSPECT] > 0;

        doctor_find(d, slow ? FINDING_WARN : FINDING_OK, AREA, server,
                    slow ? "studyctl queue and status, and the worker's log: is store paused?" : "",
                    "%" PRId64 " events wait, the oldest for %" PRId64 " s; %" PRId64
                    " suspects, %" PRId64 " batches in hand",
                    n.list[QUEUE_PENDING] + n.list[QUEUE_CONTROL], age / 1000,
                    n.list[QUEUE_SUSPECT], n.leased);
    }
    queue_destroy(&queue);
}

void doctor_redis(struct doctor *d)
{
    const struct config *config = doctor_ctl(d)->config;
    const char *const *servers;
    size_t count = config_list(config, "redis", "servers", &servers);

    for (size_t i = 0; i < count; i++) {
        struct redis *redis = NULL;
        struct error err;

        if (!redis_create(&redis, config, servers[i], &err) || !redis_connect(redis, &err)) {
            doctor_find(d, FINDING_FAIL, AREA, servers[i],
                        err.kind == ERROR_CONFIG ? "conf/redis-study.conf is how it should be"
                        : err.kind == ERROR_REMOTE
                            ? "[redis] user and password_file, and the users in redis-study.conf"
                            : "is it running? systemctl status redis-server@study; [redis] servers",
                        "%s", err.text);
        } else {
            check_info(d, redis, servers[i]);
            check_fsync(d, redis, servers[i]);
            check_rights(d, redis, servers[i]);
            check_clock(d, redis, servers[i]);
            check_lists(d, servers[i]);
        }
        redis_destroy(&redis);
    }
}
