// SPDX-License-Identifier: Apache-2.0
#include "volumes.h"

#include "common/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 64 // operations in flight
#define ZERO_STEP (UINT64_C(256) << 20) // bytes in one DISK_ZERO
#define HOLE_WORTH (UINT64_C(64) << 10) // shorter zero extents are zeroed without asking for holes

// One operation on a volume.
struct op {
	struct disk_io io;
	struct volumes *volumes;
	struct put *put;
	unsigned volume;
	bool busy;
};

// One frame that is being written: what is issued of it, and what is in flight.
struct put {
	struct put *next; // in the order that they came
	unsigned volume;
	unsigned flags; // of its writes
	uint32_t count;
	struct extent extents[BLOCKS_EXTENTS_MAX];
	uint32_t index; // extent that is issued next
	uint64_t done; // bytes of it that are issued
	uint32_t raw; // where its content begins
	unsigned inflight;
	uint8_t *content; // BLOCKS_RAW_MAX
};

struct target {
	struct disk *disk;
	uint64_t bytes;
	char name[NAME_MAX_LENGTH + 1];
	bool no_unmap;
	bool dirty; // written to since the last flush that worked
};

struct flush {
	struct disk_io io;
	struct volumes *volumes;
	unsigned volume;
};

struct volumes {
	void (*progress)(void *user);
	void *user;
	struct unpacker *unpacker;
	unsigned count;
	struct target targets[VOLUMES_MAX];

	struct put *first, **last; // under way
	struct put *spare;
	struct op ops[OPS_MAX];
	unsigned inflight;

	int error;
	struct error reason;

	struct flush flushes[VOLUMES_MAX];
	unsigned flushing;
	int flush_error;
	struct error flush_reason;
	void (*flushed)(void *user, int error, const struct error *err);
	void *flush_user;
};

static void op_done(struct disk_io *io, int error);

struct volumes *volumes_new(struct disk *const *disks, unsigned count, unsigned depth, void (*progress)(void *user),
                            void *user)
{
	struct volumes *volumes = calloc(1, sizeof(*volumes));

	if (!volumes)
		return NULL;
	volumes->progress = progress;
	volumes->user = user;
	volumes->count = count;
	volumes->last = &volumes->first;
	volumes->unpacker = unpacker_new();
	if (!volumes->unpacker) {
		volumes_free(volumes);
		return NULL;
	}
	for (unsigned i = 0; i < count; i++) {
		volumes->targets[i].disk = disks[i];
		volumes->targets[i].dirty = true; // a process before this one may have left unflushed writes
	}
	while (depth-- > 0) {
		struct put *put = calloc(1, sizeof(*put));

		if (put)
			put->content = aligned_alloc(BLOCK_SIZE, BLOCKS_RAW_MAX);
		if (!put || !put->content) {
			free(put);
			volumes_free(volumes);
			return NULL;
		}
		put->next = volumes->spare;
		volumes->spare = put;
	}
	return volumes;
}

static void free_puts(struct put *put)
{
	while (put) {
		struct put *next = put->next;

		free(put->content);
		free(put);
		put = next;
	}
}

void volumes_free(struct volumes *volumes)
{
	if (!volumes)
		return;
	free_puts(volumes->first);
	free_puts(volumes->spare);
	unpacker_free(volumes->unpacker);
	free(volumes);
}

void volumes_describe(struct volumes *volumes, const struct state_volume *table)
{
	for (unsigned i = 0; i < volumes->count; i++) {
		volumes->targets[i].bytes = table[i].bytes;
		memcpy(volumes->targets[i].name, table[i].name, sizeof(table[i].name));
	}
}

bool volumes_ready(const struct volumes *volumes)
{
	return volumes->spare != NULL;
}

bool volumes_idle(const struct volumes *volumes)
{
	return volumes->first == NULL;
}

