// SPDX-License-Identifier: Apache-2.0
#include "file_disk.h"

#include "file_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK_OPS 64
#define ZERO_PIECE (256 * 1024)
#define STREAM_KEPT_NSEC (50 * NSEC_PER_MSEC) // what streamed by stays in the page cache for so long

struct file_disk;

// One io_uring operation of a disk_io.
struct file_op {
	struct op op; // first
	struct file_disk *disk;
	struct disk_io *io;
	struct file_op *next; // free
	int error; // to end with, for what fails without asking the kernel
	bool streamed; // leaves clean pages in the page cache that are not wanted there
	enum {
		STAGE_TRANSFER, // READ, WRITE, FLUSH
		STAGE_FALLOCATE, // ZERO ...
		STAGE_PIECES, // ... by writing zeroes
		STAGE_SYNC, // ... that must be durable
		STAGE_REFUSE,
	} stage;
};

struct chunk {
	struct chunk *next;
	struct file_op ops[CHUNK_OPS];
};

struct file_disk {
	struct disk disk; // first
	struct loop *loop;
	struct opened_file file;
	bool no_zero_range, no_punch; // the file system cannot; learned from its first answer
	struct timer drop; // set while the page cache may hold what streamed by
	bool drop_set;
	bool stream_dirty; // streamed to since the last flush

	struct chunk *chunks;
	struct file_op *free_ops;
	struct disk_io *waiting, **waiting_end; // for an op, when memory was short
};

// Source of written zeroes; never written to. Aligned for O_DIRECT.
static _Alignas(4096) uint8_t zeroes[ZERO_PIECE];

static bool add_chunk(struct file_disk *disk)
{
	struct chunk *chunk = malloc(sizeof(*chunk));

	if (!chunk)
		return false;
	chunk->next = disk->chunks;
	disk->chunks = chunk;
	for (unsigned i = 0; i < CHUNK_OPS; i++) {
		chunk->ops[i].next = disk->free_ops;
		disk->free_ops = &chunk->ops[i];
	}
	return true;
}

// While anything of the file is in the page cache, each write past it is dearer,
// and what else is cached on this machine was of more use than this.
static void drop_cached(struct timer *timer)
{
	struct file_disk *disk = (struct file_disk *)((char *)timer - offsetof(struct file_disk, drop));

	disk->drop_set = false;
	io_uring_prep_fadvise(loop_sqe(disk->loop, NULL), disk->file.stream_fd, 0, 0, POSIX_FADV_DONTNEED);
}

// Pages that are on their way to or from the disk are not dropped: so whatever
// ends asks for it anew.
static void drop_soon(struct file_disk *disk)
{
	struct clock *clock = loop_clock(disk->loop);

	if (!disk->drop_set)
		clock_set(clock, &disk->drop, clock_now(clock) + STREAM_KEPT_NSEC);
	disk->drop_set = true;
}

// From where it has come to. A registered buffer has offsets, no addresses.
static void prepare_transfer(struct io_uring_sqe *sqe, int fd, const struct disk_io *io)
{
	bool write = io->op == DISK_WRITE;
	uint64_t offset = io->offset + io->progress;
	unsigned length = (unsigned)(io->length - io->progress);

	if (io->registered) {
		io_uring_prep_rw(write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED, sqe, fd, NULL, length, offset);
		sqe->addr = io->progress;
		sqe->buf_index = (uint16_t)(io->registered - 1);
	} else {
		io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, fd, (uint8_t *)io->data + io->progress,
		                 length, offset);
	}
	if (io->flags & DISK_FUA)
		sqe->rw_flags = RWF_DSYNC;
}

static void submit_transfer(struct file_op *op)
{
	struct file_disk *disk = op->disk;
	struct io_uring_sqe *sqe = loop_sqe(disk->loop, &op->op);

	if (op->io->op == DISK_FLUSH) {
		io_uring_prep_fsync(sqe, disk->file.fd, IORING_FSYNC_DATASYNC);
		op->streamed = op->streamed || disk->stream_dirty;
		disk->stream_dirty = false;
	} else {
		op->streamed = op->io->flags & DISK_STREAM && disk->file.stream_fd != disk->file.fd;
		prepare_transfer(sqe, op->streamed ? disk->file.stream_fd : disk->file.fd, op->io);
	}
}

