// SPDX-License-Identifier: Apache-2.0
#include "map.h"

#include "mutant.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAP_MAGIC "STEADMAP"
#define MAP_VERSION 1
#define PAGE 4096
#define RUN_MAX UINT32_C(0x40000000) // blocks
#define MERGE_WORDS 16384 // in one call: well under a millisecond
#define RECORD_SUSPECT 1
#define RECORD_PARTIAL 2

_Static_assert(VOLUME_BYTES_MAX / BLOCK_SIZE <= BITMAP_BITS_MAX, "every block of a volume has a bit");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the map is used in place, as little-endian");

struct head {
	char magic[8];
	uint32_t version;
	uint32_t volume_count;
	struct id pair;
	struct id generation;
	uint64_t key;
	uint64_t blocks[VOLUMES_MAX];
	uint64_t check; // XXH3-64 of all before
};

struct use {
	struct id boot; // of the last that opened it
	uint64_t clean; // 1: closed
	uint64_t check;
};

struct record_set {
	uint64_t state;
	uint64_t epoch;
	int64_t oldest;
};

struct record {
	uint64_t number;
	uint64_t cut;
	uint64_t acknowledged;
	struct id sync;
	uint64_t flags;
	struct record_set sets[MAP_SETS];
	uint64_t check;
};

// The first page. A record is written twice, one after the other, so that one
// of the two is whole whenever the process dies.
struct page {
	struct head head;
	struct use use;
	struct record records[2];
};

_Static_assert(sizeof(struct page) <= PAGE, "the first page holds everything that is not bits");

#define CHECK(object) XXH3_64bits(object, offsetof(__typeof__(*(object)), check))

static size_t round_page(size_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

static size_t words_bytes(uint64_t blocks)
{
	return round_page(bitmap_words(blocks) * sizeof(uint64_t));
}

static size_t sums_bytes(uint64_t blocks)
{
	return round_page(bitmap_sum_words(blocks) * sizeof(uint64_t));
}

size_t map_bytes(unsigned volume_count, const uint64_t *blocks)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < volume_count; i++)
		bytes += words_bytes(blocks[i]) + sums_bytes(blocks[i]);
	return PAGE + bytes * MAP_SETS;
}

static const struct record *newest_record(const struct page *page)
{
	const struct record *best = NULL;

	for (unsigned i = 0; i < 2; i++) {
		const struct record *record = &page->records[i];

		if (record->check == CHECK(record) && (!best || record->number > best->number))
			best = record;
	}
	return best;
}

static bool head_matches(const struct head *head, const struct map_identity *identity)
{
	return !memcmp(head->magic, MAP_MAGIC, sizeof(head->magic)) && head->version == MAP_VERSION &&
	       head->check == CHECK(head) && head->volume_count == identity->volume_count &&
	       id_equal(&head->pair, &identity->pair) && id_equal(&head->generation, &identity->generation) &&
	       !memcmp(head->blocks, identity->blocks, identity->volume_count * sizeof(uint64_t));
}

bool map_trusted(const void *memory, const struct map_identity *identity)
{
	const struct page *page = memory;

	return head_matches(&page->head, identity) && newest_record(page) && page->use.check == CHECK(&page->use) &&
	       (page->use.clean || id_equal(&page->use.boot, &identity->boot) || MUTANT(MAP_TRUSTED_AFTER_POWER_LOSS));
}

void map_wipe(void *memory, const struct map_identity *identity)
{
	// A first page of zeroes says that all of it is.
	memset(memory, 0xff, PAGE);
	store_barrier(memory);
	memset((uint8_t *)memory + PAGE, 0, map_bytes(identity->volume_count, identity->blocks) - PAGE);
	store_barrier(memory);
	memset(memory, 0, PAGE);
	store_barrier(memory);
}

static void format(struct page *page, const struct map_identity *identity, uint64_t key)
{
	struct head *head = &page->head;

	memcpy(head->magic, MAP_MAGIC, sizeof(head->magic));
	head->version = MAP_VERSION;
	head->volume_count = identity->volume_count;
	head->pair = identity->pair;
	head->generation = identity->generation;
	head->key = key | 1;
	memcpy(head->blocks, identity->blocks, sizeof(head->blocks));
	head->check = CHECK(head);
	store_barrier(head);
}

static void read_record(struct map *map, const struct record *record)
{
	map->cut = record->cut;
	map->acknowledged = record->acknowledged;
	map->sync = record->sync;
	map->suspect = record->flags & RECORD_SUSPECT;
	map->partial = record->flags & RECORD_PARTIAL;
	for (unsigned i = 0; i < MAP_SETS; i++) {
		struct change_set *set = &map->sets[i];

		if (set_empty(map, set))
			continue;
		set->state = SET_FROZEN;
		set->oldest = record->sets[i].oldest;
		// What was open when the process died was not cut.
		set->epoch = record->sets[i].state == SET_FROZEN ? record->sets[i].epoch : 0;
	}
}

static int adopt_set(struct map *map, struct change_set *set, uint8_t **memory, const struct head *head,
                     unsigned *damaged)
{
	set->dirty = calloc(map->volume_count, sizeof(*set->dirty));
	set->zero = calloc(map->volume_count, sizeof(*set->zero));
	if (!set->dirty || !set->zero)
		return -ENOMEM;
	for (unsigned i = 0; i < map->volume_count; i++) {
		uint64_t blocks = head->blocks[i];
		uint64_t *words = (uint64_t *)*memory;
		uint64_t *sums = (uint64_t *)(*memory + words_bytes(blocks));

		*memory += words_bytes(blocks) + sums_bytes(blocks);
		if (bitmap_adopt(&set->dirty[i], blocks, words, sums, head->key, damaged) < 0 ||
		    bitmap_init(&set->zero[i], bitmap_words(blocks)) < 0)
			return -ENOMEM;
	}
	return 0;
}

