/*
 * The effective configuration. Every source is read at load, every value checked against the option
 * table there; what is found wrong is gathered, and the first in the file's order is reported with
 * the number of the others. A process therefore never meets a bad value later.
 */
#include "base/config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config_file.h"
#include "base/options.h"

#define SECRET_BYTES_MAX 8192

struct value {
    char *text; /* of a secret: the secret itself */
    int64_t number;
    char **items;
    size_t items_count;
    char origin[64];

    char *from_file; /* what stands in the file: the value, or a secret's path */
    int line;
    char *secret_path; /* of the file that a secret was read from */
};

struct token {
    char *team_id;
    char *secret;
};

struct config {
    char *path;
    struct value *values; /* as options[] */
    struct token *tokens;
    size_t tokens_count;

    /* while loading */
    struct error first;
    int first_line;
    unsigned faults;
};

static const char *base_name(const struct config *c)
{
    const char *slash = c->path != NULL ? strrchr(c->path, '/') : NULL;

    return slash != NULL ? slash + 1 : c->path;
}

/* line 0: not of the file; such faults come after those that are. */
static void fault(struct config *c, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void fault(struct config *c, int line, const char *fmt, ...)
{
    char what[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);

    bool earlier = line != 0 && (c->first_line == 0 || line < c->first_line);
    if (c->faults++ != 0 && !earlier) {
        return;
    }
    c->first_line = line;
    if (line != 0) {
        error_set(&c->first, ERROR_CONFIG, "%s:%d: %s", base_name(c), line, what);
    } else {
        error_set(&c->first, ERROR_CONFIG, "%s", what);
    }
}

static void bad_value(struct config *c, int line, const struct option *o, const char *where,
                      const char *text)
{
    char range[OPTION_RANGE_BYTES];

    option_range(o, range);
    if (o->type == OPTION_SECRET) {
        fault(c, line, "%s: the secret is not %s", where, range);
    } else {
        fault(c, line, "%s = %.100s: expected %s", where, text, range);
    }
}

static char *join(const char *a, const char *between, const char *b)
{
    struct text t;

    text_init(&t, SIZE_MAX / 4);
    text_adds(&t, a);
    text_adds(&t, between);
    text_adds(&t, b);
    char *joined = str_dup(text_str(&t));
    text_free(&t);
    return joined;
}

static void clear(char **s)
{
    if (*s != NULL) {
        explicit_bzero(*s, strlen(*s));
        free(*s);
        *s = NULL;
    }
}

/* ---- the file ---- */

static bool ends_with_file(const char *key, char *out, size_t size)
{
    size_t len = strlen(key);

    if (len <= 5 || len >= size || strcmp(key + len - 5, "_file") != 0) {
        return false;
    }
    memcpy(out, key, len - 5);
    out[len - 5] = '\0';
    return true;
}

static bool is_string(const struct option *o)
{
    return o->type == OPTION_STRING || o->type == OPTION_LIST;
}

static void go_on(struct config *c, int line, const struct option *o, const char *text)
{
    struct value *v = &c->values[o - options];

    if (!is_string(o)) {
        fault(c, line, "[%s] %s: this key's value is one line; keys start in the first column",
              o->section, o->key);
    } else if (v->from_file != NULL && strlen(v->from_file) < 8192) {
        char *longer = join(v->from_file, v->from_file[0] != '\0' ? " " : "", text);
        free(v->from_file);
        v->from_file = longer;
    }
}

static void on_value(void *arg, int line, const char *section, const char *key, const char *text,
                     bool continued)
{
    struct config *c = arg;
    const struct option *o = option_find(section, key);
    char plain[64];

    if (o == NULL && ends_with_file(key, plain, sizeof(plain))) {
        o = option_find(section, plain);
        o = o != NULL && o->type == OPTION_SECRET ? o : NULL;
    } else if (o != NULL && o->type == OPTION_SECRET) {
        fault(c, line, "[%s] %s: a secret stands in a file of its own; name it with %s_file",
              section, key, key);
        return;
    }
    if (o == NULL) {
        fault(c, line,
              option_section_exists(section) ? "[%s] has no key %.60s"
                                             : "there is no section [%s] (key %.60s)",
              section, key);
        return;
    }
    if (continued) {
        go_on(c, line, o, text);
        return;
    }
    struct value *v = &c->values[o - options];
    if (v->from_file != NULL) {
        fault(c, line, "[%s] %s is set again; first in line %d", section, key, v->line);
        return;
    }
    v->from_file = str_dup(str_of(text));
    v->line = line;
}

static void on_fault(void *arg, int line, const char *what)
{
    fault(arg, line, "%s", what);
}

/* ---- secrets ---- */

/* A path of the file is relative to the file's directory. */
static char *resolve(const struct config *c, const char *path)
{
    const char *slash = c->path != NULL ? strrchr(c->path, '/') : NULL;

    if (path[0] == '/' || path[0] == '\0' || slash == NULL) {
        return str_dup(str_of(path));
    }
    char *directory = str_dup((struct str){c->path, (size_t)(slash - c->path)});
    char *joined = join(directory, "/", path);
    free(directory);
    return joined;
}

/* The content without the line end that closes it; malloc'ed. */
static bool read_secret(const char *path, char **out, struct error *err)
{
    char buffer[SECRET_BYTES_MAX + 1];
    size_t len = 0;
    ssize_t n = 0;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        return error_set_errno(err, "%s", path);
    }
    while (len < sizeof(buffer) && (n = read(fd, buffer + len, sizeof(buffer) - len)) > 0) {
        len += (size_t)n;
    }
    if (n < 0) {
        error_set_errno(err, "%s", path);
        goto done;
    }
    while (len > 0 && (buffer[len - 1] == '\n' || buffer[len - 1] == '\r')) {
        len--;
    }
    if (len == 0 || len > SECRET_BYTES_MAX) {
        error_set(err, ERROR_CONFIG, "%s: %s", path, len == 0 ? "empty" : "too long for a secret");
        goto done;
    }
    for (size_t i = 0; i < len; i++) {
        bool edge = i == 0 || i == len - 1;
        if ((unsigned char)buffer[i] < ' ' || buffer[i] == 0x7F || (edge && buffer[i] == ' ')) {
            error_set(err, ERROR_CONFIG, "%s: a control character, or a blank at its edge", path);
            goto done;
        }
    }
    *out = str_dup((struct str){buffer, len});
    ok = true;

done:
    explicit_bzero(buffer, sizeof(buffer));
    close(fd);
    return ok;
}