bool volumes_busy(const struct volumes *volumes, unsigned volume, uint64_t first, uint64_t count)
{
	for (const struct put *put = volumes->first; put; put = put->next) {
		for (uint32_t i = 0; put->volume == volume && i < put->count; i++) {
			const struct extent *extent = &put->extents[i];

			if (extent->first < first + count && first < extent->first + extent->count)
				return true;
		}
	}
	return false;
}

int volumes_error(const struct volumes *volumes, struct error *err)
{
	if (volumes->error && err)
		*err = volumes->reason;
	return volumes->error;
}

void volumes_forgive(struct volumes *volumes)
{
	volumes->error = 0;
}

static struct op *spare_op(struct volumes *volumes)
{
	for (unsigned i = 0; i < OPS_MAX; i++) {
		if (!volumes->ops[i].busy)
			return &volumes->ops[i];
	}
	return NULL;
}

static bool conflicts(const struct volumes *volumes, unsigned volume, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < OPS_MAX; i++) {
		const struct op *op = &volumes->ops[i];

		if (op->busy && op->volume == volume && op->io.offset < offset + length &&
		    offset < op->io.offset + op->io.length)
			return true;
	}
	return false;
}

// The volume may end within its last block, the disk is written to in units
// of its own; what lies between belongs to nobody.
static uint64_t cut_write(const struct target *target, uint64_t offset, uint64_t length)
{
	uint64_t align = target->disk->align, end = offset + length;

	if (end > target->bytes)
		end = (target->bytes + align - 1) / align * align;
	if (end > target->disk->size)
		end = target->disk->size;
	return end - offset;
}

// Issues the next piece of put. False when it has to wait.
static bool issue(struct volumes *volumes, struct put *put)
{
	const struct extent *extent = &put->extents[put->index];
	struct target *target = &volumes->targets[put->volume];
	uint64_t offset = extent->first * BLOCK_SIZE + put->done;
	uint64_t left = extent->count * BLOCK_SIZE - put->done;
	uint64_t length = extent->zero && left > ZERO_STEP ? ZERO_STEP : left, wanted;
	unsigned zero_flags = target->no_unmap ? 0 : DISK_UNMAP;
	struct op *op = spare_op(volumes);

	if (!op || conflicts(volumes, put->volume, offset, length))
		return false;
	put->done += length;
	wanted = cut_write(target, offset, length);
	if (extent->zero) {
		if (offset + wanted > target->bytes)
			wanted = target->bytes - offset;
		if (wanted >= HOLE_WORTH) {
			bool hole = disk_hole(target->disk, offset, &wanted);

			// ask again from where the answer ends, unless it is the extent's own end
			if (offset + wanted < target->bytes && wanted < length)
				put->done -= length - wanted;
			if (hole) {
				target->dirty = true;
				goto issued;
			}
		}
	}
	op->busy = true;
	op->volumes = volumes;
	op->put = put;
	op->volume = put->volume;
	op->io = (struct disk_io){
	        .op = extent->zero ? DISK_ZERO : DISK_WRITE,
	        .flags = extent->zero ? zero_flags : put->flags,
	        .offset = offset,
	        .length = wanted,
	        .data = extent->zero ? NULL : put->content + put->raw,
	        .done = op_done,
	};
	if (!extent->zero)
		put->raw += (uint32_t)length;
	target->dirty = true;
	put->inflight++;
	volumes->inflight++;
	disk_submit(target->disk, &op->io);
issued:
	if (put->done == extent->count * BLOCK_SIZE) {
		put->index++;
		put->done = 0;
	}
	return true;
}

static void finish_puts(struct volumes *volumes)
{
	struct put **link = &volumes->first;

	while (*link) {
		struct put *put = *link;

		if (put->index < put->count || put->inflight > 0) {
			link = &put->next;
			continue;
		}
		*link = put->next;
		put->next = volumes->spare;
		volumes->spare = put;
	}
	volumes->last = link;
}

