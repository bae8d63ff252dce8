/* A whole list element, as anybody who may reach Redis could push it, up to the folded row. */
#include <stdlib.h>
#include <string.h>

#include "ingest/envelope.h"
#include "ingest/event.h"
#include "ingest/fold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct event_rules rules = {.private_channels = true, .external_members = true};
    struct str element = {(const char *)data, size};
    struct envelope envelope;
    struct event event;
    struct error err = {0};

    if (!envelope_parse(&envelope, element, &err)) {
        if (err.kind != ERROR_INPUT || err.code[0] == '\0') {
            abort(); /* no reason for dead_event */
        }
        return 0;
    }
    if (envelope.body.data < element.data ||
        envelope.body.data + envelope.body.len != element.data + element.len) {
        abort();
    }
    event_read(&event, &envelope, &rules);
    if (event.effect == EVENT_MESSAGE) {
        struct fold *fold = fold_create();
        size_t n;

        fold_add(fold, &event.message);
        fold_add(fold, &event.message);
        fold_finish(fold);
        fold_messages(fold, &n);
        if (n != 1) {
            abort();
        }
        fold_destroy(&fold);
    }
    event_clear(&event);
    envelope_clear(&envelope);
    return 0;
}