static void submit_sync(struct file_op *op)
{
	op->stage = STAGE_SYNC;
	io_uring_prep_fsync(loop_sqe(op->disk->loop, &op->op), op->disk->file.fd, IORING_FSYNC_DATASYNC);
}

static void submit_piece(struct file_op *op)
{
	struct disk_io *io = op->io;
	uint64_t left = io->length - io->progress;

	op->stage = STAGE_PIECES;
	io_uring_prep_write(loop_sqe(op->disk->loop, &op->op), op->disk->file.fd, zeroes,
	                    (unsigned)(left < ZERO_PIECE ? left : ZERO_PIECE), io->offset + io->progress);
}

// Fails without the kernel's help, but not from within disk_submit().
static void submit_refusal(struct file_op *op, int error)
{
	op->stage = STAGE_REFUSE;
	op->error = error;
	io_uring_prep_nop(loop_sqe(op->disk->loop, &op->op));
}

// The kernel cannot zero this way: write zeroes, unless that is not wanted.
static void zero_otherwise(struct file_op *op)
{
	struct disk_io *io = op->io;

	if (io->flags & (DISK_FAST | DISK_UNMAP))
		submit_refusal(op, -EOPNOTSUPP);
	else if ((io->offset | io->length) & (op->disk->disk.align - 1))
		submit_refusal(op, -EINVAL);
	else
		submit_piece(op);
}

// PUNCH_HOLE on a block device gives zeroes or -EOPNOTSUPP, never leftovers.
// ZERO_RANGE on one may write zeroes in the kernel, which is not fast.
static void submit_zero(struct file_op *op)
{
	struct file_disk *disk = op->disk;
	struct disk_io *io = op->io;
	bool punch = io->flags & DISK_UNMAP;

	op->stage = STAGE_FALLOCATE;
	if (punch ? disk->no_punch : disk->no_zero_range) {
		zero_otherwise(op);
	} else if (disk->file.device && (io->flags & DISK_FAST) && !disk->file.fast_zero) {
		submit_refusal(op, -EOPNOTSUPP);
	} else {
		io_uring_prep_fallocate(loop_sqe(disk->loop, &op->op), disk->file.fd,
		                        (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE,
		                        (off_t)io->offset, (off_t)io->length);
	}
}

static void op_done(struct op *base, int result, unsigned flags);

static void start(struct file_disk *disk, struct disk_io *io)
{
	struct file_op *op = disk->free_ops;
	bool inside = io->offset <= disk->disk.size && io->length <= disk->disk.size - io->offset;

	disk->free_ops = op->next;
	*op = (struct file_op){.op = {op_done}, .disk = disk, .io = io, .stage = STAGE_TRANSFER};
	io->progress = 0;
	if (io->op == DISK_FLUSH)
		submit_transfer(op);
	else if (!inside)
		submit_refusal(op, -EINVAL);
	else if (!io->length)
		submit_refusal(op, 0);
	else if (io->op == DISK_ZERO)
		submit_zero(op);
	else
		submit_transfer(op);
}

static void finish(struct file_op *op, int error)
{
	struct file_disk *disk = op->disk;
	struct disk_io *io = op->io, *next = disk->waiting;

	if (op->streamed) {
		disk->stream_dirty = disk->stream_dirty || io->op == DISK_WRITE;
		drop_soon(disk);
	}
	op->next = disk->free_ops;
	disk->free_ops = op;
	if (next) {
		disk->waiting = next->next;
		if (!disk->waiting)
			disk->waiting_end = &disk->waiting;
		start(disk, next);
	}
	io->done(io, error);
}

// READ and WRITE, and pieces of zeroes: true when all of it is done.
static bool transferred(struct disk_io *io, int result)
{
	io->progress += (uint64_t)result;
	return io->progress >= io->length;
}

static bool unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV;
}

