/*
 * An INSERT for what is new and one for what may be there; the deletions' consequences only where
 * there are any.
 */
#include "db/messages.h"

#include <stdlib.h>

#define FILES_LITERAL_MAX (4 << 20)

enum {
    COL_TEAM,
    COL_CHANNEL,
    COL_TS,
    COL_THREAD_TS,
    COL_USER,
    COL_SUBTYPE,
    COL_TEXT,
    COL_FILES,
    COL_POSTED_AT,
    COL_ACCEPTED_AT,
    COLS_FRESH, /* a fresh message needs no more */
    COL_EDITED_TS = COLS_FRESH,
    COL_EDITED_EVENT_TS,
    COL_DELETED,
    COL_ONLY_KNOWN,
    COLS
};

enum { FRESH, ANY, GROUPS };

struct db_messages {
    struct pg_array *col[GROUPS][COLS];
    struct pg_array *gone[3]; /* keys of the deletions */
    struct pg_args *args;
    struct text literal;
};

struct db_messages *db_messages_create(void)
{
    struct db_messages *batch = calloc(1, sizeof(*batch));

    if (batch == NULL) {
        abort();
    }
    for (int i = 0; i < COLS; i++) {
        bool is_time = i == COL_POSTED_AT || i == COL_ACCEPTED_AT;
        enum pg_array_type type = is_time            ? PG_TIMESTAMPTZ_ARRAY
                                  : i >= COL_DELETED ? PG_BOOL_ARRAY
                                                     : PG_TEXT_ARRAY;

        batch->col[FRESH][i] = pg_array_create(type);
        batch->col[ANY][i] = pg_array_create(type);
    }
    for (int i = 0; i < 3; i++) {
        batch->gone[i] = pg_array_create(PG_TEXT_ARRAY);
    }
    batch->args = pg_args_create();
    text_init(&batch->literal, FILES_LITERAL_MAX);
    return batch;
}

void db_messages_destroy(struct db_messages **batch)
{
    if (*batch == NULL) {
        return;
    }
    for (int i = 0; i < COLS; i++) {
        pg_array_destroy(&(*batch)->col[FRESH][i]);
        pg_array_destroy(&(*batch)->col[ANY][i]);
    }
    for (int i = 0; i < 3; i++) {
        pg_array_destroy(&(*batch)->gone[i]);
    }
    pg_args_destroy(&(*batch)->args);
    text_free(&(*batch)->literal);
    free(*batch);
    *batch = NULL;
}

void db_messages_reset(struct db_messages *batch)
{
    for (int i = 0; i < COLS; i++) {
        pg_array_reset(batch->col[FRESH][i]);
        pg_array_reset(batch->col[ANY][i]);
    }
    for (int i = 0; i < 3; i++) {
        pg_array_reset(batch->gone[i]);
    }
}

/* unnest() flattens arrays of arrays, so the names travel as one array's text form, or as NULL. */
static struct str files_literal(struct text *out, const struct str *files, size_t n)
{
    if (n == 0) {
        return STR_NULL;
    }
    text_reset(out);
    for (size_t i = 0; i < n; i++) {
        text_adds(out, i == 0 ? "{\"" : "\",\"");
        for (size_t k = 0; k < files[i].len; k++) {
            char c = files[i].data[k];

            if (c == '"' || c == '\\') {
                text_adds(out, "\\");
            }
            text_add(out, (struct str){&files[i].data[k], 1});
        }
    }
    text_adds(out, "\"}");
    return text_str(out);
}

