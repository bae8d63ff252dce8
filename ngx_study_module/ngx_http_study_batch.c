
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * How commands are laid out while they are gathered in a connection's "next"
 * batch.
 *
 * Elements for one list that arrive together leave as one RPUSH: Redis then
 * parses, checks, logs and answers one command instead of many, and with
 * "appendfsync always" it syncs once for all of them, where a pipeline of
 * single commands is synced as often as its socket buffer fills.
 *
 * An element is copied whole at once, so that its request may go away.  How
 * many there will be is known only when the command is closed, at the flush or
 * when another list's turn comes; until then a gap before the first element
 * is kept for the longest count.  In front of a batch the rest of the gap is
 * skipped; between two commands, which is rare, the elements move up.
 */


#include "ngx_http_study_module.h"


#define NGX_HTTP_STUDY_BATCH_SIZE   16384

/* "*" count CRLF */
#define NGX_HTTP_STUDY_GAP          (1 + NGX_INT_T_LEN + 2)

/* elements of one command: Redis does nothing else meanwhile */
#define NGX_HTTP_STUDY_ELEMENTS     1024

#define NGX_HTTP_STUDY_SLOTS        64


static ngx_int_t ngx_http_study_batch_open(ngx_http_study_list_t *list,
    size_t size);
static ngx_http_study_slot_t *ngx_http_study_batch_slot(
    ngx_http_study_peer_t *peer);


/* puts an element into the batch; the caller tells the rest of the pipeline */

ngx_int_t
ngx_http_study_batch_push(ngx_http_study_list_t *list, ngx_str_t *head,
    ngx_chain_t *body, size_t size)
{
    u_char                 *p, *start;
    ngx_chain_t            *cl;
    ngx_http_study_peer_t  *peer;
    ngx_http_study_slot_t  *slot;

    peer = list->peer;

    slot = ngx_http_study_batch_slot(peer);

    if (slot == NULL
        || ngx_http_study_batch_open(list, head->len + size
                                           + 1 + NGX_SIZE_T_LEN + 4)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    start = peer->next.start + peer->next.len;

    p = start;
    *p++ = '$';
    p = ngx_http_study_number(p, head->len + size);
    *p++ = CR; *p++ = LF;
    p = ngx_cpymem(p, head->data, head->len);

    for (cl = body; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    *p++ = CR; *p++ = LF;

    slot->list = list;
    slot->size = p - start;
    peer->next.len += slot->size;

    return NGX_OK;
}


/* puts a question for a list's length into the batch */

ngx_int_t
ngx_http_study_batch_probe(ngx_http_study_list_t *list)
{
    ngx_http_study_peer_t  *peer;
    ngx_http_study_slot_t  *slot;

    peer = list->peer;

    ngx_http_study_batch_close(peer);

    slot = ngx_http_study_batch_slot(peer);

    if (slot == NULL
        || ngx_http_study_batch_reserve(peer, &peer->next, list->llen.len)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memcpy(peer->next.start + peer->next.len, list->llen.data,
               list->llen.len);

    slot->push = NULL;
    slot->list = list;
    slot->size = list->llen.len;
    peer->next.len += slot->size;

    slot->slots = 1;
    slot->end = peer->next.len;

    return NGX_OK;
}


/* room for an element of the list, in the open command or a new one */

static ngx_int_t
ngx_http_study_batch_open(ngx_http_study_list_t *list, size_t size)
{
    ngx_http_study_peer_t  *peer;

    peer = list->peer;

    if (peer->gathering
        && ngx_http_study_slot(peer, peer->opened)->list == list
        && peer->tail - peer->opened < NGX_HTTP_STUDY_ELEMENTS)
    {
        return ngx_http_study_batch_reserve(peer, &peer->next, size);
    }

    ngx_http_study_batch_close(peer);

    if (ngx_http_study_batch_reserve(peer, &peer->next,
                                     NGX_HTTP_STUDY_GAP + list->rpush.len
                                     + size)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    peer->gathering = 1;
    peer->opened = peer->tail;
    peer->gap = peer->next.len;

    peer->next.len += NGX_HTTP_STUDY_GAP;
    ngx_memcpy(peer->next.start + peer->next.len, list->rpush.data,
               list->rpush.len);
    peer->next.len += list->rpush.len;

    return NGX_OK;
}


/* writes the count of the open command, if there is one */

void
ngx_http_study_batch_close(ngx_http_study_peer_t *peer)
{
    size_t                  len, rest;
    u_char                 *p, *gap, count[NGX_HTTP_STUDY_GAP];
    ngx_http_study_slot_t  *slot;

    if (!peer->gathering) {
        return;
    }

    peer->gathering = 0;

    slot = ngx_http_study_slot(peer, peer->opened);
    slot->slots = peer->tail - peer->opened;

    p = count;
    *p++ = '*';
    p = ngx_http_study_number(p, slot->slots + 2);
    *p++ = CR; *p++ = LF;

    len = p - count;
    rest = NGX_HTTP_STUDY_GAP - len;
    gap = peer->next.start + peer->gap;

    if (peer->gap == 0) {
        ngx_memcpy(gap + rest, count, len);
        peer->next.skip = rest;

    } else {
        ngx_memcpy(gap, count, len);
        ngx_memmove(gap + len, gap + NGX_HTTP_STUDY_GAP,
                    peer->next.len - peer->gap - NGX_HTTP_STUDY_GAP);
        peer->next.len -= rest;
    }

    slot->end = peer->next.len;
}


/* the slot of the next tail, not taken yet */

static ngx_http_study_slot_t *
ngx_http_study_batch_slot(ngx_http_study_peer_t *peer)
{
    uint64_t                nslots, seq;
    ngx_http_study_slot_t  *slots;

    if (peer->tail - peer->head == peer->nslots) {

        nslots = peer->nslots ? peer->nslots * 2 : NGX_HTTP_STUDY_SLOTS;

        slots = ngx_alloc(nslots * sizeof(ngx_http_study_slot_t), &peer->log);
        if (slots == NULL) {
            return NULL;
        }

        for (seq = peer->head; seq != peer->tail; seq++) {
            slots[seq & (nslots - 1)] = *ngx_http_study_slot(peer, seq);
        }

        if (peer->slots) {
            ngx_free(peer->slots);
        }

        peer->slots = slots;
        peer->nslots = nslots;
    }

    return ngx_http_study_slot(peer, peer->tail);
}


ngx_int_t
ngx_http_study_batch_reserve(ngx_http_study_peer_t *peer,
    ngx_http_study_batch_t *batch, size_t size)
{
    size_t   n;
    u_char  *p;

    if (batch->size - batch->len >= size) {
        return NGX_OK;
    }

    n = batch->size ? batch->size * 2 : NGX_HTTP_STUDY_BATCH_SIZE;

    while (n - batch->len < size) {
        n *= 2;
    }

    p = ngx_alloc(n, &peer->log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (batch->start) {
        ngx_memcpy(p, batch->start, batch->len);
        ngx_free(batch->start);
    }

    batch->start = p;
    batch->size = n;

    return NGX_OK;
}


/* empties it; what was in it is not wanted any more */

void
ngx_http_study_batch_reset(ngx_http_study_batch_t *batch)
{
    batch->len = 0;
    batch->skip = 0;
}


void
ngx_http_study_batch_free(ngx_http_study_batch_t *batch)
{
    if (batch->start) {
        ngx_free(batch->start);
    }

    ngx_memzero(batch, sizeof(ngx_http_study_batch_t));
}
