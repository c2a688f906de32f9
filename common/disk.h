// SPDX-License-Identifier: Apache-2.0
// A disk is wherever bytes live: a volume, a journal, a spill file, a metadata
// file. The engines see only this interface; file_disk.h implements it over
// io_uring, the simulator implements it with a volatile cache that tears.
#ifndef STEAD_DISK_H
#define STEAD_DISK_H

#include "mutant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct disk_io;

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_ZERO, // the range reads as zeroes afterwards
	DISK_FLUSH, // makes every write durable whose done() ran before the submit
};

enum disk_flags {
	DISK_FUA = 1 << 0, // WRITE, ZERO: durable when done() runs
	DISK_UNMAP = 1 << 1, // ZERO: give the space back where possible
	DISK_FAST = 1 << 2, // ZERO: -EOPNOTSUPP at once rather than writing zeroes
	DISK_STREAM = 1 << 3, // READ, WRITE: through a cache, for its read-ahead and write-behind; see disk_stream()
};

// One operation. The caller owns it and everything it points to, and leaves
// both alone from disk_submit() until done() has been called. done() is never
// called from within disk_submit(), always on the thread of the disk's loop,
// and exactly once; error is 0 or -errno. A transfer is whole or an error;
// after an error the content of the range is unknown.
struct disk_io {
	enum disk_op op;
	unsigned flags;
	uint64_t offset; // bytes; READ and WRITE: a multiple of disk->align
	uint64_t length; // bytes; likewise; READ and WRITE at most 32 MiB + 8 KiB
	void *data; // READ and WRITE: aligned to disk->align
	unsigned registered; // instead of data, where not 0: the loop's registered buffer of this number less one
	void (*done)(struct disk_io *io, int error);

	// for the implementation
	struct disk *disk;
	struct disk_io *next;
	uint64_t progress;
};

struct disk_ops {
	void (*submit)(struct disk *disk, struct disk_io *io);
	bool (*hole)(struct disk *disk, uint64_t offset, uint64_t *length);
};

struct disk {
	const struct disk_ops *ops;
	uint64_t size; // bytes
	uint32_t align; // of offsets, lengths and memory: a power of two, 1 to 4096
	bool streams; // has a cache that is in step with what goes past it, whoever reads what when
};

static inline void disk_submit(struct disk *disk, struct disk_io *io)
{
	io->disk = disk;
	disk->ops->submit(disk, io);
}

// The flag for a part of much that comes in order and is not wanted again. Only
// where the cache cannot hold what is no longer true: nothing may be compared
// with, or copied from, anything but the disk itself.
static inline unsigned disk_stream(const struct disk *disk)
{
	return disk->streams || MUTANT(DEVICE_READ_THROUGH_CACHE) ? DISK_STREAM : 0;
}

// Whether a hole (reads as zeroes, takes no space) begins at offset. *length
// is how much the caller asks about and comes back as how much, at least one
// byte, is of the same kind. Where the disk cannot tell: false, *length as is.
// May block shortly on file metadata.
static inline bool disk_hole(struct disk *disk, uint64_t offset, uint64_t *length)
{
	return disk->ops->hole(disk, offset, length);
}

#endif
