/* Arrays that grow and are kept from batch to batch; sorting is what finds equal keys. */
#include "ingest/fold.h"

#include <stdlib.h>

struct fold {
    struct message_change *messages;
    struct str *teams;
    struct channel_news *channels;
    struct fold_member *members;
    size_t cap; /* of each of the four */
    size_t nmessages, nteams, nchannels, nmembers;
};

/* "" and absent are both before everything else; time stamps of equal length compare as text. */
int message_compare_version(const struct message_change *a, const struct message_change *b)
{
    int order = a->deleted - b->deleted;

    if (order == 0 && !a->deleted) {
        order = str_cmp(a->edited_ts, b->edited_ts);
        if (order == 0) {
            order = str_cmp(a->edited_event_ts, b->edited_event_ts);
        }
    }
    return order;
}

static struct str either(struct str a, struct str b)
{
    return a.data != NULL ? a : b;
}

void message_fold(struct message_change *into, const struct message_change *from)
{
    struct message_change folded = message_compare_version(into, from) < 0 ? *from : *into;

    folded.user = either(into->user, from->user);
    folded.thread_ts = either(into->thread_ts, from->thread_ts);
    folded.only_known = into->only_known && from->only_known;
    folded.repeated = into->repeated || from->repeated;
    folded.privacy = from->privacy != EVENT_UNKNOWN ? from->privacy : into->privacy;
    folded.accepted_at_us =
        into->accepted_at_us < from->accepted_at_us ? into->accepted_at_us : from->accepted_at_us;
    *into = folded;
}

static int compare_keys(const struct message_change *a, const struct message_change *b)
{
    int order = str_cmp(a->team, b->team);

    if (order == 0) {
        order = str_cmp(a->channel, b->channel);
    }
    return order != 0 ? order : str_cmp(a->ts, b->ts);
}

static int by_key(const void *a, const void *b)
{
    return compare_keys(a, b);
}

static int by_member(const void *a, const void *b)
{
    const struct fold_member *x = a, *y = b;
    int order = str_cmp(x->team, y->team);

    return order != 0 ? order : str_cmp(x->user, y->user);
}

static void *grow(void *array, size_t n, size_t size)
{
    void *bigger = reallocarray(array, n, size);

    if (bigger == NULL) {
        abort();
    }
    return bigger;
}

struct fold *fold_create(void)
{
    struct fold *fold = calloc(1, sizeof(*fold));

    if (fold == NULL) {
        abort();
    }
    return fold;
}

void fold_destroy(struct fold **fold)
{
    if (*fold == NULL) {
        return;
    }
    free((*fold)->messages);
    free((*fold)->teams);
    free((*fold)->channels);
    free((*fold)->members);
    free(*fold);
    *fold = NULL;
}

void fold_reset(struct fold *fold)
{
    fold->nmessages = fold->nteams = fold->nchannels = fold->nmembers = 0;
}

void fold_add(struct fold *fold, const struct message_change *message)
{
    if (fold->nmessages == fold->cap) {
        fold->cap = fold->cap == 0 ? 64 : fold->cap * 2;
        fold->messages = grow(fold->messages, fold->cap, sizeof(*fold->messages));
        fold->teams = grow(fold->teams, fold->cap, sizeof(*fold->teams));
        fold->channels = grow(fold->channels, fold->cap, sizeof(*fold->channels));
        fold->members = grow(fold->members, fold->cap, sizeof(*fold->members));
    }
    fold->messages[fold->nmessages++] = *message;
}

static void fold_equal_keys(struct fold *fold)
{
    size_t n = 0;

    for (size_t i = 0; i < fold->nmessages; i++) {
        if (n > 0 && compare_keys(&fold->messages[n - 1], &fold->messages[i]) == 0) {
            message_fold(&fold->messages[n - 1], &fold->messages[i]);
        } else {
            fold->messages[n++] = fold->messages[i];
        }
    }
    fold->nmessages = n;
}

/* The messages are sorted, so a team or channel seen before is the one before. */
static void list_places(struct fold *fold, const struct message_change *m)
{
    struct channel_news *last;

    if (fold->nteams == 0 || !str_eq(fold->teams[fold->nteams - 1], m->team)) {
        fold->teams[fold->nteams++] = m->team;
    }
    last = fold->nchannels == 0 ? NULL : &fold->channels[fold->nchannels - 1];
    if (last == NULL || !str_eq(last->team, m->team) || !str_eq(last->channel, m->channel)) {
        fold->channels[fold->nchannels++] =
            (struct channel_news){.team = m->team, .channel = m->channel, .privacy = m->privacy};
    } else if (m->privacy != EVENT_UNKNOWN) {
        last->privacy = m->privacy;
    }
}

static void list_members(struct fold *fold)
{
    size_t n = 0;

    qsort(fold->members, fold->nmembers, sizeof(*fold->members), by_member);
    for (size_t i = 0; i < fold->nmembers; i++) {
        if (n == 0 || by_member(&fold->members[n - 1], &fold->members[i]) != 0) {
            fold->members[n++] = fold->members[i];
        } else if (fold->members[n - 1].posted_at_us < fold->members[i].posted_at_us) {
            fold->members[n - 1].posted_at_us = fold->members[i].posted_at_us;
        }
    }
    fold->nmembers = n;
}

void fold_finish(struct fold *fold)
{
    if (fold->nmessages == 0) {
        return;
    }
    qsort(fold->messages, fold->nmessages, sizeof(*fold->messages), by_key);
    fold_equal_keys(fold);
    for (size_t i = 0; i < fold->nmessages; i++) {
        const struct message_change *m = &fold->messages[i];

        /* A deletion needs nobody: it may be about a message that was never recorded. */
        if (m->user.data != NULL) {
            list_places(fold, m);
            fold->members[fold->nmembers++] =
                (struct fold_member){m->team, m->user, m->posted_at_us};
        }
    }
    list_members(fold);
}

const struct message_change *fold_messages(const struct fold *fold, size_t *n)
{
    *n = fold->nmessages;
    return fold->messages;
}

const struct str *fold_teams(const struct fold *fold, size_t *n)
{
    *n = fold->nteams;
    return fold->teams;
}

const struct channel_news *fold_channels(const struct fold *fold, size_t *n)
{
    *n = fold->nchannels;
    return fold->channels;
}

const struct fold_member *fold_members(const struct fold *fold, size_t *n)
{
    *n = fold->nmembers;
    return fold->members;
}
