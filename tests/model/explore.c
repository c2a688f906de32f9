// SPDX-License-Identifier: Apache-2.0
#include "explore.h"

#include "engine.h"
#include "steps.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct came { // from which world, by which step
	uint32_t from;
	uint8_t step;
};

struct search {
	const struct bounds *bounds;
	size_t packed; // bytes of a world
	uint8_t *worlds; // in the order in which they were found
	struct came *came;
	size_t count, max;
	uint32_t *table; // 1 + index; 0: free
	size_t mask;
	bool whole;
};

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		errx(1, "no memory for %zu worlds", count);
	return memory;
}

static uint8_t *packed_of(const struct search *search, size_t index)
{
	return search->worlds + index * search->packed;
}

// False: known before, or no room.
static bool add(struct search *search, const struct world *world, size_t from, unsigned step)
{
	uint8_t bytes[WORLD_PACKED_MAX];
	size_t at;

	world_pack(world, bytes);
	for (at = XXH3_64bits(bytes, search->packed) & search->mask; search->table[at]; at = (at + 1) & search->mask)
		if (!memcmp(packed_of(search, search->table[at] - 1), bytes, search->packed))
			return false;
	if (search->count == search->max) {
		search->whole = false;
		return false;
	}
	memcpy(packed_of(search, search->count), bytes, search->packed);
	search->came[search->count] = (struct came){(uint32_t)from, (uint8_t)step};
	search->table[at] = (uint32_t)++search->count;
	return true;
}

static void print_way(const struct search *search, size_t index, FILE *trace)
{
	struct world world;
	char text[1000];

	if (index) {
		print_way(search, search->came[index].from, trace);
		step_text(search->came[index].step, text, sizeof(text));
		fprintf(trace, "  %s\n", text);
	}
	world_unpack(&world, packed_of(search, index));
	world_text(&world, text, sizeof(text));
	fputs(text, trace);
}

// What is wrong with a world that was just found, or with the step to it.
static const char *judge(const struct search *search, const struct world *world)
{
	const char *wrong = violation ? violation : world_check(world, search->bounds);

	if (!wrong && search->bounds->switchover)
		wrong = world_settles(world);
	return wrong;
}

// The worlds one step from this one. The first that is wrong is the last added.
static const char *follow(struct search *search, size_t index)
{
	struct world world, next;

	world_unpack(&world, packed_of(search, index));
	for (unsigned step = 0; step < steps_count(); step++) {
		const char *wrong;

		next = world;
		if (!step_make(&next, search->bounds, step))
			continue;
		if (violation && search->count < search->max) {
			wrong = violation;
			(void)add(search, &next, index, step);
			return wrong;
		}
		if (!add(search, &next, index, step))
			continue;
		wrong = judge(search, &next);
		if (wrong)
			return wrong;
	}
	return NULL;
}

static unsigned depth_of(const struct search *search, size_t index)
{
	unsigned depth = 0;

	for (; index; index = search->came[index].from)
		depth++;
	return depth;
}

struct explored explore(const struct bounds *bounds, FILE *trace)
{
	struct search search = {.bounds = bounds, .max = bounds->states, .whole = true};
	struct explored explored = {0};
	uint8_t bytes[WORLD_PACKED_MAX];
	struct world world;

	world_init(&world);
	search.packed = world_pack(&world, bytes);
	search.worlds = allocate(search.max, search.packed);
	search.came = allocate(search.max, sizeof(*search.came));
	for (search.mask = 1; search.mask < search.max * 2; search.mask *= 2)
		;
	search.table = allocate(search.mask--, sizeof(*search.table));
	add(&search, &world, 0, 0);
	for (size_t i = 0; i < search.count && !explored.violation; i++)
		explored.violation = follow(&search, i);
	if (explored.violation && trace) {
		fprintf(trace, "%s:\n", explored.violation);
		print_way(&search, search.count - 1, trace);
	}
	explored.states = search.count;
	explored.depth = depth_of(&search, search.count - 1);
	explored.whole = search.whole;
	free(search.worlds);
	free(search.came);
	free(search.table);
	return explored;
}
