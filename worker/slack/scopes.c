/* In the manifest's order (conf/slack-manifest.yaml), which a test compares with this. */
#include "slack/scopes.h"

#include <string.h>

const struct slack_scope slack_scopes[] = {
    {"channels:history", NULL, NULL},
    {"channels:read", NULL, NULL},
    {"chat:write", NULL, NULL},
    {"commands", NULL, NULL},
    {"im:write", NULL, NULL},
    {"im:history", NULL, NULL},
    {"users:read", NULL, NULL},
    {"team:read", NULL, NULL},
    {"groups:history", "privacy", "private_channels"},
    {"groups:read", "privacy", "private_channels"},
    {"reactions:write", "store", "acknowledge"},
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
