/* What ps and top show for a process: "study-worker: store 1". */
#ifndef STUDY_PROC_TITLE_H
#define STUDY_PROC_TITLE_H

/*
 * Moves the environment away from behind the arguments, so that a longer title has room; the
 * variables, which may hold secrets, are then no longer shown in /proc either. Call it first in
 * main. Without memory titles stay as they are.
 */
void title_init(int argc, char **argv);

void title_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
