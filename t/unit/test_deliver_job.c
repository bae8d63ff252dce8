/* What becomes of a job whose step must wait for Slack's limits. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "proc/deliver_job.h"

static struct job *doubtful_job(int pages)
{
    struct outbox_work *work = calloc(1, sizeof(*work));
    struct job *job;

    assert_non_null(work);
    work->team_id = strdup("T1");
    work->doubtful = true;
    job = job_of_reply(work);
    job->state = JOB_LOOK;
    job->pages = pages;
    return job;
}

static void put_off(void **state)
{
    struct job *fresh = doubtful_job(0);
    struct job *begun = doubtful_job(9);

    (void)state;
    job_put_off(fresh, 1500);
    assert_int_equal(fresh->state, JOB_DONE);
    assert_int_equal(fresh->end, OUTBOX_RELEASE);
    assert_int_equal(fresh->wait_ms, 1500);

    /* the pages are read again from the first: without a count it would never end */
    job_put_off(begun, 1500);
    assert_int_equal(begun->state, JOB_DONE);
    assert_int_equal(begun->end, OUTBOX_DOUBTFUL);
    assert_int_equal(begun->wait_ms, 1500);
    job_destroy(&fresh);
    job_destroy(&begun);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
