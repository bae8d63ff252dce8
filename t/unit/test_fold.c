/* ingest/fold: one row a message, whatever the order of its events. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/fold.h"

static struct message_change change(const char *ts, const char *text, const char *edited_ts,
                                    const char *event_ts, int64_t accepted)
{
    return (struct message_change){
        .team = STR("T1"),
        .channel = STR("C1"),
        .ts = str_of(ts),
        .user = STR("U1"),
        .text = str_of(text),
        .edited_ts = str_of(edited_ts),
        .edited_event_ts = str_of(event_ts),
        .accepted_at_us = accepted,
        .privacy = EVENT_PUBLIC,
    };
}

static struct message_change deletion(const char *ts, int64_t accepted)
{
    struct message_change m = change(ts, "", NULL, NULL, accepted);

    m.user = STR_NULL;
    m.deleted = true;
    m.privacy = EVENT_UNKNOWN;
    return m;
}

static void assert_same(const struct message_change *a, const struct message_change *b)
{
    assert_true(str_eq(a->text, b->text));
    assert_true(str_eq(a->user, b->user));
    assert_true(str_eq(a->thread_ts, b->thread_ts));
    assert_true(str_eq(a->edited_ts, b->edited_ts));
    assert_true(str_eq(a->edited_event_ts, b->edited_event_ts));
    assert_int_equal(a->accepted_at_us, b->accepted_at_us);
    assert_int_equal(a->deleted, b->deleted);
}

/* Folds `changes` in an order drawn at random, some of them repeatedly. */
static struct message_change fold_at_random(const struct message_change *changes, size_t n)
{
    struct message_change folded;
    size_t order[16], count = 0;

    for (size_t i = 0; i < n; i++) {
        order[count++] = i;
    }
    while (count < 12) {
        order[count++] = (size_t)rand() % n;
    }
    for (size_t i = count - 1; i > 0; i--) {
        size_t k = (size_t)rand() % (i + 1), swap = order[i];

        order[i] = order[k];
        order[k] = swap;
    }
    folded = changes[order[0]];
    for (size_t i = 1; i < count; i++) {
        message_fold(&folded, &changes[order[i]]);
    }
    return folded;
}

static void any_order_gives_the_same(void **state)
{
    const struct message_change all[] = {
        change("1700000000.000100", "new", NULL, NULL, 50),
        change("1700000000.000100", "one", "1700000005.000000", "1700000005.000200", 10),
        change("1700000000.000100", "two", "1700000005.000000", "1700000005.000900", 40),
        change("1700000000.000100", "three", "1700000009.000000", "1700000009.000100", 30),
        deletion("1700000000.000100", 20),
    };

    (void)state;
    srand(7);
    for (size_t n = 1; n <= 5; n++) {
        struct message_change expected = all[n - 1]; /* each is newer than those before */

        expected.accepted_at_us = n == 1 ? 50 : 10;
        expected.user = STR("U1");
        for (int round = 0; round < 500; round++) {
            struct message_change folded = fold_at_random(all, n);

            assert_same(&folded, &expected);
        }
    }
}

static void sorts_and_folds(void **state)
{
    struct fold *fold = fold_create();
    const struct message_change *rows;
    size_t n;

    (void)state;
    for (int round = 0; round < 2; round++) {
        const struct message_change in[] = {
            change("1700000002.000000", "b", NULL, NULL, 1),
            change("1700000001.000000", "a2", "1700000007.000000", NULL, 2),
            change("1700000001.000000", "a", NULL, NULL, 3),
            deletion("1700000003.000000", 4),
        };

        fold_reset(fold);
        for (size_t i = 0; i < 4; i++) {
            fold_add(fold, &in[i]);
        }
        fold_finish(fold);
        rows = fold_messages(fold, &n);
        assert_int_equal(n, 3);
        assert_true(str_is(rows[0].ts, "1700000001.000000"));
        assert_true(str_is(rows[0].text, "a2"));
        assert_true(str_is(rows[1].text, "b"));
        assert_true(rows[2].deleted);
    }
    fold_destroy(&fold);
    assert_null(fold);
}

static void lists_whom_and_where(void **state)
{
    struct fold *fold = fold_create();
    const struct channel_news *channels;
    const struct fold_member *members;
    const struct str *teams;
    size_t n;

    (void)state;
    for (int i = 0; i < 300; i++) {
        static char ts[300][24];
        struct message_change m = change(NULL, "x", NULL, NULL, i);

        snprintf(ts[i], sizeof(ts[i]), "1700000%03d.000000", i);
        m.ts = str_of(ts[i]);
        m.team = i % 2 ? STR("T2") : STR("T1");
        m.channel = i % 3 ? STR("C2") : STR("C1");
        m.user = i % 5 ? STR("U2") : STR("U1");
        fold_add(fold, &m);
    }
    struct message_change gone = deletion("1700000999.000000", 1);
    gone.team = STR("T3");
    fold_add(fold, &gone);
    fold_finish(fold);

    fold_messages(fold, &n);
    assert_int_equal(n, 301);
    teams = fold_teams(fold, &n);
    assert_int_equal(n, 2); /* a deletion needs nobody */
    assert_true(str_is(teams[0], "T1"));
    assert_true(str_is(teams[1], "T2"));
    channels = fold_channels(fold, &n);
    assert_int_equal(n, 4);
    assert_true(str_is(channels[3].team, "T2"));
    assert_true(str_is(channels[3].channel, "C2"));
    assert_int_equal(channels[3].privacy, EVENT_PUBLIC);
    members = fold_members(fold, &n);
    assert_int_equal(n, 4);
    assert_true(str_is(members[0].user, "U1"));
    fold_destroy(&fold);
}

static void nothing_to_fold(void **state)
{
    struct fold *fold = fold_create();
    size_t n = 7;

    (void)state;
    fold_finish(fold);
    fold_messages(fold, &n);
    assert_int_equal(n, 0);
    fold_destroy(&fold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_gives_the_same),
        cmocka_unit_test(sorts_and_folds),
        cmocka_unit_test(lists_whom_and_where),
        cmocka_unit_test(nothing_to_fold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
