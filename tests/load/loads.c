// SPDX-License-Identifier: Apache-2.0
#include "loads.h"

#include "common/block.h"
#include "tests/sim/memory.h"

#include <inttypes.h>
#include <stdio.h>

#define SECTORS (BLOCK_SIZE / 512)
#define BLOCKS (WORLD_BYTES / BLOCK_SIZE)
#define SEQUENTIAL 16 // blocks of a write

struct recorded {
	unsigned ms;
	uint64_t offset, length; // KiB
};

static struct recorded *record;
static unsigned record_count;

bool loads_read(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[200];
	struct recorded read;

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%u %" SCNu64 " %" SCNu64, &read.ms, &read.offset, &read.length) != 3)
			continue;
		record = resize(record, (record_count + 1) * sizeof(*record));
		record[record_count++] = read;
	}
	fclose(file);
	return record_count > 0;
}

void loads_forget(void)
{
	free(record);
	record = NULL;
	record_count = 0;
}

// How many writes of so many bytes this millisecond gets of a rate.
static unsigned due(struct load_state *state, double rate, uint64_t bytes)
{
	unsigned count;

	state->due += rate / 1000;
	count = (unsigned)(state->due / (double)bytes);
	state->due -= (double)count * (double)bytes;
	return count;
}

static void write_block(struct load_state *state, uint64_t below)
{
	world_write(state->world, rng_below(&state->world->rng, below) * SECTORS, SECTORS);
}

static void step_steady(struct load_state *state, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(state, 2e6, BLOCK_SIZE); i; i--)
		write_block(state, BLOCKS);
}

static void step_hot(struct load_state *state, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(state, 2e6, BLOCK_SIZE); i; i--)
		write_block(state, rng_chance(&state->world->rng, 1, 2) ? BLOCKS / 100 : BLOCKS);
}

// Ten times as fast, to a sixteenth of the volume, for a third of the time.
static void step_hot_with_pauses(struct load_state *state, unsigned ms)
{
	if (ms % 1500 < 500)
		for (unsigned i = due(state, 10e6, BLOCK_SIZE); i; i--)
			write_block(state, BLOCKS / 16);
}

// As steady, while the link is half as fast now and then.
static void step_uneven(struct load_state *state, unsigned ms)
{
	if (ms % 1000 == 0)
		state->world->network.bandwidth = state->load->link / (rng_chance(&state->world->rng, 1, 4) ? 2 : 1);
	step_steady(state, ms);
}

static void step_bursts(struct load_state *state, unsigned ms)
{
	if (ms % 10000 < 100)
		for (unsigned i = 0; i < 20; i++)
			write_block(state, BLOCKS);
}

static void step_day_and_night(struct load_state *state, unsigned ms)
{
	for (unsigned i = due(state, ms % 60000 < 30000 ? 3.5e6 : 20e3, BLOCK_SIZE); i; i--)
		write_block(state, BLOCKS);
}

static void step_sequential(struct load_state *state, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(state, 3e6, SEQUENTIAL * BLOCK_SIZE); i; i--) {
		world_write(state->world, state->cursor * SECTORS, SEQUENTIAL * SECTORS);
		state->cursor = (state->cursor + SEQUENTIAL) % BLOCKS;
	}
}

static void step_trickle(struct load_state *state, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(state, 20e3, BLOCK_SIZE); i; i--)
		write_block(state, BLOCKS);
}

// Over and over.
static void step_recorded(struct load_state *state, unsigned ms)
{
	unsigned length = record[record_count - 1].ms + 1;

	if (ms % length == 0)
		state->cursor = 0;
	while (state->cursor < record_count && record[state->cursor].ms <= ms % length) {
		world_write(state->world, record[state->cursor].offset * 2, record[state->cursor].length * 2);
		state->cursor++;
	}
}

const struct load load_steady = {"steady", 5, 4000000, 60, step_steady};
const struct load load_hot = {"hot set", 30, 4000000, 120, step_hot};
const struct load load_hot_short = {"hot set", 5, 4000000, 60, step_hot};
const struct load load_hot_with_pauses = {"hot, pauses", 30, 4000000, 120, step_hot_with_pauses};
const struct load load_uneven = {"uneven link", 5, 2400000, 120, step_uneven};
const struct load load_bursts = {"bursts", 10, 4000000, 90, step_bursts};
const struct load load_day_and_night = {"day, night", 5, 4000000, 120, step_day_and_night};
const struct load load_sequential = {"sequential", 5, 4000000, 60, step_sequential};
const struct load load_trickle = {"trickle", 60, 4000000, 60, step_trickle};
const struct load load_recorded = {"recorded", 5, 2000000, 60, step_recorded};
