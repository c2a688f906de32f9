// SPDX-License-Identifier: Apache-2.0
#include "redo_index.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_SHIFT 40 // more blocks than a volume has
#define FRAMES_MAX UINT32_C(0x80000000)
#define ZERO_FLAG UINT32_C(0x80000000)

// While it is built: an extent, by the number of its frame and whether it is
// zero. Sealed: disjoint ones, in the order of their place.
struct redo_entry {
	uint64_t place; // volume and first block
	uint32_t count;
	uint32_t frame; // with ZERO_FLAG
};

struct redo_index {
	struct redo_part all; // its entries are gone when it is sealed
	struct redo_entry *segments;
	size_t segment_count, segment_room;
};

// Makes room for one more of size bytes. False: no memory.
static bool grow(void *array, uint64_t count, uint32_t *room, size_t size)
{
	uint64_t wanted = *room ? (uint64_t)*room * 2 : 64;
	void **at = array, *larger;

	if (count < *room)
		return true;
	if (wanted > UINT32_MAX)
		return false;
	larger = realloc(*at, wanted * size);
	if (!larger)
		return false;
	*at = larger;
	*room = (uint32_t)wanted;
	return true;
}

int redo_part_add(struct redo_part *part, uint64_t offset, uint32_t length, const struct wire_blocks *blocks)
{
	if (!grow(&part->frames, part->frame_count, &part->frame_room, sizeof(*part->frames)))
		return -ENOMEM;
	part->frames[part->frame_count] = (struct redo_frame){offset, length};
	for (uint32_t i = 0; i < blocks->extent_count; i++) {
		struct extent extent = blocks_extent(blocks, i);

		if (!grow(&part->entries, part->entry_count, &part->entry_room, sizeof(*part->entries)))
			return -ENOMEM;
		part->entries[part->entry_count++] = (struct redo_entry){
		        .place = (uint64_t)blocks->volume << VOLUME_SHIFT | extent.first,
		        .count = extent.count,
		        .frame = part->frame_count | (extent.zero ? ZERO_FLAG : 0),
		};
	}
	part->frame_count++;
	return 0;
}

void redo_part_clear(struct redo_part *part)
{
	free(part->frames);
	free(part->entries);
	memset(part, 0, sizeof(*part));
}

struct redo_index *redo_index_new(void)
{
	return calloc(1, sizeof(struct redo_index));
}

void redo_index_free(struct redo_index *index)
{
	if (!index)
		return;
	redo_part_clear(&index->all);
	free(index->segments);
	free(index);
}

int redo_index_take(struct redo_index *index, struct redo_part *part)
{
	struct redo_part *all = &index->all;
	uint32_t before = all->frame_count;

	if (part->frame_count > FRAMES_MAX - 1 - before || part->entry_count > UINT32_MAX / 2 - all->entry_count)
		return -E2BIG;
	for (uint32_t i = 0; i < part->frame_count; i++) {
		if (!grow(&all->frames, all->frame_count, &all->frame_room, sizeof(*all->frames)))
			return -ENOMEM;
		all->frames[all->frame_count++] = part->frames[i];
	}
	for (uint32_t i = 0; i < part->entry_count; i++) {
		if (!grow(&all->entries, all->entry_count, &all->entry_room, sizeof(*all->entries)))
			return -ENOMEM;
		all->entries[all->entry_count] = part->entries[i];
		all->entries[all->entry_count++].frame += before;
	}
	redo_part_clear(part);
	return 0;
}

// Sealing: a sweep over the places. A heap holds the extents that reach the
// place, the newest on top; those that have ended leave it when they come to
// the top.

struct sweep {
	const struct redo_entry **heap;
	uint32_t count;
};

static uint64_t end_of(const struct redo_entry *entry)
{
	return entry->place + entry->count;
}

static bool newer(const struct redo_entry *a, const struct redo_entry *b)
{
	bool later = (a->frame & ~ZERO_FLAG) > (b->frame & ~ZERO_FLAG);

	return MUTANT(REDO_OLDER_WINS) ? !later : later;
}

