// SPDX-License-Identifier: Apache-2.0
// scale: what the primary's engine needs for a large volume of which little
// changes: time of a cut, time to find the changed blocks, memory. The engine is
// the real one; its disks, standby and clock are not (scale_world.h).
//
//   scale SIZE BLOCKS
//
// Prints one line of JSON; times are CPU time.
#include "scale_world.h"

#include "common/units.h"
#include "permute.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEPTH 32
#define CUTS 5

static struct scale {
	struct source *source;
	struct pair_state state;
	uint64_t blocks;
	struct cost cost;
	uint64_t durable, changing;
} scale;

static void told(void *user, enum source_event event, uint64_t epoch, const char *text)
{
	(void)user;
	if (event == SOURCE_CUT) {
		cost_cut();
	} else if (event == SOURCE_DURABLE) {
		scale.durable = epoch;
	} else if (event == SOURCE_TOUCHED) {
		source_touched(scale.source, 0);
	} else if (event == SOURCE_REFUSED || event == SOURCE_DISCONNECTED || event == SOURCE_WIDENED) {
		give_up(text ? text : "the engine gave up");
	}
}

// -- what is measured --

static void step(void)
{
	cost_begin();
	world_step();
	cost_end(&scale.cost);
}

static uint64_t random_number(void *user)
{
	static uint64_t last;

	(void)user;
	return mix(++last);
}

static void written(struct request *request, int error)
{
	if (error)
		give_up("a write failed");
	request->length = 0;
	scale.changing--;
}

static void change(uint64_t count, uint64_t first)
{
	static uint8_t data[4096] __attribute__((aligned(4096)));
	static struct request requests[DEPTH];

	for (uint64_t i = 0; i < count;) {
		for (unsigned slot = 0; slot < DEPTH && i < count; slot++, i++) {
			requests[slot] = (struct request){.op = REQUEST_WRITE,
			                                  .offset = permuted(first + i, scale.blocks, 1) << BLOCK_SHIFT,
			                                  .length = sizeof(data),
			                                  .data = data,
			                                  .done = written};
			scale.changing++;
			source_submit(scale.source, &requests[slot]);
		}
		while (scale.changing)
			step();
	}
}

static uint64_t find(uint64_t expected)
{
	uint64_t began = used_ns(), block = 0, count, found = 0;

	while (source_dirty(scale.source, 0, &block, &count)) {
		found += count;
		block += count;
	}
	if (found != expected)
		give_up("not all changed blocks are found");
	return used_ns() - began;
}

// A file as the agent's, so that it costs what it costs there.
static void *map_of(size_t bytes)
{
	FILE *file = tmpfile();
	void *memory;

	if (!file || ftruncate(fileno(file), (off_t)bytes) < 0)
		give_up("no file for the map");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
	if (memory == MAP_FAILED)
		give_up("no memory for the map");
	madvise(memory, bytes, MADV_RANDOM);
	fclose(file);
	return memory;
}

static uint64_t resident(void)
{
	unsigned long long total, pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file || fscanf(file, "%llu %llu", &total, &pages) != 2)
		give_up("no /proc");
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void engine_start(uint64_t bytes)
{
	struct source_config config = {.state = &scale.state,
	                               .boot = {{3}},
	                               .capture_memory = 64 << 20,
	                               .rpo = 5 * NSEC_PER_SEC,
	                               .random = random_number,
	                               .event = told};

	scale.state = (struct pair_state){.pair = {{1}},
	                                  .role = ROLE_PRIMARY,
	                                  .lineage = {.generation = {{2}}},
	                                  .untouched = true,
	                                  .consistent = true,
	                                  .promoted_epoch = EPOCH,
	                                  .volume_count = 1,
	                                  .volumes = {{"data", bytes}}};
	world_make(&scale.state, bytes, &config);
	config.map = map_of(source_map_bytes(1, &bytes));
	scale.source = source_new(&config);
	if (!scale.source)
		give_up("no memory for the engine");
	source_start(scale.source);
}

static bool replicating(void)
{
	struct source_status status;

	source_status(scale.source, &status);
	return status.connected && status.serving;
}

int main(int argc, char **argv)
{
	uint64_t bytes, count, found = UINT64_MAX, shipping = 0, began, memory = 0;

	if (argc != 3 || parse_size(argv[1], &bytes) < 0 || bytes % BLOCK_SIZE ||
	    (count = strtoull(argv[2], NULL, 10)) == 0 || count * CUTS > bytes / BLOCK_SIZE) {
		fprintf(stderr, "usage: scale SIZE BLOCKS\n");
		return 2;
	}
	scale.blocks = bytes / BLOCK_SIZE;
	engine_start(bytes);
	while (!replicating())
		step();
	for (unsigned round = 0; round < CUTS; round++) {
		uint64_t before = scale.durable, took;

		source_pause(scale.source, true);
		change(count, round * count);
		took = find(count);
		if (took < found)
			found = took;
		began = used_ns();
		cost_begin();
		source_pause(scale.source, false);
		cost_end(&scale.cost);
		while (scale.durable == before)
			step();
		shipping += used_ns() - began;
		if (round == 0)
			memory = resident();
	}
	printf("{\"cuts\": %u, \"cut_us\": %.2f, \"held_us\": %.2f, \"find_us\": %.1f, \"ship_us\": %.1f, \"rss_bytes\": %" PRIu64
	       "}\n",
	       scale.cost.cuts, (double)scale.cost.cut / 1e3, (double)scale.cost.held / 1e3, (double)found / 1e3,
	       (double)shipping / CUTS / 1e3, memory);
	return 0;
}