int map_open(struct map *map, void *memory, const struct map_identity *identity, uint64_t key, unsigned *damaged)
{
	struct page *page = memory;
	uint8_t *bits = (uint8_t *)memory + PAGE;
	bool kept = map_trusted(memory, identity);
	const struct record *record;

	*map = (struct map){.memory = memory, .volume_count = identity->volume_count, .suspect = true};
	*damaged = 0;
	if (!kept)
		format(page, identity, key);
	for (unsigned i = 0; i < MAP_SETS; i++) {
		if (adopt_set(map, &map->sets[i], &bits, &page->head, damaged) < 0) {
			map_destroy(map);
			return -ENOMEM;
		}
	}
	record = kept ? newest_record(page) : NULL;
	if (record)
		read_record(map, record);
	page->use.boot = identity->boot;
	page->use.clean = 0;
	page->use.check = CHECK(&page->use);
	store_barrier(&page->use);
	return 0;
}

void map_destroy(struct map *map)
{
	for (unsigned i = 0; i < MAP_SETS; i++) {
		for (unsigned j = 0; j < map->volume_count; j++) {
			if (map->sets[i].dirty)
				bitmap_destroy(&map->sets[i].dirty[j]);
			if (map->sets[i].zero)
				bitmap_destroy(&map->sets[i].zero[j]);
		}
		free(map->sets[i].dirty);
		free(map->sets[i].zero);
	}
	*map = (struct map){0};
}

void map_save(struct map *map)
{
	struct page *page = map->memory;
	const struct record *newest = newest_record(page);
	struct record record = {
	        .number = newest ? newest->number + 1 : 1,
	        .cut = map->cut,
	        .acknowledged = map->acknowledged,
	        .sync = map->sync,
	        .flags = (map->suspect ? RECORD_SUSPECT : 0) | (map->partial ? RECORD_PARTIAL : 0),
	};

	for (unsigned i = 0; i < MAP_SETS; i++)
		record.sets[i] = (struct record_set){map->sets[i].state, map->sets[i].epoch, map->sets[i].oldest};
	record.check = CHECK(&record);
	for (unsigned i = 0; i < 2; i++) {
		memcpy(&page->records[i], &record, sizeof(record));
		store_barrier(&page->records[i]);
	}
}

void map_suspect(struct map *map)
{
	map->suspect = true;
	map->sync = (struct id){{0}};
	map->partial = false;
}

void map_close(void *memory)
{
	struct page *page = memory;

	page->use.clean = 1;
	page->use.check = CHECK(&page->use);
}

uint64_t set_blocks(const struct map *map, const struct change_set *set)
{
	uint64_t blocks = 0;

	for (unsigned i = 0; i < map->volume_count; i++)
		blocks += set->dirty[i].count;
	return blocks;
}

bool set_empty(const struct map *map, const struct change_set *set)
{
	return set_blocks(map, set) == 0;
}

struct change_set *map_free_set(struct map *map)
{
	for (unsigned i = 0; i < MAP_SETS; i++)
		if (map->sets[i].state == SET_FREE)
			return &map->sets[i];
	return NULL;
}

// What is true of the set once it is empty, the last epoch that is durable or the
// age of what is in another set now, is kept before any of it goes.
void set_release(struct map *map, struct change_set *set)
{
	if (!MUTANT(RELEASED_BEFORE_SAVED))
		map_save(map);
	for (unsigned i = 0; i < map->volume_count; i++) {
		bitmap_clear_all(&set->dirty[i]);
		bitmap_clear_all(&set->zero[i]);
	}
	set->state = SET_FREE;
	set->epoch = 0;
	set->oldest = 0;
	set->opened = 0;
	map_save(map);
}

bool map_next(const struct map *map, unsigned volume, uint64_t after, uint64_t *block, uint64_t *count)
{
	uint64_t first = BITMAP_NONE;

	for (unsigned i = 0; i < MAP_SETS; i++) {
		const struct change_set *set = &map->sets[i];
		uint64_t next = bitmap_next(&set->dirty[volume], *block);

		if (next >= first || (set->epoch && set->epoch <= after))
			continue;
		first = next;
		*count = bitmap_run(&set->dirty[volume], next, RUN_MAX);
	}
	*block = first;
	return first != BITMAP_NONE;
}

// Which of several sets is the newer is not known here: a granule is zero only
// if all that changed it left it so.
static void merge_word(struct change_set *into, struct change_set *from, unsigned volume, uint64_t index)
{
	bool written = bitmap_word(&into->dirty[volume], index) != 0;
	bool zero = bitmap_test(&from->zero[volume], index);

	if (!written && zero)
		bitmap_set(&into->zero[volume], index, 1);
	else if (written && !zero)
		bitmap_clear(&into->zero[volume], index, 1);
	bitmap_or_word(&into->dirty[volume], index, bitmap_word(&from->dirty[volume], index));
}

bool set_merge(struct map *map, struct change_set *into, struct change_set *from, unsigned *volume, uint64_t *index)
{
	unsigned budget = MERGE_WORDS;

	for (; *volume < map->volume_count; ++*volume, *index = 0) {
		for (;;) {
			uint64_t bit = bitmap_next(&from->dirty[*volume], *index * 64);

			if (bit == BITMAP_NONE)
				break;
			if (!budget--)
				return false;
			merge_word(into, from, *volume, bit / 64);
			*index = bit / 64 + 1;
		}
	}
	if (from->oldest && (!into->oldest || from->oldest < into->oldest))
		into->oldest = from->oldest;
	return true;
}
