// SPDX-License-Identifier: Apache-2.0
#include "ranges.h"

#include <stddef.h>

#define REGION_SHIFT 8 // blocks

static struct range **head_for(struct ranges *ranges, const struct range *range)
{
	if (range->count > UINT64_C(1) << REGION_SHIFT)
		return &ranges->wide;
	return &ranges->buckets[(range->first >> REGION_SHIFT) % RANGES_BUCKETS];
}

void ranges_add(struct ranges *ranges, struct range *range)
{
	struct range **head = head_for(ranges, range);

	range->next = *head;
	range->link = head;
	if (range->next)
		range->next->link = &range->next;
	*head = range;
	ranges->total++;
	ranges->wide_total += head == &ranges->wide;
}

void ranges_remove(struct ranges *ranges, struct range *range)
{
	ranges->wide_total -= head_for(ranges, range) == &ranges->wide;
	ranges->total--;
	*range->link = range->next;
	if (range->next)
		range->next->link = range->link;
	range->next = NULL;
	range->link = NULL;
}

static struct range *find_in(struct range *range, uint64_t first, uint64_t count,
                             int (*visit)(struct range *range, void *user), void *user)
{
	for (; range; range = range->next)
		if (range->first < first + count && first < range->first + range->count && visit(range, user))
			return range;
	return NULL;
}

struct range *ranges_find(const struct ranges *ranges, uint64_t first, uint64_t count,
                          int (*visit)(struct range *range, void *user), void *user)
{
	uint64_t from = first >> REGION_SHIFT, to = (first + count - 1) >> REGION_SHIFT;
	struct range *found;

	if (!ranges->total)
		return NULL;
	if (from > 0)
		from--; // a short range may reach over from the region before
	if (to - from >= RANGES_BUCKETS)
		to = from + RANGES_BUCKETS - 1;
	for (uint64_t region = from; region <= to; region++) {
		found = find_in(ranges->buckets[region % RANGES_BUCKETS], first, count, visit, user);
		if (found)
			return found;
	}
	return ranges->wide_total ? find_in(ranges->wide, first, count, visit, user) : NULL;
}
