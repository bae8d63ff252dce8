/* Inside io: TLS for redis.c, where hiredis has it (1.0 and newer). */
#ifndef STUDY_IO_REDIS_TLS_H
#define STUDY_IO_REDIS_TLS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"

struct redis_tls;

/* Reads [redis] tls_*. host: for SNI when tls_name is empty. ERROR_CONFIG without TLS in hiredis.
 */
bool redis_tls_create(struct redis_tls **out, const struct config *config, const char *host,
                      struct error *err);
void redis_tls_destroy(struct redis_tls **tls);
/* The handshake, within the limit; it does not see an interrupt. */
bool redis_tls_start(struct redis_tls *tls, redisContext *context, int64_t timeout_ms,
                     struct error *err);

#endif
