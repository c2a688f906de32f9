// SPDX-License-Identifier: Apache-2.0
#include "timed_disk.h"

#include "tests/sim/memory.h"

#include <string.h>

#define ALIGN 512

static void begin(struct timed_disk *timed)
{
	const struct disk_io *io = timed->first;
	uint64_t bytes = io->op == DISK_FLUSH ? 0 : io->length;

	scheduler_add(timed->scheduler, &timed->done, timed->latency + bytes * SEC / timed->rate);
}

static void carry_out(struct timed_disk *timed, const struct disk_io *io)
{
	switch (io->op) {
	case DISK_READ:
		memcpy(io->data, timed->bytes + io->offset, io->length);
		break;
	case DISK_WRITE:
		memcpy(timed->bytes + io->offset, io->data, io->length);
		timed->written = true;
		break;
	case DISK_ZERO:
		memset(timed->bytes + io->offset, 0, io->length);
		break;
	case DISK_FLUSH:
		break;
	}
}

static void run_done(struct event *event)
{
	struct timed_disk *timed = (struct timed_disk *)((char *)event - offsetof(struct timed_disk, done));
	struct disk_io *io = timed->first;

	carry_out(timed, io);
	timed->first = io->next;
	timed->reads -= io->op == DISK_READ;
	if (timed->first)
		begin(timed);
	io->done(io, 0);
}

static void submit(struct disk *disk, struct disk_io *io)
{
	struct timed_disk *timed = (struct timed_disk *)disk;

	io->next = NULL;
	timed->reads += io->op == DISK_READ;
	if (timed->reads > timed->reads_most)
		timed->reads_most = timed->reads;
	if (timed->first) {
		timed->last->next = io;
		timed->last = io;
		return;
	}
	timed->first = timed->last = io;
	begin(timed);
}

static bool hole(struct disk *disk, uint64_t offset, uint64_t *length)
{
	(void)offset;
	(void)length;
	return !((struct timed_disk *)disk)->written;
}

void timed_disk_init(struct timed_disk *timed, struct scheduler *scheduler, uint64_t size, uint64_t rate)
{
	static const struct disk_ops ops = {submit, hole};

	*timed = (struct timed_disk){
	        .disk = {.ops = &ops, .size = size, .align = ALIGN},
	        .scheduler = scheduler,
	        .latency = 50 * USEC,
	        .rate = rate,
	        .bytes = allocate(size),
	        .done.run = run_done,
	};
}

void timed_disk_free(struct timed_disk *timed)
{
	scheduler_remove(timed->scheduler, &timed->done);
	free(timed->bytes);
}