static void op_done(struct op *base, int result, unsigned flags)
{
	struct file_op *op = (struct file_op *)base;
	struct disk_io *io = op->io;
	bool transfer = op->stage == STAGE_PIECES || (op->stage == STAGE_TRANSFER && io->op != DISK_FLUSH);

	(void)flags;
	if (op->stage == STAGE_REFUSE) {
		finish(op, op->error);
	} else if (op->stage == STAGE_FALLOCATE && unsupported(result)) {
		if (io->flags & DISK_UNMAP)
			op->disk->no_punch = true;
		else
			op->disk->no_zero_range = true;
		zero_otherwise(op);
	} else if (result == -EINTR || result == -EAGAIN) {
		if (op->stage == STAGE_PIECES)
			submit_piece(op);
		else if (op->stage == STAGE_FALLOCATE)
			submit_zero(op);
		else if (op->stage == STAGE_SYNC)
			submit_sync(op);
		else
			submit_transfer(op);
	} else if (result < 0) {
		finish(op, result);
	} else if (transfer && result == 0) {
		finish(op, -EIO); // the file is shorter than it was
	} else if (transfer && !transferred(io, result)) {
		if (op->stage == STAGE_PIECES)
			submit_piece(op);
		else
			submit_transfer(op);
	} else if (io->op == DISK_ZERO && (io->flags & DISK_FUA) && op->stage != STAGE_SYNC) {
		submit_sync(op);
	} else {
		finish(op, 0);
	}
}

static void file_submit(struct disk *base, struct disk_io *io)
{
	struct file_disk *disk = (struct file_disk *)base;

	// An op comes free at the latest when one of the first chunk is done.
	if (disk->waiting || (!disk->free_ops && !add_chunk(disk))) {
		io->next = NULL;
		*disk->waiting_end = io;
		disk->waiting_end = &io->next;
		return;
	}
	start(disk, io);
}

static bool file_hole(struct disk *base, uint64_t offset, uint64_t *length)
{
	struct file_disk *disk = (struct file_disk *)base;
	uint64_t size = disk->disk.size;
	off_t at;

	if (disk->file.device || offset >= size)
		return false;
	at = lseek(disk->file.fd, (off_t)offset, SEEK_DATA);
	if (at < 0 && errno != ENXIO)
		return false;
	if (at < 0 || (uint64_t)at > offset) {
		uint64_t end = at < 0 ? size : (uint64_t)at;

		if (*length > end - offset)
			*length = end - offset;
		return true;
	}
	at = lseek(disk->file.fd, (off_t)offset, SEEK_HOLE);
	if (at > (off_t)offset && *length > (uint64_t)at - offset)
		*length = (uint64_t)at - offset;
	return false;
}

static const struct disk_ops file_ops = {file_submit, file_hole};

struct disk *file_disk_open(struct loop *loop, const char *path, const struct file_disk_options *options,
                            struct error *err)
{
	struct file_disk *disk = calloc(1, sizeof(*disk));
	int result;

	if (!disk || !add_chunk(disk)) {
		free(disk);
		fail(err, ENOMEM, "open %s: out of memory", path);
		errno = ENOMEM;
		return NULL;
	}
	result = file_open(path, options, &disk->file, err);
	if (result < 0) {
		free(disk->chunks);
		free(disk);
		errno = -result;
		return NULL;
	}
	disk->loop = loop;
	disk->disk = (struct disk){&file_ops, disk->file.size, disk->file.align, disk->file.stream_fd != disk->file.fd};
	disk->waiting_end = &disk->waiting;
	disk->drop.fire = drop_cached;
	return &disk->disk;
}

void file_disk_close(struct disk *base)
{
	struct file_disk *disk = (struct file_disk *)base;
	struct chunk *next;

	if (!disk)
		return;
	for (struct chunk *chunk = disk->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	if (disk->drop_set)
		clock_cancel(loop_clock(disk->loop), &disk->drop);
	file_close(&disk->file);
	free(disk);
}
