/*
 * What studyctl doctor finds: one finding a check, with what it means and what to do. Each check is
 * a function of its own area; none waits longer than its limits, and none stops the others.
 */
#ifndef STUDY_CTL_DOCTOR_H
#define STUDY_CTL_DOCTOR_H

#include <stdint.h>

#include "ctl/ctl.h"

enum finding {
    FINDING_OK,
    FINDING_UNKNOWN, /* could not be seen from here */
    FINDING_WARN,
    FINDING_FAIL,
};

struct doctor;

/* `what` is the check's name; `remedy` says what to do, "" when nothing is to be done. */
void doctor_find(struct doctor *d, enum finding finding, const char *area, const char *what,
                 const char *remedy, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

struct ctl *doctor_ctl(struct doctor *d);
/* Offsets of other clocks to ours, in ms; compared when all are known. */
void doctor_clock(struct doctor *d, const char *whose, int64_t ahead_ms, int64_t unsure_ms);
/* From an answer's Date header and how long the request took; "" is no clock. */
void doctor_date(struct doctor *d, const char *whose, const char *date, double seconds);

void doctor_files(struct doctor *d);
void doctor_redis(struct doctor *d);
void doctor_postgres(struct doctor *d);
void doctor_work(struct doctor *d);
void doctor_worker(struct doctor *d);
void doctor_slack(struct doctor *d);
void doctor_model(struct doctor *d);
void doctor_nginx(struct doctor *d); /* with --url */

#endif
