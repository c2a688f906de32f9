// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include <stddef.h>

static void finish(struct task *task)
{
	struct job *job = (struct job *)((char *)task - offsetof(struct job, task));

	pthread_join(job->thread, NULL); // it is at its end: no wait
	job->done(job);
}

static void *run(void *arg)
{
	struct job *job = arg;

	job->work(job);
	loop_post(job->loop, &job->task);
	return NULL;
}

int job_start(struct loop *loop, struct job *job)
{
	job->loop = loop;
	job->task = (struct task){finish, NULL};
	return -pthread_create(&job->thread, NULL, run, job);
}
