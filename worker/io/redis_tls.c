/*
 * TLS to Redis. hiredis' own contexts check that a certificate is signed, and not whose it is; so
 * the session is made here, with the name to be found in the certificate, and handed to hiredis.
 * The handshake is done on a blocking socket with a time limit, since hiredis does not tell which
 * direction a pending one waits for.
 */
#include "io/redis_tls.h"

#if HIREDIS_MAJOR >= 1 && defined(STUDY_HIREDIS_SSL)

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/text.h"

struct redis_tls {
    SSL_CTX *context;
    char *name;
};

/* The first of OpenSSL's reasons; the others are forgotten. */
static bool tls_error(struct error *err, enum error_kind kind, const char *what)
{
    char reason[160];

    ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
    ERR_clear_error();
    return error_set(err, kind, "[redis] %s: %s", what, reason);
}

static bool load(SSL_CTX *context, const struct config *config, struct error *err)
{
    const char *ca = config_string(config, "redis", "tls_ca_file");
    const char *cert = config_string(config, "redis", "tls_cert_file");
    const char *key = config_string(config, "redis", "tls_key_file");

    if ((ca[0] != '\0' ? SSL_CTX_load_verify_locations(context, ca, NULL)
                       : SSL_CTX_set_default_verify_paths(context)) != 1) {
        return tls_error(err, ERROR_CONFIG, "tls_ca_file");
    }
    if (cert[0] != '\0' && SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
        return tls_error(err, ERROR_CONFIG, "tls_cert_file");
    }
    if (key[0] != '\0' && (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
                           SSL_CTX_check_private_key(context) != 1)) {
        return tls_error(err, ERROR_CONFIG, "tls_key_file");
    }
    return true;
}

bool redis_tls_create(struct redis_tls **out, const struct config *config, const char *host,
                      struct error *err)
{
    const char *name = config_string(config, "redis", "tls_name");
    struct redis_tls *tls = calloc(1, sizeof(*tls));

    *out = NULL;
    if (tls == NULL || (tls->context = SSL_CTX_new(TLS_client_method())) == NULL) {
        abort();
    }
    tls->name = str_dup(str_of(name[0] != '\0' ? name : host));
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    if (!load(tls->context, config, err)) {
        redis_tls_destroy(&tls);
        return false;
    }
    *out = tls;
    return true;
}

void redis_tls_destroy(struct redis_tls **tls)
{
    if (*tls != NULL) {
        SSL_CTX_free((*tls)->context);
        free((*tls)->name);
        free(*tls);
        *tls = NULL;
    }
}

/* An address is looked for among the certificate's addresses, and is no server name. */
static SSL *session(const struct redis_tls *tls)
{
    SSL *ssl = SSL_new(tls->context);
    unsigned char binary[16];

    if (ssl == NULL) {
        abort();
    }
    if (inet_pton(AF_INET, tls->name, binary) == 1 || inet_pton(AF_INET6, tls->name, binary) == 1) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->name);
    } else {
        SSL_set_tlsext_host_name(ssl, tls->name);
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        SSL_set1_host(ssl, tls->name);
    }
    return ssl;
}

static void set_blocking(redisContext *context, bool blocking, int64_t limit_ms)
{
    struct timeval limit = {limit_ms / 1000, limit_ms % 1000 * 1000};
    int flags = fcntl(context->fd, F_GETFL);

    fcntl(context->fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
    setsockopt(context->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(context->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    context->flags = blocking ? context->flags | REDIS_BLOCK : context->flags & ~REDIS_BLOCK;
}

bool redis_tls_start(struct redis_tls *tls, redisContext *context, int64_t timeout_ms,
                     struct error *err)
{
    SSL *ssl = session(tls);

    set_blocking(context, true, timeout_ms);
    if (redisInitiateSSL(context, ssl) != REDIS_OK) {
        long verified = SSL_get_verify_result(ssl);
        error_set(err, ERROR_CONNECTION, "TLS: %s",
                  verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                                        : context->errstr);
        SSL_free(ssl);
        ERR_clear_error();
        return false;
    }
    set_blocking(context, false, 0);
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
