/*
 * The accept log of one Redis server and the batches leased from it. Keys, P being [redis]
 * key_prefix (the braces keep them in one slot of a cluster):
 *
 *   P:{ingest}:pending             LIST    events; RPUSH by nginx, taken from the head here
 *   P:{ingest}:control             LIST    commands, interactions, triggers; served before pending
 *   P:{ingest}:suspect             LIST    elements of expired batches, served one at a time
 *   P:{ingest}:batch:<worker>:<n>  LIST    a leased batch, whole elements; <worker> is random per
 *                                          process start, n mod 3 tells which list it came from
 *   P:{ingest}:leases              ZSET    batch key -> expiry, Redis TIME in ms
 *   P:{ingest}:crashes             HASH    sha1hex(element) -> times it stood alone in an expired
 *                                          batch; deleted by ack
 *   P:{ingest}:popped              STRING  elements ever taken from pending: raised by fetch,
 *                                          lowered by release
 *   P:{ingest}:released            STRING  batches ever given back, to whichever list; a mark that
 *                                          sees it change starts anew
 *
 * All moves are Lua scripts with allow-oom, so that a full Redis can be drained. Every call
 * connects if need be; a reply that was lost is settled by the next call: a fetch is repeated under
 * the same key and gives the same batch, an ack or release that may not have arrived is sent again
 * with or before the next fetch.
 */
#ifndef STUDY_INGEST_QUEUE_H
#define STUDY_INGEST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"

/* In the order in which a fetch serves them. */
enum queue_list { QUEUE_CONTROL, QUEUE_SUSPECT, QUEUE_PENDING, QUEUE_LISTS };

#define QUEUE_CRASHES_MAX 2 /* an element that stood alone in so many expired batches is marked */

struct queue;

struct queue_limits {
    int64_t lease_ms;
    int64_t elements; /* of one batch */
    int64_t bytes;    /* of one batch; one larger element still makes a batch */
};

/* One server; address as redis_create takes it. Does not connect. */
bool queue_create(struct queue **out, const struct config *config, const char *address,
                  struct error *err);
void queue_destroy(struct queue **queue); /* a batch in hand stays leased: release it first */
void queue_set_limits(struct queue *queue,
                      const struct queue_limits *limits); /* 20 s, 512, 1 MiB */
/* See redis_set_interrupt. ack and release are not interrupted. */
void queue_set_interrupt(struct queue *queue, int fd);
const char *queue_name(const struct queue *queue);   /* the server's address */
const char *queue_worker(const struct queue *queue); /* what our batches are named by */
bool queue_is_unsafe(const struct queue *queue);     /* see redis_is_unsafe */

/* A leased batch. Strings live until the next fetch of this queue. */
struct batch {
    enum queue_list list;
    bool marked;  /* one element that took its worker down QUEUE_CRASHES_MAX times: do not
                     parse it, bury it */
    size_t count; /* 0: nothing was there */
    struct str *elements;
    size_t left; /* in its list, behind it */
    int64_t renewed_ms; /* clock_boot_ms just before the lease was last known to start */
};

/*
 * Takes the next batch: control, else one suspect, else pending. One batch at a time: the one
 * before must have been acked or released. true with *batch->count == 0 when all lists are empty.
 */
bool queue_fetch(struct queue *queue, struct batch **batch, struct error *err);

/*
 * After COMMIT. *held = false: the lease had ended and the elements went elsewhere, which costs
 * repeated work and nothing else. After an I/O error the ack is owed, and sent before the next
 * fetch: do not repeat it.
 */
bool queue_ack(struct queue *queue, bool *held, struct error *err);
/*
 * After COMMIT, where a fetch follows at once: the ack goes with it, for one round trip and one
 * fsync of Redis in place of two. Where none follows after all: queue_settle.
 */
void queue_ack_with_fetch(struct queue *queue);
bool queue_settle(struct queue *queue, struct error *err); /* sends what is owed */
/* How many acks of queue_ack_with_fetch found their lease gone, since the last call. */
size_t queue_lost(struct queue *queue);
/* Gives the batch in hand back to the head of its list, uncounted. Owed like an ack on error. */
bool queue_release(struct queue *queue, bool *held, struct error *err);
/* Drops the batch in hand without a word to Redis: its lease is gone, or will end. */
void queue_abandon(struct queue *queue);
/* *held = false: the lease is gone, the batch is no longer ours. */
bool queue_renew(struct queue *queue, bool *held, struct error *err);

