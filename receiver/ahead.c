// SPDX-License-Identifier: Apache-2.0
// Reads the headers of records side by side: from the last one back, each tells
// the lengths of many before it, so where they are is known after a few reads,
// however many there are. A hint: what is read is judged as if it were not.
#include "ahead.h"

#include "journal_impl.h"

#include <errno.h>
#include <stdlib.h>

#define DEPTH 64

struct slot {
	struct disk_io io;
	struct ahead *ahead;
	uint64_t position;
	enum {
		SLOT_FREE,
		SLOT_READING,
		SLOT_READ
	} stage;
	uint8_t *page;
};

struct ahead {
	struct journal *journal;
	void (*ready)(void *user);
	void *user;
	uint64_t tail;
	uint64_t *positions; // the newest first
	size_t count, room;
	size_t left; // of them not asked for yet
	unsigned reading;
	bool looking; // for the positions
	struct slot slots[DEPTH];
	uint8_t *pages;
};

struct ahead *ahead_new(struct journal *journal, void (*ready)(void *user), void *user)
{
	struct ahead *ahead = calloc(1, sizeof(*ahead));

	if (!ahead)
		return NULL;
	ahead->pages = aligned_alloc(RECORD_ALIGN, (size_t)DEPTH * RECORD_ALIGN);
	if (!ahead->pages) {
		free(ahead);
		return NULL;
	}
	ahead->journal = journal;
	ahead->ready = ready;
	ahead->user = user;
	for (unsigned i = 0; i < DEPTH; i++) {
		ahead->slots[i].ahead = ahead;
		ahead->slots[i].page = ahead->pages + (size_t)i * RECORD_ALIGN;
	}
	return ahead;
}

void ahead_free(struct ahead *ahead)
{
	if (!ahead)
		return;
	free(ahead->positions);
	free(ahead->pages);
	free(ahead);
}

static void page_read(struct disk_io *io, int error);

static void read_page(struct slot *slot, uint64_t position)
{
	struct ahead *ahead = slot->ahead;

	slot->stage = SLOT_READING;
	slot->position = position;
	slot->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = ring_offset(ahead->journal, position),
	        .length = RECORD_ALIGN,
	        .data = slot->page,
	        .done = page_read,
	};
	ahead->reading++;
	disk_submit(ahead->journal->disk, &slot->io);
}

static void read_more(struct ahead *ahead)
{
	for (unsigned i = 0; i < DEPTH && ahead->left > 0; i++)
		if (ahead->slots[i].stage == SLOT_FREE)
			read_page(&ahead->slots[i], ahead->positions[--ahead->left]);
}

static bool add(struct ahead *ahead, uint64_t position)
{
	if (ahead->count == ahead->room) {
		size_t room = ahead->room ? ahead->room * 2 : 256;
		uint64_t *larger = realloc(ahead->positions, room * sizeof(*larger));

		if (!larger)
			return false;
		ahead->positions = larger;
		ahead->room = room;
	}
	ahead->positions[ahead->count++] = position;
	return true;
}

// Positions as far as the header at the last one knows. True: up to the tail.
static bool look_back(struct ahead *ahead, const uint8_t *page, bool *stuck)
{
	uint64_t at = ahead->positions[ahead->count - 1], chain;
	struct record_header header;

	*stuck = true;
	if (record_get(page, &header, &chain) || !id_equal(&header.journal, &ahead->journal->id))
		return false;
	for (unsigned i = 0; i < RECORD_BEFORE && header.before[i] && at > ahead->tail; i++) {
		uint64_t length = header.before[i] * (uint64_t)RECORD_ALIGN;

		if (length > at - ahead->tail || !add(ahead, at - length))
			return false;
		at -= length;
		*stuck = false;
	}
	return at == ahead->tail;
}

static void page_read(struct disk_io *io, int error)
{
	struct slot *slot = (struct slot *)((char *)io - offsetof(struct slot, io));
	struct ahead *ahead = slot->ahead;
	bool stuck = true;

	ahead->reading--;
	slot->stage = error ? SLOT_FREE : SLOT_READ;
	if (ahead->looking) {
		slot->stage = SLOT_FREE;
		if (!error && look_back(ahead, slot->page, &stuck)) {
			ahead->looking = false;
			ahead->left = ahead->count;
			read_more(ahead);
		} else if (!stuck) {
			read_page(slot, ahead->positions[ahead->count - 1]);
			return;
		}
		ahead->looking = false;
	}
	ahead->ready(ahead->user);
}

bool ahead_start(struct ahead *ahead, uint64_t tail, uint64_t end)
{
	ahead->tail = tail;
	if (end < tail + 2 * RECORD_ALIGN || !add(ahead, end - RECORD_ALIGN))
		return false;
	ahead->looking = true;
	read_page(&ahead->slots[0], end - RECORD_ALIGN);
	return true;
}

const uint8_t *ahead_page(struct ahead *ahead, uint64_t position, bool *coming)
{
	const uint8_t *page = NULL;

	*coming = ahead->looking;
	for (unsigned i = 0; i < DEPTH; i++) {
		struct slot *slot = &ahead->slots[i];

		if (slot->stage == SLOT_READ && slot->position == position)
			page = slot->page;
		else if (slot->stage == SLOT_READ && slot->position < position)
			slot->stage = SLOT_FREE;
		else if (slot->stage == SLOT_READING && slot->position == position)
			*coming = true;
	}
	if (!ahead->looking)
		read_more(ahead);
	return page;
}

bool ahead_idle(const struct ahead *ahead)
{
	return ahead->reading == 0;
}
