// SPDX-License-Identifier: Apache-2.0
// What the parts of intent.h share: intent.c (the regions), intent_page.c.
#ifndef STEAD_INTENT_IMPL_H
#define STEAD_INTENT_IMPL_H

#include "bitmap.h"
#include "intent.h"

#define SLOT_BYTES 4096
#define HEADER_BYTES 512
#define PAGE_WORDS ((SLOT_BYTES - HEADER_BYTES) / 8)
#define PAGE_REGIONS (PAGE_WORDS * UINT64_C(64))

struct page {
	struct intent *intent;
	unsigned volume;
	uint32_t index; // in the volume
	uint64_t offset; // of its two slots
	uint64_t sequence; // of the newest slot; 0: none
	unsigned former; // slots that may be of another log, to be written over
	bool wanted; // to be written
	bool writing;
	bool owes; // somebody who was told of an error may have passed
	bool owing; // before the write under way began
	int error; // of the last write
	struct waiter *waiters;
	struct disk_io io;
	uint8_t *slot; // being written
};

struct intent {
	struct intent_config config;
	struct id id; // of the log; none: not known yet
	uint64_t regions[VOLUMES_MAX];
	struct bitmap wanted[VOLUMES_MAX]; // as the pages shall be
	struct bitmap logged[VOLUMES_MAX]; // durably in the pages
	struct bitmap touched[VOLUMES_MAX]; // written since the last flush began
	struct bitmap flushing[VOLUMES_MAX]; // written before, while a flush is under way
	struct bitmap doubtful[VOLUMES_MAX]; // a flush of them failed
	struct page *pages;
	unsigned page_count, first_page[VOLUMES_MAX + 1];
	unsigned writing;
	struct intent_facts facts;
	uint64_t noted_cut, noted_acknowledged;
	bool noted_trusted;

	struct disk_io load_io;
	uint8_t *load_slots;
	unsigned load_page;
	int load_error;
	void (*loaded)(void *user, int error);
	void *load_user;
};

// What one of its two slots says is in the log. 0, -ENOENT: there is no log, or
// -EILSEQ. *slot: the one that has to be written again in its place before
// anybody relies on it; NULL: there is nothing in it.
int page_read(struct page *page, const uint8_t *slots, const uint8_t **slot);

// Begins to write it as it shall be; page->error: there is no memory for that.
void page_write(struct page *page);

#endif
