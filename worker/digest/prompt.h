/*
 * What a model is told, and the notice that precedes it. The words are files of [digest]
 * prompt_dir, one a language:
 *
 *   digest.{ko,en}.txt  the instructions; below a line "=== records ===" the message with the data:
 *                       {{records}} (required), {{count}}, {{left_out}}, and of a long day that
 *                       is asked about in parts {{part}} and {{parts}}
 *   repair.{ko,en}.txt  after an answer that will not do: {{problem}} (required)
 *   notice.{ko,en}.txt  the member's privacy notice, Slack's mrkdwn: {{retention}} (required;
 * days),
 *                       {{model_host}} (empty without a model), {{opt_in}} (empty when the notice
 *                       alone suffices)
 *   channel.{ko,en}.txt what a channel is told when we are invited: the same holes
 *
 * The data is one JSON object a line, numbered from 1; JSON escapes line breaks, so that no text of
 * a member can begin a line of its own. No names, no ids of Slack's.
 */
#ifndef STUDY_DIGEST_PROMPT_H
#define STUDY_DIGEST_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "db/digests.h"
#include "digest/source.h"

struct prompts;

bool prompts_load(struct prompts **out, const char *dir, struct error *err);
void prompts_destroy(struct prompts **prompts);

/*
 * Which records go into which call: at most max_input code points in each, in order of time. Where
 * max_parts do not hold all, the newest go in. At least one part. */
#define PROMPT_PARTS_MAX 8
struct prompt_part {
    size_t first, end; /* records from first, which is number 1, to before end */
};
size_t prompt_parts(const struct digest_work *work, const struct source *source, size_t max_input,
                    size_t max_parts, struct prompt_part parts[static PROMPT_PARTS_MAX]);

/* The two messages for parts[part] of a digest. A single record longer than max_input is cut. */
bool prompt_digest(const struct prompts *prompts, const struct digest_work *work,
                   const struct source *source, const struct prompt_part *parts, size_t count,
                   size_t part, size_t max_input, struct text *system, struct text *user,
                   struct error *err);
bool prompt_repair(const struct prompts *prompts, const char *language, struct str problem,
                   struct text *out);
bool prompt_notice(const struct prompts *prompts, bool to_channel, const char *language,
                   int64_t retention_days, const char *model_host, bool opt_in, struct text *out);

/* The instructions as one clean line (clean.h), to notice when an answer quotes them. */
struct str prompt_instructions(const struct prompts *prompts, const char *language);

#endif
