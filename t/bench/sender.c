/*
 * The load generator of the benchmarks and of the tests under load: signed Slack
 * events, each with its own event_id, ts and signature, made while the load
 * runs. One process and one thread, so that its own cost is one figure, which it
 * prints with the rest: JSON on standard output.
 */

#include "load.h"
#include "options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static void on_signal(int signo)
{
    (void)signo;
    load_stop();
}

static void raise_file_limit(unsigned connections)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < connections + 64) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static double seconds(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

/* Figures of one kind as a JSON object; those at nought are left out. */
static void print_counts(const char *name, const char *const *names, const uint64_t *counts, int n)
{
    const char *comma = "";
    char code[16];

    printf(" \"%s\": {", name);
    for (int i = 0; i < n; i++) {
        if (counts[i] == 0) {
            continue;
        }
        snprintf(code, sizeof(code), "%d", i);
        printf("%s\"%s\": %lu", comma, names != NULL ? names[i] : code, (unsigned long)counts[i]);
        comma = ", ";
    }
    printf("},\n");
}

static void print_result(const struct load_result *r)
{
    const struct stats *l = r->latency;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    printf("{\"sent\": %lu, \"answered\": %lu, \"retried\": %lu, \"connections\": %lu,\n",
           (unsigned long)r->sent, (unsigned long)r->answered, (unsigned long)r->retried,
           (unsigned long)r->connections);
    print_counts("status", NULL, r->status, 600);
    print_counts("errors", load_error_names, r->errors, LOAD_ERRORS);
    print_counts("kinds", event_kind_names, r->kinds, EVENT_KINDS);
    printf(" \"latency_ms\": {\"min\": %.3f, \"avg\": %.3f, \"median\": %.3f, \"p90\": %.3f, "
           "\"p95\": %.3f, \"p99\": %.3f, \"max\": %.3f},\n",
           stats_min(l), stats_average(l), stats_part(l, 0.5), stats_part(l, 0.9),
           stats_part(l, 0.95), stats_part(l, 0.99), stats_max(l));
    printf(" \"wall_s\": %.3f, \"per_second\": %.1f, \"cpu_s\": %.3f, \"max_rss_kib\": %ld}\n",
           r->wall_s, r->wall_s > 0 ? (double)r->answered / r->wall_s : 0,
           seconds(use.ru_utime) + seconds(use.ru_stime), use.ru_maxrss);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct load_result result;
    struct options opt;
    bool ok;

    if (!options_parse(&opt, argc, argv)) {
        options_free(&opt);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    raise_file_limit(opt.connections);

    ok = load_run(&opt, &result);
    if (result.latency != NULL) {
        print_result(&result);
    }
    stats_destroy(&result.latency);
    options_free(&opt);
    return ok ? 0 : 1;
}
