/*
 * What was taken from the lists stays in the append-only file until that is written anew. INFO
 * tells how a rewrite goes: BGREWRITEAOF itself only starts one, or puts it off while another child
 * of Redis works. aof_rewrites counts those begun since the server's start (run_id).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/queue_private.h"

struct persistence {
    char enabled[8], in_progress[8], scheduled[8], status[16], rewrites[24], run_id[48];
};

static bool look(struct queue *q, struct persistence *p, struct error *err)
{
    redisReply *reply = redis_command(q->redis, err, 1, (const char *[]){"INFO"}, NULL);

    if (reply == NULL) {
        return false;
    }
    const char *info = reply->str != NULL ? reply->str : "";
    redis_info_value(info, "aof_enabled", p->enabled, sizeof(p->enabled));
    redis_info_value(info, "aof_rewrite_in_progress", p->in_progress, sizeof(p->in_progress));
    redis_info_value(info, "aof_rewrite_scheduled", p->scheduled, sizeof(p->scheduled));
    redis_info_value(info, "aof_last_bgrewrite_status", p->status, sizeof(p->status));
    redis_info_value(info, "aof_rewrites", p->rewrites, sizeof(p->rewrites));
    redis_info_value(info, "run_id", p->run_id, sizeof(p->run_id));
    freeReplyObject(reply);
    return true;
}

static bool begin(struct queue *q, struct queue_rewrite *rewrite, const struct persistence *p,
                  struct error *err)
{
    redisReply *reply = redis_command(q->redis, err, 1, (const char *[]){"BGREWRITEAOF"}, NULL);

    if (reply == NULL) {
        return false;
    }
    freeReplyObject(reply);
    rewrite->asked = true;
    rewrite->count = strtoll(p->rewrites, NULL, 10);
    snprintf(rewrite->run_id, sizeof(rewrite->run_id), "%s", p->run_id);
    return true;
}

bool queue_rewrite(struct queue *queue, struct queue_rewrite *rewrite, bool *done,
                   struct error *err)
{
    struct persistence p;

    *done = false;
    if (!look(queue, &p, err)) {
        return false;
    }
    if (strcmp(p.enabled, "1") != 0) {
        *done = true; /* no file: nothing to be found in it */
        return true;
    }
    if (strcmp(p.in_progress, "1") == 0 || strcmp(p.scheduled, "1") == 0) {
        return true; /* ours, or one that began too early */
    }
    if (!rewrite->asked || strcmp(rewrite->run_id, p.run_id) != 0) {
        return begin(queue, rewrite, &p, err);
    }
    rewrite->asked = false;
    if (strcmp(p.status, "ok") != 0) {
        return error_set(err, ERROR_REMOTE, "Redis %s: its append-only file could not be rewritten",
                         queue_name(queue));
    }
    *done = p.rewrites[0] == '\0' || strtoll(p.rewrites, NULL, 10) > rewrite->count;
    return true;
}
