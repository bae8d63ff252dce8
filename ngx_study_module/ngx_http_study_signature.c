
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Slack's request signature, version v0: the hexadecimal HMAC-SHA256, under
 * the app's signing secret, of "v0:" timestamp ":" body
 * (https://api.slack.com/authentication/verifying-requests-from-slack).
 *
 * The secret is turned into the two SHA-256 states that an HMAC starts from,
 * once, when the configuration is read; a request copies them.  The plain
 * SHA256_*() functions are used for that reason: EVP would fetch and allocate
 * for every request what here is a copy of 112 bytes.
 */


#include "ngx_http_study_module.h"

#include <openssl/crypto.h>


#define NGX_HTTP_STUDY_BLOCK           64       /* of SHA-256 */
#define NGX_HTTP_STUDY_TIMESTAMP_LEN   11


void
ngx_http_study_key_init(ngx_http_study_key_t *key, u_char *secret, size_t len)
{
    u_char      pad[NGX_HTTP_STUDY_BLOCK];
    ngx_uint_t  i;

    ngx_memzero(pad, sizeof(pad));

    if (len > sizeof(pad)) {
        SHA256(secret, len, pad);

    } else {
        ngx_memcpy(pad, secret, len);
    }

    for (i = 0; i < sizeof(pad); i++) {
        pad[i] ^= 0x36;
    }

    SHA256_Init(&key->inner);
    SHA256_Update(&key->inner, pad, sizeof(pad));

    for (i = 0; i < sizeof(pad); i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }

    SHA256_Init(&key->outer);
    SHA256_Update(&key->outer, pad, sizeof(pad));

    OPENSSL_cleanse(pad, sizeof(pad));
}


ngx_int_t
ngx_http_study_signature_check(ngx_str_t *timestamp, ngx_str_t *signature,
    time_t now, time_t tolerance)
{
    time_t  ts;
    size_t  i;

    if (timestamp->len == 0 || timestamp->len > NGX_HTTP_STUDY_TIMESTAMP_LEN) {
        return NGX_DECLINED;
    }

    ts = 0;

    for (i = 0; i < timestamp->len; i++) {
        if (timestamp->data[i] < '0' || timestamp->data[i] > '9') {
            return NGX_DECLINED;
        }

        ts = ts * 10 + (timestamp->data[i] - '0');
    }

    if (signature->len != NGX_HTTP_STUDY_SIGNATURE_LEN
        || ngx_memcmp(signature->data, "v0=", 3) != 0)
    {
        return NGX_DECLINED;
    }

    if (ts > now + tolerance || ts < now - tolerance) {
        return NGX_ABORT;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_study_signature_verify(ngx_http_study_key_t *keys, ngx_uint_t nkeys,
    ngx_str_t *timestamp, ngx_str_t *signature, ngx_chain_t *body)
{
    size_t                n, i;
    u_char               *p;
    u_char                text[3 + NGX_HTTP_STUDY_TIMESTAMP_LEN + 1];
    u_char                digest[SHA256_DIGEST_LENGTH];
    u_char                hex[2 * SHA256_DIGEST_LENGTH];
    SHA256_CTX            sha;
    ngx_uint_t            k;
    ngx_chain_t          *cl;
    static const u_char   digits[] = "0123456789abcdef";

    p = ngx_cpymem(text, "v0:", 3);
    p = ngx_cpymem(p, timestamp->data, timestamp->len);
    *p++ = ':';

    for (k = 0; k < nkeys; k++) {

        sha = keys[k].inner;

        SHA256_Update(&sha, text, p - text);

        for (cl = body; cl; cl = cl->next) {
            n = cl->buf->last - cl->buf->pos;

            if (n) {
                SHA256_Update(&sha, cl->buf->pos, n);
            }
        }

        SHA256_Final(digest, &sha);

        sha = keys[k].outer;

        SHA256_Update(&sha, digest, sizeof(digest));
        SHA256_Final(digest, &sha);

        for (i = 0; i < sizeof(digest); i++) {
            hex[2 * i] = digits[digest[i] >> 4];
            hex[2 * i + 1] = digits[digest[i] & 0xf];
        }

        if (CRYPTO_memcmp(hex, signature->data + 3, sizeof(hex)) == 0) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}
