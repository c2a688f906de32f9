// SPDX-License-Identifier: Apache-2.0
#include "intent_impl.h"

#include "mutant.h"

#include <errno.h>
#include <stdlib.h>

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
	    bitmap_init(&intent->touched[volume], regions) < 0 || bitmap_init(&intent->flushing[volume], regions) < 0 ||
	    bitmap_init(&intent->doubtful[volume], regions) < 0)
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
		bitmap_destroy(&intent->doubtful[i]);
	}
	for (unsigned i = 0; intent->pages && i < intent->page_count; i++)
		free(intent->pages[i].slot);
	free(intent->pages);
	free(intent->load_slots);
	free(intent);
}

// A new log. What the disk has of the former one is written over.
static void begin_anew(struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		bitmap_clear_all(&intent->wanted[i]);
		bitmap_clear_all(&intent->logged[i]);
		bitmap_clear_all(&intent->touched[i]);
	}
	for (unsigned i = 0; i < intent->page_count; i++) {
		intent->pages[i].sequence = 0;
		intent->pages[i].wanted = true;
		intent->pages[i].former = intent->load_error == -ENOENT ? 0 : 2;
	}
	intent->id = id_random(intent->config.random, intent->config.user);
	intent->facts = (struct intent_facts){0};
	intent->noted_cut = intent->noted_acknowledged = 0;
	intent->noted_trusted = false;
}

static void load_next(struct intent *intent);

static void page_loaded(struct intent *intent, int error)
{
	if (error && !intent->load_error)
		intent->load_error = error;
	intent->load_page++;
	load_next(intent);
}

static struct intent *loading(struct disk_io *io)
{
	return (struct intent *)((char *)io - offsetof(struct intent, load_io));
}

static void slot_rewritten(struct disk_io *io, int error)
{
	page_loaded(loading(io), error);
}

// The same bytes in the same place: whatever a power failure leaves of them, it
// is this slot where it was durable, and else the other one.
static void rewrite(struct intent *intent, const uint8_t *slot)
{
	uint64_t at = intent->pages[intent->load_page].offset + (uint64_t)(slot - intent->load_slots);

	intent->load_io = (struct disk_io){
	        .op = DISK_WRITE,
	        .flags = DISK_FUA,
	        .offset = at,
	        .length = SLOT_BYTES,
	        .data = (void *)(uintptr_t)slot,
	        .done = slot_rewritten,
	};
	disk_submit(intent->config.disk, &intent->load_io);
}

static void slots_read(struct disk_io *io, int error)
{
	struct intent *intent = loading(io);
	const uint8_t *slot = NULL;

	if (!error)
		error = page_read(&intent->pages[intent->load_page], intent->load_slots, &slot);
	if (slot && !intent->load_error && !MUTANT(INTENT_FOUND_NOT_REWRITTEN))
		rewrite(intent, slot);
	else
		page_loaded(intent, error);
}

static void load_next(struct intent *intent)
{
	if (intent->load_page == intent->page_count) {
		if (intent->load_error)
			begin_anew(intent);
		intent->loaded(intent->load_user, intent->load_error);
		return;
	}
	intent->load_io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = intent->pages[intent->load_page].offset,
	        .length = (uint64_t)2 * SLOT_BYTES,
	        .data = intent->load_slots,
	        .done = slots_read,
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
	return bitmap_next(&intent->wanted[volume], from);
}

bool intent_empty(const struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++)
		if (intent->wanted[i].count)
			return false;
	return true;
}

