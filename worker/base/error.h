/*
 * Errors: one struct, owned by the caller, filled where the failure happens and logged once, by
 * whoever decides what to do about it.
 */
#ifndef STUDY_BASE_ERROR_H
#define STUDY_BASE_ERROR_H

#include <stdbool.h>

enum error_kind {
    ERROR_NONE = 0,
    ERROR_CONFIG,      /* the operator must change a setting or a file */
    ERROR_INPUT,       /* what came from outside is malformed; repeating will not help */
    ERROR_SYSTEM,      /* a system call failed */
    ERROR_CONNECTION,  /* a peer could not be reached or hung up; repeating may help */
    ERROR_TIMEOUT,     /* a wait reached its limit */
    ERROR_INTERRUPTED, /* the process was told to stop while waiting */
    ERROR_REMOTE,      /* the peer answered with an error; `code` holds its own name for it */
    ERROR_LOST,        /* a lease or claim is no longer ours: stop, change nothing */
};

struct error {
    enum error_kind kind;
    char code[40];  /* SQLSTATE, Redis' first word, Slack's or OpenAI's error code, or "" */
    char text[512]; /* for the operator; never a secret, never a member's text */
};

/* Fill *err; always return false, so that a failing function can `return error_set(...)`. */
bool error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the peer's own code. */
bool error_set_code(struct error *err, enum error_kind kind, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ERROR_SYSTEM with strerror(errno) appended. */
bool error_set_errno(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "context: " before the text that is there. Returns false. */
bool error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void error_clear(struct error *err);

#endif