static void push(struct sweep *sweep, const struct redo_entry *entry)
{
	uint32_t at = sweep->count++;

	for (; at > 0 && newer(entry, sweep->heap[(at - 1) / 2]); at = (at - 1) / 2)
		sweep->heap[at] = sweep->heap[(at - 1) / 2];
	sweep->heap[at] = entry;
}

static void pop(struct sweep *sweep)
{
	const struct redo_entry *last = sweep->heap[--sweep->count];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < sweep->count) {
		if (child + 1 < sweep->count && newer(sweep->heap[child + 1], sweep->heap[child]))
			child++;
		if (!newer(sweep->heap[child], last))
			break;
		sweep->heap[at] = sweep->heap[child];
		at = child;
	}
	sweep->heap[at] = last;
}

static int add_segment(struct redo_index *index, uint64_t place, uint64_t end, uint32_t frame)
{
	struct redo_entry *last = index->segment_count ? &index->segments[index->segment_count - 1] : NULL;
	uint32_t source = frame & ZERO_FLAG ? REDO_ZERO : frame;

	if (last && last->frame == source && end_of(last) == place && end - last->place <= UINT32_MAX) {
		last->count = (uint32_t)(end - last->place);
		return 0;
	}
	if (!index->segments || index->segment_count == index->segment_room) {
		size_t room = index->segment_room ? index->segment_room * 2 : 64;
		struct redo_entry *larger = realloc(index->segments, room * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		index->segments = larger;
		index->segment_room = room;
	}
	index->segments[index->segment_count++] = (struct redo_entry){place, (uint32_t)(end - place), source};
	return 0;
}

static int compare_places(const void *a, const void *b)
{
	const struct redo_entry *one = a, *other = b;

	return one->place < other->place ? -1 : one->place > other->place;
}

int redo_index_seal(struct redo_index *index)
{
	const struct redo_entry *entries = index->all.entries;
	uint32_t count = index->all.entry_count, i = 0;
	struct sweep sweep = {.heap = malloc(((size_t)count + 1) * sizeof(*sweep.heap))};
	uint64_t place = 0, end;
	int error = 0;

	if (!sweep.heap)
		return -ENOMEM;
	if (count)
		qsort(index->all.entries, count, sizeof(*entries), compare_places);
	while (!error && (i < count || sweep.count)) {
		if (!sweep.count)
			place = entries[i].place;
		for (; i < count && entries[i].place == place; i++)
			push(&sweep, &entries[i]);
		while (sweep.count && end_of(sweep.heap[0]) <= place)
			pop(&sweep);
		if (!sweep.count)
			continue;
		end = end_of(sweep.heap[0]);
		if (i < count && entries[i].place < end)
			end = entries[i].place;
		error = add_segment(index, place, end, sweep.heap[0]->frame);
		place = end;
	}
	free(sweep.heap);
	free(index->all.entries);
	index->all.entries = NULL;
	index->all.entry_count = index->all.entry_room = 0;
	return error;
}

bool redo_index_next(const struct redo_index *index, unsigned volume, uint64_t from, struct redo_segment *segment)
{
	uint64_t place = (uint64_t)volume << VOLUME_SHIFT | from, before;
	size_t low = 0, high = index->segment_count;
	const struct redo_entry *found;

	while (low < high) { // the first that ends after the place
		size_t middle = low + (high - low) / 2;

		if (end_of(&index->segments[middle]) > place)
			high = middle;
		else
			low = middle + 1;
	}
	if (low == index->segment_count || index->segments[low].place >> VOLUME_SHIFT != volume)
		return false;
	found = &index->segments[low];
	before = found->place < place ? place - found->place : 0;
	*segment = (struct redo_segment){
	        .first = (found->place + before) & ((UINT64_C(1) << VOLUME_SHIFT) - 1),
	        .count = found->count - before,
	        .frame = found->frame,
	};
	return true;
}

const struct redo_frame *redo_index_frame(const struct redo_index *index, uint32_t number)
{
	return &index->all.frames[number];
}
