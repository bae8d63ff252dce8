/*
 * The log. Each line is one write(2) to a descriptor opened for appending, so lines of several
 * processes never mix. Control characters become blanks: what a peer says cannot forge a line.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define LINE_MAX_BYTES 2048

static int log_fd = STDERR_FILENO;
static char *log_path; /* NULL: stderr */
static enum log_level log_least = LOG_LEVEL_INFO;
static const char *log_role = "main";

static bool open_file(const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

    if (fd < 0) {
        return error_set_errno(err, "log file %s", path);
    }
    if (log_fd != STDERR_FILENO) {
        close(log_fd);
    }
    log_fd = fd;
    return true;
}

bool log_open(const char *path, enum log_level level, struct error *err)
{
    if (path == NULL || path[0] == '\0') {
        if (log_fd != STDERR_FILENO) {
            close(log_fd);
        }
        log_fd = STDERR_FILENO;
        free(log_path);
        log_path = NULL;
    } else {
        if (!open_file(path, err)) {
            return false;
        }
        free(log_path);
        log_path = str_dup(str_of(path));
    }
    log_least = level;
    return true;
}

bool log_reopen(struct error *err)
{
    return log_path == NULL || open_file(log_path, err);
}

void log_set_role(const char *role)
{
    log_role = role;
}

static void write_line(enum log_level level, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void write_line(enum log_level level, const char *fmt, va_list ap)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char line[LINE_MAX_BYTES];
    int64_t now = clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    int saved = errno;

    if (level < log_least) {
        return;
    }
    gmtime_r(&seconds, &tm);
    size_t len = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03dZ %s %s[%d] ", (int)(now % 1000),
                            names[level], log_role, (int)getpid());

    errno = saved;
    int n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
    size_t end = n < 0 ? len : len + (size_t)n;
    if (end > sizeof(line) - 2) {
        end = sizeof(line) - 2;
    }
    for (size_t i = len; i < end; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7F) {
            line[i] = ' ';
        }
    }
    line[end++] = '\n';
    /* A log that cannot be written has nobody to tell. */
    if (write(log_fd, line, end) < 0) {
        errno = saved;
    }
    errno = saved;
}

#define LOG_FUNCTION(name, level)                                                                  \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
                                                                                                   \
        va_start(ap, fmt);                                                                         \
        write_line(level, fmt, ap);                                                                \
        va_end(ap);                                                                                \
    }

LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