// Pages that are wanted for the log to be whole, in no hurry.
static void write_wanted(struct intent *intent)
{
	for (unsigned i = 0; i < intent->page_count; i++)
		if (intent->pages[i].wanted && !intent->pages[i].writing)
			page_write(&intent->pages[i]);
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

bool intent_noted_suspect(const struct intent *intent)
{
	return !intent->noted_trusted;
}

static struct page *page_of(struct intent *intent, unsigned volume, uint64_t region)
{
	return &intent->pages[intent->first_page[volume] + region / PAGE_REGIONS];
}

int intent_pass(struct intent *intent, unsigned volume, uint64_t first, uint64_t count, struct waiter *waiter)
{
	uint64_t size = intent->config.region_blocks;
	uint64_t region = first / size, last = (first + count - 1) / size;
	struct page *wait = NULL;
	int error = 0;

	for (; region <= last; region++) {
		struct page *page = page_of(intent, volume, region);

		if (bitmap_test(&intent->logged[volume], region))
			continue;
		if (!bitmap_test(&intent->wanted[volume], region)) {
			bitmap_set(&intent->wanted[volume], region, 1);
			page->wanted = true;
		}
		if (!page->error && !page->writing)
			page_write(page);
		if (page->error) {
			page->owes = true;
			error = page->error;
		}
		wait = page;
	}
	if (error || !wait || MUTANT(INTENT_NOT_AWAITED))
		return error;
	waiter_add(&wait->waiters, waiter);
	return -EAGAIN;
}

int intent_try(struct intent *intent, unsigned volume, uint64_t block, struct waiter *waiter)
{
	struct page *page = page_of(intent, volume, block / intent->config.region_blocks);

	if (!page->writing)
		page_write(page);
	if (!page->writing)
		return page->error;
	waiter_add(&page->waiters, waiter);
	return -EAGAIN;
}

bool intent_whole(const struct intent *intent)
{
	for (unsigned i = 0; i < intent->page_count; i++) {
		const struct page *page = &intent->pages[i];

		if (page->error || page->owes || page->owing)
			return false;
	}
	return true;
}

void intent_written(struct intent *intent, unsigned volume, uint64_t first, uint64_t count)
{
	uint64_t size = intent->config.region_blocks;
	uint64_t region = first / size, last = (first + count - 1) / size;

	bitmap_set(&intent->touched[volume], region, last - region + 1);
}

int intent_error(const struct intent *intent)
{
	for (unsigned i = 0; i < intent->page_count; i++)
		if (intent->pages[i].error)
			return intent->pages[i].error;
	return 0;
}

static void add_all(struct bitmap *to, const struct bitmap *from)
{
	for (uint64_t region = bitmap_next(from, 0); region != BITMAP_NONE; region = bitmap_next(from, region + 1))
		bitmap_set(to, region, 1);
}

void intent_flush_begins(struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		add_all(&intent->flushing[i], &intent->touched[i]);
		bitmap_clear_all(&intent->touched[i]);
	}
}

void intent_flushed(struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++)
		bitmap_clear_all(&intent->flushing[i]);
}

static uint64_t region_length(const struct intent *intent, unsigned volume, uint64_t region)
{
	uint64_t size = intent->config.region_blocks, left = intent->config.blocks[volume] - region * size;

	return left < size ? left : size;
}

static void call_each(const struct intent *intent, unsigned volume, const struct bitmap *regions,
                      void (*each)(void *user, unsigned volume, uint64_t first, uint64_t count), void *user)
{
	for (uint64_t region = bitmap_next(regions, 0); region != BITMAP_NONE;
	     region = bitmap_next(regions, region + 1))
		each(user, volume, region * intent->config.region_blocks, region_length(intent, volume, region));
}

void intent_doubt(struct intent *intent, unsigned volume,
                  void (*each)(void *user, unsigned volume, uint64_t first, uint64_t count), void *user)
{
	struct bitmap *touched = &intent->touched[volume];

	add_all(touched, &intent->flushing[volume]);
	bitmap_clear_all(&intent->flushing[volume]);
	if (each)
		call_each(intent, volume, touched, each, user);
	if (MUTANT(FAILED_FLUSH_FORGOTTEN))
		return;
	add_all(&intent->doubtful[volume], touched);
	bitmap_clear_all(touched);
}

void intent_doubtful(const struct intent *intent, unsigned volume,
                     void (*each)(void *user, unsigned volume, uint64_t first, uint64_t count), void *user)
{
	call_each(intent, volume, &intent->doubtful[volume], each, user);
}

void intent_release(struct intent *intent, bool (*clean)(void *user, unsigned volume, uint64_t first, uint64_t count),
                    void *user)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++) {
		for (uint64_t region = bitmap_next(&intent->logged[i], 0); region != BITMAP_NONE;
		     region = bitmap_next(&intent->logged[i], region + 1)) {
			if (bitmap_test(&intent->touched[i], region) || bitmap_test(&intent->flushing[i], region) ||
			    bitmap_test(&intent->doubtful[i], region) ||
			    !clean(user, i, region * intent->config.region_blocks, region_length(intent, i, region)))
				continue;
			bitmap_clear(&intent->wanted[i], region, 1);
			bitmap_clear(&intent->logged[i], region, 1);
			page_of(intent, i, region)->wanted = true;
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
