/*
 * One transaction of the store role: a range of a batch's elements, already read, into rows. What
 * goes wrong is the caller's to judge; nothing of a failed transaction is left.
 */
#ifndef STUDY_PROC_STORE_APPLY_H
#define STUDY_PROC_STORE_APPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/config.h"
#include "base/error.h"
#include "base/text.h"
#include "ingest/envelope.h"
#include "ingest/event.h"
#include "io/pg.h"

struct store_item {
    struct str element;
    struct envelope envelope;
    struct event event;
};

/* What became of the elements; the sum is their number. */
struct store_counts {
    size_t stored, changed, deleted, repeated; /* messages: rows; see db/messages.h */
    size_t folded;                             /* messages that a newer one of the batch covers */
    size_t applied;                            /* news taken over, triggers */
    size_t ignored, unsupported;
    size_t dead;
};

/* Reads an element; what cannot be read is an event of EVENT_DEAD. `marked`: it is not even tried,
 * since it twice took a worker down. */
void store_item_read(struct store_item *item, struct str element, bool marked,
                     const struct event_rules *rules);
void store_item_clear(struct store_item *item);

struct store_apply;

struct store_apply *store_apply_create(struct pg *pg, const struct config *config); /* kept */
void store_apply_destroy(struct store_apply **apply);

/* True once committed. After a failed COMMIT the rows may be there or not: applying the range again
 * is harmless. */
bool store_apply_run(struct store_apply *apply, const struct store_item *items, size_t n,
                     struct store_counts *counts, struct error *err);

#endif
