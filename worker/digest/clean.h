/*
 * Making a model's text fit to show: one line, no control or direction characters, no fences, no
 * link that the records did not have, no "@channel", nothing of our own instructions. What comes
 * out is plain text; escaping for Slack is the renderer's, and comes last.
 */
#ifndef STUDY_DIGEST_CLEAN_H
#define STUDY_DIGEST_CLEAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "digest/source.h"

/* White space to single blanks, characters that are not for reading dropped. */
void clean_line(struct text *out, struct str s);

/*
 * Appends the clean text, at most `code_points` long. False when nothing is left, or when it quotes
 * the instructions (given as clean_line leaves them).
 */
bool clean_text(struct text *out, struct str s, size_t code_points, const struct source *source,
                struct str instructions);

#endif
