/* Catching up: marks and questions, a server at a time. */
#include "proc/catchup.h"

#include <stdio.h>
#include <stdlib.h>

#include "ingest/queue.h"
#include "proc/outage.h"

struct server {
    struct queue *queue;
    struct outage outage;
    bool failed; /* in this round */
};

struct catchup {
    struct server *servers;
    size_t count;
};

struct stage {
    bool commanded, marked, done; /* control was seen empty; ... */
    struct queue_mark mark;
    bool rewritten;
    struct queue_rewrite rewrite;
};

struct catchup_progress {
    size_t count;
    bool commands_too;
    struct stage stages[];
};

bool catchup_create(struct catchup **out, const struct config *config, int interrupt_fd,
                    struct error *err)
{
    struct catchup *catchup = calloc(1, sizeof(*catchup));
    const char *const *addresses;
    size_t count = config_list(config, "redis", "servers", &addresses);

    *out = NULL;
    if (catchup == NULL || (catchup->servers = calloc(count, sizeof(struct server))) == NULL) {
        error_set(err, ERROR_SYSTEM, "no memory");
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        struct server *server = &catchup->servers[i];

        if (!queue_create(&server->queue, config, addresses[i], err)) {
            goto fail;
        }
        catchup->count++;
        queue_set_interrupt(server->queue, interrupt_fd);
        server->outage.what = queue_name(server->queue);
    }
    *out = catchup;
    return true;

fail:
    catchup_destroy(&catchup);
    return false;
}

void catchup_destroy(struct catchup **catchup)
{
    if (*catchup == NULL) {
        return;
    }
    for (size_t i = 0; i < (*catchup)->count; i++) {
        queue_destroy(&(*catchup)->servers[i].queue);
    }
    free((*catchup)->servers);
    free(*catchup);
    *catchup = NULL;
}

struct catchup_progress *catchup_begin(const struct catchup *catchup, bool commands_too)
{
    struct catchup_progress *progress =
        calloc(1, sizeof(*progress) + catchup->count * sizeof(struct stage));

    if (progress == NULL) {
        abort();
    }
    progress->count = catchup->count;
    progress->commands_too = commands_too;
    return progress;
}

void catchup_end(struct catchup_progress **progress)
{
    free(*progress);
    *progress = NULL;
}

void catchup_round(struct catchup *catchup)
{
    for (size_t i = 0; i < catchup->count; i++) {
        catchup->servers[i].failed = false;
    }
}

static bool ask(struct server *server, struct stage *stage, bool commands_too, struct error *err)
{
    struct queue_lengths lengths;

    if (commands_too && !stage->commanded) {
        if (!queue_lengths(server->queue, &lengths, err)) {
            return false;
        }
        stage->commanded = lengths.list[QUEUE_CONTROL] == 0;
        if (!stage->commanded) {
            return true;
        }
    }
    if (!stage->marked) {
        if (!queue_mark(server->queue, &stage->mark, err)) {
            return false;
        }
        stage->marked = true;
    }
    if (!queue_caught_up(server->queue, &stage->mark, &stage->done, err)) {
        return false;
    }
    /* What was given back may have been commands. */
    if (commands_too && stage->mark.renewed) {
        stage->commanded = stage->marked = stage->done = false;
    }
    return true;
}

bool catchup_look(struct catchup *catchup, struct catchup_progress *progress, bool *yes,
                  struct error *err)
{
    *yes = true;
    for (size_t i = 0; i < catchup->count; i++) {
        struct server *server = &catchup->servers[i];
        struct stage *stage = &progress->stages[i];

        if (!stage->done && !server->failed) {
            if (ask(server, stage, progress->commands_too, err)) {
                outage_end(&server->outage);
            } else if (err->kind == ERROR_CONFIG || err->kind == ERROR_INTERRUPTED) {
                return false;
            } else {
                outage_begin(&server->outage, err);
                server->failed = true;
            }
        }
        *yes = *yes && stage->done;
    }
    return true;
}

bool catchup_rewrite(struct catchup *catchup, struct catchup_progress *progress, bool *yes,
                     char why[256], struct error *err)
{
    *yes = true;
    why[0] = '\0';
    for (size_t i = 0; i < catchup->count; i++) {
        struct server *server = &catchup->servers[i];
        struct stage *stage = &progress->stages[i];

        if (!stage->rewritten && !server->failed &&
            !queue_rewrite(server->queue, &stage->rewrite, &stage->rewritten, err)) {
            if (err->kind == ERROR_CONFIG || err->kind == ERROR_INTERRUPTED) {
                return false;
            }
            server->failed = true;
            snprintf(why, 256, "%.255s", err->text);
        }
        *yes = *yes && stage->rewritten;
    }
    return true;
}
