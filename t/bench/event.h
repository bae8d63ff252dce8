#ifndef BENCH_EVENT_H
#define BENCH_EVENT_H

/*
 * Makes signed Slack events, one after another.
 *
 * A message gets a ts and an event_id of its own. By the weights of the mix an
 * event may also edit, delete or repeat one of the last 65,536 messages; a
 * repeat has the same bytes and event_id as the first time and Slack's retry
 * headers. The order of kinds follows the seed alone.
 *
 * The signature is made when the request is written: v0, HMAC-SHA256 over
 * "v0:" seconds ":" body.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event_kind { EVENT_NEW, EVENT_EDIT, EVENT_DELETE, EVENT_REPEAT, EVENT_KINDS };

extern const char *const event_kind_names[EVENT_KINDS];

struct event_options {
    const char *host; /* of the Host header */
    const char *path;
    const char *team;
    const char *secret;
    size_t secret_len;
    unsigned users;                /* U000001 ..., each in turn */
    unsigned channels;             /* C000001 ... */
    size_t body_bytes;             /* pad a message's body to so many; 0 = as it comes */
    unsigned weights[EVENT_KINDS]; /* of the mix; all 0 but new = only messages */
    uint64_t seed;
    bool constant;  /* the same body each time */
    bool keepalive; /* else "Connection: close" is asked for */
};

struct event {
    enum event_kind kind;
    uint32_t user;
    uint32_t channel;
    uint64_t ts_us;  /* of the message meant: Unix microseconds */
    uint64_t serial; /* of the message's event_id, or of the change's own */
    uint64_t of;     /* the message's serial */
};

struct event_source;

/* NULL without memory, or when libcrypto has no HMAC. */
struct event_source *event_source_create(const struct event_options *opt);
void event_source_destroy(struct event_source **src);

/* No request is longer. */
size_t event_max_request(const struct event_source *src);

/* What comes next. */
struct event event_next(struct event_source *src);

/*
 * Writes the whole HTTP request for an event, signed now, into out, which has
 * room for event_max_request(). Returns its length, 0 when it could not be
 * signed.
 */
size_t event_request(struct event_source *src, const struct event *ev, char *out);

/* "EvXXXX...": out has room for 32. */
void event_id(const struct event_source *src, const struct event *ev, char *out);

#endif
