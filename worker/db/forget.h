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

#endif
