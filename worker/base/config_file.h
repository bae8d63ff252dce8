/* Inside base: reading the file for config.c. */
#ifndef STUDY_BASE_CONFIG_FILE_H
#define STUDY_BASE_CONFIG_FILE_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Called for each key in the order of the file; a continuation line comes as another call with
 * continued set. Lines count from 1. The callback keeps its own errors.
 */
struct config_file_sink {
    void *arg;
    void (*value)(void *arg, int line, const char *section, const char *key, const char *value,
                  bool continued);
    void (*fault)(void *arg, int line, const char *what);
};

/* False when the file cannot be read at all; what is wrong inside it goes to sink->fault. */
bool config_file_read(const char *path, const struct config_file_sink *sink, struct error *err);

#endif
