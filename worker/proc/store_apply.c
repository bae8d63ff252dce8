/*
 * The order of the statements is the same in every transaction (identities, teams, channels,
 * members, new messages, others, reactions, what deletions take with them, news, triggers, the
 * dead), and rows are sorted within each, so that stores working side by side wait for one another
 * and seldom deadlock.
 */
#include "proc/store_apply.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/acknowledge.h"
#include "db/applied.h"
#include "db/dead.h"
#include "db/firings.h"
#include "db/joins.h"
#include "db/messages.h"
#include "db/roster.h"
#include "ingest/fold.h"
#include "proc/store_request.h"

#define DISTRUST 16 /* ranges */

struct store_apply {
    struct pg *pg;
    struct request_terms terms;
    const char *emoji; /* [store] acknowledge; "": none */
    struct fold *fold;
    struct db_messages *rows;
    bool hopeful;      /* messages are taken for new ones */
    unsigned distrust; /* for so many ranges more they are not */

    /* of the range being applied; room for `cap` each */
    const struct store_item **news;
    struct str *identities;
    bool *fresh;
    struct db_channel *channels;
    struct db_member *members;
    struct db_dead *dead;
    struct acknowledged *acknowledged;
    size_t nnews, ndead, cap;
};

void store_item_read(struct store_item *item, struct str element, bool marked,
                     const struct event_rules *rules)
{
    struct error err = {0};

    *item = (struct store_item){.element = element};
    if (marked) {
        event_bury_unread(&item->event);
    } else if (envelope_parse(&item->envelope, element, &err)) {
        event_read(&item->event, &item->envelope, rules);
        if (item->event.effect == EVENT_MESSAGE) {
            envelope_clear(&item->envelope); /* of which nothing is used any more */
        }
    } else {
        event_bury_envelope(&item->event, &err);
    }
}

void store_item_clear(struct store_item *item)
{
    event_clear(&item->event);
    envelope_clear(&item->envelope);
}

struct store_apply *store_apply_create(struct pg *pg, const struct config *config)
{
    struct store_apply *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        abort();
    }
    a->pg = pg;
    a->terms = request_terms_of(config);
    a->emoji = config_string(config, "store", "acknowledge");
    a->fold = fold_create();
    a->rows = db_messages_create();
    return a;
}

void store_apply_destroy(struct store_apply **apply)
{
    struct store_apply *a = *apply;

    if (a == NULL) {
        return;
    }
    fold_destroy(&a->fold);
    db_messages_destroy(&a->rows);
    free(a->news);
    free(a->identities);
    free(a->fresh);
    free(a->channels);
    free(a->members);
    free(a->dead);
    free(a->acknowledged);
    free(a);
    *apply = NULL;
}

static void *grow(void *array, size_t n, size_t size)
{
    void *bigger = reallocarray(array, n, size);

    if (bigger == NULL) {
        abort();
    }
    return bigger;
}

static void make_room(struct store_apply *a, size_t n)
{
    if (n <= a->cap) {
        return;
    }
    a->news = grow(a->news, n, sizeof(*a->news));
    a->identities = grow(a->identities, n, sizeof(*a->identities));
    a->fresh = grow(a->fresh, n, sizeof(*a->fresh));
    a->channels = grow(a->channels, n, sizeof(*a->channels));
    a->members = grow(a->members, n, sizeof(*a->members));
    a->acknowledged = grow(a->acknowledged, n, sizeof(*a->acknowledged));
    a->dead = grow(a->dead, n, sizeof(*a->dead));
    a->cap = n;
}

static void add_dead(struct store_apply *a, const struct store_item *item, const char *reason,
                     const char *detail)
{
    a->dead[a->ndead++] = (struct db_dead){item->element, reason, detail};
}

static int by_identity(const void *a, const void *b)
{
    const struct store_item *const *x = a, *const *y = b;

    return str_cmp((*x)->event.identity, (*y)->event.identity);
}

/* Sorts the range's events into messages, news and the dead. */
static void sort_out(struct store_apply *a, const struct store_item *items, size_t n,
                     struct store_counts *counts)
{
    make_room(a, n);
    fold_reset(a->fold);
    a->nnews = a->ndead = 0;

