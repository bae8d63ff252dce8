/*
 * A Redis connection over hiredis, with limits on every wait. One server a struct; it
 * connects on first use, and again (with backoff between attempts) after an error. Replies are
 * hiredis' own; this skin adds addresses, AUTH, SELECT, the safety check, time limits and an
 * interrupt. The process must ignore SIGPIPE.
 */
#ifndef STUDY_IO_REDIS_H
#define STUDY_IO_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"

struct redis;

/* "host[:port]", "[v6]:port" or "unix:/path"; the other settings are config's [redis]. Does not
 * connect. ERROR_CONFIG for a bad address, or tls = yes with a hiredis before 1.0. */
bool redis_create(struct redis **out, const struct config *config, const char *address,
                  struct error *err);
void redis_destroy(struct redis **redis);

const char *redis_name(const struct redis *redis); /* the address, for labels and logs */
int redis_fd(const struct redis *redis);           /* -1 when not connected */
/* Readable while the process is told to stop at once: waits end with ERROR_INTERRUPTED. -1: none.
 */
void redis_set_interrupt(struct redis *redis, int fd);

/*
 * Connects if need be: AUTH, SELECT, then INFO: Redis older than 7.0 is ERROR_CONFIG, and so is one
 * without an append-only file or with an eviction policy other than noeviction, unless [redis]
 * allow_unsafe (warned at each connect; redis_is_unsafe). One that is loading its data, or a
 * replica, is ERROR_CONNECTION. A connection that the server has closed meanwhile, or on which it
 * has said READONLY, MOVED or NOAUTH, is made anew here. Between failed attempts it answers
 * ERROR_CONNECTION at once until the backoff (100 ms to 10 s, jittered) has passed.
 */
bool redis_connect(struct redis *redis, struct error *err);
int64_t redis_retry_in_ms(const struct redis *redis); /* 0: connect may be tried now */
bool redis_is_unsafe(const struct redis *redis);      /* as found at the last connect */
void redis_disconnect(struct redis *redis);

/*
 * One command, one reply, freed by the caller with freeReplyObject; NULL with *err filled. Connects
 * if need be. An error reply is ERROR_REMOTE with Redis' first word as code; an I/O error or
 * time-out disconnects. argvlen NULL: NUL-terminated strings. While a reply of redis_send is
 * outstanding this is ERROR_SYSTEM: receive it or disconnect first.
 */
redisReply *redis_command(struct redis *redis, struct error *err, int argc, const char **argv,
                          const size_t *argvlen);

/* The value of a line "name:value" in INFO's answer, cut to its room; "" when there is none. */
void redis_info_value(const char *info, const char *name, char *out, size_t size);

/* Script by source: SCRIPT LOAD on first use and on NOSCRIPT, EVALSHA. argv: keys, then args. */
struct redis_script {
    const char *name;
    const char *source;
    char sha[41]; /* filled on first use */
};
redisReply *redis_eval(struct redis *redis, struct redis_script *script, struct error *err,
                       int nkeys, int argc, const char **argv, const size_t *argvlen);

/*
 * Several requests in one write, which Redis answers after one turn of its loop, and so after one
 * fsync. False, and no replies: an I/O error, or one of redis_eval's. True: each has its reply, the
 * caller's to free, which may be an error (redis_refused). A script that the server does not know
 * is loaded, and everything from there on is sent again: what follows a script must bear
 * repetition.
 */
struct redis_request {
    struct redis_script *script; /* NULL: argv is a command; else the script's keys and arguments */
    int nkeys;                   /* of a script */
    int argc;
    const char **argv;
    const size_t *argvlen; /* NULL: NUL-terminated strings */
    redisReply *reply;     /* out */
};
bool redis_pipeline(struct redis *redis, struct redis_request *requests, size_t n,
                    struct error *err);
void redis_requests_clear(struct redis_request *requests, size_t n); /* frees their replies */
/* Whether the reply is an error: ERROR_REMOTE as redis_command has it. */
bool redis_refused(struct redis *redis, const struct redis_request *request, struct error *err);

/*
 * For the blocking peek: send now, look later. redis_fd() polls readable when the reply has come.
 * redis_receive returns NULL with err->kind ERROR_NONE while there is none yet; it never waits. One
 * reply may be outstanding at a time.
 */
bool redis_send(struct redis *redis, struct error *err, int argc, const char **argv,
                const size_t *argvlen);
redisReply *redis_receive(struct redis *redis, struct error *err);

#endif
