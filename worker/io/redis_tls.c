/*
 * TLS to Redis through hiredis' own layer. The handshake is done on a blocking socket with a time
 * limit, since hiredis does not tell which direction a pending handshake waits for.
 */
#include "io/redis_tls.h"

#if HIREDIS_MAJOR >= 1 && defined(STUDY_HIREDIS_SSL)

#include <fcntl.h>
#include <hiredis/hiredis_ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

struct redis_tls {
    redisSSLContext *context;
};

static const char *set(const char *s)
{
    return s[0] != '\0' ? s : NULL;
}

bool redis_tls_create(struct redis_tls **out, const struct config *config, const char *host,
                      struct error *err)
{
    redisSSLContextError problem = REDIS_SSL_CTX_NONE;
    const char *name = config_string(config, "redis", "tls_name");
    const char *ca = config_string(config, "redis", "tls_ca_file");

    *out = calloc(1, sizeof(**out));
    if (*out == NULL) {
        abort();
    }
    redisInitOpenSSL();
    (*out)->context = redisCreateSSLContext(set(ca), ca[0] == '\0' ? "/etc/ssl/certs" : NULL,
                                            set(config_string(config, "redis", "tls_cert_file")),
                                            set(config_string(config, "redis", "tls_key_file")),
                                            name[0] != '\0' ? name : host, &problem);
    if ((*out)->context == NULL) {
        redis_tls_destroy(out);
        return error_set(err, ERROR_CONFIG, "[redis] tls: %s", redisSSLContextGetError(problem));
    }
    return true;
}

void redis_tls_destroy(struct redis_tls **tls)
{
    if (*tls != NULL) {
        if ((*tls)->context != NULL) {
            redisFreeSSLContext((*tls)->context);
        }
        free(*tls);
        *tls = NULL;
    }
}

bool redis_tls_start(struct redis_tls *tls, redisContext *context, int64_t timeout_ms,
                     struct error *err)
{
    struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct timeval none = {0, 0};
    int flags = fcntl(context->fd, F_GETFL);

    fcntl(context->fd, F_SETFL, flags & ~O_NONBLOCK);
    setsockopt(context->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(context->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    context->flags |= REDIS_BLOCK;
    bool ok = redisInitiateSSLWithContext(context, tls->context) == REDIS_OK;
    context->flags &= ~REDIS_BLOCK;
    setsockopt(context->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    setsockopt(context->fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
    fcntl(context->fd, F_SETFL, flags);
    if (!ok) {
        return error_set(err, ERROR_CONNECTION, "TLS: %s", context->errstr);
    }
    return true;
}

#else

bool redis_tls_create(struct redis_tls **out, const struct config *config, const char *host,
                      struct error *err)
{
    (void)config;
    (void)host;
    *out = NULL;
    return error_set(
        err, ERROR_CONFIG,
        "[redis] tls = yes needs hiredis 1.0 or newer with TLS; this program was built "
        "with %d.%d.%d",
        HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
}

void redis_tls_destroy(struct redis_tls **tls)
{
    *tls = NULL;
}

bool redis_tls_start(struct redis_tls *tls, redisContext *context, int64_t timeout_ms,
                     struct error *err)
{
    (void)tls;
    (void)context;
    (void)timeout_ms;
    return error_set(err, ERROR_CONFIG, "TLS: not built in");
}

#endif
