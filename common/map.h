// SPDX-License-Identifier: Apache-2.0
// The change sets of a pair in memory that outlives the process: which blocks
// changed in the open epoch, and in each epoch that is not yet durable on the
// standby. Whichever store is the last of a process, nothing is missing in what
// it leaves. docs/formats.md has the bytes.
#ifndef STEAD_MAP_H
#define STEAD_MAP_H

#include "bitmap.h"
#include "block.h"
#include "lineage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_SETS 4 // one open, the others frozen or free
#define GRANULE_BLOCKS 64 // unit in which zeroes are remembered: a word of the bits

enum set_state {
	SET_FREE,
	SET_OPEN, // takes the marks of new writes
	SET_FROZEN, // closed by the cut of its epoch
};

struct change_set {
	enum set_state state;
	uint64_t epoch; // FROZEN: 0 when its cut is not known for sure
	int64_t oldest; // wall clock of the first acknowledged write in it, ns; 0: none
	uint64_t opened; // clock_now() of the first mark; 0: none
	struct bitmap *dirty; // [volume], blocks
	struct bitmap *zero; // [volume], granules whose blocks are all dirty and zero
};

struct map {
	void *memory;
	unsigned volume_count;
	struct change_set sets[MAP_SETS];

	// Kept in memory by map_save().
	uint64_t cut; // the last epoch that was cut
	uint64_t
	        acknowledged; // the last epoch that the standby called durable: an atomic one, or a part of a partial one
	struct id sync; // the sync in place under way, or none
	bool partial; // of that sync nothing is missing but what the sets name
	bool suspect; // changes were forgotten: all blocks are to be compared
};

struct map_identity {
	struct id pair;
	struct id generation;
	struct id boot;
	unsigned volume_count;
	uint64_t blocks[VOLUMES_MAX];
};

size_t map_bytes(unsigned volume_count, const uint64_t *blocks);

// Whether what memory holds is this map and complete: written in the same boot,
// or closed with map_close().
bool map_trusted(const void *memory, const struct map_identity *identity);

// Makes memory all zero that holds another map: the first page is of no use from the
// first store on, and zero after the last one.
void map_wipe(void *memory, const struct map_identity *identity);

// Takes over a trusted map, or formats one in memory that is all zero, which is
// trusted from the first map_save() on; key is random. damaged counts parts of
// the bits that were found damaged and taken as all changed. 0 or -ENOMEM.
int map_open(struct map *map, void *memory, const struct map_identity *identity, uint64_t key, unsigned *damaged);
void map_destroy(struct map *map); // leaves the memory as it is

// Writes what is not bits. To be called before an effect of it is seen.
void map_save(struct map *map);

// From now on changes may be missing in it, also those of a sync under way.
void map_suspect(struct map *map);

// Marks the map as complete: nothing changes it any more.
void map_close(void *memory);

uint64_t set_blocks(const struct map *map, const struct change_set *set);
bool set_empty(const struct map *map, const struct change_set *set);
struct change_set *map_free_set(struct map *map); // or NULL
void set_release(struct map *map, struct change_set *set); // clears it and makes it free

// The first run of changed blocks at or after *block, in any set but those of
// epochs up to after. False: none.
bool map_next(const struct map *map, unsigned volume, uint64_t after, uint64_t *block, uint64_t *count);

// Moves members of from into into, a bounded number of words for each call,
// beginning at *volume, *index (0, 0 at first); true when all are moved. A
// granule is zero if every set that changed it left it zero.
bool set_merge(struct map *map, struct change_set *into, struct change_set *from, unsigned *volume, uint64_t *index);

#endif
