/* The notice is written when it is owed, so that it names the settings that hold then. */
#include "proc/digest_notice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/budget.h"
#include "db/joins.h"
#include "db/notices.h"
#include "db/outbox.h"
#include "digest/render.h"

#define NOTICES_MAX 500 /* a transaction */

/* "https://api.openai.com/v1" as "api.openai.com" */
static void host_of(struct text *out, const char *url)
{
    const char *at = strstr(url, "://");
    const char *host = at != NULL ? at + 3 : url;

    text_add(out, (struct str){host, strcspn(host, "/?#")});
}

char *notices_host(const struct config *config)
{
    struct text host;
    char *copy;

    text_init(&host, 512);
    if (config_bool(config, "openai", "enabled")) {
        host_of(&host, config_string(config, "openai", "base_url"));
    }
    copy = str_dup(text_str(&host));
    text_free(&host);
    return copy;
}

/* user_id NULL: to a channel. */
static bool write_notice(const struct config *config, const struct prompts *prompts,
                         const char *user_id, const char *language, struct text *body,
                         struct error *err)
{
    int64_t days = config_int(config, "privacy", "retention") / (24 * 3600 * (int64_t)1000);
    bool model = config_bool(config, "openai", "enabled");
    bool opt_in = strcmp(config_string(config, "privacy", "consent"), "opt_in") == 0;
    char *host = notices_host(config);
    struct text words;
    bool ok;

    text_init(&words, 65536);
    ok = (prompt_notice(prompts, user_id == NULL, language, days, host, opt_in && model, &words) ||
          error_set(err, ERROR_CONFIG, "the notice (%s) is too long", language)) &&
         render_notice(body, user_id, language, opt_in && model, text_str(&words), err);
    free(host);
    text_free(&words);
    return ok;
}

static bool add_rows(struct pg *pg, const struct config *config, const struct prompts *prompts,
                     const char *host, const struct notice_owed *owed, size_t count,
                     struct error *err)
{
    struct outbox_new *rows = calloc(count, sizeof(*rows));
    struct text *bodies = calloc(count, sizeof(*bodies));
    char **identities = calloc(count, sizeof(*identities));
    bool ok = true;

    if (rows == NULL || bodies == NULL || identities == NULL) {
        abort();
    }
    for (size_t i = 0; i < count && ok; i++) {
        text_init(&bodies[i], 128 * 1024);
        ok = write_notice(config, prompts, owed[i].user_id, owed[i].language, &bodies[i], err);
        if (asprintf(&identities[i], "notice:%s:%s:%" PRId64, owed[i].team_id, owed[i].user_id,
                     owed[i].serial) < 0) {
            abort();
        }
        rows[i] = (struct outbox_new){.identity = identities[i],
                                      .kind = "notice",
                                      .team_id = owed[i].team_id,
                                      .target = owed[i].user_id,
                                      .body = text_str(&bodies[i]),
                                      .hold = owed[i].scheduled,
                                      .told_host = host};
    }
    ok = ok && pg_begin(pg, err) && outbox_add(pg, rows, count, err) && pg_commit(pg, err);
    if (!ok) {
        pg_rollback(pg);
    }
    for (size_t i = 0; i < count; i++) {
        text_free(&bodies[i]);
        free(identities[i]);
    }
    free(identities);
    free(bodies);
    free(rows);
    return ok;
}

bool notices_check(const struct config *config, const struct prompts *prompts, struct error *err)
{
    static const char *const languages[] = {"ko", "en"};
    bool ok = true;

    for (size_t i = 0; i < 4 && ok; i++) {
        struct text body;

        text_init(&body, 128 * 1024);
        ok = write_notice(config, prompts, i < 2 ? "U" : NULL, languages[i % 2], &body, err);
        text_free(&body);
    }
    return ok;
}

bool digest_check(const struct config *config, struct error *err)
{
    struct prompts *prompts = NULL;
    struct budget_limits limits;
    bool ok = budget_limits_read(&limits, config, err) &&
              prompts_load(&prompts, config_string(config, "digest", "prompt_dir"), err) &&
              notices_check(config, prompts, err);

    prompts_destroy(&prompts);
    return ok;
}

bool notices_add(struct pg *pg, const struct config *config, const struct prompts *prompts,
                 const char *host, struct error *err)
{
    const char *language = config_string(config, "digest", "language");
    struct notice_owed *owed = NULL;
    size_t count = 0;
    bool ok;

    if (!notices_let_go(pg, err)) {
        return false;
    }
    do {
        struct notice_owed *before = owed;
        size_t before_count = count;

        ok = notices_owed(pg, language, host[0] != '\0' ? host : NULL,
                          count > 0 ? &before[count - 1] : NULL, NOTICES_MAX, &owed, &count, err);
        notices_free(&before, before_count);
        if (ok && count > 0) {
            ok = add_rows(pg, config, prompts, host, owed, count, err);
        }
        if (ok && count > 0) {
            log_info("%zu members are to be told what is kept and who sees it", count);
        }
    } while (ok && count == NOTICES_MAX);
    notices_free(&owed, count);
    return ok;
}

static bool add_channel(struct pg *pg, const struct config *config, const struct prompts *prompts,
                        const struct channel_owed *owed, struct error *err)
{
    char *identity = NULL;
    struct text body;
    bool ok;

    if (asprintf(&identity, "channel_notice:%s:%s:%" PRId64, owed->team_id, owed->channel_id,
                 owed->serial) < 0) {
        abort();
    }
    text_init(&body, 128 * 1024);
    ok = write_notice(config, prompts, NULL, owed->language, &body, err) &&
         outbox_add(pg,
                    &(struct outbox_new){.identity = identity,
                                         .kind = "channel_notice",
                                         .team_id = owed->team_id,
                                         .target = owed->channel_id,
                                         .body = text_str(&body)},
                    1, err);
    text_free(&body);
    free(identity);
    return ok;
}

bool channel_notices_add(struct pg *pg, const struct config *config, const struct prompts *prompts,
                         struct error *err)
{
    struct channel_owed *owed = NULL;
    size_t count = 0;
    bool any, ok;

    if (!joins_waiting(pg, &any, err)) {
        return false;
    }
    if (!any) {
        return true;
    }
    ok = pg_begin(pg, err) &&
         joins_settle(pg, config_string(config, "digest", "language"), &owed, &count, err);
    for (size_t i = 0; i < count && ok; i++) {
        ok = add_channel(pg, config, prompts, &owed[i], err);
    }
    ok = ok && pg_commit(pg, err);
    if (!ok) {
        pg_rollback(pg);
    } else if (count > 0) {
        log_info("%zu channels are to be told what is kept and who sees it", count);
    }
    joins_free(&owed, count);
    return ok;
}
