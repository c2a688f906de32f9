// SPDX-License-Identifier: Apache-2.0
// Numbers in no order: places that are written once each, without a list of
// those that were.
#ifndef STEAD_BENCH_PERMUTE_H
#define STEAD_BENCH_PERMUTE_H

#include <stdint.h>

// A hash of 64 bits in which every bit counts (splitmix64's).
static inline uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

// Where value comes in a permutation of 0 to count - 1: a Feistel network over
// the next even number of bits, walked until it is within.
static inline uint64_t permuted(uint64_t value, uint64_t count, uint64_t seed)
{
	unsigned half = 1;
	uint64_t mask;

	while (half < 32 && count > UINT64_C(1) << 2 * half)
		half++;
	mask = (UINT64_C(1) << half) - 1;
	do {
		uint64_t left = value >> half, right = value & mask;

		for (uint64_t round = 0; round < 4; round++) {
			uint64_t key = (seed << 3 | round) * UINT64_C(0x9e3779b97f4a7c15);
			uint64_t next = left ^ (mix(right + key) & mask);

			left = right;
			right = next;
		}
		value = left << half | right;
	} while (value >= count);
	return value;
}

#endif
