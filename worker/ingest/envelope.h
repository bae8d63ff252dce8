/*
 * A list element as the nginx module pushes it: one JSON header line, then the body as Slack signed
 * it, byte for byte:
 *
 *   {"v":1,"kind":"event","received_at":1795372952123,"retry_num":0,"retry_reason":"",
 *    "content_type":"application/json","request_id":"...","idempotency_key":""}\n<raw body>
 *
 * This version and the one before are read, so that nginx and the worker can be upgraded in any
 * order.
 */
#ifndef STUDY_INGEST_ENVELOPE_H
#define STUDY_INGEST_ENVELOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

#define ENVELOPE_VERSION    1
#define ENVELOPE_HEADER_MAX 16384 /* bytes of the header line */

enum envelope_kind { ENVELOPE_EVENT, ENVELOPE_COMMAND, ENVELOPE_INTERACTION, ENVELOPE_TRIGGER };

struct envelope {
    enum envelope_kind kind;
    int64_t received_at_ms; /* Unix; when nginx took it */
    int64_t retry_num;      /* Slack's X-Slack-Retry-Num; 0: the first try; 1 of a backfill */
    struct str retry_reason;
    struct str content_type;
    struct str request_id;
    struct str idempotency_key;
    struct str body; /* of the element: not copied */
    struct json_doc *header;
};

/*
 * False: ERROR_INPUT whose code is the reason word: empty_element, no_header, bad_header,
 * unknown_version, unknown_kind, bad_received_at. The strings live until envelope_clear; the body
 * as long as the element.
 */
bool envelope_parse(struct envelope *out, struct str element, struct error *err);
void envelope_clear(struct envelope *envelope);

#endif