void db_messages_add(struct db_messages *batch, const struct db_message *m)
{
    const struct str key[3] = {m->team, m->channel, m->ts};
    bool fresh = m->fresh && !m->deleted && !m->only_known && m->edited_ts.data == NULL;
    struct pg_array **col = batch->col[fresh ? FRESH : ANY];

    for (int i = 0; i < 3; i++) {
        pg_array_str(col[COL_TEAM + i], key[i]);
        if (m->deleted) {
            pg_array_str(batch->gone[i], key[i]);
        }
    }
    pg_array_str(col[COL_THREAD_TS], m->thread_ts);
    pg_array_str(col[COL_USER], m->user);
    pg_array_str(col[COL_SUBTYPE], m->subtype);
    pg_array_str(col[COL_TEXT], m->text);
    pg_array_str(col[COL_FILES], files_literal(&batch->literal, m->files, m->nfiles));
    pg_array_time(col[COL_POSTED_AT], m->posted_at_us);
    pg_array_time(col[COL_ACCEPTED_AT], m->accepted_at_us);
    if (!fresh) {
        pg_array_str(col[COL_EDITED_TS], m->edited_ts);
        pg_array_str(col[COL_EDITED_EVENT_TS], m->edited_event_ts);
        pg_array_bool(col[COL_DELETED], m->deleted);
        pg_array_bool(col[COL_ONLY_KNOWN], m->only_known);
    }
}

/*
 * A version newer than the row's: see the header. A tombstone has no edited_ts, so that two of them
 * are the same version.
 */
/* clang-format off */
#define NEWER                                                                                      \
    "(excluded.deleted, COALESCE(excluded.edited_ts, ''), COALESCE(excluded.edited_event_ts, ''))" \
    " > (m.deleted, COALESCE(m.edited_ts, ''), COALESCE(m.edited_event_ts, ''))"
#define NEWEST(column) column " = CASE WHEN " NEWER " THEN excluded." column " ELSE m." column " END"

/* In the list of a SELECT: as a function in FROM each column would first go into a store of its own. */
#define FRESH_COLUMNS                                                                              \
    "unnest($1::text[]) AS team_id, unnest($2::text[]) AS channel_id, unnest($3::text[]) AS ts,"   \
    " unnest($4::text[]) AS thread_ts, unnest($5::text[]) AS user_id,"                             \
    " unnest($6::text[]) AS subtype, unnest($7::text[]) AS text, unnest($8::text[]) AS files,"     \
    " unnest($9::timestamptz[]) AS posted_at, unnest($10::timestamptz[]) AS accepted_at"
/* Nothing of a forgotten member, whoever brings it. Nearly always there is none. */
#define NOT_FORGOTTEN                                                                              \
    "NOT ((SELECT EXISTS (SELECT FROM study.forgotten)) AND EXISTS (SELECT FROM study.forgotten"   \
    " AS f WHERE f.team_id = n.team_id AND f.user_id = n.user_id AND n.posted_at < f.before))"

/*
 * Without ON CONFLICT, which makes a third of what a row costs: it looks for the key first, inserts
 * speculatively and confirms.
 */
static const char fresh_sql[] =
    "INSERT INTO study.message (team_id, channel_id, ts, thread_ts, user_id, subtype, text, files,"
    "  posted_at, accepted_at)"
    " SELECT n.team_id, n.channel_id, n.ts, n.thread_ts, n.user_id, n.subtype, n.text,"
    "  COALESCE(n.files::text[], '{}'), n.posted_at, n.accepted_at"
    " FROM (SELECT " FRESH_COLUMNS ") AS n WHERE " NOT_FORGOTTEN;

