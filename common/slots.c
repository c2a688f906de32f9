// SPDX-License-Identifier: Apache-2.0
#include "slots.h"

#include "bytes.h"
#include "mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

// A slot: magic, checksum of all that follows it, version, kind, sequence
// number, payload length, zeroes up to SLOT_HEADER_BYTES, payload, zeroes.
#define SLOT_MAGIC "STEADSLT"
#define SLOT_VERSION 1
#define SLOT_HEADER_BYTES 128
#define SLOT_CHECKED_FROM 16
#define SLOT_ALIGN 4096

_Static_assert(SLOT_HEADER_BYTES + SLOT_PAYLOAD_MAX == SLOT_BYTES, "a slot is full");

struct slot {
	uint64_t sequence; // 0: not valid
	size_t length;
	bool blank; // all zero
};

struct waiter {
	void (*done)(void *user, int error);
	void *user;
	struct waiter *next;
};

// A record on its way to both slots. It goes to the slot first that does not
// hold the newest durable record, so that one slot is good at every moment.
struct slots {
	struct disk *disk;
	uint64_t offset;
	uint32_t kind;
	uint64_t sequence; // newest that was ever seen or made
	unsigned next; // slot to write next
	unsigned steps; // slots that the record under way has still to reach
	bool busy;
	struct disk_io io;
	uint8_t *area; // SLOTS_BYTES: what was read; then its first slot is what is written

	struct waiter *waiters; // of the record under way
	uint8_t *pending; // a record that follows it, SLOT_PAYLOAD_MAX
	size_t pending_length;
	struct waiter *pending_waiters; // NULL: none follows

	void (*loaded)(void *user, int error, const void *payload, size_t length, bool damaged);
	void *load_user;
	size_t length;
	bool damaged;
};

static struct slot slot_read(const uint8_t *bytes, uint32_t kind)
{
	static const uint8_t zeroes[SLOT_BYTES];
	uint64_t checksum = XXH3_64bits(bytes + SLOT_CHECKED_FROM, SLOT_BYTES - SLOT_CHECKED_FROM);
	struct reader reader = reader_begin(bytes, SLOT_HEADER_BYTES);
	struct slot slot = {.blank = memcmp(bytes, zeroes, SLOT_BYTES) == 0};
	uint64_t sequence;

	reader_demand(&reader, memcmp(read_bytes(&reader, 8), SLOT_MAGIC, 8) == 0);
	reader_demand(&reader, read_u64(&reader) == checksum || MUTANT(TORN_SLOT_ACCEPTED));
	reader_demand(&reader, read_u32(&reader) == SLOT_VERSION);
	reader_demand(&reader, read_u32(&reader) == kind);
	sequence = read_u64(&reader);
	slot.length = read_u32(&reader);
	reader_demand(&reader, slot.length <= SLOT_PAYLOAD_MAX);
	read_zeroes(&reader, reader.left);
	if (!reader.bad && sequence <= INT64_MAX)
		slot.sequence = sequence;
	return slot;
}

static void slot_write(uint8_t *bytes, uint32_t kind, uint64_t sequence, const void *payload, size_t length)
{
	struct writer writer = writer_begin(bytes);

	memmove(bytes + SLOT_HEADER_BYTES, payload, length); // payload may lie in the same buffer
	memset(bytes + SLOT_HEADER_BYTES + length, 0, SLOT_PAYLOAD_MAX - length);
	memset(bytes, 0, SLOT_HEADER_BYTES);
	write_bytes(&writer, SLOT_MAGIC, 8);
	write_u64(&writer, 0);
	write_u32(&writer, SLOT_VERSION);
	write_u32(&writer, kind);
	write_u64(&writer, sequence);
	write_u32(&writer, (uint32_t)length);
	put_u64(bytes + 8, XXH3_64bits(bytes + SLOT_CHECKED_FROM, SLOT_BYTES - SLOT_CHECKED_FROM));
}

struct pick {
	unsigned index; // of the slot to be used
	struct slot slot;
	bool damaged;
	bool level; // both slots hold this record
};

// Two valid slots of different age are a save that was cut short, and no
// damage. An invalid slot beside a valid one is damage or a torn write, which
// nobody can tell apart; only the very first save has nothing beside it.
static int pick(const uint8_t *area, uint32_t kind, struct pick *pick)
{
	struct slot slots[2] = {slot_read(area, kind), slot_read(area + SLOT_BYTES, kind)};
	unsigned newest = slots[1].sequence > slots[0].sequence;
	const struct slot *other = &slots[!newest];
	bool first_save;

	if (slots[0].blank && slots[1].blank)
		return -ENOENT;
	if (slots[newest].sequence == 0)
		return -EILSEQ;
	first_save = newest == 0 && slots[0].sequence == 1 && other->blank;
	*pick = (struct pick){
	        .index = newest,
	        .slot = slots[newest],
	        .damaged = other->sequence == 0 && !first_save,
	        .level = other->sequence == slots[newest].sequence,
	};
	// one number for two records: made by no save
	if (pick->level && memcmp(area, area + SLOT_BYTES, SLOT_BYTES) != 0)
		return -EILSEQ;
	return 0;
}

int slots_pick(const uint8_t *area, uint32_t kind, const void **payload, size_t *length, bool *damaged)
{
	struct pick picked;
	int error = pick(area, kind, &picked);

	if (error)
		return error;
	*payload = area + picked.index * SLOT_BYTES + SLOT_HEADER_BYTES;
	*length = picked.slot.length;
	*damaged = picked.damaged;
	return 0;
}

