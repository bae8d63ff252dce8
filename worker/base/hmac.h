/*
 * HMAC-SHA256 (RFC 2104 over FIPS 180-4): what a request of Slack's is signed with. Only studyctl
 * signs, one probe at a time, which is why no library is linked for it.
 */
#ifndef STUDY_BASE_HMAC_H
#define STUDY_BASE_HMAC_H

#include "base/text.h"

/* Lower-case hexadecimal digits and a NUL. */
void hmac_sha256_hex(struct str key, struct str message, char out[static 65]);

#endif
