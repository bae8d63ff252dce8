/* The user that the roles' processes become when the supervisor was started as root. */
#ifndef STUDY_PROC_USER_H
#define STUDY_PROC_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/config.h"
#include "base/error.h"

struct user {
    bool change; /* false: stay who we are */
    char name[64];
    uid_t uid;
    gid_t gid;
};

/* From [worker] user; ERROR_CONFIG when there is no such user. */
bool user_find(struct user *user, const struct config *config, struct error *err);

/* For good: groups, group, user. */
bool user_become(const struct user *user, struct error *err);

#endif
