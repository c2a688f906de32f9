// SPDX-License-Identifier: Apache-2.0
#include "runner.h"

#include "common/mutant.h"
#include "memory.h"
#include "mutants.h"
#include "simulation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_MAX 10 // of one process, then it ends

// Shared by the processes of a run.
struct shared {
	struct {
		uint64_t index; // of the seed that is running
		bool done;
	} jobs[RUN_JOBS_MAX];
	_Atomic uint64_t first_bad; // index
	char why[1024]; // of any bad one
	_Atomic uint64_t steps, runs;
	_Atomic uint64_t roles, changes, often; // runs in which roles change, how often, and those of at least five
};

struct run {
	const struct run_list *list;
	bool trace;
	bool quiet; // only find the first
	unsigned jobs;
	struct shared *shared;
};

static uint64_t list_count(const struct run_list *list)
{
	return list->seeds ? list->count : list->to - list->from + 1;
}

static uint64_t list_seed(const struct run_list *list, uint64_t index)
{
	return list->seeds ? list->seeds[index] : list->from + index;
}

bool run_list_read(struct run_list *list, const char *file)
{
	FILE *in = fopen(file, "re");
	char line[1024];

	if (!in)
		return false;
	free(list->seeds);
	list->seeds = allocate(sizeof(*list->seeds));
	list->count = 0;
	while (fgets(line, sizeof(line), in)) {
		uint64_t seed;

		if (sscanf(line, "%" SCNu64, &seed) != 1)
			continue;
		list->seeds = resize(list->seeds, (list->count + 1) * sizeof(*list->seeds));
		list->seeds[list->count++] = seed;
	}
	fclose(in);
	return true;
}

static void report(const struct run *run, uint64_t seed, uint64_t step, const char *what)
{
	const char *mutant = mutant_current();

	if (run->quiet)
		return;
	printf("seed %" PRIu64 " step %" PRIu64 ": %s\n  replay: %s --seed %" PRIu64 "%s%s --trace\n", seed, step, what,
	       mutant ? "stead-sim-mutants" : "stead-sim", seed, mutant ? " --mutant " : "", mutant ? mutant : "");
	fflush(stdout);
}

static void note_bad(const struct run *run, uint64_t index, const char *what)
{
	uint64_t first = run->shared->first_bad;

	while (index < first) {
		if (__atomic_compare_exchange_n((uint64_t *)&run->shared->first_bad, &first, index, false,
		                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			snprintf(run->shared->why, sizeof(run->shared->why), "%s", what);
			break;
		}
	}
}

// What one process does: every jobs-th seed from begin on.
static void work(const struct run *run, unsigned job, uint64_t begin)
{
	unsigned failures = 0;

	for (uint64_t i = begin; i < list_count(run->list) && failures < FAILURES_MAX; i += run->jobs) {
		char violation[1024];
		struct run_figures figures;

		if (run->quiet && run->shared->first_bad < i)
			break;
		run->shared->jobs[job].index = i;
		if (!simulate(list_seed(run->list, i), run->trace, violation, sizeof(violation), &figures)) {
			failures++;
			note_bad(run, i, violation);
			report(run, list_seed(run->list, i), figures.steps, violation);
		}
		run->shared->steps += figures.steps;
		run->shared->roles += figures.roles;
		run->shared->changes += figures.changes;
		run->shared->often += figures.roles && figures.changes >= 5;
		run->shared->runs++;
	}
	run->shared->jobs[job].done = true;
}

static pid_t start(const struct run *run, unsigned job, uint64_t begin)
{
	pid_t pid;

	run->shared->jobs[job].done = false;
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("stead-sim: fork");
		exit(1);
	}
	if (!pid) {
		if (run->quiet && !freopen("/dev/null", "w", stderr))
			_exit(1);
		work(run, job, begin);
		fflush(stdout);
		exit(0);
	}
	return pid;
}

// Waits for all; a process that died has found something too, and is followed
// by another that begins after that seed.
static void run_all(const struct run *run)
{
	pid_t pids[RUN_JOBS_MAX];
	unsigned left = run->jobs;
	unsigned deaths = 0;

	for (unsigned job = 0; job < run->jobs; job++)
		pids[job] = start(run, job, job);
	while (left) {
		int status;
		pid_t pid = wait(&status);

		for (unsigned job = 0; job < run->jobs; job++) {
			uint64_t index = run->shared->jobs[job].index;
			char what[64];

			if (pids[job] != pid)
				continue;
			if (!run->shared->jobs[job].done) {
				snprintf(what, sizeof(what), "the simulator died: %s",
				         WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit");
				note_bad(run, index, what);
				report(run, list_seed(run->list, index), 0, what);
				if (!run->quiet && ++deaths < FAILURES_MAX) {
					pids[job] = start(run, job, index + run->jobs);
					continue;
				}
			} else if (!WIFEXITED(status) || WEXITSTATUS(status)) {
				note_bad(run, index,
				         "the simulator died at its exit"); // leaks, if sanitizers are there
				report(run, list_seed(run->list, index), 0, "the simulator died at its exit");
			}
			left--;
		}
	}
}

static struct shared *share(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED) {
		perror("stead-sim: mmap");
		exit(1);
	}
	shared->first_bad = UINT64_MAX;
	return shared;
}

int run_seeds(const struct run_list *list, bool trace, unsigned jobs)
{
	struct run run = {.list = list, .trace = trace, .jobs = jobs, .shared = share()};
	struct timespec begin, end;
	double seconds;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (list_count(list) == 1)
		work(&run, 0, 0); // a debugger likes one process
	else
		run_all(&run);
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	rc = run.shared->first_bad != UINT64_MAX;
	printf("%" PRIu64 " seeds, %" PRIu64 " steps, %.1f s: %s\n", (uint64_t)run.shared->runs,
	       (uint64_t)run.shared->steps, seconds, rc ? "VIOLATIONS" : "clean");
	if (run.shared->roles)
		printf("%" PRIu64 " of them exchange roles: %" PRIu64 " changes of role, at least 5 in %" PRIu64 "\n",
		       (uint64_t)run.shared->roles, (uint64_t)run.shared->changes, (uint64_t)run.shared->often);
	munmap(run.shared, sizeof(*run.shared));
	return rc;
}

uint64_t run_find(const struct run_list *list, unsigned jobs, char *why, size_t size)
{
	struct run run = {.list = list, .quiet = true, .jobs = jobs, .shared = share()};
	uint64_t index;

	run_all(&run);
	index = run.shared->first_bad;
	snprintf(why, size, "%s", run.shared->why);
	munmap(run.shared, sizeof(*run.shared));
	return index == UINT64_MAX ? UINT64_MAX : list_seed(list, index);
}
