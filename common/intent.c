// SPDX-License-Identifier: Apache-2.0
#include "intent.h"

#include "bitmap.h"
#include "bytes.h"
#include "mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC 0x544e5449 // "ITNT"
#define VERSION 1
#define SLOT_BYTES 4096
#define HEADER_BYTES 128
#define PAGE_WORDS ((SLOT_BYTES - HEADER_BYTES) / 8)
#define PAGE_REGIONS (PAGE_WORDS * UINT64_C(64))

struct page {
	struct intent *intent;
	unsigned volume;
	uint32_t index; // in the volume
	uint64_t offset; // of its two slots
	uint64_t sequence; // of the newest slot; 0: none
	bool wanted; // to be written
	bool writing;
	int error; // of the last write, until somebody was told
	struct waiter *waiters;
	struct disk_io io;
	uint8_t *slot; // being written
};

struct intent {
	struct intent_config config;
	uint64_t regions[VOLUMES_MAX];
	struct bitmap wanted[VOLUMES_MAX]; // as the pages shall be
	struct bitmap logged[VOLUMES_MAX]; // durably in the pages
	struct bitmap touched[VOLUMES_MAX]; // written since the last flush began
	struct bitmap flushing[VOLUMES_MAX]; // written before, while a flush is under way
	struct page *pages;
	unsigned page_count, first_page[VOLUMES_MAX + 1];
	unsigned writing;
	struct intent_facts facts;
	uint64_t noted_cut, noted_acknowledged;

	struct disk_io load_io;
	uint8_t *load_slots;
	unsigned load_page;
	int load_error;
	void (*loaded)(void *user, int error);
	void *load_user;
};

static uint64_t regions_of(uint64_t blocks, uint32_t region_blocks)
{
	return (blocks + region_blocks - 1) / region_blocks;
}

static unsigned pages_of(uint64_t blocks, uint32_t region_blocks)
{
	return (unsigned)((regions_of(blocks, region_blocks) + PAGE_REGIONS - 1) / PAGE_REGIONS);
}

uint64_t intent_bytes(unsigned volume_count, const uint64_t *blocks, uint32_t region_blocks)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < volume_count; i++)
		pages += pages_of(blocks[i], region_blocks);
	return pages * 2 * SLOT_BYTES;
}

static int make_bitmaps(struct intent *intent, unsigned volume)
{
	uint64_t regions = regions_of(intent->config.blocks[volume], intent->config.region_blocks);

	intent->regions[volume] = regions;
	if (bitmap_init(&intent->wanted[volume], regions) < 0 || bitmap_init(&intent->logged[volume], regions) < 0 ||
	    bitmap_init(&intent->touched[volume], regions) < 0 || bitmap_init(&intent->flushing[volume], regions) < 0)
		return -ENOMEM;
	return 0;
}

static int make_pages(struct intent *intent)
{
	const struct intent_config *config = &intent->config;

	intent->page_count = (unsigned)(intent_bytes(config->volume_count, config->blocks, config->region_blocks) /
	                                (2 * SLOT_BYTES));
	if (!intent->page_count)
		return -EINVAL; // no volume
	intent->pages = calloc(intent->page_count, sizeof(*intent->pages));
	intent->load_slots = aligned_alloc(SLOT_BYTES, (size_t)2 * SLOT_BYTES);
	if (!intent->pages || !intent->load_slots)
		return -ENOMEM;
	for (unsigned volume = 0, page = 0; volume < config->volume_count; volume++) {
		intent->first_page[volume] = page;
		for (uint32_t i = 0; i < pages_of(config->blocks[volume], config->region_blocks); i++, page++)
			intent->pages[page] = (struct page){.intent = intent,
			                                    .volume = volume,
			                                    .index = i,
			                                    .offset = (uint64_t)page * 2 * SLOT_BYTES};
	}
	return 0;
}

struct intent *intent_new(const struct intent_config *config)
{
	struct intent *intent = calloc(1, sizeof(*intent));

	if (!intent)
		return NULL;
	intent->config = *config;
	for (unsigned i = 0; i < config->volume_count; i++) {
		if (make_bitmaps(intent, i) < 0) {
			intent_free(intent);
			return NULL;
		}
	}
	if (make_pages(intent) < 0) {
		intent_free(intent);
		return NULL;
	}
	return intent;
}

