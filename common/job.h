// SPDX-License-Identifier: Apache-2.0
// Work that blocks (opening, allocating, syncing files), done on a thread of
// its own so that a loop which serves others does not wait for it.
#ifndef STEAD_JOB_H
#define STEAD_JOB_H

#include "loop.h"

#include <pthread.h>

// Embedded and owned by the caller until done().
struct job {
	void (*work)(struct job *job); // on the job's thread
	void (*done)(struct job *job); // on the loop's thread, never from within job_start()

	// for the implementation
	struct loop *loop;
	struct task task;
	pthread_t thread;
};

// 0, or -errno when there is no thread: then neither is called.
int job_start(struct loop *loop, struct job *job);

#endif
