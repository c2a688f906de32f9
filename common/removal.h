// SPDX-License-Identifier: Apache-2.0
// Makes a node forget a pair that its daemon does not run any more: the rest of
// pair-remove, done in a job, with its answer.
#ifndef STEAD_REMOVAL_H
#define STEAD_REMOVAL_H

#include "control.h"
#include "paths.h"

struct removal_plan {
	struct loop *loop;
	const struct paths *paths;
	struct control_call *call; // answered at the end

	// After pair_erase(), on the job's thread; NULL: nothing. 0 or -errno
	// with the reason.
	int (*erase_more)(const struct paths *paths, const char *pair, struct error *err);

	void (*over)(void *user); // at last
	void *user;
};

struct removal;

// NULL without memory.
struct removal *removal_new(const struct removal_plan *plan, const char *pair);

// The pair has stopped. Frees the removal in the end.
void removal_start(void *removal);

#endif
