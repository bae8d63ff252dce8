/*
 * Finding what a reader, or a client, could take for a link: a scheme, "www.", an e-mail address, a
 * domain with a path or a well-known ending. Deliberately wide: it decides what is removed.
 */
#ifndef STUDY_DIGEST_LINKS_H
#define STUDY_DIGEST_LINKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* The next one at or after *pos, which moves behind it. */
bool link_next(struct str text, size_t *pos, struct str *link);
/* One that may be made clickable: http or https, printable ASCII. */
bool link_is_web(struct str link);
/* An address that is known to be one whole, with what would end it here (Korean letters, brackets)
 * written as %XX, as a browser writes it. */
void link_add_whole(struct text *out, struct str address);

#endif
