/* The signature headers as anybody may send them, and a body in buffers of any size. The input is
 * three lines, the time, the signature and the secret, and the body. What libcrypto's own HMAC
 * makes of it is accepted, and nothing else is. */
#include "ngx_http_study_signature.c"

#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define NOW       1795372952
#define TOLERANCE 300
#define PARTS     8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ngx_str_t line(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *stop = memchr(*p, '\n', (size_t)(end - *p));
    ngx_str_t text = {(size_t)((stop != NULL ? stop : end) - *p), (u_char *)*p};

    *p = stop != NULL ? stop + 1 : end;
    return text;
}

/* The body as a chain: each buffer's length from the byte that it starts with, the last one takes
 * the rest. */
static ngx_chain_t *chain(ngx_buf_t *bufs, ngx_chain_t *links, u_char *p, u_char *last)
{
    for (size_t i = 0; i < PARTS; i++) {
        size_t left = (size_t)(last - p);
        size_t n = i == PARTS - 1 || left == 0 ? left : ngx_min(left, (size_t)*p);

        bufs[i].pos = p;
        bufs[i].last = p += n;
        links[i].buf = &bufs[i];
        links[i].next = i == PARTS - 1 ? NULL : &links[i + 1];
    }
    return links;
}

/* "v0=" and 64 digits. */
static void expected(ngx_str_t secret, ngx_str_t timestamp, const u_char *body, size_t len, u_char *out)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    size_t n = 3 + timestamp.len + 1;
    u_char *text = malloc(n + len);

    if (text == NULL) {
        abort();
    }
    snprintf((char *)text, n, "v0:%.*s", (int)timestamp.len, (const char *)timestamp.data);
    text[n - 1] = ':';
    memcpy(text + n, body, len);
    HMAC(EVP_sha256(), secret.data, (int)secret.len, text, n + len, digest, NULL);
    memcpy(out, "v0=", 3);
    for (size_t i = 0; i < sizeof(digest); i++) {
        snprintf((char *)out + 3 + 2 * i, 3, "%02x", digest[i]);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *p = data, *end = data + size;
    ngx_str_t timestamp = line(&p, end), signature = line(&p, end), secret = line(&p, end);
    u_char right[NGX_HTTP_STUDY_SIGNATURE_LEN + 1];
    ngx_str_t good = {NGX_HTTP_STUDY_SIGNATURE_LEN, right};
    ngx_buf_t bufs[PARTS] = {0};
    ngx_chain_t links[PARTS], *body = chain(bufs, links, (u_char *)p, (u_char *)end);
    ngx_http_study_key_t keys[2];
    ngx_int_t rc = ngx_http_study_signature_check(&timestamp, &signature, NOW, TOLERANCE);
    bool same;

    if (rc == NGX_DECLINED) {
        return 0;
    }
    if (timestamp.len == 0 || signature.len != NGX_HTTP_STUDY_SIGNATURE_LEN) {
        abort();
    }
    char digits[16] = {0};
    memcpy(digits, timestamp.data, timestamp.len);
    if ((llabs(strtoll(digits, NULL, 10) - NOW) <= TOLERANCE) != (rc == NGX_OK)) {
        abort();
    }

    ngx_http_study_key_init(&keys[0], (u_char *)"another", 7);
    ngx_http_study_key_init(&keys[1], secret.data, secret.len);
    expected(secret, timestamp, p, (size_t)(end - p), right);
    same = memcmp(signature.data, right, good.len) == 0;
    if (ngx_http_study_signature_verify(keys, 2, &timestamp, &good, body) != NGX_OK) {
        abort();
    }
    if ((ngx_http_study_signature_verify(&keys[1], 1, &timestamp, &signature, body) == NGX_OK) != same) {
        abort();
    }
    right[3 + size % 64] ^= 1;
    if (ngx_http_study_signature_verify(&keys[1], 1, &timestamp, &good, body) == NGX_OK) {
        abort();
    }
    return 0;
}
