// SPDX-License-Identifier: Apache-2.0
// Ranges of blocks that something is under way for (writes in flight, reads
// for capture), to be asked what overlaps. Built for hundreds of short ranges:
// each is filed under the 1 MiB region that it begins in.
#ifndef STEAD_RANGES_H
#define STEAD_RANGES_H

#include <stdint.h>

#define RANGES_BUCKETS 256

// Embedded in its owner.
struct range {
	uint64_t first, count; // blocks
	struct range *next, **link;
};

struct ranges {
	struct range *buckets[RANGES_BUCKETS];
	struct range *wide; // longer than a region
	unsigned total, wide_total;
};

void ranges_add(struct ranges *ranges, struct range *range);
void ranges_remove(struct ranges *ranges, struct range *range);

// Calls visit() for the ranges that overlap [first, first + count), in no
// order, until it returns true, and returns that range, or NULL.
struct range *ranges_find(const struct ranges *ranges, uint64_t first, uint64_t count,
                          int (*visit)(struct range *range, void *user), void *user);

#endif
