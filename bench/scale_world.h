// SPDX-License-Identifier: Apache-2.0
// The world that `scale` puts an engine into: a volume that keeps nothing, a
// log in memory, a standby that has everything at once, and a clock that goes
// to the next timer when there is nothing else to do.
#ifndef STEAD_BENCH_SCALE_WORLD_H
#define STEAD_BENCH_SCALE_WORLD_H

#include "agent/source.h"

#include <stdint.h>

#define EPOCH 1 // that the standby has when it begins

// The parts of the engine's configuration that are the world's, for one volume
// of so many bytes. state stays valid and as it is.
void world_make(const struct pair_state *state, uint64_t bytes, struct source_config *config);

// One call into the engine, whatever is next.
void world_step(void);

// To be called by the engine's event() for SOURCE_CUT, and around calls of
// world_step() and others, to know what the cut took.
struct cost {
	unsigned cuts;
	uint64_t cut, held; // ns, the most: until it was told, and until the call was over
};
void cost_begin(void);
void cost_cut(void);
void cost_end(struct cost *cost);

uint64_t used_ns(void); // CPU time, for others may use this machine; nothing here waits
void *memory_of(size_t bytes); // zeroed, and taken when it is touched
void give_up(const char *what) __attribute__((noreturn));

#endif
