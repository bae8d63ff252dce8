/* studyctl digest, outbox, dead: the rows that work lives in. */
#include "ctl/rows.h"

#define DIGEST_STATES "pending|running|made|cancelled"
#define OUTBOX_STATES "pending|sending|doubtful|sent|logged|parked|failed|cancelled"

static enum ctl_status digest_ls(struct ctl *ctl)
{
    struct inspect_filter filter;
    struct pg_result *res = NULL;
    struct error err;

    if (!rows_filter(ctl, DIGEST_STATES, &filter)) {
        return CTL_USAGE;
    }
    bool ok = inspect_digests(ctl->pg, &filter, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

static enum ctl_status outbox_ls(struct ctl *ctl)
{
    struct inspect_filter filter;
    struct pg_result *res = NULL;
    struct error err;

    if (!rows_filter(ctl, OUTBOX_STATES, &filter)) {
        return CTL_USAGE;
    }
    bool ok = inspect_outbox(ctl->pg, &filter, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

static enum ctl_status dead_ls(struct ctl *ctl)
{
    struct inspect_filter filter = {.limit = ctl->limit};
    struct pg_result *res = NULL;
    struct error err;

    bool ok = inspect_dead(ctl->pg, &filter, &res, &err);
    return rows_print(ctl, ok, res, &err);
}

static enum ctl_status digest_show(struct ctl *ctl)
{
    struct pg_result *res = NULL;
    struct grid *digest = NULL, *items = NULL, *replies = NULL;
    enum ctl_status status = CTL_FAILED;
    struct error err;
    int64_t id;

    if (!rows_id(ctl, &id)) {
        return CTL_USAGE;
    }
    digest = rows_take(inspect_digest(ctl->pg, id, ctl->show_text, &res, &err), &res);
    if (digest == NULL) {
        goto fail;
    }
    if (grid_rows(digest) == 0) {
        status = rows_none("digest", ctl->args[0]);
        goto done;
    }
    res = NULL;
    items = rows_take(inspect_digest_items(ctl->pg, id, ctl->show_text, &res, &err), &res);
    if (items == NULL) {
        goto fail;
    }
    res = NULL;
    replies = rows_take(inspect_outbox_of_digest(ctl->pg, id, &res, &err), &res);
    if (replies == NULL) {
        goto fail;
    }
    struct out_part parts[] = {
        {"digest", digest, true}, {"records", items, false}, {"replies", replies, false}};
    status = out_parts(ctl, parts, sizeof(parts) / sizeof(parts[0]));
    goto done;

fail:
    status = ctl_fail(&err);
done:
    grid_destroy(&digest);
    grid_destroy(&items);
    grid_destroy(&replies);
    return status;
}

/* One row, as lines or an object. */
static enum ctl_status show_one(struct ctl *ctl, const char *what,
                                bool (*read)(struct pg *, int64_t, bool, struct pg_result **,
                                             struct error *))
{
    struct pg_result *res = NULL;
    struct error err;
    int64_t id;

    if (!rows_id(ctl, &id)) {
        return CTL_USAGE;
    }
    struct grid *grid = rows_take(read(ctl->pg, id, ctl->show_text, &res, &err), &res);
    if (grid == NULL) {
        return ctl_fail(&err);
    }
    enum ctl_status status = grid_rows(grid) == 0
                                 ? rows_none(what, ctl->args[0])
                                 : out_parts(ctl, &(struct out_part){what, grid, true}, 1);
    grid_destroy(&grid);
    return status;
}

static enum ctl_status outbox_show(struct ctl *ctl)
{
    return show_one(ctl, "reply", inspect_reply);
}

static enum ctl_status dead_show(struct ctl *ctl)
{
    return show_one(ctl, "dead_event", inspect_dead_event);
}

const struct ctl_command cmd_work_commands[] = {
    {"digest ls", "", 0, 0, "tsn", "Lists digests, the newest first.", true, digest_ls},
    {"digest show", "ID", 1, 1, "x", "Shows a digest, the records it is made from and its replies.",
     true, digest_show},
    {"outbox ls", "", 0, 0, "tsn", "Lists replies to Slack, the newest first.", true, outbox_ls},
    {"outbox show", "ID", 1, 1, "x", "Shows a reply and its lane.", true, outbox_show},
    {"dead ls", "", 0, 0, "n", "Lists elements that could not be stored, the newest first.", true,
     dead_ls},
    {"dead show", "ID", 1, 1, "x", "Shows such an element and why it could not be stored.", true,
     dead_show},
    {0},
};
