/*
 * Forgetting a member. First the mark (study.forgotten), which every statement that stores
 * messages, members or dead events looks at: from its COMMIT on, nothing that the member posted
 * before it is stored again, by whatever way it comes. Then, in small transactions and as often as
 * it takes, the rows: messages and tombstones, digests and what they were made from, replies, dead
 * events, the member's own row. Any process may go on where another stopped; the schedule role
 * does.
 *
 * A reply that is on its way (`sending`, `doubtful`) stays until its end is known, without its
 * text; the digest that it belongs to stays with it, blank, and is not made again.
 *
 * The mark itself holds the member's id, which is all that it needs. Not reached from here:
 * backups, PostgreSQL's write-ahead log, and what is in Slack (with delete_dms, our own messages
 * there are deleted).
 */
#ifndef STUDY_DB_FORGET_H
#define STUDY_DB_FORGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/pg.h"

/*
 * Sets the mark, in the caller's transaction or in one of its own, and calls the schedule role,
 * which erases within a second or so of the COMMIT. also_future: nothing will be stored of the
 * member any more, until forget_lift. Asking again moves the mark to now and begins anew; what was
 * asked for earlier (also_future, delete_dms) stays asked for.
 */
bool forget_member(struct pg *pg, const char *team_id, const char *user_id, bool also_future,
                   bool delete_dms, struct error *err);

/* The member may be recorded again from now on; *known: nothing of theirs would have been. */
bool forget_lift(struct pg *pg, const char *team_id, const char *user_id, bool *known,
                 struct error *err);

/*
 * Erases, for about budget_ms. *gone: all rows are; the accept logs are what is left to be done.
 * Otherwise call again, a moment later: there was more than the time allowed, or a reply of theirs
 * is on its way, or somebody still writes who has not seen the mark.
 */
bool forget_erase(struct pg *pg, const char *team_id, const char *user_id, int64_t budget_ms,
                  bool *gone, struct error *err);

enum forget_state { FORGET_NOT, FORGET_ERASING, FORGET_LOGS, FORGET_DONE };
/* *stays: messages of ours to them that Slack would not delete; known once the rows are gone. */
bool forget_state(struct pg *pg, const char *team_id, const char *user_id, enum forget_state *state,
                  int64_t *stays, struct error *err);
/* The mark, a row or none, as studyctl shows it. */
bool forget_show(struct pg *pg, const char *team_id, const char *user_id, struct pg_result **res,
                 struct error *err);

#define FORGET_OPEN_MAX 64
struct forget_open {
    char team_id[65], user_id[65];
    bool rows_gone;
};
/*
 * Forgettings that are not done, at most FORGET_OPEN_MAX: those whose rows are not gone first, and
 * of these the ones behind `after`, in a circle. So whoever hands in the last one that was tried
 * comes to all of them, however many cannot go on. Ids "" are before all.
 */
bool forget_list_open(struct pg *pg, const struct forget_open *after,
                      struct forget_open open[FORGET_OPEN_MAX], size_t *count, struct error *err);

/*
 * For the accept logs. Those whose rows are gone now are one group: *group is its limit, 0 when
 * there is none. Once every log has passed the moment of this call and was rewritten, the group is
 * done; until then `why` (NULL: nothing in particular) is kept for whoever asks.
 */
bool forget_group(struct pg *pg, int64_t *group, struct error *err);
bool forget_group_done(struct pg *pg, int64_t group, int64_t *count, struct error *err);
bool forget_group_waits(struct pg *pg, int64_t group, const char *why, struct error *err);

#endif
