/*
 * Redis. hiredis formats and parses; waiting is done here, on a non-blocking descriptor, so that
 * each wait has an end and sees the order to stop.
 *
 * Whether a Redis keeps what it acknowledged is read from INFO and not from CONFIG GET: INFO tells
 * what is in force, and hosted servers that forbid CONFIG still answer it.
 */
#include "io/redis.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/address.h"
#include "io/redis_tls.h"

#define BACKOFF_BASE_MS 100
#define BACKOFF_MAX_MS  10000
#define ARGS_INLINE     64

struct redis {
    char *name;
    struct address address;
    const char *user, *password; /* config's */
    int64_t db, connect_timeout_ms, timeout_ms;
    bool allow_unsafe, unsafe;
    struct redis_tls *tls; /* NULL: none */

    redisContext *context;
    int interrupt_fd;
    bool outstanding; /* a reply of redis_send */
    bool misled;      /* said what only a new connection can help against */
    unsigned failures;
    int64_t retry_at_ms;
};

bool redis_create(struct redis **out, const struct config *config, const char *address,
                  struct error *err)
{
    struct redis *r = calloc(1, sizeof(*r));

    *out = NULL;
    if (r == NULL) {
        abort();
    }
    r->interrupt_fd = -1;
    r->name = str_dup(str_of(address));
    r->user = config_string(config, "redis", "user");
    r->password = config_secret(config, "redis", "password");
    r->db = config_int(config, "redis", "db");
    r->connect_timeout_ms = config_int(config, "redis", "connect_timeout");
    r->timeout_ms = config_int(config, "redis", "timeout");
    r->allow_unsafe = config_bool(config, "redis", "allow_unsafe");
    if (!address_parse(&r->address, address, "6379", err)) {
        error_wrap(err, "[redis] servers");
        goto fail;
    }
    if (config_bool(config, "redis", "tls") && !r->address.local &&
        !redis_tls_create(&r->tls, config, r->address.host, err)) {
        goto fail;
    }
    *out = r;
    return true;

fail:
    redis_destroy(&r);
    return false;
}

void redis_destroy(struct redis **redis)
{
    if (*redis == NULL) {
        return;
    }
    redis_disconnect(*redis);
    redis_tls_destroy(&(*redis)->tls);
    free((*redis)->name);
    free(*redis);
    *redis = NULL;
}

const char *redis_name(const struct redis *redis)
{
    return redis->name;
}

int redis_fd(const struct redis *redis)
{
    return redis->context != NULL ? redis->context->fd : -1;
}

void redis_set_interrupt(struct redis *redis, int fd)
{
    redis->interrupt_fd = fd;
}

bool redis_is_unsafe(const struct redis *redis)
{
    return redis->unsafe;
}

void redis_disconnect(struct redis *redis)
{
    if (redis->context != NULL) {
        redisFree(redis->context);
    }
    redis->context = NULL;
    redis->outstanding = redis->misled = false;
}

/* Drops the connection; every failure ends here. */
static bool drop(struct redis *r, struct error *err)
{
    redis_disconnect(r);
    return error_wrap(err, "Redis %s", r->name);
}

static bool context_failed(struct redis *r, struct error *err)
{
    if (r->context->err == REDIS_ERR_PROTOCOL || r->context->err == REDIS_ERR_OOM) {
        error_set(err, ERROR_CONNECTION, "%s", r->context->errstr);
    } else if (r->context->err == REDIS_ERR_EOF) {
        error_set(err, ERROR_CONNECTION, "the server closed the connection");
    } else {
        error_set(err, ERROR_CONNECTION, "connection lost: %s", r->context->errstr);
    }
    return drop(r, err);
}

/* ---- one command on a connection that stands ---- */

static bool write_out(struct redis *r, int64_t deadline, struct error *err)
{
    int done = 0;

    for (;;) {
        if (redisBufferWrite(r->context, &done) != REDIS_OK) {
            return context_failed(r, err);
        }
        if (done) {
            return true;
        }
        if (!fd_wait(r->context->fd, POLLOUT, deadline, r->interrupt_fd, err)) {
            return drop(r, err);
        }
    }
}

/* Takes a whole reply out of what has been read; *reply stays NULL while there is none. */
static bool parsed(struct redis *r, redisReply **reply, struct error *err)
{
    void *p = NULL;

    if (redisGetReplyFromReader(r->context, &p) != REDIS_OK) {
        return context_failed(r, err);
    }
    *reply = p;
    return true;
}