void intent_free(struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		bitmap_destroy(&intent->wanted[i]);
		bitmap_destroy(&intent->logged[i]);
		bitmap_destroy(&intent->touched[i]);
		bitmap_destroy(&intent->flushing[i]);
	}
	for (unsigned i = 0; intent->pages && i < intent->page_count; i++)
		free(intent->pages[i].slot);
	free(intent->pages);
	free(intent->load_slots);
	free(intent);
}

// A slot:  0 magic  4 version  8 checksum of what follows  16 sequence
//          24 volume  28 page  32 generation  48 facts, in the first page:
//          48 cut  56 acknowledged  64 suspect  72 zero  128 bits
static void put_slot(const struct page *page, uint8_t *slot)
{
	const struct bitmap *wanted = &page->intent->wanted[page->volume];
	uint64_t first = page->index * (uint64_t)PAGE_WORDS, words = bitmap_words(wanted->bits);

	memset(slot, 0, SLOT_BYTES);
	put_u32(slot, MAGIC);
	put_u32(slot + 4, VERSION);
	put_u64(slot + 16, page->sequence);
	put_u32(slot + 24, page->volume);
	put_u32(slot + 28, page->index);
	memcpy(slot + 32, page->intent->config.generation.bytes, 16);
	if (page == page->intent->pages) {
		put_u64(slot + 48, page->intent->facts.cut);
		put_u64(slot + 56, page->intent->facts.acknowledged);
		put_u64(slot + 64, page->intent->facts.suspect);
	}
	for (unsigned i = 0; i < PAGE_WORDS && first + i < words; i++)
		put_u64(slot + HEADER_BYTES + i * 8, bitmap_word(wanted, first + i));
	put_u64(slot + 8, XXH3_64bits(slot + 16, SLOT_BYTES - 16));
}

static bool slot_valid(const struct page *page, const uint8_t *slot)
{
	return get_u32(slot) == MAGIC && get_u32(slot + 4) == VERSION &&
	       get_u64(slot + 8) == XXH3_64bits(slot + 16, SLOT_BYTES - 16) && get_u32(slot + 24) == page->volume &&
	       get_u32(slot + 28) == page->index && !memcmp(slot + 32, page->intent->config.generation.bytes, 16) &&
	       get_u64(slot + 16) > 0;
}

static bool slot_blank(const uint8_t *slot)
{
	return !slot[0] && !memcmp(slot, slot + 1, SLOT_BYTES - 1);
}

static void add_slot(struct page *page, const uint8_t *slot)
{
	struct intent *intent = page->intent;
	uint64_t first = page->index * (uint64_t)PAGE_WORDS;
	uint64_t words = bitmap_words(intent->regions[page->volume]);

	if (page == intent->pages) {
		intent->facts.cut = get_u64(slot + 48);
		intent->facts.acknowledged = get_u64(slot + 56);
		intent->facts.suspect = get_u64(slot + 64) != 0;
		intent->noted_cut = intent->facts.cut;
		intent->noted_acknowledged = intent->facts.acknowledged;
	}
	for (unsigned i = 0; i < PAGE_WORDS && first + i < words; i++) {
		uint64_t word = get_u64(slot + HEADER_BYTES + i * 8);

		bitmap_or_word(&intent->wanted[page->volume], first + i, word);
		bitmap_or_word(&intent->logged[page->volume], first + i, word);
		bitmap_or_word(&intent->touched[page->volume], first + i, word);
	}
}

static int read_page(struct page *page, const uint8_t *slots)
{
	bool valid[2] = {slot_valid(page, slots), slot_valid(page, slots + SLOT_BYTES)};
	bool blank = slot_blank(slots) && slot_blank(slots + SLOT_BYTES);
	uint64_t sequence[2] = {get_u64(slots + 16), get_u64(slots + SLOT_BYTES + 16)};

	if (!valid[0] && !valid[1])
		return !blank ? -EILSEQ : page == page->intent->pages ? -ENOENT : 0;
	for (unsigned i = 0; i < 2; i++) {
		if (!valid[i] || (valid[!i] && sequence[!i] > sequence[i]))
			continue;
		page->sequence = sequence[i];
		add_slot(page, slots + (size_t)i * SLOT_BYTES);
	}
	return 0;
}

