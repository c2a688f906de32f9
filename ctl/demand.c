// SPDX-License-Identifier: Apache-2.0
#include "demand.h"

#include "common/bitmap.h"
#include "common/block.h"

#include <stdlib.h>

#define SECOND UINT64_C(1000000000)

// An epoch may take a quarter of the RPO to come together and another one to
// get across: half of the RPO is what lag is held to.
static const uint64_t rpos[DEMAND_RPOS] = {SECOND, 5 * SECOND, 30 * SECOND, 300 * SECOND};
#define EPOCH(rpo) (rpos[rpo] / 4)

struct window {
	struct bitmap dirty; // blocks of the epoch that is open
	uint64_t begin;
	uint64_t epochs, blocks, largest; // of those that have ended
};

struct demand {
	uint64_t blocks;
	uint64_t written;
	struct window windows[DEMAND_RPOS];
};

struct demand *demand_new(uint64_t bytes, uint64_t begin)
{
	struct demand *demand = calloc(1, sizeof(*demand));

	if (!demand)
		return NULL;
	demand->blocks = bytes_to_blocks(bytes);
	for (unsigned i = 0; i < DEMAND_RPOS; i++) {
		demand->windows[i].begin = begin;
		if (bitmap_init(&demand->windows[i].dirty, demand->blocks) < 0) {
			demand_free(demand);
			return NULL;
		}
	}
	return demand;
}

void demand_free(struct demand *demand)
{
	for (unsigned i = 0; demand && i < DEMAND_RPOS; i++)
		bitmap_destroy(&demand->windows[i].dirty);
	free(demand);
}

static void end_epochs(struct window *window, uint64_t length, uint64_t now)
{
	uint64_t past = now > window->begin ? (now - window->begin) / length : 0;

	if (!past)
		return;
	window->blocks += window->dirty.count;
	if (window->dirty.count > window->largest)
		window->largest = window->dirty.count;
	bitmap_clear_all(&window->dirty);
	window->epochs += past;
	window->begin += past * length;
}

void demand_write(struct demand *demand, uint64_t now, uint64_t offset, uint64_t length)
{
	uint64_t first = offset / BLOCK_SIZE, end = bytes_to_blocks(offset + length);

	if (end > demand->blocks)
		end = demand->blocks;
	if (!length || first >= end)
		return;
	demand->written += length;
	for (unsigned i = 0; i < DEMAND_RPOS; i++) {
		end_epochs(&demand->windows[i], EPOCH(i), now);
		bitmap_set(&demand->windows[i].dirty, first, end - first);
	}
}

void demand_figures(struct demand *demand, uint64_t now, unsigned rpo, struct demand_figures *figures)
{
	struct window *window = &demand->windows[rpo];
	uint64_t epoch = EPOCH(rpo);
	double seconds;

	end_epochs(window, epoch, now);
	seconds = (double)window->epochs * (double)epoch / (double)SECOND;
	*figures = (struct demand_figures){
	        .rpo = rpos[rpo],
	        .epochs = window->epochs,
	        .mean = window->epochs ? (uint64_t)((double)window->blocks * (double)BLOCK_SIZE / seconds) : 0,
	        .peak = (uint64_t)((double)window->largest * (double)BLOCK_SIZE * (double)SECOND / (double)epoch),
	        .largest = window->largest * BLOCK_SIZE,
	};
}

uint64_t demand_written(const struct demand *demand)
{
	return demand->written;
}
