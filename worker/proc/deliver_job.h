/*
 * One thing that deliver asks of Slack: a reply on its way (with the steps that it takes: opening
 * the DM, the post, or the look into the history for a doubtful one), a workspace's auth.test, or a
 * member's users.info. It turns answers into what is to be written down; it knows nothing of the
 * database's statements.
 */
#ifndef STUDY_PROC_DELIVER_JOB_H
#define STUDY_PROC_DELIVER_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "db/outbox.h"
#include "db/profiles.h"
#include "io/http.h"
#include "slack/outcome.h"

/* What every job needs. */
struct slack_side {
    const struct config *config;
    const char *api_url;
    struct http *http;
    int64_t timeout_ms; /* of a request */
    int64_t settle_ms;  /* [deliver] settle_after */
    int64_t give_up_ms;
    int64_t max_attempts;
    bool park;               /* [deliver] doubtful = park */
    bool log_only;           /* [deliver] mode = log */
    const char *const *only; /* [deliver] only: members and channels; count 0: everybody */
    size_t only_count;
};

enum job_state {
    JOB_START,   /* claimed: what is the next step? */
    JOB_OPEN,    /* the DM is to be opened */
    JOB_LOOK,    /* the history is to be read */
    JOB_READY,   /* where to send is known: to be marked `sending` */
    JOB_MARKED,  /* `sending` is committed: to be sent */
    JOB_AUTH,    /* auth.test is to be asked */
    JOB_PROFILE, /* users.info is to be asked */
    JOB_ASKED,   /* a request is under way; `asked` says which */
    JOB_DONE,    /* the fields below are to be written down */
    JOB_GONE,    /* nothing more to do */
};

enum job_step {
    STEP_OPEN,
    STEP_POST,
    STEP_LOOK,
    STEP_RESPOND,
    STEP_REACT,
    STEP_DELETE,
    STEP_AUTH,
    STEP_PROFILE,
};

struct job {
    enum job_state state;
    enum job_step asked;
    char *team_id;
    struct outbox_work *work; /* owned; NULL of a question about a workspace or a member */
    char *user_id;            /* the member whose profile is asked for; NULL: none */
    bool stopped;             /* auth.test of a workspace that had thrown us out */
    int64_t asked_ms;         /* boot clock */
    int64_t lease_ends_ms;    /* boot clock, of `sending` */
    int pages;                /* of the history, read so far */
    char *cursor;

    /* what came of it */
    enum outbox_end end;
    int64_t wait_ms;
    char sent_ts[24];
    char error[128];
    const char *wait_method; /* the method must rest wait_ms in this workspace */
    bool stop_team;          /* with `error` as the reason */
    bool stop_lane;
    char *opened;                             /* the DM's channel, to be kept */
    char *team_name, *team_url, *bot_user_id; /* of auth.test */
    struct profile *profile;                  /* of users.info */
};

struct job *job_of_reply(struct outbox_work *work); /* takes it over */
struct job *job_of_team(const char *team_id);
struct job *job_of_member(const char *team_id, const char *user_id);
void job_destroy(struct job **job);

/* The first step of a claimed reply, or its end: too old, too often, no token, parked by setting.
 */
void job_begin(struct job *job, const struct slack_side *slack);

/* Starts the request that the state asks for; on failure the job is DONE. */
void job_ask(struct job *job, const struct slack_side *slack);

/* Nothing was tried: the row as it was, after a while. */
void job_release(struct job *job, int64_t wait_ms);

/* Its step must wait for Slack's limits: the same, but not again and again for a history whose
 * pages never all go. */
void job_put_off(struct job *job, int64_t wait_ms);

void job_answered(struct job *job, const struct slack_side *slack,
                  const struct http_response *response);

const char *job_method(const struct job *job);      /* of the request under way or asked for */
enum job_step job_send_step(const struct job *job); /* the one that sends its reply */
const char *job_event_type(const struct outbox_work *work); /* in a message's metadata */

/* ---- between deliver_job.c and deliver_answer.c ---- */

void job_finish(struct job *job, enum outbox_end end, int64_t wait_ms, const char *error);
/* As it was before, after a backoff: pending, or still doubtful. */
void job_again(struct job *job, const char *error);

#endif