static int by_team(const void *a, const void *b)
{
    return strcmp(((const struct token *)a)->team_id, ((const struct token *)b)->team_id);
}

static bool is_team_id(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");

    return len >= 2 && len <= 32 && name[len] == '\0';
}

static void read_tokens(struct config *c)
{
    const struct option *o = option_find("slack", "token_dir");
    struct value *v = &c->values[o - options];
    struct dirent *entry;

    if (v->text[0] == '\0') {
        return;
    }
    DIR *dir = opendir(v->text);
    if (dir == NULL) {
        fault(c, v->line, "[slack] token_dir = %.200s: %s", v->text, strerror(errno));
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        struct error err;
        char *secret = NULL;

        if (entry->d_name[0] == '.') {
            continue;
        }
        char *path = join(v->text, "/", entry->d_name);
        if (!is_team_id(entry->d_name)) {
            fault(c, v->line, "[slack] token_dir: %.200s: the name is not a team id", path);
        } else if (!read_secret(path, &secret, &err)) {
            fault(c, v->line, "[slack] token_dir: %.300s", err.text);
        } else {
            c->tokens = realloc(c->tokens, (c->tokens_count + 1) * sizeof(*c->tokens));
            if (c->tokens == NULL) {
                abort();
            }
            c->tokens[c->tokens_count++] = (struct token){str_dup(str_of(entry->d_name)), secret};
        }
        free(path);
    }
    closedir(dir);
    if (c->tokens_count > 1) {
        qsort(c->tokens, c->tokens_count, sizeof(*c->tokens), by_team);
    }
}

/* ---- putting the sources in order ---- */

static const char *environment(const struct option *o, const char *suffix, char *name, size_t size)
{
    snprintf(name, size, "STUDY_%s_%s%s", o->section, o->key, suffix);
    for (char *p = name; *p != '\0'; p++) {
        *p = (char)toupper((unsigned char)*p);
    }
    return getenv(name);
}

