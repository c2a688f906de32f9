// SPDX-License-Identifier: Apache-2.0
#include "memdisk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// What a flush under way will make durable: the sectors that were not durable
// when it was submitted, as they were then.
struct flush_point {
	const struct disk_io *io;
	struct flush_point *next;
	size_t count;
	struct saved_sector {
		uint64_t number;
		uint64_t version;
		uint8_t bytes[MEMDISK_SECTOR];
	} sectors[];
};

static struct memdisk *memdisk_of(struct disk *disk)
{
	return (struct memdisk *)disk; // its first member
}

static void *need(void *memory)
{
	assert_non_null(memory);
	return memory;
}

static uint64_t sector_count(const struct memdisk *memdisk)
{
	return memdisk->disk.size / MEMDISK_SECTOR;
}

static void remember_flush(struct memdisk *memdisk, const struct disk_io *io)
{
	struct flush_point *point;
	size_t count = 0;

	for (uint64_t i = 0; i < sector_count(memdisk); i++)
		count += memdisk->version[i] != memdisk->durable_version[i];
	point = need(malloc(sizeof(*point) + count * sizeof(point->sectors[0])));
	*point = (struct flush_point){.io = io, .next = memdisk->points};
	for (uint64_t i = 0; i < sector_count(memdisk); i++) {
		struct saved_sector *saved = &point->sectors[point->count];

		if (memdisk->version[i] == memdisk->durable_version[i])
			continue;
		saved->number = i;
		saved->version = memdisk->version[i];
		memcpy(saved->bytes, memdisk->bytes + i * MEMDISK_SECTOR, MEMDISK_SECTOR);
		point->count++;
	}
	memdisk->points = point;
}

static struct flush_point *take_flush(struct memdisk *memdisk, const struct disk_io *io)
{
	struct flush_point **link = &memdisk->points;

	while ((*link)->io != io)
		link = &(*link)->next;

	struct flush_point *point = *link;

	*link = point->next;
	return point;
}

static void sector_durable(struct memdisk *memdisk, uint64_t number, uint64_t version, const uint8_t *bytes)
{
	if (version <= memdisk->durable_version[number])
		return;
	memcpy(memdisk->durable + number * MEMDISK_SECTOR, bytes, MEMDISK_SECTOR);
	memdisk->durable_version[number] = version;
}

static void submit(struct disk *disk, struct disk_io *io)
{
	struct memdisk *memdisk = memdisk_of(disk);
	uint64_t align = disk->align;

	if (io->op != DISK_FLUSH) {
		assert_true(io->length <= disk->size && io->offset <= disk->size - io->length);
		assert_true(io->length > 0);
	}
	if (io->op == DISK_READ || io->op == DISK_WRITE) {
		assert_int_equal(io->offset % align, 0);
		assert_int_equal(io->length % align, 0);
		assert_int_equal((uintptr_t)io->data % align, 0);
		assert_true(io->length <= (UINT64_C(32) << 20) + (8 << 10));
	}
	if (io->op == DISK_FLUSH)
		remember_flush(memdisk, io);
	io->next = NULL;
	if (memdisk->last)
		memdisk->last->next = io;
	else
		memdisk->first = io;
	memdisk->last = io;
}

static bool hole(struct disk *disk, uint64_t offset, uint64_t *length)
{
	struct memdisk *memdisk = memdisk_of(disk);
	uint64_t end = offset + *length, at = offset;
	bool zero = memdisk->bytes[offset] == 0;

	while (at < end && (memdisk->bytes[at] == 0) == zero)
		at++;
	*length = at - offset;
	return zero;
}

static const struct disk_ops ops = {.submit = submit, .hole = hole};

struct memdisk *memdisk_new(uint64_t size, uint32_t align)
{
	struct memdisk *memdisk = need(calloc(1, sizeof(*memdisk)));

	assert_int_equal(size % MEMDISK_SECTOR, 0);
	memdisk->disk = (struct disk){.ops = &ops, .size = size, .align = align};
	memdisk->bytes = need(calloc(1, size));
	memdisk->durable = need(calloc(1, size));
	memdisk->version = need(calloc(sector_count(memdisk), sizeof(uint64_t)));
	memdisk->durable_version = need(calloc(sector_count(memdisk), sizeof(uint64_t)));
	return memdisk;
}

static void drop_queue(struct memdisk *memdisk)
{
	while (memdisk->points) {
		struct flush_point *next = memdisk->points->next;

		free(memdisk->points);
		memdisk->points = next;
	}
	memdisk->first = NULL;
	memdisk->last = NULL;
}

void memdisk_free(struct memdisk *memdisk)
{
	drop_queue(memdisk);
	free(memdisk->records);
	free(memdisk->durable_version);
	free(memdisk->version);
	free(memdisk->durable);
	free(memdisk->bytes);
	free(memdisk);
}

unsigned memdisk_pending(const struct memdisk *memdisk)
{
	unsigned count = 0;

	for (const struct disk_io *io = memdisk->first; io; io = io->next)
		count++;
	return count;
}

struct disk_io *memdisk_peek(const struct memdisk *memdisk, unsigned index)
{
	struct disk_io *io = memdisk->first;

	while (io && index-- > 0)
		io = io->next;
	return io;
}

