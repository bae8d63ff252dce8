/*
 * One claimed digest on its way: what the model is to be asked, what came of it, and what is to be
 * done with its row. The role holds many of these; this file knows nothing of the database.
 */
#ifndef STUDY_PROC_DIGEST_CALL_H
#define STUDY_PROC_DIGEST_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "db/digests.h"
#include "digest/answer.h"
#include "digest/openai.h"
#include "digest/prompt.h"
#include "digest/source.h"
#include "io/http.h"

/* What every call needs: settings, prompts, the connection. */
struct model {
    const struct prompts *prompts;
    struct openai_settings settings;
    char *url;
    char *bearer; /* NULL: no key */
    size_t max_input, max_parts;
    int64_t max_attempts;
    struct http *http;
};

void model_init(struct model *model, const struct config *config, const struct prompts *prompts,
                struct http *http);
void model_free(struct model *model);

enum call_state {
    CALL_READY,  /* to be asked */
    CALL_ASKED,  /* under way */
    CALL_PART,   /* a part of a long day is answered: `result` wants to be kept */
    CALL_MADE,   /* `made` wants to be stored */
    CALL_BACK,   /* the row goes back, to be claimed after wait_ms */
    CALL_CANCEL, /* nothing left to make it from, or not wanted */
    CALL_GONE,   /* the row is no longer ours */
};

struct call {
    enum call_state state;
    struct digest_work *work; /* owned */
    struct source *source;
    struct prompt_part parts[PROMPT_PARTS_MAX]; /* one, but for a long day */
    size_t parts_count, part;                   /* the one that is asked about */
    struct answer *answers[PROMPT_PARTS_MAX];
    struct text request;
    struct text answer; /* the bad one, while it is being repaired */
    bool repairing;
    int64_t prompt_tokens, completion_tokens;

    int64_t wait_ms;    /* of BACK */
    bool unasked;       /* of BACK: no call was made, the attempt does not count */
    char reason[200];   /* of BACK, CANCEL and of a factual digest */
    const char *origin; /* of MADE */
    struct text result, body;
};

/* Takes the work over. A digest that needs no model is MADE at once. */
struct call *call_create(const struct model *model, struct digest_work *work, bool use_model);
void call_destroy(struct call **call);

/* What the request may use at most: no tokenizer makes more tokens than bytes, and those that do
 * not know a script make as many. */
void call_estimate(const struct model *model, const struct call *call, int64_t *prompt_tokens,
                   int64_t *completion_tokens);
bool call_ask(const struct model *model, struct call *call, struct error *err);

/* What an answer says about all calls. */
struct call_news {
    int64_t hold_ms; /* no further calls for so long; 0: go on */
    bool quota_gone;
    bool broken; /* the settings do not work: an operator must act */
    bool answered;
    int64_t prompt_tokens, completion_tokens; /* that the host counted */
    char said[256];                           /* for the log */
};
void call_answered(const struct model *model, struct call *call,
                   const struct http_response *response, struct call_news *news);

/* From an answer that an earlier attempt has stored, or kept of this part; false when it will not
 * do. A part's is PART then, and need not be kept again. */
bool call_reuse(const struct model *model, struct call *call, struct str content);
/* A part's answer is safe: READY for the next part, or MADE of all of them. */
void call_next_part(const struct model *model, struct call *call);
/* The digest without a model. False: not even that (the row then goes back). */
bool call_make_factual(struct call *call, const char *reason);

#endif
