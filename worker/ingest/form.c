/* One field at a time and no table: a form that we read has at most one field of interest. */
#include "ingest/form.h"

#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t decode(char *out, struct str in)
{
    size_t len = 0;

    for (size_t i = 0; i < in.len; i++) {
        char c = in.data[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%' && in.len - i > 2 && hex_digit(in.data[i + 1]) >= 0 &&
                   hex_digit(in.data[i + 2]) >= 0) {
            c = (char)(hex_digit(in.data[i + 1]) << 4 | hex_digit(in.data[i + 2]));
            i += 2;
        }
        out[len++] = c;
    }
    return len;
}

char *form_get(struct str body, const char *name, struct str *value)
{
    const char *at = body.data;
    const char *end = body.data == NULL ? NULL : body.data + body.len;
    size_t name_len = strlen(name);

    while (at != NULL && at < end) {
        const char *amp = memchr(at, '&', (size_t)(end - at));
        const char *stop = amp != NULL ? amp : end;
        size_t len = (size_t)(stop - at);

        if (len > name_len && at[name_len] == '=' && memcmp(at, name, name_len) == 0) {
            struct str raw = {at + name_len + 1, len - name_len - 1};
            char *decoded = malloc(raw.len + 1);

            if (decoded == NULL) {
                abort();
            }
            value->len = decode(decoded, raw);
            value->data = decoded;
            decoded[value->len] = '\0';
            return decoded;
        }
        at = amp != NULL ? amp + 1 : NULL;
    }
    return NULL;
}