// Sectors of a range get new content; data NULL: zeroes. Without all, each
// sector may be left out. The edges of an unaligned range count as whole.
static void change(struct memdisk *memdisk, uint64_t offset, uint64_t length, const uint8_t *data, bool all)
{
	while (length > 0) {
		uint64_t number = offset / MEMDISK_SECTOR;
		uint64_t part = MEMDISK_SECTOR - offset % MEMDISK_SECTOR;

		if (part > length)
			part = length;
		if (all || random() % 2) {
			if (data)
				memcpy(memdisk->bytes + offset, data, part);
			else
				memset(memdisk->bytes + offset, 0, part);
			memdisk->version[number] = ++memdisk->versions;
		}
		data = data ? data + part : NULL;
		offset += part;
		length -= part;
	}
}

static void range_durable(struct memdisk *memdisk, uint64_t offset, uint64_t length)
{
	uint64_t end = (offset + length + MEMDISK_SECTOR - 1) / MEMDISK_SECTOR;

	for (uint64_t i = offset / MEMDISK_SECTOR; i < end; i++)
		sector_durable(memdisk, i, memdisk->version[i], memdisk->bytes + i * MEMDISK_SECTOR);
}

static int perform(struct memdisk *memdisk, struct disk_io *io, int error)
{
	struct flush_point *point;

	switch (io->op) {
	case DISK_READ:
		memdisk->reads++;
		if (error)
			memset(io->data, 0xee, io->length);
		else
			memcpy(io->data, memdisk->bytes + io->offset, io->length);
		break;
	case DISK_WRITE:
		memdisk->writes++;
		change(memdisk, io->offset, io->length, io->data, !error);
		break;
	case DISK_ZERO:
		memdisk->zeroes++;
		error = error ? error : memdisk->zero_error;
		if (!error)
			change(memdisk, io->offset, io->length, NULL, true);
		break;
	case DISK_FLUSH:
		memdisk->flushes++;
		point = take_flush(memdisk, io);
		for (size_t i = 0; !error && i < point->count; i++)
			sector_durable(memdisk, point->sectors[i].number, point->sectors[i].version,
			               point->sectors[i].bytes);
		free(point);
		break;
	}
	if (!error && io->op != DISK_FLUSH && (io->flags & DISK_FUA))
		range_durable(memdisk, io->offset, io->length);
	return error;
}

static int injected(struct memdisk *memdisk, enum disk_op op)
{
	int error = memdisk->fail_error;

	if (error == 0 || !(memdisk->fail_ops & (1U << op)))
		return 0;
	if (memdisk->fail_after > 0) {
		memdisk->fail_after--;
		return 0;
	}
	if (!memdisk->fail_forever)
		memdisk->fail_error = 0;
	return error;
}

static void record(struct memdisk *memdisk, const struct disk_io *io)
{
	if (memdisk->record_count == memdisk->record_room) {
		memdisk->record_room = memdisk->record_room ? 2 * memdisk->record_room : 64;
		memdisk->records = need(realloc(memdisk->records, memdisk->record_room * sizeof(memdisk->records[0])));
	}
	memdisk->records[memdisk->record_count++] = (struct memdisk_record){io->op, io->flags, io->offset, io->length};
}

bool memdisk_step_at(struct memdisk *memdisk, unsigned index)
{
	struct disk_io **link = &memdisk->first, *previous = NULL, *io;

	while (*link && index > 0) {
		previous = *link;
		link = &previous->next;
		index--;
	}
	io = *link;
	if (!io)
		return false;
	*link = io->next;
	if (memdisk->last == io)
		memdisk->last = previous;
	io->next = NULL;
	record(memdisk, io);
	io->done(io, perform(memdisk, io, injected(memdisk, io->op)));
	return true;
}

bool memdisk_step(struct memdisk *memdisk)
{
	return memdisk_step_at(memdisk, 0);
}

unsigned memdisk_run(struct memdisk *memdisk)
{
	unsigned count = 0;

	while (memdisk_step(memdisk))
		count++;
	return count;
}

void memdisk_fail(struct memdisk *memdisk, unsigned fail_ops, unsigned skip, int error, bool forever)
{
	memdisk->fail_ops = fail_ops;
	memdisk->fail_after = skip;
	memdisk->fail_error = error;
	memdisk->fail_forever = forever;
}

void memdisk_crash(struct memdisk *memdisk, unsigned seed)
{
	srandom(seed);
	for (const struct disk_io *io = memdisk->first; io; io = io->next) {
		long luck = random() % 3; // lost, in part, whole

		if (luck > 0 && (io->op == DISK_WRITE || io->op == DISK_ZERO))
			change(memdisk, io->offset, io->length, io->op == DISK_WRITE ? io->data : NULL, luck == 2);
	}
	drop_queue(memdisk);
}

void memdisk_power_loss(struct memdisk *memdisk, unsigned seed)
{
	memdisk_crash(memdisk, seed);
	for (uint64_t i = 0; i < sector_count(memdisk); i++) {
		if (memdisk->version[i] == memdisk->durable_version[i])
			continue;
		if (random() % 2)
			memcpy(memdisk->bytes + i * MEMDISK_SECTOR, memdisk->durable + i * MEMDISK_SECTOR,
			       MEMDISK_SECTOR);
		else
			memcpy(memdisk->durable + i * MEMDISK_SECTOR, memdisk->bytes + i * MEMDISK_SECTOR,
			       MEMDISK_SECTOR);
		memdisk->durable_version[i] = memdisk->version[i];
	}
}