// Pieces are issued strictly in the order of their frames, each after those
// that it overlaps: so the later content wins.
static void issue_all(struct volumes *volumes)
{
	for (struct put *put = volumes->first; put; put = put->next) {
		while (put->index < put->count) {
			if (volumes->error)
				put->index = put->count;
			else if (!issue(volumes, put))
				goto out;
		}
	}
out:
	finish_puts(volumes);
}

int volumes_put(struct volumes *volumes, const struct wire_blocks *blocks, unsigned flags)
{
	struct put *put = volumes->spare;
	uint64_t raw = 0;
	int error;

	if (!put)
		return -EAGAIN;
	for (uint32_t i = 0; i < blocks->extent_count; i++) {
		struct extent extent = blocks_extent(blocks, i);

		raw += extent.zero ? 0 : extent.count * BLOCK_SIZE;
	}
	if (raw != blocks->raw_length || raw > BLOCKS_RAW_MAX || blocks->extent_count > BLOCKS_EXTENTS_MAX)
		return -EBADMSG;
	error = blocks_unpack(volumes->unpacker, blocks, put->content);
	if (error)
		return error;
	volumes->spare = put->next;
	put->next = NULL;
	put->volume = blocks->volume;
	put->flags = flags;
	put->count = blocks->extent_count;
	for (uint32_t i = 0; i < put->count; i++)
		put->extents[i] = blocks_extent(blocks, i);
	put->index = 0;
	put->done = 0;
	put->raw = 0;
	put->inflight = 0;
	*volumes->last = put;
	volumes->last = &put->next;
	issue_all(volumes);
	return 0;
}

static void op_done(struct disk_io *io, int error)
{
	struct op *op = (struct op *)((char *)io - offsetof(struct op, io));
	struct volumes *volumes = op->volumes;
	struct target *target = &volumes->targets[op->volume];

	if (error == -EOPNOTSUPP && io->op == DISK_ZERO && (io->flags & DISK_UNMAP)) {
		target->no_unmap = true;
		io->flags = 0;
		disk_submit(target->disk, io);
		return;
	}
	if (error && !volumes->error)
		volumes->error = fail(&volumes->reason, -error, "write to volume %s at offset %llu: %s", target->name,
		                      (unsigned long long)io->offset, strerror(-error));
	op->busy = false;
	op->put->inflight--;
	volumes->inflight--;
	issue_all(volumes);
	volumes->progress(volumes->user);
}

static void flush_done(struct disk_io *io, int error)
{
	struct flush *flush = (struct flush *)((char *)io - offsetof(struct flush, io));
	struct volumes *volumes = flush->volumes;
	struct target *target = &volumes->targets[flush->volume];

	if (error) {
		target->dirty = true;
		if (!volumes->flush_error)
			volumes->flush_error = fail(&volumes->flush_reason, -error, "flush of volume %s: %s",
			                            target->name, strerror(-error));
	}
	if (--volumes->flushing == 0)
		volumes->flushed(volumes->flush_user, volumes->flush_error, &volumes->flush_reason);
}

void volumes_flush(struct volumes *volumes, void *user, void (*done)(void *user, int error, const struct error *err))
{
	volumes->flushed = done;
	volumes->flush_user = user;
	volumes->flush_error = 0;
	volumes->flushing = 0;
	for (unsigned i = 0; i < volumes->count; i++)
		volumes->flushing += volumes->targets[i].dirty || i == 0; // done() needs one at least
	for (unsigned i = 0; i < volumes->count; i++) {
		struct target *target = &volumes->targets[i];

		if (!target->dirty && i != 0)
			continue;
		target->dirty = false;
		volumes->flushes[i] =
		        (struct flush){{.op = DISK_FLUSH, .done = flush_done}, .volumes = volumes, .volume = i};
		disk_submit(target->disk, &volumes->flushes[i].io);
	}
}
