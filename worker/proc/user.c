/* Dropping privileges. Only root can; for anybody else the setting says nothing. */
#include "proc/user.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool user_find(struct user *user, const struct config *config, struct error *err)
{
    const char *name = config_string(config, "worker", "user");

    memset(user, 0, sizeof(*user));
    if (name[0] == '\0' || geteuid() != 0) {
        return true;
    }
    const struct passwd *found = getpwnam(name);
    if (found == NULL) {
        return error_set(err, ERROR_CONFIG, "%s: [worker] user: there is no user \"%s\"",
                         config_path(config), name);
    }
    snprintf(user->name, sizeof(user->name), "%s", name);
    user->uid = found->pw_uid;
    user->gid = found->pw_gid;
    user->change = true;
    return true;
}

bool user_become(const struct user *user, struct error *err)
{
    if (!user->change) {
        return true;
    }
    if (initgroups(user->name, user->gid) != 0 || setresgid(user->gid, user->gid, user->gid) != 0 ||
        setresuid(user->uid, user->uid, user->uid) != 0) {
        return error_set_errno(err, "becoming user %s", user->name);
    }
    return true;
}