static void set_origin(struct value *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void set_origin(struct value *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(v->origin, sizeof(v->origin), fmt, ap);
    va_end(ap);
}

static void take_secret_file(struct config *c, const struct option *o, const char *path,
                             const char *where, int line)
{
    struct value *v = &c->values[o - options];
    struct error err;

    if (!read_secret(path, &v->text, &err)) {
        fault(c, line, "%s: %.300s", where, err.text);
        v->text = str_dup(STR(""));
        return;
    }
    set_origin(v, "secret file");
    v->secret_path = str_dup(str_of(path));
}

/* `where` names the source in an error. */
static void choose(struct config *c, const struct option *o)
{
    struct value *v = &c->values[o - options];
    bool secret = o->type == OPTION_SECRET;
    char env_name[96], file_env[96], where[128];
    const char *from_env = environment(o, "", env_name, sizeof(env_name));
    const char *env_path = secret ? environment(o, "_FILE", file_env, sizeof(file_env)) : NULL;
    const char *vendor = o->vendor_env != NULL ? getenv(o->vendor_env) : NULL;
    int line = 0;

    snprintf(where, sizeof(where), "[%s] %s", o->section, o->key);
    if (from_env != NULL) {
        v->text = str_dup(str_of(from_env));
        set_origin(v, "environment");
        snprintf(where, sizeof(where), "%s", env_name);
    } else if (env_path != NULL) {
        take_secret_file(c, o, env_path, file_env, 0);
    } else if (v->from_file != NULL) {
        line = v->line;
        if (secret) {
            char *path = resolve(c, v->from_file);
            snprintf(where, sizeof(where), "[%s] %s_file", o->section, o->key);
            take_secret_file(c, o, path, where, line);
            free(path);
        } else {
            v->text =
                o->type == OPTION_PATH ? resolve(c, v->from_file) : str_dup(str_of(v->from_file));
            set_origin(v, "%.40s:%d", base_name(c), line);
        }
    } else if (vendor != NULL && vendor[0] != '\0') {
        v->text = str_dup(str_of(vendor));
        set_origin(v, "environment");
        snprintf(where, sizeof(where), "%s", o->vendor_env);
    } else {
        v->text = str_dup(str_of(o->value));
        set_origin(v, "default");
    }

    if (!option_parse(o, v->text, &v->number)) {
        bad_value(c, line, o, where, v->text);
    }
}

static void split_list(struct value *v)
{
    char *copy = strdup(v->text), *save = NULL;

    for (char *p = copy; (p = strtok_r(p, " \t", &save)) != NULL; p = NULL) {
        v->items = realloc(v->items, (v->items_count + 1) * sizeof(char *));
        if (v->items == NULL) {
            abort();
        }
        v->items[v->items_count++] = str_dup(str_of(p));
    }
    free(copy);
}

/* STUDY_REDIS_SERVRS would otherwise be a setting that is silently not made. */
static void check_environment(struct config *c)
{
    extern char **environ;

    for (char **e = environ; *e != NULL; e++) {
        size_t len = strcspn(*e, "=");
        bool known = false, ours = false;
        char name[96];

        if (strncmp(*e, "STUDY_", 6) != 0) {
            continue;
        }
        for (size_t i = 0; i < options_count && !known; i++) {
            const struct option *o = &options[i];
            size_t section = strlen(o->section);

            ours =
                ours || (strncasecmp(*e + 6, o->section, section) == 0 && (*e)[6 + section] == '_');
            environment(o, "", name, sizeof(name));
            known = strlen(name) == len && memcmp(*e, name, len) == 0;
            if (!known && o->type == OPTION_SECRET) {
                environment(o, "_FILE", name, sizeof(name));
                known = strlen(name) == len && memcmp(*e, name, len) == 0;
            }
        }
        if (ours && !known) {
            fault(c, 0, "environment: %.*s names no setting", (int)(len < 80 ? len : 80), *e);
        }
    }
}

/* A password here would be shown by `studyctl config` and by ps of whoever copies it. */
static void check_conninfo(struct config *c)
{
    const struct option *o = option_find("postgres", "conninfo");
    const struct value *v = &c->values[o - options];
    const char *at = strchr(v->text, '@'), *scheme = strstr(v->text, "://");
    bool in_url = at != NULL && scheme != NULL && scheme < at &&
                  memchr(scheme + 3, ':', (size_t)(at - scheme - 3)) != NULL;

    if (in_url || strcasestr(v->text, "password=") != NULL ||
        strcasestr(v->text, "password =") != NULL) {
        fault(c, v->line, "[postgres] conninfo: the password belongs into password_file");
    }
}

bool config_load(struct config **out, const char *path, struct error *err)
{
    struct config *c = calloc(1, sizeof(*c));

    *out = NULL;
    if (c == NULL || (c->values = calloc(options_count, sizeof(*c->values))) == NULL) {
        abort();
    }
    if (path != NULL) {
        struct config_file_sink sink = {c, on_value, on_fault};

        c->path = str_dup(str_of(path));
        if (!config_file_read(path, &sink, err)) {
            err->kind = ERROR_CONFIG;
            goto fail;
        }
    }
    for (size_t i = 0; i < options_count; i++) {
        choose(c, &options[i]);
        if (options[i].type == OPTION_LIST) {
            split_list(&c->values[i]);
        }
    }
    check_environment(c);
    check_conninfo(c);
    read_tokens(c);

    if (c->faults != 0) {
        *err = c->first;
        if (c->faults > 1) {
            size_t len = strlen(err->text);
            snprintf(err->text + len, sizeof(err->text) - len, " (and %u more)", c->faults - 1);
        }
        goto fail;
    }
    *out = c;
    return true;

fail:
    config_destroy(&c);
    return false;
}

void config_destroy(struct config **config)
{
    struct config *c = *config;

    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < options_count; i++) {
        struct value *v = &c->values[i];
        for (size_t j = 0; j < v->items_count; j++) {
            free(v->items[j]);
        }
        free(v->items);
        free(v->from_file);
        free(v->secret_path);
        clear(&v->text);
    }
    for (size_t i = 0; i < c->tokens_count; i++) {
        free(c->tokens[i].team_id);
        clear(&c->tokens[i].secret);
    }
    free(c->tokens);
    free(c->values);
    free(c->path);
    free(c);
    *config = NULL;
}

