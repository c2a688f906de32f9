// SPDX-License-Identifier: Apache-2.0
// What the parts of intent.h share: intent.c (the regions), intent_page.c.
#ifndef STEAD_INTENT_IMPL_H
#define STEAD_INTENT_IMPL_H

#include "bitmap.h"
#include "intent.h"

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

// What one of its two slots says is in the log. 0, -ENOENT: there is no log, or
// -EILSEQ.
int page_read(struct page *page, const uint8_t *slots);

// Begins to write it as it shall be; page->error: there is no memory for that.
void page_write(struct page *page);

#endif
