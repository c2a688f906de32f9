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

static void load_next(struct intent *intent);

static void slots_read(struct disk_io *io, int error)
{
	struct intent *intent = (struct intent *)((char *)io - offsetof(struct intent, load_io));

	if (!error)
		error = page_read(&intent->pages[intent->load_page], intent->load_slots);
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
	return bitmap_next(&intent->logged[volume], from);
}

bool intent_empty(const struct intent *intent)
{
	for (unsigned i = 0; i < intent->config.volume_count; i++)
		if (intent->logged[i].count)
			return false;
	return true;
}

static void want_page(struct page *page)
{
	page->wanted = true;
	if (!page->writing)
		page_write(page);
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
