// SPDX-License-Identifier: Apache-2.0
// Checks the protocol by which roles change hands: every world that two nodes
// can get into, within bounds.
//
//   stead-model                 all bounds
//   stead-model NAME [STATES]   one of them, with room for more or fewer states
//   stead-model --variants      that deliberately wrong protocols are found out
//   stead-model --variant NAME  one of those, with the way to what is wrong
#include "explore.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SWITCHOVER,
	ORDERS,
	POWER,
	ROLLBACK,
	REPLACED,
	BOUNDS
};

static const struct bounds all_bounds[BOUNDS] = {
        [SWITCHOVER] = {.name = "switchover",
                        .writes = 2,
                        .promotions = 2,
                        .crashes = 1,
                        .losses = 1,
                        .power = true,
                        .switchover = true,
                        .states = 2000000},
        [ORDERS] = {.name = "orders",
                    .writes = 2,
                    .promotions = 2,
                    .crashes = 1,
                    .losses = 1,
                    .orders = true,
                    .states = 4000000},
        [POWER] = {.name = "power",
                   .writes = 2,
                   .promotions = 1,
                   .crashes = 1,
                   .losses = 1,
                   .orders = true,
                   .power = true,
                   .states = 2500000},
        [ROLLBACK] = {.name = "rollback",
                      .writes = 2,
                      .promotions = 1,
                      .losses = 1,
                      .orders = true,
                      .rollback = true,
                      .states = 3000000},
        [REPLACED] = {.name = "replaced",
                      .writes = 1,
                      .crashes = 1,
                      .losses = 0,
                      .power = true,
                      .rollback = true,
                      .states = 2500000},
};

static const struct {
	const char *name;
	unsigned bounds; // in which it shows soon
} variants[] = {
#define VARIANT_ENTRY(name, bounds) [VARIANT_##name] = {#name, bounds},
        VARIANTS(VARIANT_ENTRY)
#undef VARIANT_ENTRY
};

static struct explored check(const struct bounds *bounds, FILE *trace)
{
	clock_t begun = clock();
	struct explored explored = explore(bounds, trace);

	printf("%-10s %8zu states, %2u steps, %4.1f s, %s\n", bounds->name, explored.states, explored.depth,
	       (double)(clock() - begun) / CLOCKS_PER_SEC,
	       explored.violation ? explored.violation
	       : explored.whole   ? "all of them hold"
	                          : "the nearest hold");
	fflush(stdout);
	return explored;
}

static int check_variants(void)
{
	int result = 0;

	for (unsigned i = 1; i < VARIANT_MAX; i++) {
		variant = i;
		printf("%-20s ", variants[i].name);
		if (check(&all_bounds[variants[i].bounds], NULL).violation)
			continue;
		printf("%s was not found out\n", variants[i].name);
		result = 1;
	}
	return result;
}

static int check_variant(const char *name)
{
	for (unsigned i = 1; i < VARIANT_MAX; i++) {
		if (strcmp(name, variants[i].name) != 0)
			continue;
		variant = i;
		return check(&all_bounds[variants[i].bounds], stdout).violation ? 1 : 0;
	}
	fprintf(stderr, "no variant is called %s\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	bool good = true;

	if (argc == 2 && !strcmp(argv[1], "--variants"))
		return check_variants();
	if (argc == 3 && !strcmp(argv[1], "--variant"))
		return check_variant(argv[2]);
	for (unsigned i = 0; i < BOUNDS; i++) {
		struct bounds bounds = all_bounds[i];
		struct explored explored;

		if (argc > 1 && strcmp(argv[1], bounds.name) != 0)
			continue;
		if (argc > 2)
			bounds.states = strtoul(argv[2], NULL, 10);
		explored = check(&bounds, stdout);
		good &= !explored.violation && (explored.whole || argc > 2);
	}
	return good ? 0 : 1;
}
