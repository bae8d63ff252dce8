/* What commands tell whoever runs them, and what they ask. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl/ctl.h"

static void say(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void say(const char *fmt, va_list ap)
{
    fflush(stdout);
    fputs("studyctl: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

enum ctl_status ctl_fail(const struct error *err)
{
    return ctl_say("%s", err->text);
}

enum ctl_status ctl_say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    return CTL_FAILED;
}

enum ctl_status ctl_misused(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    return CTL_USAGE;
}

bool ctl_sure(const struct ctl *ctl, enum ctl_status *status, const char *fmt, ...)
{
    va_list ap;
    int answer, c;

    if (ctl->yes) {
        return true;
    }
    fflush(stdout);
    fputs("studyctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        fputs("; say --yes to do it\n", stderr);
        *status = CTL_USAGE;
        return false;
    }
    fputs(". Go on? [y/N] ", stderr);
    answer = c = getchar();
    while (c != '\n' && c != EOF) {
        c = getchar();
    }
    if (answer == 'y' || answer == 'Y') {
        return true;
    }
    fputs("studyctl: nothing was done\n", stderr);
    *status = CTL_FAILED;
    return false;
}
