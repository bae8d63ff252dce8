/* A reply's identity is its message's key, so a repeat or an edit brings no second one. */
#include "db/acknowledge.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "db/outbox.h"

#define TEXT_OF(number)  TEXT_OF_(number)
#define TEXT_OF_(number) #number

static bool exec_arrays(struct pg *pg, const char *sql, struct pg_array **arrays, int n,
                        struct pg_result **res, struct error *err)
{
    struct pg_args *args = pg_args_create();

    for (int i = 0; i < n; i++) {
        pg_arg_array(args, arrays[i]);
    }
    return pg_exec_take(pg, sql, args, res, err);
}

/* Lane before reply; those in somebody's hands are left to them. */
static const char drop_sql[] =
    "WITH l AS MATERIALIZED ("
    "    SELECT team_id, target FROM study.lane"
    "     WHERE (team_id, target) IN (SELECT DISTINCT team_id, 'reaction-' || channel_id"
    "             FROM unnest($1::text[], $2::text[]) AS w (team_id, channel_id))"
    "     ORDER BY team_id, target FOR UPDATE"
    ")"
    "UPDATE study.outbox o SET state = 'cancelled', body = NULL, done_at = now(),"
    "       error = 'too late to be of use'"
    "  FROM l WHERE o.team_id = l.team_id AND o.target = l.target AND o.state = 'pending'"
    "   AND o.created_at < now() - interval '" TEXT_OF(
        ACKNOWLEDGE_STALE_S) " s'"
                             "   AND COALESCE(o.lease_until, now()) <= now()";

static const char due_sql[] =
    "SELECT m.team_id, m.channel_id, m.ts FROM study.message m"
    "  JOIN unnest($1::text[], $2::text[], $3::text[]) AS w (team_id, channel_id, ts)"
    "    ON m.team_id = w.team_id AND m.channel_id = w.channel_id AND m.ts = w.ts"
    " WHERE NOT m.deleted AND study.is_record(m.text, m.files, m.thread_ts)"
    "   AND m.posted_at > now() - interval '" TEXT_OF(
        ACKNOWLEDGE_WITHIN_S) " s'"
                              "   AND NOT EXISTS (SELECT FROM study.outbox o"
                              "        WHERE o.identity = concat_ws(':', 'reaction', m.team_id, "
                              "m.channel_id, m.ts))"
                              " ORDER BY 1, 2, 3";

struct reaction { /* what an outbox row borrows */
    char *identity, *team, *target;
    struct json_writer *w;
};

static bool fill(struct reaction *r, struct outbox_new *row, const struct pg_result *res, int i,
                 const char *emoji, struct error *err)
{
    struct str team = pg_str(res, i, 0), channel = pg_str(res, i, 1), ts = pg_str(res, i, 2);

    r->team = str_dup(team);
    if (asprintf(&r->identity, "reaction:%.*s:%.*s:%.*s", STR_ARG(team), STR_ARG(channel),
                 STR_ARG(ts)) < 0 ||
        asprintf(&r->target, "reaction-%.*s", STR_ARG(channel)) < 0) {
        abort();
    }
    r->w = json_writer_create(1024);
    json_object_begin(r->w);
    json_put_kstr(r->w, "channel", channel);
    json_put_kstr(r->w, "ts", ts);
    json_put_kcstr(r->w, "name", emoji);
    json_object_end(r->w);
    *row = (struct outbox_new){
        .identity = r->identity, .kind = "reaction", .team_id = r->team, .target = r->target};
    return json_writer_done(r->w, &row->body, err);
}

static bool add_reactions(struct pg *pg, const struct pg_result *res, const char *emoji,
                          struct error *err)
{
    size_t n = (size_t)pg_rows(res);
    struct reaction *reactions = calloc(n, sizeof(*reactions));
    struct outbox_new *rows = calloc(n, sizeof(*rows));
    bool ok = true;

    if (reactions == NULL || rows == NULL) {
        abort();
    }
    for (size_t i = 0; i < n && ok; i++) {
        ok = fill(&reactions[i], &rows[i], res, (int)i, emoji, err);
    }
    ok = ok && outbox_add(pg, rows, n, err);
    for (size_t i = 0; i < n; i++) {
        free(reactions[i].identity);
        free(reactions[i].team);
        free(reactions[i].target);
        json_writer_destroy(&reactions[i].w);
    }
    free(rows);
    free(reactions);
    return ok;
}

bool db_acknowledge(struct pg *pg, const struct acknowledged *messages, size_t n, const char *emoji,
                    struct error *err)
{
    struct pg_array *keys[3];
    struct pg_result *res = NULL;
    bool ok;

    for (int i = 0; i < 3; i++) {
        keys[i] = pg_array_create(PG_TEXT_ARRAY);
    }
    for (size_t i = 0; i < n; i++) {
        pg_array_str(keys[0], messages[i].team);
        pg_array_str(keys[1], messages[i].channel);
        pg_array_str(keys[2], messages[i].ts);
    }
    ok = exec_arrays(pg, drop_sql, keys, 2, NULL, err) &&
         exec_arrays(pg, due_sql, keys, 3, &res, err) &&
         (pg_rows(res) == 0 || add_reactions(pg, res, emoji, err));
    pg_result_destroy(&res);
    for (int i = 0; i < 3; i++) {
        pg_array_destroy(&keys[i]);
    }
    return ok;
}
