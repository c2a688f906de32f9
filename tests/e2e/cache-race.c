// SPDX-License-Identifier: Apache-2.0
// cache-race PATH ROUNDS: whether a struct disk over the file or device ever
// shows what is no longer there. In each round a block is written past the page
// cache, as requests are, while somebody else reads it through the cache; then
// it is read back, as a stream and not. Prints one line of figures:
//
//   rounds N overtaken N cached-stale N stale N
//
// overtaken: rounds in which the other reader saw the former content, so the
// race took place; cached-stale: in which the page cache had it still when the
// write had ended; stale: in which the disk showed it. Exit 1 when that is more
// than 0; 2 on wrong usage.
#include "common/file_disk.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096

static struct loop *loop;
static int cached; // the same, through the page cache

struct other {
	uint64_t offset;
	uint8_t former;
	atomic_bool over;
	bool overtaken;
};

static void die(const char *what)
{
	fprintf(stderr, "cache-race: %s\n", what);
	exit(2);
}

static uint8_t *block_new(void)
{
	uint8_t *block = aligned_alloc(BLOCK, BLOCK);

	if (!block)
		die("no memory");
	return block;
}

// The first byte of the block, as the page cache has it.
static uint8_t cached_at(uint64_t offset)
{
	uint8_t byte;

	if (pread(cached, &byte, 1, (off_t)offset) != 1)
		die("the page cache cannot be read");
	return byte;
}

static void *read_beside(void *user)
{
	struct other *other = user;

	while (!other->over)
		other->overtaken = cached_at(other->offset) == other->former || other->overtaken;
	return NULL;
}

static int result;

static void io_done(struct disk_io *io, int error)
{
	(void)io;
	result = error;
	loop_quit(loop);
}

static void run(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, uint8_t *data)
{
	struct disk_io io = {
	        .op = op, .flags = flags, .offset = offset, .length = BLOCK, .data = data, .done = io_done};

	disk_submit(disk, &io);
	if (loop_run(loop) < 0 || result < 0)
		die(result < 0 ? strerror(-result) : "the loop failed");
}

static bool shows(struct disk *disk, unsigned flags, uint64_t offset, uint8_t value, uint8_t *data)
{
	memset(data, 0, BLOCK);
	run(disk, DISK_READ, flags, offset, data);
	return data[0] == value && data[BLOCK - 1] == value;
}

int main(int argc, char **argv)
{
	const struct file_disk_options options = {0};
	unsigned rounds = argc == 3 ? (unsigned)atoi(argv[2]) : 0, overtaken = 0, cached_stale = 0, stale = 0;
	uint8_t *data = block_new();
	struct disk *disk;
	struct error err;

	if (!rounds)
		die("usage: cache-race PATH ROUNDS");
	loop = loop_new(&err);
	disk = loop ? file_disk_open(loop, argv[1], &options, &err) : NULL;
	if (!disk)
		die(err.text);
	cached = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (cached < 0)
		die("open");
	for (unsigned i = 0; i < rounds; i++) {
		struct other other = {.offset = i * BLOCK % disk->size, .former = (uint8_t)(2 * i + 1)};
		uint8_t next = (uint8_t)(2 * i + 2);
		pthread_t thread;

		memset(data, other.former, BLOCK);
		run(disk, DISK_WRITE, 0, other.offset, data);
		memset(data, next, BLOCK);
		if (pthread_create(&thread, NULL, read_beside, &other))
			die("no thread");
		run(disk, DISK_WRITE, 0, other.offset, data);
		other.over = true;
		pthread_join(thread, NULL);
		overtaken += other.overtaken;
		cached_stale += cached_at(other.offset) != next;
		stale += !shows(disk, disk_stream(disk), other.offset, next, data) ||
		         !shows(disk, 0, other.offset, next, data);
	}
	printf("rounds %u overtaken %u cached-stale %u stale %u\n", rounds, overtaken, cached_stale, stale);
	close(cached);
	file_disk_close(disk);
	loop_free(loop);
	free(data);
	return stale > 0;
}
