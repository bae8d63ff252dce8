/*
 * studyctl member export: all that is held of a member, for the member, as one JSON object or as a
 * CSV file a table. It holds what they wrote, so files are made for their owner's eyes only, and
 * none is written over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/rows.h"
#include "db/export.h"

#define PARTS_MAX 24

static FILE *create(const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

    if (file == NULL) {
        error_set_errno(err, "%s", path);
    }
    return file;
}

/* ---- CSV: RFC 4180, UTF-8, every field in quotes ---- */

static void put_field(FILE *out, struct str s, bool last)
{
    fputc('"', out);
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '"') {
            fputc('"', out);
        }
        fputc(s.data[i], out);
    }
    fputs(last ? "\"\r\n" : "\",", out);
}

static bool write_csv(const char *dir, const struct export_part *part, const struct pg_result *res,
                      struct error *err)
{
    int columns = pg_columns(res);
    char *path = NULL;
    FILE *out;

    if (asprintf(&path, "%s/%s.csv", dir, part->name) < 0) {
        abort();
    }
    out = create(path, err);
    if (out != NULL) {
        for (int col = 0; col < columns; col++) {
            put_field(out, str_of(pg_column(res, col)), col == columns - 1);
        }
        for (int row = 0; row < pg_rows(res); row++) {
            for (int col = 0; col < columns; col++) {
                put_field(out, pg_str(res, row, col), col == columns - 1);
            }
        }
        bool failed = ferror(out) != 0;
        if (fclose(out) != 0 || failed) {
            error_set_errno(err, "%s", path);
            out = NULL;
        }
    }
    free(path);
    return out != NULL;
}

static enum ctl_status export_csv(struct ctl *ctl)
{
    struct error err = {0};
    bool ok = true;

    if (mkdir(ctl->output, 0700) != 0 && errno != EEXIST) {
        error_set_errno(&err, "%s", ctl->output);
        return ctl_fail(&err);
    }
    for (size_t i = 0; ok && i < export_parts_count; i++) {
        struct pg_result *res = NULL;

        ok = export_read(ctl->pg, &export_parts[i], ctl->args[0], ctl->args[1], &res, &err) &&
             write_csv(ctl->output, &export_parts[i], res, &err);
        pg_result_destroy(&res);
    }
    return ok ? CTL_OK : ctl_fail(&err);
}

/* ---- JSON ---- */

static enum ctl_status export_json(struct ctl *ctl)
{
    struct grid *grids[PARTS_MAX] = {NULL};
    struct out_part parts[PARTS_MAX];
    enum ctl_status status = CTL_FAILED;
    struct error err = {0};
    size_t n = 0;

    for (; n < export_parts_count; n++) {
        struct pg_result *res = NULL;

        grids[n] = rows_take(
            export_read(ctl->pg, &export_parts[n], ctl->args[0], ctl->args[1], &res, &err), &res);
        if (grids[n] == NULL) {
            status = ctl_fail(&err);
            goto done;
        }
        parts[n] =
            (struct out_part){export_parts[n].name, grids[n], n == 0 && grid_rows(grids[n]) > 0};
    }
    if (ctl->output != NULL && strcmp(ctl->output, "-") != 0) {
        FILE *out = create(ctl->output, &err);

        if (out == NULL || fflush(stdout) != 0 || dup2(fileno(out), STDOUT_FILENO) < 0) {
            status = ctl_fail(&err);
            goto done;
        }
        fclose(out);
    }
    ctl->json = true;
    status = out_parts(ctl, parts, n);
    if (status == CTL_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        error_set_errno(&err, "%s", ctl->output != NULL ? ctl->output : "standard output");
        status = ctl_fail(&err);
    }

done:
    for (size_t i = 0; i < export_parts_count; i++) {
        grid_destroy(&grids[i]);
    }
    return status;
}

static enum ctl_status member_export(struct ctl *ctl)
{
    const char *format = ctl->format != NULL ? ctl->format : "json";
    bool to_files = ctl->output != NULL && strcmp(ctl->output, "-") != 0;
    struct error err = {0};
    enum ctl_status status;

    if (!str_one_of(str_of(format), "json|csv")) {
        return ctl_misused("--format %s: expected json or csv", format);
    }
    if (strcmp(format, "csv") == 0 && !to_files) {
        return ctl_misused("--format csv makes a file a table: --output names their directory");
    }
    if (!export_begin(ctl->pg, &err)) {
        return ctl_fail(&err);
    }
    status = strcmp(format, "csv") == 0 ? export_csv(ctl) : export_json(ctl);
    export_end(ctl->pg);
    if (status == CTL_OK && !export_handed_out(ctl->pg, ctl->args[0], ctl->args[1], &err)) {
        status = ctl_fail(&err);
    }
    if (status == CTL_OK) {
        fprintf(stderr, "This is all that is held of %s, their words among it: for them only.\n",
                ctl->args[1]);
    }
    return status;
}

const struct ctl_command cmd_export_commands[] = {
    {"member export", "TEAM USER", 2, 2, "TO",
     "Writes all that is held of a member, for the member: profile, messages and tombstones, "
     "digests, replies, days, requests, dead events.\n\n"
     "As one JSON object (to standard output, or to the file that --output names), or with "
     "--format csv as a file a table in the directory that --output names. What it makes only its "
     "owner may read, and it writes over nothing. A member's /study export counts as answered.",
     true, member_export},
    {0},
};
