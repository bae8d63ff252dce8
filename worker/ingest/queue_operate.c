/*
 * What an operator does with the lists: puts an element back, looks at who holds what, searches.
 * Looking is bounded: a million elements are counted by Redis, and never all fetched.
 */
#include <stdlib.h>
#include <string.h>

#include "ingest/envelope.h"
#include "ingest/queue_private.h"

enum queue_list queue_list_of(struct str element)
{
    struct envelope envelope;
    struct error ignored = {0};
    enum queue_list list = QUEUE_PENDING;

    if (envelope_parse(&envelope, element, &ignored)) {
        list = envelope.kind == ENVELOPE_EVENT ? QUEUE_PENDING : QUEUE_CONTROL;
        envelope_clear(&envelope);
    }
    return list;
}

bool queue_push(struct queue *queue, enum queue_list list, struct str element, struct error *err)
{
    const char *argv[] = {"RPUSH", queue->keys[list], element.data};
    const size_t len[] = {strlen(argv[0]), strlen(argv[1]), element.len};
    redisReply *reply = redis_command(queue->redis, err, 3, argv, len);

    if (reply == NULL) {
        return false;
    }
    bool ok = reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    freeReplyObject(reply);
    return ok || error_set(err, ERROR_REMOTE, "%s: unexpected answer of RPUSH", queue_name(queue));
}
