/* The pages' texts. */
#include "proc/status_page.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/version.h"
#include "proc/board.h"

#define STALE_LEAST 15000
#define JSON_MAX    (512 * 1024)

const char *const status_lists[QUEUE_LISTS] = {
    [QUEUE_CONTROL] = "control", [QUEUE_SUSPECT] = "suspect", [QUEUE_PENDING] = "pending"};

static const char *const board_states[] = {
    [BOARD_FREE] = "free",         [BOARD_WAITING] = "waiting",
    [BOARD_RUNNING] = "running",   [BOARD_MISCONFIGURED] = "misconfigured",
    [BOARD_STOPPING] = "stopping",
};

/* NULL: nothing is wrong with it. */
static const char *complaint(const struct status *status, const struct board_entry *entry)
{
    switch (entry->state) {
    case BOARD_WAITING:
        return "is not running";
    case BOARD_MISCONFIGURED:
        return "cannot work: see the log";
    case BOARD_RUNNING:
        return entry->silent_ms > status->silent_ms ? "hangs" : NULL;
    default:
        return NULL;
    }
}

static void health_of_roles(const struct status *status, struct text *out)
{
    for (int i = 0; i < board_size(); i++) {
        struct board_entry entry;

        if (board_get(i, &entry) && complaint(status, &entry) != NULL) {
            text_addf(out, "%s %d %s\n", entry.role, entry.index, complaint(status, &entry));
        }
    }
}

/* The error without the name of its server, "KINDNAME: ", where it begins with that. */
static const char *unnamed(const char *error, const char *kind, const char *name)
{
    size_t first = strlen(kind), second = strlen(name);

    if (strncmp(error, kind, first) == 0 && strncmp(error + first, name, second) == 0 &&
        strncmp(error + first + second, ": ", 2) == 0) {
        return error + first + second + 2;
    }
    return error;
}

bool status_health(const struct status *status, struct text *out)
{
    int64_t stale = 3 * status->interval_ms > STALE_LEAST ? 3 * status->interval_ms : STALE_LEAST;

    if (!status->measured) {
        text_adds(out, "not measured yet\n");
    } else {
        if (clock_boot_ms() - status->measured_ms > stale) {
            text_adds(out, "the last measurement is old\n");
        }
        if (!status->postgres_ok) {
            text_addf(out, "postgres: %s\n", unnamed(status->postgres_error, "PostgreSQL", ""));
        }
        for (size_t i = 0; i < status->server_count; i++) {
            if (!status->servers[i].ok) {
                const struct status_server *server = &status->servers[i];

                text_addf(out, "redis %s: %s\n", server->name,
                          unnamed(server->error, "Redis ", server->name));
            }
        }
    }
    health_of_roles(status, out);
    if (out->len > 0) {
        return false;
    }
    text_adds(out, "ok\n");
    return true;
}

static void put_roles(struct json_writer *w, const struct status *status)
{
    json_put_key(w, "roles");
    json_array_begin(w);
    for (int i = 0; i < board_size(); i++) {
        struct board_entry entry;

        if (!board_get(i, &entry)) {
            continue;
        }
        json_object_begin(w);
        json_put_kcstr(w, "role", entry.role);
        json_put_kint(w, "index", entry.index);
        json_put_kcstr(w, "state", board_states[entry.state]);
        json_put_kint(w, "pid", entry.pid);
        json_put_kbool(w, "ok", complaint(status, &entry) == NULL);
        json_object_end(w);
    }
    json_array_end(w);
}

static void put_servers(struct json_writer *w, const struct status *status)
{
    json_put_key(w, "redis");
    json_array_begin(w);
    for (size_t i = 0; i < status->server_count; i++) {
        const struct status_server *server = &status->servers[i];

        json_object_begin(w);
        json_put_kcstr(w, "server", server->name);
        json_put_kbool(w, "ok", server->ok);
        if (server->ok) {
            for (int list = 0; list < QUEUE_LISTS; list++) {
                json_put_kint(w, status_lists[list], server->lengths.list[list]);
            }
            json_put_kint(w, "leased_batches", server->lengths.leased);
            json_put_kint(w, "oldest_ms", server->lengths.oldest_ms);
        } else {
            json_put_kcstr(w, "error", server->error);
        }
        json_object_end(w);
    }
    json_array_end(w);
}

static void put_counts(struct json_writer *w, const char *key, const char *const *words,
                       const int64_t *counts, size_t size)
{
    json_put_key(w, key);
    json_object_begin(w);
    for (size_t i = 0; i < size; i++) {
        json_put_kint(w, words[i], counts[i]);
    }
    json_object_end(w);
}

static void put_schedules(struct json_writer *w, const struct overview *o)
{
    json_put_key(w, "schedules");
    json_array_begin(w);
    for (size_t i = 0; i < o->schedule_count; i++) {
        const struct overview_schedule *s = &o->schedules[i];

        json_object_begin(w);
        json_put_kcstr(w, "name", s->name);
        json_put_kbool(w, "paused", s->paused);
        json_put_kint(w, "next_at", s->next_at);
        json_put_kint(w, "last_at", s->last_at);
        json_object_end(w);
    }
    json_array_end(w);
}

static void put_database(struct json_writer *w, const struct status *status)
{
    const struct overview *o = &status->overview;

    json_put_key(w, "postgres");
    json_object_begin(w);
    json_put_kbool(w, "ok", status->postgres_ok);
    if (!status->postgres_ok) {
        json_put_kcstr(w, "error", status->postgres_error);
    }
    json_object_end(w);
    if (!status->postgres_ok) {
        return;
    }
    put_counts(w, "digests", overview_digest_states, o->digests, OVERVIEW_DIGEST_STATES);
    put_counts(w, "outbox", overview_outbox_states, o->outbox, OVERVIEW_OUTBOX_STATES);
    json_put_key(w, "outbox_oldest_seconds");
    json_put_double(w, o->outbox_oldest_s);
    json_put_key(w, "schedule_lag_seconds");
    json_put_double(w, o->schedule_lag_s);
    json_put_kint(w, "dead_events", o->dead_events);
    json_put_key(w, "paused");
    json_array_begin(w);
    for (size_t i = 0; i < OVERVIEW_PAUSABLE; i++) {
        if (o->paused[i]) {
            json_put_cstr(w, overview_pausable[i]);
        }
    }
    json_array_end(w);
    put_schedules(w, o);
}

bool status_json(const struct status *status, struct text *out)
{
    struct json_writer *w = json_writer_create(JSON_MAX);
    struct text health;
    struct error err;
    struct str json;

    text_init(&health, JSON_MAX);
    json_object_begin(w);
    json_put_kcstr(w, "version", STUDY_VERSION);
    json_put_kbool(w, "ok", status_health(status, &health));
    json_put_kint(w, "measured_ms_ago",
                  status->measured ? clock_boot_ms() - status->measured_ms : -1);
    put_roles(w, status);
    put_servers(w, status);
    put_database(w, status);
    json_object_end(w);

    bool ok = json_writer_done(w, &json, &err) && text_add(out, json) && text_adds(out, "\n");
    text_free(&health);
    json_writer_destroy(&w);
    return ok;
}
