/* What both kinds of digest share: opening, closing, links to records. */
#ifndef STUDY_DIGEST_FRAME_H
#define STUDY_DIGEST_FRAME_H

#include "base/text.h"
#include "db/digests.h"
#include "digest/blocks.h"

void frame_open(struct blocks *b, const struct digest_work *work);
/* Two buttons for the member's word on it, and the small print. */
void frame_close(struct blocks *b, const struct digest_work *work, bool by_model);
/* "<permalink|label>" of record i; the label is ours and needs no escaping. */
void frame_link(struct text *line, const struct digest_work *work, size_t i, const char *label);

#endif
