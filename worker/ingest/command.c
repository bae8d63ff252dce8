/*
 * Slash commands: `/study WORD [ARGUMENT]`, in English or Korean. Slack checks nothing of the text;
 * what is not understood asks for help, so that nobody who mistypes is left without an answer.
 * What follows the words that are looked at is not read.
 */
#include <string.h>

#include "ingest/event_read.h"

#define WORDS_BYTES_MAX 64 /* of a word that could be one of ours */

static const struct {
    enum request_verb verb;
    const char *words; /* English first */
} verbs[] = {
    {REQUEST_TODAY, "today|오늘"},
    {REQUEST_ON, "on|켜기"},
    {REQUEST_OFF, "off|끄기"},
    {REQUEST_LANGUAGE, "lang|language|언어"},
    {REQUEST_TIME, "time|시간"},
    {REQUEST_EXPORT, "export|내보내기"},
    {REQUEST_FORGET, "forget|삭제|잊기"},
    {REQUEST_HELP, "help|도움말"},
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word of *rest in lower case; empty: there is none, or none of ours is so long. */
static struct str next_word(struct str *rest, char word[WORDS_BYTES_MAX])
{
    size_t from = 0;
    size_t to;

    while (from < rest->len && is_blank(rest->data[from])) {
        from++;
    }
    to = from;
    while (to < rest->len && !is_blank(rest->data[to])) {
        to++;
    }
    size_t len = to - from <= WORDS_BYTES_MAX ? to - from : 0;
    for (size_t i = 0; i < len; i++) {
        char c = rest->data[from + i];

        word[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    /* an absent text has no address to count from */
    if (to > 0) {
        *rest = (struct str){rest->data + to, rest->len - to};
    }
    return (struct str){word, len};
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "8:30", "08:30"; "default" for the schedule's own time. */
static bool read_minute(struct str word, int *minute)
{
    size_t colon = word.len == 5 ? 2 : 1;
    int hour = 0;
    int past;

    if (str_one_of(word, "default|기본")) {
        *minute = -1;
        return true;
    }
    if (word.len != colon + 3 || word.data[colon] != ':') {
        return false;
    }
    for (size_t i = 0; i < word.len; i++) {
        if (i != colon && !is_digit(word.data[i])) {
            return false;
        }
        if (i < colon) {
            hour = hour * 10 + (word.data[i] - '0');
        }
    }
    past = (word.data[colon + 1] - '0') * 10 + (word.data[colon + 2] - '0');
    *minute = hour * 60 + past;
    return hour < 24 && past < 60;
}

static void read_words(struct request *request, struct str text)
{
    char word[WORDS_BYTES_MAX];
    struct str verb = next_word(&text, word);

    request->verb = REQUEST_HELP;
    request->unclear = verb.len != 0 || text.len != 0;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (str_one_of(verb, verbs[i].words)) {
            request->verb = verbs[i].verb;
            request->unclear = false;
            break;
        }
    }
    if (request->verb == REQUEST_LANGUAGE) {
        struct str language = next_word(&text, word);

        if (str_one_of(language, "ko|korean|한국어")) {
            request->language = "ko";
        } else if (str_one_of(language, "en|english|영어")) {
            request->language = "en";
        }
        request->unclear = request->language == NULL;
    } else if (request->verb == REQUEST_TIME) {
        request->unclear = !read_minute(next_word(&text, word), &request->minute);
    }
}

static bool take_id_field(struct event *out, struct str body, const char *name, struct str *id)
{
    if (!event_take_field(out, body, name, EVENT_REQUIRED, id)) {
        return false;
    }
    if (!slack_is_id(*id)) {
        event_bury(out, "bad_id", "%s is not shaped like an id", name);
        return false;
    }
    return true;
}

void event_read_command(struct event *out, struct str body)
{
    struct request request = {0};
    struct str command, trigger_id, text, url;

    if (!event_take_field(out, body, "command", EVENT_REQUIRED, &command) ||
        !event_take_field(out, body, "trigger_id", EVENT_REQUIRED, &trigger_id) ||
        !take_id_field(out, body, "team_id", &request.team) ||
        !take_id_field(out, body, "user_id", &request.user) ||
        !event_take_identity_of(out, "command:", trigger_id)) {
        return;
    }
    event_take_field(out, body, "text", EVENT_OPTIONAL, &text);
    event_take_field(out, body, "response_url", EVENT_OPTIONAL, &url);
    request.response_url = event_response_url(url);
    read_words(&request, text);
    out->request = request;
    out->effect = EVENT_REQUEST;
}
