// SPDX-License-Identifier: Apache-2.0
#include "mutants.h"

#include "common/mutant.h"
#include "runner.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#ifdef STEAD_MUTANTS

enum mutant mutant_active = MUTANT_NONE;

#define CLEAN 199 // seeds that must be clean without a defect, as the other program shows of many more

static const char *const names[] = {"NONE",
#define NAME(name) #name,
                                    MUTANTS(NAME)
#undef NAME
};

const char *mutant_name(unsigned mutant)
{
	return mutant < MUTANT_MAX ? names[mutant] : NULL;
}

const char *mutant_current(void)
{
	return mutant_active == MUTANT_NONE ? NULL : names[mutant_active];
}

bool mutant_select(const char *name)
{
	for (unsigned i = 0; mutant_name(i); i++) {
		if (strcmp(names[i], name) == 0) {
			mutant_active = (enum mutant)i;
			return true;
		}
	}
	return false;
}

int mutants_check(uint64_t last, unsigned jobs)
{
	struct run_list list = {.to = last};
	unsigned survived = 0;
	char why[1024];

	for (unsigned i = MUTANT_NONE; i < MUTANT_MAX; i++) {
		uint64_t seed;

		mutant_active = (enum mutant)i;
		list.to = i == MUTANT_NONE && last > CLEAN ? CLEAN : last;
		seed = run_find(&list, jobs, why, sizeof(why));
		if (i == MUTANT_NONE && seed != UINT64_MAX) {
			printf("without a defect: seed %" PRIu64 ": %s\n", seed, why);
			return 1;
		}
		if (i == MUTANT_NONE)
			continue;
		if (seed == UINT64_MAX) {
			printf("%-32s SURVIVED\n", names[i]);
			survived++;
		} else {
			printf("%-32s seed %5" PRIu64 "  %.100s\n", names[i], seed, why);
		}
		fflush(stdout);
	}
	printf("%u defects, %u caught\n", (unsigned)MUTANT_MAX - 1, (unsigned)MUTANT_MAX - 1 - survived);
	return survived != 0;
}

#else

const char *mutant_name(unsigned mutant)
{
	(void)mutant;
	return NULL;
}

const char *mutant_current(void)
{
	return NULL;
}

bool mutant_select(const char *name)
{
	(void)name;
	return false;
}

int mutants_check(uint64_t last, unsigned jobs)
{
	(void)last;
	(void)jobs;
	fputs("stead-sim: built without mutants: use stead-sim-mutants\n", stderr);
	return 2;
}

#endif
