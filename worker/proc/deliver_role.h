/*
 * What the files of the deliver role share: its settings, its jobs and its place in the loop
 * (role_deliver.c). Work comes in by deliver_claim.c and is booked and marked by deliver_mark.c.
 */
#ifndef STUDY_PROC_DELIVER_ROLE_H
#define STUDY_PROC_DELIVER_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "proc/db_turn.h"
#include "proc/deliver_job.h"

struct deliver {
    const struct config *config;
    struct slack_side slack;
    struct db_turn db;
    struct http *http;
    int64_t lease_ms, poll_ms;

    struct job **jobs;
    size_t count;
    size_t concurrency;
    size_t reserved; /* of these, for answers to commands: somebody waits for them */
    bool crowded;    /* the last claim left everything else for later */

    int64_t claim_at_ms;
    int64_t teams_at_ms;
    /* Stopped workspaces are asked once, after a start or a reload, as a new token may have come
     * with it: in order of their ids, up to this one; NULL when all were. */
    char *stopped_after;
    /* Of these, the ones that gave no clear answer: asked again, slower each time. */
    char **retests;
    size_t retests_count;
    unsigned retests_tried;
    int64_t retests_at_ms;
    struct outage slack_outage;
};

/* Takes up what is due, as far as there is room. False: PostgreSQL failed, and it was said. */
bool deliver_claim(struct deliver *d);
/* Workspaces and members that Slack is to be asked about; sent digests to be taken back. */
bool deliver_claim_questions(struct deliver *d);
/* A stopped workspace's auth.test came to nothing. */
void deliver_retest(struct deliver *d, const char *team_id);
void deliver_claim_end(struct deliver *d); /* at the role's end */

/* Books a step of jobs[at] with Slack's limits; what has to wait is put off. */
bool deliver_book(struct deliver *d, size_t at);
/* Books what is READY and commits `sending`: MARKED is what may leave. */
bool deliver_mark(struct deliver *d);
#endif
