/*
 * Filling errors. Texts are cut to the struct's room, never allocated: reporting that memory ran
 * out must not need any.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct error *err, enum error_kind kind, const char *code)
{
    err->kind = kind;
    snprintf(err->code, sizeof(err->code), "%s", code);
}

bool error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
{
    va_list ap;

    fill(err, kind, "");
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_code(struct error *err, enum error_kind kind, const char *code, const char *fmt, ...)
{
    va_list ap;

    fill(err, kind, code != NULL ? code : "");
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_errno(struct error *err, const char *fmt, ...)
{
    int saved = errno;
    char reason[128];
    va_list ap;

    fill(err, ERROR_SYSTEM, "");
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);

    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %s",
             strerror_r(saved, reason, sizeof(reason)));
    errno = saved;
    return false;
}

bool error_wrap(struct error *err, const char *fmt, ...)
{
    char old[sizeof(err->text)];
    va_list ap;

    memcpy(old, err->text, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);

    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %s", old);
    return false;
}

void error_clear(struct error *err)
{
    err->kind = ERROR_NONE;
    err->code[0] = '\0';
    err->text[0] = '\0';
}
