// SPDX-License-Identifier: Apache-2.0
// The pages of the log: what a slot looks like, and how it is written.
#include "intent_impl.h"

#include "bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC 0x544e5449 // "ITNT"
#define VERSION 1

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

int page_read(struct page *page, const uint8_t *slots)
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
		page_write(page);
	intent->config.wrote(intent->config.user);
}

// Each write is durable before the next of its page begins: a torn one falls
// back to the one before.
void page_write(struct page *page)
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