/* ---- asking ---- */

static const struct value *value_of(const struct config *c, const char *section, const char *key)
{
    const struct option *o = option_find(section, key);

    if (o == NULL) {
        fprintf(stderr, "no option [%s] %s in the table\n", section, key);
        abort();
    }
    return &c->values[o - options];
}

const char *config_string(const struct config *c, const char *section, const char *key)
{
    return value_of(c, section, key)->text;
}

int64_t config_int(const struct config *c, const char *section, const char *key)
{
    return value_of(c, section, key)->number;
}

bool config_bool(const struct config *c, const char *section, const char *key)
{
    return value_of(c, section, key)->number != 0;
}

size_t config_list(const struct config *c, const char *section, const char *key,
                   const char *const **items)
{
    const struct value *v = value_of(c, section, key);

    *items = (const char *const *)v->items;
    return v->items_count;
}

const char *config_secret(const struct config *c, const char *section, const char *key)
{
    return value_of(c, section, key)->text;
}

const char *config_secret_path(const struct config *c, const char *section, const char *key)
{
    const char *path = value_of(c, section, key)->secret_path;

    return path != NULL ? path : "";
}

const char *config_slack_token(const struct config *c, const char *team_id)
{
    struct token key = {.team_id = (char *)(uintptr_t)team_id};
    const struct token *found = NULL;

    if (team_id != NULL && c->tokens_count != 0) {
        found = bsearch(&key, c->tokens, c->tokens_count, sizeof(*c->tokens), by_team);
    }
    if (found != NULL) {
        return found->secret;
    }
    const char *token = config_secret(c, "slack", "bot_token");
    return token[0] != '\0' ? token : NULL;
}

const char *config_origin(const struct config *c, const char *section, const char *key)
{
    return value_of(c, section, key)->origin;
}

const char *config_path(const struct config *c)
{
    return c->path;
}