static void load_next(struct intent *intent);

static void page_read(struct disk_io *io, int error)
{
	struct intent *intent = (struct intent *)((char *)io - offsetof(struct intent, load_io));

	if (!error)
		error = read_page(&intent->pages[intent->load_page], intent->load_slots);
	if (error && !intent->load_error)
		intent->load_error = error;
	intent->load_page++;
	load_next(intent);
}

static void forget(struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		bitmap_clear_all(&intent->wanted[i]);
		bitmap_clear_all(&intent->logged[i]);
		bitmap_clear_all(&intent->touched[i]);
	}
	for (unsigned i = 0; i < intent->page_count; i++)
		intent->pages[i].wanted = true;
	intent->facts = (struct intent_facts){0};
	intent->noted_cut = intent->noted_acknowledged = 0;
}

static void found_flushed(struct disk_io *io, int error)
{
	struct intent *intent = (struct intent *)((char *)io - offsetof(struct intent, load_io));

	if (error && !intent->load_error)
		intent->load_error = error;
	if (intent->load_error)
		forget(intent);
	intent->loaded(intent->load_user, intent->load_error);
}

static void load_next(struct intent *intent)
{
	if (intent->load_page == intent->page_count) {
		// What was read may be younger than the last flush, when a process died
		// while it wrote a page: writers must not rely on it before it is durable.
		intent->load_io = (struct disk_io){.op = DISK_FLUSH, .done = found_flushed};
		disk_submit(intent->config.disk, &intent->load_io);
		return;
	}
	intent->load_io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = intent->pages[intent->load_page].offset,
	        .length = (uint64_t)2 * SLOT_BYTES,
	        .data = intent->load_slots,
	        .done = page_read,
	};
	disk_submit(intent->config.disk, &intent->load_io);
}

void intent_load(struct intent *intent, void (*done)(void *user, int error), void *user)
{
	intent->loaded = done;
	intent->load_user = user;
	load_next(intent);
}

uint64_t intent_next(const struct intent *intent, unsigned volume, uint64_t from)
{
	return bitmap_next(&intent->logged[volume], from);
}

bool intent_empty(const struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++)
		if (intent->logged[i].count)
			return false;
	return true;
}

static void write_page(struct page *page);

static void page_written(struct disk_io *io, int error)
{
	struct page *page = (struct page *)((char *)io - offsetof(struct page, io));
	struct intent *intent = page->intent;
	uint64_t first = page->index * (uint64_t)PAGE_WORDS;
	uint64_t words = bitmap_words(intent->regions[page->volume]);

	page->writing = false;
	intent->writing--;
	page->error = error;
	if (error) {
		page->sequence--; // the other slot is the only good one
		page->wanted = true;
	}
	// What was released meanwhile is not in the page that follows.
	for (unsigned i = 0; !error && i < PAGE_WORDS && first + i < words; i++) {
		uint64_t word = get_u64(page->slot + HEADER_BYTES + i * 8);

		if (word)
			bitmap_or_word(&intent->logged[page->volume], first + i,
			               word & bitmap_word(&intent->wanted[page->volume], first + i));
	}
	if (!error && page == intent->pages) {
		intent->noted_cut = get_u64(page->slot + 48);
		intent->noted_acknowledged = get_u64(page->slot + 56);
	}
	free(page->slot);
	page->slot = NULL;
	waiter_wake_all(&page->waiters);
	if (page->wanted && !page->writing && !error)
		write_page(page);
	intent->config.wrote(intent->config.user);
}

// Each write is durable before the next of its page begins: a torn one falls
// back to the one before.
static void write_page(struct page *page)
{
	struct intent *intent = page->intent;

	page->slot = aligned_alloc(SLOT_BYTES, SLOT_BYTES);
	if (!page->slot) {
		page->error = -ENOMEM;
		return;
	}
	page->wanted = false;
	page->writing = true;
	page->sequence++;
	put_slot(page, page->slot);
	page->io = (struct disk_io){
	        .op = DISK_WRITE,
	        .flags = DISK_FUA,
	        .offset = page->offset + page->sequence % 2 * SLOT_BYTES,
	        .length = SLOT_BYTES,
	        .data = page->slot,
	        .done = page_written,
	};
	intent->writing++;
	disk_submit(intent->config.disk, &page->io);
}

