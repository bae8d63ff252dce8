/*
 * A link is looked for in runs of the characters that links are made of. Brackets, quotes and
 * everything beyond ASCII end a run, so that Korean particles glued to an address stay text.
 */
#include "digest/links.h"

#include <string.h>
#include <strings.h>

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_alpha(char c)
{
    return is_alnum(c) && !(c >= '0' && c <= '9');
}

static bool is_link_char(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("-._~:/?#@!$&*+,;=%\\", c) != NULL);
}

static bool starts_with(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.len >= n && strncasecmp(s.data, prefix, n) == 0;
}

static bool has_scheme(struct str s)
{
    static const char *const schemes[] = {
        "mailto:", "tel:", "sms:", "javascript:", "data:", "slack:", "skype:", "file:", "www."};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (starts_with(s, schemes[i]) && s.len > strlen(schemes[i])) {
            return true;
        }
    }
    return memmem(s.data, s.len, "://", 3) != NULL;
}

static bool is_common_ending(struct str label)
{
    static const char *const endings[] = {
        "com", "net",  "org",    "io",   "kr",   "jp",   "cn",   "ru",  "de",   "uk",   "co",
        "me",  "ly",   "gg",     "dev",  "app",  "xyz",  "info", "biz", "link", "site", "click",
        "top", "shop", "online", "page", "live", "club", "ai",   "tk",  "zip",  "mov",  "to"};

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (label.len == strlen(endings[i]) &&
            strncasecmp(label.data, endings[i], label.len) == 0) {
            return true;
        }
    }
    return false;
}

/* "host.name" or "10.0.0.1", alone or before a path. */
static bool is_host(struct str host, bool with_path)
{
    size_t dots = 0;
    size_t last = 0;
    bool numeric = true;

    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        if (c == '.') {
            if (i == last) {
                return false; /* an empty label */
            }
            dots++;
            last = i + 1;
        } else if (!is_alnum(c) && c != '-') {
            return false;
        } else if (is_alpha(c) || c == '-') {
            numeric = false;
        }
    }
    if (dots == 0 || last == host.len) {
        return false;
    }
    if (numeric) {
        return dots == 3;
    }
    for (size_t i = last; i < host.len; i++) {
        if (!is_alpha(host.data[i])) {
            return false;
        }
    }
    if (host.len - last < 2) {
        return false;
    }
    return with_path || is_common_ending((struct str){host.data + last, host.len - last});
}

static bool is_link(struct str run)
{
    struct str host = run;
    bool with_path = false;

    if (has_scheme(run)) {
        return true;
    }
    for (size_t i = 0; i < run.len; i++) {
        if (run.data[i] == '@') { /* user@host: what counts is behind it */
            host = (struct str){run.data + i + 1, run.len - i - 1};
            with_path = i > 0;
        }
    }
    for (size_t i = 0; i < host.len; i++) {
        if (strchr("/?#:\\", host.data[i]) != NULL) {
            with_path = with_path || host.data[i] != ':' || i + 1 < host.len;
            host.len = i;
            break;
        }
    }
    return is_host(host, with_path);
}

bool link_next(struct str text, size_t *pos, struct str *link)
{
    size_t i = *pos;

    while (i < text.len) {
        size_t begin = i;
        struct str run;

        while (i < text.len && is_link_char(text.data[i])) {
            i++;
        }
        run = (struct str){text.data + begin, i - begin};
        while (run.len > 0 && strchr(".,;:!?*~_/\\", run.data[0]) != NULL) {
            run.data++;
            run.len--;
        }
        while (run.len > 0 && strchr(".,;:!?*~_", run.data[run.len - 1]) != NULL) {
            run.len--;
        }
        if (run.len > 0 && is_link(run)) {
            *link = run;
            *pos = (size_t)(run.data - text.data) + run.len;
            return true;
        }
        if (i == begin) {
            i++;
        }
    }
    *pos = text.len;
    return false;
}

bool link_is_web(struct str link)
{
    if (!starts_with(link, "http://") && !starts_with(link, "https://")) {
        return false;
    }
    for (size_t i = 0; i < link.len; i++) {
        if (link.data[i] <= ' ' || link.data[i] > '~' || strchr("<>|\"", link.data[i]) != NULL) {
            return false;
        }
    }
    return true;
}

void link_add_whole(struct text *out, struct str address)
{
    for (size_t i = 0; i < address.len; i++) {
        if (is_link_char(address.data[i])) {
            text_add(out, (struct str){address.data + i, 1});
        } else {
            text_addf(out, "%%%02X", (unsigned char)address.data[i]);
        }
    }
}
