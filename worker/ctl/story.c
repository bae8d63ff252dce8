/* A story's state is that of its last step. */
#include "ctl/story.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/output.h"

#define STEPS_MAX 64
#define STEP_MAX  600

struct step {
    const char *name;
    enum story_state state;
    char at[40];
    char said[STEP_MAX];
    char *text;
};

struct story {
    char *what;
    size_t count;
    struct step steps[STEPS_MAX];
};

static const char *const states[] = {
    [STORY_DONE] = "done",
    [STORY_WAITS] = "waits",
    [STORY_STOPPED] = "stopped",
    [STORY_UNKNOWN] = "unknown",
};

struct story *story_create(const char *what)
{
    struct story *story = calloc(1, sizeof(*story));

    if (story == NULL) {
        abort();
    }
    story->what = str_dup(str_of(what));
    return story;
}

void story_destroy(struct story **story)
{
    if (*story == NULL) {
        return;
    }
    for (size_t i = 0; i < (*story)->count; i++) {
        free((*story)->steps[i].text);
    }
    free((*story)->what);
    free(*story);
    *story = NULL;
}

/* "2026-11-22 18:42:32.123+00" to "2026-11-22T18:42:32Z" */
static void keep_time(char at[40], struct str s)
{
    size_t len = 0;

    while (len < s.len && len < 30 && s.data[len] != '.' && s.data[len] != '+' &&
           s.data[len] != 'Z') {
        len++;
    }
    if (s.data == NULL || len < 19) {
        snprintf(at, 40, "%.*s", (int)len, s.data != NULL ? s.data : "");
        return;
    }
    snprintf(at, 40, "%.*sZ", (int)len, s.data);
    at[10] = 'T';
}

void story_add(struct story *story, const char *step, enum story_state state, struct str at,
               const char *fmt, ...)
{
    struct step *s = &story->steps[story->count];
    va_list ap;

    if (story->count == STEPS_MAX) {
        return;
    }
    story->count++;
    s->name = step;
    s->state = state;
    keep_time(s->at, at);
    va_start(ap, fmt);
    vsnprintf(s->said, sizeof(s->said), fmt, ap);
    va_end(ap);
}

void story_text(struct story *story, struct str text)
{
    if (story->count > 0 && text.data != NULL && story->steps[story->count - 1].text == NULL) {
        story->steps[story->count - 1].text = str_dup(text);
    }
}

size_t story_steps(const struct story *story)
{
    return story->count;
}

static void put_json(struct json_writer *w, const struct story *story)
{
    json_object_begin(w);
    json_put_kcstr(w, "what", story->what);
    json_put_kcstr(w, "state",
                   story->count > 0 ? states[story->steps[story->count - 1].state] : "unknown");
    json_put_key(w, "steps");
    json_array_begin(w);
    for (size_t i = 0; i < story->count; i++) {
        const struct step *s = &story->steps[i];

        json_object_begin(w);
        json_put_kcstr(w, "step", s->name);
        json_put_kcstr(w, "state", states[s->state]);
        json_put_kstr(w, "at", s->at[0] != '\0' ? str_of(s->at) : STR_NULL);
        json_put_kcstr(w, "said", s->said);
        if (s->text != NULL) {
            json_put_kcstr(w, "text", s->text);
        }
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

static void print_clean(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        putchar(c < ' ' || c == 0x7F ? ' ' : c);
    }
}

static void print_one(const struct story *story)
{
    static const char *const marks[] = {
        [STORY_DONE] = " ", [STORY_WAITS] = "~", [STORY_STOPPED] = "!", [STORY_UNKNOWN] = "?"};

    print_clean(story->what);
    putchar('\n');
    for (size_t i = 0; i < story->count; i++) {
        const struct step *s = &story->steps[i];

        printf("%s %-20s  %-8s  ", marks[s->state], s->at, s->name);
        print_clean(s->said);
        putchar('\n');
        if (s->text != NULL) {
            printf("%34s", "");
            print_clean(s->text);
            putchar('\n');
        }
    }
}

enum ctl_status story_print(const struct ctl *ctl, const char *asked, struct story *const *stories,
                            size_t count)
{
    if (!ctl->json) {
        for (size_t i = 0; i < count; i++) {
            fputs(i > 0 ? "\n" : "", stdout);
            print_one(stories[i]);
        }
        return CTL_OK;
    }
    struct json_writer *w = out_json_writer();
    json_object_begin(w);
    json_put_kcstr(w, "asked", asked);
    json_put_key(w, "stories");
    json_array_begin(w);
    for (size_t i = 0; i < count; i++) {
        put_json(w, stories[i]);
    }
    json_array_end(w);
    json_object_end(w);
    enum ctl_status status = out_json(w);
    json_writer_destroy(&w);
    return status;
}
