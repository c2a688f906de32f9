// SPDX-License-Identifier: Apache-2.0
// Visits every world that can be reached, the nearest first.
#ifndef STEAD_MODEL_EXPLORE_H
#define STEAD_MODEL_EXPLORE_H

#include "world.h"

#include <stdio.h>

struct explored {
	size_t states;
	unsigned depth; // steps to the farthest
	bool whole; // all of them were visited
	const char *violation; // NULL: none
};

// Where something is wrong the shortest way to it is printed, unless trace is
// NULL.
struct explored explore(const struct bounds *bounds, FILE *trace);

#endif
