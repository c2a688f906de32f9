// SPDX-License-Identifier: Apache-2.0
// Loads for a primary: synthetic ones, and one that was recorded.
#ifndef STEAD_LOAD_LOADS_H
#define STEAD_LOAD_LOADS_H

#include "world.h"

struct load_state {
	struct world *world;
	const struct load *load;
	double due; // bytes
	uint64_t cursor; // block, or line of the record
};

struct load {
	const char *name;
	double rpo; // seconds
	uint64_t link; // bytes a second
	unsigned seconds;
	void (*step)(struct load_state *state, unsigned ms); // the writes of this millisecond
};

extern const struct load load_steady; // 2 MB/s anywhere
extern const struct load load_hot, load_hot_short; // half of that to a hundredth of the volume
extern const struct load load_hot_with_pauses; // all of it hot, and in bursts
extern const struct load load_uneven; // 2 MB/s, on a link that is not always as fast
extern const struct load load_bursts; // 8 MB within 100 ms, every 10 s
extern const struct load load_day_and_night; // 3.5 MB/s and 20 kB/s, half a minute each
extern const struct load load_sequential; // 3 MB/s
extern const struct load load_trickle; // 20 kB/s
extern const struct load load_recorded; // sqlite-ext4.txt

// The record is read first. False: it cannot be.
bool loads_read(const char *path);
void loads_forget(void);

#endif
