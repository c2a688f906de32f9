// SPDX-License-Identifier: Apache-2.0
#include "common/job.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define JOBS 50

static struct loop *loop;
static pthread_t loop_thread;
static unsigned left;
static bool wrong_thread, done_early;

struct counted {
	struct job job; // first
	unsigned worked, done;
};

static void work(struct job *job)
{
	if (pthread_equal(pthread_self(), loop_thread))
		wrong_thread = true;
	((struct counted *)job)->worked++;
}

static void done(struct job *job)
{
	struct counted *counted = (struct counted *)job;

	if (!pthread_equal(pthread_self(), loop_thread))
		wrong_thread = true;
	if (!counted->worked)
		done_early = true;
	counted->done++;
	if (!--left)
		loop_quit(loop);
}

static void test_work_elsewhere_done_here(void **state)
{
	struct counted jobs[JOBS] = {0};

	(void)state;
	loop = loop_new(NULL);
	assert_non_null(loop);
	loop_thread = pthread_self();
	left = JOBS;
	for (unsigned i = 0; i < JOBS; i++) {
		jobs[i].job.work = work;
		jobs[i].job.done = done;
		assert_int_equal(job_start(loop, &jobs[i].job), 0);
		assert_int_equal(jobs[i].done, 0);
	}
	assert_int_equal(loop_run(loop), 0);
	assert_false(wrong_thread || done_early);
	for (unsigned i = 0; i < JOBS; i++)
		assert_true(jobs[i].worked == 1 && jobs[i].done == 1);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_work_elsewhere_done_here)};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