struct slots *slots_new(struct disk *disk, uint64_t offset, uint32_t kind)
{
	struct slots *slots = calloc(1, sizeof(*slots));

	if (!slots)
		return NULL;
	slots->disk = disk;
	slots->offset = offset;
	slots->kind = kind;
	slots->area = aligned_alloc(SLOT_ALIGN, SLOTS_BYTES);
	slots->pending = malloc(SLOT_PAYLOAD_MAX);
	if (!slots->area || !slots->pending) {
		slots_free(slots);
		return NULL;
	}
	return slots;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	// not empty only after a crash that a simulator plays
	for (struct waiter *next, *waiter = slots->waiters; waiter; waiter = next) {
		next = waiter->next;
		free(waiter);
	}
	for (struct waiter *next, *waiter = slots->pending_waiters; waiter; waiter = next) {
		next = waiter->next;
		free(waiter);
	}
	free(slots->area);
	free(slots->pending);
	free(slots);
}

static void write_slot(struct slots *slots);

static void call_waiters(struct waiter *waiter, int error)
{
	while (waiter) {
		struct waiter *next = waiter->next;

		waiter->done(waiter->user, error);
		free(waiter);
		waiter = next;
	}
}

static void begin_save(struct slots *slots, const void *payload, size_t length)
{
	slots->busy = true;
	slots->steps = 2;
	slots->sequence++;
	slot_write(slots->area, slots->kind, slots->sequence, payload, length);
	write_slot(slots);
}

// The record under way has reached both slots, or failed. The owner may free
// the slots in the last done(), so they come last of all.
static void end_write(struct slots *slots, int error)
{
	struct waiter *waiters = slots->waiters;
	void (*loaded)(void *, int, const void *, size_t, bool) = slots->loaded;

	slots->busy = false;
	slots->waiters = slots->pending_waiters;
	slots->pending_waiters = NULL;
	slots->loaded = NULL;
	if (loaded) {
		const uint8_t *payload = error ? NULL : slots->area + SLOT_HEADER_BYTES;

		loaded(slots->load_user, error, payload, slots->length, slots->damaged);
		return;
	}
	if (slots->waiters)
		begin_save(slots, slots->pending, slots->pending_length);
	call_waiters(waiters, error);
}

static void slot_flushed(struct disk_io *io, int error)
{
	struct slots *slots = (struct slots *)((char *)io - offsetof(struct slots, io));

	if (!error) {
		slots->next = !slots->next;
		slots->steps--;
	}
	if (error || slots->steps == 0)
		end_write(slots, error);
	else
		write_slot(slots);
}

static void flush(struct slots *slots, void (*done)(struct disk_io *io, int error))
{
	slots->io = (struct disk_io){.op = DISK_FLUSH, .done = done};
	disk_submit(slots->disk, &slots->io);
}

static void slot_written(struct disk_io *io, int error)
{
	struct slots *slots = (struct slots *)((char *)io - offsetof(struct slots, io));

	if (error)
		end_write(slots, error);
	else
		flush(slots, slot_flushed);
}

static void write_slot(struct slots *slots)
{
	slots->io = (struct disk_io){
	        .op = DISK_WRITE,
	        .offset = slots->offset + slots->next * SLOT_BYTES,
	        .length = SLOT_BYTES,
	        .data = slots->area,
	        .done = slot_written,
	};
	disk_submit(slots->disk, &slots->io);
}

// What was read may be younger than the last flush, when a process died in the
// middle of a save: it must be durable before a mirror is overwritten, and
// before anybody relies on it.
static void found_flushed(struct disk_io *io, int error)
{
	struct slots *slots = (struct slots *)((char *)io - offsetof(struct slots, io));

	if (error) {
		end_write(slots, error);
		return;
	}
	if (slots->steps == 0)
		end_write(slots, 0);
	else
		write_slot(slots);
}

static void area_read(struct disk_io *io, int error)
{
	struct slots *slots = (struct slots *)((char *)io - offsetof(struct slots, io));
	struct pick picked = {.level = true};

	if (!error)
		error = pick(slots->area, slots->kind, &picked);
	if (error) {
		end_write(slots, error);
		return;
	}
	slots->sequence = picked.slot.sequence;
	slots->next = !picked.index;
	slots->damaged = picked.damaged;
	slots->length = picked.slot.length;
	if (picked.index != 0)
		memcpy(slots->area, slots->area + SLOT_BYTES, SLOT_BYTES);
	slots->steps = picked.level ? 0 : 1;
	flush(slots, found_flushed);
}

void slots_load(struct slots *slots, void *user,
                void (*done)(void *user, int error, const void *payload, size_t length, bool damaged))
{
	slots->busy = true;
	slots->loaded = done;
	slots->load_user = user;
	slots->damaged = false;
	slots->length = 0;
	slots->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = slots->offset,
	        .length = SLOTS_BYTES,
	        .data = slots->area,
	        .done = area_read,
	};
	disk_submit(slots->disk, &slots->io);
}

static void add_waiter(struct waiter **waiters, void *user, void (*done)(void *user, int error))
{
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter)
		abort(); // a few bytes: nothing that follows could work either
	*waiter = (struct waiter){.done = done, .user = user};
	while (*waiters)
		waiters = &(*waiters)->next;
	*waiters = waiter;
}

void slots_save(struct slots *slots, const void *payload, size_t length, void *user,
                void (*done)(void *user, int error))
{
	if (!slots->busy) {
		add_waiter(&slots->waiters, user, done);
		begin_save(slots, payload, length);
		return;
	}
	memcpy(slots->pending, payload, length);
	slots->pending_length = length;
	add_waiter(&slots->pending_waiters, user, done);
}
