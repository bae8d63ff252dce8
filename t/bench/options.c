/*
 * Options: one table of what there is, with ranges, that also prints the help.
 */

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define MAX_SECRET 1024

static const char usage[] =
    "usage: sender --url URL --secret-file FILE [options]\n"
    "  --url URL            http://HOST:PORT/PATH or unix:/SOCKET:/PATH\n"
    "  --secret-file FILE   the signing secret\n"
    "  --connections N      held at once (64)\n"
    "  --requests N         in all (10000)\n"
    "  --keepalive on|off   (on)\n"
    "  --requests-per-connection N  then connect anew (0: no limit)\n"
    "  --rate R             events a second, whatever the answers do (0: the next one\n"
    "                       when the last is answered); latencies count from the time\n"
    "                       an event was due\n"
    "  --pipeline N         requests under way on one connection (1)\n"
    "  --sources N          send from 127.0.0.1 ... 127.0.0.N (0: the system chooses)\n"
    "  --users N            members who write, in turn (50)\n"
    "  --channels N         channels they write in (5)\n"
    "  --team ID            (T0STUDY)\n"
    "  --body-bytes N       pad messages to this length (0: as they come)\n"
    "  --mix N:E:D:R        weights of new, edit, delete, repeat (1:0:0:0)\n"
    "  --seed N             of the mix (1)\n"
    "  --body constant|unique  (unique)\n"
    "  --retry-unsent       a request whose kept-alive connection was closed before a\n"
    "                       byte of its answer came is sent again, and counted\n"
    "  --ids-file FILE      a line an event: serial kind channel ts status event_id user\n"
    "  --timeout S          for each request (10)\n"
    "  --duration S         for the whole run (600)\n";

enum {
    OPT_URL = 1,
    OPT_SECRET,
    OPT_CONNECTIONS,
    OPT_REQUESTS,
    OPT_KEEPALIVE,
    OPT_PER_CONNECTION,
    OPT_RATE,
    OPT_PIPELINE,
    OPT_SOURCES,
    OPT_USERS,
    OPT_CHANNELS,
    OPT_TEAM,
    OPT_BODY_BYTES,
    OPT_MIX,
    OPT_SEED,
    OPT_BODY,
    OPT_RETRY,
    OPT_IDS,
    OPT_TIMEOUT,
    OPT_DURATION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"url", required_argument, NULL, OPT_URL},
    {"secret-file", required_argument, NULL, OPT_SECRET},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"requests", required_argument, NULL, OPT_REQUESTS},
    {"keepalive", required_argument, NULL, OPT_KEEPALIVE},
    {"requests-per-connection", required_argument, NULL, OPT_PER_CONNECTION},
    {"rate", required_argument, NULL, OPT_RATE},
    {"pipeline", required_argument, NULL, OPT_PIPELINE},
    {"sources", required_argument, NULL, OPT_SOURCES},
    {"users", required_argument, NULL, OPT_USERS},
    {"channels", required_argument, NULL, OPT_CHANNELS},
    {"team", required_argument, NULL, OPT_TEAM},
    {"body-bytes", required_argument, NULL, OPT_BODY_BYTES},
    {"mix", required_argument, NULL, OPT_MIX},
    {"seed", required_argument, NULL, OPT_SEED},
    {"body", required_argument, NULL, OPT_BODY},
    {"retry-unsent", no_argument, NULL, OPT_RETRY},
    {"ids-file", required_argument, NULL, OPT_IDS},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static bool complain(const char *what, const char *value, const char *wanted)
{
    fprintf(stderr, "sender: %s %s: %s\n", what, value, wanted);
    return false;
}

static bool number(const char *name, const char *text, double low, double high, double *out)
{
    char range[80];
    char *end;

    errno = 0;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && errno == 0 && *out >= low && *out <= high) {
        return true;
    }
    snprintf(range, sizeof(range), "a number from %g to %g is wanted", low, high);
    return complain(name, text, range);
}

static bool count(const char *name, const char *text, double low, double high, uint64_t *out)
{
    double value;

    if (!number(name, text, low, high, &value)) {
        return false;
    }
    if (floor(value) < value) {
        return complain(name, text, "a whole number is wanted");
    }
    *out = (uint64_t)value;
    return true;
}

