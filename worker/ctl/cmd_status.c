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

/* ---- batches ---- */

#define LEASES_MAX 256

static const struct grid_column batch_columns[] = {
    {"server", PG_TYPE_TEXT},    {"worker", PG_TYPE_TEXT},     {"batch", PG_TYPE_NUMBER},
    {"list", PG_TYPE_TEXT},      {"elements", PG_TYPE_NUMBER}, {"ends_in_seconds", PG_TYPE_NUMBER},
    {"crashes", PG_TYPE_NUMBER},
};
#define BATCH_COLUMNS (int)(sizeof(batch_columns) / sizeof(batch_columns[0]))

static const struct grid_column crash_columns[] = {
    {"server", PG_TYPE_TEXT},
    {"suspects_crashed", PG_TYPE_NUMBER},
    {"most_crashes", PG_TYPE_NUMBER},
};
#define CRASH_COLUMNS (int)(sizeof(crash_columns) / sizeof(crash_columns[0]))

static void add_batches(struct grid *batches, const char *server, const struct queue_lease *leases,
                        size_t count)
{
    static const char *const lists[] = {
        [QUEUE_CONTROL] = "control", [QUEUE_SUSPECT] = "suspect", [QUEUE_PENDING] = "pending"};

    for (size_t i = 0; i < count; i++) {
        grid_add(batches, str_of(server));
        grid_add(batches, str_of(leases[i].worker));
        grid_add_int(batches, (int64_t)leases[i].number);
        grid_add(batches, str_of(lists[leases[i].list]));
        grid_add_int(batches, leases[i].elements);
        grid_add_int(batches, leases[i].ends_ms / 1000);
        grid_add_int(batches, leases[i].crashes);
    }
}

/* Servers that cannot be asked are told of by queue_grid. */
static void look_into_hands(const struct ctl *ctl, struct grid *batches, struct grid *crashes)
{
    const char *const *servers;
    size_t count = config_list(ctl->config, "redis", "servers", &servers);

    for (size_t i = 0; i < count; i++) {
        struct queue_lease leases[LEASES_MAX];
        struct queue *queue = NULL;
        int64_t crashed, highest;
        struct error err;
        size_t n;

        if (queue_create(&queue, ctl->config, servers[i], &err) &&
            queue_leases(queue, leases, LEASES_MAX, &n, &err) &&
            queue_crashes(queue, &crashed, &highest, &err)) {
            add_batches(batches, servers[i], leases, n);
            grid_add(crashes, str_of(servers[i]));
            grid_add_int(crashes, crashed);
            grid_add_int(crashes, highest);
        }
        queue_destroy(&queue);
    }
}

static enum ctl_status run_queue(struct ctl *ctl)
{
    bool all;
    struct grid *lists = queue_grid(ctl, &all);
    struct grid *batches = grid_create(batch_columns, BATCH_COLUMNS);
    struct grid *crashes = grid_create(crash_columns, CRASH_COLUMNS);

    look_into_hands(ctl, batches, crashes);
    const struct out_part parts[] = {
        {"lists", lists, false}, {"batches", batches, false}, {"crashes", crashes, false}};
    enum ctl_status status = out_parts(ctl, parts, sizeof(parts) / sizeof(parts[0]));
    grid_destroy(&lists);
    grid_destroy(&batches);
    grid_destroy(&crashes);
    return all ? status : CTL_FAILED;
}

#define STATUS_PARTS 7

static enum ctl_status run_status(struct ctl *ctl)
{
    static bool (*const reads[])(struct pg *, struct pg_result **, struct error *) = {
        inspect_attention, NULL,           inspect_stored, inspect_schedules,
        inspect_counts,    inspect_pauses, inspect_stopped};
    static const char *const names[] = {"attention", "queues", "stored", "schedules",
                                        "counts",    "pauses", "stopped"};
    struct out_part parts[STATUS_PARTS];
    struct grid *grids[STATUS_PARTS] = {NULL};
    enum ctl_status status = CTL_OK;
    struct error err;
    size_t count = 0;
    bool all = true;

    for (size_t i = 0; i < STATUS_PARTS; i++) {
        struct pg_result *res = NULL;

        /* Where the database is away the queues are told of all the same. */
        if (reads[i] != NULL && status != CTL_OK) {
            continue;
        }
        struct grid *grid = reads[i] == NULL ? queue_grid(ctl, &all)
                                             : rows_take(reads[i](ctl->pg, &res, &err), &res);
        if (grid == NULL) {
            status = ctl_fail(&err);
            continue;
        }
        parts[count] = (struct out_part){names[i], grid, reads[i] == inspect_stored};
        grids[count++] = grid;
    }
    enum ctl_status printed = out_parts(ctl, parts, count);
    for (size_t i = 0; i < count; i++) {
        grid_destroy(&grids[i]);
    }
    if (status == CTL_OK) {
        status = all ? printed : CTL_FAILED;
    }
    return status;
}

const struct ctl_command cmd_status_commands[] = {
    {"status", "", 0, 0, "",
     "Shows what wants a person first, then queues, what is stored, schedules, work by state, "
     "pauses and what is stopped.\n\n"
     "Nothing under \"attention\" means that all goes by itself. Fails when a queue server or the "
     "database does not answer; doctor says why.",
     true, run_status},
    {"queue", "", 0, 0, "",
     "Shows the lists of each queue server, who holds which batch, and what took workers down.\n\n"
     "A batch is in the hands of the store process whose name it bears (the log has it from its "
     "start) until its lease ends; then its elements are suspects, and tried one at a time. "
     "suspects_crashed counts those, of the first 50, that stood alone in a batch that ended; at "
     "two "
     "such ends an element goes to the dead events unread.",
     true, run_queue},
    {0},
};
