/* doctor: the settings, and who may read the secrets. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/options.h"
#include "ctl/doctor.h"

#define AREA "files"

/* Who may read a secret may read the members' words. */
static void check_secret(struct doctor *d, const char *what, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        doctor_find(d, FINDING_WARN, AREA, what, "", "%s: %s", path, strerror(errno));
    } else if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
        doctor_find(d, FINDING_FAIL, AREA, what,
                    S_ISDIR(st.st_mode) ? "chmod 700, and chown to study-worker"
                                        : "chmod 600, and chown to study-worker",
                    "%s can be %s by others (mode %03o)", path,
                    (st.st_mode & (S_IWOTH | S_IWGRP)) != 0 ? "written" : "read",
                    (unsigned)(st.st_mode & 0777));
    } else {
        doctor_find(d, FINDING_OK, AREA, what, "", "%s, mode %03o", path,
                    (unsigned)(st.st_mode & 0777));
    }
}

static void check_file(struct doctor *d, const char *path)
{
    struct stat st;

    if (path == NULL || path[0] == '\0') {
        doctor_find(d, FINDING_WARN, AREA, "configuration", "say -c FILE, or STUDY_CONFIG",
                    "no file: the environment and the defaults");
    } else if (stat(path, &st) == 0 && (st.st_mode & (S_IWOTH | S_IWGRP)) != 0) {
        doctor_find(d, FINDING_FAIL, AREA, "configuration", "chmod go-w",
                    "%s can be written by others (mode %03o)", path, (unsigned)(st.st_mode & 0777));
    } else {
        doctor_find(d, FINDING_OK, AREA, "configuration", "", "%s is good", path);
    }
}

void doctor_files(struct doctor *d)
{
    const struct config *c = doctor_ctl(d)->config;
    const char *directory = config_string(c, "slack", "token_dir");

    check_file(d, config_path(c));
    for (size_t i = 0; i < options_count; i++) {
        const char *path = options[i].type == OPTION_SECRET
                               ? config_secret_path(c, options[i].section, options[i].key)
                               : "";
        if (path[0] != '\0') {
            check_secret(d, options[i].key, path);
        }
    }
    if (directory[0] != '\0') {
        check_secret(d, "token_dir", directory);
    }
    if (config_bool(c, "openai", "enabled") && config_secret(c, "openai", "api_key")[0] == '\0') {
        doctor_find(d, FINDING_WARN, AREA, "api_key",
                    "[openai] api_key_file, if the server wants one",
                    "none: the model is asked without a key");
    }
    if (doctor_ctl(d)->secret_file != NULL) {
        check_secret(d, "signing secret", doctor_ctl(d)->secret_file);
    }
}