static bool count_small(const char *name, const char *text, double low, double high, unsigned *out)
{
    uint64_t value = 0;

    if (!count(name, text, low, high, &value)) {
        return false;
    }
    *out = (unsigned)value;
    return true;
}

static bool one_of(const char *name, const char *text, const char *yes, const char *no, bool *out)
{
    char wanted[64];

    *out = strcmp(text, yes) == 0;
    if (*out || strcmp(text, no) == 0) {
        return true;
    }
    snprintf(wanted, sizeof(wanted), "%s or %s is wanted", yes, no);
    return complain(name, text, wanted);
}

static bool unix_url(struct options *opt, const char *url)
{
    struct sockaddr_un *addr = (struct sockaddr_un *)&opt->addr;
    const char *socket_path = url + strlen("unix:");
    const char *colon = strchr(socket_path, ':');
    size_t len = colon != NULL ? (size_t)(colon - socket_path) : 0;

    if (len == 0 || len >= sizeof(addr->sun_path) || colon[1] != '/') {
        return complain("--url", url, "unix:/SOCKET:/PATH is wanted");
    }
    addr->sun_family = AF_UNIX;
    memcpy(addr->sun_path, socket_path, len);
    opt->addr_len = sizeof(*addr);
    opt->host = strdup("localhost");
    opt->path = strdup(colon + 1);
    return opt->host != NULL && opt->path != NULL;
}

static bool http_url(struct options *opt, const char *url)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *start = url + strlen("http://");
    const char *slash = strchr(start, '/');
    char name[256], *host = name, *port;
    int rc;

    if (slash == NULL || (size_t)(slash - start) >= sizeof(name)) {
        return complain("--url", url, "http://HOST:PORT/PATH is wanted");
    }
    memcpy(name, start, (size_t)(slash - start));
    name[slash - start] = '\0';
    opt->host = strdup(name);
    opt->path = strdup(slash);
    if (opt->host == NULL || opt->path == NULL) {
        return complain("--url", url, "out of memory");
    }

    port = strrchr(name, ':');
    if (port != NULL && strchr(port, ']') == NULL) {
        *port++ = '\0';
    } else {
        port = NULL;
    }
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = '\0';
        host++;
    }
    rc = getaddrinfo(host, port != NULL ? port : "80", &hints, &found);
    if (rc != 0) {
        return complain("--url", url, gai_strerror(rc));
    }
    memcpy(&opt->addr, found->ai_addr, found->ai_addrlen);
    opt->addr_len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool parse_url(struct options *opt, const char *url)
{
    free(opt->host);
    free(opt->path);
    opt->host = opt->path = NULL;
    if (strncmp(url, "unix:", 5) == 0) {
        return unix_url(opt, url);
    }
    if (strncmp(url, "http://", 7) == 0) {
        return http_url(opt, url);
    }
    return complain("--url", url, "http://... or unix:... is wanted");
}

static bool read_secret(struct options *opt, const char *file)
{
    FILE *in = fopen(file, "re");
    char *secret = malloc(MAX_SECRET);
    size_t len;

    if (in == NULL || secret == NULL) {
        if (in != NULL) {
            fclose(in);
        }
        free(secret);
        return complain("--secret-file", file, strerror(errno));
    }
    len = fread(secret, 1, MAX_SECRET, in);
    fclose(in);
    while (len > 0 && (secret[len - 1] == '\n' || secret[len - 1] == '\r')) {
        len--;
    }
    free((void *)opt->event.secret);
    opt->event.secret = secret;
    opt->event.secret_len = len;
    return len > 0 && len < MAX_SECRET ? true
                                       : complain("--secret-file", file, "empty or too long");
}

static bool parse_mix(struct options *opt, const char *text)
{
    unsigned *w = opt->event.weights;
    char rest;

    if (sscanf(text, "%u:%u:%u:%u%c", &w[0], &w[1], &w[2], &w[3], &rest) == 4 && w[0] > 0 &&
        w[0] <= 1000 && w[1] <= 1000 && w[2] <= 1000 && w[3] <= 1000) {
        return true;
    }
    return complain("--mix", text, "four weights of at most 1000 are wanted, the first above 0");
}

