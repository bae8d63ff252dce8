/*
 * Process titles. Linux shows the memory in which the arguments were handed over, up to where the
 * environment ended if the last byte of the arguments is no longer NUL; prctl sets the short name.
 */
#include "proc/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char *area;
static size_t area_size;
static char *texts; /* of the environment, kept for as long as the process lives */

void title_init(int argc, char **argv)
{
    char *end = argc > 0 ? argv[0] : NULL;
    size_t count = 0;

    for (int i = 0; i < argc; i++) {
        if (argv[i] == end) {
            end = argv[i] + strlen(argv[i]) + 1;
        }
    }
    while (environ[count] != NULL) {
        count++;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += strlen(environ[i]) + 1;
        if (environ[i] == end) {
            end = environ[i] + strlen(environ[i]) + 1;
        }
    }
    char **moved = calloc(count + 1, sizeof(*moved));
    texts = malloc(bytes + 1);
    if (moved == NULL || texts == NULL || end == NULL) {
        free(moved);
        free(texts);
        texts = NULL;
        return;
    }
    char *at = texts;
    for (size_t i = 0; i < count; i++) {
        moved[i] = at;
        at = stpcpy(at, environ[i]) + 1;
    }
    area = argv[0];
    area_size = (size_t)(end - area);
    environ = moved;
}

void title_set(const char *fmt, ...)
{
    char title[128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(title, sizeof(title), fmt, ap);
    va_end(ap);

    char name[16];
    snprintf(name, sizeof(name), "study-%.9s", title);
    prctl(PR_SET_NAME, name, 0, 0, 0);

    if (area != NULL) {
        memset(area, 0, area_size);
        snprintf(area, area_size, "study-worker: %s", title);
    }
}
