/* Grids, and tables and JSON made of them. */
#include "ctl/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define JSON_BYTES_MAX ((size_t)256 * 1024 * 1024)

struct grid {
    int columns_count;
    struct grid_column *columns;
    char **names; /* copies of the columns' names */
    size_t cells_count, cells_room;
    char **cells; /* NULL: null */
};

struct grid *grid_create(const struct grid_column *columns, int count)
{
    struct grid *grid = calloc(1, sizeof(*grid));

    if (grid == NULL || (grid->columns = calloc((size_t)count, sizeof(*columns))) == NULL ||
        (grid->names = calloc((size_t)count, sizeof(char *))) == NULL) {
        abort();
    }
    grid->columns_count = count;
    for (int i = 0; i < count; i++) {
        grid->names[i] = str_dup(str_of(columns[i].name));
        grid->columns[i] = (struct grid_column){grid->names[i], columns[i].type};
    }
    return grid;
}

void grid_destroy(struct grid **grid)
{
    struct grid *g = *grid;

    if (g == NULL) {
        return;
    }
    for (size_t i = 0; i < g->cells_count; i++) {
        free(g->cells[i]);
    }
    for (int i = 0; i < g->columns_count; i++) {
        free(g->names[i]);
    }
    free(g->cells);
    free(g->names);
    free(g->columns);
    free(g);
    *grid = NULL;
}

void grid_add(struct grid *grid, struct str cell)
{
    if (grid->cells_count == grid->cells_room) {
        grid->cells_room = grid->cells_room * 2 + 64;
        grid->cells = realloc(grid->cells, grid->cells_room * sizeof(char *));
        if (grid->cells == NULL) {
            abort();
        }
    }
    grid->cells[grid->cells_count++] = cell.data != NULL ? str_dup(cell) : NULL;
}

void grid_add_int(struct grid *grid, int64_t cell)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%" PRId64, cell);
    grid_add(grid, str_of(digits));
}

int grid_rows(const struct grid *grid)
{
    return (int)(grid->cells_count / (size_t)grid->columns_count);
}

/* PostgreSQL's "2026-11-22 18:42:32.123+00" as RFC 3339 has it; the session's zone is UTC. */
static struct str time_text(struct str s, char *out, size_t size)
{
    size_t len = s.len;

    if (len > 3 && memcmp(s.data + len - 3, "+00", 3) == 0) {
        len -= 3;
    }
    snprintf(out, size, "%.*s%s", (int)len, s.data, len < s.len ? "Z" : "");
    if (len > 10 && out[10] == ' ') {
        out[10] = 'T';
    }
    return str_of(out);
}

struct grid *grid_of(const struct pg_result *res)
{
    int count = pg_columns(res);
    struct grid_column *columns = calloc((size_t)count, sizeof(*columns));
    char time[64];

    if (columns == NULL) {
        abort();
    }
    for (int col = 0; col < count; col++) {
        columns[col] = (struct grid_column){pg_column(res, col), pg_column_type(res, col)};
    }
    struct grid *grid = grid_create(columns, count);
    for (int row = 0; row < pg_rows(res); row++) {
        for (int col = 0; col < count; col++) {
            struct str s = pg_str(res, row, col);
            bool is_time = s.data != NULL && columns[col].type == PG_TYPE_TIME;
            grid_add(grid, is_time ? time_text(s, time, sizeof(time)) : s);
        }
    }
    free(columns);
    return grid;
}

static const char *cell(const struct grid *grid, int row, int col)
{
    return grid->cells[(size_t)row * (size_t)grid->columns_count + (size_t)col];
}

/* ---- for programs ---- */

struct json_writer *out_json_writer(void)
{
    return json_writer_create(JSON_BYTES_MAX);
}

enum ctl_status out_json(struct json_writer *w)
{
    struct error err;
    struct str out;

    if (!json_writer_done(w, &out, &err)) {
        return ctl_fail(&err);
    }
    fwrite(out.data, 1, out.len, stdout);
    putchar('\n');
    return CTL_OK;
}

static void json_cell(struct json_writer *w, const char *text, enum pg_type type)
{
    if (text == NULL) {
        json_put_null(w);
    } else if (type == PG_TYPE_BOOL) {
        json_put_bool(w, text[0] == 't');
    } else if (type == PG_TYPE_JSON) {
        json_put_raw(w, str_of(text));
    } else if (type == PG_TYPE_NUMBER) {
        /* Not NaN, not Infinity. */
        bool plain = text[strspn(text, "0123456789.-+eE")] == '\0';
        json_put_raw(w, plain ? str_of(text) : STR("null"));
    } else {
        json_put_cstr(w, text);
    }
}