static bool apply(struct options *opt, int what, const char *name, const char *v)
{
    double value;
    bool unique;

    switch (what) {
    case OPT_URL:
        return parse_url(opt, v);
    case OPT_SECRET:
        return read_secret(opt, v);
    case OPT_CONNECTIONS:
        return count_small(name, v, 1, 60000, &opt->connections);
    case OPT_REQUESTS:
        return count(name, v, 1, 1e9, &opt->requests);
    case OPT_KEEPALIVE:
        return one_of(name, v, "on", "off", &opt->keepalive);
    case OPT_PER_CONNECTION:
        return count(name, v, 0, 1e9, &opt->requests_per_connection);
    case OPT_RATE:
        return number(name, v, 0, 1e6, &opt->rate);
    case OPT_PIPELINE:
        return count_small(name, v, 1, 64, &opt->pipeline);
    case OPT_SOURCES:
        return count_small(name, v, 0, 250, &opt->sources);
    case OPT_USERS:
        return count_small(name, v, 1, 999999, &opt->event.users);
    case OPT_CHANNELS:
        return count_small(name, v, 1, 999999, &opt->event.channels);
    case OPT_TEAM:
        opt->event.team = v;
        return strlen(v) <= 32 ? true : complain(name, v, "too long");
    case OPT_BODY_BYTES:
        if (!number(name, v, 0, 4 * 1024 * 1024, &value)) {
            return false;
        }
        opt->event.body_bytes = (size_t)value;
        return true;
    case OPT_MIX:
        return parse_mix(opt, v);
    case OPT_SEED:
        return count(name, v, 0, 1e15, &opt->event.seed);
    case OPT_BODY:
        if (!one_of(name, v, "unique", "constant", &unique)) {
            return false;
        }
        opt->event.constant = !unique;
        return true;
    case OPT_RETRY:
        opt->retry_unsent = true;
        return true;
    case OPT_IDS:
        opt->ids_file = v;
        return true;
    case OPT_TIMEOUT:
        return number(name, v, 0.01, 3600, &opt->timeout);
    case OPT_DURATION:
        return number(name, v, 0.1, 36000, &opt->duration);
    default:
        fputs(usage, stderr);
        return false;
    }
}

static bool check(const struct options *opt)
{
    double bytes =
        (double)opt->connections * opt->pipeline * (2.0 * (double)opt->event.body_bytes + 16384);

    if (opt->host == NULL || opt->event.secret == NULL) {
        fputs(usage, stderr);
        return false;
    }
    if (strlen(opt->path) > 1024 || strlen(opt->host) > 255) {
        fputs("sender: the URL is too long\n", stderr);
        return false;
    }
    if (!opt->keepalive && opt->pipeline > 1) {
        fputs("sender: --pipeline needs --keepalive on\n", stderr);
        return false;
    }
    if (bytes > 2e9) {
        fputs("sender: so many connections with such bodies need more than 2 GB\n", stderr);
        return false;
    }
    return true;
}

bool options_parse(struct options *opt, int argc, char **argv)
{
    int what, at = 0;

    *opt = (struct options){
        .connections = 64,
        .requests = 10000,
        .pipeline = 1,
        .keepalive = true,
        .timeout = 10,
        .duration = 600,
        .event =
            {.team = "T0STUDY", .users = 50, .channels = 5, .weights = {1, 0, 0, 0}, .seed = 1},
    };
    while ((what = getopt_long(argc, argv, "", long_options, &at)) != -1) {
        if (what == '?' || !apply(opt, what, long_options[at].name, optarg)) {
            return false;
        }
    }
    if (optind < argc) {
        return complain("argument", argv[optind], "not known");
    }
    if (!check(opt)) {
        return false;
    }
    opt->event.host = opt->host;
    opt->event.path = opt->path;
    opt->event.keepalive = opt->keepalive;
    return true;
}

void options_free(struct options *opt)
{
    free(opt->host);
    free(opt->path);
    free((void *)opt->event.secret);
    opt->host = opt->path = NULL;
    opt->event.secret = NULL;
}
