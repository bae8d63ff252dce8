/* What became of something, step by step, and where it stands: for people and for programs. */
#ifndef STUDY_CTL_STORY_H
#define STUDY_CTL_STORY_H

#include "base/text.h"
#include "ctl/ctl.h"

struct story;

enum story_state {
    STORY_DONE,
    STORY_WAITS,   /* it goes on by itself */
    STORY_STOPPED, /* it does not: somebody has to do something, or it was meant to end here */
    STORY_UNKNOWN, /* cannot be told */
};

struct story *story_create(const char *what);
void story_destroy(struct story **story);
/* step: accepted, stored, digest, reply, ...; at: RFC 3339 or PostgreSQL's, absent: unknown. */
void story_add(struct story *story, const char *step, enum story_state state, struct str at,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Member text of the step just told; shown under it. */
void story_text(struct story *story, struct str text);
size_t story_steps(const struct story *story);

/* Several stories under one heading; JSON: {"asked", "stories": [{"what", "state", "steps"}]}. */
enum ctl_status story_print(const struct ctl *ctl, const char *asked, struct story *const *stories,
                            size_t count);

#endif