static void set_refused(struct redis *r, const redisReply *reply, struct error *err)
{
    /* No longer the server, or the login, that it was: the name may lead to another by now. */
    static const char *const misled[] = {"READONLY", "MOVED", "NOAUTH"};
    char code[sizeof(err->code)];

    /* "ERR unknown command 'X', with args beginning with: ..." would show an element. */
    char *args = strstr(reply->str, ", with args");
    if (args != NULL) {
        *args = '\0';
    }
    snprintf(code, sizeof(code), "%.*s", (int)strcspn(reply->str, " "), reply->str);
    error_set_code(err, ERROR_REMOTE, code, "Redis %s: %.200s", r->name, reply->str);
    for (size_t i = 0; i < sizeof(misled) / sizeof(misled[0]); i++) {
        r->misled = r->misled || strcmp(code, misled[i]) == 0;
    }
}

static redisReply *checked(struct redis *r, redisReply *reply, struct error *err)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return reply;
    }
    set_refused(r, reply, err);
    freeReplyObject(reply);
    return NULL;
}

/* An error reply is a reply. */
static redisReply *read_in(struct redis *r, int64_t deadline, struct error *err)
{
    redisReply *reply = NULL;

    for (;;) {
        if (!parsed(r, &reply, err)) {
            return NULL;
        }
        if (reply != NULL) {
            return reply;
        }
        if (!fd_wait(r->context->fd, POLLIN, deadline, r->interrupt_fd, err)) {
            drop(r, err);
            return NULL;
        }
        if (redisBufferRead(r->context) != REDIS_OK) {
            context_failed(r, err);
            return NULL;
        }
    }
}

static bool append(struct redis *r, int argc, const char **argv, const size_t *argvlen,
                   struct error *err)
{
    if (redisAppendCommandArgv(r->context, argc, argv, argvlen) != REDIS_OK) {
        return context_failed(r, err);
    }
    return true;
}

static redisReply *exchange(struct redis *r, struct error *err, int argc, const char **argv,
                            const size_t *argvlen)
{
    int64_t deadline = clock_boot_ms() + r->timeout_ms;
    redisReply *reply;

    if (!append(r, argc, argv, argvlen, err) || !write_out(r, deadline, err)) {
        return NULL;
    }
    reply = read_in(r, deadline, err);
    return reply != NULL ? checked(r, reply, err) : NULL;
}

/* ---- connecting ---- */

static bool log_in(struct redis *r, struct error *err)
{
    const char *auth[3] = {"AUTH"};
    int argc = 1;
    char number[24];
    redisReply *reply;

    if (r->user[0] != '\0') {
        auth[argc++] = r->user;
    }
    if (r->password[0] != '\0' || argc == 2) {
        auth[argc++] = r->password;
        reply = exchange(r, err, argc, auth, NULL);
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
    }
    if (r->db != 0) {
        snprintf(number, sizeof(number), "%lld", (long long)r->db);
        reply = exchange(r, err, 2, (const char *[]){"SELECT", number}, NULL);
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
    }
    return true;
}

void redis_info_value(const char *info, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);

    out[0] = '\0';
    for (const char *p = info; (p = strstr(p, name)) != NULL; p += len) {
        if ((p == info || p[-1] == '\n') && p[len] == ':') {
            p += len + 1;
            snprintf(out, size, "%.*s", (int)strcspn(p, "\r\n"), p);
            return;
        }
    }
}

static bool check_safety(struct redis *r, struct error *err)
{
    char version[32], aof[8], policy[32], loading[8], role[16];
    const char *why = NULL;
    redisReply *reply = exchange(r, err, 1, (const char *[]){"INFO"}, NULL);

    if (reply == NULL) {
        return false;
    }
    const char *info = reply->str != NULL ? reply->str : "";
    redis_info_value(info, "redis_version", version, sizeof(version));
    redis_info_value(info, "aof_enabled", aof, sizeof(aof));
    redis_info_value(info, "maxmemory_policy", policy, sizeof(policy));
    redis_info_value(info, "loading", loading, sizeof(loading));
    redis_info_value(info, "role", role, sizeof(role));
    freeReplyObject(reply);

    if (strtol(version, NULL, 10) < 7) {
        return error_set(err, ERROR_CONFIG, "Redis %s: version %s; 7.0 or newer is needed", r->name,
                         version[0] != '\0' ? version : "unknown");
    }
    if (strcmp(loading, "1") == 0 || strcmp(role, "slave") == 0) {
        /* It will be there, or another in its place: worth coming back for. */
        return error_set(err, ERROR_CONNECTION, "Redis %s: %s", r->name,
                         loading[0] == '1' ? "still loading its data" : "a replica, for reading");
    }
    if (strcmp(aof, "1") != 0) {
        why = "no append-only file (appendonly yes)";
    } else if (strcmp(policy, "noeviction") != 0) {
        why = "it may evict (maxmemory-policy noeviction)";
    }
    r->unsafe = why != NULL;
    if (why == NULL) {
        return true;
    }
    if (!r->allow_unsafe) {
        return error_set(err, ERROR_CONFIG,
                         "Redis %s can lose what it acknowledged: %s; [redis] allow_unsafe = yes "
                         "works with it all the same",
                         r->name, why);
    }
    log_warn("Redis %s can lose what it acknowledged: %s", r->name, why);
    return true;
}