static void want_page(struct page *page)
{
	page->wanted = true;
	if (!page->writing)
		write_page(page);
}

// Pages that are wanted for the log to be whole, in no hurry.
static void write_wanted(struct intent *intent)
{
	for (unsigned i = 0; i < intent->page_count; i++)
		if (intent->pages[i].wanted && !intent->pages[i].writing)
			write_page(&intent->pages[i]);
}

void intent_note(struct intent *intent, const struct intent_facts *facts)
{
	intent->facts = *facts;
	intent->pages[0].wanted = true;
	write_wanted(intent);
}

void intent_retry(struct intent *intent)
{
	write_wanted(intent);
}

const struct intent_facts *intent_facts(const struct intent *intent)
{
	return &intent->facts;
}

uint64_t intent_noted_cut(const struct intent *intent)
{
	return intent->noted_cut;
}

uint64_t intent_noted_acknowledged(const struct intent *intent)
{
	return intent->noted_acknowledged;
}

int intent_pass(struct intent *intent, unsigned volume, uint64_t first, uint64_t count, struct waiter *waiter)
{
	uint64_t size = intent->config.region_blocks;
	uint64_t region = first / size, last = (first + count - 1) / size;
	struct page *wait = NULL;

	for (; region <= last; region++) {
		struct page *page = &intent->pages[intent->first_page[volume] + region / PAGE_REGIONS];

		if (bitmap_test(&intent->logged[volume], region))
			continue;
		if (page->error) {
			int error = page->error;

			page->error = 0;
			return error;
		}
		wait = page;
		if (bitmap_test(&intent->wanted[volume], region) && page->writing)
			continue;
		bitmap_set(&intent->wanted[volume], region, 1);
		want_page(page);
		if (page->error)
			return page->error;
	}
	if (!wait || MUTANT(INTENT_NOT_AWAITED))
		return 0;
	waiter_add(&wait->waiters, waiter);
	return -EAGAIN;
}

void intent_written(struct intent *intent, unsigned volume, uint64_t first, uint64_t count)
{
	uint64_t size = intent->config.region_blocks;
	uint64_t region = first / size, last = (first + count - 1) / size;

	bitmap_set(&intent->touched[volume], region, last - region + 1);
}

void intent_flush_begins(struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		for (uint64_t region = bitmap_next(&intent->touched[i], 0); region != BITMAP_NONE;
		     region = bitmap_next(&intent->touched[i], region + 1))
			bitmap_set(&intent->flushing[i], region, 1);
		bitmap_clear_all(&intent->touched[i]);
	}
}

void intent_flushed(struct intent *intent, bool ok)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		for (uint64_t region = bitmap_next(&intent->flushing[i], 0); !ok && region != BITMAP_NONE;
		     region = bitmap_next(&intent->flushing[i], region + 1))
			bitmap_set(&intent->touched[i], region, 1);
		bitmap_clear_all(&intent->flushing[i]);
	}
}

void intent_release(struct intent *intent, bool (*clean)(void *user, unsigned volume, uint64_t first, uint64_t count),
                    void *user)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		for (uint64_t region = intent_next(intent, i, 0); region != BITMAP_NONE;
		     region = intent_next(intent, i, region + 1)) {
			uint64_t size = intent->config.region_blocks, first = region * size;
			uint64_t left = intent->config.blocks[i] - first;

			if (bitmap_test(&intent->touched[i], region) || bitmap_test(&intent->flushing[i], region) ||
			    !clean(user, i, first, left < size ? left : size))
				continue;
			bitmap_clear(&intent->wanted[i], region, 1);
			bitmap_clear(&intent->logged[i], region, 1);
			intent->pages[intent->first_page[i] + region / PAGE_REGIONS].wanted = true;
		}
	}
	write_wanted(intent);
}

bool intent_wants_flush(const struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++)
		if (intent->touched[i].count)
			return true;
	return false;
}

bool intent_busy(const struct intent *intent)
{
	return intent->writing > 0;
}