    for (size_t i = 0; i < n; i++) {
        const struct event *event = &items[i].event;

        switch (event->effect) {
        case EVENT_MESSAGE:
            fold_add(a->fold, &event->message);
            counts->folded++;
            break;
        case EVENT_DEAD:
            add_dead(a, &items[i], event->reason, event->detail);
            break;
        case EVENT_IGNORED:
            if (strcmp(event->reason, "unsupported") == 0) {
                counts->unsupported++;
            } else {
                counts->ignored++;
            }
            break;
        case EVENT_CHANNEL:
        case EVENT_MEMBER:
        case EVENT_TEAM:
        case EVENT_REQUEST:
        case EVENT_TRIGGER:
            a->news[a->nnews++] = &items[i];
            break;
        }
    }
    fold_finish(a->fold);
    qsort(a->news, a->nnews, sizeof(*a->news), by_identity);
}

static enum db_privacy privacy_of(enum event_privacy privacy)
{
    return privacy == EVENT_UNKNOWN   ? DB_PRIVACY_UNKNOWN
           : privacy == EVENT_PRIVATE ? DB_PRIVATE
                                      : DB_PUBLIC;
}

/* A trigger's identity is its firing's own, so the firing itself tells whether it is new. */
static bool claim_news(struct store_apply *a, struct error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < a->nnews; i++) {
        if (a->news[i]->event.effect != EVENT_TRIGGER) {
            a->news[n] = a->news[i];
            a->identities[n++] = a->news[i]->event.identity;
        }
    }
    a->nnews = n;
    return n == 0 || db_applied_claim(a->pg, a->identities, n, a->fresh, err);
}

static bool apply_roster(struct store_apply *a, struct error *err)
{
    size_t n;
    const struct str *teams = fold_teams(a->fold, &n);

    if (n == 0) {
        return true;
    }
    if (!db_teams_seen(a->pg, teams, n, err)) {
        return false;
    }

    const struct channel_news *channels = fold_channels(a->fold, &n);
    for (size_t i = 0; i < n; i++) {
        a->channels[i] = (struct db_channel){channels[i].team, channels[i].channel,
                                             privacy_of(channels[i].privacy)};
    }
    if (!db_channels_seen(a->pg, a->channels, n, err)) {
        return false;
    }

    const struct fold_member *members = fold_members(a->fold, &n);
    for (size_t i = 0; i < n; i++) {
        a->members[i] =
            (struct db_member){members[i].team, members[i].user, members[i].posted_at_us};
    }
    return db_members_seen(a->pg, a->members, n, err);
}

static bool apply_messages(struct store_apply *a, struct store_counts *counts, struct error *err)
{
    struct db_message_counts rows;
    size_t n;
    const struct message_change *messages = fold_messages(a->fold, &n);

    db_messages_reset(a->rows);
    if (n == 0) {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        const struct message_change *m = &messages[i];

        db_messages_add(a->rows, &(struct db_message){
                                     .team = m->team,
                                     .channel = m->channel,
                                     .ts = m->ts,
                                     .thread_ts = m->thread_ts,
                                     .user = m->user,
                                     .subtype = m->subtype,
                                     .edited_ts = m->edited_ts,
                                     .edited_event_ts = m->edited_event_ts,
                                     .text = m->text,
                                     .files = m->files,
                                     .nfiles = m->nfiles,
                                     .posted_at_us = m->posted_at_us,
                                     .accepted_at_us = m->accepted_at_us,
                                     .deleted = m->deleted,
                                     .only_known = m->only_known,
                                     .fresh = a->hopeful && !m->repeated,
                                 });
    }
    if (!db_messages_apply(a->pg, a->rows, &rows, err)) {
        return false;
    }
    counts->stored = rows.stored;
    counts->changed = rows.changed;
    counts->deleted = rows.deleted;
    counts->repeated = rows.repeated;
    counts->folded -= n;
    return true;
}

/* Only what may just have been written: history that is read in, and repeats, are older. */
static bool acknowledge(struct store_apply *a, struct error *err)
{
    int64_t since_us = (clock_wall_ms() - ACKNOWLEDGE_WITHIN_S * 1000) * 1000;
    size_t n, due = 0;
    const struct message_change *messages = fold_messages(a->fold, &n);

    if (a->emoji[0] == '\0') {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        if (!messages[i].deleted && messages[i].posted_at_us > since_us) {
            a->acknowledged[due++] =
                (struct acknowledged){messages[i].team, messages[i].channel, messages[i].ts};
        }
    }
    return due == 0 || db_acknowledge(a->pg, a->acknowledged, due, a->emoji, err);
}

