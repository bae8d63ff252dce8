/*
 * What a member wrote, as data: plain text without names and without Slack's ids. Mentions become
 * neutral words, links stay, channels are numbers. The one place where Slack's markup is undone
 * (https://docs.slack.dev/messaging/formatting-message-text).
 */
#ifndef STUDY_DIGEST_SOURCE_H
#define STUDY_DIGEST_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "db/digests.h"

struct source;

struct source *source_create(const struct digest_work *work);
void source_destroy(struct source **source);

size_t source_count(const struct source *source);
struct str source_text(const struct source *source, size_t i); /* of record i, from 0 */
int source_channel(const struct source *source, size_t i);     /* 1.. in order of appearance */
/* Whether exactly this link (links.h) stands in any record. */
bool source_has_link(const struct source *source, struct str link);

/* One text, without the ids of a work: undoes markup and entities. */
bool source_plain(struct text *out, struct str slack_text);

/* Words that look like ids of Slack's become "(id)": of texts, and of files' names. */
void source_without_ids(struct text *out, struct str s);

#endif
