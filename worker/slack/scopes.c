/* In the manifest's order (conf/slack-manifest.yaml), which a test compares with this. */
#include "slack/scopes.h"

#include <string.h>

const struct slack_scope slack_scopes[] = {
    {"channels:history", "messages of public channels", NULL, NULL},
    {"channels:read", "the channels' names", NULL, NULL},
    {"chat:write", "sending digests and notices", NULL, NULL},
    {"commands", "the command /study", NULL, NULL},
    {"im:write", "opening the direct message with a member", NULL, NULL},
    {"im:history", "finding out whether a doubtful reply arrived", NULL, NULL},
    {"users:read", "the members' time zones", NULL, NULL},
    {"team:read", "the workspace's name and address", NULL, NULL},
    {"groups:history", "messages of private channels", "privacy", "private_channels"},
    {"groups:read", "the private channels' names", "privacy", "private_channels"},
    {"reactions:write", "marking what was stored", "store", "acknowledge"},
};
const size_t slack_scopes_count = sizeof(slack_scopes) / sizeof(slack_scopes[0]);

bool slack_scope_granted(const char *granted, const char *name)
{
    size_t len = strlen(name);

    while (*granted != '\0') {
        size_t word;

        granted += strspn(granted, ", ");
        word = strcspn(granted, ", ");
        if (word == len && memcmp(granted, name, len) == 0) {
            return true;
        }
        granted += word;
    }
    return false;
}
