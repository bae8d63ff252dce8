/*
 * What commands print: grids of named columns, as aligned tables for people or as JSON for
 * programs. Control characters never reach a terminal.
 */
#ifndef STUDY_CTL_OUTPUT_H
#define STUDY_CTL_OUTPUT_H

#include "base/json.h"
#include "ctl/ctl.h"

struct grid;

struct grid_column {
    const char *name; /* static, or as long as the grid */
    enum pg_type type;
};

struct grid *grid_create(const struct grid_column *columns, int count);
struct grid *grid_of(const struct pg_result *res); /* the statement's columns and rows, copied */
void grid_destroy(struct grid **grid);
/* The next cell, row by row; copied; absent is null. */
void grid_add(struct grid *grid, struct str cell);
void grid_add_int(struct grid *grid, int64_t cell);
int grid_rows(const struct grid *grid);

/* All rows: a table, or an array of objects. */
enum ctl_status out_rows(const struct ctl *ctl, const struct grid *grid);

/* Several grids under their names: tables with headings, or one object of arrays. A part whose grid
 * is marked `record` is its first row alone: "name: value" lines, or an object. */
struct out_part {
    const char *name;
    const struct grid *grid;
    bool record;
};
enum ctl_status out_parts(const struct ctl *ctl, const struct out_part *parts, size_t count);

/* Room for what a whole listing can hold. */
struct json_writer *out_json_writer(void);
/* Writes what the writer holds and a line end to standard output. */
enum ctl_status out_json(struct json_writer *w);

#endif
