/*
 * Slack's blocks within Slack's limits: 50 a message, 3,000 characters a section, 150 a header, and
 * about 13,200 in all (https://docs.slack.dev/reference/block-kit/blocks/section-block). Characters
 * are counted as UTF-16 units with JSON's escapes, the largest of the readings that Slack's
 * documentation allows.
 *
 * Every text object is `verbatim`: Slack then makes neither links nor pings out of plain words.
 */
#ifndef STUDY_DIGEST_BLOCKS_H
#define STUDY_DIGEST_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

#define BLOCKS_TOTAL_MAX   12000
#define BLOCKS_SECTION_MAX 2900
#define BLOCKS_HEADER_MAX  150

struct blocks;

struct blocks *blocks_create(void);
void blocks_destroy(struct blocks **blocks);

void blocks_header(struct blocks *b, struct str plain); /* cut to its limit */
/*
 * A line of mrkdwn, complete in itself (escaped, links closed); lines are gathered into sections.
 * False, and left out, when the message has no more room for it.
 */
bool blocks_line(struct blocks *b, struct str mrkdwn);
void blocks_gap(struct blocks *b); /* what follows is a new section */
/* Small print at the end; there is always room for BLOCKS_CONTEXT_MAX characters of it. */
#define BLOCKS_CONTEXT_MAX 800
void blocks_context(struct blocks *b, struct str mrkdwn);

/* A row of buttons, at most one a message; there is always room for it. */
#define BLOCKS_BUTTON_MAX 75 /* characters on a button; more are cut */
struct blocks_button {
    const char *action_id; /* distinct within a row; at most 255 characters */
    const char *value;     /* at most 2,000 */
    const char *label;     /* plain */
    const char *style;     /* "primary", "danger" or NULL */
};
void blocks_buttons(struct blocks *b, const struct blocks_button *buttons, size_t n);

/* For an answer to a response_url: seen by the one who asked alone; `replace`: instead of the
 * message that was pressed. */
void blocks_ephemeral(struct blocks *b, bool replace);

/* {"text": fallback, "blocks": [...]}; fallback is plain and escaped here. */
bool blocks_done(struct blocks *b, struct str fallback, struct text *out, struct error *err);

size_t blocks_units(struct str s);

#endif