static const char apply_sql[] =
    "WITH row AS ("
    "INSERT INTO study.message AS m (team_id, channel_id, ts, thread_ts, user_id, subtype, text,"
    "  files, posted_at, accepted_at, edited_ts, edited_event_ts, deleted)"
    " SELECT n.team_id, n.channel_id, n.ts, n.thread_ts, n.user_id, n.subtype, n.text,"
    "  COALESCE(n.files::text[], '{}'), n.posted_at, n.accepted_at, n.edited_ts,"
    "  n.edited_event_ts, n.deleted"
    " FROM (SELECT " FRESH_COLUMNS ", unnest($11::text[]) AS edited_ts,"
    "  unnest($12::text[]) AS edited_event_ts, unnest($13::boolean[]) AS deleted,"
    "  unnest($14::boolean[]) AS only_known) AS n"
    /* a value and no join, which the planner might turn into a walk of the whole table */
    " WHERE (NOT n.only_known OR (SELECT o.deleted FROM study.message AS o WHERE"
    "  o.team_id = n.team_id AND o.channel_id = n.channel_id AND o.ts = n.ts) IS NOT NULL)"
    "  AND " NOT_FORGOTTEN
    " ON CONFLICT (team_id, channel_id, ts) DO UPDATE SET"
    "  thread_ts = COALESCE(m.thread_ts, excluded.thread_ts),"
    "  user_id = COALESCE(m.user_id, excluded.user_id),"
    "  accepted_at = LEAST(m.accepted_at, excluded.accepted_at), "
    NEWEST("subtype") ", "
    NEWEST("text") ", "
    NEWEST("files") ", "
    NEWEST("edited_ts") ", "
    NEWEST("edited_event_ts") ", "
    NEWEST("deleted")
    " WHERE " NEWER
    "  OR excluded.accepted_at < m.accepted_at"
    "  OR (m.thread_ts IS NULL AND excluded.thread_ts IS NOT NULL)"
    "  OR (m.user_id IS NULL AND excluded.user_id IS NOT NULL)"
    " RETURNING xmax = 0 AS fresh, deleted"
    ") SELECT count(*) FILTER (WHERE fresh AND NOT deleted),"
    "  count(*) FILTER (WHERE NOT fresh AND NOT deleted), count(*) FILTER (WHERE deleted) FROM row";
/* clang-format on */

/*
 * Digests are locked in order of their ids, before their items, which is how retention deletes
 * them, and before the outbox, as the digest role does it; and in a statement of their own, because
 * whoever held one may have stored a reply, or noted that it was sent: a statement that waits goes
 * on to see the other tables as they were before.
 */
static const char lock_derived_sql[] =
    "SELECT d.digest_id FROM study.digest AS d WHERE d.digest_id IN (SELECT i.digest_id"
    "  FROM study.digest_item AS i"
    "  JOIN unnest($1::text[], $2::text[], $3::text[]) AS g(team_id, channel_id, ts)"
    "    USING (team_id, channel_id, ts) WHERE NOT i.gone)"
    "  ORDER BY d.digest_id FOR UPDATE";

/* `gone` on the item is what makes this happen once, however often the deletion comes. */
static const char blank_sql[] =
    "WITH hit AS ("
    "  UPDATE study.digest_item AS i SET gone = true"
    "  FROM unnest($2::text[], $3::text[], $4::text[]) AS g(team_id, channel_id, ts)"
    "  WHERE i.team_id = g.team_id AND i.channel_id = g.channel_id AND i.ts = g.ts AND NOT i.gone"
    "    AND i.digest_id = ANY ($1::bigint[])"
    "  RETURNING i.digest_id"
    "), locked AS MATERIALIZED ("
    "  SELECT d.digest_id, EXISTS (SELECT FROM study.digest_item AS i"
    "    JOIN study.message AS m USING (team_id, channel_id, ts)"
    "    WHERE i.digest_id = d.digest_id AND NOT m.deleted) AS live"
    "  FROM study.digest AS d WHERE d.digest_id IN (SELECT digest_id FROM hit)"
    "), unsent AS ("
    "  UPDATE study.outbox AS o SET state = 'cancelled', body = NULL, done_at = now(),"
    "    error = 'a message that it was made from was deleted'"
    "  FROM locked AS l WHERE o.digest_id = l.digest_id AND o.state = 'pending'"
    "  RETURNING o.digest_id"
    "), over AS ("
    "  UPDATE study.outbox AS o SET body = NULL FROM locked AS l"
    "  WHERE o.digest_id = l.digest_id AND o.body IS NOT NULL"
    "  AND o.state IN ('sent', 'logged', 'parked', 'failed', 'cancelled')"
    "), remade AS ("
    "  UPDATE study.digest AS d SET result = NULL, source_version = d.source_version + 1,"
    "    state = CASE WHEN d.state NOT IN ('pending', 'made') THEN d.state"
    "      WHEN d.state = 'made' AND u.digest_id IS NULL THEN d.state"
    "      WHEN l.live THEN 'pending' ELSE 'cancelled' END,"
    "    attempts = CASE WHEN u.digest_id IS NULL THEN d.attempts ELSE 0 END,"
    "    next_at = CASE WHEN u.digest_id IS NULL THEN d.next_at ELSE now() END"
    "  FROM locked AS l LEFT JOIN (SELECT DISTINCT digest_id FROM unsent) AS u USING (digest_id)"
    "  WHERE d.digest_id = l.digest_id"
    "  RETURNING d.state"
    ") SELECT pg_notify('study_digest', '') FROM remade WHERE state = 'pending' LIMIT 1";