/* Moves expired batches, whosesoever, to suspect; *elements (may be NULL) counts them. */
bool queue_reap(struct queue *queue, size_t *elements, struct error *err);

/*
 * Waking: blocking peeks (BLMOVE to the same end of the same list, which moves nothing) on two
 * connections of their own. arm() starts those that are not waiting; fds() gives what to poll for
 * readability (at most 2, returns how many); woken() consumes what came: true when an element may
 * be there. When Redis refuses (full, an old ACL) or hangs up, arm() answers false for some
 * seconds: poll by fetching instead.
 */
#define QUEUE_FDS 2
bool queue_arm(struct queue *queue);
int queue_fds(const struct queue *queue, int fds[QUEUE_FDS]);
bool queue_woken(struct queue *queue);

/*
 * "Caught up": everything pushed to pending before queue_mark() has been stored or buried. True
 * once popped has passed the mark, every lease open at that moment has ended, and no suspect is
 * left or in hand. The mark carries the state between calls; ask until *yes or your own limit.
 */
#define QUEUE_MARK_LEASES 256
struct queue_mark {
    uint64_t target;   /* popped + LLEN(pending) when marked */
    uint64_t released; /* of that moment */
    bool renewed;      /* a batch was given back since queue_mark: marked anew, at that look */
    bool passed;       /* the leases below are what is waited for */
    size_t open;
    char lease[QUEUE_MARK_LEASES][64]; /* "<worker>:<n>" */
};
bool queue_mark(struct queue *queue, struct queue_mark *mark, struct error *err);
bool queue_caught_up(struct queue *queue, struct queue_mark *mark, bool *yes, struct error *err);

/*
 * Has the server write its append-only file anew, so that what was taken from the lists is on its
 * disk no more. Call again until *done; the struct, zeroed, carries the state. False: it cannot be
 * asked, may not be, or the rewrite failed; the next call begins anew.
 */
struct queue_rewrite {
    bool asked;
    int64_t count;   /* rewrites begun before */
    char run_id[48]; /* of the server that was asked */
};
bool queue_rewrite(struct queue *queue, struct queue_rewrite *rewrite, bool *done,
                   struct error *err);

/* For status and studyctl. */
struct queue_lengths {
    int64_t list[QUEUE_LISTS]; /* by enum queue_list */
    int64_t leased;            /* batches */
    int64_t oldest_ms;         /* received_at of pending's head, Unix ms; 0 when empty */
};
bool queue_lengths(struct queue *queue, struct queue_lengths *lengths, struct error *err);

/*
 * For studyctl. The list that nginx would have pushed this element to; and pushing it there again,
 * behind all others: true once Redis has acknowledged it. After an error it may be there or not,
 * which does no harm, since applying it twice does none.
 */
enum queue_list queue_list_of(struct str element);
bool queue_push(struct queue *queue, enum queue_list list, struct str element, struct error *err);

/*
 * Where the first element stands that has all of the needles in it: in a leased batch, in control
 * or suspect, or among the first and the last `most` / 2 of pending. Elements come over in slices.
 */
struct queue_hit {
    bool found;
    bool leased; /* in a batch; `list` is where it came from */
    enum queue_list list;
    int64_t ahead;            /* elements before it */
    int64_t received_at_ms;   /* 0: cannot be read */
    int64_t searched, length; /* of pending: less than its length means that some were not seen */
};
bool queue_find(struct queue *queue, const struct str *needles, size_t count, int64_t most,
                struct queue_hit *hit, struct error *err);

/* Batches that are leased now, the first to end first; at most `room`. */
struct queue_lease {
    char worker[20];
    uint64_t number;
    enum queue_list list;
    int64_t elements;
    int64_t ends_ms; /* from now; negative: has ended, and is about to be reaped */
    int64_t crashes; /* of a batch of one: how often it stood alone in one that ended */
};
bool queue_leases(struct queue *queue, struct queue_lease *leases, size_t room, size_t *count,
                  struct error *err);
/* How often each of the first suspects stood alone in a batch that ended: those that did, and the
 * highest count. */
bool queue_crashes(struct queue *queue, int64_t *elements, int64_t *highest, struct error *err);

#endif
