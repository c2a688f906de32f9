// SPDX-License-Identifier: Apache-2.0
#include "rng.h"

uint64_t rng_mix(uint64_t value)
{
	value += UINT64_C(0x9e3779b97f4a7c15);
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

void rng_seed(struct rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		rng->state[i] = seed = rng_mix(seed + (uint64_t)i);
}

static uint64_t rotate(uint64_t value, int bits)
{
	return (value << bits) | (value >> (64 - bits));
}

// xoshiro256**
uint64_t rng_next(struct rng *rng)
{
	uint64_t *s = rng->state;
	uint64_t result = rotate(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	if (!limit)
		return 0;
	return (uint64_t)(((unsigned __int128)rng_next(rng) * limit) >> 64);
}

uint64_t rng_range(struct rng *rng, uint64_t low, uint64_t high)
{
	return low + rng_below(rng, high - low + 1);
}

bool rng_chance(struct rng *rng, unsigned of, unsigned in)
{
	return rng_below(rng, in) < of;
}

uint64_t rng_scale(struct rng *rng, uint64_t low, uint64_t high)
{
	uint64_t top = low;
	unsigned doublings = 0;

	while (top < high && doublings < 63) {
		top *= 2;
		doublings++;
	}
	top = low << rng_below(rng, doublings + 1);
	if (top > high)
		top = high;
	return rng_range(rng, low, top);
}
