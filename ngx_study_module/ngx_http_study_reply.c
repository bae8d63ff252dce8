
/*
 * Copyright (C) Study Tracker contributors
 */


/*
 * Replies, read with hiredis' reader and nothing else of hiredis.  Its object
 * functions store what matters of a reply in place, so that reading one
 * allocates nothing.  The reader is linked statically and its symbols stay
 * inside the module: another module may bring another version.
 */


#include "ngx_http_study_module.h"

#include <hiredis/hiredis.h>


/* a reply of ours is short; one that is not whole after this much is no RESP */
#define NGX_HTTP_STUDY_MAX_REPLY  65536


#if (HIREDIS_MAJOR >= 1)
typedef size_t  ngx_http_study_elements_t;
#else
typedef int     ngx_http_study_elements_t;
#endif


typedef struct {
    redisReader              *reader;
    ngx_http_study_reply_t    reply;
} ngx_http_study_reader_t;


static void *ngx_http_study_reply_string(const redisReadTask *task, char *str,
    size_t len);
static void *ngx_http_study_reply_array(const redisReadTask *task,
    ngx_http_study_elements_t elements);
static void *ngx_http_study_reply_integer(const redisReadTask *task,
    long long value);
static void *ngx_http_study_reply_nil(const redisReadTask *task);
static void ngx_http_study_reply_free(void *obj);
#if (HIREDIS_MAJOR >= 1)
static void *ngx_http_study_reply_double(const redisReadTask *task,
    double value, char *str, size_t len);
static void *ngx_http_study_reply_bool(const redisReadTask *task, int value);
#endif


static redisReplyObjectFunctions  ngx_http_study_reply_functions = {
    .createString = ngx_http_study_reply_string,
    .createArray = ngx_http_study_reply_array,
    .createInteger = ngx_http_study_reply_integer,
#if (HIREDIS_MAJOR >= 1)
    .createDouble = ngx_http_study_reply_double,
    .createBool = ngx_http_study_reply_bool,
#endif
    .createNil = ngx_http_study_reply_nil,
    .freeObject = ngx_http_study_reply_free
};


static const struct {
    const char                *code;
    ngx_http_study_outcome_e   outcome;
} ngx_http_study_codes[] = {
    { "LOADING", NGX_HTTP_STUDY_REDIS_LOADING },
    { "READONLY", NGX_HTTP_STUDY_REDIS_READONLY },
    { "OOM", NGX_HTTP_STUDY_REDIS_OOM },
    { "MISCONF", NGX_HTTP_STUDY_REDIS_MISCONF },
    { "NOAUTH", NGX_HTTP_STUDY_REDIS_NOAUTH },
    { "WRONGPASS", NGX_HTTP_STUDY_REDIS_WRONGPASS },
    { "NOPERM", NGX_HTTP_STUDY_REDIS_NOPERM },
    { "MOVED", NGX_HTTP_STUDY_REDIS_MOVED },
    { NULL, NGX_HTTP_STUDY_REDIS_ERROR }
};


void *
ngx_http_study_reader_create(void)
{
    ngx_http_study_reader_t  *rd;

    rd = calloc(1, sizeof(ngx_http_study_reader_t));
    if (rd == NULL) {
        return NULL;
    }

    rd->reader = redisReaderCreateWithFunctions(
                                              &ngx_http_study_reply_functions);
    if (rd->reader == NULL) {
        free(rd);
        return NULL;
    }

    /* kept by a reply that comes in pieces, so it has to live as long */
    rd->reader->privdata = &rd->reply;

    return rd;
}


void
ngx_http_study_reader_destroy(void *reader)
{
    ngx_http_study_reader_t  *rd = reader;

    redisReaderFree(rd->reader);
    free(rd);
}


ngx_int_t
ngx_http_study_reader_feed(void *reader, u_char *buf, size_t n)
{
    ngx_http_study_reader_t  *rd = reader;

    if (redisReaderFeed(rd->reader, (char *) buf, n) != REDIS_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_study_reader_next(void *reader, ngx_http_study_reply_t *reply)
{
    void                     *obj;
    ngx_http_study_reader_t  *rd = reader;

    obj = NULL;

    if (redisReaderGetReply(rd->reader, &obj) != REDIS_OK) {
        return NGX_ERROR;
    }

    if (obj == NULL) {
        if (rd->reader->len - rd->reader->pos > NGX_HTTP_STUDY_MAX_REPLY) {
            return NGX_ERROR;
        }

        return NGX_AGAIN;
    }

    *reply = rd->reply;

    return NGX_OK;
}


ngx_http_study_outcome_e
ngx_http_study_reply_outcome(ngx_http_study_reply_t *reply)
{
    ngx_uint_t  i;

    for (i = 0; ngx_http_study_codes[i].code; i++) {

        if (ngx_strlen(ngx_http_study_codes[i].code) == reply->len
            && ngx_memcmp(ngx_http_study_codes[i].code, reply->code,
                          reply->len)
               == 0)
        {
            break;
        }
    }

    return ngx_http_study_codes[i].outcome;
}


static void *
ngx_http_study_reply_string(const redisReadTask *task, char *str, size_t len)
{
    size_t                   i;
    ngx_http_study_reply_t  *reply;

    reply = task->privdata;

    if (task->parent) {
        return reply;
    }

    reply->len = 0;

    if (task->type == REDIS_REPLY_STATUS) {
        reply->type = NGX_HTTP_STUDY_REPLY_STATUS;
        return reply;
    }

    if (task->type != REDIS_REPLY_ERROR) {
        reply->type = NGX_HTTP_STUDY_REPLY_OTHER;
        return reply;
    }

    reply->type = NGX_HTTP_STUDY_REPLY_ERROR;

    for (i = 0; i < len && i < sizeof(reply->code); i++) {
        if (str[i] < 'A' || str[i] > 'Z') {
            break;
        }

        reply->code[i] = (u_char) str[i];
    }

    reply->len = i;

    return reply;
}


static void *
ngx_http_study_reply_array(const redisReadTask *task,
    ngx_http_study_elements_t elements)
{
    return ngx_http_study_reply_nil(task);
}


static void *
ngx_http_study_reply_integer(const redisReadTask *task, long long value)
{
    ngx_http_study_reply_t  *reply;

    reply = task->privdata;

    if (task->parent == NULL) {
        reply->type = NGX_HTTP_STUDY_REPLY_INTEGER;
        reply->integer = value;
        reply->len = 0;
    }

    return reply;
}


static void *
ngx_http_study_reply_nil(const redisReadTask *task)
{
    ngx_http_study_reply_t  *reply;

    reply = task->privdata;

    if (task->parent == NULL) {
        reply->type = NGX_HTTP_STUDY_REPLY_OTHER;
        reply->len = 0;
    }

    return reply;
}


#if (HIREDIS_MAJOR >= 1)

static void *
ngx_http_study_reply_double(const redisReadTask *task, double value, char *str,
    size_t len)
{
    return ngx_http_study_reply_nil(task);
}


static void *
ngx_http_study_reply_bool(const redisReadTask *task, int value)
{
    return ngx_http_study_reply_nil(task);
}

#endif


static void
ngx_http_study_reply_free(void *obj)
{
    /* a reply is the caller's */
}