static bool open_connection(struct redis *r, struct error *err)
{
    int fd;

    if (!address_connect(&r->address, r->connect_timeout_ms, r->interrupt_fd, &fd, err)) {
        return error_wrap(err, "Redis %s", r->name);
    }
    r->context = redisConnectFd(fd);
    if (r->context == NULL || r->context->err != 0) {
        if (r->context == NULL) {
            close(fd); /* otherwise the context owns it */
        }
        error_set(err, ERROR_SYSTEM, "out of memory");
        return drop(r, err);
    }
    if (r->tls != NULL && !redis_tls_start(r->tls, r->context, r->connect_timeout_ms, err)) {
        return drop(r, err);
    }
    r->context->flags &= ~REDIS_BLOCK;
    if (!log_in(r, err) || !check_safety(r, err)) {
        redis_disconnect(r);
        return false;
    }
    return true;
}

/* Between commands the server has nothing to say: readable means closed. */
static bool is_stale(const struct redis *r)
{
    struct pollfd fd = {.fd = r->context->fd, .events = POLLIN};

    return !r->outstanding && poll(&fd, 1, 0) > 0;
}

int64_t redis_retry_in_ms(const struct redis *redis)
{
    int64_t left = redis->retry_at_ms - clock_boot_ms();

    return redis->context != NULL || left < 0 ? 0 : left;
}

bool redis_connect(struct redis *redis, struct error *err)
{
    if (redis->context != NULL) {
        if (!redis->misled && !is_stale(redis)) {
            return true;
        }
        redis_disconnect(redis);
    }
    int64_t left = redis_retry_in_ms(redis);
    if (left > 0) {
        return error_set(err, ERROR_CONNECTION, "Redis %s: not connected; next attempt in %lld ms",
                         redis->name, (long long)left);
    }
    if (open_connection(redis, err)) {
        redis->failures = 0;
        return true;
    }
    if (err->kind != ERROR_INTERRUPTED) {
        redis->retry_at_ms =
            clock_boot_ms() + clock_backoff_ms(++redis->failures, BACKOFF_BASE_MS, BACKOFF_MAX_MS);
    }
    return false;
}

/* ---- what callers use ---- */

static bool ready(struct redis *r, struct error *err)
{
    error_clear(err);
    if (r->outstanding) {
        return error_set(err, ERROR_SYSTEM, "Redis %s: a reply is outstanding", r->name);
    }
    return redis_connect(r, err);
}

redisReply *redis_command(struct redis *redis, struct error *err, int argc, const char **argv,
                          const size_t *argvlen)
{
    return ready(redis, err) ? exchange(redis, err, argc, argv, argvlen) : NULL;
}

static bool script_load(struct redis *r, struct redis_script *script, struct error *err)
{
    redisReply *reply =
        redis_command(r, err, 3, (const char *[]){"SCRIPT", "LOAD", script->source}, NULL);

    if (reply == NULL) {
        return false;
    }
    snprintf(script->sha, sizeof(script->sha), "%s", reply->str != NULL ? reply->str : "");
    freeReplyObject(reply);
    return true;
}

static bool is_error(const redisReply *reply, const char *code)
{
    size_t len = strlen(code);

    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, code, len) == 0 &&
           (reply->str[len] == ' ' || reply->str[len] == '\0');
}

static bool append_request(struct redis *r, const struct redis_request *request, struct error *err)
{
    const struct redis_script *script = request->script;
    const char *all[ARGS_INLINE] = {"EVALSHA"};
    size_t lengths[ARGS_INLINE];
    char number[16];

    if (script == NULL) {
        return append(r, request->argc, request->argv, request->argvlen, err);
    }
    snprintf(number, sizeof(number), "%d", request->nkeys);
    all[1] = script->sha;
    all[2] = number;
    for (int i = 0; i < 3; i++) {
        lengths[i] = strlen(all[i]);
    }
    for (int i = 0; i < request->argc; i++) {
        all[3 + i] = request->argv[i];
        lengths[3 + i] = request->argvlen != NULL ? request->argvlen[i] : strlen(request->argv[i]);
    }
    return append(r, request->argc + 3, all, lengths, err);
}

