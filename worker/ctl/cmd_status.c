/* studyctl status and queue: whether it runs, and where it stands still. */
#include <stdio.h>

#include "base/clock.h"
#include "ctl/rows.h"
#include "ingest/queue.h"

static const struct grid_column queue_columns[] = {
    {"server", PG_TYPE_TEXT},
    {"control", PG_TYPE_NUMBER},
    {"pending", PG_TYPE_NUMBER},
    {"suspect", PG_TYPE_NUMBER},
    {"leased_batches", PG_TYPE_NUMBER},
    {"oldest_seconds", PG_TYPE_NUMBER},
    {"error", PG_TYPE_TEXT},
};
#define QUEUE_COLUMNS (int)(sizeof(queue_columns) / sizeof(queue_columns[0]))

static void add_lengths(struct grid *grid, const struct queue_lengths *lengths)
{
    grid_add_int(grid, lengths->list[QUEUE_CONTROL]);
    grid_add_int(grid, lengths->list[QUEUE_PENDING]);
    grid_add_int(grid, lengths->list[QUEUE_SUSPECT]);
    grid_add_int(grid, lengths->leased);
    if (lengths->oldest_ms > 0) {
        int64_t age = (clock_wall_ms() - lengths->oldest_ms) / 1000;
        grid_add_int(grid, age > 0 ? age : 0);
    } else {
        grid_add(grid, STR_NULL);
    }
    grid_add(grid, STR_NULL);
}

/* A server that cannot be asked has its row too, with the reason. *all: none was such. */
static struct grid *queue_grid(const struct ctl *ctl, bool *all)
{
    struct grid *grid = grid_create(queue_columns, QUEUE_COLUMNS);
    const char *const *servers;
    size_t count = config_list(ctl->config, "redis", "servers", &servers);

    *all = true;
    for (size_t i = 0; i < count; i++) {
        struct queue_lengths lengths;
        struct queue *queue = NULL;
        struct error err;

        grid_add(grid, str_of(servers[i]));
        if (queue_create(&queue, ctl->config, servers[i], &err) &&
            queue_lengths(queue, &lengths, &err)) {
            add_lengths(grid, &lengths);
        } else {
            for (int col = 1; col < QUEUE_COLUMNS - 1; col++) {
                grid_add(grid, STR_NULL);
            }
            grid_add(grid, str_of(err.text));
            *all = false;
        }
        queue_destroy(&queue);
    }
    return grid;
}

static enum ctl_status run_queue(struct ctl *ctl)
{
    bool all;
    struct grid *grid = queue_grid(ctl, &all);
    enum ctl_status status = out_rows(ctl, grid);

    grid_destroy(&grid);
    return all ? status : CTL_FAILED;
}

static enum ctl_status run_status(struct ctl *ctl)
{
    static bool (*const reads[])(struct pg *, struct pg_result **, struct error *) = {
        inspect_schedules, inspect_counts, inspect_pauses, inspect_stopped};
    static const char *const names[] = {"schedules", "counts", "pauses", "stopped"};
    struct out_part parts[5] = {{.name = "queues"}};
    struct grid *grids[5] = {NULL};
    enum ctl_status status = CTL_OK;
    struct error err;
    size_t done = 1;
    bool all;

    grids[0] = queue_grid(ctl, &all);
    for (; done < 5; done++) {
        struct pg_result *res = NULL;
        grids[done] = rows_take(reads[done - 1](ctl->pg, &res, &err), &res);
        if (grids[done] == NULL) {
            status = ctl_fail(&err);
            break;
        }
    }
    for (size_t i = 0; i < done; i++) {
        parts[i] = (struct out_part){i == 0 ? "queues" : names[i - 1], grids[i], false};
    }
    enum ctl_status printed = out_parts(ctl, parts, done);
    for (size_t i = 0; i < 5; i++) {
        grid_destroy(&grids[i]);
    }
    if (status == CTL_OK) {
        status = all ? printed : CTL_FAILED;
    }
    return status;
}

const struct ctl_command cmd_status_commands[] = {
    {"status", "", 0, 0, "",
     "Shows queues, schedules, work by state, and what is paused or stopped; fails when a queue "
     "server or the database does not answer.",
     true, run_status},
    {"queue", "", 0, 0, "", "Shows the lengths of each queue server's lists.", true, run_queue},
    {0},
};
