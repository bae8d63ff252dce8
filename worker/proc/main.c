/* study-worker: the command line, and the checks that stop a start before anything is forked. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/config.h"
#include "base/error.h"
#include "base/version.h"
#include "proc/notify.h"
#include "proc/role.h"
#include "proc/supervisor.h"
#include "proc/title.h"

#define USAGE_STATUS 2

static void usage(FILE *to)
{
    fputs("usage: study-worker -c FILE [-t]\n"
          "\n"
          "  -c, --config FILE  the configuration, study-worker.conf\n"
          "  -t, --test         check the configuration and exit\n"
          "  -V, --version      print the version and exit\n"
          "  -h, --help         print this and exit\n"
          "\n"
          "Runs in the foreground until a signal tells it to stop:\n"
          "  TERM, INT  at once; leases are given back\n"
          "  QUIT       when what is in hand is done, at most [worker] stop_timeout\n"
          "  HUP        reads the file again and changes over to new processes;\n"
          "             with a bad file everything stays as it is\n"
          "  USR1       opens the log file again\n"
          "\n"
          "Exit status: 0 after an orderly stop, 2 for a wrong command line,\n"
          "78 for a configuration that cannot be used, 1 for other failures.\n",
          to);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"test", no_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    const char *path = NULL;
    bool check_only = false;
    struct config *config = NULL;
    struct error err;
    int option;

    title_init(argc, argv);
    signal(SIGPIPE, SIG_IGN);

    while ((option = getopt_long(argc, argv, "c:thV", longs, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 't':
            check_only = true;
            break;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        case 'V':
            puts("study-worker " STUDY_VERSION);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return USAGE_STATUS;
        }
    }
    if (path == NULL || optind != argc) {
        usage(stderr);
        return USAGE_STATUS;
    }

    if (!config_load(&config, path, &err) || !supervisor_prepare(config, &err)) {
        fprintf(stderr, "study-worker: %s\n", err.text);
        config_destroy(&config);
        return ROLE_MISCONFIGURED;
    }
    if (check_only) {
        fprintf(stderr, "study-worker: the configuration file %s is good\n", path);
        config_destroy(&config);
        return EXIT_SUCCESS;
    }
    notify_init();
    return supervisor_run(&config);
}
