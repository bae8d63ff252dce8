/*
 * The message that the member reads: {"text","blocks"} for chat.postMessage, from the model's
 * checked answer or, without a model, from the records alone. Pings are impossible but for the
 * greeting's, which is put in here; every statement links to the messages that it rests on.
 */
#ifndef STUDY_DIGEST_RENDER_H
#define STUDY_DIGEST_RENDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "db/digests.h"
#include "digest/answer.h"
#include "digest/source.h"

/* first: the first record that the model was shown (the older ones were left out), from 0. */
bool render_digest(struct text *out, const struct digest_work *work, const struct source *source,
                   const struct answer *answer, size_t first, struct error *err);

/* Count, days, links, the longest notes, every permalink that there is room for; `result` gets the
 * figures as JSON. */
bool render_factual(struct text *out, struct text *result, const struct digest_work *work,
                    const struct source *source, struct error *err);

/*
 * A notice: paragraphs of mrkdwn, written by the operator. To a member (user_id): after a greeting
 * and, where their yes is asked for, with a button for it. To a channel: user_id is NULL.
 */
bool render_notice(struct text *out, const char *user_id, const char *language, bool ask,
                   struct str notice, struct error *err);

/*
 * {team url}archives/C/pTS, replies with thread_ts and cid; slack.com's own address while the
 * team's is unknown. Not escaped.
 */
void permalink(struct text *out, const char *team_url, const char *channel_id, const char *ts,
               const char *thread_ts);

/* Plain text as mrkdwn: escaped, and the records' own web links made clickable. */
void render_text(struct text *out, struct str plain, const struct source *source);

#endif