static bool exchange_all(struct redis *r, struct redis_request *requests, size_t n,
                         struct error *err)
{
    int64_t deadline = clock_boot_ms() + r->timeout_ms;

    for (size_t i = 0; i < n; i++) {
        if (!append_request(r, &requests[i], err)) {
            return false;
        }
    }
    if (!write_out(r, deadline, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        requests[i].reply = read_in(r, deadline, err);
        if (requests[i].reply == NULL) {
            return false;
        }
    }
    return true;
}

/* Loads those not loaded before; with `again` those that the server says it does not know. */
static bool load_scripts(struct redis *r, const struct redis_request *requests, size_t n,
                         bool again, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct redis_script *script = requests[i].script;

        if (script == NULL) {
            continue;
        }
        if (requests[i].argc < 0 || requests[i].argc > ARGS_INLINE - 3) {
            return error_set(err, ERROR_SYSTEM, "script %s: %d arguments", script->name,
                             requests[i].argc);
        }
        if ((again ? is_error(requests[i].reply, "NOSCRIPT") : script->sha[0] == '\0') &&
            !script_load(r, script, err)) {
            return false;
        }
    }
    return true;
}

void redis_requests_clear(struct redis_request *requests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (requests[i].reply != NULL) {
            freeReplyObject(requests[i].reply);
        }
        requests[i].reply = NULL;
    }
}

bool redis_refused(struct redis *redis, const struct redis_request *request, struct error *err)
{
    if (request->reply->type != REDIS_REPLY_ERROR) {
        return false;
    }
    set_refused(redis, request->reply, err);
    if (request->script != NULL) {
        error_wrap(err, "script %s", request->script->name);
    }
    return true;
}

bool redis_pipeline(struct redis *redis, struct redis_request *requests, size_t n,
                    struct error *err)
{
    size_t from = 0;

    for (size_t i = 0; i < n; i++) {
        requests[i].reply = NULL;
    }
    if (!ready(redis, err) || !load_scripts(redis, requests, n, false, err)) {
        return false;
    }
    for (int round = 0; round < 2; round++) {
        if (!exchange_all(redis, requests + from, n - from, err)) {
            break;
        }
        while (from < n && !is_error(requests[from].reply, "NOSCRIPT")) {
            from++;
        }
        /* The server has been restarted. EVAL would do as well, but a worker needs no right to it.
         * Forgetting what was loaded a moment ago, it is left to the caller as the error it is. */
        if (from == n || round == 1) {
            return true;
        }
        if (!load_scripts(redis, requests + from, n - from, true, err)) {
            break;
        }
        redis_requests_clear(requests + from, n - from);
    }
    redis_requests_clear(requests, n);
    return false;
}

redisReply *redis_eval(struct redis *redis, struct redis_script *script, struct error *err,
                       int nkeys, int argc, const char **argv, const size_t *argvlen)
{
    struct redis_request request = {script, nkeys, argc, argv, argvlen, NULL};

    if (!redis_pipeline(redis, &request, 1, err)) {
        error_wrap(err, "script %s", script->name);
        return NULL;
    }
    if (redis_refused(redis, &request, err)) {
        redis_requests_clear(&request, 1);
        return NULL;
    }
    return request.reply;
}

bool redis_send(struct redis *redis, struct error *err, int argc, const char **argv,
                const size_t *argvlen)
{
    int64_t deadline = clock_boot_ms() + redis->timeout_ms;

    if (!ready(redis, err) || !append(redis, argc, argv, argvlen, err) ||
        !write_out(redis, deadline, err)) {
        return false;
    }
    redis->outstanding = true;
    return true;
}

redisReply *redis_receive(struct redis *redis, struct error *err)
{
    redisReply *reply = NULL;

    error_clear(err);
    if (!redis->outstanding) {
        error_set(err, ERROR_SYSTEM, "Redis %s: no reply is outstanding", redis->name);
        return NULL;
    }
    if (redisBufferRead(redis->context) != REDIS_OK) {
        context_failed(redis, err);
        return NULL;
    }
    if (!parsed(redis, &reply, err) || reply == NULL) {
        return NULL;
    }
    redis->outstanding = false;
    return checked(redis, reply, err);
}