static bool apply_channel(struct pg *pg, const struct channel_news *news, struct error *err)
{
    struct db_channel channel = {news->team, news->channel, privacy_of(news->privacy)};

    if (news->name.data != NULL) {
        return db_channel_renamed(pg, news->team, news->channel, news->name, err);
    }
    if (!db_teams_seen(pg, &news->team, 1, err)) {
        return false;
    }
    /* Whoever came is not known to be us: that alone makes nothing recorded. */
    if (!news->joined_is_us && news->joined.data != NULL) {
        return join_seen(pg, news->team, news->channel, news->joined, false,
                         news->privacy == EVENT_PRIVATE, err);
    }
    return db_channels_seen(pg, &channel, 1, err) &&
           (news->joined.data == NULL || join_seen(pg, news->team, news->channel, news->joined,
                                                   true, news->privacy == EVENT_PRIVATE, err));
}

static bool apply_one(struct store_apply *a, const struct event *event, struct error *err)
{
    struct pg *pg = a->pg;

    switch (event->effect) {
    case EVENT_CHANNEL:
        return apply_channel(pg, &event->channel, err);
    case EVENT_MEMBER:
        return db_member_zone(pg, event->member.team, event->member.user, event->member.time_zone,
                              err);
    case EVENT_TEAM:
        if (event->team.stopped_by != NULL) {
            return db_team_stopped(pg, event->team.team, event->team.stopped_by, err);
        }
        return db_team_changed(pg, event->team.team, event->team.name, event->team.url, err);
    case EVENT_REQUEST:
        return request_apply(pg, &a->terms, &event->request, event->identity, err);
    default:
        return true;
    }
}

static bool apply_news(struct store_apply *a, struct store_counts *counts, struct error *err)
{
    for (size_t i = 0; i < a->nnews; i++) {
        if (!a->fresh[i]) {
            counts->repeated++;
            continue;
        }
        if (!apply_one(a, &a->news[i]->event, err)) {
            return false;
        }
        counts->applied++;
    }
    return true;
}

static bool apply_triggers(struct store_apply *a, const struct store_item *items, size_t n,
                           struct store_counts *counts, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct event *event = &items[i].event;
        bool known = false;

        if (event->effect != EVENT_TRIGGER) {
            continue;
        }
        if (!db_firing_trigger(a->pg, event->schedule, event->identity, event->received_at_us,
                               &known, err)) {
            return false;
        }
        if (known) {
            counts->applied++;
        } else {
            add_dead(a, &items[i], "unknown_schedule", "there is no schedule of that name");
        }
    }
    return true;
}

static bool apply_range(struct store_apply *apply, const struct store_item *items, size_t n,
                        struct store_counts *counts, struct error *err)
{
    *counts = (struct store_counts){0};
    sort_out(apply, items, n, counts);
    if (counts->ignored + counts->unsupported == n) {
        return true; /* nothing that the database would have to know */
    }

    if (!pg_begin(apply->pg, err) || !claim_news(apply, err) || !apply_roster(apply, err) ||
        !apply_messages(apply, counts, err) || !acknowledge(apply, err) ||
        !db_messages_blank(apply->pg, apply->rows, err) || !apply_news(apply, counts, err) ||
        !apply_triggers(apply, items, n, counts, err)) {
        goto fail;
    }
    counts->dead = apply->ndead;
    if (apply->ndead > 0 && !db_dead_add(apply->pg, apply->dead, apply->ndead, err)) {
        goto fail;
    }
    if (!pg_commit(apply->pg, err)) {
        goto fail;
    }
    return true;

fail:
    pg_rollback(apply->pg);
    return false;
}

/* A message that was taken for a new one is there, or about to be. */
static bool was_no_news(const struct error *err)
{
    return err->kind == ERROR_REMOTE &&
           (strcmp(err->code, "23505") == 0 || strcmp(err->code, "40P01") == 0);
}

bool store_apply_run(struct store_apply *apply, const struct store_item *items, size_t n,
                     struct store_counts *counts, struct error *err)
{
    apply->hopeful = apply->distrust == 0;
    apply->distrust -= !apply->hopeful;
    if (apply_range(apply, items, n, counts, err)) {
        return true;
    }
    if (!apply->hopeful || !was_no_news(err)) {
        return false;
    }
    log_debug("messages that were taken for new ones are there: %s", err->text);
    apply->hopeful = false;
    apply->distrust = DISTRUST;
    return apply_range(apply, items, n, counts, err);
}
