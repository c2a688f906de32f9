// SPDX-License-Identifier: Apache-2.0
// Runs many seeds, in several processes.
#ifndef STEAD_SIM_RUNNER_H
#define STEAD_SIM_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RUN_JOBS_MAX 64

struct run_list {
	uint64_t from, to; // both included
	uint64_t *seeds; // instead, if not NULL
	size_t count;
};

bool run_list_read(struct run_list *list, const char *file);

// 0: all are clean; 1: not, and it is printed what went wrong and how to see it again.
int run_seeds(const struct run_list *list, bool trace, unsigned jobs);

// The first seed of the list that has a violation, or ends in a crash;
// UINT64_MAX: none. why gets the violation.
uint64_t run_find(const struct run_list *list, unsigned jobs, char *why, size_t size);

#endif
