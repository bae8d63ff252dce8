/* In the manifest's order (conf/slack-manifest.yaml), which a test compares with this. */
#include "slack/scopes.h"

#include <string.h>

const struct slack_scope slack_scopes[] = {
    {"channels:history", "messages of public channels", false},
    {"channels:read", "the channels' names", false},
    {"chat:write", "sending digests and notices", false},
    {"im:write", "opening the direct message with a member", false},
    {"im:history", "finding out whether a doubtful reply arrived", false},
    {"users:read", "the members' time zones", false},
    {"team:read", "the workspace's name and address", false},
    {"groups:history", "messages of private channels", true},
    {"groups:read", "the private channels' names", true},
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