static void json_row(struct json_writer *w, const struct grid *grid, int row)
{
    json_object_begin(w);
    for (int col = 0; col < grid->columns_count; col++) {
        json_put_key(w, grid->columns[col].name);
        json_cell(w, cell(grid, row, col), grid->columns[col].type);
    }
    json_object_end(w);
}

static void json_rows(struct json_writer *w, const struct grid *grid)
{
    json_array_begin(w);
    for (int row = 0; row < grid_rows(grid); row++) {
        json_row(w, grid, row);
    }
    json_array_end(w);
}

/* ---- for people ---- */

/* "-" for null, yes and no, times to the second; `buffer` for what is not there as it is. */
static const char *shown(const struct grid *grid, int row, int col, char buffer[64])
{
    const char *text = cell(grid, row, col);

    if (text == NULL) {
        return "-";
    }
    switch (grid->columns[col].type) {
    case PG_TYPE_BOOL:
        return text[0] == 't' ? "yes" : "no";
    case PG_TYPE_TIME:
        snprintf(buffer, 64, "%.*s%s", (int)strcspn(text, ".Z"), text,
                 strchr(text, 'Z') != NULL ? "Z" : "");
        return buffer;
    default:
        return text;
    }
}

static void print_clean(const char *text, bool lines)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        bool control = c < ' ' || c == 0x7F;
        putchar(control && !(lines && c == '\n') ? ' ' : c);
    }
}

/* Columns on a terminal: Hangul takes two. */
static int width_of(const char *text)
{
    mbstate_t state = {0};
    size_t left = strlen(text);
    int width = 0;

    while (left > 0) {
        wchar_t c;
        size_t n = mbrtowc(&c, text, left, &state);
        if (n == 0 || n > left) {
            return width + (int)left;
        }
        int w = wcwidth(c);
        width += w >= 0 ? w : 1;
        text += n;
        left -= n;
    }
    return width;
}

static void print_padded(const char *text, int width, bool right, bool last)
{
    int pad = width - width_of(text);

    if (right) {
        printf("%*s", pad, "");
    }
    print_clean(text, false);
    if (!right && !last) {
        printf("%*s", pad, "");
    }
    fputs(last ? "\n" : "  ", stdout);
}

static void table(const struct grid *grid)
{
    int count = grid->columns_count;
    int *widths = calloc((size_t)count, sizeof(*widths));
    char buffer[64];

    if (widths == NULL) {
        abort();
    }
    for (int row = -1; row < grid_rows(grid); row++) {
        for (int col = 0; col < count; col++) {
            int w = width_of(row < 0 ? grid->names[col] : shown(grid, row, col, buffer));
            widths[col] = w > widths[col] ? w : widths[col];
        }
    }
    for (int row = -1; row < grid_rows(grid); row++) {
        for (int col = 0; col < count; col++) {
            print_padded(row < 0 ? grid->names[col] : shown(grid, row, col, buffer), widths[col],
                         grid->columns[col].type == PG_TYPE_NUMBER, col == count - 1);
        }
    }
    free(widths);
}

static void lines(const struct grid *grid)
{
    int width = 0;
    char buffer[64];

    for (int col = 0; col < grid->columns_count; col++) {
        int w = (int)strlen(grid->names[col]);
        width = w > width ? w : width;
    }
    for (int col = 0; col < grid->columns_count; col++) {
        printf("%s:%*s ", grid->names[col], width - (int)strlen(grid->names[col]), "");
        print_clean(shown(grid, 0, col, buffer), true);
        putchar('\n');
    }
}

enum ctl_status out_rows(const struct ctl *ctl, const struct grid *grid)
{
    if (!ctl->json) {
        table(grid);
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_rows(w, grid);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}

static void print_part(const struct out_part *part, bool first)
{
    if (!part->record && grid_rows(part->grid) == 0) {
        return; /* nothing to say */
    }
    printf("%s%s\n", first ? "" : "\n", part->name);
    if (part->record) {
        lines(part->grid);
    } else {
        table(part->grid);
    }
}

enum ctl_status out_parts(const struct ctl *ctl, const struct out_part *parts, size_t count)
{
    if (!ctl->json) {
        for (size_t i = 0; i < count; i++) {
            print_part(&parts[i], i == 0);
        }
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    for (size_t i = 0; i < count; i++) {
        json_put_key(w, parts[i].name);
        if (parts[i].record) {
            json_row(w, parts[i].grid, 0);
        } else {
            json_rows(w, parts[i].grid);
        }
    }
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}
