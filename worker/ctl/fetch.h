/* One HTTP request at a time, waited for: what a command line wants of io/http. */
#ifndef STUDY_CTL_FETCH_H
#define STUDY_CTL_FETCH_H

#include "base/config.h"
#include "base/error.h"
#include "io/http.h"

#define FETCH_MS 10000 /* the limit of one request */

/* NULL with *err filled. */
struct http *fetch_open(const char *service, const char *ca_file, struct error *err);

/* Waits for what was started on it; bounded. False: nothing came of it, the reason in *err. */
bool fetch_wait(struct http *http, struct http_response *response, struct error *err);

bool fetch_get(struct http *http, const char *url, const char *bearer,
               struct http_response *response, struct error *err);

/* ---- Slack ---- */

/* What auth.test says of one workspace's token. */
struct team_check {
    bool ok;        /* Slack let us in */
    bool has_token; /* the settings name one */
    char code[64];  /* of not ok: Slack's word, or the transport's */
    char url[301], name[256], bot_user_id[65], team_id[65];
    char scopes[1024]; /* granted, as Slack writes them */
    char missing[512]; /* those that we need and that are not granted, "a, b" */
    char date[64];     /* the answer's Date header */
    double seconds;
};
void team_check(const struct config *config, const char *team_id, struct http *http,
                struct team_check *check);

#endif