bool db_messages_blank(struct pg *pg, struct db_messages *batch, struct error *err)
{
    struct pg_array *digests = pg_array_create(PG_INT8_ARRAY);
    struct pg_result *res = NULL;
    bool ok;

    if (pg_array_size(batch->gone[0]) == 0) {
        pg_array_destroy(&digests);
        return true;
    }
    pg_args_reset(batch->args);
    for (int i = 0; i < 3; i++) {
        pg_arg_array(batch->args, batch->gone[i]);
    }
    ok = pg_exec(pg, lock_derived_sql, batch->args, &res, err);
    for (int row = 0; ok && row < pg_rows(res); row++) {
        pg_array_int(digests, pg_int(res, row, 0));
    }
    if (ok && pg_rows(res) > 0) {
        pg_args_reset(batch->args);
        pg_arg_array(batch->args, digests);
        for (int i = 0; i < 3; i++) {
            pg_arg_array(batch->args, batch->gone[i]);
        }
        ok = pg_exec(pg, blank_sql, batch->args, NULL, err);
    }
    pg_result_destroy(&res);
    pg_array_destroy(&digests);
    return ok;
}

static bool insert(struct pg *pg, struct db_messages *batch, int group, const char *sql, int cols,
                   struct pg_result **res, struct error *err)
{
    pg_args_reset(batch->args);
    for (int i = 0; i < cols; i++) {
        pg_arg_column(batch->args, batch->col[group][i]);
    }
    return pg_exec_prepared(pg, sql, batch->args, res, err);
}

static bool insert_fresh(struct pg *pg, struct db_messages *batch, struct db_message_counts *counts,
                         struct error *err)
{
    struct pg_result *res = NULL;

    if (pg_array_size(batch->col[FRESH][COL_TEAM]) == 0) {
        return true;
    }
    if (!insert(pg, batch, FRESH, fresh_sql, COLS_FRESH, &res, err)) {
        return false;
    }
    counts->stored += (size_t)pg_affected(res);
    pg_result_destroy(&res);
    return true;
}

static bool apply_any(struct pg *pg, struct db_messages *batch, struct db_message_counts *counts,
                      struct error *err)
{
    size_t deletions = pg_array_size(batch->gone[0]);
    size_t dead_rows;
    struct pg_result *res = NULL;

    if (pg_array_size(batch->col[ANY][COL_TEAM]) == 0) {
        return true;
    }
    if (!insert(pg, batch, ANY, apply_sql, COLS, &res, err)) {
        return false;
    }
    counts->stored += (size_t)pg_int(res, 0, 0);
    counts->changed += (size_t)pg_int(res, 0, 1);
    dead_rows = (size_t)pg_int(res, 0, 2);
    pg_result_destroy(&res);

    /* A message that came after its deletion touches the tombstone, too. */
    counts->deleted += dead_rows < deletions ? dead_rows : deletions;
    return true;
}

bool db_messages_apply(struct pg *pg, struct db_messages *batch, struct db_message_counts *counts,
                       struct error *err)
{
    size_t rows =
        pg_array_size(batch->col[FRESH][COL_TEAM]) + pg_array_size(batch->col[ANY][COL_TEAM]);

    *counts = (struct db_message_counts){0};
    if (!insert_fresh(pg, batch, counts, err) || !apply_any(pg, batch, counts, err)) {
        return false;
    }
    counts->repeated = rows - counts->stored - counts->changed - counts->deleted;
    return true;
}
