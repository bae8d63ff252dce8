/* What members are answered, in each language: Slack's mrkdwn, a line each, with {} where a value
 * goes. */
#ifndef STUDY_PROC_REQUEST_WORDS_H
#define STUDY_PROC_REQUEST_WORDS_H

#include <stdbool.h>

struct request_words {
    const char *help; /* several lines */
    const char *settings_on, *settings_off;
    const char *settings_time, *settings_any_time;
    const char *not_understood;
    const char *refused;
    const char *today_head, *today_none, *today_more, *today_streak;
    const char *reply, *view;
    const char *on, *on_first, *on_agreed, *off;
    const char *language_set, *language_usage;
    const char *time_set, *time_quiet, *time_reset, *time_usage;
    const char *export_asked, *export_again;
    const char *forget_ask, *forget_warn, *forget_yes, *forget_ever, *forget_no;
    const char *forgotten, *forgotten_ever, *kept, *not_recorded;
    const char *agreed;
    const char *helped, *wrong, *feedback_gone;
    const char *fallback; /* of notifications */
};

const struct request_words *request_words_of(bool english);

#endif
