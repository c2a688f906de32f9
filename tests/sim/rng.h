// SPDX-License-Identifier: Apache-2.0
// Every choice of the simulator is drawn from one of these: same seed, same run.
#ifndef STEAD_SIM_RNG_H
#define STEAD_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t limit); // 0 .. limit - 1; 0 when limit is 0
uint64_t rng_range(struct rng *rng, uint64_t low, uint64_t high); // both included
bool rng_chance(struct rng *rng, unsigned of, unsigned in); // of / in

// Spread over orders of magnitude: as many small values as large ones.
uint64_t rng_scale(struct rng *rng, uint64_t low, uint64_t high);

uint64_t rng_mix(uint64_t value); // a hash, no state

#endif
