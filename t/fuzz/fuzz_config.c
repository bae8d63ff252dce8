/*
 * libFuzzer target: the configuration file. Whatever it holds, it is loaded or refused with a
 * reason; a key that was taken has a value within its range.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"
#include "base/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct config *config;
    struct error err;
    char path[64];

    if (fd < 0) {
        fd = memfd_create("study-worker.conf", MFD_CLOEXEC);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (!config_load(&config, path, &err)) {
        if (err.kind != ERROR_CONFIG || err.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    for (size_t i = 0; i < options_count; i++) {
        const struct option *o = &options[i];
        int64_t number;

        if (!option_parse(o, config_string(config, o->section, o->key), &number)) {
            abort();
        }
        if (o->type != OPTION_BOOL && number != config_int(config, o->section, o->key)) {
            abort();
        }
    }
    config_destroy(&config);
    return 0;
}
